package symmetry

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/tensor"
)

var mlpShapes = map[string]tensor.Shape{
	"fc1.weight": {512, 784}, "fc1.bias": {512}, "fc2.weight": {10, 512}, "fc2.bias": {10},
}

func TestParseSpec(t *testing.T) {
	s := mustParse(t, `
# a comment, with [brackets and {braces
layouts:
  fc1.weight: h1 _     # 784 inputs
  fc1.bias: "h1"
  'fc2.weight': 10 h1
`, mlpShapes)
	want := &Symmetry{
		Groups: []Group{{Name: "h1", Size: 512}},
		Fixed:  map[string]int{},
		Layouts: map[string]Layout{
			"fc1.weight": {GroupAxis("h1", 512), FixedAxis(784)}, "fc1.bias": {GroupAxis("h1", 512)},
			"fc2.weight": {FixedAxis(10), GroupAxis("h1", 512)},
		},
		Shapes: mlpShapes,
		Pinned: []Pin{{Tensor: "fc2.bias", Axis: -1, Why: "not in the specification file"}},
	}
	if !reflect.DeepEqual(s, want) {
		t.Error(cmp.Diff(want, s))
	}
}

// Both forms, in block and flow style, say the same.
func TestSpecFormsAgree(t *testing.T) {
	want := mustParse(t, "layouts:\n  fc1.weight: h1 784\n  fc1.bias: h1\n  fc2.weight: _ h1\n  fc2.bias: 10\n", mlpShapes)
	for _, text := range []string{
		`{"fc1.weight": ["h1", null], "fc1.bias": ["h1"], "fc2.weight": [null, "h1"], "fc2.bias": [null]}`,
		`{"layouts": {"fc1.weight": "h1 784", "fc1.bias": "h1", "fc2.weight": "10 h1", "fc2.bias": "10"}, "sizes": {"h1": 512}}`,
		"layouts: {fc1.weight: h1 _, fc1.bias: h1,\n  fc2.weight: 10 h1, fc2.bias: _}",
		"---\nsizes:\nlayouts:\n    fc1.weight: h1 _\r\n    fc1.bias: h1\r\n    fc2.weight: _ (h1 1)\n    fc2.bias: 10\n",
	} {
		s := mustParse(t, text, mlpShapes)
		if strings.Contains(text, "(h1 1)") {
			s.Layouts["fc2.weight"] = want.Layouts["fc2.weight"]
		}
		if !reflect.DeepEqual(s, want) {
			t.Errorf("%s\n%s", text, cmp.Diff(want, s))
		}
	}
}

func TestSizesAreSolved(t *testing.T) {
	for _, c := range []struct {
		spec   string
		shapes map[string]tensor.Shape
		want   map[string]int
	}{
		{ // backwards along a chain, through a product, a sum and a product in a sum
			"layouts: {a: (p q), b: (q + r), c: ((r s) + s), d: s}",
			map[string]tensor.Shape{"a": {35}, "b": {12}, "c": {24}, "d": {4}},
			map[string]int{"s": 4, "r": 5, "q": 7, "p": 5},
		},
		{"layouts: {a: (h h 2)}", map[string]tensor.Shape{"a": {50}}, map[string]int{"h": 5}},
		{"layouts: {a: (h + (h h) + 3)}", map[string]tensor.Shape{"a": {59}}, map[string]int{"h": 7}},
		{
			"layouts: {qkv: '((heads dk[heads]) + (heads dk[heads]) + (heads dv[heads])) _', out: '(heads dv[heads])'}\nsizes: {heads: 12}",
			map[string]tensor.Shape{"qkv": {2304, 768}, "out": {768}},
			map[string]int{"heads": 12, "dk": 64, "dv": 64},
		},
		{"layouts: {a: (h _ 3), b: h}", map[string]tensor.Shape{"a": {30}, "b": {5}}, map[string]int{"h": 5}},
		{"layouts: {w: '(direction h[direction]) x'}\nfixed: {direction: 2}", map[string]tensor.Shape{"w": {10, 3}}, map[string]int{"h": 5, "x": 3}},
		{"layouts: {'e.{e}.w': 'f[e] d'}", stackShapes("e.%d.w", 3, tensor.Shape{4, 5}), map[string]int{"e": 3, "f": 4, "d": 5}},
		{"layouts: {'l.{l}.w': 'f[l]'}\nfixed: {l: 2}", stackShapes("l.%d.w", 2, tensor.Shape{4}), map[string]int{"f": 4}},
		{
			"layouts: {'{l}.e.{e[l]}.w': 'f[l,e]', g: l}",
			map[string]tensor.Shape{"0.e.0.w": {2}, "0.e.1.w": {2}, "1.e.0.w": {2}, "1.e.1.w": {2}, "g": {2}},
			map[string]int{"l": 2, "e": 2, "f": 2},
		},
		{"layouts: {empty: h _, b: h}", map[string]tensor.Shape{"empty": {3, 0}, "b": {3}}, map[string]int{"h": 3}},
	} {
		s, err := ParseSpec([]byte(c.spec), c.shapes)
		if err != nil {
			t.Errorf("%s: %v", c.spec, err)
			continue
		}
		for _, g := range s.Groups {
			if c.want[g.Name] != g.Size {
				t.Errorf("%s: %s has size %d, want %d", c.spec, g.Name, g.Size, c.want[g.Name])
			}
		}
		if len(s.Groups) != len(c.want) {
			t.Errorf("%s: groups %v", c.spec, s.Groups)
		}
	}
}

func stackShapes(format string, n int, shape tensor.Shape) map[string]tensor.Shape {
	shapes := map[string]tensor.Shape{}
	for i := range n {
		shapes[fmt.Sprintf(format, i)] = shape
	}
	return shapes
}

func TestSpecErrors(t *testing.T) {
	shapes := map[string]tensor.Shape{
		"w": {6, 4}, "v": {6}, "u": {5}, "s": {}, "e.0.w": {2}, "e.1.w": {2}, "gap.0.w": {2}, "gap.2.w": {2},
		"odd.0.w": {2}, "odd.1.w": {3}, "none": {0},
	}
	for _, c := range []struct{ spec, want string }{
		{"layouts:\n  x: h", `line 2: tensor "x": not in the checkpoint`},
		{"layouts: {w: a b c}", `line 1: tensor "w": layout has 3 axes, shape [6 4] has 2`},
		{"layouts: {w: a}", `layout has 1 axis, shape [6 4] has 2`},
		{"layouts: {s: h}", `layout has 1 axis, shape [] has 0`},
		{"layouts:\n  v: h\n  u: h", `line 3: tensor "u": "h" has size 6 (axis 0 of tensor "v") and 5 (axis 0 of this tensor)`},
		{"layouts: {w: h h}", `"h" has size 6 (axis 0 of tensor "w") and 4 (axis 1 of this tensor)`},
		{"layouts: {v: h}\nsizes: {h: 5}", `"h" has size 5 (sizes) and 6 (axis 0 of this tensor)`},
		{"layouts: {v: (h 4), u: h}", `tensor "v": axis 0: (h 4) cannot have extent 6`},
		{"layouts: {u: h, v: (h + h)}", `tensor "v": axis 0: (h + h) (h = 5 from axis 0 of tensor "u") makes 10, shape [6] has 6`},
		{"layouts: {v: (h + 6)}", "cannot have extent 6"},
		{"layouts: {none: h}", "cannot have extent 0"},
		{"layouts: {v: 5}", "axis 0: 5 makes 5, shape [6] has 6"},
		{"layouts: {v: (a b)}", `the size of "a" does not follow from the shapes: give it under sizes`},
		{"layouts: {v: (_ _)}", "more than one _ is unknown"},
		{"layouts: {v: 'f[g]'}", `family "f[g]": parent "g" does not stand in the same tensor`},
		{"layouts: {w: '(g f[g]) _', v: 'f[g]'}", `tensor "v": family "f[g]": parent "g" does not stand`},
		{"layouts: {w: '(g f[g]) (h x[h])', v: '(h f[h])'}", `tensor "v": "f" stands with other parents than in tensor "w": f[g] there`},
		{"layouts: {w: '(g f[g]) _', v: f}", `stands with other parents than in tensor "w"`},
		{"layouts: {w: '(g g f[g]) _'}", `parent "g" stands 2 times`},
		{"layouts: {w: '(g + f[g]) _'}", "on the same axis but in another segment"},
		{"layouts: {w: '(g + a) f[g]'}", "does not stand exactly once in every segment of axis 0"},
		{"layouts: {w: '(g g) f[g]'}", "does not stand exactly once in every segment"},
		{"layouts: {w: '(g + (g f[g]) + x[g]) g'}", `stands on axes 0 and 1: which is meant is not clear`},
		{"layouts: {w: 'f[f] _'}", `it is its own parent`},
		{"layouts: {w: '(g q[g]) x[q]'}", `family "x[q]": parent "q" is a family of "g", which must be listed before it`},
		{"layouts: {w: '(g q[g]) x[q,g]'}", `must be listed before it`},
		{"layouts: {v: 'd[x]'}\nfixed: {d: 2}", `"d" is fixed and has no parents`},
		{"layouts: {v: h}\nfixed: {d: 2}", `line 2: fixed: "d" stands in no layout`},
		{"layouts: {v: h}\nfixed: {3: 2}", `fixed: name "3" starts with`},
		{"layouts: {v: h}\nsizes: {d: 2}", `line 2: sizes: "d" stands in no layout`},
		{"layouts: {v: d}\nfixed: {d: 6}\nsizes: {d: 6}", `sizes: "d" is a fixed extent already`},
		{"layouts: {v: d}\nfixed: {d: 5}", `"d" has size 5 (fixed) and 6`},
		{"layouts: {v: h}\nsizes: {h: 0}", "an extent is at least 1"},
		{"layouts: {v: h}\nsizes: {h: 99999999999}", "no number from 1 to 2147483647"},
		{"layouts: {v: h}\nsizes: {h: [1]}", "a list"},
		{"layouts: {v: h}\nsizes: {h: {a: 1}}", `sizes: "h": text is needed here, not a mapping`},
		{"layouts:\n  v: h\n  v: h", `"v"`},
		{"layouts: {v: h}\nlayouts: {u: g}", `layouts`},
		{"layouts:\n  v: h (", `line 2: tensor "v": layout "h (", position 4: a name`},
		{"layouts: {v: }", `no layout is given (that of a scalar is "")`},
		{"layouts: {v: {a: b}}", "text is needed here, not a mapping"},
		{"layouts: h", "layouts: a mapping is needed here"},
		{"layouts:", "the specification has no layouts"},
		{"{}", "the specification has no layouts"},
		{"", "the specification is empty"},
		{"# nothing\n", "the specification is empty"},
		{"hello", "a mapping is needed here"},
		{"layout: {v: h}", `line 1: unknown section "layout"`},
		{"layouts: {v: h}\n---\nlayouts: {u: h}", "more than one YAML document"},
		{"layouts: {v: &a h, u: *a}", "anchor"},
		{"layouts: {v: !!str h}", "a tag"},
		{"layouts:\n  v: |\n    h\n", "a block scalar"},
		{"layouts:\n  <<: {v: h}\n", "merge key"},
		{"layouts: [v]", "a list, which specifications do not have"},
		{"layouts: {v: f[g]}", "line 1: ',' or '}' must be specified (inside {...} text with brackets stands in quotes)"},
		{"layouts: {v: (2147483647 2147483647 2147483647 2)}", "shape [6] has 6"},
		{"layouts: {v: (h h h h h h h h)}\nsizes: {h: 2147483647}", "shape [6] has 6"},
		{"- layouts", "a list or a complex key"},
		{"layouts:\n\tv: h", "line 2"},
		{"layouts: {v: \x01}", "control character"},
		{"layouts: {v: \xff}", "not UTF-8"},
		{"layouts: {'e.{e.w': h}", `"{" is not closed`},
		{"layouts: {'e.{3}.w': h}", "a hole holds one name"},
		{"layouts: {'e.{(a b)}.w': h}", "a hole holds one name"},
		{"layouts: {'e.{a}{b}.w': h}", "no text between two holes"},
		{"layouts: {'e.1{a}.w': h}", "a digit touches a hole"},
		{"layouts: {'e.{a b}.w': h}", "a hole holds one name"},
		{"layouts: {'e.{?!(}.w': h}", `layout "?!("`},
		{"layouts: {'nope.{e}.w': h}", "no tensor of the checkpoint has such a name"},
		{"layouts: {'gap.{e}.w': h}", `tensor "gap.1.w" is missing from the checkpoint`},
		{"layouts: {'odd.{e}.w': h}", `tensor "odd.1.w" has shape [3], "odd.0.w" has [2]`},
		{"layouts: {'e.{e}.w': h, e.1.w: h}", `"e.1.w" has a layout already, that of "e.{e}.w"`},
		{"layouts: {'e.{e}.w': h, v: e}", `"e" has size 2 (the names of "e.{e}.w") and 6`},
		{"layouts: {'e.{e}.w': h}\nsizes: {e: 3}", `"e" has size 3 (sizes) and 2 (the numbers in the names of the tensors)`},
		{"layouts: {'e.{e[x]}.w': x, v: e}", "stands with other parents"},
		{"layouts: {'e.{e[x]}.w': 'e[y]'}", "other parents in the name than in the layout"},
		{`{"v": ["h"], "v": ["h"]}`, `tensor "v" is there twice`},
		{`{"v": "h"}`, `tensor "v": needs a list with a group's name or null for each axis`},
		{`{"v": null}`, "needs a list"},
		{`{"v": [1]}`, "needs a list"},
		{`{"v": ["f[g]"]}`, "axis 0: name \"f[g]\" contains '['"},
		{`{"v": ["_"]}`, "no name"},
		{`{"w": ["h"]}`, `tensor "w": layout has 1 axis, shape [6 4] has 2`},
		{`{"x": ["h"]}`, `tensor "x": not in the checkpoint`},
		{`{"w": ["h", "h"]}`, `"h" has size 6 (axis 0 of tensor "w") and 4`},
	} {
		s, err := ParseSpec([]byte(c.spec), shapes)
		if err == nil {
			t.Errorf("%s: no error, but %v", c.spec, s)
		} else if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s:\n got  %v\n want %s", c.spec, err, c.want)
		}
	}
}

// Nesting, sizes and counts that could exhaust a reader are refused at once; the time of what passes is bounded.
func TestHostileSpecs(t *testing.T) {
	const patience = time.Minute // a reader without limits takes many minutes or exhausts the stack
	start := time.Now()
	for _, unit := range []string{"[", "{", "- ", "? ", "a: [", "{a: ", "a,", "!a ", "&a ", "*a ", "\"", "a:\n ", "x{", "x[", "`"} {
		for _, prefix := range []string{"", "layouts: {", "layouts:\n  a: "} {
			if _, err := ParseSpec([]byte(prefix+strings.Repeat(unit, maxSpecBytes/2/len(unit))), mlpShapes); err == nil {
				t.Errorf("%q after %q: no error", unit, prefix)
			}
		}
	}
	if _, err := ParseSpec(make([]byte, maxSpecBytes+1), nil); err == nil {
		t.Error("a huge file: no error")
	}
	if d := time.Since(start); d > patience {
		t.Errorf("took %v", d)
	}
}

func TestSpecRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSymmetry(t)
		text, err := s.MarshalSpec()
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := ParseSpec(text, s.Shapes)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if err := sameSymmetry(parsed, s); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		again, err := parsed.MarshalSpec()
		if err != nil || string(again) != string(text) {
			t.Fatalf("%v\n%s\nand again\n%s", err, text, again)
		}
	})
}

// sameSymmetry compares what a specification keeps: the order of groups, fixed names that stand nowhere, and pins are
// no part of it.
func sameSymmetry(got, want *Symmetry) error {
	if diff := cmp.Diff(sortedGroups(want), sortedGroups(got)); diff != "" {
		return fmt.Errorf("groups: %s", diff)
	}
	if !reflect.DeepEqual(got.Shapes, want.Shapes) {
		return fmt.Errorf("shapes: %v, want %v", got.Shapes, want.Shapes)
	}
	for name, n := range got.Fixed {
		if want.Fixed[name] != n {
			return fmt.Errorf("fixed %q: %d, want %d", name, n, want.Fixed[name])
		}
	}
	for key := range want.Layouts {
		if diff := cmp.Diff(want.Layouts[key], got.Layouts[key], equateEmpty); diff != "" {
			return fmt.Errorf("layout of %q: %s", key, diff)
		}
	}
	if len(got.Layouts) != len(want.Layouts) {
		return fmt.Errorf("%d layouts, want %d", len(got.Layouts), len(want.Layouts))
	}
	return nil
}

// A scalar's layout may be nil or empty.
var equateEmpty = cmp.Transformer("nil", func(l Layout) []Axis { return append([]Axis{}, l...) })

func sortedGroups(s *Symmetry) []Group {
	groups := slices.Clone(s.Groups)
	slices.SortFunc(groups, func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
	return groups
}

// A name that YAML would read as something else comes back as it was.
func TestSpecQuotesNames(t *testing.T) {
	shapes := map[string]tensor.Shape{}
	want := &Symmetry{Layouts: map[string]Layout{}, Shapes: shapes, Fixed: map[string]int{}}
	for i, key := range []string{
		"true", "null", "~", "3", "1.5", "a: b", "a #b", "- a", "[x]", "{x}", "x{y", "", " a ", "a\tb", "\"", "'", "é", "on", "<<", "0x1f",
		"*a", "&a", "!a", "%a", "@a", "?", ":", "a:", "\u2028", "a\nb", "\\", "1e5", ".inf", "=", "y", "a,b",
	} {
		shapes[key] = tensor.Shape{i + 1}
		group := []string{"true", "null", "y", "é", "a:b", "#x", "a#b", "*p", "&p", "!p", "a/b", "~", "NaN", "?", "%", "@"}[i%16]
		if want.Layouts[key] = (Layout{FixedAxis(i + 1)}); i < 16 {
			want.Layouts[key] = Layout{GroupAxis(group, i+1)}
			want.Groups = append(want.Groups, Group{Name: group, Size: i + 1})
		}
	}
	text, err := want.MarshalSpec()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseSpec(text, shapes)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if err := sameSymmetry(got, want); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestMarshalSpecIsSortedAndMinimal(t *testing.T) {
	shapes := map[string]tensor.Shape{"b": {12}, "a": {3, 12}, "s": {}}
	s := mustParse(t, "layouts: {b: '(heads dk[heads])', s: '', a: 'z (direction x)'}\nsizes: {heads: 4}\nfixed: {direction: 2}", shapes)
	got, err := s.MarshalSpec()
	if err != nil {
		t.Fatal(err)
	}
	want := "layouts:\n  a: z (direction x)\n  b: (heads dk[heads])\n  s: \"\"\nfixed:\n  direction: 2\nsizes:\n  dk: 3\n"
	if string(got) != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func FuzzSpec(f *testing.F) {
	seeds, err := filepath.Glob("testdata/specs/*")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, path := range seeds {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	shapes := map[string]tensor.Shape{
		"w": {6, 4}, "v": {6}, "s": {}, "qkv": {12}, "e.0.w": {2, 3}, "e.1.w": {2, 3}, "x.0.y.0": {2}, "x.0.y.1": {2},
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSpec(data, shapes)
		if err != nil {
			return
		}
		if err := s.Validate(); err != nil {
			t.Fatalf("accepted, but: %v", err)
		}
		text, err := s.MarshalSpec()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSpec(text, shapes)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if err := sameSymmetry(again, s); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}
