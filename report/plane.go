package report

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/landscape"
)

// PlaneOptions says how a plane is drawn. The zero value is the default.
type PlaneOptions struct {
	Title   string    // "Loss on the plane through three models" if empty
	Caption string    // a description of the figure if empty
	Labels  [3]string // of the models; "model A", "model B" and "π(model B)" if empty
	Train   bool      // the loss on training data instead of test data
	Scale   Scale     // of the loss
}

// PlaneFigure draws the loss on a plane as coloured bands with contour lines, and marks the three models that span it: the
// manner of Garipov, Izmailov, Podoprikhin, Vetrov, Wilson (2018), arXiv 1802.10026, figure 1. Between grid points the loss
// is interpolated linearly, on a logarithmic scale in its logarithm. It is an error if the plane's parts do not fit together
// or there is no finite loss.
func PlaneFigure(opt PlaneOptions, plane landscape.PlaneResult) (*Figure, error) {
	title := orElse(opt.Title, "Loss on the plane through three models")
	if err := checkPlane(plane); err != nil {
		return nil, fmt.Errorf("report: figure %q: %w", title, err)
	}
	f := &planeFigure{plane: plane, name: "test loss (nats)", pick: func(p landscape.PlanePoint) eval.Metrics { return p.Test }}
	if opt.Train {
		f.name, f.pick = "training loss (nats)", func(p landscape.PlanePoint) eval.Metrics { return p.Train }
	}
	for i, fallback := range []string{"model A", "model B", "π(model B)"} {
		f.labels[i] = label(orElse(opt.Labels[i], fallback))
	}
	if !f.scan(opt.Scale) {
		return nil, fmt.Errorf("report: figure %q: %w", title, ErrNothing)
	}
	caption := opt.Caption
	if caption == "" {
		caption = "Distances are those of weight space. Dashed lines are the straight ways between the models."
	}
	if f.missing > 0 {
		caption += " Grey: the loss is not finite."
	}
	return &Figure{Title: title, Caption: caption, Alt: f.describe(), content: f}, nil
}

// unevenness is how far a grid line may be from its place, in steps: below what can be seen.
const unevenness = 1e-3

func checkPlane(p landscape.PlaneResult) error {
	if len(p.X) < 2 || len(p.Y) < 2 {
		return fmt.Errorf("a plane of %d by %d points", len(p.X), len(p.Y))
	}
	if len(p.Grid) != len(p.Y) {
		return fmt.Errorf("%d rows for %d values of y", len(p.Grid), len(p.Y))
	}
	for i, row := range p.Grid {
		if len(row) != len(p.X) {
			return fmt.Errorf("row %d has %d points for %d values of x", i, len(row), len(p.X))
		}
	}
	for _, axis := range [][]float64{p.X, p.Y} {
		first, step := axis[0], (axis[len(axis)-1]-axis[0])/float64(len(axis)-1)
		for i, v := range axis {
			if !finite(v) || step <= 0 || math.Abs(v-first-float64(i)*step) > unevenness*step {
				return errors.New("coordinates do not ascend evenly")
			}
		}
	}
	for _, c := range p.Corners {
		if !(p.X[0] <= c[0] && c[0] <= p.X[len(p.X)-1] && p.Y[0] <= c[1] && c[1] <= p.Y[len(p.Y)-1]) {
			return fmt.Errorf("a model at (%.4g, %.4g) is outside the plane", c[0], c[1])
		}
	}
	return nil
}

// bands is the number of colours of a plane.
const bands = 12

// planeFigure is the map of one loss with its bar of colours.
type planeFigure struct {
	plane   landscape.PlaneResult
	labels  [3]string
	name    string
	pick    func(landscape.PlanePoint) eval.Metrics
	loss    field // transformed: the logarithm on a logarithmic scale
	log     bool
	missing int
	levels  [bands + 1]float64 // the edges of the bands, transformed
}

// scan reads the losses and chooses the bands. It returns false if no loss is finite.
func (f *planeFigure) scan(s Scale) bool {
	b := noBounds()
	for _, row := range f.plane.Grid {
		for _, p := range row {
			b.include(f.pick(p).Loss)
		}
	}
	if b.empty() {
		return false
	}
	f.log = s.logarithmic(b)
	f.loss = field{cols: len(f.plane.X), rows: len(f.plane.Y)}
	for _, row := range f.plane.Grid {
		for _, p := range row {
			z := f.pick(p).Loss
			switch {
			case !finite(z):
				f.missing++
				z = math.NaN()
			case f.log:
				z = math.Log(z)
			}
			f.loss.z = append(f.loss.z, z)
		}
	}
	low, high := b.low, b.high
	if f.log {
		low, high = math.Log(low), math.Log(high)
	}
	if low == high {
		low, high = low-.5, high+.5
	}
	for i := range f.levels {
		t := float64(i) / bands
		f.levels[i] = (1-t)*low + t*high
	}
	return true
}

// original undoes the transformation of a level.
func (f *planeFigure) original(level float64) float64 {
	if f.log {
		return math.Exp(level)
	}
	return level
}

const (
	planeWidth    = vg.Length(480)
	barSpace      = vg.Length(78) // the bar of colours with its numbers
	barWidth      = vg.Length(14)
	planeLeft     = vg.Length(52) // the y axis, as in newAxes
	planeBottom   = vg.Length(40)
	maxPlaneRatio = 1.15 // height by width of the map at most; slimmer planes are drawn smaller
)

// size leaves the map as much room as makes a unit of x as long as one of y.
func (f *planeFigure) size(l layout) (width, height vg.Length) {
	width = planeWidth
	if l == narrow {
		width = narrowWidth
	}
	across := width - 2*edge - planeLeft - barSpace
	return width, min(across*vg.Length(f.ratio()), across*maxPlaneRatio) + planeBottom + 2*edge + legendMargin
}

// ratio is height by width of the plane in weight space, kept from vanishing.
func (f *planeFigure) ratio() float64 {
	x, y := f.plane.X, f.plane.Y
	return max((y[len(y)-1]-y[0])/(x[len(x)-1]-x[0]), .2)
}

func (f *planeFigure) draw(c draw.Canvas, _ layout) {
	c = draw.Crop(c, edge, -edge, edge, -edge)
	p := newAxes("distance towards "+f.labels[1], "distance off that line")
	p.X.Min, p.X.Max = f.plane.X[0], f.plane.X[len(f.plane.X)-1]
	p.Y.Min, p.Y.Max = f.plane.Y[0], f.plane.Y[len(f.plane.Y)-1]
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(linearTicks), plot.TickerFunc(linearTicks)
	p.Add(f)

	area := draw.Crop(c, 0, -barSpace, 0, 0)
	data := p.DataCanvas(area)
	if excess := data.Size().X - data.Size().Y/vg.Length(f.ratio()); excess > 0 {
		area.Max.X -= excess
		data.Max.X -= excess
	}
	p.Draw(area)
	f.drawBar(data)
}

// Plot draws the map inside the axes.
func (f *planeFigure) Plot(c draw.Canvas, p *plot.Plot) {
	c.DrawImage(c.Rectangle, f.raster())
	x, y := p.Transforms(&c)
	fine := f.loss.refine(refinement)
	line := draw.LineStyle{Color: color.NRGBA{R: 255, G: 255, B: 255, A: 110}, Width: hairline}
	for _, level := range f.levels[1:bands] {
		for _, points := range fine.contour(level) {
			path := make([]vg.Point, len(points))
			for i, g := range points {
				path[i] = vg.Point{X: c.X(g.c / float64(fine.cols-1)), Y: c.Y(g.r / float64(fine.rows-1))}
			}
			c.StrokeLines(line, path)
		}
	}
	f.drawModels(c, x, y)
}

// refinement is the number of steps of a contour line between two grid points.
const refinement = 4

// mapInk is the ink of marks on the map. It differs from ink, for the map looks the same on a dark page.
var mapInk = rgb(0x16191D)

// drawModels marks the three models and the ways between them.
func (f *planeFigure) drawModels(c draw.Canvas, x, y func(float64) vg.Length) {
	var at [3]vg.Point
	for i, p := range f.plane.Corners {
		at[i] = vg.Point{X: x(p[0]), Y: y(p[1])}
	}
	way := draw.LineStyle{Color: rgb(0xFFFFFE), Width: 1.2, Dashes: []vg.Length{5, 3}}
	c.StrokeLines(way, []vg.Point{at[0], at[1]}, []vg.Point{at[0], at[2]}, []vg.Point{at[1], at[2]})
	for i, p := range at {
		c.DrawGlyphNoClip(draw.GlyphStyle{Color: rgb(0xFFFFFE), Shape: draw.CircleGlyph{}, Radius: 5.5}, p)
		c.DrawGlyphNoClip(draw.GlyphStyle{Color: vermillion, Shape: draw.CircleGlyph{}, Radius: 4}, p)
		above := i == 2 // the third is above the line of the others
		drawTag(c, f.labels[i], p, above)
	}
}

const (
	tagPad  = vg.Length(3) // around the name, and between the plate and the border of the map
	tagAway = vg.Length(9) // between the point and the plate
)

// drawTag writes a name on a white plate beside a point.
func drawTag(c draw.Canvas, name string, at vg.Point, above bool) {
	style := textStyle(mapInk, tickSize, draw.XLeft, draw.YBottom)
	box := tagBox(c.Rectangle, vg.Point{X: style.Width(name) + 2*tagPad, Y: tickSize + 2*tagPad}, at, above)
	c.SetColor(color.NRGBA{R: 255, G: 255, B: 255, A: 225})
	c.Fill(box.Path())
	c.FillText(style, vg.Point{X: box.Min.X + tagPad, Y: box.Min.Y + tagPad + style.FontExtents().Descent}, name)
}

// tagBox places a plate above or below a point: on the other side where there is no room on the wanted one, and moved
// sideways as far as keeps it on the map.
func tagBox(area vg.Rectangle, size, at vg.Point, above bool) vg.Rectangle {
	up, down := at.Y+tagAway, at.Y-tagAway-size.Y
	upFits, downFits := up+size.Y <= area.Max.Y-tagPad, down >= area.Min.Y+tagPad
	y := down
	if above && (upFits || !downFits) || upFits && !downFits {
		y = up
	}
	x := max(area.Min.X+tagPad, min(at.X-size.X/2, area.Max.X-size.X-tagPad))
	low := vg.Point{X: x, Y: y}
	return vg.Rectangle{Min: low, Max: low.Add(size)}
}

// rasterSide is the number of pixels along the longer side of the map: enough for edges that look smooth beneath the lines.
const rasterSide = 480

// raster paints the bands.
func (f *planeFigure) raster() image.Image {
	w, h := rasterSide, rasterSide
	if r := f.ratio(); r < 1 {
		h = int(rasterSide * r)
	} else {
		w = max(int(rasterSide/r), 1)
	}
	palette := color.Palette{rgb(0x9AA0A6)} // not finite
	for i := range bands {
		palette = append(palette, bandColour(i))
	}
	img := image.NewPaletted(image.Rect(0, 0, w, h), palette)
	for py := range h {
		r := (1 - (float64(py)+.5)/float64(h)) * float64(f.loss.rows-1)
		for px := range w {
			z := f.loss.sample((float64(px)+.5)/float64(w)*float64(f.loss.cols-1), r)
			img.SetColorIndex(px, py, f.band(z))
		}
	}
	return img
}

// band is the index in the palette of a transformed loss.
func (f *planeFigure) band(z float64) uint8 {
	if math.IsNaN(z) {
		return 0
	}
	t := (z - f.levels[0]) / (f.levels[bands] - f.levels[0])
	return 1 + uint8(min(max(int(t*bands), 0), bands-1))
}

// viridis are nine colours evenly spaced along the map of that name by Smith and van der Walt (2015), which rises evenly in
// lightness for all readers.
var viridis = []color.RGBA{
	rgb(0x440154), rgb(0x472D7B), rgb(0x3B528B), rgb(0x2C728E), rgb(0x21918C), rgb(0x28AE80), rgb(0x5EC962), rgb(0xADDC30), rgb(0xFDE725),
}

// bandColour is the colour of the i-th band from below.
func bandColour(i int) color.RGBA { return viridisAt(float64(i) / (bands - 1)) }

// viridisAt is the colour at t, from 0 to 1.
func viridisAt(t float64) color.RGBA {
	t *= float64(len(viridis) - 1)
	k := min(int(t), len(viridis)-2)
	mix := func(a, b uint8) uint8 { return uint8(math.Round(float64(a) + (t-float64(k))*(float64(b)-float64(a)))) }
	a, b := viridis[k], viridis[k+1]
	return color.RGBA{R: mix(a.R, b.R), G: mix(a.G, b.G), B: mix(a.B, b.B), A: 255}
}

// drawBar draws the colours and their losses to the right of the map.
func (f *planeFigure) drawBar(data draw.Canvas) {
	left := data.Max.X + 14
	step := data.Size().Y / bands
	style := textStyle(ink, tickSize, draw.XLeft, draw.YCenter)
	every := 1
	if step < tickSize*1.25 {
		every = 2
	}
	for i := range bands {
		y := data.Min.Y + vg.Length(i)*step
		data.FillPolygon(bandColour(i), []vg.Point{
			{X: left, Y: y}, {X: left + barWidth, Y: y}, {X: left + barWidth, Y: y + step}, {X: left, Y: y + step},
		})
	}
	for i := 0; i <= bands; i += every {
		y := data.Min.Y + vg.Length(i)*step
		text := strconv.FormatFloat(f.original(f.levels[i]), 'g', 2, 64)
		data.FillText(style, vg.Point{X: left + barWidth + 4, Y: y + style.FontExtents().Descent}, text)
	}
	title := textStyle(ink, fontSize, draw.XCenter, draw.YTop)
	title.Rotation = math.Pi / 2
	data.FillText(title, vg.Point{X: left + barSpace - 28, Y: data.Center().Y}, f.name)
}

// nearest returns the grid point closest to a model.
func (f *planeFigure) nearest(corner [2]float64) landscape.PlanePoint {
	index := func(axis []float64, v float64) (best int) {
		for i := range axis {
			if math.Abs(axis[i]-v) < math.Abs(axis[best]-v) {
				best = i
			}
		}
		return best
	}
	return f.plane.Grid[index(f.plane.Y, corner[1])][index(f.plane.X, corner[0])]
}

func (f *planeFigure) describe() string {
	b := bounds{f.original(f.levels[0]), f.original(f.levels[bands])}
	out := fmt.Sprintf("Map of the %s on a plane of weight space, from %.4g to %.4g.", f.name, b.low, b.high)
	for i, c := range f.plane.Corners {
		out += fmt.Sprintf(" %s is at (%.4g, %.4g), where the loss is about %.4g.", f.labels[i], c[0], c[1], f.pick(f.nearest(c)).Loss)
	}
	if f.missing > 0 {
		out += fmt.Sprintf(" At %d of %d points the loss is not finite.", f.missing, len(f.loss.z))
	}
	return out
}

// tables returns where the models are. The grid itself is the business of whoever measured it.
func (f *planeFigure) tables() []Table {
	t := Table{Caption: f.name, Header: []string{"model", "x", "y", "near it"}}
	for i, c := range f.plane.Corners {
		t.Rows = append(t.Rows, []string{f.labels[i], value(c[0]), value(c[1]), value(f.pick(f.nearest(c)).Loss)})
	}
	return []Table{t}
}

// data returns the loss of every point of the grid.
func (f *planeFigure) data() Table {
	t := Table{Header: []string{"x", "y", f.name}}
	for r, y := range f.plane.Y {
		for k, x := range f.plane.X {
			t.Rows = append(t.Rows, []string{exact(x), exact(y), exact(f.pick(f.plane.Grid[r][k]).Loss)})
		}
	}
	return t
}
