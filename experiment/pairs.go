package experiment

import (
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/train"
)

// planWays plans all methods and repairs of all pairs of all cases.
func planWays(p *planner) error {
	for i := range p.cases {
		c := &p.cases[i]
		for pair := range p.Spec.Pairs {
			models, err := p.pairOf(c, pair, nil)
			if err != nil {
				return err
			}
			if err := p.ways(c, pair, 0, models); err != nil {
				return err
			}
		}
	}
	return nil
}

// interpolation is figure 2 of the paper.
func interpolation() *definition {
	spec := func(s Spec) func() Spec { return func() Spec { s.Experiment = "interpolation"; return s } }
	return &definition{
		summarise: summariseInterpolation, figures: curveFigures,
		name: "interpolation", title: "Linear mode connectivity after alignment", source: "section 5.1, figure 2",
		claim: "Networks that were trained apart are linearly connected, without a barrier of the loss, once the units of one are in the order of the other's.",
		lists: []string{"cases"}, check: needCases, plan: planWays,
		presets: map[string]func() Spec{
			Smoke: spec(Spec{
				Cases: []Case{smokeCase()}, Pairs: 2, Points: 3, Samples: 500, Steps: 5,
			}),
			Laptop: spec(Spec{
				Cases: []Case{
					mlpCase("mnist", 1, 10), mlpCase("fashion-mnist", 1, 10), mlpCase("cifar10", 1, 10),
				},
				Pairs: 3, Points: 7, Samples: 5000, Steps: 40,
			}),
			Evening: spec(Spec{
				Cases: []Case{
					mlpCase("mnist", 1, 20), mlpCase("fashion-mnist", 1, 20), mlpCase("cifar10", 1, 20),
					convCase("cifar10", "vgg16", "batch", .25, 10), convCase("cifar10", "resnet20", "batch", 1, 10), convCase("cifar10", "resnet20", "layer", 1, 18),
					convCase("fashion-mnist", "resnet20", "layer", 1, 5), convCase("cifar100", "resnet20", "layer", 1, 20),
				},
				Pairs: 3, Points: 11, Samples: 10000, Steps: 60,
			}),
			Paper: spec(Spec{
				Cases: []Case{
					mlpCase("mnist", 1, 100), mlpCase("cifar10", 1, 100),
					convCase("cifar10", "vgg16", "layer", 1, 250), convCase("cifar10", "resnet20", "layer", 32, 250), convCase("cifar100", "resnet20", "layer", 32, 250),
				},
				Pairs: 5, Points: 25, Samples: 50000, Steps: 1000,
			}),
		},
	}
}

// smokeCase is a network that trains in a second.
func smokeCase() Case {
	c := mlpCase("mnist", 1, 1)
	c.Name = "MLP 32-32, MNIST"
	c.Network.Width, c.Network.Hidden = 0, []int{32, 32}
	c.Data.Limit, c.Training.Batch = 4000, 50
	return c
}

// onset is figure 3 of the paper.
func onset() *definition {
	spec := func(s Spec) func() Spec {
		return func() Spec {
			s.Experiment, s.Methods = "onset", []string{Naive, ByWeight}
			return s
		}
	}
	return &definition{
		summarise: summariseOnset, figures: onsetFigures,
		name: "onset", title: "When in training does connectivity begin?", source: "section 5.2, figure 3",
		claim: "Early in training networks are not connected after weight matching; the barrier vanishes in the course of training.",
		lists: []string{"cases", "epochs"},
		check: func(s *Spec) error {
			if len(s.Epochs) == 0 {
				return fmt.Errorf("experiment: onset: epochs to measure at are needed")
			}
			for _, c := range s.Cases {
				for _, e := range s.Epochs {
					if e < 1 || e > c.Training.Epochs {
						return fmt.Errorf("experiment: case %q: there is no epoch %d in a training of %d", c.Name, e, c.Training.Epochs)
					}
				}
			}
			return needCases(s)
		},
		plan: func(p *planner) error {
			epochs := slices.Compact(slices.Sorted(slices.Values(p.Spec.Epochs)))
			for i := range p.cases {
				c := &p.cases[i]
				for pair := range p.Spec.Pairs {
					models, err := p.pairOf(c, pair, epochs)
					if err != nil {
						return err
					}
					for _, epoch := range epochs {
						if err := p.ways(c, pair, epoch, models); err != nil {
							return err
						}
					}
				}
			}
			return nil
		},
		presets: map[string]func() Spec{
			Smoke: spec(Spec{Cases: []Case{longer(smokeCase(), 2)}, Pairs: 2, Points: 3, Samples: 500, Epochs: []int{1, 2}}),
			Laptop: spec(Spec{
				Cases: []Case{mlpCase("mnist", 1, 12), mlpCase("fashion-mnist", 1, 12), mlpCase("cifar10", 1, 12)},
				Pairs: 3, Points: 5, Samples: 5000, Epochs: []int{1, 2, 3, 5, 8, 12},
			}),
			Evening: spec(Spec{
				Cases: []Case{mlpCase("mnist", 1, 25), mlpCase("cifar10", 1, 25), withoutRepair(convCase("cifar10", "vgg16", "layer", .25, 25))},
				Pairs: 3, Points: 7, Samples: 10000, Epochs: []int{1, 2, 3, 5, 8, 12, 18, 25},
			}),
			Paper: spec(Spec{
				Cases: []Case{mlpCase("mnist", 1, 100), withoutRepair(convCase("cifar10", "vgg16", "layer", 1, 100))},
				Pairs: 5, Points: 25, Samples: 50000, Epochs: []int{1, 2, 3, 5, 8, 12, 18, 25, 40, 60, 100},
			}),
		},
	}
}

func longer(c Case, epochs int) Case {
	c.Training.Epochs = epochs
	return c
}

func withoutRepair(c Case) Case {
	c.Repairs = nil
	return c
}

// width is figure 4 of the paper.
func width() *definition {
	spec := func(s Spec) func() Spec {
		return func() Spec {
			s.Experiment, s.Cases = "width", along(s.Cases)
			if s.Methods == nil {
				s.Methods = []string{Naive, ByActivation, ByWeight}
			}
			return s
		}
	}
	byWidth := func(widths []float64, one func(w float64) Case) (out []Case) {
		for _, w := range widths {
			out = append(out, one(w))
		}
		return out
	}
	return &definition{
		summarise: summariseWidth, figures: widthFigures,
		name: "width", title: "Wider networks have lower barriers", source: "section 5.3, figure 4",
		claim: "The barrier after alignment falls as networks of one architecture get wider.",
		lists: []string{"cases"},
		check: func(s *Spec) error {
			for _, c := range s.Cases {
				if c.Series == "" || c.X <= 0 {
					return fmt.Errorf("experiment: case %q: width needs a series, and x above zero", c.Name)
				}
			}
			return needCases(s)
		},
		plan: planWays,
		presets: map[string]func() Spec{
			Smoke: spec(Spec{
				Cases: byWidth([]float64{1. / 64, 1. / 16}, func(w float64) Case {
					c := mlpCase("mnist", w, 1)
					c.Data.Limit, c.Training.Batch = 4000, 50
					return c
				}),
				Pairs: 2, Points: 3, Samples: 500,
			}),
			Laptop: spec(Spec{
				Cases: slices.Concat(
					byWidth([]float64{1. / 16, 1. / 8, .25, .5, 1}, func(w float64) Case { return mlpCase("mnist", w, 10) }),
					byWidth([]float64{1. / 16, 1. / 8, .25, .5, 1}, func(w float64) Case { return mlpCase("fashion-mnist", w, 10) }),
				),
				Pairs: 3, Points: 7, Samples: 5000,
			}),
			Evening: spec(Spec{
				Cases: slices.Concat(
					byWidth([]float64{.5, 1, 2}, func(w float64) Case { return convCase("cifar10", "resnet20", "batch", w, 8) }),
					byWidth([]float64{.5, 1, 2}, func(w float64) Case { return convCase("cifar10", "resnet20", "layer", w, 18) }),
					byWidth([]float64{.5, 1, 2, 4}, func(w float64) Case { return onlyReset(convCase("fashion-mnist", "resnet8", "batch", w, 4)) }),
					byWidth([]float64{.5, 1, 2, 4}, func(w float64) Case { return onlyReset(digits(convCase("mnist", "resnet8", "batch", w, 2))) }),
				),
				Pairs: 3, Points: 5, Samples: 5000,
			}),
			Paper: spec(Spec{
				Cases: slices.Concat(
					byWidth([]float64{1. / 8, .25, .5, 1, 2, 4, 8}, func(w float64) Case { return withoutRepair(convCase("cifar10", "vgg16", "layer", w, 250)) }),
					byWidth([]float64{1, 2, 4, 8, 16, 32}, func(w float64) Case { return withoutRepair(convCase("cifar10", "resnet20", "layer", w, 250)) }),
				),
				Pairs: 5, Points: 25, Samples: 50000,
			}),
		},
	}
}

// digits shortens the training of a network that learns digits in no time.
func digits(c Case) Case {
	c.Data.Limit = 20000
	return c
}

// failures is appendix A.1 of the paper.
func failures() *definition {
	rates := map[string][]float64{"sgd": {.01, .03, .1, .3, 1}, "adam": {1e-4, 3e-4, 1e-3, 3e-3, 1e-2}}
	grid := func(base Case, optimizers map[string][]float64, names ...string) (out []Case) {
		for _, name := range names {
			for _, rate := range optimizers[name] {
				c := base
				c.Name = fmt.Sprintf("%s, %s at %g", base.Name, name, rate)
				c.Training.Optimizer = train.Optimizer{Name: name, LearningRate: rate}
				c.Series, c.X = base.Name+", "+name, rate
				out = append(out, c)
			}
		}
		return out
	}
	spec := func(s Spec) func() Spec {
		return func() Spec {
			s.Experiment = "failures"
			if s.Methods == nil {
				s.Methods = []string{Naive, ByWeight}
			}
			return s
		}
	}
	vgg := func(width float64, epochs int) Case {
		c := withoutRepair(convCase("mnist", "vgg11", "layer", width, epochs))
		c.Data.Resize = 32
		return c
	}
	return &definition{
		summarise: summariseFailures, figures: failuresFigures,
		name: "failures", title: "Where alignment fails", source: "appendix A.1",
		claim: "Linear mode connectivity depends on training: it fails on MNIST when the learning rate of SGD is too low or that of Adam too high, and for VGG on MNIST.",
		lists: []string{"cases"}, check: needCases, plan: planWays,
		presets: map[string]func() Spec{
			Smoke: spec(Spec{Cases: grid(smokeCase(), map[string][]float64{"sgd": {.1}, "adam": {1e-3, 1e-2}}, "sgd", "adam"), Pairs: 2, Points: 3, Samples: 500}),
			Laptop: spec(Spec{
				Cases: grid(mlpCase("mnist", .5, 6), rates, "sgd", "adam"), Pairs: 3, Points: 5, Samples: 5000,
			}),
			Evening: spec(Spec{
				Cases: append(grid(mlpCase("mnist", 1, 25), rates, "sgd", "adam"), vgg(.25, 5), vgg(.5, 5)), Pairs: 3, Points: 11, Samples: 10000,
			}),
			Paper: spec(Spec{Cases: append(grid(mlpCase("mnist", 1, 100), rates, "sgd", "adam"), vgg(1, 25)), Pairs: 5, Points: 25, Samples: 50000}),
		},
	}
}

// matchers compares all ways of aligning on the same pairs.
func matchers() *definition {
	all := []string{Naive, ByActivation, ByWeight, ByRestarts, ByFirst, ByBlend, ByFrankWolfe, ByStraight, ByAuto}
	spec := func(s Spec) func() Spec {
		return func() Spec {
			s.Experiment = "matchers"
			if s.Methods == nil {
				s.Methods = all
			}
			return s
		}
	}
	narrow := mlpCase("mnist", 1./16, 10)
	return &definition{
		summarise: summariseMatchers, figures: matchersFigures,
		name: "matchers", title: "Which way of aligning, and at what price?", source: "section 3; beyond the paper",
		claim: "A choice between alignments by their loss on held-out training data is as good as the best single one on every pair.",
		lists: []string{"cases"}, check: needCases, plan: planWays,
		presets: map[string]func() Spec{
			Smoke: spec(Spec{Cases: []Case{smokeCase()}, Pairs: 2, Points: 3, Samples: 500, Steps: 5}),
			Laptop: spec(Spec{
				Cases: []Case{
					mlpCase("mnist", 1, 10), narrow, mlpCase("fashion-mnist", 1, 10),
				},
				Pairs: 3, Points: 3, Samples: 5000, Steps: 40,
			}),
			Evening: spec(Spec{
				Cases: []Case{
					mlpCase("mnist", 1, 20), narrow, mlpCase("cifar10", 1, 20), convCase("cifar10", "resnet20", "batch", 1, 10), convCase("cifar10", "vgg16", "batch", .25, 10),
				},
				Pairs: 3, Points: 7, Samples: 10000, Steps: 100,
			}),
			Paper: spec(Spec{
				Cases: []Case{mlpCase("mnist", 1, 100), mlpCase("cifar10", 1, 100), convCase("cifar10", "vgg16", "layer", 1, 250), convCase("cifar10", "resnet20", "layer", 32, 250)},
				Pairs: 5, Points: 25, Samples: 50000, Steps: 1000,
			}),
		},
	}
}
