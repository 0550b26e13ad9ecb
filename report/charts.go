package report

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg/draw"

	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/landscape"
)

// CurveOptions says how curves are drawn. The zero value is the default.
type CurveOptions struct {
	Title     string    // "Loss and accuracy between the models" if empty
	Caption   string    // a description of the figure if empty
	Scale     Scale     // of the loss
	EndLabels [2]string // under λ = 0 and λ = 1; "model A" and "π(model B)" if empty
	LossOnly  bool      // no panel for the accuracy
}

// CurveFigure draws the loss, and in a second panel the accuracy, along the way from one model to another: the figures 1, 2
// and 4 of Ainsworth, Hayase, Srinivasa (2023), Git Re-Basin, arXiv 2209.04836. Test data is solid, training data dashed.
// Curves named naive, activation, weight and ste look the same in every figure. It is an error if there is no point to draw.
func CurveFigure(opt CurveOptions, curves []landscape.Curve) (*Figure, error) {
	runs := make([]run, len(curves))
	for i, c := range curves {
		r := run{name: c.Name}
		for _, p := range c.Points {
			r.x = append(r.x, p.Lambda)
			r.train, r.test = append(r.train, &p.Train), append(r.test, &p.Test)
		}
		runs[i] = r
	}
	title, caption := orElse(opt.Title, "Loss and accuracy between the models"), opt.Caption
	if caption == "" {
		caption = "Mixtures (1−λ)A + λπ(B) of the two models, measured at every λ. " + readingLines
	}
	ticks := lambdaTicks(orElse(opt.EndLabels[0], "model A"), orElse(opt.EndLabels[1], "π(model B)"))
	return metricsFigure(title, caption, "λ", ticks, opt.Scale, opt.LossOnly, runs)
}

// readingLines explains what all figures of metrics share.
const readingLines = "Solid lines are test data, dashed lines training data; " +
	"markers are set apart so that lines on top of each other can be told."

// lambdaTicks are quarters, with names under the ends. All have two lines, for labels of one stand at another height.
func lambdaTicks(first, last string) plot.ConstantTicks {
	return plot.ConstantTicks{
		{Value: 0, Label: "0\n" + label(first)},
		{Value: .25, Label: "0.25\n "},
		{Value: .5, Label: "0.5\n "},
		{Value: .75, Label: "0.75\n "},
		{Value: 1, Label: "1\n" + label(last)},
	}
}

// Epoch is what was measured after an epoch of training.
type Epoch struct {
	Epoch float64       // epochs done
	Train *eval.Metrics // nil if not measured
	Test  *eval.Metrics // nil if not measured
}

// History is the course of one training.
type History struct {
	Name   string
	Epochs []Epoch
}

// TrainingOptions says how trainings are drawn. The zero value is the default.
type TrainingOptions struct {
	Title   string // "Training" if empty
	Caption string // a description of the figure if empty
	Scale   Scale  // of the loss
}

// TrainingFigure draws the loss and the accuracy of trainings by epoch. It is an error if there is no point to draw.
func TrainingFigure(opt TrainingOptions, histories []History) (*Figure, error) {
	runs := make([]run, len(histories))
	for i, h := range histories {
		r := run{name: h.Name}
		for _, e := range h.Epochs {
			r.x = append(r.x, e.Epoch)
			r.train, r.test = append(r.train, e.Train), append(r.test, e.Test)
		}
		runs[i] = r
	}
	title, caption := orElse(opt.Title, "Training"), opt.Caption
	if caption == "" {
		caption = "Loss and accuracy after each epoch. " + readingLines
	}
	return metricsFigure(title, caption, "epoch", plot.TickerFunc(integerTicks), opt.Scale, false, runs)
}

// run is a named sequence of measurements; nil ones are missing.
type run struct {
	name        string
	x           []float64
	train, test []*eval.Metrics
}

// metricsFigure is a panel of losses, and one of accuracies unless lossOnly.
func metricsFigure(title, caption, xLabel string, ticks plot.Ticker, scale Scale, lossOnly bool, runs []run) (*Figure, error) {
	names := make([]string, len(runs))
	for i, r := range runs {
		names[i] = r.name
	}
	looks := assignLooks(names)
	loss := linePanel{xLabel: xLabel, yLabel: "loss (nats)", xTicks: ticks, limit: math.Inf(1)}
	accuracy := linePanel{xLabel: xLabel, yLabel: "accuracy (%)", xTicks: ticks, limit: 100}
	var anyTrain, anyTest bool
	for _, dashed := range []bool{true, false} { // the solid lines on top
		for i, r := range runs {
			s := series{name: label(r.name), look: looks[i], dashed: dashed, detail: "test"}
			metrics := r.test
			if dashed {
				s.detail, metrics = "train", r.train
			} else {
				s.stride, s.offset = min(4, max(1, len(r.x)/3)), i
			}
			l, a := s, s
			for k, m := range metrics {
				if m == nil {
					continue
				}
				l.x, l.y = append(l.x, r.x[k]), append(l.y, m.Loss)
				a.x, a.y = append(a.x, r.x[k]), append(a.y, 100*m.Accuracy)
			}
			if len(l.x) == 0 {
				continue
			}
			anyTrain, anyTest = anyTrain || dashed, anyTest || !dashed
			loss.series, accuracy.series = append(loss.series, l), append(accuracy.series, a)
		}
	}
	if !loss.drawable() {
		return nil, fmt.Errorf("report: figure %q: %w", title, errNothing)
	}
	loss.log = scale.logarithmic(loss.bounds())
	panels := []linePanel{loss, accuracy}
	if lossOnly {
		panels = panels[:1]
	}
	var legend []entry
	for i, r := range runs {
		legend = append(legend, entry{label(r.name), draw.LineStyle{Color: looks[i].color, Width: lineWidth}, looks[i]})
	}
	if anyTest && anyTrain {
		legend = append(legend,
			entry{name: "test", line: series{look: look{color: muted}}.style()},
			entry{name: "train", line: series{look: look{color: muted}, dashed: true}.style()})
	}
	return newLineFigure(title, caption, panels, legend), nil
}

// errNothing says that a figure would be empty.
var errNothing = errors.New("there is no finite value to draw")

func newLineFigure(title, caption string, panels []linePanel, legend []entry) *Figure {
	var alt []string
	for _, p := range panels {
		alt = append(alt, p.describe())
	}
	return &Figure{Title: title, Caption: caption, Alt: strings.Join(alt, " "), content: &lineFigure{panels, legend}}
}

// bounds are those of all values of the panel.
func (p *linePanel) bounds() bounds {
	b := noBounds()
	for _, s := range p.series {
		for _, y := range s.y {
			b.include(y)
		}
	}
	return b
}

func (p *linePanel) drawable() bool { return !p.bounds().empty() }

// Trace is the course of an iterative method: Objective[i] is the value after i steps, so the first is the start's.
type Trace struct {
	Name      string
	Objective []float64
}

// TraceOptions says how traces are drawn. The zero value is the default.
type TraceOptions struct {
	Title   string // "Objective by sweep" if empty
	Caption string
	XLabel  string // "sweep" if empty
	YLabel  string // "objective" if empty
}

// TraceFigure draws the objectives of iterative methods by step. It is an error if there is no point to draw.
func TraceFigure(opt TraceOptions, traces []Trace) (*Figure, error) {
	title := orElse(opt.Title, "Objective by sweep")
	panel := linePanel{
		xLabel: orElse(opt.XLabel, "sweep"), yLabel: orElse(opt.YLabel, "objective"),
		xTicks: plot.TickerFunc(integerTicks), limit: math.Inf(1),
	}
	names := make([]string, len(traces))
	for i, t := range traces {
		names[i] = t.Name
	}
	var legend []entry
	for i, l := range assignLooks(names) {
		s := series{name: label(names[i]), look: l, y: traces[i].Objective, stride: max(1, len(traces[i].Objective)/20)}
		for k := range s.y {
			s.x = append(s.x, float64(k))
		}
		panel.series = append(panel.series, s)
		legend = append(legend, entry{s.name, s.style(), l})
	}
	if !panel.drawable() {
		return nil, fmt.Errorf("report: figure %q: %w", title, errNothing)
	}
	if len(legend) == 1 && legend[0].name == "" {
		legend = nil
	}
	return newLineFigure(title, opt.Caption, []linePanel{panel}, legend), nil
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
