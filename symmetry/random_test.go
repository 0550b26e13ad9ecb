package symmetry

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/tensor"
)

// drawSymmetry draws a symmetry with plain groups, a fixed name, families, nested families, products, concatenations,
// parents on other axes and virtual stacks. It is valid by construction.
func drawSymmetry(t *rapid.T) *Symmetry {
	g := &symmetryDrawer{t: t, s: &Symmetry{
		Fixed: map[string]int{}, Layouts: map[string]Layout{}, Shapes: map[string]tensor.Shape{},
	}}
	g.drawNames()
	for i := range rapid.IntRange(1, 4).Draw(t, "tensors") {
		g.drawTensor(fmt.Sprintf("t%d", i))
	}
	g.placeLeftovers()
	if err := g.s.Validate(); err != nil {
		t.Fatalf("the drawn symmetry is not valid: %v\n%v", err, describe(g.s))
	}
	return g.s
}

type symmetryDrawer struct {
	t *rapid.T
	s *Symmetry
}

func (g *symmetryDrawer) coin(label string) bool { return rapid.Bool().Draw(g.t, label) }

func (g *symmetryDrawer) drawNames() {
	size := rapid.IntRange(1, 3)
	names := []string{"dir"}
	g.s.Fixed["dir"] = 2
	for i := range rapid.IntRange(1, 3).Draw(g.t, "groups") {
		name := fmt.Sprintf("g%d", i)
		g.s.Groups = append(g.s.Groups, Group{Name: name, Size: size.Draw(g.t, "size")})
		names = append(names, name)
	}
	for i := range rapid.IntRange(0, 3).Draw(g.t, "families") {
		var parents []string
		for range rapid.IntRange(1, 2).Draw(g.t, "parents") {
			p := rapid.SampledFrom(names).Draw(g.t, "parent")
			for _, q := range append(slices.Clone(g.s.names().parents(p)), p) {
				if !slices.Contains(parents, q) {
					parents = append(parents, q)
				}
			}
		}
		name := fmt.Sprintf("f%d", i)
		g.s.Groups = append(g.s.Groups, Group{Name: name, Size: size.Draw(g.t, "size"), Parents: parents})
		names = append(names, name)
	}
}

func (g *symmetryDrawer) names() []string {
	names := []string{"dir"}
	for _, group := range g.s.Groups {
		names = append(names, group.Name)
	}
	return names
}

func (g *symmetryDrawer) factor(name string) Factor {
	return Factor{Name: name, Size: g.s.names().extent(name)}
}

// segment is a product of the heads and of all of their parents that do not stand on an axis of their own.
func (g *symmetryDrawer) segment(cross []string, heads ...string) Segment {
	var names []string
	for _, h := range heads {
		for _, q := range append(slices.Clone(g.s.names().parents(h)), h) {
			if (q == h || !slices.Contains(cross, q)) && !slices.Contains(names, q) {
				names = append(names, q)
			}
		}
	}
	var segment Segment
	for _, name := range names {
		segment = append(segment, g.factor(name))
	}
	if g.coin("fixed factor") {
		segment = append(segment, Factor{Size: rapid.IntRange(1, 2).Draw(g.t, "extent")})
	}
	return rapid.Permutation(segment).Draw(g.t, "order")
}

func (g *symmetryDrawer) drawTensor(name string) {
	var cross []string // closed under parents
	for _, c := range rapid.SliceOfNDistinct(rapid.SampledFrom(g.names()), 0, 2, rapid.ID).Draw(g.t, "cross") {
		for _, q := range append(slices.Clone(g.s.names().parents(c)), c) {
			if !slices.Contains(cross, q) {
				cross = append(cross, q)
			}
		}
	}
	var layout Layout
	for _, c := range cross {
		axis := Axis{g.segment(cross, c)}
		if g.coin("parent in two segments") {
			axis = append(axis, g.segment(cross, c))
		}
		layout = append(layout, axis)
	}
	free := slices.DeleteFunc(g.names(), func(n string) bool { return slices.Contains(cross, n) })
	for range rapid.IntRange(0, 2).Draw(g.t, "free axes") {
		if len(free) == 0 {
			break
		}
		var axis Axis
		for range rapid.IntRange(1, 2).Draw(g.t, "segments") {
			axis = append(axis, g.segment(cross, rapid.SampledFrom(free).Draw(g.t, "head")))
		}
		layout = append(layout, axis)
	}
	layout = rapid.Permutation(layout).Draw(g.t, "axes")
	if n, err := layout.Shape().Elements(); err != nil || n > 3000 {
		return
	}
	g.add(name, layout)
}

// add makes some of the axes that are one name virtual.
func (g *symmetryDrawer) add(name string, full Layout) {
	names := g.s.names()
	key := name
	var layout Layout
	extents := []int{}
	for _, a := range full {
		if f := a[0][0]; len(a) == 1 && len(a[0]) == 1 && f.Name != "" && g.coin("virtual") {
			key += ".{" + formatName(f.Name, names.parents(f.Name)) + "}"
			extents = append(extents, f.Size)
			continue
		}
		layout = append(layout, a)
	}
	if len(extents) == 0 {
		g.s.Layouts[key], g.s.Shapes[key] = full, full.Shape()
		return
	}
	g.s.Layouts[key] = layout
	for numbers := range grid(extents) {
		member := name
		for _, n := range numbers {
			member += fmt.Sprintf(".%d", n)
		}
		g.s.Shapes[member] = layout.Shape()
	}
}

func (g *symmetryDrawer) placeLeftovers() {
	stands := map[string]bool{}
	for key := range g.s.Layouts {
		st, err := g.s.stackOf(key, g.s.names())
		if err != nil {
			g.t.Fatal(err)
		}
		st.layout.each(func(f Factor) { stands[f.Name] = true })
	}
	for _, group := range g.s.Groups {
		if !stands[group.Name] {
			g.add("left_"+group.Name, Layout{{g.segment(nil, group.Name)}})
		}
	}
}

func describe(s *Symmetry) string {
	text := fmt.Sprintln(s.Groups)
	for _, key := range sortedKeys(s.Layouts) {
		text += fmt.Sprintf("%s: %s\n", key, s.Format(s.Layouts[key]))
	}
	return text
}

// drawAlignment is random and, for small seeds, easy to shrink.
func drawAlignment(t *rapid.T, s *Symmetry, label string) *Alignment {
	return s.Random(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, label), 1)))
}

// numbered gives every tensor of the symmetry different numbers in all elements.
func numbered(s *Symmetry) map[string]*tensor.Tensor {
	tensors := map[string]*tensor.Tensor{}
	next := int32(0)
	for _, name := range sortedKeys(s.Shapes) {
		t := tensor.New(tensor.I32, s.Shapes[name])
		for i := range tensor.Of[int32](t) {
			next++
			tensor.Of[int32](t)[i] = next
		}
		tensors[name] = t
	}
	return tensors
}

func sameTensors(a, b map[string]*tensor.Tensor) error {
	if len(a) != len(b) {
		return fmt.Errorf("%d and %d tensors", len(a), len(b))
	}
	for _, name := range sortedKeys(a) {
		if b[name] == nil || !a[name].Equal(b[name]) {
			return fmt.Errorf("tensor %q differs", name)
		}
	}
	return nil
}

func mustApply(t interface{ Fatal(...any) }, s *Symmetry, a *Alignment, in map[string]*tensor.Tensor) map[string]*tensor.Tensor {
	out, err := s.Apply(a, in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// mustParse reads a specification that a test needs.
func mustParse(t testing.TB, spec string, shapes map[string]tensor.Shape) *Symmetry {
	t.Helper()
	s, err := ParseSpec([]byte(spec), shapes)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
