package experiment

import (
	"errors"
	"fmt"

	"github.com/rebasin/rebasin/experiment/task"
)

// Roles of networks in merge-many and split-data.
const (
	roleInput    = "input"
	roleMerged   = "merged"
	roleEnsemble = "ensemble"
	roleFull     = "trained on everything"
)

// evaluate plans the full measurement of a network, or of several that predict together.
func (p *planner) evaluate(c *Case, what string, models ...*task.Task) (*task.Task, error) {
	const topK = 5
	return p.add("evaluate", "evaluate "+c.Name+", "+what,
		evaluateOptions{Network: c.Network, Data: c.Data, Samples: p.Spec.Samples, K: topK}, models...)
}

// mergeMany is algorithm 3, table 3 and figure 13 of the paper.
func mergeMany() *definition {
	spec := func(s Spec) func() Spec { return func() Spec { s.Experiment = "merge-many"; return s } }
	return &definition{
		name: "merge-many", title: "Merging many networks", source: "appendix A.10 (algorithm 3, table 3, figure 13)",
		claim: "More than two networks merge into one whose loss on test data is below that of those it is made from.",
		lists: []string{"cases", "models"},
		check: func(s *Spec) error {
			for _, c := range s.Cases {
				if len(c.Repairs) > 0 {
					return fmt.Errorf("experiment: case %q: merge-many repairs no statistics", c.Name)
				}
			}
			if len(s.Models) != 2 {
				return errors.New("experiment: merge-many: models are two numbers: of networks trained on all data, and of networks each trained on a random half")
			}
			return needCases(s)
		},
		plan: func(p *planner) error {
			for i := range p.cases {
				for repeat := range p.Spec.Pairs {
					for group, n := range p.Spec.Models {
						if err := p.many(&p.cases[i], repeat, n, group == 1); err != nil {
							return err
						}
					}
				}
			}
			return nil
		},
		summarise: summariseMany, figures: evaluationFigures,
		presets: map[string]func() Spec{
			Smoke:   spec(Spec{Cases: []Case{withoutAccuracy(smokeCase())}, Pairs: 2, Samples: 500, Models: []int{3, 4}}),
			Laptop:  spec(Spec{Cases: []Case{mlpCase("mnist", .5, 5)}, Pairs: 3, Samples: 5000, Models: []int{5, 32}}),
			Evening: spec(Spec{Cases: []Case{mlpCase("mnist", 1, 20), mlpCase("fashion-mnist", 1, 20)}, Pairs: 3, Samples: 10000, Models: []int{5, 32}}),
			Paper:   spec(Spec{Cases: []Case{mlpCase("mnist", 1, 100)}, Pairs: 5, Samples: 50000, Models: []int{5, 32}}),
		},
	}
}

func withoutAccuracy(c Case) Case {
	c.LeastAccuracy = 0
	return c
}

// seedsApart keeps the seeds of repeats apart: no repeat has so many networks.
const seedsApart = maxModels

// manySeries names networks that are merged.
func manySeries(n int, halves bool) string {
	if halves {
		return fmt.Sprintf("%d on random halves", n)
	}
	return fmt.Sprintf("%d on all data", n)
}

// many plans one merge of n networks by all ways.
func (p *planner) many(c *Case, repeat, n int, halves bool) error {
	series := manySeries(n, halves)
	row := Row{Case: c.Name, Series: series, Pair: repeat}
	var models []*task.Task
	for i := range n {
		seed := p.Spec.FirstSeed + uint64(repeat*seedsApart+i)
		row.Seeds = append(row.Seeds, seed)
		part := Part{}
		if halves {
			part = Part{Index: 0, Count: 2, Seed: seed}
		}
		t, err := p.train(c, seed, part, nil)
		if err != nil {
			return err
		}
		models = append(models, t)
	}
	add := func(role, method string, of ...*task.Task) error {
		t, err := p.evaluate(c, fmt.Sprintf("%s, repeat %d, %s %s", series, repeat, role, method), of...)
		if err != nil {
			return err
		}
		r := row
		r.Role, r.Method = role, method
		p.want(t, r)
		return nil
	}
	for i, m := range models {
		r := row
		r.Seeds = row.Seeds[i : i+1]
		t, err := p.evaluate(c, fmt.Sprintf("%s, repeat %d, input %d", series, repeat, i), m)
		if err != nil {
			return err
		}
		r.Role = roleInput
		p.want(t, r)
	}
	for _, method := range []string{MergeAverage, MergeMany, MergePairwise, MergeCycle} {
		t, err := p.add("merge", fmt.Sprintf("merge %s, %s, repeat %d, %s", c.Name, series, repeat, method),
			mergeOptions{Network: c.Network, Data: c.Data, Method: method, Seed: uint64(repeat)}, models...)
		if err != nil {
			return err
		}
		if err := add(roleMerged, method, t); err != nil {
			return err
		}
	}
	if err := add(roleEnsemble, "", models...); err != nil {
		return err
	}
	full, err := p.train(c, row.Seeds[0], Part{}, nil)
	if err != nil {
		return err
	}
	return add(roleFull, "", full)
}

// splitData is section 5.4 and figures 5, 10 and 11 of the paper.
func splitData() *definition {
	spec := func(s Spec) func() Spec {
		return func() Spec {
			s.Experiment = "split-data"
			if s.Methods == nil {
				s.Methods = []string{Naive, ByActivation, ByWeight}
			}
			return s
		}
	}
	return &definition{
		name: "split-data", title: "Networks trained on disjoint, biased parts of the data", source: "section 5.4, figures 5, 10 and 11",
		claim: "Two networks trained on disjoint parts of a data set with different shares of its classes merge into one with a lower test loss than either.",
		lists: []string{"cases"}, check: needCases,
		plan: func(p *planner) error {
			for i := range p.cases {
				for pair := range p.Spec.Pairs {
					if err := p.split(&p.cases[i], pair); err != nil {
						return err
					}
				}
			}
			return nil
		},
		summarise: summariseSplit, figures: splitFigures,
		presets: map[string]func() Spec{
			Smoke: spec(Spec{Cases: []Case{withoutAccuracy(smokeCase())}, Pairs: 2, Points: 3, Samples: 500}),
			Laptop: spec(Spec{
				Cases: []Case{
					withoutAccuracy(mlpCase("fashion-mnist", 1, 10)), withoutAccuracy(mlpCase("cifar10", 1, 10)),
				},
				Pairs: 3, Points: 7, Samples: 5000,
			}),
			Evening: spec(Spec{
				Cases: []Case{onlyReset(withoutAccuracy(convCase("cifar100", "resnet20", "batch", 1, 20))), onlyReset(withoutAccuracy(convCase("cifar10", "resnet20", "batch", 2, 10)))},
				Pairs: 3, Points: 11, Samples: 10000,
			}),
			Paper: spec(Spec{Cases: []Case{withoutRepair(convCase("cifar100", "resnet20", "layer", 32, 250))}, Pairs: 5, Points: 25, Samples: 50000}),
		},
	}
}

func onlyReset(c Case) Case {
	c.Repairs = []string{"reset"}
	return c
}

// splitShare is the share of the first half of the classes that A sees, and of the others that B sees.
const splitShare = .2

// split plans one pair of networks trained on parts.
func (p *planner) split(c *Case, pair int) error {
	seeds := p.seeds(pair)
	row := Row{Case: c.Name, Pair: pair, Seeds: seeds}
	add := func(role, method, repair string, of ...*task.Task) error {
		t, err := p.evaluate(c, fmt.Sprintf("pair %d, %s %s %s", pair, role, method, repair), of...)
		if err != nil {
			return err
		}
		r := row
		r.Role, r.Method, r.Repair = role, method, repair
		p.want(t, r)
		return nil
	}
	var models []*task.Task
	for i, seed := range seeds {
		t, err := p.train(c, seed, Part{Index: i, Share: splitShare, Seed: uint64(pair)}, nil)
		if err != nil {
			return err
		}
		models = append(models, t)
		if err := add(roleInput, string(rune('A'+i)), "", t); err != nil {
			return err
		}
	}
	if err := p.ways(c, pair, 0, models); err != nil {
		return err
	}
	for _, method := range p.Spec.Methods {
		needs := models[:len(models):len(models)]
		matched, err := p.match(c, method, pair, 0, models)
		if err != nil {
			return err
		}
		if matched != nil {
			needs = append(needs, matched)
		}
		for _, repair := range append([]string{""}, c.Repairs...) {
			o := mergeOptions{Network: c.Network, Data: c.Data, Method: mergePair, Repair: repair}
			if repair != "" {
				o.RepairSamples, o.Augment = p.Spec.RepairSamples, c.Training.Augment
			}
			t, err := p.add("merge", fmt.Sprintf("merge %s, pair %d, %s %s", c.Name, pair, method, repair), o, needs...)
			if err != nil {
				return err
			}
			if err := add(roleMerged, method, repair, t); err != nil {
				return err
			}
		}
	}
	if err := add(roleEnsemble, "", "", models...); err != nil {
		return err
	}
	full, err := p.train(c, seeds[0], Part{}, nil)
	if err != nil {
		return err
	}
	return add(roleFull, "", "", full)
}
