package report

import (
	"fmt"
	"image"
	"image/color"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Region is a classifier of two inputs on [-1, 1]².
type Region struct {
	Label   string
	Detail  string // a second line, as "error 0.25"
	Predict func(x1, x2 float64) bool
}

// RegionsOptions says how decision regions are drawn. The zero value is the default.
type RegionsOptions struct {
	Title   string                    // "Decision regions" if empty
	Caption string                    // a description of the figure if empty
	Columns int                       // panels in a row; as many as there are, at most 5, if 0
	Truth   func(x1, x2 float64) bool // what is right, to mark what is wrong; nil if nothing is
}

// RegionsFigure draws where each classifier says 1, where it says 0, and where that is wrong, on [-1, 1]² with x1 to the right and x2
// upwards, sampled at the middles of 240 by 240 squares. It is an error if there is no panel or a classifier is nil.
func RegionsFigure(opt RegionsOptions, regions []Region) (*Figure, error) {
	title, caption := orElse(opt.Title, "Decision regions"), opt.Caption
	if len(regions) == 0 {
		return nil, fmt.Errorf("report: figure %q: no classifier", title)
	}
	if caption == "" {
		caption = "What each classifier says on [−1, 1]², x₁ to the right and x₂ upwards."
	}
	f := &regionsFigure{columns: opt.Columns, truth: opt.Truth != nil}
	if f.columns <= 0 {
		f.columns = min(len(regions), 5)
	}
	for i, r := range regions {
		if r.Predict == nil {
			return nil, fmt.Errorf("report: figure %q: panel %d has no classifier", title, i+1)
		}
		f.panels = append(f.panels, newRegionPanel(r, opt.Truth))
	}
	return &Figure{Title: title, Caption: caption, Alt: f.describe(), content: f}, nil
}

// regionSide is the number of squares along each side.
const regionSide = 240

// The colours of squares: what is said, and whether it is wrong.
const (
	saysZero = iota
	saysOne
	wrongZero // says 0, but 1 is right
	wrongOne
)

var regionColours = color.Palette{rgb(0xE8ECF0), rgb(0x56B4E9), rgb(0xF4C09A), vermillion}

type regionPanel struct {
	label, detail string
	img           *image.Paletted
	share         [4]float64 // of the squares of each colour
}

func newRegionPanel(r Region, truth func(x1, x2 float64) bool) regionPanel {
	out := regionPanel{label: label(r.Label), detail: label(r.Detail)}
	out.img = image.NewPaletted(image.Rect(0, 0, regionSide, regionSide), regionColours)
	for py := range regionSide {
		x2 := 1 - (2*float64(py)+1)/regionSide
		for px := range regionSide {
			x1 := (2*float64(px)+1)/regionSide - 1
			says, index := r.Predict(x1, x2), saysZero
			if says {
				index = saysOne
			}
			if truth != nil && truth(x1, x2) != says {
				index += wrongZero
			}
			out.img.SetColorIndex(px, py, uint8(index))
			out.share[index] += 1. / (regionSide * regionSide)
		}
	}
	return out
}

type regionsFigure struct {
	columns int
	truth   bool
	panels  []regionPanel
}

const (
	regionAxis   = vg.Length(22) // the numbers at the left and below
	regionGap    = vg.Length(10)
	widestRegion = vg.Length(150)
)

// shape tells how many panels stand in a row, and the side of each map.
func (f *regionsFigure) shape(l layout) (cols int, side, width vg.Length) {
	cols = f.columns
	width = 2*panelWidth + 10
	if l == narrow {
		cols, width = min(cols, 2), narrowWidth
	}
	side = min((width-2*edge-regionAxis)/vg.Length(cols)-regionGap, widestRegion)
	return cols, side, max(2*edge+regionAxis+vg.Length(cols)*(side+regionGap), narrowWidth)
}

func (f *regionsFigure) tags() vg.Length {
	for _, p := range f.panels {
		if p.detail != "" {
			return 2*fontSize + 8
		}
	}
	return fontSize + 7
}

func (f *regionsFigure) size(l layout) (width, height vg.Length) {
	cols, side, width := f.shape(l)
	rows := vg.Length((len(f.panels) + cols - 1) / cols)
	return width, 2*edge + legendHeight(f.legend(), width-2*edge) + rows*(side+f.tags()+regionGap) + regionAxis - regionGap
}

// legend explains the colours that occur.
func (f *regionsFigure) legend() []entry {
	var seen [4]bool
	for _, p := range f.panels {
		for i, s := range p.share {
			seen[i] = seen[i] || s > 0
		}
	}
	var out []entry
	for i, name := range []string{"says 0", "says 1", "says 0, wrong", "says 1, wrong"} {
		if seen[i] {
			out = append(out, entry{name: name, line: draw.LineStyle{Color: regionColours[i], Width: 9}})
		}
	}
	return out
}

func (f *regionsFigure) draw(c draw.Canvas, l layout) {
	c = draw.Crop(c, edge, -edge, edge, -edge)
	top := legendHeight(f.legend(), c.Size().X)
	drawLegend(draw.Crop(c, 0, 0, c.Size().Y-top, 0), f.legend())
	c = draw.Crop(c, 0, 0, 0, -top)
	cols, side, _ := f.shape(l)
	rows := (len(f.panels) + cols - 1) / cols
	left := c.Min.X + max(0, (c.Size().X-regionAxis-vg.Length(cols)*(side+regionGap))/2) + regionAxis
	for i, p := range f.panels {
		r, k := i/cols, i%cols
		low := vg.Point{
			X: left + vg.Length(k)*(side+regionGap),
			Y: c.Max.Y - vg.Length(r+1)*(side+f.tags()+regionGap) + regionGap,
		}
		below := r == rows-1 || i+cols >= len(f.panels)
		p.draw(c, vg.Rectangle{Min: low, Max: low.Add(vg.Point{X: side, Y: side})}, k == 0, below)
	}
}

// draw draws the map in box, its label above, and numbers at the sides that are wanted.
func (p regionPanel) draw(c draw.Canvas, box vg.Rectangle, left, below bool) {
	c.DrawImage(box, p.img)
	border := draw.LineStyle{Color: muted, Width: hairline}
	c.StrokeLines(border, []vg.Point{box.Min, {X: box.Max.X, Y: box.Min.Y}, box.Max, {X: box.Min.X, Y: box.Max.Y}, box.Min})
	middle := vg.Point{X: (box.Min.X + box.Max.X) / 2, Y: (box.Min.Y + box.Max.Y) / 2}
	axes := draw.LineStyle{Color: mapInk, Width: .4, Dashes: []vg.Length{1.5, 2.5}}
	c.StrokeLine2(axes, box.Min.X, middle.Y, box.Max.X, middle.Y)
	c.StrokeLine2(axes, middle.X, box.Min.Y, middle.X, box.Max.Y)
	lines := []string{p.label}
	if p.detail != "" {
		lines = append(lines, p.detail)
	}
	for i, text := range lines {
		style := textStyle(ink, fontSize-vg.Length(i), draw.XCenter, draw.YBottom)
		if i > 0 {
			style.Color = muted
		}
		text = fit(style, text, box.Size().X+regionGap-4)
		c.FillText(style, vg.Point{X: middle.X, Y: box.Max.Y + 3 + vg.Length(len(lines)-1-i)*(fontSize+1.5)}, text)
	}
	tick := textStyle(ink, tickSize, draw.XRight, draw.YCenter)
	for i, text := range []string{"−1", "0", "1"} {
		t := vg.Length(i) / 2
		if left {
			tick.XAlign, tick.YAlign = draw.XRight, draw.YCenter
			c.FillText(tick, vg.Point{X: box.Min.X - 4, Y: box.Min.Y + t*box.Size().Y + tick.FontExtents().Descent}, text)
		}
		if below {
			tick.XAlign, tick.YAlign = draw.XAlignment(-float64(t)), draw.YTop
			c.FillText(tick, vg.Point{X: box.Min.X + t*box.Size().X, Y: box.Min.Y - 1}, text)
		}
	}
}

func (f *regionsFigure) describe() string {
	out := "Decision regions on [−1, 1]²."
	for _, p := range f.panels {
		out += fmt.Sprintf(" %s: says 1 on %.4g of the square", p.label, p.share[saysOne]+p.share[wrongOne])
		if f.truth {
			out += fmt.Sprintf(", wrong on %.4g", p.share[wrongZero]+p.share[wrongOne])
		}
		if p.detail != "" {
			out += " (" + p.detail + ")"
		}
		out += "."
	}
	return out
}

func (f *regionsFigure) tables() []Table {
	t := Table{Caption: "Shares of the square", Header: []string{"classifier", "says 1"}}
	if f.truth {
		t.Header = append(t.Header, "wrong")
	}
	for _, p := range f.panels {
		row := []string{p.label, value(p.share[saysOne] + p.share[wrongOne])}
		if f.truth {
			row = append(row, value(p.share[wrongZero]+p.share[wrongOne]))
		}
		t.Rows = append(t.Rows, row)
	}
	return []Table{t}
}

func (f *regionsFigure) data() Table { return f.tables()[0] }
