package report

import (
	"fmt"
	"image/color"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Map is a value for every pair of a row and a column. Rows stand from above to below.
type Map struct {
	RowLabel, ColumnLabel string // what the rows and the columns are
	ValueLabel            string // what the values are
	Rows, Columns         []string
	Values                [][][]float64 // [row][column]: the values of the seeds; none where the cell was not measured
	Texts                 [][]string    // [row][column]: instead of the numbers where not empty, as "did not train"; nil for none
}

// MapOptions says how a map is drawn. The zero value is the default.
type MapOptions struct {
	Title   string // "Map" if empty
	Caption string // a description of the figure if empty
	Scale   Scale  // of the colours
}

// MapFigure draws a map as coloured cells with the mean over the seeds in them, and one standard error of the mean below it.
// Cells without a finite mean are crossed out. It is an error if the parts of the map do not fit together or no mean is finite.
func MapFigure(opt MapOptions, m Map) (*Figure, error) {
	title, caption := orElse(opt.Title, "Map"), opt.Caption
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("report: figure %q: %w", title, err)
	}
	f := &mapFigure{m: m, mean: make([][]float64, len(m.Rows)), err: make([][]float64, len(m.Rows))}
	b, missing, most := noBounds(), 0, 0
	for r, row := range m.Values {
		for _, values := range row {
			mean, err := math.NaN(), math.NaN()
			if len(values) > 0 {
				mean, err = meanError(values)
			}
			most = max(most, len(values))
			if !finite(mean) {
				missing++
			}
			b.include(mean)
			f.mean[r], f.err[r] = append(f.mean[r], mean), append(f.err[r], err)
		}
	}
	if b.empty() {
		return nil, fmt.Errorf("report: figure %q: %w", title, ErrNothing)
	}
	f.scale = newColourScale(b, opt.Scale)
	if caption == "" && most > 1 {
		caption = "Means over the seeds, with one standard error."
	}
	if missing > 0 {
		caption = strings.TrimPrefix(caption+" Crossed out or framed: not measured, or not finite.", " ")
	}
	return &Figure{Title: title, Caption: caption, Alt: f.describe(), content: f}, nil
}

func (m Map) check() error {
	if len(m.Values) != len(m.Rows) {
		return fmt.Errorf("values of %d rows for %d rows", len(m.Values), len(m.Rows))
	}
	for r, row := range m.Values {
		if len(row) != len(m.Columns) {
			return fmt.Errorf("row %q has %d values for %d columns", m.Rows[r], len(row), len(m.Columns))
		}
	}
	if m.Texts == nil {
		return nil
	}
	if len(m.Texts) != len(m.Rows) {
		return fmt.Errorf("texts of %d rows for %d rows", len(m.Texts), len(m.Rows))
	}
	for r, row := range m.Texts {
		if len(row) != len(m.Columns) {
			return fmt.Errorf("row %q has %d texts for %d columns", m.Rows[r], len(row), len(m.Columns))
		}
	}
	return nil
}

// mapFigure is the cells with their names and the bar of colours.
type mapFigure struct {
	m         Map
	mean, err [][]float64
	scale     colourScale
}

const (
	cellHeight    = vg.Length(38)
	narrowestCell = vg.Length(48) // for numbers with their errors
	widestCell    = vg.Length(88)
	mapBarSpace   = vg.Length(66)
	mapTop        = vg.Length(26) // the name of the values
	mapTitle      = vg.Length(20) // the name of the rows or of the columns
)

// mapLayout is where the parts of a map stand.
type mapLayout struct {
	width, height vg.Length
	left, bottom  vg.Length // what the names take
	cell          vg.Length // width of a cell
	slanted       bool      // names of columns
}

func (f *mapFigure) layout(l layout) mapLayout {
	style := textStyle(ink, tickSize, draw.XLeft, draw.YCenter)
	widest := func(names []string) (out vg.Length) {
		for _, n := range names {
			out = max(out, style.Width(label(n)))
		}
		return out
	}
	out := mapLayout{width: planeWidth + 80, left: mapTitle + widest(f.m.Rows) + 8, bottom: mapTitle + tickSize + 8}
	if l == narrow {
		out.width = narrowWidth
	}
	out.left = min(out.left, out.width/2)
	columns := vg.Length(len(f.m.Columns))
	out.cell = min((out.width-2*edge-out.left-mapBarSpace)/columns, widestCell)
	if l == wide {
		out.width = 2*edge + out.left + mapBarSpace + out.cell*columns
	}
	if names := widest(f.m.Columns); names+4 > out.cell {
		out.slanted = true
		out.bottom += names * vg.Length(math.Sin(slantAngle))
	}
	out.height = 2*edge + out.bottom + cellHeight*vg.Length(len(f.m.Rows)) + mapTop
	return out
}

// fitting is f, or f with rows and columns exchanged where that gives its cells the room that they lack.
func (f *mapFigure) fitting(l layout) *mapFigure {
	if f.layout(l).cell >= narrowestCell || len(f.m.Columns) <= len(f.m.Rows) {
		return f
	}
	m := Map{RowLabel: f.m.ColumnLabel, ColumnLabel: f.m.RowLabel, ValueLabel: f.m.ValueLabel, Rows: f.m.Columns, Columns: f.m.Rows}
	out := &mapFigure{scale: f.scale, mean: transpose(f.mean), err: transpose(f.err)}
	if f.m.Texts != nil {
		m.Texts = transpose(f.m.Texts)
	}
	out.m = m
	return out
}

func transpose[T any](rows [][]T) [][]T {
	out := make([][]T, len(rows[0]))
	for k := range out {
		for _, row := range rows {
			out[k] = append(out[k], row[k])
		}
	}
	return out
}

func (f *mapFigure) size(l layout) (width, height vg.Length) {
	f = f.fitting(l)
	at := f.layout(l)
	return max(at.width, 200), max(at.height, 160)
}

func (f *mapFigure) draw(c draw.Canvas, l layout) {
	f = f.fitting(l)
	at := f.layout(l)
	c = draw.Crop(c, edge, -edge, edge, -edge-mapTop)
	cells := draw.Crop(c, at.left, at.left+at.cell*vg.Length(len(f.m.Columns))-c.Size().X, at.bottom, 0)
	name := textStyle(ink, tickSize, draw.XRight, draw.YCenter)
	for r, text := range f.m.Rows {
		y := cells.Max.Y - (vg.Length(r)+.5)*cellHeight
		c.FillText(name, vg.Point{X: cells.Min.X - 6, Y: y + name.FontExtents().Descent}, fit(name, label(text), at.left-mapTitle-6))
		for k := range f.m.Columns {
			low := vg.Point{X: cells.Min.X + vg.Length(k)*at.cell, Y: y - cellHeight/2}
			f.drawCell(c, r, k, vg.Rectangle{Min: low, Max: low.Add(vg.Point{X: at.cell, Y: cellHeight})})
		}
	}
	bottom := cells.Max.Y - cellHeight*vg.Length(len(f.m.Rows))
	column := textStyle(ink, tickSize, draw.XCenter, draw.YTop)
	if at.slanted {
		column.Rotation, column.XAlign = slantAngle, draw.XRight
	}
	for k, text := range f.m.Columns {
		c.FillText(column, vg.Point{X: cells.Min.X + (vg.Length(k)+.5)*at.cell, Y: bottom - 5}, label(text))
	}
	axis := textStyle(ink, fontSize, draw.XCenter, draw.YBottom)
	c.FillText(axis, vg.Point{X: cells.Center().X, Y: c.Min.Y + 2}, label(f.m.ColumnLabel))
	axis.Rotation, axis.YAlign = math.Pi/2, draw.YTop
	middle := (bottom + cells.Max.Y) / 2
	c.FillText(axis, vg.Point{X: c.Min.X, Y: middle}, label(f.m.RowLabel))
	f.scale.draw(c, vg.Rectangle{Min: vg.Point{X: cells.Max.X + 14, Y: bottom}, Max: vg.Point{X: cells.Max.X + mapBarSpace, Y: cells.Max.Y}})
	c.FillText(textStyle(ink, fontSize, draw.XRight, draw.YBottom), vg.Point{X: cells.Max.X + mapBarSpace, Y: cells.Max.Y + 9}, label(f.m.ValueLabel))
}

// drawCell fills a cell with its colour and its numbers.
func (f *mapFigure) drawCell(c draw.Canvas, r, k int, box vg.Rectangle) {
	const gap = 1 // between cells
	box.Min, box.Max = box.Min.Add(vg.Point{X: gap, Y: gap}), box.Max.Sub(vg.Point{X: gap, Y: gap})
	textColour, lines := color.Color(ink), f.cellLines(r, k, box.Size().X-2)
	if mean := f.mean[r][k]; finite(mean) {
		ground := f.scale.colour(mean)
		c.SetColor(ground)
		c.Fill(box.Path())
		textColour = readable(ground)
	} else if lines != nil {
		c.StrokeLines(draw.LineStyle{Color: faint, Width: 1}, outlineOf(box))
	} else {
		style := draw.LineStyle{Color: faint, Width: 1}
		c.StrokeLines(style, outlineOf(box), []vg.Point{box.Min, box.Max}, []vg.Point{{X: box.Min.X, Y: box.Max.Y}, {X: box.Max.X, Y: box.Min.Y}})
	}
	style := textStyle(textColour, tickSize, draw.XCenter, draw.YCenter)
	for i, text := range lines {
		y := (box.Min.Y+box.Max.Y)/2 + (vg.Length(len(lines)-1)/2-vg.Length(i))*(tickSize+1.5)
		c.FillText(style, vg.Point{X: (box.Min.X + box.Max.X) / 2, Y: y + style.FontExtents().Descent}, text)
	}
}

func outlineOf(box vg.Rectangle) []vg.Point {
	return []vg.Point{box.Min, {X: box.Max.X, Y: box.Min.Y}, box.Max, {X: box.Min.X, Y: box.Max.Y}, box.Min}
}

// cellLines are the words in a cell of the given width, as far as there is room. The table has them all.
func (f *mapFigure) cellLines(r, k int, width vg.Length) []string {
	style := textStyle(ink, tickSize, draw.XCenter, draw.YCenter)
	if f.m.Texts != nil && f.m.Texts[r][k] != "" {
		var out []string
		for word := range strings.FieldsSeq(label(f.m.Texts[r][k])) {
			if last := len(out) - 1; last >= 0 && style.Width(out[last]+" "+word) <= width {
				out[last] += " " + word
			} else {
				out = append(out, word)
			}
		}
		const most = 3
		for i := range out {
			out[i] = fit(style, out[i], width)
		}
		return out[:min(len(out), most)]
	}
	mean, err := f.mean[r][k], f.err[r][k]
	if !finite(mean) || style.Width(short(mean)) > width {
		return nil
	}
	out := []string{short(mean)}
	if text := "±" + strconv.FormatFloat(err, 'g', 2, 64); finite(err) && style.Width(text) <= width {
		out = append(out, text)
	}
	return out
}

// short formats a number for a small place: three digits.
func short(v float64) string {
	if v != 0 && (math.Abs(v) < 1e-3 || math.Abs(v) >= 1e5) {
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
	digits := 2 - int(math.Floor(math.Log10(max(math.Abs(v), .1))))
	return number(v, min(max(digits, 0), 3))
}

func (f *mapFigure) describe() string {
	out := fmt.Sprintf("Map of %s by %s and %s, from %.4g to %.4g.", f.m.ValueLabel, f.m.RowLabel, f.m.ColumnLabel, f.scale.low, f.scale.high)
	for r, row := range f.m.Rows {
		out += fmt.Sprintf(" %s:", row)
		for k, column := range f.m.Columns {
			text := "missing"
			if finite(f.mean[r][k]) {
				text = fmt.Sprintf("%.4g", f.mean[r][k])
			}
			if k > 0 {
				out += ","
			}
			out += fmt.Sprintf(" %s %s", column, text)
		}
		out += "."
	}
	return out
}

func (f *mapFigure) tables() []Table {
	t := Table{Caption: f.m.ValueLabel, Header: append([]string{f.m.RowLabel}, f.m.Columns...)}
	for r, name := range f.m.Rows {
		row := []string{name}
		for k := range f.m.Columns {
			s := series{y: f.mean[r][k : k+1], err: f.err[r][k : k+1]}
			text := s.cell(0)
			if len(f.m.Values[r][k]) == 0 {
				text = ""
			}
			if f.m.Texts != nil && f.m.Texts[r][k] != "" {
				text = orElse(text, f.m.Texts[r][k])
			}
			row = append(row, text)
		}
		t.Rows = append(t.Rows, row)
	}
	return []Table{t}
}

func (f *mapFigure) data() Table {
	t := Table{Header: []string{f.m.RowLabel, f.m.ColumnLabel, "seed", f.m.ValueLabel}}
	for r, row := range f.m.Rows {
		for k, column := range f.m.Columns {
			for s, v := range f.m.Values[r][k] {
				t.Rows = append(t.Rows, []string{row, column, strconv.Itoa(s), exact(v)})
			}
		}
	}
	return t
}

// colourScale maps values to colours of [viridis].
type colourScale struct {
	low, high float64
	log       bool
}

func newColourScale(b bounds, s Scale) colourScale {
	return colourScale{b.low, b.high, s.logarithmic(b)}
}

// at is the place of v between the ends of the scale, from 0 to 1.
func (s colourScale) at(v float64) float64 {
	low, high := s.low, s.high
	if s.log {
		low, high, v = math.Log(low), math.Log(high), math.Log(v)
	}
	if low == high {
		return .5
	}
	return min(max((v-low)/(high-low), 0), 1)
}

// value undoes at.
func (s colourScale) value(t float64) float64 {
	if s.log {
		return math.Exp((1-t)*math.Log(s.low) + t*math.Log(s.high))
	}
	return (1-t)*s.low + t*s.high
}

func (s colourScale) colour(v float64) color.RGBA { return viridisAt(s.at(v)) }

// draw draws the bar with numbers at its right.
func (s colourScale) draw(c draw.Canvas, box vg.Rectangle) {
	const steps = 32
	height := box.Max.Y - box.Min.Y
	for i := range steps {
		low, high := box.Min.Y+height*vg.Length(i)/steps, box.Max.Y // under the next ones, so that no seam shows
		c.FillPolygon(viridisAt((float64(i)+.5)/steps), []vg.Point{
			{X: box.Min.X, Y: low}, {X: box.Min.X + barWidth, Y: low}, {X: box.Min.X + barWidth, Y: high}, {X: box.Min.X, Y: high},
		})
	}
	style := textStyle(ink, tickSize, draw.XLeft, draw.YCenter)
	numbers := min(5, max(2, int(height/(2*tickSize))))
	for i := range numbers {
		t := float64(i) / float64(numbers-1)
		at := vg.Point{X: box.Min.X + barWidth + 4, Y: box.Min.Y + height*vg.Length(t) + style.FontExtents().Descent}
		c.FillText(style, at, strconv.FormatFloat(s.value(t), 'g', 2, 64))
	}
}

// cellInk is darker than mapInk, for on the colours in the middle of the scale nothing else is dark enough.
var cellInk = rgb(0x000001)

// readable is the ink that is read best on a ground that looks the same on a light and on a dark page.
func readable(ground color.RGBA) color.Color {
	if luminance(ground) > .179 { // where the contrast with black and with white is the same
		return cellInk
	}
	return rgb(0xFFFFFE)
}

// luminance is the relative luminance of the Web Content Accessibility Guidelines 2.1.
func luminance(c color.RGBA) float64 {
	linear := func(v uint8) float64 {
		s := float64(v) / 255
		if s <= .04045 {
			return s / 12.92
		}
		return math.Pow((s+.055)/1.055, 2.4)
	}
	return .2126*linear(c.R) + .7152*linear(c.G) + .0722*linear(c.B)
}
