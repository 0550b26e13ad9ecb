package experiment

import (
	"fmt"
	"math"
	"slices"

	"github.com/rebasin/rebasin/eval"
)

// evaluated is what networks of one role came to, over repeats.
type evaluated struct {
	c, series, role, method, repair string
	// byRepeat are the evaluations of each repeat: one, or those of all inputs.
	byRepeat [][]Evaluation
	// faulty says what is wrong with a network of those that has learned nothing; empty where there is none.
	faulty string
}

// evaluations gathers the full measurements of a run, in the order of the records.
func (f *Finished) evaluations() ([]*evaluated, error) {
	var out []*evaluated
	for i := range f.Records {
		r := &f.Records[i]
		if r.Kind != "evaluate" {
			continue
		}
		var e Evaluation
		if err := r.decode(&e); err != nil {
			return nil, err
		}
		method := r.Method
		if r.Role == roleInput {
			method = ""
		}
		at := slices.IndexFunc(out, func(x *evaluated) bool {
			return x.c == r.Case && x.series == r.Series && x.role == r.Role && x.method == method && x.repair == r.Repair
		})
		if at < 0 {
			at = len(out)
			out = append(out, &evaluated{c: r.Case, series: r.Series, role: r.Role, method: method, repair: r.Repair})
		}
		x := out[at]
		if len(e.Test.Bins) != eval.CalibrationBins {
			return nil, fmt.Errorf("experiment: record %s: %d bins of confidence instead of %d", r.Key, len(e.Test.Bins), eval.CalibrationBins)
		}
		for len(x.byRepeat) <= r.Pair {
			x.byRepeat = append(x.byRepeat, nil)
		}
		x.byRepeat[r.Pair] = append(x.byRepeat[r.Pair], e)
		if faults := f.faultsOf(r, e.measures()); len(faults) > 0 && x.faulty == "" {
			x.faulty = faults[0].String()
		}
	}
	return out, nil
}

// over is the mean over repeats of a value, which of several networks of a repeat is averaged first.
func (x *evaluated) over(value func(e *Evaluation) float64) stat {
	var values []float64
	for _, of := range x.byRepeat {
		if len(of) == 0 {
			continue
		}
		sum := 0.0
		for i := range of {
			sum += value(&of[i])
		}
		values = append(values, sum/float64(len(of)))
	}
	return newStat(values)
}

// least is the mean over repeats of the least value in each.
func (x *evaluated) least(value func(e *Evaluation) float64) stat {
	var values []float64
	for _, of := range x.byRepeat {
		if len(of) == 0 {
			continue
		}
		v := value(&of[0])
		for i := range of {
			v = min(v, value(&of[i]))
		}
		values = append(values, v)
	}
	return newStat(values)
}

func testLoss(e *Evaluation) float64 { return float64(e.Test.Loss) }

// name of the networks in tables and figures.
func (x *evaluated) name() string {
	switch x.role {
	case roleMerged:
		if x.repair != "" {
			return fmt.Sprintf("merged: %s, %s", x.method, x.repair)
		}
		return "merged: " + x.method
	case roleInput:
		return "inputs, mean"
	}
	return x.role
}

// evaluationTable has one row for each role.
func evaluationTable(title string, all []*evaluated) Table {
	t := Table{Title: title, Header: []string{"case", "networks", "accuracy %", "loss", "top-5 %", "calibration error", "train loss"}}
	for _, x := range all {
		c := x.c
		if x.series != "" {
			c += ", " + x.series
		}
		t.Rows = append(t.Rows, []string{
			c, x.name(),
			x.over(func(e *Evaluation) float64 { return float64(e.Test.Accuracy) }).percent(),
			x.over(testLoss).text(4),
			x.over(func(e *Evaluation) float64 { return e.Test.TopK }).percent(),
			x.over(func(e *Evaluation) float64 { return float64(e.Test.CalibrationError) }).text(4),
			x.over(func(e *Evaluation) float64 { return float64(e.Train.Loss) }).text(4),
		})
	}
	return t
}

// groupsOf are the cases and series of evaluations in order.
func groupsOf(all []*evaluated) (out [][2]string) {
	for _, x := range all {
		if k := [2]string{x.c, x.series}; !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

func pick(all []*evaluated, group [2]string, role, method, repair string) *evaluated {
	i := slices.IndexFunc(all, func(x *evaluated) bool {
		return x.c == group[0] && x.series == group[1] && x.role == role && x.method == method && x.repair == repair
	})
	if i < 0 {
		return nil
	}
	return all[i]
}

const manyRule = "For networks on all data and for networks on random halves, the test loss of the network merged by merge-many is compared with the lowest of its inputs in the same repeat. The claim holds if it is " +
	"lower by more than two standard errors over repeats, does not hold if it is higher by more than two, and is undecided else, and where the worst input, in the mean over repeats, is not trained well enough. " +
	"It holds if it holds for both, and does not if it does not for one."

func summariseMany(f *Finished) (*Summary, error) {
	all, err := f.evaluations()
	if err != nil {
		return nil, err
	}
	var cases []CaseVerdict
	for _, g := range groupsOf(all) {
		merged, inputs := pick(all, g, roleMerged, MergeMany, ""), pick(all, g, roleInput, "", "")
		if merged == nil || inputs == nil {
			cases = append(cases, unmeasured(g[0]+", "+g[1], MergeMany))
			continue
		}
		cases = append(cases, f.judgeMerged(g, merged, inputs))
	}
	return &Summary{Verdict: combine(manyRule, cases), Tables: []Table{evaluationTable("Merged networks beside others", all)}, Comparisons: f.besideTable3(all)}, nil
}

// judgeMerged compares a merged network with the best of its inputs, repeat by repeat.
func (f *Finished) judgeMerged(group [2]string, merged, inputs *evaluated) CaseVerdict {
	var excess []float64
	for i, of := range merged.byRepeat {
		if len(of) == 0 || i >= len(inputs.byRepeat) || len(inputs.byRepeat[i]) == 0 {
			continue
		}
		// Inputs whose loss is not finite are not what to be better than.
		least := math.Inf(1)
		for j := range inputs.byRepeat[i] {
			if loss := testLoss(&inputs.byRepeat[i][j]); finite(loss) {
				least = min(least, loss)
			}
		}
		if loss := testLoss(&of[0]); finite(least) || !finite(loss) {
			excess = append(excess, loss-least)
		}
	}
	j := CaseVerdict{Subject: group[0], Word: Undecided}
	if group[1] != "" {
		j.Subject += ", " + group[1]
	}
	if s := newStat(excess); s.n > 0 {
		switch s.beyond(0) {
		case -1:
			j.Word = Holds
		case 1:
			j.Word = DoesNotHold
		}
	}
	j.Why = fmt.Sprintf("%s has a test loss of %s, the best input %s", merged.name(), merged.over(testLoss).text(4), inputs.least(testLoss).text(4))
	accuracy := inputs.least(func(e *Evaluation) float64 { return float64(e.Test.Accuracy) })
	switch c := f.find(group[0]); {
	case inputs.faulty != "":
		j.Word, j.Why = Undecided, inputs.faulty+"; "+j.Why
	case c != nil && !(accuracy.mean >= c.LeastAccuracy):
		j.Word = Undecided
		j.Why = fmt.Sprintf("the worst input has %s %% where %.0f %% are asked for; %s", accuracy.percent(), 100*c.LeastAccuracy, j.Why)
	}
	return j
}

const splitRule = "In a case, the way of aligning and repairing whose merged network has the least mean loss on training data is looked at. The claim holds there if its test loss is lower than that of the better input of the same pair by more " +
	"than two standard errors over pairs, does not hold if it is higher by more than two, and is undecided between, and where an input has learned nothing. It holds if it holds in all cases, and does not if it does not in one."

func summariseSplit(f *Finished) (*Summary, error) {
	all, err := f.evaluations()
	if err != nil {
		return nil, err
	}
	ways, err := f.ways()
	if err != nil {
		return nil, err
	}
	var cases []CaseVerdict
	for _, g := range groupsOf(all) {
		var best *evaluated
		loss := func(x *evaluated) float64 {
			return x.over(func(e *Evaluation) float64 { return float64(e.Train.Loss) }).order()
		}
		for _, x := range all {
			if x.c == g[0] && x.role == roleMerged && x.method != Naive && (best == nil || loss(x) < loss(best)) {
				best = x
			}
		}
		switch inputs := pick(all, g, roleInput, "", ""); {
		case inputs == nil || best == nil:
			cases = append(cases, unmeasured(g[0], "any alignment"))
		default:
			cases = append(cases, f.judgeMerged(g, best, inputs))
		}
	}
	return &Summary{
		Verdict:     combine(splitRule, cases),
		Tables:      []Table{evaluationTable("Merged networks beside others", all), waysTable("Midpoints and barriers", ways)},
		Comparisons: f.besideFigure11(all),
	}, nil
}
