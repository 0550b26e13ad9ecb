package report

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// findBrowser returns a browser of the Chromium family. Without one the test is skipped, but not in CI, where it must run.
func findBrowser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless-shell"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const reason = "no chromium or google-chrome on the PATH to open the page with"
	if os.Getenv("CI") == "true" {
		t.Fatal(reason)
	}
	t.Skip(reason)
	return ""
}

// browserLimit ends a browser that hangs. On a machine with nothing else to do everything is over in seconds.
const browserLimit = 5 * time.Minute

// startBrowser returns a context of a browser without a screen and without a profile, which is gone after the test.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(findBrowser(t)), chromedp.UserDataDir(t.TempDir())}
	for _, flag := range []string{
		"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
		"disable-component-update", "disable-sync", "disable-dev-shm-usage", "hide-scrollbars",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	limited, stop := context.WithTimeout(t.Context(), browserLimit)
	allocator, stopAllocator := chromedp.NewExecAllocator(limited, options...)
	ctx, stopBrowser := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the browser, so that its profile can be removed
		stopBrowser()
		stopAllocator()
		stop()
	})
	return ctx
}

// layoutOfPage is what the page tells about itself.
type layoutOfPage struct {
	Inner, Scroll    int      // widths of the window and of what is in it
	Outside          []string // elements that reach beyond the window and are not inside a scrolling table
	Figures, Visible int      // SVGs, and those that are shown
	Smallest         float64  // height of the smallest text in a figure, in pixels
	Cut              []string // texts of a figure that reach beyond it
}

const measureLayout = `(() => {
	document.querySelectorAll('details').forEach(d => { d.open = true; });
	const inner = document.documentElement.clientWidth;
	const shown = [...document.querySelectorAll('figure svg')].filter(s => s.getBoundingClientRect().width > 0);
	const outside = [...document.querySelectorAll('body *')]
		.filter(e => !e.ownerSVGElement && !e.closest('.scroll > *') && e.getBoundingClientRect().right > inner + 1)
		.map(e => e.tagName + ' ' + e.textContent.slice(0, 40));
	const cut = shown.flatMap(s => { const b = s.getBoundingClientRect(); return [...s.querySelectorAll('text')].filter(t => {
		const r = t.getBoundingClientRect();
		return r.left < b.left - 2 || r.right > b.right + 2 || r.top < b.top - 2 || r.bottom > b.bottom + 2;
	}).map(t => t.textContent); });
	return {
		Inner: inner, Scroll: document.documentElement.scrollWidth, Outside: outside, Cut: cut,
		Figures: document.querySelectorAll('figure svg').length, Visible: shown.length,
		Smallest: Math.min(...shown.flatMap(s => [...s.querySelectorAll('text')].map(t =>
			parseFloat(getComputedStyle(t).fontSize) * s.getBoundingClientRect().width / s.viewBox.baseVal.width))),
	};
})()`

// legible is the height in pixels below which letters in a figure are too small to read.
const legible = 9.5

// weak is a colour that is too close to its ground, with what it is of.
type weak struct {
	What     string
	Contrast float64
}

// measureContrast returns the texts of the page whose contrast with its ground is below 4.5, and lines and shapes of figures whose
// contrast is below 3 in the dark: the limits of the Web Content Accessibility Guidelines 2.1. Colours that let the ground through,
// grids, and what stands on a ground of its own inside a figure are left out. On white, Okabe's and Ito's light colours are known to
// be weak, which the shapes of markers make up for.
const measureContrast = `((dark) => {
	const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
	const rgba = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
	const luminance = c => [.2126, .7152, .0722].reduce((sum, w, i) => {
		const v = c[i] / 255; return sum + w * (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
	}, 0);
	const contrast = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
	const ground = e => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; } return rgba('white'); };
	const grid = rgba(getComputedStyle(document.documentElement).getPropertyValue('--line')).join();
	const found = new Map();
	const check = (what, colour, behind, limit) => {
		const c = contrast(colour, behind);
		if (c < limit) found.set(what + colour, { What: what + ' in ' + colour, Contrast: c });
	};
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let n; n = walker.nextNode();) {
		const e = n.parentElement;
		if (n.data.trim() && !e.ownerSVGElement && !e.closest('svg')) check(e.tagName + '.' + e.className, rgba(getComputedStyle(e).color), ground(e), 4.5);
	}
	const own = new Set(['#FFFFFE', '#16191D', '#000001'].map(c => rgba(c).join()));
	for (const e of document.querySelectorAll('figure svg.wide text, figure svg.wide path')) {
		const style = getComputedStyle(e), text = e.tagName === 'text';
		for (const paint of text ? ['fill'] : ['fill', 'stroke']) {
			if (style[paint] === 'none' || style[paint + 'Opacity'] < 1 || style.opacity < 1) continue;
			const c = rgba(style[paint]), behind = ground(e.closest('figure'));
			if (c[3] < 255 || c.join() === grid || own.has(c.join())) continue;
			if (text) check('text in a figure', c, behind, 4.5);
			else if (dark && paint === 'stroke') check('line in a figure', c, behind, 3);
		}
	}
	return [...found.values()];
})`

// BrowserPage is a page to be opened, and how many figures it has. Widths are those of a telephone and of a wide screen.
type BrowserPage struct {
	Name    string
	HTML    []byte
	Figures int
	Widths  [2]int64
}

// TestPagesInABrowser opens pages from files, as a reader does, on a telephone and on a wide screen, by day and by night.
func TestPagesInABrowser(t *testing.T) {
	OpenInABrowser(t, []BrowserPage{
		{"report", sampleHTML(t), 4, [2]int64{400, 1600}},
		{"results", html(t, sampleResults()), 7, [2]int64{360, 1200}},
	})
}

// OpenInABrowser opens pages and looks at their layout, names, colours, and what they ask for. With REBASIN_SCREENSHOTS each section is left in that folder as a PNG.
func OpenInABrowser(t *testing.T, pages []BrowserPage) {
	t.Helper()
	ctx := startBrowser(t)
	var mu sync.Mutex
	var asked []string
	err := chromedp.Listen(ctx, func(event any) {
		if e, ok := event.(*network.EventRequestWillBeSent); ok {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, e.Request.URL)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range pages {
		file := filepath.Join(t.TempDir(), p.Name+".html")
		if err := os.WriteFile(file, p.HTML, 0o600); err != nil {
			t.Fatal(err)
		}
		url := (&url.URL{Scheme: "file", Path: filepath.ToSlash(file)}).String()
		seen[url] = true
		for _, width := range p.Widths {
			t.Run(fmt.Sprint(p.Name, width), func(t *testing.T) {
				if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate(url)); err != nil {
					t.Fatal(err)
				}
				screenshots(ctx, t, fmt.Sprintf("%s-%d", p.Name, width))
				checkLayout(ctx, t, width, p.Figures)
				if width == p.Widths[1] { // names and colours are the same in both
					checkNames(ctx, t)
					checkContrast(ctx, t, "light")
					checkContrast(ctx, t, "dark")
				}
			})
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked) == 0 {
		t.Fatal("no request was seen, not even for the page")
	}
	for _, u := range asked {
		if !seen[u] && !strings.HasPrefix(u, "data:image/png") {
			t.Errorf("the page asked for %.80s", u)
		}
	}
}

// screenshots are for people: of the head of a page and of each section, by day and by night.
func screenshots(ctx context.Context, t *testing.T, base string) {
	t.Helper()
	dir := os.Getenv("REBASIN_SCREENSHOTS")
	if dir == "" {
		return
	}
	for _, scheme := range []string{"dark", "light"} { // light last, as tests expect it
		setScheme(ctx, t, scheme)
		parts, err := chromedp.Run(ctx, chromedp.Evaluate[[]cdpage.Viewport](`[...document.querySelectorAll('header, section')].map(e => {
			const r = e.getBoundingClientRect();
			return { x: 0, y: r.top + scrollY, width: document.documentElement.clientWidth, height: r.height, scale: 1 };
		})`))
		if err != nil {
			t.Fatal(err)
		}
		for i := range parts {
			beyond := true
			shot, err := chromedp.Call(ctx, cdpage.CaptureScreenshot, cdpage.CaptureScreenshotParams{Clip: &parts[i], CaptureBeyondViewport: &beyond})
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%d.png", base, scheme, i)), shot.Data, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func setScheme(ctx context.Context, t *testing.T, scheme string) {
	t.Helper()
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkLayout(ctx context.Context, t *testing.T, width int64, figures int) {
	t.Helper()
	got, err := chromedp.Run(ctx, chromedp.Evaluate[layoutOfPage](measureLayout))
	if err != nil {
		t.Fatal(err)
	}
	if got.Inner != int(width) || got.Scroll > got.Inner {
		t.Errorf("the page is %d wide in a window of %d", got.Scroll, got.Inner)
	}
	if len(got.Outside) > 0 {
		t.Errorf("beyond the window: %q", got.Outside)
	}
	if got.Figures != 2*figures || got.Visible != figures {
		t.Errorf("%d of %d drawings are shown, want one of two layouts of %d figures", got.Visible, got.Figures, figures)
	}
	if got.Smallest < legible {
		t.Errorf("letters of %.1f pixels in a figure", got.Smallest)
	}
	if len(got.Cut) > 0 {
		t.Errorf("beyond their figures: %q", got.Cut)
	}
}

// checkNames asks the browser, as a screen reader does, for the names of the images: every figure that is shown has one.
func checkNames(ctx context.Context, t *testing.T) {
	t.Helper()
	tree, err := chromedp.Call(ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		t.Fatal(err)
	}
	shown, err := chromedp.Run(ctx, chromedp.Evaluate[int](`[...document.querySelectorAll('figure svg')].filter(s => s.getBoundingClientRect().width > 0).length`))
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, n := range tree.Nodes {
		if n.Role == nil || n.Ignored || !strings.Contains(string(n.Role.Value), "image") && !strings.Contains(string(n.Role.Value), "img") {
			continue
		}
		if n.Name == nil || len(n.Name.Value) < len(`"Loss"`) {
			t.Errorf("an image without a name: %+v", n)
			continue
		}
		named++
	}
	if named != shown {
		t.Errorf("%d images with names, %d figures are shown", named, shown)
	}
}

func checkContrast(ctx context.Context, t *testing.T, scheme string) {
	t.Helper()
	setScheme(ctx, t, scheme)
	ground, err := chromedp.Run(ctx, chromedp.Evaluate[string](`getComputedStyle(document.body).backgroundColor`))
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]; ground != want {
		t.Errorf("%s: the page is %s, want %s", scheme, ground, want)
	}
	found, err := chromedp.Run(ctx, chromedp.Evaluate[[]weak](fmt.Sprintf("%s(%t)", measureContrast, scheme == "dark")))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range found {
		t.Errorf("%s: %s has a contrast of %.2f", scheme, w.What, w.Contrast)
	}
}
