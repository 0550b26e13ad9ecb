package experiment

import (
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/train"
	"github.com/rebasin/rebasin/zoo"
)

// flat adds the way between two networks of these losses, and says from what they were made.
func (m *made) flat(row Row, a, b float64, needs ...string) {
	of := func(lambda, loss float64) CurvePoint {
		x := Measure{Number(loss), .95}
		return CurvePoint{lambda, Measures{x, x}}
	}
	row.Seeds = []uint64{uint64(2 * row.Pair), uint64(2*row.Pair + 1)}
	m.add("curve", row, Curve{Points: []CurvePoint{of(0, a), of(.5, (a+b)/2), of(1, b)}})
	m.records[len(m.records)-1].Needs = needs
}

// TestLearnedNothing has pairs without any barrier, of which one network has learned nothing: it is named, and nothing is decided.
func TestLearnedNothing(t *testing.T) {
	for _, c := range []struct {
		name     string
		data     string
		loss     float64
		diverged bool
		note     string // none: nothing is wrong
	}{
		{"trained", "mnist", .1, false, ""},
		{"hardly trained", "mnist", 2.2, false, ""},
		{"guessing", "mnist", 2.304, false, "c, seed 3 has learned nothing: it is no better than guessing: losses of 2.304"},
		{"good on more classes", "cifar100", 2.304, false, ""},
		{"of unknown classes", "some/folder", 2.304, false, ""},
		{"not finite", "some/folder", nan, false, "c, seed 3 has learned nothing: its loss is not finite"},
		{"diverged", "some/folder", 2.304, true, "c, seed 3 has learned nothing: its training diverged"},
	} {
		for _, experiment := range []string{"interpolation", "onset", "width", "failures", "matchers"} {
			m := &made{t: t, cases: []Case{{Name: "c", Data: Data{Name: c.data}, Training: train.Config{Epochs: 1, Optimizer: train.Optimizer{Name: "sgd"}}}}}
			for pair := range 3 {
				for _, method := range []string{ByWeight, ByAuto} {
					row := Row{Case: "c", Method: method, Pair: pair}
					a, b := .1, .1
					if pair == 1 {
						b = c.loss
					}
					m.flat(row, a, b, "key of A", "key of B "+string(rune('0'+pair)))
				}
			}
			f := m.finished(experiment)
			if c.diverged {
				f.Diverged = []string{"key of B 1"}
			}
			s, err := f.Summary()
			if err != nil {
				t.Fatal(err)
			}
			if c.note == "" && len(s.Notes) > 0 || c.note != "" && (len(s.Notes) != 1 || !strings.HasPrefix(s.Notes[0], c.note)) {
				t.Errorf("%s, %s: notes %q", experiment, c.name, s.Notes)
			}
			if c.note != "" && s.Verdict.Word != Undecided {
				t.Errorf("%s, %s: %s, %s", experiment, c.name, s.Verdict.Word, s.Verdict.Why)
			}
			if c.name == "trained" && experiment == "interpolation" && s.Verdict.Word != Holds {
				t.Errorf("%s: %s, %s", experiment, s.Verdict.Word, s.Verdict.Why)
			}
		}
	}
}

// TestLearnedNothingOfMerged does it with inputs of merged networks: a merged network may be as bad as it likes.
func TestLearnedNothingOfMerged(t *testing.T) {
	m := &made{t: t, cases: []Case{{Name: "c", Data: Data{Name: "mnist"}, Training: train.Config{Epochs: 1}}}}
	for pair := range 3 {
		row := Row{Case: "c", Pair: pair, Role: roleInput, Seeds: []uint64{4, 5}}
		for i, method := range []string{"A", "B"} {
			row.Method = method
			loss := .5
			if pair == 2 && i == 1 {
				loss = 2.31
			}
			m.evaluation(row, .9, loss, loss)
		}
		row.Role, row.Method = roleMerged, ByWeight
		m.evaluation(row, .9, .1, .1)
		row.Method = ByActivation
		m.evaluation(row, .1, 3, 3)
	}
	s, err := m.finished("split-data").Summary()
	if err != nil {
		t.Fatal(err)
	}
	if s.Verdict.Word != Undecided || len(s.Notes) != 1 || !strings.HasPrefix(s.Notes[0], "c, seed 5 has learned nothing: it is no better than guessing") {
		t.Errorf("%s; notes %q", s.Verdict.Word, s.Notes)
	}
}

// TestDivergedIsNoted runs a training that diverges.
func TestDivergedIsNoted(t *testing.T) {
	dir, s := t.TempDir(), smallSpec("interpolation", pictures(t))
	s.Pairs = 1
	finish(t, dir, s, 1)
	read := func() *Finished {
		t.Helper()
		f, err := ReadRun(RunDir(dir, s.Experiment))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if f := read(); len(f.Diverged) > 0 {
		t.Errorf("diverged: %v", f.Diverged)
	}
	s.Cases[0].Training.Optimizer = train.Optimizer{Name: "sgd", LearningRate: 1e30}
	finish(t, dir, s, 1)
	f := read()
	want := keysOf(planOf(t, newLab(), s), "train")
	if !slices.Equal(f.Diverged, want) {
		t.Errorf("diverged: %v of %v", f.Diverged, want)
	}
	if summary, err := f.Summary(); err != nil || len(summary.Notes) != 2 || !strings.Contains(summary.Notes[1], "seed 1 has learned nothing: its training diverged") || summary.Verdict.Word != Undecided {
		t.Errorf("summary %+v, %v", summary, err)
	}
	s.Cases[0].Training.Optimizer = train.Optimizer{}
	finish(t, dir, s, 1)
	if f := read(); len(f.Diverged) > 0 {
		t.Errorf("diverged of an earlier run: %v", f.Diverged)
	}
}

// TestBesideThePaper has rows where the paper has something to say, and none elsewhere.
func TestBesideThePaper(t *testing.T) {
	for _, c := range []struct {
		arch, data string
		rows       map[string]int
	}{
		{"mlp", "mnist", map[string]int{"interpolation": 1, "onset": 1, "width": 0, "matchers": 1}},
		{"mlp", "fashion-mnist", map[string]int{"interpolation": 0, "onset": 0, "width": 0, "matchers": 0}},
		{"resnet20", "cifar10", map[string]int{"interpolation": 1, "onset": 0, "width": 1, "matchers": 0}},
	} {
		for experiment, want := range c.rows {
			m := &made{t: t}
			for i, name := range []string{"c", "d"} {
				m.cases = append(m.cases, Case{Name: name, Network: zoo.Config{Arch: c.arch}, Data: Data{Name: c.data}, Training: train.Config{Epochs: 3}})
				if i > 0 && experiment != "width" {
					continue
				}
				for _, e := range []int{1, 3} {
					row := Row{Case: name, Method: ByWeight}
					switch experiment {
					case "onset":
						row.Epoch = e
					case "width":
						row.Series, row.X = "s", at(float64(i+1))
					}
					m.curves(row, .9, .1, .2, .3)
				}
			}
			s, err := m.finished(experiment).Summary()
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Comparisons) != want {
				t.Errorf("%s of %s on %s: %+v", experiment, c.arch, c.data, s.Comparisons)
			}
			for _, row := range s.Comparisons {
				if row.Paper == "" || row.Ours == "" || !strings.Contains(row.Note, "3 epochs") {
					t.Errorf("%s: %+v", experiment, row)
				}
			}
		}
	}
}
