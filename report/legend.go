package report

import (
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// entry is one line of a legend: a sample and its name.
type entry struct {
	name string
	line draw.LineStyle
	look look // a shape of nil draws no marker
}

const (
	sampleWidth  = vg.Length(26)
	sampleGap    = vg.Length(5)
	entryGap     = vg.Length(16)
	legendLine   = vg.Length(16)
	legendMargin = vg.Length(8)
)

// legendRows breaks entries into rows no wider than width.
func legendRows(entries []entry, width vg.Length) [][]entry {
	var rows [][]entry
	var used vg.Length
	for _, e := range entries {
		w := e.width()
		if len(rows) == 0 || used+entryGap+w > width {
			rows = append(rows, nil)
			used = -entryGap
		}
		used += entryGap + w
		rows[len(rows)-1] = append(rows[len(rows)-1], e)
	}
	return rows
}

func (e entry) width() vg.Length {
	return sampleWidth + sampleGap + textStyle(ink, fontSize, draw.XLeft, draw.YCenter).Width(e.name)
}

// legendHeight is the height of the entries in a figure of the given width, with the margin below them.
func legendHeight(entries []entry, width vg.Length) vg.Length {
	if len(entries) == 0 {
		return 0
	}
	return vg.Length(len(legendRows(entries, width)))*legendLine + legendMargin
}

// drawLegend writes the entries at the top of c, every row in its middle.
func drawLegend(c draw.Canvas, entries []entry) {
	style := textStyle(ink, fontSize, draw.XLeft, draw.YCenter)
	y := c.Max.Y - legendLine/2
	for _, row := range legendRows(entries, c.Size().X) {
		total := -entryGap
		for _, e := range row {
			total += entryGap + e.width()
		}
		x := c.Center().X - total/2
		for _, e := range row {
			c.StrokeLine2(e.line, x, y, x+sampleWidth, y)
			c.DrawGlyphNoClip(draw.GlyphStyle{Color: e.look.color, Shape: e.look.shape, Radius: markRadius},
				vg.Point{X: x + sampleWidth/2, Y: y})
			c.FillText(style, vg.Point{X: x + sampleWidth + sampleGap, Y: y + style.FontExtents().Descent}, e.name)
			x += e.width() + entryGap
		}
		y -= legendLine
	}
}
