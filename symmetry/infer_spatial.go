package symmetry

import (
	"slices"

	"github.com/rebasin/rebasin/graph"
)

// spatialRules are those of operators that enlarge and fold images.
var spatialRules = map[string]inferRule{
	"ConvTranspose": {convTranspose, siteAddition},
	"Resize":        {resize, siteNever},
	"DepthToSpace":  {folded, siteNever},
	"SpaceToDepth":  {folded, siteNever},
}

// convTranspose has the indices of a convolution, its weight being [C, M/group, ...].
func convTranspose(a *application) {
	const batch, group, contracted, channel, space = 0, 1, 2, 3, 4
	groups, rank := int(a.node.Attrs.Int("group", 1)), len(a.out.axes)-2
	for _, o := range []*operand{a.in[0], a.in[1], a.out} {
		a.pinSpace(o)
	}
	s := &indexSpace{}
	s.join(a.view(a.in[0], grouped(a.in[0].shape, 1, groups)), false, append([]int{batch, group, contracted}, span(space, rank)...))
	s.join(a.view(a.in[1], grouped(a.in[1].shape, 0, groups)), false, append([]int{group, contracted, channel}, span(space+rank, rank)...))
	if len(a.in) > 2 && a.in[2] != nil {
		s.join(a.view(a.in[2], grouped(a.in[2].shape, 0, groups)), false, []int{group, channel})
	}
	s.join(a.view(a.out, grouped(a.out.shape, 1, groups)), true, append([]int{batch, group, channel}, span(space+2*rank, rank)...))
	a.inf.meet(s, a.why("factors that meet have no common refinement"))
}

// resize reads neighbours along the axes that it changes.
func resize(a *application) {
	rank := len(a.out.axes)
	in, out, s := indices(rank), indices(rank), &indexSpace{}
	for axis, d := range a.in[0].shape {
		if d == a.out.shape[axis] {
			continue
		}
		pinAll(a.in[0].axes[axis], a.why("spatial axis"))
		pinAll(a.out.axes[axis], a.why("spatial axis"))
		out[axis] = rank + axis
	}
	a.input(s, 0, in)
	a.meet(s, out)
}

// folded is a Transpose of more axes.
func folded(a *application) {
	first, perm, err := graph.FoldedShapes(&a.node.Node, a.in[0].shape)
	if err != nil {
		a.pin(err)
		return
	}
	second := make(graph.Shape, len(perm))
	for i, p := range perm {
		second[i] = first[p]
	}
	s := &indexSpace{}
	s.join(a.view(a.in[0], first), false, indices(len(perm)))
	s.join(a.view(a.out, second), true, perm)
	a.inf.meet(s, a.why("factors that meet have no common refinement"))
}

// recurrentRules are those of operators on sequences.
var recurrentRules = map[string]inferRule{
	"RNN":  {recurrent, siteNonlinearity},
	"GRU":  {recurrent, siteNonlinearity},
	"LSTM": {recurrent, siteNonlinearity},

	sideBySide: {concat, siteNonlinearity},
}

// recurrent has the indices time, example, direction, input, gate, unit of the new state and unit of the old one, which is the same group. Gates and
// directions differ in what is done with them, so that they keep their order, but the units are a family of the direction.
func recurrent(a *application) {
	const time, example, direction, input, gate, unit, old, sort, hole = 0, 1, 2, 3, 4, 5, 6, 7, 8
	gates := graph.Gates(a.node.Op)
	h := a.in[2].shape[2]
	parts := func(o *operand, axis int, by ...int) *operand {
		if o == nil {
			return nil
		}
		shape := slices.Clone(o.shape[:axis])
		shape = append(shape, graph.ShapeOf(by...)...)
		return a.view(o, append(append(shape, h), o.shape[axis+1:]...))
	}
	at := func(i int) *operand {
		if i >= len(a.in) {
			return nil
		}
		return a.in[i]
	}
	pinAll(a.in[0].axes[0], a.why("order in time"))
	w, r, b, p := parts(a.in[1], 1, gates), parts(a.in[2], 1, gates), parts(at(3), 1, 2, gates), parts(at(7), 1, 3)
	s := &indexSpace{}
	s.join(a.in[0], false, []int{time, example, input})
	s.join(w, false, []int{direction, gate, unit, input})
	s.join(r, false, []int{direction, gate, unit, old})
	s.join(b, false, []int{direction, sort, gate, unit})
	s.join(at(5), false, []int{direction, example, old})
	s.join(at(6), false, []int{direction, example, old})
	s.join(p, false, []int{direction, hole, unit})
	for _, o := range []struct {
		view *operand
		axes []int
	}{{w, []int{0, 1}}, {r, []int{0, 1}}, {b, []int{0, 1, 2}}, {p, []int{0, 1}}, {at(5), []int{0}}, {at(6), []int{0}}} {
		for _, axis := range o.axes {
			if o.view != nil {
				pinAll(o.view.axes[axis], a.why("gates and directions"))
			}
		}
	}
	if r != nil {
		a.inf.unify(r.axes[2], r.axes[3], a.why("the state of one step is that of the next"))
	}
	for _, first := range []*operand{at(5), at(6)} {
		if first != nil { // which is also multiplied, element by element, with what becomes the new state
			a.inf.unify(first.axes[2], a.out.axes[len(a.out.axes)-1], a.why("the state of one step is that of the next"))
		}
	}
	out := []int{direction, example, unit}
	if a.node.slot == 0 {
		pinAll(a.out.axes[0], a.why("order in time"))
		out = []int{time, direction, example, unit}
	}
	s.facets = append(s.facets, facet{index: []int{time, direction, example, gate, unit}}, facet{index: []int{time, direction, example, old}},
		facet{index: []int{time, direction, example, unit}})
	pinAll(a.out.axes[len(out)-3], a.why("gates and directions"))
	a.meet(s, out)
}

// contractionRules are those of operators that contract axes that an equation names.
var contractionRules = map[string]inferRule{"Einsum": {einsum, siteComputed}}

// einsum has an index for each label.
func einsum(a *application) {
	e, err := graph.EquationOf(&a.node.Node)
	if err != nil {
		a.pin(err)
		return
	}
	s := &indexSpace{}
	for i, labels := range e.Inputs {
		a.input(s, i, labels)
	}
	a.meet(s, e.Output)
}
