package symmetry

import (
	"slices"

	"github.com/rebasin/rebasin/graph"
)

// indexRules are those of operators that choose, repeat and make elements by their place.
var indexRules = map[string]inferRule{
	"Gather":          {gather, siteNever},
	"GatherElements":  {gatherElements, siteNever},
	"Tile":            {tile, siteNever},
	"Trilu":           {trilu, siteNever},
	"Shape":           {made, siteNever},
	"Range":           {made, siteNever},
	"ConstantOfShape": {filled, siteNever},
}

// gather reads an axis by number: it keeps its order. The axes of the indices stand in its place in the output.
func gather(a *application) {
	data, indexRank := len(a.in[0].axes), len(a.in[1].axes)
	axis, err := graph.Axis(a.node.Attrs.Int("axis", 0), data)
	if err != nil {
		a.pin(err)
		return
	}
	pinAll(a.in[0].axes[axis], a.why("units are chosen by their number"))
	from, s := indices(data), &indexSpace{}
	numbers := span(data, indexRank)
	a.input(s, 0, from)
	a.input(s, 1, numbers)
	a.meet(s, slices.Concat(from[:axis], numbers, from[axis+1:]))
}

// gatherElements reads one axis by number. Along the others the indices may be fewer than the data; then these are the first ones.
func gatherElements(a *application) {
	rank := len(a.out.axes)
	axis, err := graph.Axis(a.node.Attrs.Int("axis", 0), rank)
	if err != nil {
		a.pin(err)
		return
	}
	from, out, s := indices(rank), indices(rank), &indexSpace{}
	for i := range rank {
		if i == axis || a.in[0].shape[i] != a.out.shape[i] {
			pinAll(a.in[0].axes[i], a.why("units are chosen by their number"))
			from[i] = rank + i
		}
		if i != axis && from[i] != i {
			pinAll(a.out.axes[i], a.why("units are chosen by their number"))
		}
	}
	a.input(s, 0, from)
	a.input(s, 1, out)
	a.meet(s, out)
}

// tile makes (repetition, unit) of the units of an axis.
func tile(a *application) {
	var shape graph.Shape
	var in, out []int
	for i, d := range a.in[0].shape {
		times, ok := a.out.shape[i].Div(d)
		if !ok {
			times, d = a.out.shape[i], graph.Fixed(1)
		}
		shape = append(shape, times, d)
		out = append(out, 2*i, 2*i+1)
		in = append(in, 2*i+1)
	}
	s := &indexSpace{}
	a.input(s, 0, in)
	s.join(a.view(a.out, shape), true, out)
	a.inf.meet(s, a.why("factors that meet have no common refinement"))
}

// trilu compares the numbers of rows and columns.
func trilu(a *application) {
	rank := len(a.out.axes)
	for _, o := range []*operand{a.in[0], a.out} {
		for _, axis := range o.axes[rank-2:] {
			pinAll(axis, a.why("rows and columns are compared"))
		}
	}
	first(a)
}

// made is of values that know nothing but shapes, which no order changes.
func made(a *application) { a.out.pin(a.why("places in order")) }

// filled has the same value everywhere.
func filled(a *application) {
	for i := range a.out.absent {
		a.out.absent[i] = true
	}
}
