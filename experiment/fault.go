package experiment

import (
	"fmt"
	"math"
	"slices"
)

// Networks that have learned nothing: barriers between them say nothing, and may even be nought. Their trainings diverged, or came to a standstill where
// every input is given the same answer.

// classesOf is the number of classes of a named set; 0 where it is not known.
func classesOf(data string) int {
	switch data {
	case "mnist", "fashion-mnist", "cifar10":
		return 10
	case "cifar100":
		return 100
	}
	return 0
}

// guessing is the share of the loss of guessing, ln(classes), from which on a network is said to guess. Networks as they are initialised have more.
const guessing = .995

// learnedNothing says why a network with these losses is one that has learned nothing; empty where it is not. A loss on test data may be large in networks that know
// their training data, so that both parts of the data must agree.
func learnedNothing(m Measures, classes int) string {
	train, test := float64(m.Train.Loss), float64(m.Test.Loss)
	guess := math.Inf(1)
	if classes > 1 {
		guess = guessing * math.Log(float64(classes))
	}
	switch {
	case !finite(train) && !finite(test):
		return "its loss is not finite"
	case (!finite(train) || train >= guess) && (!finite(test) || test >= guess):
		return fmt.Sprintf("it is no better than guessing: losses of %.3f on training data and %.3f on test data", train, test)
	}
	return ""
}

// endMeasures are those of A and of B.
func (c *Curve) endMeasures() []Measures {
	e := c.Ends()
	return []Measures{e[0].Measures, e[1].Measures}
}

func (e *Evaluation) measures() []Measures { return []Measures{{e.Train.Measure, e.Test.Measure}} }

// fault is a network that has learned nothing, and why that is said.
type fault struct{ network, why string }

func (x fault) String() string { return x.network + " has learned nothing: " + x.why }

// faultsOf names the trained networks of a curve, or of the evaluation of an input, that have learned nothing, and says why. Statistics that were repaired change
// losses, and are no fault of a training.
func (f *Finished) faultsOf(r *Record, of []Measures) (out []fault) {
	if r.Kind == "evaluate" && r.Role != roleInput {
		return nil
	}
	seeds := r.Seeds
	if r.Role == roleInput && r.Method == "B" && len(seeds) == 2 { // of split-data
		seeds = seeds[1:]
	}
	classes := 0
	if c := f.find(r.Case); c != nil {
		classes = classesOf(c.Data.Name)
	}
	for i := range of {
		x := fault{network: r.Case}
		if i < len(seeds) {
			x.network += fmt.Sprintf(", seed %d", seeds[i])
		}
		switch {
		case i < len(r.Needs) && slices.Contains(f.Diverged, r.Needs[i]):
			x.why = "its training diverged, and it is as it was initialised"
		case r.Repair == "":
			x.why = learnedNothing(of[i], classes)
			if r.Epoch > 0 {
				x.network += fmt.Sprintf(", epoch %d", r.Epoch)
			}
		}
		if x.why != "" {
			out = append(out, x)
		}
	}
	return out
}

// faults are the notes on networks that have learned nothing.
func (f *Finished) faults() ([]string, error) {
	var said, out []string
	for i := range f.Records {
		r := &f.Records[i]
		var of []Measures
		switch r.Kind {
		case "curve":
			c, err := r.curve()
			if err != nil {
				return nil, err
			}
			of = c.endMeasures()
		case "evaluate":
			var e Evaluation
			if err := r.decode(&e); err != nil {
				return nil, err
			}
			of = e.measures()
		default:
			continue
		}
		for _, x := range f.faultsOf(r, of) {
			if !slices.Contains(said, x.network) {
				said, out = append(said, x.network), append(out, x.String())
			}
		}
	}
	return out, nil
}
