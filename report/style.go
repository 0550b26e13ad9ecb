package report

import (
	"image/color"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Colours of everything that is not a series. The first three are exchanged for the page's own where a figure stands in a
// page, so no other part of a figure may use them.
var (
	ink   = rgb(0x1F2328)
	muted = rgb(0x59636E)
	faint = rgb(0xDDE1E6)
	paper = rgb(0xFFFFFF)
)

// Okabe, Ito (2008), Color Universal Design: how to make figures and presentations that are friendly to colorblind people.
// Its black and yellow are missing: one is the ink, the other too weak on white.
var (
	orange     = rgb(0xE69F00)
	skyBlue    = rgb(0x56B4E9)
	green      = rgb(0x009E73)
	blue       = rgb(0x0072B2)
	vermillion = rgb(0xD55E00)
	purple     = rgb(0xCC79A7)
)

func rgb(hex uint32) color.RGBA {
	return color.RGBA{R: uint8(hex >> 16), G: uint8(hex >> 8), B: uint8(hex), A: 255}
}

const (
	fontSize   = vg.Length(11) // labels
	tickSize   = vg.Length(10) // numbers on axes
	lineWidth  = vg.Length(1.6)
	hairline   = vg.Length(0.6)
	markRadius = vg.Length(3.1)
)

// look is what tells one series from another.
type look struct {
	color color.Color
	shape draw.GlyphDrawer
}

// looks are taken in this order by series without a look of their own.
var looks = []look{
	{blue, draw.CircleGlyph{}},
	{vermillion, draw.BoxGlyph{}},
	{green, draw.PyramidGlyph{}},
	{purple, diamond{}},
	{orange, wedge{}},
	{skyBlue, draw.CircleGlyph{}},
	{muted, cross{}},
	{blue, ring{}},
	{vermillion, frame{}},
	{green, openTriangle{}},
}

// filledLooks is the number of looks before the first whose colour has been there.
const filledLooks = 7

// known gives the methods the same look in every figure, whichever of them are shown.
var known = map[string]look{
	"naive":      {vermillion, draw.BoxGlyph{}},
	"activation": {blue, draw.CircleGlyph{}},
	"weight":     {green, draw.PyramidGlyph{}},
	"ste":        {purple, diamond{}},
}

// assignLooks gives every name its look: the known ones theirs, the others what is left, in order and over again.
func assignLooks(names []string) []look {
	taken := map[color.Color]bool{}
	for _, n := range names {
		if l, ok := known[n]; ok {
			taken[l.color] = true
		}
	}
	var free, again []look // again: open shapes of colours that are taken
	for i, l := range looks {
		switch {
		case !taken[l.color]:
			free = append(free, l)
		case i >= filledLooks:
			again = append(again, l)
		}
	}
	free = append(free, again...)
	out := make([]look, len(names))
	next := 0
	for i, n := range names {
		l, ok := known[n]
		if !ok {
			l = free[next%len(free)]
			next++
		}
		out[i] = l
	}
	return out
}

// diamond is a filled square on its tip.
type diamond struct{}

func (diamond) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, at vg.Point) {
	r := sty.Radius * 1.25 // the area of the other shapes
	c.FillPolygon(sty.Color, []vg.Point{{X: at.X - r, Y: at.Y}, {X: at.X, Y: at.Y - r}, {X: at.X + r, Y: at.Y}, {X: at.X, Y: at.Y + r}})
}

// wedge is a filled triangle on its tip.
type wedge struct{}

func (wedge) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, at vg.Point) {
	r := sty.Radius * 1.2
	c.FillPolygon(sty.Color, []vg.Point{{X: at.X, Y: at.Y - r}, {X: at.X - r, Y: at.Y + .7*r}, {X: at.X + r, Y: at.Y + .7*r}})
}

// outline is the width of the lines of open shapes.
const outline = vg.Length(1.3)

// cross is a saltire.
type cross struct{}

func (cross) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, at vg.Point) {
	r := sty.Radius * .9
	style := draw.LineStyle{Color: sty.Color, Width: outline}
	c.StrokeLine2(style, at.X-r, at.Y-r, at.X+r, at.Y+r)
	c.StrokeLine2(style, at.X-r, at.Y+r, at.X+r, at.Y-r)
}

// ring is an open circle.
type ring struct{}

func (ring) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, at vg.Point) {
	c.SetLineStyle(draw.LineStyle{Color: sty.Color, Width: outline})
	var p vg.Path
	p.Move(vg.Point{X: at.X + sty.Radius, Y: at.Y})
	p.Arc(at, sty.Radius, 0, 2*math.Pi)
	p.Close()
	c.Stroke(p)
}

// frame is an open square.
type frame struct{}

func (frame) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, at vg.Point) {
	r := sty.Radius * .9
	c.StrokeLines(draw.LineStyle{Color: sty.Color, Width: outline}, []vg.Point{
		{X: at.X - r, Y: at.Y - r}, {X: at.X + r, Y: at.Y - r}, {X: at.X + r, Y: at.Y + r}, {X: at.X - r, Y: at.Y + r}, {X: at.X - r, Y: at.Y - r},
	})
}

// openTriangle stands on its side.
type openTriangle struct{}

func (openTriangle) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, at vg.Point) {
	r := sty.Radius * 1.2
	top := vg.Point{X: at.X, Y: at.Y + r}
	c.StrokeLines(draw.LineStyle{Color: sty.Color, Width: outline}, []vg.Point{top, {X: at.X - r, Y: at.Y - .7*r}, {X: at.X + r, Y: at.Y - .7*r}, top})
}

// textStyle is sans-serif text of a size, its reference point at the given part of its box.
func textStyle(c color.Color, size vg.Length, x text.XAlignment, y text.YAlignment) text.Style {
	return text.Style{
		Color:   c,
		Font:    font.Font{Typeface: "Liberation", Variant: "Sans", Size: size},
		XAlign:  x,
		YAlign:  y,
		Handler: plot.DefaultTextHandler,
	}
}

// maxLabel is the number of characters after which names in figures are cut.
const maxLabel = 48

// label makes a caller's string fit for one line of a figure: no control characters, which XML has no place for, and not
// longer than the figure.
func label(s string) string {
	s = printable(s)
	if utf8.RuneCountInString(s) <= maxLabel {
		return s
	}
	return string([]rune(s)[:maxLabel-1]) + "…"
}

// printable replaces what cannot stand in XML by spaces.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError || r == 0xFFFE || r == 0xFFFF {
			return ' '
		}
		return r
	}, s)
}

// fit cuts text where it is wider than width.
func fit(style text.Style, s string, width vg.Length) string {
	if style.Width(s) <= width {
		return s
	}
	runes := []rune(s)
	for len(runes) > 0 && style.Width(string(runes)+"…") > width {
		runes = runes[:len(runes)-1]
	}
	return string(runes) + "…"
}
