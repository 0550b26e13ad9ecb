package symmetry

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func name(n string) Factor { return Factor{Name: n} }
func number(n int) Factor  { return Factor{Size: n} }

func TestParseLayout(t *testing.T) {
	heads := func(f string) Segment { return Segment{name("heads"), name(f)} }
	for _, c := range []struct {
		text, canonical string
		layout          Layout
		parents         map[string][]string
	}{
		{"h2 h1", "", Layout{{{name("h2")}}, {{name("h1")}}}, nil},
		{"h1 (c5 7 7)", "", Layout{{{name("h1")}}, {{name("c5"), number(7), number(7)}}}, nil},
		{"c1 c0 3 3", "", Layout{{{name("c1")}}, {{name("c0")}}, {{number(3)}}, {{number(3)}}}, nil},
		{"c9 (c3 + c5) 1 1", "", Layout{{{name("c9")}}, {{name("c3")}, {name("c5")}}, {{number(1)}}, {{number(1)}}}, nil},
		{
			"((heads dk[heads]) + (heads dk[heads]) + (heads dv[heads])) d", "",
			Layout{{heads("dk"), heads("dk"), heads("dv")}, {{name("d")}}},
			map[string][]string{"dk": {"heads"}, "dv": {"heads"}},
		},
		{
			"(g o[g]) i[g] 3 3", "",
			Layout{{{name("g"), name("o")}}, {{name("i")}}, {{number(3)}}, {{number(3)}}},
			map[string][]string{"o": {"g"}, "i": {"g"}},
		},
		{"h _", "", Layout{{{name("h")}}, {{number(0)}}}, nil},
		{"", "", Layout{}, nil},
		{" \t\n", "", Layout{}, nil},
		{"x[ a , b ]", "x[a,b]", Layout{{{name("x")}}}, map[string][]string{"x": {"a", "b"}}},
		{"  ( ( a   b ) 2)\t(c)", "(a b 2) c", Layout{{{name("a"), name("b"), number(2)}}, {{name("c")}}}, nil},
		{"(a b + c)", "((a b) + c)", Layout{{{name("a"), name("b")}, {name("c")}}}, nil},
		{"((a + b) + c)", "(a + b + c)", Layout{{{name("a")}, {name("b")}, {name("c")}}}, nil},
		{"(a)(b)", "a b", Layout{{{name("a")}}, {{name("b")}}}, nil},
		{"P_bg1.0_inner/x-y:z é", "", Layout{{{name("P_bg1.0_inner/x-y:z")}}, {{name("é")}}}, nil},
	} {
		layout, parents, err := ParseLayout(c.text)
		if c.parents == nil {
			c.parents = map[string][]string{}
		}
		if err != nil || !reflect.DeepEqual(layout, c.layout) || !reflect.DeepEqual(parents, c.parents) {
			t.Errorf("%q: %v\n%s%s", c.text, err, cmp.Diff(c.layout, layout), cmp.Diff(c.parents, parents))
		}
		want := c.canonical
		if want == "" {
			want = strings.TrimSpace(c.text)
		}
		if got := FormatLayout(layout, parents); got != want {
			t.Errorf("%q prints as %q", c.text, got)
		}
	}
}

func TestParseLayoutErrors(t *testing.T) {
	for _, c := range []struct {
		text string
		pos  int
		want string
	}{
		{"h1 (c5 7", 3, `"(" is not closed`},
		{"h1 )", 3, `unexpected ')'`},
		{"a + b", 2, `unexpected '+'`},
		{"()", 1, "missing here"},
		{"(a + )", 5, "missing here"},
		{"( + a)", 2, "missing here"},
		{"((a + b) c)", 9, "concatenation cannot be a factor"},
		{"(c (a + b))", 3, "concatenation cannot be a factor"},
		{"0", 0, "at least 1"},
		{"007", 0, "no number from 1"},
		{"3x", 0, "no number from 1"},
		{"99999999999999999999", 0, "no number from 1"},
		{"2147483648", 0, "no number from 1"},
		{"f[", 2, "a name is missing"},
		{"f[]", 2, "a name is missing"},
		{"f[a", 1, `"[" is not closed`},
		{"f[a,]", 4, "a name is missing"},
		{"f[3]", 2, "starts with"},
		{"f[_]", 2, "no name"},
		{"f[a,a]", 4, `parent "a" twice`},
		{"3[a]", 1, "3 is fixed"},
		{"_[a]", 1, "_ is fixed"},
		{"f[a] a f", 7, `"f" stands with other parents`},
		{"f f[a]", 2, `"f" stands with other parents`},
		{"f[a] f[b]", 5, `"f" stands with other parents`},
		{"f [a]", 2, `unexpected '['`},
		{"a,b", 1, `unexpected ','`},
		{"-1", 0, `starts with '-'`},
		{".x", 0, `starts with '.'`},
		{"{e}", 0, `unexpected '{'`},
		{"a\x00b", 1, `unexpected '\x00'`},
		{"a \xff", 0, "not UTF-8"},
		{strings.Repeat("(", 50) + "a" + strings.Repeat(")", 50), maxParens, "more than 16 parentheses"},
		{strings.Repeat("a ", 3000), maxLayoutText, "longer than 4096 bytes"},
	} {
		_, _, err := ParseLayout(c.text)
		var g *GrammarError
		if !errors.As(err, &g) {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if g.Pos != c.pos || !strings.Contains(g.Msg, c.want) || len(err.Error()) > 250 {
			t.Errorf("%q: at %d: %v; want %d, %s", c.text, g.Pos, err, c.pos, c.want)
		}
	}
}

func TestLayoutsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSymmetry(t)
		for key, layout := range s.Layouts {
			text := s.Format(layout)
			parsed, parents, err := ParseLayout(text)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(parsed, withoutSizes(layout)) {
				t.Fatalf("%s: %q came back as %v", key, text, parsed)
			}
			if again := FormatLayout(parsed, parents); again != text {
				t.Fatalf("%q printed again is %q", text, again)
			}
		}
	})
}

// withoutSizes is what the text form keeps of a layout.
func withoutSizes(layout Layout) Layout {
	out := Layout{}
	for _, a := range layout {
		var axis Axis
		for _, s := range a {
			var segment Segment
			for _, f := range s {
				if f.Name != "" {
					f.Size = 0
				}
				segment = append(segment, f)
			}
			axis = append(axis, segment)
		}
		out = append(out, axis)
	}
	return out
}

func FuzzLayout(f *testing.F) {
	for _, text := range []string{
		"", "h2 h1", "h1 (c5 7 7)", "c9 (c3 + c5) 1 1", "((heads dk[heads]) + (heads dv[heads])) d", "(g o[g]) i[g] 3 3",
		"h _", "x[a,q] a q[a]", "((a b) + (c))", "((a + b) c)", "f[", "(((", "2147483647",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		layout, parents, err := ParseLayout(text)
		if err != nil {
			return
		}
		canonical := FormatLayout(layout, parents)
		again, parentsAgain, err := ParseLayout(canonical)
		if err != nil {
			if len(canonical) > maxLayoutText { // spaces and parentheses that the canonical form adds
				return
			}
			t.Fatalf("%q printed as %q: %v", text, canonical, err)
		}
		if !reflect.DeepEqual(again, layout) || !reflect.DeepEqual(parentsAgain, parents) {
			t.Fatalf("%q printed as %q came back as %v %v, not %v %v", text, canonical, again, parentsAgain, layout, parents)
		}
		if twice := FormatLayout(again, parentsAgain); twice != canonical {
			t.Fatalf("%q is not canonical: %q", canonical, twice)
		}
	})
}
