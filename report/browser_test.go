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

	"github.com/chromedp/cdproto/network"
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
	limited, stop := context.WithTimeout(t.Context(), time.Minute)
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
}

const measureLayout = `(() => {
	document.querySelectorAll('details').forEach(d => { d.open = true; });
	const inner = document.documentElement.clientWidth;
	const shown = [...document.querySelectorAll('figure svg')].filter(s => s.getBoundingClientRect().width > 0);
	const outside = [...document.querySelectorAll('body *')]
		.filter(e => !e.ownerSVGElement && !e.closest('.scroll > *') && e.getBoundingClientRect().right > inner + 1)
		.map(e => e.tagName + ' ' + e.textContent.slice(0, 40));
	return {
		Inner: inner, Scroll: document.documentElement.scrollWidth, Outside: outside,
		Figures: document.querySelectorAll('figure svg').length, Visible: shown.length,
		Smallest: Math.min(...shown.flatMap(s => [...s.querySelectorAll('text')].map(t =>
			parseFloat(getComputedStyle(t).fontSize) * s.getBoundingClientRect().width / s.viewBox.baseVal.width))),
	};
})()`

// legible is the height in pixels below which letters in a figure are too small to read.
const legible = 9.5

// TestPageInABrowser opens the page from a file, as a reader does, on a telephone and on a wide screen.
func TestPageInABrowser(t *testing.T) {
	ctx := startBrowser(t)
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, sampleHTML(t), 0o600); err != nil {
		t.Fatal(err)
	}
	page := (&url.URL{Scheme: "file", Path: filepath.ToSlash(file)}).String()

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
	for _, width := range []int64{400, 1600} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate(page)); err != nil {
				t.Fatal(err)
			}
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
			if got.Figures != 8 || got.Visible != 4 {
				t.Errorf("%d of %d drawings are shown, want one of two layouts of 4 figures", got.Visible, got.Figures)
			}
			if got.Smallest < legible {
				t.Errorf("letters of %.1f pixels in a figure", got.Smallest)
			}
		})
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked) == 0 {
		t.Fatal("no request was seen, not even for the page")
	}
	for _, u := range asked {
		if u != page && !strings.HasPrefix(u, "data:") {
			t.Errorf("the page asked for %s", u)
		}
	}
}
