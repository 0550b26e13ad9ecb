package experiment

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rebasin/rebasin/report"
)

// definition is one of the paper's experiments.
type definition struct {
	name string
	// title and source, the section or figure of the paper; claim, what the paper says of it.
	title, source, claim string
	// lists are the fields of a spec that hold what it is about; those of other experiments are refused.
	lists []string
	// check has restrictions of its own on specs.
	check func(s *Spec) error
	// plan adds its tasks.
	plan func(p *planner) error
	// summarise computes what the records say.
	summarise func(f *Finished) (*Summary, error)
	// figures draws them.
	figures func(f *Finished) ([]*report.Figure, error)
	// presets by name.
	presets map[string]func() Spec
}

// definitions in the order of the paper's figures.
func definitions() []*definition {
	return []*definition{interpolation(), onset(), width(), mergeMany(), splitData(), counterexample(), failures(), plantedRecovery(), matchers()}
}

// Experiments lists the names.
func Experiments() []string {
	var out []string
	for _, d := range definitions() {
		out = append(out, d.name)
	}
	return out
}

func find(name string) *definition {
	all := definitions()
	if i := slices.IndexFunc(all, func(d *definition) bool { return d.name == name }); i >= 0 {
		return all[i]
	}
	return nil
}

// Presets of an experiment, from small to large.
const (
	Smoke   = "smoke"   // a minute, to see that it works
	Laptop  = "laptop"  // at most 40 minutes on two cores
	Evening = "evening" // hours, in pieces
	Paper   = "paper"   // the paper's own setting, for a big machine
)

// Presets lists the names.
func Presets() []string { return []string{Smoke, Laptop, Evening, Paper} }

// Info describes an experiment.
type Info struct {
	Name   string `json:"name"`
	Title  string `json:"title"`
	Source string `json:"source"` // where in the paper
	Claim  string `json:"claim"`
}

// List describes all experiments.
func List() []Info {
	var out []Info
	for _, d := range definitions() {
		out = append(out, Info{d.name, d.title, d.source, d.claim})
	}
	return out
}

// Preset is an experiment at a given scale. Runs of different scales have different names.
func Preset(name, preset string) (Spec, error) {
	d := find(name)
	if d == nil {
		return Spec{}, fmt.Errorf("there is no experiment %q; there are %s", name, strings.Join(Experiments(), ", "))
	}
	make := d.presets[preset]
	if make == nil {
		return Spec{}, fmt.Errorf("experiment %s has no preset %q; there are %s", name, preset, strings.Join(Presets(), ", "))
	}
	s := make()
	s.Name = name + "-" + preset
	return s, nil
}
