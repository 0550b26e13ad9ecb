package match

import (
	"context"
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/symmetry"
)

// inside is the problem of the families within one pair of a group's units: the best orders in which the inner units of B's unit j can stand when
// it takes the place of A's unit i. Their value, for every pair, is what the group's own assignment has to maximise.
//
// What remains of the tensors when a unit is chosen on both sides is a smaller network whose groups are the families, so it is solved as the whole
// is: by descent, which solves families of families in the same way. With one family, or a chain of families within each other, each pair is
// solved exactly, and so are both levels together, in O(n²k³ + n³). Where two families move the same elements they are improved in turns, from
// two starting points, and a note says so.
type inside struct {
	outer    *descent
	group    *unitGroup
	families []*unitGroup // of the outer descent, parents first
	d        *descent     // over the families, whose parents are those that are left when the group's unit is chosen
	slabs    []slab
	exact    bool
	best     []*symmetry.Alignment // per joint index of the group's parents and pair of units
}

// A slab is what remains of a block when a unit of the group is chosen, and where it stands for each of them.
type slab struct {
	outer, inner *stack
	offsets      []int // in the outer stack, per joint index of the group's parents and unit
	dims         []int
	strides      []int // in the outer stack
	dense        []int // in the inner one
}

func (s *slab) load(dst, src []float32, unit int) {
	copyStrided(dst, 0, s.dense, src, s.offsets[unit], s.strides, s.dims)
}

// innerSweeps bounds the sweeps inside one pair. Almost always two or three are enough; what is cut off is only an improvement.
const innerSweeps = 20

// insideOf returns the problem inside a group's units, nil when no family is solved with it.
func (d *descent) insideOf(g *unitGroup, use filter) (*inside, error) {
	if g.inside != nil && use == nil {
		return g.inside, nil
	}
	in := &inside{outer: d, group: g, families: d.familiesOf(g), exact: true}
	if len(in.families) == 0 {
		return nil, nil
	}
	in.d = emptyDescent(in.symmetry(), d.pool)
	if err := in.addSlabs(use); err != nil {
		return nil, fmt.Errorf("match: the families of group %q: %w", g.Name, err)
	}
	if !in.exact {
		d.note(fmt.Sprintf("several families of group %q move the same elements: they are improved in turns, as their joint assignment has no exact solution",
			g.Name))
	}
	if use == nil {
		g.inside = in
	}
	return in, nil
}

// familiesOf are the families that are solved together with a group. Those that stand on a block where the group stands on two axes are carried
// along and improved on their own.
func (d *descent) familiesOf(g *unitGroup) []*unitGroup {
	var out []*unitGroup
	for _, f := range d.groups {
		if f.fixed || f.Size < 2 || !slices.Contains(f.Parents, g.Name) {
			continue
		}
		twice := slices.ContainsFunc(f.terms, func(t *term) bool {
			return slices.ContainsFunc(t.places, func(p place) bool { return len(p.block.positions(g.Name)) > 1 })
		})
		if twice {
			d.note(fmt.Sprintf("group %q stands on two axes of a tensor with its family %q: they are improved in turns", g.Name, f.Name))
			continue
		}
		out = append(out, f)
	}
	return out
}

// symmetry is that of what remains when a unit of the group, and one of each of its parents, is chosen.
func (in *inside) symmetry() *symmetry.Symmetry {
	sub := &symmetry.Symmetry{Fixed: map[string]int{}}
	for _, f := range in.families {
		g := symmetry.Group{Name: f.Name, Size: f.Size}
		for _, p := range f.Parents {
			if p == in.group.Name || slices.Contains(in.group.Parents, p) {
				continue
			}
			g.Parents = append(g.Parents, p)
			if !in.solves(p) {
				sub.Fixed[p] = in.outer.extent(p)
			}
		}
		sub.Groups = append(sub.Groups, g)
	}
	return sub
}

func (d *descent) extent(name string) int {
	if g := d.byName[name]; g != nil {
		return g.Size
	}
	return d.sym.Fixed[name]
}

// solves says whether the name is one of the families solved here.
func (in *inside) solves(name string) bool {
	return slices.ContainsFunc(in.families, func(f *unitGroup) bool { return f.Name == name })
}

// solved are the families of the problem; none where there is no problem.
func (in *inside) solved() []*unitGroup {
	if in == nil {
		return nil
	}
	return in.families
}

// isExact says whether group and families are solved for their best orders together; so is a group without families.
func (in *inside) isExact() bool { return in == nil || in.exact }

// covers says whether blocks with these names belong to the inner problem.
func (in *inside) covers(names []string) bool {
	return in != nil && slices.ContainsFunc(names, in.solves)
}

// addSlabs makes the arrays of the inner problem.
func (in *inside) addSlabs(use filter) error {
	for _, t := range in.group.terms {
		if !in.covers(t.names) || !use.allows(t.names) {
			continue
		}
		for i := range t.places {
			if err := in.addSlab(&t.places[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (in *inside) addSlab(p *place) error {
	b := p.block
	chosen, err := b.parentsOf(in.group.Group, p.pos)
	if err != nil {
		return err
	}
	chosen = append(chosen, p.pos)
	var rest block
	var strides []int
	for k := range b.dims {
		if !slices.Contains(chosen, k) {
			rest.names, rest.axes, rest.dims = append(rest.names, b.names[k]), append(rest.axes, b.axes[k]), append(rest.dims, b.dims[k])
			strides = append(strides, b.strides[k])
		}
	}
	rest.strides = denseStrides(rest.dims)
	s := slab{outer: p.stack, inner: &stack{a: make([]float32, p.view.cols), b: make([]float32, p.view.cols)}}
	s.dims, s.strides = joinAxes(rest.dims, strides)
	s.dense = denseStrides(s.dims)
	odometer(p.parentDims, p.parentStrides, b.offset, func(base int) {
		for i := range in.group.Size {
			s.offsets = append(s.offsets, base+i*b.strides[p.pos])
		}
	})
	in.slabs = append(in.slabs, s)
	in.exact = in.exact && in.chained(&rest)
	return in.d.add(s.inner, []block{rest})
}

// chained says whether the families on a block are within each other, each standing there once.
func (in *inside) chained(b *block) bool {
	names := in.d.groupNames(b)
	for i, name := range names {
		if len(b.positions(name)) > 1 {
			return false
		}
		for _, other := range names[:i] {
			if !slices.Contains(in.d.byName[name].Parents, other) && !slices.Contains(in.d.byName[other].Parents, name) {
				return false
			}
		}
	}
	return true
}

// addValues solves all pairs and adds their values to the group's similarity.
func (in *inside) addValues(ctx context.Context, s []float32) error {
	if in == nil {
		return nil
	}
	n := in.group.Size
	in.best = make([]*symmetry.Alignment, in.group.joint*n*n)
	for at := range in.best { // (q·n + i)·n + j for A's unit i and B's unit j at the joint index q of the group's parents
		q, i, j := at/(n*n), at/n%n, at%n
		if j == 0 {
			for k := range in.slabs {
				in.slabs[k].load(in.slabs[k].inner.a, in.slabs[k].outer.a, q*n+i)
			}
		}
		value, order, err := in.solvePair(ctx, q*n+j)
		if err != nil {
			return err
		}
		s[at] += float32(value)
		in.best[at] = order
	}
	return nil
}

// solvePair returns the value and the best orders inside a unit of B, A's unit being loaded.
func (in *inside) solvePair(ctx context.Context, unit int) (float64, *symmetry.Alignment, error) {
	if err := in.descend(ctx, unit, false); err != nil {
		return 0, nil, err
	}
	value, order := in.d.objective(), in.d.alignment
	if in.exact {
		return value, order, nil
	}
	if err := in.descend(ctx, unit, true); err != nil {
		return 0, nil, err
	}
	if other := in.d.objective(); other > value {
		return other, in.d.alignment, nil
	}
	return value, order, nil
}

// descend solves for the orders inside a unit of B, from the order in which they stand or from a greedy one.
func (in *inside) descend(ctx context.Context, unit int, greedy bool) error {
	for k := range in.slabs {
		in.slabs[k].load(in.slabs[k].inner.b, in.slabs[k].outer.b, unit)
	}
	in.d.alignment = in.d.sym.Identity()
	in.d.markStale()
	if greedy {
		if err := in.d.greedy(ctx); err != nil {
			return err
		}
	}
	for range innerSweeps {
		if _, visited, err := in.d.sweep(ctx, in.d.groups); err != nil || visited == 0 {
			return err
		}
	}
	return nil
}

// moves are those of the families that go with a move of the group: for every unit of A the orders inside the unit of B that takes its place.
func (in *inside) moves(own move) []move {
	if in == nil {
		return nil
	}
	chosen := append(slices.Clone(in.group.Parents), in.group.Name)
	out := make([]move, 0, len(in.families))
	for _, f := range in.families {
		left := in.d.byName[f.Name].Parents
		units, rests := in.indices(f.Parents, chosen), in.indices(f.Parents, left)
		perm := make([]int32, 0, f.joint*f.Size)
		for k, unit := range units {
			best := in.best[unit*in.group.Size+int(own.perm[unit])].Perms[f.Name]
			perm = append(perm, best[rests[k]*f.Size:][:f.Size]...)
		}
		out = append(out, move{f, perm})
	}
	return out
}

// indices returns, for every joint index of the names in all, that of the names in some.
func (in *inside) indices(all, some []string) []int {
	extents := func(names []string) []int {
		out := make([]int, len(names))
		for i, name := range names {
			out[i] = in.outer.extent(name)
		}
		return out
	}
	dense := denseStrides(extents(some))
	strides := make([]int, len(all))
	for i, name := range all {
		if k := slices.Index(some, name); k >= 0 {
			strides[i] = dense[k]
		}
	}
	var out []int
	odometer(extents(all), strides, 0, func(index int) { out = append(out, index) })
	return out
}
