package symmetry

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/tensor"
)

func TestPythonAxes(t *testing.T) {
	shapes := map[string]tensor.Shape{"fc1.weight": {5, 784}, "fc1.bias": {5}, "flat": {3, 5}, "n": {}, "other": {2, 2}, "a\"b": {2}}
	s := mustParse(t, "layouts: {fc1.weight: h1 _, fc1.bias: h1, flat: 3 (h1 1 1), n: '', 'a\"b': (1 + 1)}", shapes)
	got, err := s.PythonAxes()
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "a\"b": [null],
  "fc1.bias": ["h1"],
  "fc1.weight": ["h1",null],
  "flat": [null,"h1"],
  "n": [],
  "other": [null,null]
}
`
	if string(got) != want {
		t.Errorf("got %s", got)
	}
	parsed, err := ParseSpec(got, shapes)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := parsed.PythonAxes(); err != nil || string(again) != want {
		t.Errorf("again: %v %s", err, again)
	}
}

func TestPythonAxesSaysWhatItCannotSay(t *testing.T) {
	for _, c := range []struct {
		spec   string
		shapes map[string]tensor.Shape
		want   string
	}{
		{"layouts: {w: h (h 2)}", map[string]tensor.Shape{"w": {3, 6}}, `tensor "w": h (h 2): axis 1: a product, which`},
		{"layouts: {w: (h + 2)}", map[string]tensor.Shape{"w": {6}}, "a concatenation, which"},
		{"layouts: {w: '(h d[h])', v: h}", map[string]tensor.Shape{"w": {6}, "v": {2}}, "axis 0: a product"},
		{"layouts: {w: 'h d[h]'}", map[string]tensor.Shape{"w": {2, 3}}, "axis 1: d[h] is a family"},
		{"layouts: {'w.{e}': h}", map[string]tensor.Shape{"w.0": {3}, "w.1": {3}}, `tensor "w.{e}": h: "e" permutes the names`},
	} {
		_, err := mustParse(t, c.spec, c.shapes).PythonAxes()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.spec, err, c.want)
		}
	}
}

// A stack numbered by a fixed name, and a family of one unit, move nothing that the form could not say.
func TestPythonAxesOfWhatDoesNotMove(t *testing.T) {
	s := mustParse(t, "layouts: {'w.{l}': h, v: '(h x[h])'}\nfixed: {l: 2}", map[string]tensor.Shape{"w.0": {3}, "w.1": {3}, "v": {3}})
	got, err := s.PythonAxes()
	if want := "{\n  \"v\": [\"h\"],\n  \"w.0\": [\"h\"],\n  \"w.1\": [\"h\"]\n}\n"; err != nil || string(got) != want {
		t.Errorf("%v %s", err, got)
	}
}

// Where the form can say a symmetry, what it says moves tensors alike.
func TestPythonAxesRoundTrip(t *testing.T) {
	said := 0
	check := func(t *rapid.T) {
		s := drawSymmetry(t)
		axes, err := s.PythonAxes()
		if err != nil {
			return
		}
		parsed, err := ParseSpec(axes, s.Shapes)
		if err != nil {
			t.Fatalf("%v\n%s", err, axes)
		}
		a := parsed.Identity()
		full := s.Identity()
		random := drawAlignment(t, s, "alignment")
		for name := range a.Perms {
			a.Perms[name] = random.Perms[name]
			full.Perms[name] = random.Perms[name]
			said++
		}
		in := numbered(s)
		if err := sameTensors(mustApply(t, parsed, a, in), mustApply(t, s, full, in)); err != nil {
			t.Fatalf("%v\n%s%s", err, describe(s), axes)
		}
	}
	// Few of the symmetries drawn can be said; rounds go on until one was.
	for round := 0; said == 0 && round < 50; round++ {
		rapid.Check(t, check)
	}
	if said == 0 {
		t.Error("no symmetry was said")
	}
}
