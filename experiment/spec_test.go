package experiment

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// small is a spec with a hole for more.
func small(more string) string {
	return `experiment: interpolation
cases:
- name: small
  network: {arch: mlp, hidden: [8]}
  data: {name: mnist}
  training: {epochs: 1}
` + more
}

func TestReadSpec(t *testing.T) {
	s, err := ReadSpec(strings.NewReader(small("pairs: 2\nmethods: [naive, weight]\n")))
	if err != nil {
		t.Fatal(err)
	}
	if s.Experiment != "interpolation" || s.Pairs != 2 || len(s.Methods) != 2 || s.Cases[0].Network.Hidden[0] != 8 {
		t.Errorf("read %+v", s)
	}
}

// TestPresets has every preset written and read again, and its command in reports.
func TestPresets(t *testing.T) {
	for _, name := range Experiments() {
		for _, preset := range Presets() {
			s, err := Preset(name, preset)
			if err != nil {
				t.Fatal(err)
			}
			text, err := s.YAML()
			if err != nil {
				t.Fatal(err)
			}
			read, err := ReadSpec(bytes.NewReader(text))
			if err != nil {
				t.Errorf("%s of %s: %v", preset, name, err)
				continue
			}
			if again, err := read.YAML(); err != nil || !bytes.Equal(again, text) {
				t.Errorf("%s of %s, written and read: %v\n%s\n%s", preset, name, err, text, again)
			}
			// What a run leaves beside its records can be run again.
			full := s.withDefaults()
			if text, err = full.YAML(); err == nil {
				read, err = ReadSpec(bytes.NewReader(text))
			}
			if err != nil {
				t.Errorf("%s of %s with defaults: %v", preset, name, err)
				continue
			}
			if diff := cmp.Diff(full, read.withDefaults()); diff != "" {
				t.Errorf("%s of %s with defaults, written and read:\n%s", preset, name, diff)
			}
			run := Finished{Spec: full}
			if got, want := run.command(), fmt.Sprintf("rebasin experiment run %s --preset %s", name, preset); got != want {
				t.Errorf("the command is %q, want %q", got, want)
			}
			run.Spec.FirstSeed += 7
			if got := run.command(); !strings.HasSuffix(got, preset+" --seed 7") {
				t.Errorf("the command for another seed is %q", got)
			}
			run.Spec.Samples++
			if got, want := run.command(), fmt.Sprintf("rebasin experiment run %s-%s.yaml", name, preset); got != want {
				t.Errorf("the command for other samples is %q, want %q", got, want)
			}
		}
	}
	if _, err := Preset("interpolation", "huge"); err == nil {
		t.Error("there is a preset huge")
	}
	if _, err := Preset("nothing", Smoke); err == nil {
		t.Error("there is an experiment nothing")
	}
}

// TestSpecsAreReadAsWritten has numbers and names that YAML could take for something else.
func TestSpecsAreReadAsWritten(t *testing.T) {
	s, err := Preset("interpolation", Smoke)
	if err != nil {
		t.Fatal(err)
	}
	c := s.Cases[0]
	for i, x := range []float64{1e-7, 1.5e-9, 1e30, 1, .25, 123456789} {
		c.Name, c.Training.Optimizer.LearningRate, c.Training.Optimizer.WeightDecay = fmt.Sprintf("rate %d", i), x, x/3
		s.Cases = append(s.Cases, c)
	}
	for _, name := range []string{"1e-7", "1.0e-7", "12", "true", "null", "~", "0x1", "a: b", "# x", "- x", "'", `"`, `\`, `\"1e5`, "é", "&a", "*a", "{", "[[", "x 1e-7", "2001-01-01", "|", ">", "%", "@", "`", " "} {
		c.Name = name
		s.Cases = append(s.Cases, c)
	}
	text, err := s.YAML()
	if err != nil {
		t.Fatal(err)
	}
	read, err := ReadSpec(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, *read); diff != "" {
		t.Error(diff)
	}
}

// TestReadSpecRefuses has one spec for each way of being wrong, with what the error must say.
func TestReadSpecRefuses(t *testing.T) {
	in := func(old, new string) string {
		text := small("")
		if !strings.Contains(text, old) {
			panic("nothing to replace: " + old)
		}
		return strings.Replace(text, old, new, 1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":                     {"", `no experiment ""`},
		"no YAML":                   {"a: b: c", "experiment:"},
		"unknown experiment":        {"experiment: magic", "there are interpolation, onset"},
		"unknown field":             {small("colour: red\n"), `unknown field "colour"`},
		"unknown field of a case":   {in("  data:", "  dat:"), `unknown field "dat"`},
		"field twice":               {small("experiment: onset\n"), "experiment"},
		"wrong type":                {small("pairs: many\n"), "pairs"},
		"two documents":             {small("---\nexperiment: width\n"), "one experiment"},
		"alias":                     {small("pairs: &a 1\n"), "aliases"},
		"deep":                      {"cases: " + strings.Repeat("[\n", 100), "too deep"},
		"deep in a line":            {"cases: " + strings.Repeat("[", 100), "too deep"},
		"large":                     {small("#" + strings.Repeat("x", maxSpec)), "larger than"},
		"name":                      {small("name: ../x\n"), "name"},
		"name of a device":          {small("name: nul.x\n"), "Windows"},
		"name with a dot":           {small("name: x.\n"), "dot"},
		"pairs":                     {small("pairs: -1\n"), "pairs: -1"},
		"many pairs":                {small("pairs: 1000000\n"), "pairs"},
		"even points":               {small("points: 10\n"), "points: 10"},
		"one point":                 {small("points: 1\n"), "points: 1"},
		"samples":                   {small("samples: -1\n"), "samples"},
		"steps":                     {small("steps: -1\n"), "steps"},
		"method":                    {small("methods: [weights]\n"), "there are naive"},
		"method twice":              {small("methods: [weight, naive, weight]\n"), `"weight" is there twice`},
		"epochs of another":         {small("epochs: [1]\n"), "epochs is no field of interpolation"},
		"models of another":         {small("models: [2, 2]\n"), "models is no field"},
		"networks of another":       {small("networks: [{name: a, config: {arch: mlp, input: [4], classes: 2}}]\n"), "networks is no field"},
		"no cases":                  {"experiment: width", "no cases"},
		"case without a name":       {in("name: small", `name: ""`), "case 1: it has no name"},
		"case that rings":           {in("name: small", "name: \"a\u202e\""), "printed"},
		"case with a long name":     {in("name: small", "name: "+strings.Repeat("x", 200)), "longer than"},
		"no data":                   {in("name: mnist", `limit: 3`), "names no data"},
		"limit":                     {in("name: mnist", `name: mnist, limit: -3`), "limit"},
		"path that is normalized":   {in("name: mnist", `name: ./x, normalize: true`), "normalization"},
		"epochs":                    {in("epochs: 1", "epochs: 0"), "0 epochs"},
		"seed":                      {in("epochs: 1", "epochs: 1, seed: 3"), "first_seed"},
		"optimizer":                 {in("epochs: 1", "epochs: 1, optimizer: {name: lion}"), "lion"},
		"least accuracy":            {in("  network:", "  least_accuracy: 97\n  network:"), "fraction"},
		"classes":                   {in("arch: mlp", "arch: mlp, classes: 3"), "classes"},
		"architecture":              {in("arch: mlp, hidden: [8]", "arch: transformer"), "transformer"},
		"width below zero":          {in("hidden: [8]", "width: -1"), "width"},
		"width of nothing":          {in("hidden: [8]", "width: 0.000000001"), "width"},
		"width that fits no memory": {in("hidden: [8]", "width: 1000"), "parameters"},
		"width of no channel, in another notation": {in("hidden: [8]", "width: 1e-3"), "width 0.001 makes zero channels"},
		"width that is no number":                  {in("hidden: [8]", "width: .nan"), ""},
		"width without an end":                     {in("hidden: [8]", "width: .inf"), ""},
		"repair":                                   {in("  network:", "  repairs: [none]\n  network:"), "there are [reset"},
		"repair twice":                             {in("  network:", "  repairs: [reset, reset]\n  network:"), "twice"},
		"case twice":                               {small("") + strings.SplitAfter(small(""), "cases:\n")[1], "twice"},
		"onset without epochs":                     {in("interpolation", "onset"), "epochs to measure at"},
		"onset behind the end":                     {in("interpolation", "onset") + "epochs: [2]\n", "no epoch 2"},
		"width without a series":                   {in("interpolation", "width"), "needs a series"},
		"models":                                   {in("interpolation", "merge-many") + "models: [3]\n", "two numbers"},
		"one model":                                {in("interpolation", "merge-many") + "models: [1, 3]\n", "1 networks"},
		"many repaired":                            {strings.Replace(in("interpolation", "merge-many"), "  network:", "  repairs: [reset]\n  network:", 1) + "models: [2, 2]\n", "repairs no statistics"},
		"planted in nothing":                       {"experiment: planted", "networks are needed"},
		"network twice": {
			"experiment: planted\nnetworks: [{name: a, config: {arch: mlp, input: [4], classes: 2}}, {name: a, config: {arch: mlp, input: [4], classes: 2}}]",
			"twice",
		},
		"network without input": {"experiment: planted\nnetworks: [{name: a, config: {arch: mlp}}]", `network "a"`},
		"cases of planted":      {strings.Replace(small(""), "interpolation", "planted", 1) + "networks: [{name: a, config: {arch: mlp, input: [4], classes: 2}}]\n", "cases is no field"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadSpec(strings.NewReader(c.text))
			if err == nil {
				t.Fatal("it was read")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %q, want %q in it", err, c.want)
			}
		})
	}
}

// TestSeriesPlaces has two cases in one place of a figure.
func TestSeriesPlaces(t *testing.T) {
	s, err := Preset("width", Smoke)
	if err != nil {
		t.Fatal(err)
	}
	s.Cases[1].X = s.Cases[0].X
	if err := s.Check(); err == nil || !strings.Contains(err.Error(), "is where case") {
		t.Errorf("two cases at one width: %v", err)
	}
}

func FuzzReadSpec(f *testing.F) {
	f.Add([]byte(small("pairs: 2\n")))
	f.Add([]byte("experiment: planted\nnetworks: [{name: a, config: {arch: mlp, input: [4], classes: 2}}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ReadSpec(bytes.NewReader(text))
		if err != nil {
			return
		}
		again, err := s.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ReadSpec(bytes.NewReader(again)); err != nil {
			t.Errorf("written and read: %v\n%s", err, again)
		}
	})
}
