package report

import (
	"fmt"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// series is one line: y over x, with gaps where y is not finite.
type series struct {
	name   string // as in the legend
	detail string // "train" or "test" where a name has both
	look   look
	dashed bool
	x, y   []float64
	stride int // every stride-th point has a marker, so that lines on top of each other can be told apart,
	offset int // beginning with this one; no stride, no markers
}

// linePanel is one pair of axes with its series.
type linePanel struct {
	xLabel, yLabel string
	xTicks         plot.Ticker
	log            bool
	limit          float64 // values cannot be above it; +Inf where there is no limit
	series         []series
}

// lineFigure is panels side by side or stacked, under one legend.
type lineFigure struct {
	panels []linePanel
	legend []entry
}

const (
	panelWidth   = vg.Length(360) // a panel beside others
	singleWidth  = vg.Length(520) // a panel alone
	panelHeight  = vg.Length(270)
	narrowWidth  = vg.Length(330)
	narrowHeight = vg.Length(240)
	panelGap     = vg.Length(22)
	edge         = vg.Length(6)
)

func (f *lineFigure) size(l layout) (width, height vg.Length) {
	n := vg.Length(len(f.panels))
	switch {
	case l == narrow:
		width, height = narrowWidth, n*narrowHeight+(n-1)*panelGap
	case n == 1:
		width, height = singleWidth, panelHeight
	default:
		width, height = n*panelWidth, panelHeight
	}
	return width, height + legendHeight(f.legend, width-2*edge) + 2*edge
}

func (f *lineFigure) draw(c draw.Canvas, l layout) {
	c = draw.Crop(c, edge, -edge, edge, -edge)
	top := legendHeight(f.legend, c.Size().X)
	drawLegend(draw.Crop(c, 0, 0, c.Size().Y-top, 0), f.legend)
	c = draw.Crop(c, 0, 0, 0, -top)

	grid := make([][]*plot.Plot, 0, len(f.panels))
	tiles := draw.Tiles{Rows: 1, Cols: len(f.panels), PadX: panelGap}
	if l == narrow {
		tiles = draw.Tiles{Rows: len(f.panels), Cols: 1, PadY: panelGap}
	}
	for i := range f.panels {
		p := f.panels[i].plot()
		if l == narrow || i == 0 {
			grid = append(grid, nil)
		}
		last := len(grid) - 1
		grid[last] = append(grid[last], p)
	}
	areas := plot.Align(grid, tiles, c)
	for r := range grid {
		for k, p := range grid[r] {
			p.Draw(areas[r][k])
		}
	}
}

// plot builds the axes of the panel with everything in them.
func (p *linePanel) plot() *plot.Plot {
	out := newAxes(p.xLabel, p.yLabel)
	xs, ys := noBounds(), noBounds()
	for _, s := range p.series {
		for i := range s.x {
			if finite(s.y[i]) {
				xs.include(s.x[i])
				ys.include(s.y[i])
			}
		}
	}
	setRange(&out.Y, ys, p.log, p.limit)
	if xs.empty() {
		xs = bounds{0, 1}
	}
	if xs.low == xs.high {
		xs = bounds{xs.low - .5, xs.high + .5}
	}
	out.X.Min, out.X.Max = xs.low, xs.high
	out.X.Tick.Marker = p.xTicks
	out.Add(gridLines{})
	for _, s := range p.series {
		out.Add(s)
	}
	return out
}

// newAxes returns an empty plot in the package's style.
func newAxes(xLabel, yLabel string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.X.Label.Text, p.Y.Label.Text = label(xLabel), label(yLabel)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Padding = 0
		a.LineStyle = draw.LineStyle{Color: muted, Width: hairline}
		a.Tick.LineStyle = a.LineStyle
		a.Tick.Length = 4
		a.Label.Padding = 4
		a.Label.TextStyle = textStyle(ink, fontSize, draw.XCenter, draw.YBottom)
	}
	p.X.Tick.Label = textStyle(ink, tickSize, draw.XCenter, draw.YTop)
	p.Y.Tick.Label = textStyle(ink, tickSize, draw.XRight, draw.YCenter)
	return p
}

// gridLines are faint lines at the labelled ticks.
type gridLines struct{}

func (gridLines) Plot(c draw.Canvas, p *plot.Plot) {
	style := draw.LineStyle{Color: faint, Width: hairline}
	x, y := p.Transforms(&c)
	for _, t := range p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max) {
		if !t.IsMinor() && c.ContainsX(x(t.Value)) {
			c.StrokeLine2(style, x(t.Value), c.Min.Y, x(t.Value), c.Max.Y)
		}
	}
	for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
		if !t.IsMinor() && c.ContainsY(y(t.Value)) {
			c.StrokeLine2(style, c.Min.X, y(t.Value), c.Max.X, y(t.Value))
		}
	}
}

func (s series) style() draw.LineStyle {
	style := draw.LineStyle{Color: s.look.color, Width: lineWidth}
	if s.dashed {
		style.Dashes = []vg.Length{4, 2.5}
		style.Width = lineWidth * .8
	}
	return style
}

// Plot draws the line, in pieces between the gaps, and its markers.
func (s series) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	glyph := draw.GlyphStyle{Color: s.look.color, Shape: s.look.shape, Radius: markRadius}
	var run []vg.Point
	flush := func() {
		if len(run) > 1 {
			c.StrokeLines(s.style(), run)
		}
		if len(run) == 1 { // a point between two gaps would be lost
			c.DrawGlyphNoClip(glyph, run[0])
		}
		run = nil
	}
	for i := range s.x {
		if !finite(s.y[i]) {
			flush()
			continue
		}
		run = append(run, vg.Point{X: x(s.x[i]), Y: y(s.y[i])})
	}
	flush()
	for i := range s.x {
		if s.stride > 0 && i%s.stride == s.offset%s.stride && finite(s.y[i]) {
			c.DrawGlyphNoClip(glyph, vg.Point{X: x(s.x[i]), Y: y(s.y[i])})
		}
	}
}

// tables returns the numbers of every panel: a row for each x, a column for each series.
func (f *lineFigure) tables() []Table {
	out := make([]Table, 0, len(f.panels))
	for _, p := range f.panels {
		t := Table{Caption: p.yLabel, Header: []string{p.xLabel}}
		rows := map[float64]int{} // looked up only: the order is that of first appearance
		for k, s := range p.series {
			t.Header = append(t.Header, s.title())
			for i, x := range s.x {
				r, ok := rows[x]
				if !ok {
					r = len(t.Rows)
					rows[x] = r
					t.Rows = append(t.Rows, append([]string{strconv.FormatFloat(x, 'g', 4, 64)}, make([]string, len(p.series))...))
				}
				t.Rows[r][k+1] = value(s.y[i])
			}
		}
		out = append(out, t)
	}
	return out
}

func (s series) title() string {
	if s.detail == "" {
		return s.name
	}
	return s.name + ", " + s.detail
}

// value formats a measurement for a table: four digits, and from a thousand on one behind the point.
func value(v float64) string {
	switch {
	case math.IsNaN(v):
		return "not a number"
	case math.IsInf(v, 1):
		return "∞"
	case math.IsInf(v, -1):
		return "−∞"
	case 1e3 <= math.Abs(v) && math.Abs(v) < 1e9:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return fmt.Sprintf("%#.4g", v)
}

// describe tells in words what the panel shows: each series with its ends and its extremes.
func (p *linePanel) describe() string {
	out := fmt.Sprintf("%s against %s.", p.yLabel, p.xLabel)
	for _, s := range p.series {
		ys, missing, first, last := noBounds(), 0, math.NaN(), math.NaN()
		for _, y := range s.y {
			if !finite(y) {
				missing++
				continue
			}
			if ys.empty() {
				first = y
			}
			last = y
			ys.include(y)
		}
		if !ys.empty() {
			out += fmt.Sprintf(" %s: from %.4g to %.4g, lowest %.4g, highest %.4g.", s.title(), first, last, ys.low, ys.high)
		}
		if missing > 0 {
			out += fmt.Sprintf(" %s: %d of %d values are not finite and not drawn.", s.title(), missing, len(s.y))
		}
	}
	return out
}
