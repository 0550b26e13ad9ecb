package task

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// TestKey changes one thing at a time: everything that determines a result changes the key, and nothing else does.
func TestKey(t *testing.T) {
	type options struct {
		Seed  uint64
		Width float64
		Data  string
	}
	type case_ struct {
		kind, label, environment string
		recipe                   int
		options                  any
		needs                    []string
	}
	base := func() case_ {
		return case_{"train", "a network", "avx2", 1, options{math.MaxUint64, .5, "mnist<&>"}, []string{"one", "two"}}
	}
	key := func(c case_) string {
		p := NewPlan(c.environment)
		var needs []*Task
		for _, n := range c.needs {
			needs = append(needs, add(t, p, &Kind{Name: "need"}, n, n))
		}
		k := &Kind{Name: c.kind, Recipe: c.recipe, Rate: float64(len(c.label)), Work: func(json.RawMessage) float64 { return 3 }}
		return add(t, p, k, c.label, c.options, needs...).Key
	}
	want := key(base())
	if !isKey.MatchString(want) {
		t.Errorf("key %q", want)
	}
	seen := map[string]string{want: "the first"}
	for name, change := range map[string]func(*case_){
		"kind":           func(c *case_) { c.kind = "match" },
		"recipe":         func(c *case_) { c.recipe = 2 },
		"environment":    func(c *case_) { c.environment = "avx512" },
		"last digit":     func(c *case_) { c.options = options{math.MaxUint64 - 1, .5, "mnist<&>"} },
		"number":         func(c *case_) { c.options = options{math.MaxUint64, math.Nextafter(.5, 1), "mnist<&>"} },
		"text":           func(c *case_) { c.options = options{math.MaxUint64, .5, "mnist<&"} },
		"no options":     func(c *case_) { c.options = nil },
		"another input":  func(c *case_) { c.needs[1] = "three" },
		"fewer inputs":   func(c *case_) { c.needs = c.needs[:1] },
		"inputs turned":  func(c *case_) { c.needs = []string{"two", "one"} },
		"an input twice": func(c *case_) { c.needs = []string{"one", "two", "two"} },
	} {
		c := base()
		change(&c)
		got := key(c)
		if other, ok := seen[got]; ok {
			t.Errorf("%s: the key is that of %s", name, other)
		}
		seen[got] = name
	}
	for name, change := range map[string]func(*case_){
		"nothing":     func(*case_) {},
		"label, rate": func(c *case_) { c.label = "another name of it" },
		"another type": func(c *case_) {
			c.options = map[string]any{"Width": .5, "Data": "mnist<&>", "Seed": uint64(math.MaxUint64)}
		},
		"raw, disturbed": func(c *case_) {
			c.options = json.RawMessage(`{"Width": 0.5, "Seed": 18446744073709551615, "Data": "mnist<&>"}`)
		},
	} {
		c := base()
		change(&c)
		if got := key(c); got != want {
			t.Errorf("%s: the key has changed", name)
		}
	}
}

// TestKeyIsStable holds the keys of stores that exist: whoever changes this discards all of them.
func TestKeyIsStable(t *testing.T) {
	p := NewPlan("portable")
	a := add(t, p, &Kind{Name: "a", Recipe: 1}, "", map[string]any{"x": 1, "b": "é<"})
	b := add(t, p, &Kind{Name: "b", Recipe: 2}, "", nil, a)
	expect(t, "keys", []string{a.Key, b.Key}, []string{"4522bdb73d546dfc768600bed91dd936", "73a64a6176fce92486f67cd365de9972"})
	expect(t, "options", string(a.Options), `{"b":"é\u003c","x":1}`)
}

func TestEqualTasksAreOne(t *testing.T) {
	p := NewPlan("")
	k := &Kind{Name: "k"}
	a := add(t, p, k, "first name", 1)
	if b := add(t, p, k, "other name", 1); b != a {
		t.Error("an equal task was added")
	}
	needs := []*Task{a}
	c := add(t, p, k, "c", 2, needs...)
	needs[0] = c // the caller's slice is its own
	if c.Needs[0] != a {
		t.Error("a task needs itself")
	}
	expect(t, "tasks", len(p.Tasks()), 2)
	p.Tasks()[0] = c
	if p.Tasks()[0] != a {
		t.Error("the plan can be changed from outside")
	}
}

func TestAddRefuses(t *testing.T) {
	p, k := NewPlan(""), &Kind{Name: "train"}
	for name, options := range map[string]any{"NaN": math.NaN(), "function": func() {}, "broken JSON": json.RawMessage(`{"a":`)} {
		if _, err := p.Add(k, "net 3", options); err == nil || !strings.Contains(err.Error(), `train "net 3"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	elsewhere := add(t, NewPlan("other"), k, "x", 1)
	defer func() {
		if v := recover(); v == nil || !strings.Contains(v.(string), `"x", which is not in its plan`) {
			t.Errorf("panic %v", v)
		}
	}()
	_, err := p.Add(k, "y", 2, elsewhere)
	t.Errorf("needs of another plan are taken: %v", err)
}

func TestJobDecode(t *testing.T) {
	var o struct{ A int }
	job := &Job{Label: "train", Options: json.RawMessage(`{"A":3}`)}
	if err := job.Decode(&o); err != nil || o.A != 3 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, text := range []string{`{"A":3,"B":1}`, `{"A":3}{}`, `{"A":3`} {
		job.Options = json.RawMessage(text)
		if err := job.Decode(&o); err == nil || !strings.Contains(err.Error(), `options of "train"`) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
