package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Sample is what was measured at one x: a value for each seed.
type Sample struct {
	X float64 // the index of the category where the panel has categories
	Y []float64
}

// Series is a named sequence of samples, drawn in their order.
type Series struct {
	Name     string
	Detail   string // tells series of one name apart: "train" and "test"
	Dashed   bool
	Unjoined bool // points without a line from one to the next
	Samples  []Sample
}

// Line is a horizontal line to compare with, as "paper: 33 s". An empty Label is a line without one.
type Line struct {
	Y     float64
	Label string
}

// Mark is a point to compare with.
type Mark struct {
	X, Y  float64
	Label string
}

// SeriesPanel is one pair of axes of a [SeriesFigure]. X is a number, or the index of one of Categories if there are any.
type SeriesPanel struct {
	Title          string // above the panel
	XLabel, YLabel string
	Categories     []string
	LogX           bool      // a logarithmic x axis, without effect on categories or where an x is not positive
	Ticks          []float64 // the labelled x; chosen evenly if nil
	Scale          Scale     // of y
	Limit          float64   // values cannot be above it, as 100 %; no limit if 0
	Band           bool      // errors are bands around the lines instead of bars, without the points of the seeds
	Series         []Series
	Lines          []Line
	Marks          []Mark
}

// SeriesOptions says how series are drawn. The zero value is the default.
type SeriesOptions struct {
	Title   string // "Measurements" if empty
	Caption string // a description of the figure if empty
}

// SeriesFigure draws samples over several seeds: means, error bars of one standard error of the mean to either side, and every
// seed as a faint point. With one seed the value stands for itself. Where a seed's value is not finite, neither is the mean, and
// only the other seeds are drawn. Series of one name look the same in every panel; panels stand beside each other, at most three
// in a row. It is an error if a panel has no finite value, or if an x is not one of the categories or not finite.
func SeriesFigure(opt SeriesOptions, panels ...SeriesPanel) (*Figure, error) {
	title, caption := orElse(opt.Title, "Measurements"), opt.Caption
	if len(panels) == 0 {
		return nil, fmt.Errorf("report: figure %q: %w", title, ErrNothing)
	}
	legend := newSeriesLegend(panels)
	out := make([]linePanel, len(panels))
	fewest, most := math.MaxInt, 0
	for i, p := range panels {
		for _, s := range p.Series {
			for _, m := range s.Samples {
				fewest, most = min(fewest, len(m.Y)), max(most, len(m.Y))
			}
		}
		var err error
		if out[i], err = p.lines(legend); err != nil {
			return nil, fmt.Errorf("report: figure %q: panel %d: %w", title, i+1, err)
		}
	}
	if caption == "" && most > 1 {
		caption = "Means with one standard error to either side" + seedCount(fewest, most) + "."
		if !panels[0].Band {
			caption += " Faint points are the seeds."
		}
	}
	return newLineFigure(title, caption, out, legend.entries()), nil
}

func seedCount(fewest, most int) string {
	if fewest == most {
		return fmt.Sprintf(", over %d seeds", most)
	}
	return fmt.Sprintf(", over %d to %d seeds", fewest, most)
}

// lines turns the panel into what is drawn.
func (p SeriesPanel) lines(legend seriesLegend) (linePanel, error) {
	out := linePanel{
		title: p.Title, xLabel: p.XLabel, yLabel: p.YLabel, limit: p.Limit, xRange: noBounds(), roomy: !p.Band,
		lines: p.Lines, marks: p.Marks, categories: p.Categories,
	}
	if p.Limit == 0 {
		out.limit = math.Inf(1)
	}
	for k, s := range p.Series {
		l := series{
			name: label(s.Name), detail: label(s.Detail), look: legend.look(s.Name), dashed: s.Dashed, unjoined: s.Unjoined,
			band: p.Band, stride: 1,
		}
		if p.Band {
			l.stride, l.offset = min(4, max(1, len(s.Samples)/3)), k
		}
		if n := len(p.Series); p.Categories != nil && n > 1 {
			l.shift = (float64(k)/float64(n-1) - .5) * min(.6, .15*float64(n-1))
		}
		for _, m := range s.Samples {
			if err := p.checkX(m.X); err != nil {
				return out, fmt.Errorf("series %q: %w", s.Name, err)
			}
			l.add(m.X, m.Y)
		}
		if len(l.x) > 0 {
			out.series = append(out.series, l)
		}
	}
	for _, m := range p.Marks {
		if err := p.checkX(m.X); err != nil {
			return out, fmt.Errorf("mark %q: %w", m.Label, err)
		}
	}
	if !out.drawable() {
		return out, ErrNothing
	}
	out.log = p.Scale.logarithmic(out.bounds())
	xs := out.xBounds()
	for _, x := range p.Ticks {
		xs.include(x)
	}
	out.xLog = p.LogX && p.Categories == nil && xs.low > 1/huge
	out.xTicks = p.ticks(out.xLog)
	return out, nil
}

// checkX tells whether x has a place on the axis.
func (p SeriesPanel) checkX(x float64) error {
	if p.Categories != nil && (x != math.Trunc(x) || x < 0 || x >= float64(len(p.Categories))) {
		return fmt.Errorf("x = %v is not the index of one of %d categories", x, len(p.Categories))
	}
	if !finite(x) {
		return fmt.Errorf("x = %v is not finite", x)
	}
	return nil
}

func (p SeriesPanel) ticks(log bool) plot.Ticker {
	var ticks plot.ConstantTicks
	for i, name := range p.Categories {
		ticks = append(ticks, plot.Tick{Value: float64(i), Label: label(name)})
	}
	for _, x := range p.Ticks {
		if p.Categories == nil && finite(x) {
			ticks = append(ticks, plot.Tick{Value: x, Label: strconv.FormatFloat(x, 'g', 4, 64)})
		}
	}
	switch {
	case ticks != nil:
		return ticks
	case log:
		return plot.TickerFunc(logTicks)
	}
	return plot.TickerFunc(linearTicks)
}

// add appends the mean of the values at x, with its standard error. Without values there is nothing to append.
func (s *series) add(x float64, values []float64) {
	if len(values) == 0 {
		return
	}
	mean, err := meanError(values)
	s.x, s.y = append(s.x, x), append(s.y, mean)
	if len(values) > 1 || s.err != nil {
		for len(s.err) < len(s.y)-1 {
			s.err, s.seeds = append(s.err, math.NaN()), append(s.seeds, s.y[len(s.err):len(s.err)+1])
		}
		s.err, s.seeds = append(s.err, err), append(s.seeds, slices.Clone(values))
	}
}

// meanError returns the mean and its standard error, the root of the unbiased variance over n. With fewer than two values the
// error is NaN.
func meanError(values []float64) (mean, err float64) {
	n := float64(len(values))
	for _, v := range values {
		mean += v / n
	}
	if n < 2 {
		return mean, math.NaN()
	}
	var squares float64
	for _, v := range values {
		squares += (v - mean) * (v - mean)
	}
	return mean, math.Sqrt(squares / (n - 1) / n)
}

// seriesLegend knows the look of every name in all panels, and the lines that details stand for.
type seriesLegend struct {
	names   []string
	looks   []look
	dots    []bool // the name never has a line
	details []series
}

func newSeriesLegend(panels []SeriesPanel) seriesLegend {
	var out seriesLegend
	for _, p := range panels {
		for _, s := range p.Series {
			i := slices.Index(out.names, s.Name)
			if i < 0 {
				i = len(out.names)
				out.names, out.dots = append(out.names, s.Name), append(out.dots, true)
			}
			out.dots[i] = out.dots[i] && s.Unjoined
			d := series{detail: label(s.Detail), dashed: s.Dashed, look: look{color: muted}}
			if s.Detail != "" && !slices.ContainsFunc(out.details, func(o series) bool { return o.detail == d.detail }) {
				out.details = append(out.details, d)
			}
		}
	}
	out.looks = assignLooks(out.names)
	return out
}

func (l seriesLegend) look(name string) look { return l.looks[slices.Index(l.names, name)] }

// entries are what the legend shows: nothing for a single series.
func (l seriesLegend) entries() []entry {
	var out []entry
	for i, name := range l.names {
		e := entry{label(name), draw.LineStyle{Color: l.looks[i].color, Width: lineWidth}, l.looks[i]}
		if l.dots[i] {
			e.line.Width = 0
		}
		out = append(out, e)
	}
	for _, d := range l.details {
		out = append(out, entry{name: d.detail, line: d.style()})
	}
	if len(out) == 1 {
		return nil
	}
	return out
}

// references draws the lines and marks of a panel with their labels.
type references struct{ panel *linePanel }

// Plot implements plot.Plotter.
func (r references) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	place := newPlacer(c.Rectangle)
	for _, s := range r.panel.series {
		for first, last := range s.runs() {
			for i := first; i < last; i++ {
				at := vg.Point{X: x(s.x[i] + s.shift), Y: y(s.y[i])}
				if i > first && !s.unjoined {
					place.way(at)
				}
				place.points = append(place.points, at)
			}
		}
	}
	shown := func(y float64) bool { return finite(y) && (p.Y.Scale != plot.LogScale{} || y > 0) }
	for _, m := range r.panel.marks {
		if shown(m.Y) {
			place.points = append(place.points, vg.Point{X: x(m.X), Y: y(m.Y)})
		}
	}
	style := textStyle(ink, tickSize, draw.XLeft, draw.YBottom)
	write := func(text string, candidates []vg.Point) {
		box := place.label(vg.Point{X: style.Width(text), Y: tickSize}, candidates)
		c.FillText(style, vg.Point{X: box.Min.X, Y: box.Min.Y + style.FontExtents().Descent}, text)
	}
	for _, l := range r.panel.lines {
		if !shown(l.Y) {
			continue
		}
		at := y(l.Y)
		c.StrokeLine2(draw.LineStyle{Color: muted, Width: 1, Dashes: []vg.Length{1.5, 2.5}}, c.Min.X, at, c.Max.X, at)
		if text := label(l.Label); text != "" {
			left, right := c.Min.X+4, c.Max.X-4-style.Width(text)
			middle := (left + right) / 2
			above, below := at+3, at-tickSize-3
			write(text, []vg.Point{
				{X: right, Y: above}, {X: right, Y: below}, {X: left, Y: above}, {X: left, Y: below}, {X: middle, Y: above}, {X: middle, Y: below},
			})
		}
	}
	for _, m := range r.panel.marks {
		if !shown(m.Y) {
			continue
		}
		at := vg.Point{X: x(m.X), Y: y(m.Y)}
		c.DrawGlyphNoClip(draw.GlyphStyle{Color: ink, Shape: cross{}, Radius: markRadius * 1.2}, at)
		if text := label(m.Label); text != "" {
			w := style.Width(text)
			write(text, []vg.Point{
				{X: at.X + 7, Y: at.Y - tickSize/2},
				{X: at.X - 7 - w, Y: at.Y - tickSize/2},
				{X: at.X - w/2, Y: at.Y + 7},
				{X: at.X - w/2, Y: at.Y - 7 - tickSize},
			})
		}
	}
}

// placer finds places for labels.
type placer struct {
	area   vg.Rectangle
	points []vg.Point     // better not covered
	taken  []vg.Rectangle // by other labels
}

func newPlacer(area vg.Rectangle) *placer { return &placer{area: area} }

// way adds points on the way from the last one.
func (p *placer) way(to vg.Point) {
	const steps = 16
	from := p.points[len(p.points)-1]
	for i := range steps - 1 {
		t := vg.Length(i+1) / steps
		p.points = append(p.points, vg.Point{X: from.X + t*(to.X-from.X), Y: from.Y + t*(to.Y-from.Y)})
	}
}

// label chooses the candidate, moved into the area, that covers no other label and the fewest points; the first of equals.
func (p *placer) label(size vg.Point, candidates []vg.Point) vg.Rectangle {
	best, cost := vg.Rectangle{}, math.MaxInt
	for _, at := range candidates {
		at.X = max(p.area.Min.X, min(at.X, p.area.Max.X-size.X))
		at.Y = max(p.area.Min.Y, min(at.Y, p.area.Max.Y-size.Y))
		box := vg.Rectangle{Min: at, Max: at.Add(size)}
		n := 0
		for _, q := range p.points {
			if box.Min.X-markRadius < q.X && q.X < box.Max.X+markRadius && box.Min.Y-markRadius < q.Y && q.Y < box.Max.Y+markRadius {
				n++
			}
		}
		for _, b := range p.taken {
			if box.Min.X < b.Max.X && b.Min.X < box.Max.X && box.Min.Y < b.Max.Y && b.Min.Y < box.Max.Y {
				n += 1000
			}
		}
		if n < cost {
			best, cost = box, n
		}
	}
	p.taken = append(p.taken, best)
	return best
}
