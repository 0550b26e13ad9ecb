package experiment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/train"
	"github.com/rebasin/rebasin/zoo"
)

// Spec declares an experiment: one of the paper's at a scale of one's own. [Presets] have some; YAML files declare others.
type Spec struct {
	// Experiment is one of [Experiments].
	Experiment string `json:"experiment"`
	// Name is that of the folder of the run. Empty means the experiment's.
	Name string `json:"name,omitempty"`
	// Cases are the networks and data that it is done with.
	Cases []Case `json:"cases,omitempty"`
	// Pairs of networks in each case, for error bars; pair i has the training seeds FirstSeed + 2i and FirstSeed + 2i + 1.
	Pairs     int    `json:"pairs,omitempty"`
	FirstSeed uint64 `json:"first_seed,omitempty"`
	// Methods of aligning, of [Methods].
	Methods []string `json:"methods,omitempty"`
	// Points of curves; Samples of training data for losses and activations; Steps of the straight-through estimator.
	Points  int `json:"points,omitempty"`
	Samples int `json:"samples,omitempty"`
	Steps   int `json:"steps,omitempty"`
	// RepairSamples of training data are what statistics are repaired on.
	RepairSamples int `json:"repair_samples,omitempty"`
	// Epochs at which onset measures; the last one must be that of each case's training.
	Epochs []int `json:"epochs,omitempty"`
	// Models is how many networks merge-many merges: on all data, and on random halves of it.
	Models []int `json:"models,omitempty"`
	// Networks of planted, and Draws of random weights of each; Timed are those of which weight matching is timed.
	Networks []MatchNetwork `json:"networks,omitempty"`
	Draws    int            `json:"draws,omitempty"`
	Timed    []MatchNetwork `json:"timed,omitempty"`
}

// Case is a network, its data and how it is trained.
type Case struct {
	// Name is for people: the row of tables.
	Name     string       `json:"name"`
	Network  zoo.Config   `json:"network"` // input and classes are the data's
	Data     Data         `json:"data"`
	Training train.Config `json:"training"` // its seed is the pair's
	// Repairs of the statistics of mixtures that are measured beside none: reset, rescale, repair.
	Repairs []string `json:"repairs,omitempty"`
	// LeastAccuracy is the accuracy on test data that both ends must have for a verdict.
	LeastAccuracy float64 `json:"least_accuracy,omitempty"`
	// Series and X place the case in a figure over many cases, as the barrier by width.
	Series string  `json:"series,omitempty"`
	X      float64 `json:"x,omitempty"`
}

// maxSpec bounds the size of a file, in bytes.
const maxSpec = 1 << 20

// ReadSpec reads an experiment from YAML, whose fields are those of [Spec] as JSON has them. Unknown fields and what makes no sense are errors.
func ReadSpec(r io.Reader) (*Spec, error) {
	s, err := readSpec(r)
	if err != nil {
		return nil, err
	}
	return s, s.Check()
}

// readSpec is ReadSpec without a look at what the fields say.
func readSpec(r io.Reader) (*Spec, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSpec+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxSpec {
		return nil, fmt.Errorf("experiment: the file is larger than %d bytes", maxSpec)
	}
	if err := screen(text); err != nil {
		return nil, err
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("experiment: %w", err)
	}
	var s Spec
	d := json.NewDecoder(bytes.NewReader(asJSON))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("experiment: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return &s, nil
}

// screen refuses what makes a small file large or slow to read: aliases, and nesting deeper than a spec can have.
func screen(text []byte) error {
	const deepest = 64
	for i, line := range strings.Split(string(text), "\n") {
		content := strings.TrimLeft(line, " ")
		if len(line)-len(content) > deepest || strings.Count(line, "[")+strings.Count(line, "{") > deepest {
			return fmt.Errorf("experiment: line %d is nested too deep", i+1)
		}
		if alias.MatchString(content) {
			return fmt.Errorf("experiment: line %d: anchors and aliases are not read", i+1)
		}
	}
	return nil
}

var alias = regexp.MustCompile(`(^|[\s\[{,:-])[&*][A-Za-z0-9_]`)

// YAML writes the spec as [ReadSpec] reads it.
func (s *Spec) YAML() ([]byte, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(text)
}

// folderName is what a run's folder may be called.
var folderName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Limits of a spec, far above what is useful and below what fills memories.
const (
	maxPairs  = 1000
	maxPoints = 10001
	maxEpochs = 1 << 20
	maxModels = 1000
	maxDraws  = 100000
)

// Check finds what makes no sense in a spec. Data is not looked for.
func (s *Spec) Check() error {
	def := find(s.Experiment)
	if def == nil {
		return fmt.Errorf("experiment: there is no experiment %q; there are %s", s.Experiment, strings.Join(Experiments(), ", "))
	}
	if s.Name != "" && !folderName.MatchString(s.Name) {
		return fmt.Errorf("experiment: name %q: a name has up to 64 letters, digits, dots, dashes and underscores", s.Name)
	}
	for _, n := range []struct {
		field             string
		value, least, top int
	}{
		{"pairs", s.Pairs, 0, maxPairs},
		{"points", s.Points, 0, maxPoints},
		{"samples", s.Samples, 0, maxEpochs * 1024},
		{"steps", s.Steps, 0, maxEpochs},
		{"repair_samples", s.RepairSamples, 0, maxEpochs * 1024},
		{"draws", s.Draws, 0, maxDraws},
	} {
		if n.value < n.least || n.value > n.top {
			return fmt.Errorf("experiment: %s: %d is not from %d to %d", n.field, n.value, n.least, n.top)
		}
	}
	for _, m := range s.Methods {
		if !slices.Contains(Methods(), m) {
			return fmt.Errorf("experiment: methods: there is no method %q; there are %s", m, strings.Join(Methods(), ", "))
		}
	}
	for _, n := range s.Models {
		if n < 2 || n > maxModels {
			return fmt.Errorf("experiment: models: %d networks are not from 2 to %d", n, maxModels)
		}
	}
	if err := s.checkCases(); err != nil {
		return err
	}
	for _, n := range slices.Concat(s.Networks, s.Timed) {
		if _, err := zoo.Build(n.Config); err != nil {
			return fmt.Errorf("experiment: network %q: %w", n.Name, err)
		}
	}
	if def.check != nil {
		return def.check(s)
	}
	return nil
}

func (s *Spec) checkCases() error {
	names := map[string]bool{}
	for i := range s.Cases {
		c := &s.Cases[i]
		where := fmt.Sprintf("experiment: case %q", c.Name)
		switch {
		case c.Name == "":
			return fmt.Errorf("experiment: case %d has no name", i+1)
		case names[c.Name]:
			return fmt.Errorf("%s is there twice", where)
		case c.Data.Name == "":
			return fmt.Errorf("%s names no data", where)
		case c.Data.Digest != "":
			return fmt.Errorf("%s: the digest of data is computed, not declared", where)
		case c.Data.Limit < 0 || c.Data.Resize < 0:
			return fmt.Errorf("%s: limit and resize of data must not be negative", where)
		case c.Training.Epochs < 1 || c.Training.Epochs > maxEpochs:
			return fmt.Errorf("%s: %d epochs of training are not from 1 to %d", where, c.Training.Epochs, maxEpochs)
		case c.Training.Seed != 0:
			return fmt.Errorf("%s: seeds are the experiment's: first_seed", where)
		case !(c.LeastAccuracy >= 0 && c.LeastAccuracy <= 1):
			return fmt.Errorf("%s: least_accuracy is a fraction", where)
		case len(c.Network.Input) > 0 || c.Network.Classes != 0:
			return fmt.Errorf("%s: input and classes of the network are the data's", where)
		}
		names[c.Name] = true
		if _, err := c.Training.WithDefaults(); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		// Sizes of any data do for finding widths that are none and names that are not known.
		probe := c.Network
		if probe.Classes = 10; !strings.Contains(probe.Arch, "mlp") {
			probe.Input = []int{3, 32, 32}
		} else {
			probe.Input = []int{784}
		}
		if _, err := zoo.Build(probe); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		for _, r := range c.Repairs {
			if !slices.Contains(merge.RepairMethods(), merge.RepairMethod(r)) || r == string(merge.RepairNone) {
				return fmt.Errorf("%s: there is no repair %q; there are %v", where, r, merge.RepairMethods())
			}
		}
		if dataset.IsPath(c.Data.Name) && c.Data.Normalize {
			return fmt.Errorf("%s: files have no usual normalization; name the set, and give its files as a source", where)
		}
	}
	return nil
}

// withDefaults fills in what is zero.
func (s Spec) withDefaults() Spec {
	if s.Name == "" {
		s.Name = s.Experiment
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&s.Pairs, 3}, {&s.Points, 11}, {&s.Samples, 5000}, {&s.Steps, 40}, {&s.RepairSamples, 2000}, {&s.Draws, 10}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if len(s.Methods) == 0 {
		s.Methods = []string{Naive, ByActivation, ByWeight, ByStraight}
	}
	return s
}

var errNoCases = errors.New("experiment: there are no cases")

// needCases is the check of experiments that train networks.
func needCases(s *Spec) error {
	if len(s.Cases) == 0 {
		return errNoCases
	}
	return nil
}
