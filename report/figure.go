package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Figure is a drawing with the words and numbers that go with it. Figures are made by the functions of this package; Title,
// Caption and Alt may be changed afterwards.
type Figure struct {
	Title   string // one line, for the page and for the title of the SVG
	Caption string // what the reader should see in it
	Alt     string // what a reader who cannot see it should know

	content content
}

// content draws itself in a layout, and knows its numbers.
type content interface {
	size(layout) (width, height vg.Length)
	draw(draw.Canvas, layout)
	tables() []Table // for readers
	data() Table     // for programs: all numbers, as exact as they are
}

// Data returns the numbers behind the figure, as exact as they are: a row for each value.
func (f *Figure) Data() Table {
	t := f.content.data()
	t.Caption = f.Title
	return t
}

// layout says how much room there is.
type layout int

const (
	wide   layout = iota // panels side by side: the width of a printed page
	narrow               // panels stacked: the width of a telephone
)

// dotsPerInch is twice the usual density of a screen, so that PNGs stay crisp on dense ones.
const dotsPerInch = 2 * 96

// SVG returns the figure as an SVG document on a white ground, with Title and Alt as its accessible title and description.
func (f *Figure) SVG() ([]byte, error) {
	body, width, height, err := f.render(wide, true)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString(xml.Header)
	fmt.Fprintf(&out, "<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" role=\"img\" "+
		"width=\"%.5gpt\" height=\"%.5gpt\" viewBox=\"0 0 %.5g %.5g\">\n<title>%s</title>\n<desc>%s</desc>\n",
		width, height, width, height, escape(f.Title), escape(f.Alt))
	out.Write(body)
	out.WriteString("</svg>\n")
	return out.Bytes(), nil
}

// PNG returns the figure as a PNG image on a white ground, at 192 dots per inch.
func (f *Figure) PNG() ([]byte, error) {
	w, h := f.content.size(wide)
	img := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(w, h), vgimg.UseDPI(dotsPerInch), vgimg.UseBackgroundColor(paper))}
	f.content.draw(draw.New(img), wide)
	var out bytes.Buffer
	if _, err := img.WriteTo(&out); err != nil {
		return nil, fmt.Errorf("report: figure %q: writing PNG: %w", f.Title, err)
	}
	return out.Bytes(), nil
}

// pageColours are the colours that a page exchanges for its own, which follow the reader's preference.
var pageColours = strings.NewReplacer(
	":#1F2328", ":var(--ink)",
	":#59636E", ":var(--muted)",
	":#DDE1E6", ":var(--line)",
)

// inline returns the figure as an element of an HTML page: no ground, the page's colours, as wide as there is room.
func (f *Figure) inline(l layout) (string, error) {
	body, width, height, err := f.render(l, false)
	if err != nil {
		return "", err
	}
	class := map[layout]string{wide: "wide", narrow: "narrow"}[l]
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" class=\"%s\" "+
		"role=\"img\" aria-label=\"%s\" width=\"%.5gpt\" height=\"%.5gpt\" viewBox=\"0 0 %.5g %.5g\">\n%s</svg>",
		class, escape(f.Alt), width, height, width, height, pageColours.Replace(string(body))), nil
}

// drawingFixes mend what the SVG writer of gonum/plot leaves to chance: it names one font family, which the reader may
// lack (Arial has the same widths), calls a PNG a JPEG, and does not say that an image fills its rectangle.
var drawingFixes = strings.NewReplacer(
	"font-family:Liberation Sans;", "font-family:'Liberation Sans',Arial,Helvetica,sans-serif;",
	"font-variant:normal;font-weight:normal;font-style:normal;", "",
	`xlink:href="data:image/jpg;base64,`, `preserveAspectRatio="none" xlink:href="data:image/png;base64,`,
)

// render returns what stands between <svg> and </svg>, and the size in points.
func (f *Figure) render(l layout, ground bool) (body []byte, width, height float64, err error) {
	w, h := f.content.size(l)
	canvas := vgsvg.NewWith(vgsvg.UseWH(w, h))
	area := draw.New(canvas)
	if ground {
		area.SetColor(paper)
		area.Fill(area.Path())
	}
	f.content.draw(area, l)
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return nil, 0, 0, fmt.Errorf("report: figure %q: writing SVG: %w", f.Title, err)
	}
	whole := drawingFixes.Replace(out.String())
	start := strings.Index(whole, "<svg")
	start += strings.Index(whole[start:], ">") + 1
	end := strings.LastIndex(whole, "</svg>")
	return []byte(strings.TrimLeft(whole[start:end], "\n")), w.Points(), h.Points(), nil
}

// escape makes a caller's string fit for XML text and quoted attributes.
func escape(s string) string {
	var out strings.Builder
	_ = xml.EscapeText(&out, []byte(printable(s))) // a strings.Builder takes everything
	return out.String()
}
