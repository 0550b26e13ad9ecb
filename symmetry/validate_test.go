package symmetry

import (
	"strings"
	"testing"

	"github.com/rebasin/rebasin/tensor"
)

func TestValidate(t *testing.T) {
	valid := func() *Symmetry {
		return &Symmetry{
			Groups: []Group{{Name: "h", Size: 3}, {Name: "d", Size: 2, Parents: []string{"h", "dir"}}, {Name: "e", Size: 2}},
			Fixed:  map[string]int{"dir": 2},
			Layouts: map[string]Layout{
				"w":       {GroupAxis("h", 3), Axis{{{Name: "dir", Size: 2}, {Name: "d", Size: 2}}}},
				"x.{e}.w": {FixedAxis(4)},
				"v":       {Axis{{{Name: "h", Size: 3}}, {{Size: 2}}}},
			},
			Shapes: map[string]tensor.Shape{"w": {3, 4}, "x.0.w": {4}, "x.1.w": {4}, "v": {5}},
			Sites:  map[string][]Site{"h": {{Value: "relu", Layout: Layout{FixedAxis(0), GroupAxis("h", 3)}}}},
			Pinned: []Pin{{Tensor: "v", Axis: 0, Part: "2", Why: "an output"}, {Tensor: "v", Axis: -1}},
		}
	}
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want  string
		spoil func(s *Symmetry)
	}{
		{`group "h" is there twice`, func(s *Symmetry) { s.Groups = append(s.Groups, s.Groups[0]) }},
		{`group "unused" stands in no layout`, func(s *Symmetry) { s.Groups = append(s.Groups, Group{Name: "unused", Size: 2}) }},
		{`group "a b"`, func(s *Symmetry) { s.Groups = append(s.Groups, Group{Name: "a b", Size: 2}) }},
		{`group "h": size 0`, func(s *Symmetry) { s.Groups[0].Size = 0 }},
		{`group "h": size -3`, func(s *Symmetry) { s.Groups[0].Size = -3 }},
		{`group "h": the name is that of a fixed extent`, func(s *Symmetry) { s.Fixed["h"] = 3 }},
		{`fixed "dir": size 0`, func(s *Symmetry) { s.Fixed["dir"] = 0 }},
		{`fixed "3": name "3" starts with`, func(s *Symmetry) { s.Fixed["3"] = 1 }},
		{`group "d": parent "nope" is no group, family or fixed name`, func(s *Symmetry) { s.Groups[1].Parents = []string{"nope"} }},
		{`group "d": parent "h" twice`, func(s *Symmetry) { s.Groups[1].Parents = []string{"h", "h"} }},
		{`group "d": it is its own parent`, func(s *Symmetry) { s.Groups[1].Parents = []string{"d"} }},
		{`group "d": more than`, func(s *Symmetry) { s.Groups[0].Size, s.Fixed["dir"] = 1<<20, 1<<20 }},
		{`tensor "w": axis 0: layout has extent 2, shape [3 4] has 3`, func(s *Symmetry) { s.Layouts["w"][0] = FixedAxis(2) }},
		{`tensor "w": layout has 1 axis, shape [3 4] has 2`, func(s *Symmetry) { s.Layouts["w"] = s.Layouts["w"][:1] }},
		{`tensor "w": family "d[h,dir]": parent "h" does not stand`, func(s *Symmetry) { s.Layouts["w"][0] = FixedAxis(3) }},
		{`tensor "v": "q" is no group`, func(s *Symmetry) { s.Layouts["v"] = Layout{GroupAxis("q", 5)} }},
		{`tensor "v": "h" has size 3, here 5`, func(s *Symmetry) { s.Layouts["v"] = Layout{GroupAxis("h", 5)} }},
		{`tensor "v": an extent of -1`, func(s *Symmetry) { s.Layouts["v"] = Layout{Axis{{{Size: -1}, {Size: -5}}}} }},
		{`tensor "v": axis 0 has an empty layout`, func(s *Symmetry) { s.Layouts["v"] = Layout{Axis{{{Name: "h", Size: 3}}, {{Size: 1}}, {}}} }},
		{`tensor "y": has a layout but no shape`, func(s *Symmetry) { s.Layouts["y"] = Layout{} }},
		{`virtual stack "x.{e}.w": tensor "x.1.w" is missing`, func(s *Symmetry) { delete(s.Shapes, "x.1.w") }},
		{`tensor "x.{e}.w": "e" has size 2, the names of the tensors count 3`, func(s *Symmetry) { s.Shapes["x.2.w"] = tensor.Shape{4} }},
		{`tensor "x.{e}.w": tensor "x.1.w" has shape [3]`, func(s *Symmetry) { s.Shapes["x.1.w"] = tensor.Shape{3} }},
		{`tensor "x.1.w" has two layouts, "x.1.w" and "x.{e}.w"`, func(s *Symmetry) { s.Layouts["x.1.w"] = Layout{FixedAxis(4)} }},
		{`tensor "x.{e[h]}.w": "e" stands with other parents`, func(s *Symmetry) {
			s.Layouts["x.{e[h]}.w"] = s.Layouts["x.{e}.w"]
			delete(s.Layouts, "x.{e}.w")
		}},
		{`sites of "q": no such group`, func(s *Symmetry) { s.Sites["q"] = nil }},
		{`site "relu" of group "h": "h" has size 3, here 4`, func(s *Symmetry) { s.Sites["h"][0].Layout[1] = GroupAxis("h", 4) }},
		{`pinned tensor "y": unknown`, func(s *Symmetry) { s.Pinned[0].Tensor = "y" }},
		{`pinned tensor "v": axis 1 of shape [5]`, func(s *Symmetry) { s.Pinned[0].Axis = 1 }},
	} {
		s := valid()
		c.spoil(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

func TestLayoutOf(t *testing.T) {
	shapes := map[string]tensor.Shape{"a.0.w": {2}, "a.1.w": {2}, "{e}": {2}, "b": {2}, "c": {3}}
	s := mustParse(t, "layouts: {'a.{e}.w': 'f[e]', '{e}': e, b: e}", shapes)
	for name, want := range map[string]string{"a.0.w": "a.{e}.w", "a.1.w": "a.{e}.w", "{e}": "{e}", "b": "b", "c": "", "a.2.w": "a.{e}.w", "a.01.w": "", "a.w": ""} {
		if key, _, ok := s.LayoutOf(name); key != want || ok != (want != "") {
			t.Errorf("%s: %q %v, want %q", name, key, ok, want)
		}
	}
	if got := s.Members("a.{e}.w"); len(got) != 2 || got[0] != "a.0.w" || got[1] != "a.1.w" {
		t.Errorf("members %v", got)
	}
	if s.Members("c") != nil || len(s.Members("b")) != 1 {
		t.Errorf("members of c %v, of b %v", s.Members("c"), s.Members("b"))
	}
}
