package symmetry

import (
	"slices"

	"github.com/rebasin/rebasin/graph"
)

// atom is a factor of unknown nature: a node of a union-find forest whose roots are joined factors. A root may have been split into a
// row-major product of two others, which stand in its place wherever it stands; a root that was not split is a leaf. Sizes are above 1.
//
// Concatenations would be a second way to split a root, into a sum in the place of a product.
type atom struct {
	id     int
	size   graph.Dim
	joined *atom   // towards the root
	parts  []*atom // of a root that was split
	why    string  // of a leaf that keeps its order: the reason
	jammed bool    // of such a leaf: it stands in the place of other factors, too, so that no family can be told its index
}

// newAtom makes a free factor; symbolic extents, as the batch, keep their order.
func (inf *inference) newAtom(size graph.Dim) *atom {
	inf.atoms++
	a := &atom{id: inf.atoms, size: size}
	if !size.IsFixed() {
		a.why = "symbolic extent " + size.String()
	}
	return a
}

func (a *atom) root() *atom {
	for a.joined != nil {
		if a.joined.joined != nil {
			a.joined = a.joined.joined // halves the path for the next time
		}
		a = a.joined
	}
	return a
}

// leaves replaces every factor by what it was joined with and split into.
func leaves(list []*atom) []*atom {
	var out []*atom
	for _, a := range list {
		if a = a.root(); a.parts != nil {
			out = append(out, leaves(a.parts)...)
		} else {
			out = append(out, a)
		}
	}
	return out
}

// pinAll makes factors keep their order. The first reason stays.
func pinAll(list []*atom, why string) {
	for _, a := range leaves(list) {
		if a.why == "" {
			a.why = why
		}
	}
}

// union joins two leaves of one size. The older becomes the root, so that results do not depend on the order of joins.
func union(a, b *atom) {
	if a == b {
		return
	}
	if a.id > b.id {
		a, b = b, a
	}
	b.joined = a
	if a.why == "" {
		a.why = b.why
	}
	a.jammed = a.jammed || b.jammed
}

// split cuts a leaf into outer and inner; their product is its size.
func (inf *inference) split(a *atom, outer, inner graph.Dim) {
	a.parts = []*atom{inf.newAtom(outer), inf.newAtom(inner)}
	for _, part := range a.parts {
		part.jammed = a.jammed
		if part.why == "" {
			part.why = a.why
		}
	}
}

// unify joins two row-major products of the same extent, factor by factor, splitting the larger of two that meet. It works inwards from both
// ends; what is left in the middle, where strides do not divide, keeps its order.
func (inf *inference) unify(x, y []*atom, why string) {
	x, y = inf.unifyFront(x, y)
	x, y = inf.unifyBack(x, y)
	for _, a := range leaves(slices.Concat(x, y)) {
		a.jammed = true
	}
	pinAll(x, why)
	pinAll(y, why)
}

// unifyFront joins outer factors as far as it can and returns the rest.
func (inf *inference) unifyFront(x, y []*atom) (restX, restY []*atom) {
	for {
		x, y = leaves(x), leaves(y) // splitting one factor may have split others
		if len(x) == 0 || len(y) == 0 {
			return x, y
		}
		a, b := x[0], y[0]
		if a.size == b.size {
			union(a, b)
			x, y = x[1:], y[1:]
		} else if inner, ok := a.size.Div(b.size); ok {
			inf.split(a, b.size, inner)
		} else if inner, ok := b.size.Div(a.size); ok {
			inf.split(b, a.size, inner)
		} else {
			return x, y
		}
	}
}

// unifyBack joins inner factors as far as it can and returns the rest.
func (inf *inference) unifyBack(x, y []*atom) (restX, restY []*atom) {
	for {
		x, y = leaves(x), leaves(y)
		if len(x) == 0 || len(y) == 0 {
			return x, y
		}
		a, b := x[len(x)-1], y[len(y)-1]
		if a.size == b.size {
			union(a, b)
			x, y = x[:len(x)-1], y[:len(y)-1]
		} else if outer, ok := a.size.Div(b.size); ok {
			inf.split(a, outer, b.size)
		} else if outer, ok := b.size.Div(a.size); ok {
			inf.split(b, outer, a.size)
		} else {
			return x, y
		}
	}
}

// indexSpace is what an operator iterates over: numbered indices, of which each tensor has some. All axes with one index have the same factors.
type indexSpace struct {
	facets []facet
}

// facet is a tensor in an index space: index[i] is the index of its axis i. An operand nil is a result in between, as the sums of a Softmax.
type facet struct {
	operand *operand
	index   []int
	output  bool
}

// present lists the indices that the facet has: those of axes that are not absent.
func (f facet) present() []int {
	var list []int
	for axis, i := range f.index {
		if (f.operand == nil || !f.operand.absent[axis]) && !slices.Contains(list, i) {
			list = append(list, i)
		}
	}
	return list
}

// meet joins the axes that have one index and remembers the space for the pass over families.
func (inf *inference) meet(s *indexSpace, why string) {
	first := map[int][]*atom{}
	for _, f := range s.facets {
		if f.operand == nil {
			continue
		}
		for axis, i := range f.index {
			if f.operand.absent[axis] {
				continue
			}
			if other, ok := first[i]; ok {
				inf.unify(other, f.operand.axes[axis], why)
			} else {
				first[i] = f.operand.axes[axis]
			}
		}
	}
	inf.spaces = append(inf.spaces, s)
}

// factors returns the leaves of each index of the space.
func (s *indexSpace) factors() map[int][]*atom {
	byIndex := map[int][]*atom{}
	for _, f := range s.facets {
		if f.operand == nil {
			continue
		}
		for axis, i := range f.index {
			if _, ok := byIndex[i]; !ok && !f.operand.absent[axis] {
				byIndex[i] = leaves(f.operand.axes[axis])
			}
		}
	}
	return byIndex
}
