package experiment

import (
	"errors"
	"fmt"

	"github.com/rebasin/rebasin/zoo"
)

// counterexample is appendix A.6 and A.7.2 of the paper.
func counterexample() *definition {
	spec := func() Spec { return Spec{Experiment: "counterexample", Pairs: 1} }
	return &definition{
		name: "counterexample", title: "Networks that no permutation connects", source: "appendices A.6 and A.7.2",
		claim: "There are two networks of no error at all between which every alignment meets a barrier; and networks that a single pass of matching cannot align, where coordinate descent can.",
		plan: func(p *planner) error {
			t, err := p.add("counterexample", "follow the paths to all four alignments", CounterexampleOptions{Steps: 64, Cells: 64})
			if err != nil {
				return err
			}
			p.want(t, Row{Role: "counterexample"})
			if t, err = p.add("singlepass", "match in single passes", SinglePassOptions{Descents: 20}); err != nil {
				return err
			}
			p.want(t, Row{Role: "single pass"})
			return nil
		},
		summarise: summariseCounterexample, figures: counterexampleFigures,
		presets: map[string]func() Spec{Smoke: spec, Laptop: spec, Evening: spec, Paper: spec},
	}
}

// planted is appendix A.5 of the paper, and its times of weight matching.
func plantedRecovery() *definition {
	mlp := func(width int) MatchNetwork {
		return MatchNetwork{Name: fmt.Sprintf("MLP 3x%d", width), Config: zoo.Config{Arch: "mlp", Input: []int{1, 28, 28}, Hidden: []int{width, width, width}, Classes: 10}}
	}
	resnet := func(depth int, width float64) MatchNetwork {
		arch := fmt.Sprintf("resnet%d", depth)
		return MatchNetwork{
			Name:   fmt.Sprintf("%s x%s", archTitle(arch), fraction(width)),
			Config: zoo.Config{Arch: arch, Norm: "layer", Width: width, Input: []int{3, 32, 32}, Classes: 10},
		}
	}
	timed := func(maxWidth int) []MatchNetwork { return PaperMatchNetworks(maxWidth) }
	spec := func(s Spec) func() Spec {
		return func() Spec {
			s.Experiment, s.Pairs = "planted", 1
			return s
		}
	}
	return &definition{
		name: "planted", title: "Finding a permutation that is known", source: "appendix A.5",
		claim: "Weight matching finds a random permutation of a network's units again.",
		lists: []string{"networks", "timed"},
		check: func(s *Spec) error {
			if len(s.Networks) == 0 {
				return errors.New("experiment: planted: networks are needed")
			}
			return nil
		},
		plan: func(p *planner) error {
			for _, noise := range []float64{0, .1} {
				for _, n := range p.Spec.Networks {
					label := fmt.Sprintf("plant in %s, noise %g", n.Name, noise)
					t, err := p.add("planted", label, plantedTask{Network: n, Noise: noise, Draws: p.Spec.Draws, Seed: p.Spec.FirstSeed})
					if err != nil {
						return err
					}
					x := noise
					p.want(t, Row{Case: n.Name, X: &x, Role: "planted"})
				}
			}
			for _, n := range p.Spec.Timed {
				t, err := p.add("matchtime", "time "+n.Name, matchTimeTask{Network: n, Runs: 1, Seed: p.Spec.FirstSeed})
				if err != nil {
					return err
				}
				p.want(t, Row{Case: n.Name, Role: "time"})
			}
			return nil
		},
		summarise: summarisePlanted, figures: plantedFigures,
		presets: map[string]func() Spec{
			Smoke:  spec(Spec{Networks: []MatchNetwork{mlp(16), resnet(8, .25)}, Draws: 3, Timed: timed(1)[:1]}),
			Laptop: spec(Spec{Networks: []MatchNetwork{mlp(32), mlp(128), mlp(512), resnet(8, 1), resnet(20, 1)}, Draws: 10, Timed: timed(32)}),
			Evening: spec(Spec{
				Networks: []MatchNetwork{mlp(32), mlp(128), mlp(512), mlp(2048), resnet(8, 1), resnet(20, 1), resnet(20, 2), resnet(20, 4)}, Draws: 100, Timed: timed(32),
			}),
			Paper: spec(Spec{Networks: []MatchNetwork{mlp(512), mlp(4096), resnet(20, 1), resnet(20, 8), resnet(20, 32)}, Draws: 100, Timed: timed(32)}),
		},
	}
}
