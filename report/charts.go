package report

import (
	"errors"
	"fmt"
	"math"
	"slices"
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
	runs := make([]SeedCurves, len(curves))
	for i, c := range curves {
		runs[i] = SeedCurves{Name: c.Name, Seeds: curves[i : i+1]}
	}
	return SeedCurveFigure(opt, runs)
}

// SeedCurves are the curves of one method between several pairs of models, which differ in their seeds only.
type SeedCurves struct {
	Name  string
	Seeds []landscape.Curve // measured at the same λ
}

// SeedCurveFigure is [CurveFigure] for several seeds: lines are means over the seeds, bands one standard error of the mean to
// either side. It is an error if there is no point to draw, or if the curves of a method differ in their λ.
func SeedCurveFigure(opt CurveOptions, curves []SeedCurves) (*Figure, error) {
	title, caption := orElse(opt.Title, "Loss and accuracy between the models"), opt.Caption
	runs, seeds := make([]run, len(curves)), 0
	for i, c := range curves {
		r := run{name: c.Name}
		for k, seed := range c.Seeds {
			if len(seed.Points) != len(c.Seeds[0].Points) {
				return nil, fmt.Errorf("report: figure %q: %s: seed %d has %d points, the first %d",
					title, c.Name, k, len(seed.Points), len(c.Seeds[0].Points))
			}
			for j, p := range seed.Points {
				if k == 0 {
					r.x = append(r.x, p.Lambda)
					r.train, r.test = append(r.train, nil), append(r.test, nil)
				}
				if p.Lambda != r.x[j] {
					return nil, fmt.Errorf("report: figure %q: %s: seed %d has λ = %g, the first %g", title, c.Name, k, p.Lambda, r.x[j])
				}
				r.train[j], r.test[j] = append(r.train[j], p.Train), append(r.test[j], p.Test)
			}
		}
		runs[i], seeds = r, max(seeds, len(c.Seeds))
	}
	if caption == "" {
		caption = "Mixtures (1−λ)A + λπ(B) of the two models, measured at every λ. " + readingLines
		if seeds > 1 {
			caption += fmt.Sprintf(" Lines are means over %d seeds, bands one standard error to either side.", seeds)
		}
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
			r.train, r.test = append(r.train, one(e.Train)), append(r.test, one(e.Test))
		}
		runs[i] = r
	}
	title, caption := orElse(opt.Title, "Training"), opt.Caption
	if caption == "" {
		caption = "Loss and accuracy after each epoch. " + readingLines
	}
	return metricsFigure(title, caption, "epoch", plot.TickerFunc(integerTicks), opt.Scale, false, runs)
}

// one is a measurement that may be missing.
func one(m *eval.Metrics) []eval.Metrics {
	if m == nil {
		return nil
	}
	return []eval.Metrics{*m}
}

// run is a named sequence of measurements, each of one or more seeds; empty ones are missing.
type run struct {
	name        string
	x           []float64
	train, test [][]eval.Metrics
}

// metricsFigure is a panel of losses, and one of accuracies unless lossOnly.
func metricsFigure(title, caption, xLabel string, ticks plot.Ticker, scale Scale, lossOnly bool, runs []run) (*Figure, error) {
	names := make([]string, len(runs))
	for i, r := range runs {
		names[i] = r.name
	}
	looks := assignLooks(names)
	loss := linePanel{xLabel: xLabel, yLabel: "loss (nats)", xTicks: ticks, xRange: noBounds(), limit: math.Inf(1)}
	accuracy := linePanel{xLabel: xLabel, yLabel: "accuracy (%)", xTicks: ticks, xRange: noBounds(), limit: 100}
	var anyTrain, anyTest bool
	for _, dashed := range []bool{true, false} { // the solid lines on top
		for i, r := range runs {
			s := series{name: label(r.name), look: looks[i], dashed: dashed, detail: "test", band: true}
			metrics := r.test
			if dashed {
				s.detail, metrics = "train", r.train
			} else {
				s.stride, s.offset = min(4, max(1, len(r.x)/3)), i
			}
			l, a := s, s
			for k, m := range metrics {
				var losses, accuracies []float64
				for _, seed := range m {
					losses, accuracies = append(losses, seed.Loss), append(accuracies, 100*seed.Accuracy)
				}
				l.add(r.x[k], losses)
				a.add(r.x[k], accuracies)
			}
			if len(l.x) == 0 {
				continue
			}
			anyTrain, anyTest = anyTrain || dashed, anyTest || !dashed
			loss.series, accuracy.series = append(loss.series, l), append(accuracy.series, a)
		}
	}
	if !loss.drawable() {
		return nil, fmt.Errorf("report: figure %q: %w", title, ErrNothing)
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

// ErrNothing says that a figure would be empty.
var ErrNothing = errors.New("there is no finite value to draw")

func newLineFigure(title, caption string, panels []linePanel, legend []entry) *Figure {
	var alt []string
	for _, p := range panels {
		alt = append(alt, p.describe())
	}
	return &Figure{Title: title, Caption: caption, Alt: strings.Join(alt, " "), content: &lineFigure{panels: panels, legend: legend}}
}

// bounds are those of all values of the panel.
func (p *linePanel) bounds() bounds {
	b := noBounds()
	for _, s := range p.series {
		for _, y := range s.y {
			b.include(y)
		}
		for _, values := range s.seeds {
			if s.band {
				break // not drawn
			}
			for _, v := range values {
				b.include(v)
			}
		}
	}
	for _, l := range p.lines {
		b.include(l.Y)
	}
	for _, m := range p.marks {
		b.include(m.Y)
	}
	return b
}

// drawable tells whether any series has a value.
func (p *linePanel) drawable() bool {
	for _, s := range p.series {
		if slices.ContainsFunc(s.y, finite) {
			return true
		}
	}
	return false
}

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
		xLabel: orElse(opt.XLabel, "sweep"), yLabel: orElse(opt.YLabel, "objective"), xRange: noBounds(),
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
		return nil, fmt.Errorf("report: figure %q: %w", title, ErrNothing)
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
