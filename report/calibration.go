package report

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// ReliabilityBin is the samples whose confidence lies in one bin.
type ReliabilityBin struct {
	Confidence float64 // the mean confidence of its samples, a fraction
	Accuracy   float64 // the fraction of its samples that is classified rightly
	Count      int     // its samples; a bin without any is not drawn
}

// Reliability is how far a model's confidence can be trusted.
type Reliability struct {
	Name string
	Bins []ReliabilityBin
}

// CalibrationOptions says how reliability curves are drawn. The zero value is the default.
type CalibrationOptions struct {
	Title   string // "Calibration" if empty
	Caption string // a description of the figure if empty
}

// CalibrationFigure draws reliability diagrams (Guo, Pleiss, Sun, Weinberger 2017, arXiv 1706.04599, figure 1) as curves: the
// accuracy of the samples of each bin against their mean confidence. A calibrated model lies on the diagonal, one below it is too
// sure of itself. It is an error if there is no point to draw or a value is not between 0 and 1.
func CalibrationFigure(opt CalibrationOptions, models []Reliability) (*Figure, error) {
	title, caption := orElse(opt.Title, "Calibration"), opt.Caption
	if caption == "" {
		caption = "Accuracy of the samples in each bin of confidence. On the dotted diagonal confidence is what it says; below it a " +
			"model is too sure of itself."
	}
	panel := linePanel{
		xLabel: "confidence (%)", yLabel: "accuracy (%)", xTicks: plot.TickerFunc(linearTicks), limit: 100, xRange: bounds{0, 100}, diagonal: true,
	}
	names := make([]string, len(models))
	for i, m := range models {
		names[i] = m.Name
	}
	f := &calibrationFigure{}
	var legend []entry
	for i, l := range assignLooks(names) {
		s := series{name: label(names[i]), look: l, stride: 1}
		for k, b := range models[i].Bins {
			if b.Count <= 0 {
				continue
			}
			if !(b.Confidence >= 0 && b.Confidence <= 1 && b.Accuracy >= 0 && b.Accuracy <= 1) {
				return nil, fmt.Errorf("report: figure %q: %s: bin %d has confidence %v and accuracy %v", title, names[i], k, b.Confidence, b.Accuracy)
			}
			s.x, s.y = append(s.x, 100*b.Confidence), append(s.y, 100*b.Accuracy)
		}
		panel.series = append(panel.series, s)
		legend = append(legend, entry{s.name, s.style(), l})
	}
	if !panel.drawable() {
		return nil, fmt.Errorf("report: figure %q: %w", title, ErrNothing)
	}
	out := newLineFigure(title, caption, []linePanel{panel}, legend)
	f.lineFigure = *out.content.(*lineFigure)
	f.square, f.models = true, models
	out.content = f
	return out, nil
}

// calibrationFigure is a figure of lines whose table has the samples of every bin.
type calibrationFigure struct {
	lineFigure
	models []Reliability
}

func (f *calibrationFigure) tables() []Table {
	var out []Table
	for _, m := range f.models {
		t := Table{Caption: m.Name, Header: []string{"confidence (%)", "accuracy (%)", "samples"}}
		for _, b := range m.Bins {
			if b.Count > 0 {
				t.Rows = append(t.Rows, []string{value(100 * b.Confidence), value(100 * b.Accuracy), fmt.Sprint(b.Count)})
			}
		}
		out = append(out, t)
	}
	return out
}

func (f *calibrationFigure) data() Table {
	t := Table{Header: []string{"model", "bin", "confidence", "accuracy", "samples"}}
	for _, m := range f.models {
		for k, b := range m.Bins {
			t.Rows = append(t.Rows, []string{m.Name, fmt.Sprint(k), exact(b.Confidence), exact(b.Accuracy), fmt.Sprint(b.Count)})
		}
	}
	return t
}

// diagonal is the line y = x.
type diagonal struct{}

// Plot implements plot.Plotter.
func (diagonal) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	low, high := math.Max(p.X.Min, p.Y.Min), math.Min(p.X.Max, p.Y.Max)
	c.StrokeLine2(draw.LineStyle{Color: muted, Width: 1.2, Dashes: []vg.Length{1.5, 2.5}}, x(low), y(low), x(high), y(high))
}
