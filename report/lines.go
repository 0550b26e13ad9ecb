package report

import (
	"fmt"
	"image/color"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"

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

	err      []float64   // standard errors of y, NaN where there is none; nil if there are none at all
	band     bool        // errors are a band around the line, else bars
	seeds    [][]float64 // the values that y is the mean of; nil if y is measured itself
	unjoined bool        // no line from point to point
	shift    float64     // of everything along x, so that series in one category stand side by side
}

// linePanel is one pair of axes with its series.
type linePanel struct {
	title          string
	xLabel, yLabel string
	xTicks         plot.Ticker
	log            bool
	limit          float64 // values cannot be above it; +Inf where there is no limit
	series         []series

	xLog       bool
	xRange     bounds   // of the x axis; that of the points if empty
	categories []string // names of x = 0, 1, ...; nil where x is a number
	roomy      bool     // x has room beyond the first and the last point, for bars and markers
	lines      []Line
	marks      []Mark
	diagonal   bool // y = x is drawn
}

// lineFigure is panels in rows, or stacked, under one legend.
type lineFigure struct {
	panels []linePanel
	legend []entry
	square bool // the panels are about as high as wide
}

const (
	panelWidth   = vg.Length(360) // a panel beside another
	thirdWidth   = vg.Length(246) // a panel beside two others
	singleWidth  = vg.Length(520) // a panel alone
	squareWidth  = vg.Length(400)
	panelHeight  = vg.Length(270)
	thirdHeight  = vg.Length(215)
	narrowWidth  = vg.Length(330)
	narrowHeight = vg.Length(240)
	panelGap     = vg.Length(22)
	edge         = vg.Length(6)
	titleHeight  = vg.Length(20)
	axisWidth    = vg.Length(56) // about what is left of the axis
)

// shape tells how many panels stand in a row, and the size of each.
func (f *lineFigure) shape(l layout) (cols int, width, height vg.Length) {
	n := len(f.panels)
	switch {
	case l == narrow:
		cols, width, height = 1, narrowWidth, narrowHeight
	case n == 1:
		cols, width, height = 1, singleWidth, panelHeight
	case n == 2 || n == 4:
		cols, width, height = 2, panelWidth, panelHeight
	default:
		cols, width, height = 3, thirdWidth, thirdHeight
	}
	if f.square {
		if n == 1 && l == wide {
			width = squareWidth
		}
		height = width - 16
	}
	var extra vg.Length
	for i := range f.panels {
		p := &f.panels[i]
		more := p.slant(width).height
		if p.title != "" {
			more += titleHeight
		}
		extra = max(extra, more)
	}
	return cols, width, height + extra
}

func (f *lineFigure) size(l layout) (width, height vg.Length) {
	cols, width, height := f.shape(l)
	width *= vg.Length(cols)
	rows := vg.Length((len(f.panels) + cols - 1) / cols)
	return width, rows*height + (rows-1)*panelGap + legendHeight(f.legend, width-2*edge) + 2*edge
}

func (f *lineFigure) draw(c draw.Canvas, l layout) {
	c = draw.Crop(c, edge, -edge, edge, -edge)
	top := legendHeight(f.legend, c.Size().X)
	drawLegend(draw.Crop(c, 0, 0, c.Size().Y-top, 0), f.legend)
	c = draw.Crop(c, 0, 0, 0, -top)

	cols, width, _ := f.shape(l)
	rows := (len(f.panels) + cols - 1) / cols
	grid := make([][]*plot.Plot, rows)
	for r := range grid {
		grid[r] = make([]*plot.Plot, cols)
		for k := range cols {
			if i := r*cols + k; i < len(f.panels) {
				grid[r][k] = f.panels[i].plot(width)
			}
		}
	}
	areas := plot.Align(grid, draw.Tiles{Rows: rows, Cols: cols, PadX: panelGap, PadY: panelGap}, c)
	for r := range grid {
		for k, p := range grid[r] {
			if p != nil {
				p.Draw(areas[r][k])
			}
		}
	}
}

// plot builds the axes of the panel with everything in them, for a panel of the given width.
func (p *linePanel) plot(width vg.Length) *plot.Plot {
	out := newAxes(p.xLabel, p.yLabel)
	if p.title != "" {
		out.Title.Text = label(p.title)
		out.Title.TextStyle = textStyle(ink, fontSize, draw.XCenter, draw.YTop)
		out.Title.Padding = 6
	}
	setRange(&out.Y, p.yRange(), p.log, p.limit)
	p.setX(&out.X, width)
	out.Add(gridLines{})
	if p.diagonal {
		out.Add(diagonal{})
	}
	for _, s := range p.series {
		out.Add(s)
	}
	if len(p.lines)+len(p.marks) > 0 {
		out.Add(references{p})
	}
	return out
}

// setX gives the x axis its range, scale and ticks.
func (p *linePanel) setX(a *plot.Axis, width vg.Length) {
	xs := p.xRange
	if xs.empty() {
		xs = p.xBounds()
	}
	a.Tick.Marker = p.xTicks
	switch {
	case p.categories != nil:
		xs = bounds{-.5, float64(len(p.categories)) - .5}
		if p.slant(width).slanted {
			a.Tick.Marker = p.slantedTicks(width)
			a.Tick.Label.Rotation = slantAngle
			a.Tick.Label.XAlign, a.Tick.Label.YAlign = draw.XRight, draw.YTop
		}
	case xs.empty():
		xs = bounds{0, 1}
	case p.xLog && xs.low == xs.high:
		xs = bounds{xs.low / 2, xs.high * 2}
	case xs.low == xs.high:
		room := max(.5, math.Abs(xs.low)*1e-3)
		xs = bounds{xs.low - room, xs.high + room}
	case p.roomy && p.xLog:
		room := math.Pow(xs.high/xs.low, .05)
		xs = bounds{xs.low / room, xs.high * room}
	case p.roomy:
		room := (xs.high - xs.low) * .05
		xs = bounds{xs.low - room, xs.high + room}
	}
	a.Min, a.Max = xs.low, xs.high
	if p.xLog {
		a.Scale = plot.LogScale{}
	}
}

// xBounds are those of all points, also of those whose mean is not finite: some of their seeds may be.
func (p *linePanel) xBounds() bounds {
	xs := noBounds()
	for _, s := range p.series {
		for _, x := range s.x {
			xs.include(x)
		}
	}
	for _, m := range p.marks {
		xs.include(m.X)
	}
	return xs
}

// yRange is what the y axis shows: values, and what is drawn around them. A logarithmic axis ends above the errors that
// reach 0.
func (p *linePanel) yRange() bounds {
	b := p.bounds()
	for _, s := range p.series {
		for i, e := range s.err {
			if low := s.y[i] - e; !p.log || low > b.low/2 {
				b.include(low)
			}
			b.include(min(s.y[i]+e, max(p.limit, s.y[i])))
		}
	}
	if p.diagonal {
		b.include(0)
		b.include(p.limit)
	}
	return b
}

const slantAngle = math.Pi / 5

// slanted tells whether the names of categories do not fit beside each other, and what height they need then.
type slanted struct {
	slanted bool
	height  vg.Length
}

func (p *linePanel) slant(width vg.Length) slanted {
	if p.categories == nil {
		return slanted{}
	}
	style := textStyle(ink, tickSize, draw.XCenter, draw.YTop)
	var widest vg.Length
	for _, name := range p.categories {
		widest = max(widest, style.Width(label(name)))
	}
	if widest+6 <= (width-axisWidth)/vg.Length(len(p.categories)) {
		return slanted{}
	}
	return slanted{true, min(widest, longestSlanted) * vg.Length(math.Sin(slantAngle))}
}

// longestSlanted is where the names of categories are cut.
const longestSlanted = vg.Length(140)

// slantedTicks are the names of the categories, cut where they would reach beyond the left edge of the figure.
func (p *linePanel) slantedTicks(width vg.Length) plot.ConstantTicks {
	style := textStyle(ink, tickSize, draw.XCenter, draw.YTop)
	slot := (width - axisWidth) / vg.Length(len(p.categories))
	var out plot.ConstantTicks
	for i, name := range p.categories {
		room := (axisWidth*.8 + (vg.Length(i)+.5)*slot) / vg.Length(math.Cos(slantAngle))
		out = append(out, plot.Tick{Value: float64(i), Label: fit(style, label(name), min(room, longestSlanted))})
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

// Plot draws the errors, the line, in pieces between the gaps, and its markers.
func (s series) Plot(c draw.Canvas, p *plot.Plot) {
	toX, y := p.Transforms(&c)
	x := func(v float64) vg.Length { return toX(v + s.shift) }
	glyph := draw.GlyphStyle{Color: s.look.color, Shape: s.look.shape, Radius: markRadius}
	s.plotSeeds(c, x, y)
	s.plotErrors(c, x, y, p.Y.Min, p.Y.Max)
	for first, last := range s.runs() {
		if last-first == 1 || s.unjoined { // a point between two gaps would be lost
			for i := first; i < last; i++ {
				c.DrawGlyphNoClip(glyph, vg.Point{X: x(s.x[i]), Y: y(s.y[i])})
			}
			continue
		}
		var points []vg.Point
		for i := first; i < last; i++ {
			points = append(points, vg.Point{X: x(s.x[i]), Y: y(s.y[i])})
		}
		c.StrokeLines(s.style(), points)
	}
	for i := range s.x {
		if s.stride > 0 && i%s.stride == s.offset%s.stride && finite(s.y[i]) {
			c.DrawGlyphNoClip(glyph, vg.Point{X: x(s.x[i]), Y: y(s.y[i])})
		}
	}
}

// runs yields the first index, and the one behind the last, of every stretch without a gap.
func (s series) runs() iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		for first := 0; first < len(s.y); first++ {
			last := first
			for last < len(s.y) && finite(s.y[last]) {
				last++
			}
			if last > first && !yield(first, last) {
				return
			}
			first = last
		}
	}
}

// tint is the colour of a series, let through.
func (s series) tint(alpha uint8) color.Color {
	r, g, b, _ := s.look.color.RGBA()
	return color.NRGBA{R: uint8(r >> 8), G: uint8(g >> 8), B: uint8(b >> 8), A: alpha}
}

// plotSeeds draws every value that a mean is made of as a faint point.
func (s series) plotSeeds(c draw.Canvas, x, y func(float64) vg.Length) {
	if s.band {
		return
	}
	style := draw.GlyphStyle{Color: s.tint(110), Shape: draw.CircleGlyph{}, Radius: seedRadius}
	for i, values := range s.seeds {
		if len(values) < 2 {
			continue
		}
		for _, v := range values {
			if finite(v) {
				c.DrawGlyphNoClip(style, vg.Point{X: x(s.x[i]), Y: y(v)})
			}
		}
	}
}

const (
	seedRadius = vg.Length(1.7)
	capWidth   = vg.Length(3) // half the width of the ends of an error bar
	barLine    = vg.Length(1.1)
)

// plotErrors draws a band or bars, as far as the axis reaches.
func (s series) plotErrors(c draw.Canvas, x, y func(float64) vg.Length, low, high float64) {
	if s.err == nil {
		return
	}
	ends := func(i int) (from, to vg.Length) {
		return y(min(max(s.y[i]-s.err[i], low), high)), y(min(s.y[i]+s.err[i], high))
	}
	if s.band {
		for first, last := range s.runs() {
			var above, below []vg.Point
			for i := first; i < last; i++ {
				from, to := y(s.y[i]), y(s.y[i])
				if finite(s.err[i]) {
					from, to = ends(i)
				}
				below = append(below, vg.Point{X: x(s.x[i]), Y: from})
				above = append(above, vg.Point{X: x(s.x[i]), Y: to})
			}
			slices.Reverse(below)
			c.FillPolygon(s.tint(50), append(above, below...))
		}
		return
	}
	style := draw.LineStyle{Color: s.look.color, Width: barLine}
	for i := range s.x {
		if !finite(s.y[i]) || !finite(s.err[i]) {
			continue
		}
		from, to := ends(i)
		at := x(s.x[i])
		c.StrokeLine2(style, at, from, at, to)
		for _, end := range []vg.Length{from, to} {
			c.StrokeLine2(style, at-capWidth, end, at+capWidth, end)
		}
	}
}

// tables returns the numbers of every panel: a row for each x, a column for each series.
func (f *lineFigure) tables() []Table {
	out := make([]Table, 0, len(f.panels))
	for _, p := range f.panels {
		t := Table{Caption: p.caption(), Header: []string{p.xLabel}}
		rows := map[float64]int{} // looked up only: the order is that of first appearance
		for k, s := range p.series {
			t.Header = append(t.Header, s.title())
			for i, x := range s.x {
				r, ok := rows[x]
				if !ok {
					r = len(t.Rows)
					rows[x] = r
					t.Rows = append(t.Rows, append([]string{p.xName(x)}, make([]string, len(p.series))...))
				}
				t.Rows[r][k+1] = s.cell(i)
			}
		}
		out = append(out, t)
	}
	return out
}

// data returns a row for each value: those of the seeds where y is a mean.
func (f *lineFigure) data() Table {
	t := Table{Header: []string{"panel", "series", "x", "seed", "y"}}
	for _, p := range f.panels {
		for _, s := range p.series {
			for i, x := range s.x {
				at := p.xName(x)
				if p.categories == nil {
					at = exact(x)
				}
				if s.seeds == nil {
					t.Rows = append(t.Rows, []string{p.caption(), s.title(), at, "", exact(s.y[i])})
					continue
				}
				for k, v := range s.seeds[i] {
					t.Rows = append(t.Rows, []string{p.caption(), s.title(), at, strconv.Itoa(k), exact(v)})
				}
			}
		}
	}
	return t
}

// caption names the panel among others.
func (p *linePanel) caption() string {
	if p.title == "" {
		return p.yLabel
	}
	return p.title + ": " + p.yLabel
}

// xName is x as tables show it.
func (p *linePanel) xName(x float64) string {
	if p.categories != nil {
		return p.categories[int(x)]
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}

// cell is the i-th value as tables show it, with its standard error.
func (s series) cell(i int) string {
	out := value(s.y[i])
	if s.err != nil && finite(s.y[i]) && finite(s.err[i]) {
		out += fmt.Sprintf(" ± %.2g", s.err[i])
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

// exact formats a number so that reading it gives the same one.
func exact(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// describe tells in words what the panel shows: each series with its ends and its extremes, or with all values of categories.
func (p *linePanel) describe() string {
	out := fmt.Sprintf("%s against %s.", p.caption(), p.xLabel)
	for _, s := range p.series {
		out += p.describeSeries(s)
	}
	for _, l := range p.lines {
		if l.Label != "" {
			out += fmt.Sprintf(" Line at %.4g: %s.", l.Y, l.Label)
		}
	}
	for _, m := range p.marks {
		out += fmt.Sprintf(" Mark at %s, %.4g: %s.", p.xName(m.X), m.Y, m.Label)
	}
	return out
}

func (p *linePanel) describeSeries(s series) string {
	var out string
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
	switch {
	case ys.empty():
	case p.categories != nil:
		out += " " + s.title() + ":"
		for i, x := range s.x {
			if finite(s.y[i]) {
				out += fmt.Sprintf(" %s %.4g,", p.xName(x), s.y[i])
			}
		}
		out = strings.TrimSuffix(out, ",") + "."
	default:
		out += fmt.Sprintf(" %s: from %.4g to %.4g, lowest %.4g, highest %.4g.", s.title(), first, last, ys.low, ys.high)
	}
	if missing > 0 {
		out += fmt.Sprintf(" %s: %d of %d values are not finite and not drawn.", s.title(), missing, len(s.y))
	}
	return out
}
