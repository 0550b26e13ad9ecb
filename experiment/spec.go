package experiment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/graph"
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
	// Epochs at which onset measures, of those of the training of every case.
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

// maxSpec bounds the size of a file, in bytes: some hundred cases. The time of the YAML reader may be the square of it.
const maxSpec = 1 << 17

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
	s, err := decodeSpec(asJSON)
	if err != nil {
		return nil, fmt.Errorf("experiment: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return s, nil
}

// exponent is a number that the YAML reader takes for a word, and that its writer writes so: one with an exponent and no point.
var exponent = regexp.MustCompile(`"[-+]?[0-9]+[eE][-+]?[0-9]+"$`)

// maxExponents bounds how many such numbers a spec may have: each costs a look at all of it.
const maxExponents = 1000

// decodeSpec reads JSON whose numbers may be strings where they have an exponent and no point. It changes the text.
func decodeSpec(text []byte) (*Spec, error) {
	for tries := 0; ; tries++ {
		var s Spec
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		err := d.Decode(&s)
		wrong := (*json.UnmarshalTypeError)(nil)
		if !errors.As(err, &wrong) || wrong.Value != "string" || wrong.Type.Kind() != reflect.Float64 || tries > maxExponents {
			return &s, err
		}
		at := exponent.FindIndex(text[:wrong.Offset])
		if at == nil {
			return &s, err
		}
		text[at[0]], text[at[1]-1] = ' ', ' ' // the quotes
		if text[at[0]+1] == '+' {             // JSON has none
			text[at[0]+1] = ' '
		}
	}
}

// screen refuses what makes a small file large or slow to read: aliases, and nesting deeper than a spec can have.
func screen(text []byte) error {
	const deepest = 64
	open := 0
	for i, line := range strings.Split(string(text), "\n") {
		content := strings.TrimLeft(line, " ")
		// Brackets in quotes count, too: names have few.
		open = max(0, open+strings.Count(line, "[")+strings.Count(line, "{")-strings.Count(line, "]")-strings.Count(line, "}"))
		if len(line)-len(content) > deepest || strings.Count(line, "[")+strings.Count(line, "{") > deepest || open > deepest {
			return fmt.Errorf("experiment: line %d is nested too deep", i+1)
		}
		if line == "---" && i > 0 || strings.HasPrefix(line, "--- ") && i > 0 {
			return fmt.Errorf("experiment: line %d: a file has one experiment", i+1)
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
	if s.Name != "" && !isFolderName(s.Name) {
		return fmt.Errorf("experiment: name %q: a name has up to 64 letters, digits, dots, dashes and underscores, begins with a letter or digit and does not end with a dot; "+
			"some, as con and nul, are devices of Windows", s.Name)
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
	if s.Points != 0 && (s.Points < 3 || s.Points%2 == 0) {
		return fmt.Errorf("experiment: points: %d: an odd number is needed, for one of them to be the midpoint, and at least 3", s.Points)
	}
	for _, m := range s.Methods {
		if !slices.Contains(Methods(), m) {
			return fmt.Errorf("experiment: methods: there is no method %q; there are %s", m, strings.Join(Methods(), ", "))
		}
	}
	// What stands twice would count twice, and make errors look smaller than they are.
	if m, twice := repeated(s.Methods); twice {
		return fmt.Errorf("experiment: methods: %q is there twice", m)
	}
	for _, n := range s.Models {
		if n < 2 || n > maxModels {
			return fmt.Errorf("experiment: models: %d networks are not from 2 to %d", n, maxModels)
		}
	}
	if err := s.checkCases(); err != nil {
		return err
	}
	for _, list := range [][]MatchNetwork{s.Networks, s.Timed} {
		if err := checkNetworks(list); err != nil {
			return err
		}
	}
	if err := s.checkUsed(def); err != nil {
		return err
	}
	if def.check != nil {
		return def.check(s)
	}
	return nil
}

func checkNetworks(list []MatchNetwork) error {
	var names []string
	for i, n := range list {
		if err := checkTitle(n.Name); err != nil {
			return fmt.Errorf("experiment: network %d: %w", i+1, err)
		}
		names = append(names, n.Name)
		g, err := zoo.Build(n.Config)
		if err == nil {
			err = checkSize(g)
		}
		if err != nil {
			return fmt.Errorf("experiment: network %q: %w", n.Name, err)
		}
	}
	if n, twice := repeated(names); twice {
		return fmt.Errorf("experiment: network %q is there twice", n)
	}
	return nil
}

// checkUsed finds lists of a spec that its experiment does not look at.
func (s *Spec) checkUsed(def *definition) error {
	for _, list := range []struct {
		field string
		n     int
	}{{"cases", len(s.Cases)}, {"epochs", len(s.Epochs)}, {"models", len(s.Models)}, {"networks", len(s.Networks)}, {"timed", len(s.Timed)}} {
		if list.n > 0 && !slices.Contains(def.lists, list.field) {
			return fmt.Errorf("experiment: %s is no field of %s", list.field, def.name)
		}
	}
	return nil
}

// repeated finds a value that stands in a list twice.
func repeated[T comparable](list []T) (value T, found bool) {
	for i, v := range list {
		if slices.Contains(list[:i], v) {
			return v, true
		}
	}
	return value, false
}

// maxTitle bounds the bytes of the name of a case or network.
const maxTitle = 120

// checkTitle finds names that cannot be printed in a table.
func checkTitle(name string) error {
	switch {
	case name == "":
		return errors.New("it has no name")
	case len(name) > maxTitle:
		return fmt.Errorf("its name is longer than %d bytes", maxTitle)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("its name %q has characters that cannot be printed", name)
	}
	return nil
}

// maxParameters bounds networks, in parameters: four times those of the paper's widest ResNet20.
const maxParameters = 1 << 30

// checkSize refuses networks that no memory holds, before any of it is asked for.
func checkSize(g *graph.Graph) error {
	total := 0.0
	for _, p := range g.Params {
		n := 1.0
		for _, d := range p.Shape {
			n *= float64(d.Size)
		}
		total += n
	}
	if total > maxParameters {
		return fmt.Errorf("it has %.3g parameters, at most %d are trained or matched", total, maxParameters)
	}
	return nil
}

// device names are taken on Windows, with any ending.
var device = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)`)

// isFolderName tells what a run may be called on any system.
func isFolderName(name string) bool {
	return folderName.MatchString(name) && !strings.HasSuffix(name, ".") && !device.MatchString(name)
}

func (s *Spec) checkCases() error {
	names, places := map[string]bool{}, map[string]string{}
	for i := range s.Cases {
		c := &s.Cases[i]
		where := fmt.Sprintf("experiment: case %q", c.Name)
		switch {
		case checkTitle(c.Name) != nil:
			return fmt.Errorf("experiment: case %d: %w", i+1, checkTitle(c.Name))
		case c.Series != "" && checkTitle(c.Series) != nil:
			return fmt.Errorf("%s: series: %w", where, checkTitle(c.Series))
		case names[c.Name]:
			return fmt.Errorf("%s is there twice", where)
		case c.Data.Name == "":
			return fmt.Errorf("%s names no data", where)
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
		if place := fmt.Sprintf("%q at x = %g", c.Series, c.X); c.Series != "" {
			if places[place] != "" {
				return fmt.Errorf("%s is where case %q is: series %s", where, places[place], place)
			}
			places[place] = c.Name
		}
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
		g, err := zoo.Build(probe)
		if err == nil {
			err = checkSize(g)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		known := slices.DeleteFunc(slices.Clone(merge.RepairMethods()), func(m merge.RepairMethod) bool { return m == merge.RepairNone })
		for _, r := range c.Repairs {
			if !slices.Contains(known, merge.RepairMethod(r)) {
				return fmt.Errorf("%s: there is no repair %q; there are %v", where, r, known)
			}
		}
		if r, twice := repeated(c.Repairs); twice {
			return fmt.Errorf("%s: repairs: %q is there twice", where, r)
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
