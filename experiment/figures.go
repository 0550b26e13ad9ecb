package experiment

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/landscape"
	"github.com/rebasin/rebasin/report"
)

// landscapeCurve is a curve as figures take it.
func (c *Curve) landscapeCurve(name string) landscape.Curve {
	out := landscape.Curve{Name: name}
	metrics := func(m Measure) eval.Metrics {
		return eval.Metrics{Loss: float64(m.Loss), Accuracy: float64(m.Accuracy)}
	}
	for _, p := range c.Points {
		out.Points = append(out.Points, landscape.Point{Lambda: p.Lambda, Train: metrics(p.Train), Test: metrics(p.Test)})
	}
	return out
}

// curveFigures has for each case a figure of the ways as they are, and one of those with each repair.
func curveFigures(f *Finished) ([]*report.Figure, error) {
	ways, err := f.ways()
	if err != nil {
		return nil, err
	}
	var out []*report.Figure
	for _, c := range f.cases() {
		for _, repair := range append([]string{""}, c.Repairs...) {
			var curves []report.SeedCurves
			for _, w := range ways {
				if w.c != c.Name || w.repair != repair {
					continue
				}
				s := report.SeedCurves{Name: w.method}
				for j := range w.curves {
					s.Seeds = append(s.Seeds, w.curves[j].landscapeCurve(w.method))
				}
				curves = append(curves, s)
			}
			if len(curves) == 0 {
				continue
			}
			title, what := c.Name, "as they are"
			if repair != "" {
				title, what = title+", "+repair, "with the statistics of every mixture repaired ("+repair+")"
			}
			fig, err := report.SeedCurveFigure(report.CurveOptions{
				Title:   title,
				Caption: fmt.Sprintf("Mixtures of A and B %s. Means over %d pairs; bands are one standard error. Solid lines are test data, dashed lines training data.", what, f.Spec.Pairs),
			}, curves)
			if out, err = withFigure(out, fig, err); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// withFigure appends a figure, unless there is nothing finite to draw in it.
func withFigure(figures []*report.Figure, fig *report.Figure, err error) ([]*report.Figure, error) {
	if errors.Is(err, report.ErrNothing) {
		return figures, nil
	}
	if err != nil {
		return nil, err
	}
	return append(figures, fig), nil
}

// barriersOf are the barriers of the test loss of all pairs.
func (w *way) barriersOf() []float64 {
	var out []float64
	for i := range w.curves {
		out = append(out, w.curves[i].Barriers().Test.Chord)
	}
	return out
}

func (w *way) accuracies() (middles, ends []float64) {
	for i := range w.curves {
		e := w.curves[i].Ends()
		middles = append(middles, 100*float64(w.curves[i].middle().Test.Accuracy))
		ends = append(ends, 50*float64(e[0].Test.Accuracy+e[1].Test.Accuracy))
	}
	return middles, ends
}

// onsetFigures is figure 3 of the paper: barrier by epoch.
func onsetFigures(f *Finished) ([]*report.Figure, error) {
	ways, err := f.ways()
	if err != nil {
		return nil, err
	}
	var panels []report.SeriesPanel
	for _, c := range f.cases() {
		p := report.SeriesPanel{Title: c.Name, XLabel: "epochs of training", YLabel: "barrier of the test loss", LogX: true}
		for _, m := range f.Spec.Methods {
			s := report.Series{Name: m}
			for _, w := range ways {
				if w.c == c.Name && w.method == m && w.repair == "" {
					s.Samples = append(s.Samples, report.Sample{X: float64(w.epoch), Y: w.barriersOf()})
				}
			}
			if len(s.Samples) > 0 {
				p.Series = append(p.Series, s)
			}
		}
		for _, e := range f.Spec.Epochs {
			p.Ticks = append(p.Ticks, float64(e))
		}
		panels = append(panels, p)
	}
	return oneFigure("Barrier by time of training", "The barrier between networks that were trained for some epochs: means and standard errors over pairs, with each pair as a point.", panels)
}

// oneFigure has the panels that have something finite to draw, and is none if there are none.
func oneFigure(title, caption string, panels []report.SeriesPanel) ([]*report.Figure, error) {
	drawn := slices.DeleteFunc(panels, func(p report.SeriesPanel) bool {
		return !slices.ContainsFunc(p.Series, func(s report.Series) bool {
			return slices.ContainsFunc(s.Samples, func(x report.Sample) bool { return newStat(x.Y).finite() })
		})
	})
	if len(drawn) == 0 {
		return nil, nil
	}
	fig, err := report.SeriesFigure(report.SeriesOptions{Title: title, Caption: caption}, drawn...)
	return withFigure(nil, fig, err)
}

// shownRepairs are for each method of a series the repair that has the least mean barrier on training data, and for networks as they are none.
func shownRepairs(ways []*way, series string) map[string]string {
	sums, out := map[[2]string]float64{}, map[string]string{}
	for _, w := range ways {
		if w.series == series {
			sums[[2]string{w.method, w.repair}] += w.trainBarrier.order()
		}
	}
	for _, w := range ways {
		if w.series != series || w.method == Naive {
			continue
		}
		have, ok := out[w.method]
		if !ok || sums[[2]string{w.method, w.repair}] < sums[[2]string{w.method, have}] {
			out[w.method] = w.repair
		}
	}
	out[Naive] = ""
	return out
}

// widthFigures is figure 4 of the paper: barrier, and accuracy, by width.
func widthFigures(f *Finished) ([]*report.Figure, error) {
	ways, err := f.ways()
	if err != nil {
		return nil, err
	}
	var barriers, accuracies []report.SeriesPanel
	names := seriesOf(ways) // in the order of the records
	slices.SortStableFunc(ways, byX)
	for _, series := range names {
		shown := shownRepairs(ways, series)
		b := report.SeriesPanel{Title: series, XLabel: "width multiplier", YLabel: "barrier of the test loss", LogX: true}
		a := report.SeriesPanel{Title: series, XLabel: "width multiplier", YLabel: "accuracy on test data, %", LogX: true, Limit: 100}
		ends := report.Series{Name: "ends", Dashed: true}
		for _, m := range f.Spec.Methods {
			sb, sa := report.Series{Name: m, Detail: shown[m]}, report.Series{Name: m, Detail: shown[m]}
			for _, w := range ways {
				if w.series != series || w.method != m || w.repair != shown[m] {
					continue
				}
				middles, of := w.accuracies()
				sb.Samples = append(sb.Samples, report.Sample{X: w.x, Y: w.barriersOf()})
				sa.Samples = append(sa.Samples, report.Sample{X: w.x, Y: middles})
				if m == Naive {
					ends.Samples = append(ends.Samples, report.Sample{X: w.x, Y: of})
					b.Ticks = append(b.Ticks, w.x)
				}
			}
			b.Series, a.Series = append(b.Series, sb), append(a.Series, sa)
		}
		if len(ends.Samples) > 0 {
			a.Series = append(a.Series, ends)
		}
		a.Ticks = b.Ticks
		barriers, accuracies = append(barriers, b), append(accuracies, a)
	}
	first, err := oneFigure("Barrier by width", "The barrier after alignment: means and standard errors over pairs, with each pair as a point. For each way of aligning, the repair of statistics that is best on training data.", barriers)
	if err != nil {
		return nil, err
	}
	second, err := oneFigure("Accuracy of the midpoint by width", "Half of A and half of B, beside the mean of the two.", accuracies)
	return append(first, second...), err
}

// failuresFigures is the barrier as a map over rates and optimisers.
func failuresFigures(f *Finished) ([]*report.Figure, error) {
	ways, err := f.ways()
	if err != nil {
		return nil, err
	}
	rows := seriesOf(ways)
	var rates []float64
	for _, w := range ways {
		if w.series != "" && !slices.Contains(rates, w.x) {
			rates = append(rates, w.x)
		}
	}
	slices.Sort(rates)
	if len(rows) == 0 {
		return curveFigures(f)
	}
	m := report.Map{RowLabel: "optimiser", ColumnLabel: "learning rate", ValueLabel: "barrier of the test loss after weight matching", Rows: rows}
	ends := report.Map{RowLabel: "optimiser", ColumnLabel: "learning rate", ValueLabel: "accuracy of the ends on test data, %", Rows: rows}
	for _, r := range rates {
		m.Columns = append(m.Columns, fmt.Sprintf("%g", r))
	}
	ends.Columns = m.Columns
	for _, series := range rows {
		values, accuracy := make([][]float64, len(rates)), make([][]float64, len(rates))
		for _, w := range ways {
			if w.series == series && w.method == ByWeight && w.repair == "" {
				at := slices.Index(rates, w.x)
				values[at] = w.barriersOf()
				_, accuracy[at] = w.accuracies()
			}
		}
		m.Values, ends.Values = append(m.Values, values), append(ends.Values, accuracy)
	}
	fig, err := report.MapFigure(report.MapOptions{Title: "Barrier by optimiser and learning rate", Caption: "Means over pairs, with one standard error below. Rates that were not tried are crossed out."}, m)
	out, err := withFigure(nil, fig, err)
	if err != nil {
		return nil, err
	}
	fig, err = report.MapFigure(report.MapOptions{Title: "Accuracy of the ends", Caption: "Networks that are hardly trained say little about barriers.", Scale: report.ScaleLinear}, ends)
	return withFigure(out, fig, err)
}

// matchersFigures has the loss at the midpoint of every method.
func matchersFigures(f *Finished) ([]*report.Figure, error) {
	ways, err := f.ways()
	if err != nil {
		return nil, err
	}
	var panels []report.SeriesPanel
	for _, c := range f.cases() {
		for _, repair := range append([]string{""}, c.Repairs...) {
			p := report.SeriesPanel{Title: c.Name, YLabel: "test loss at the midpoint", Categories: f.Spec.Methods}
			if repair != "" {
				p.Title += ", " + repair
			}
			s := report.Series{Name: "midpoint", Unjoined: true}
			for _, w := range ways {
				if w.c != c.Name || w.repair != repair {
					continue
				}
				var losses []float64
				for j := range w.curves {
					losses = append(losses, float64(w.curves[j].middle().Test.Loss))
				}
				s.Samples = append(s.Samples, report.Sample{X: float64(slices.Index(f.Spec.Methods, w.method)), Y: losses})
			}
			p.Series = []report.Series{s}
			if len(s.Samples) > 0 {
				panels = append(panels, p)
			}
		}
	}
	return oneFigure("Loss between the networks by way of aligning", "Means and standard errors over the same pairs, with each pair as a point.", panels)
}

// evaluationFigures compare networks of all roles: losses as points, and calibration.
func evaluationFigures(f *Finished) ([]*report.Figure, error) {
	all, err := f.evaluations()
	if err != nil {
		return nil, err
	}
	var panels []report.SeriesPanel
	var calibrations []*report.Figure
	for _, g := range groupsOf(all) {
		title := g[0]
		if g[1] != "" {
			title += ", " + g[1]
		}
		p := report.SeriesPanel{Title: title, YLabel: "test loss"}
		s := report.Series{Name: "test loss", Unjoined: true}
		var reliable []report.Reliability
		for _, x := range all {
			if x.c != g[0] || x.series != g[1] {
				continue
			}
			var losses []float64
			for _, of := range x.byRepeat {
				for i := range of {
					losses = append(losses, testLoss(&of[i]))
				}
			}
			s.Samples = append(s.Samples, report.Sample{X: float64(len(p.Categories)), Y: losses})
			p.Categories = append(p.Categories, x.name())
			if x.role != roleMerged || x.method != Naive && x.method != MergeAverage {
				reliable = append(reliable, report.Reliability{Name: x.name(), Bins: x.bins()})
			}
		}
		p.Series = []report.Series{s}
		panels = append(panels, p)
		fig, err := report.CalibrationFigure(report.CalibrationOptions{
			Title: "Calibration: " + title, Caption: "Accuracy of test samples by the confidence of the network, in 15 bins, all repeats together.",
		}, reliable)
		if calibrations, err = withFigure(calibrations, fig, err); err != nil {
			return nil, err
		}
	}
	out, err := oneFigure("Test loss of merged networks and others", "Means and standard errors, with each network as a point.", panels)
	return append(out, calibrations...), err
}

// bins adds up the bins of all evaluations.
func (x *evaluated) bins() []report.ReliabilityBin {
	out := make([]report.ReliabilityBin, eval.CalibrationBins)
	for _, of := range x.byRepeat {
		for i := range of {
			for b, bin := range of[i].Test.Bins {
				n := float64(bin.Count)
				out[b].Count += bin.Count
				out[b].Confidence += n * bin.Confidence
				out[b].Accuracy += n * bin.Accuracy
			}
		}
	}
	for b := range out {
		if n := float64(out[b].Count); n > 0 {
			out[b].Confidence /= n
			out[b].Accuracy /= n
		}
	}
	return out
}

// splitFigures has the ways between the parts' networks, and what merged networks are worth.
func splitFigures(f *Finished) ([]*report.Figure, error) {
	curves, err := curveFigures(f)
	if err != nil {
		return nil, err
	}
	others, err := evaluationFigures(f)
	return append(curves, others...), err
}

// counterexampleFigures draws decision regions, and the error along the paths.
func counterexampleFigures(f *Finished) ([]*report.Figure, error) {
	var c CounterexampleResult
	for i := range f.Records {
		if r := &f.Records[i]; r.Kind == "counterexample" {
			if err := r.decode(&c); err != nil {
				return nil, err
			}
		}
	}
	region := func(label string, error float64, of DecisionRegion) report.Region {
		return report.Region{Label: label, Detail: fmt.Sprintf("error %g", error), Predict: func(x1, x2 float64) bool { return of.at(x1, x2) }}
	}
	regions := []report.Region{region("A", c.EndpointErrors[0], c.A), region("B", c.EndpointErrors[1], c.B)}
	p := report.SeriesPanel{XLabel: "λ", YLabel: "error"}
	for _, path := range c.Paths {
		name := "as it is"
		if len(path.Swapped) > 0 {
			name = strings.Join(path.Swapped, " and ") + " swapped"
		}
		s := report.Series{Name: name}
		at := 0.0
		for i, e := range path.Error {
			s.Samples = append(s.Samples, report.Sample{X: c.Lambda[i], Y: []float64{e}})
			if c.Lambda[i] == .5 {
				at = e
			}
		}
		p.Series = append(p.Series, s)
		regions = append(regions, region("½, B "+name, at, path.Midpoint))
	}
	drawn, err := report.RegionsFigure(report.RegionsOptions{
		Title: "Decision regions", Caption: "Where A, B and the midpoints between A and each alignment of B predict 1, on [-1, 1]².",
		Columns: 3, Truth: func(x1, x2 float64) bool { return x1 < 0 && x2 > 0 },
	}, regions)
	if err != nil {
		return nil, err
	}
	out, err := oneFigure("Error along the paths", "The share of the square that mixtures (1−λ)A + λB classify wrongly, for every alignment of B. Both ends make no error.", []report.SeriesPanel{p})
	return append([]*report.Figure{drawn}, out...), err
}

// plantedFigures has how many permutations were found, and times.
func plantedFigures(f *Finished) ([]*report.Figure, error) {
	var panels []report.SeriesPanel
	times := report.SeriesPanel{Title: "Time", YLabel: "seconds", Scale: report.ScaleLog}
	ours := report.Series{Name: "weight matching", Unjoined: true}
	for i := range f.Records {
		r := &f.Records[i]
		switch r.Kind {
		case "planted":
			var p PlantedResult
			if err := r.decode(&p); err != nil {
				return nil, err
			}
			title := fmt.Sprintf("noise %g", p.Noise)
			at := slices.IndexFunc(panels, func(p report.SeriesPanel) bool { return p.Title == title })
			if at < 0 {
				at = len(panels)
				panels = append(panels, report.SeriesPanel{Title: title, YLabel: "units in place, %", Limit: 100})
			}
			panel := &panels[at]
			x := float64(len(panel.Categories))
			panel.Categories = append(panel.Categories, r.Case)
			for _, w := range p.Ways {
				name := w.PlantedWay.String()
				s := slices.IndexFunc(panel.Series, func(s report.Series) bool { return s.Name == name })
				if s < 0 {
					s = len(panel.Series)
					panel.Series = append(panel.Series, report.Series{Name: name, Unjoined: true})
				}
				var units []float64
				for _, d := range w.Draws {
					units = append(units, 100*d.Units)
				}
				panel.Series[s].Samples = append(panel.Series[s].Samples, report.Sample{X: x, Y: units})
			}
		case "matchtime":
			var m MatchTime
			if err := r.decode(&m); err != nil {
				return nil, err
			}
			if t, ok := f.Seconds[r.Key]; ok {
				x := float64(len(times.Categories))
				times.Categories = append(times.Categories, r.Case)
				ours.Samples = append(ours.Samples, report.Sample{X: x, Y: []float64{t.Seconds}})
				if m.PaperSeconds > 0 {
					times.Marks = append(times.Marks, report.Mark{X: x, Y: m.PaperSeconds, Label: fmt.Sprintf("paper: %g s", m.PaperSeconds)})
				}
			}
		}
	}
	out, err := oneFigure("Planted permutations", "The share of units that weight matching puts in their places; each draw of weights and permutation is a point.", panels)
	if err != nil || len(ours.Samples) == 0 {
		return out, err
	}
	times.Series = []report.Series{ours}
	second, err := oneFigure("Time of weight matching", "Two networks with random weights, beside what the paper gives for a V100.", []report.SeriesPanel{times})
	return append(out, second...), err
}
