package experiment

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/train"
)

// made builds records as runs have them.
type made struct {
	t       *testing.T
	records []Record
	cases   []Case
}

func (m *made) add(kind string, row Row, result any) {
	text, err := json.Marshal(result)
	if err != nil {
		m.t.Fatal(err)
	}
	m.records = append(m.records, Record{Kind: kind, Row: row, Result: text})
}

func (m *made) finished(experiment string) *Finished {
	for i := range m.records {
		m.records[i].Experiment = experiment
	}
	return &Finished{Spec: Spec{Experiment: experiment, Cases: m.cases, Methods: Methods(), Pairs: 3}, Records: m.records}
}

// curves adds a way with these barriers, one for each pair, between ends of a loss of .1 and an accuracy.
func (m *made) curves(row Row, accuracy float64, barriers ...float64) {
	for pair, b := range barriers {
		row.Pair = pair
		point := func(lambda, loss float64) CurvePoint {
			x := Measure{Number(loss), Number(accuracy)}
			return CurvePoint{lambda, Measures{Train: x, Test: x}}
		}
		m.add("curve", row, Curve{Points: []CurvePoint{point(0, .1), point(.5, .1+b), point(1, .1)}})
	}
}

var nan = math.NaN()

func at(x float64) *float64 { return &x }

// TestVerdicts has records for which each rule says each of its words.
func TestVerdicts(t *testing.T) {
	way := func(method string) Row { return Row{Case: "c", Method: method} }
	epoch := func(method string, e int) Row { return Row{Case: "c", Method: method, Epoch: e} }
	place := func(method, c string, x float64) Row {
		return Row{Case: c, Series: "s", X: at(x), Method: method}
	}
	sgd, adam := train.Config{Epochs: 1, Optimizer: train.Optimizer{Name: "sgd"}}, train.Config{Epochs: 1}
	cases := func(m *made, cfg train.Config, names ...string) {
		for _, n := range names {
			m.cases = append(m.cases, Case{Name: n, LeastAccuracy: .9, Training: cfg})
		}
	}
	for _, c := range []struct {
		name, experiment, want string
		records                func(m *made)
	}{
		{"no barrier", "interpolation", Holds, func(m *made) {
			m.curves(way(Naive), .95, 1, 2, 3)
			m.curves(way(ByWeight), .95, .01, .02, .01)
		}},
		{"a barrier", "interpolation", DoesNotHold, func(m *made) { m.curves(way(ByWeight), .95, .2, .21, .22) }},
		{"a barrier that varies", "interpolation", Undecided, func(m *made) { m.curves(way(ByWeight), .95, .01, .2, .01) }},
		{"one pair", "interpolation", Undecided, func(m *made) { m.curves(way(ByWeight), .95, 0) }},
		{"untrained ends", "interpolation", Undecided, func(m *made) { m.curves(way(ByWeight), .85, .01, .02, .01) }},
		{"no alignment", "interpolation", Undecided, func(m *made) { m.curves(way(Naive), .95, 1, 2, 3) }},
		{"a way that is not finite beside one without a barrier", "interpolation", Holds, func(m *made) {
			m.curves(way(ByActivation), .95, nan, .01, .01)
			m.curves(way(ByWeight), .95, .01, .02, .01)
		}},
		{"not finite", "interpolation", DoesNotHold, func(m *made) { m.curves(way(ByWeight), .95, .01, nan, .01) }},

		{"a barrier that vanishes", "onset", Holds, func(m *made) {
			m.curves(epoch(ByWeight, 1), .5, 1, 1.1, .9)
			m.curves(epoch(ByWeight, 9), .95, .01, .01, .02)
		}},
		{"a barrier that stays", "onset", DoesNotHold, func(m *made) {
			m.curves(epoch(ByWeight, 1), .5, 1, 1.1, .9)
			m.curves(epoch(ByWeight, 9), .95, .5, .51, .52)
		}},
		{"no barrier at all", "onset", Undecided, func(m *made) {
			m.curves(epoch(ByWeight, 1), .5, .01, .01, .02)
			m.curves(epoch(ByWeight, 9), .95, .01, .01, .02)
		}},
		{"a barrier that grows", "onset", DoesNotHold, func(m *made) {
			m.curves(epoch(ByWeight, 1), .5, .001, .001, .001)
			m.curves(epoch(ByWeight, 9), .95, .01, .01, .011)
		}},
		{"untrained at the end", "onset", Undecided, func(m *made) {
			m.curves(epoch(ByWeight, 1), .5, 1, 1.1, .9)
			m.curves(epoch(ByWeight, 9), .8, .01, .01, .02)
		}},
		{"one epoch", "onset", Undecided, func(m *made) { m.curves(epoch(ByWeight, 1), .95, .01, .01, .02) }},
		{"not weight matching", "onset", Undecided, func(m *made) {
			m.curves(epoch(ByStraight, 1), .95, 1, 1.1, .9)
			m.curves(epoch(ByStraight, 9), .95, .01, .01, .02)
		}},

		{"wider is lower", "width", Holds, func(m *made) {
			m.curves(place(ByWeight, "wide", 4), .95, .1, .11, .12) // the order of records does not matter
			m.curves(place(ByWeight, "c", 1), .95, .5, .51, .52)
		}},
		{"wider is higher", "width", DoesNotHold, func(m *made) {
			m.curves(place(ByWeight, "c", 1), .95, .1, .11, .12)
			m.curves(place(ByWeight, "wide", 4), .95, .5, .51, .52)
		}},
		{"the widest is not finite", "width", DoesNotHold, func(m *made) {
			m.curves(place(ByWeight, "c", 1), .95, .1, .11, .12)
			m.curves(place(ByWeight, "wide", 4), .95, nan, .51, .52)
		}},
		{"neither is finite", "width", Undecided, func(m *made) {
			m.curves(place(ByWeight, "c", 1), .95, nan, .11, .12)
			m.curves(place(ByWeight, "wide", 4), .95, nan, .51, .52)
		}},
		{"the same", "width", Undecided, func(m *made) {
			m.curves(place(ByWeight, "c", 1), .95, .1, .2, .12)
			m.curves(place(ByWeight, "wide", 4), .95, .12, .1, .2)
		}},
		{"the widest is untrained", "width", Undecided, func(m *made) {
			m.curves(place(ByWeight, "c", 1), .95, .5, .51, .52)
			m.curves(place(ByWeight, "wide", 4), .85, .1, .11, .12)
		}},
		{"one width", "width", Undecided, func(m *made) { m.curves(place(ByWeight, "c", 1), .95, .5, .51, .52) }},

		{"SGD is too slow", "failures", Holds, func(m *made) {
			cases(m, sgd, "slow", "fast")
			m.curves(place(ByWeight, "fast", .1), .95, .01, .011, .012)
			m.curves(place(ByWeight, "slow", .01), .95, .5, .51, .52)
		}},
		{"SGD is not", "failures", DoesNotHold, func(m *made) {
			cases(m, sgd, "slow", "fast")
			m.curves(place(ByWeight, "slow", .01), .95, .01, .011, .012)
			m.curves(place(ByWeight, "fast", .1), .95, .5, .51, .52)
		}},
		{"Adam is too fast", "failures", Holds, func(m *made) {
			cases(m, adam, "slow", "fast")
			m.curves(place(ByWeight, "slow", .01), .95, .01, .011, .012)
			m.curves(place(ByWeight, "fast", .1), .95, .5, .51, .52)
		}},
		{"one of the other rates is not finite", "failures", DoesNotHold, func(m *made) {
			cases(m, adam, "slow", "between", "fast")
			m.curves(place(ByWeight, "slow", .01), .95, nan, .011, .012)
			m.curves(place(ByWeight, "between", .03), .95, .8, .81, .82)
			m.curves(place(ByWeight, "fast", .1), .95, .5, .51, .52)
		}},
		{"the extreme is untrained", "failures", Undecided, func(m *made) {
			cases(m, adam, "slow", "fast")
			m.curves(place(ByWeight, "slow", .01), .95, .01, .011, .012)
			m.curves(place(ByWeight, "fast", .1), .2, .5, .51, .52)
		}},
		{"alone with a barrier", "failures", Holds, func(m *made) { m.curves(way(ByWeight), .95, .5, .51, .52) }},
		{"alone without", "failures", DoesNotHold, func(m *made) { m.curves(way(ByWeight), .95, .01, .011, .012) }},
		{"alone and untrained", "failures", Undecided, func(m *made) { m.curves(way(ByWeight), .2, .5, .51, .52) }},

		{"auto is best", "matchers", Holds, func(m *made) {
			m.curves(way(Naive), .95, 1, 1)
			m.curves(way(ByWeight), .95, .1, .3)
			m.curves(way(ByStraight), .95, .3, .1)
			m.curves(way(ByAuto), .95, .1, .12)
		}},
		{"auto is worse in one pair", "matchers", DoesNotHold, func(m *made) {
			m.curves(way(ByWeight), .95, .1, .1)
			m.curves(way(ByAuto), .95, .05, .2)
		}},
		{"auto is not finite", "matchers", DoesNotHold, func(m *made) {
			m.curves(way(ByWeight), .95, .1, .1)
			m.curves(way(ByAuto), .95, .1, nan)
		}},
		{"another is not finite", "matchers", Holds, func(m *made) {
			m.curves(way(Naive), .95, nan, nan)
			m.curves(way(ByWeight), .95, .1, .1)
			m.curves(way(ByAuto), .95, .1, .1)
		}},
		{"auto alone", "matchers", Undecided, func(m *made) { m.curves(way(ByAuto), .95, .1, .1) }},
		{"no auto", "matchers", Undecided, func(m *made) { m.curves(way(ByWeight), .95, .1, .1) }},
	} {
		t.Run(c.experiment+", "+c.name, func(t *testing.T) {
			m := &made{t: t}
			c.records(m)
			if m.cases == nil {
				cases(m, adam, "c", "wide")
				if c.experiment != "width" {
					m.cases = m.cases[:1]
				}
			}
			checkVerdict(t, m.finished(c.experiment), c.want)
		})
	}
}

func checkVerdict(t *testing.T, f *Finished, want string) {
	t.Helper()
	s, err := f.Summary()
	if err != nil {
		t.Fatal(err)
	}
	if s.Verdict.Word != want {
		t.Errorf("it is %q and not %q: %s", s.Verdict.Word, want, s.Verdict.Why)
	}
	if s.Verdict.Why == "" || s.Verdict.Rule == "" {
		t.Errorf("no reason: %+v", s.Verdict)
	}
	if _, err := json.Marshal(s.Verdict); err != nil {
		t.Error(err)
	}
	if _, err := f.section(); err != nil {
		t.Errorf("the report: %v", err)
	}
}

// evaluation adds one of a network.
func (m *made) evaluation(row Row, accuracy, trainLoss, testLoss float64) {
	bins := make([]eval.Bin, eval.CalibrationBins)
	bins[3] = eval.Bin{Count: 10, Confidence: .23, Accuracy: .2}
	part := func(loss float64) Evaluated {
		return Evaluated{Measure: Measure{Number(loss), Number(accuracy)}, TopK: 1, K: 5, Bins: bins}
	}
	m.add("evaluate", row, Evaluation{part(trainLoss), part(testLoss)})
}

// TestVerdictsOnMerged has merged networks beside their inputs, repeat by repeat.
func TestVerdictsOnMerged(t *testing.T) {
	for _, c := range []struct {
		name     string
		accuracy float64
		inputs   [][]float64
		merged   []float64
		want     string
	}{
		{"lower", .95, [][]float64{{.5, .3}, {.4, .6}, {.5, .5}}, []float64{.2, .31, .4}, Holds},
		{"lower than the mean, not than the best", .95, [][]float64{{.9, .3}, {.9, .3}, {.9, .3}}, []float64{.4, .41, .42}, DoesNotHold},
		{"now this, now that", .95, [][]float64{{.5, .3}, {.5, .3}, {.5, .3}}, []float64{.2, .3, .4}, Undecided},
		{"one repeat", .95, [][]float64{{.5, .3}}, []float64{.1}, Undecided},
		{"untrained", .85, [][]float64{{.5, .3}, {.4, .6}, {.5, .5}}, []float64{.2, .31, .4}, Undecided},
		{"not finite", .95, [][]float64{{.5, .3}, {.4, .6}}, []float64{.2, nan}, DoesNotHold},
		{"an input that is not finite", .95, [][]float64{{.5, nan}, {nan, .6}, {.5, .5}}, []float64{.4, .51, .4}, Holds},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, experiment := range []string{"merge-many", "split-data"} {
				m := &made{t: t, cases: []Case{{Name: "c", LeastAccuracy: .9, Training: train.Config{Epochs: 1}}}}
				method, series := MergeMany, "2 on all data"
				if experiment == "split-data" {
					method, series = ByWeight, ""
				}
				for pair, inputs := range c.inputs {
					row := Row{Case: "c", Series: series, Pair: pair, Role: roleInput}
					for i, loss := range inputs {
						row.Method = string(rune('A' + i))
						m.evaluation(row, c.accuracy, .1, loss)
					}
					row.Role, row.Method = roleMerged, method
					m.evaluation(row, c.accuracy, .01, c.merged[pair])
					// One that is better on test data has no say, since it is worse, or not finite, on training data.
					row.Method = ByActivation
					m.evaluation(row, c.accuracy, []float64{.02, nan}[pair%2], 0)
				}
				checkVerdict(t, m.finished(experiment), c.want)
			}
		})
	}
}

func TestVerdictOnPlanted(t *testing.T) {
	for _, c := range []struct {
		exact []int // of four draws, of each way
		noise float64
		want  string
	}{
		{[]int{1, 4}, 0, Holds}, {[]int{2, 3}, 0, Undecided}, {[]int{1, 0}, 0, DoesNotHold}, {[]int{4}, .1, Undecided}, {nil, 0, DoesNotHold},
	} {
		m := &made{t: t}
		var r PlantedResult
		r.Noise = c.noise
		for _, n := range c.exact {
			r.Ways = append(r.Ways, PlantedSummary{Exact: n, Draws: make([]PlantedDraw, 4)})
		}
		m.add("planted", Row{Case: "n"}, r)
		if c.exact == nil {
			c.want = Undecided
		}
		s, err := m.finished("planted").Summary()
		if err != nil || s.Verdict.Word != c.want {
			t.Errorf("%+v: %v, %v", c, s.Verdict, err)
		}
	}
}

func TestVerdictOnCounterexample(t *testing.T) {
	good := CounterexampleResult{Lambda: []float64{0, 1}, Paths: []CounterexamplePath{{Error: []float64{0, 0}}}, MinBarrier: .2}
	passes := SinglePassResult{Descents: 2, Recovered: 2, Methods: []SinglePassMethod{{Name: MethodDescent, Exact: true}, {Name: "one pass"}}}
	verdict := func(c CounterexampleResult, s SinglePassResult) string {
		m := &made{t: t}
		m.add("counterexample", Row{}, c)
		m.add("singlepass", Row{}, s)
		summary, err := m.finished("counterexample").Summary()
		if err != nil {
			return err.Error()
		}
		return summary.Verdict.Word
	}
	if got := verdict(good, passes); got != Holds {
		t.Errorf("it %s", got)
	}
	bad := good
	bad.MinBarrier = 0
	if got := verdict(bad, passes); got != DoesNotHold {
		t.Errorf("without a barrier it %s", got)
	}
	bad = good
	bad.EndpointErrors[1] = .1
	if got := verdict(bad, passes); got != DoesNotHold {
		t.Errorf("with an error at an end it %s", got)
	}
	found := passes
	found.Methods = []SinglePassMethod{{Name: "one pass", Exact: true}}
	if got := verdict(good, found); got != DoesNotHold {
		t.Errorf("with a pass that finds it, it %s", got)
	}
	bad = good
	bad.Paths = []CounterexamplePath{{}}
	if got := verdict(bad, passes); got == Holds || got == DoesNotHold {
		t.Errorf("with a path of nothing it %s", got)
	}
}

// TestCombine has one case that does not hold decide.
func TestCombine(t *testing.T) {
	of := func(words ...string) (out []CaseVerdict) {
		for _, w := range words {
			out = append(out, CaseVerdict{Word: w, Why: "so"})
		}
		return out
	}
	for _, c := range []struct {
		cases []CaseVerdict
		want  string
	}{
		{nil, Undecided},
		{of(Holds), Holds},
		{of(Holds, Holds), Holds},
		{of(Holds, Undecided), Undecided},
		{of(Undecided, DoesNotHold, Holds), DoesNotHold},
	} {
		if got := combine("rule", c.cases); got.Word != c.want {
			t.Errorf("%v: %s", c.cases, got.Word)
		}
	}
}

func TestStat(t *testing.T) {
	s := newStat([]float64{1, 2, 3})
	if s.mean != 2 || math.Abs(s.se-1/math.Sqrt(3)) > 1e-15 {
		t.Errorf("%+v", s)
	}
	for _, c := range []struct {
		a, b []float64
		want int
	}{
		{[]float64{1, 1.1}, []float64{2, 2.1}, -1},
		{[]float64{2, 2.1}, []float64{1, 1.1}, 1},
		{[]float64{1, 2}, []float64{1.4, 1.6}, 0},
		{[]float64{1}, []float64{100, 100}, 0},
		{[]float64{nan, 1}, []float64{1, 1}, 1},
		{[]float64{1, 1}, []float64{math.Inf(1), 1}, -1},
		{[]float64{nan}, []float64{nan}, 0},
	} {
		if got := newStat(c.a).above(newStat(c.b)); got != c.want {
			t.Errorf("%v above %v: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
