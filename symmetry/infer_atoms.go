package symmetry

import (
	"slices"

	"github.com/rebasin/rebasin/graph"
)

// atom is a factor of unknown nature: a node of a union-find forest whose roots are joined factors. A root may have been split into a
// row-major product of two or more others, or cut into a concatenation of others, its terms, which stand in its place wherever it stands; a root that
// was neither is a leaf. Sizes are above 1, but that a term may be a single unit.
type atom struct {
	id     int
	size   graph.Dim
	joined *atom   // towards the root
	parts  []*atom // of a root that was split
	terms  []*atom // of a root that was cut; none of them was
	why    string  // of a leaf that keeps its order: the reason
	jammed bool    // of such a leaf: it stands in the place of other factors, too, so that no family can be told its index
}

// newAtom makes a free factor. Those of symbolic extent, as the batch, are never groups: no parameter has one.
func (inf *inference) newAtom(size graph.Dim) *atom {
	inf.atoms++
	return &atom{id: inf.atoms, size: size}
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

// leaves replaces every factor by what it was joined with and split into. Concatenations stay as they are.
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

// deep lists all leaves, also those in concatenations.
func deep(list []*atom) []*atom {
	var out []*atom
	for _, a := range leaves(list) {
		if a.terms != nil {
			out = append(out, deep(a.terms)...)
		} else {
			out = append(out, a)
		}
	}
	return out
}

// pinAll makes factors keep their order. The first reason stays.
func pinAll(list []*atom, why string) {
	for _, a := range deep(list) {
		if a.why == "" {
			a.why = why
		}
	}
}

// jam pins factors that stand in the place of others.
func jam(list []*atom, why string) {
	pinAll(list, why)
	for _, a := range deep(list) {
		a.jammed = true
	}
}

// union joins two factors of one size, neither of them a product. The older becomes the root, so that results do not depend on the order of joins.
func (inf *inference) union(a, b *atom, why string) {
	if a == b {
		return
	}
	if a.id > b.id {
		a, b = b, a
	}
	b.joined = a
	switch {
	case a.terms == nil:
		a.terms = b.terms
		a.inherit(a)
	case b.terms != nil:
		inf.unifyTerms(a.terms, b.terms, why)
	}
	a.inherit(b)
}

// inherit passes the nature of another leaf on to a and its terms.
func (a *atom) inherit(from *atom) {
	if from.why != "" {
		pinAll([]*atom{a}, from.why)
	}
	if from.jammed {
		jam([]*atom{a}, from.why)
	}
}

// split turns a factor into outer and inner; their product is its size. It says no where a concatenation has a term that inner does not divide.
func (inf *inference) split(a *atom, outer, inner graph.Dim, why string) bool {
	if a.terms != nil {
		return inf.splitTerms(a, inner, why)
	}
	a.parts = []*atom{inf.newAtom(outer), inf.newAtom(inner)}
	for _, part := range a.parts {
		part.inherit(a)
	}
	return true
}

// splitTerms makes (x inner + y inner) of (x + y), which is (x + y) inner.
func (inf *inference) splitTerms(a *atom, inner graph.Dim, why string) bool {
	for _, t := range a.terms {
		if _, ok := t.size.Div(inner); !ok {
			return false
		}
	}
	in, terms := inf.newAtom(inner), a.terms
	outer := inf.concatenation(nil)
	for _, t := range terms {
		n, _ := t.size.Div(inner)
		o := inf.single(n)
		outer.terms = append(outer.terms, o)
		outer.size.Size += n.Size
		if n.IsOne() {
			inf.unify([]*atom{t}, []*atom{in}, why)
		} else {
			inf.unify([]*atom{t}, []*atom{o, in}, why)
		}
	}
	a.terms, a.parts = nil, []*atom{outer, in}
	return true
}

// single makes a factor that may have one unit, which has no order but its own place.
func (inf *inference) single(size graph.Dim) *atom {
	a := inf.newAtom(size)
	if size.IsOne() {
		a.why = "a single unit of a concatenation"
	}
	return a
}

// concatenation makes a factor of terms, each a factor.
func (inf *inference) concatenation(terms []*atom) *atom {
	inf.atoms++
	a := &atom{id: inf.atoms, terms: terms}
	for _, t := range terms {
		a.size.Size += t.size.Size
	}
	return a
}

// flatTerms lists the terms of concatenations of concatenations.
func flatTerms(list []*atom) []*atom {
	var out []*atom
	for _, a := range list {
		if a = a.root(); a.terms != nil {
			out = append(out, flatTerms(a.terms)...)
		} else {
			out = append(out, a)
		}
	}
	return out
}

// unifyTerms joins two concatenations of the same extent, term by term, cutting the longer of two that meet. Where a term cannot be cut, what is left
// keeps its order.
func (inf *inference) unifyTerms(x, y []*atom, why string) {
	for {
		x, y = flatTerms(x), flatTerms(y) // cutting one term may have cut others
		if len(x) == 0 || len(y) == 0 {
			return
		}
		a, b := x[0], y[0]
		switch {
		case a.size == b.size:
			inf.unify([]*atom{a}, []*atom{b}, why)
			x, y = x[1:], y[1:]
			continue
		case a.size.Size > b.size.Size:
			if pieces, ok := inf.cut(a, b.size.Size); ok {
				x = slices.Concat(pieces, x[1:])
				continue
			}
		default:
			if pieces, ok := inf.cut(b, a.size.Size); ok {
				y = slices.Concat(pieces, y[1:])
				continue
			}
		}
		jam(slices.Concat(x, y), why)
		return
	}
}

// cut makes two terms of one, the first of n units. A product is cut along its outermost factor, if its inner ones divide n.
func (inf *inference) cut(a *atom, n int) (pieces []*atom, ok bool) {
	factors := leaves([]*atom{a})
	outer, inner := factors[0], factors[1:]
	stride := 1
	for _, f := range inner {
		stride *= f.size.Size
	}
	if n%stride != 0 || !outer.size.IsFixed() || outer.terms != nil {
		return nil, false
	}
	first := inf.single(graph.Fixed(n / stride))
	rest := inf.single(graph.Fixed(outer.size.Size - n/stride))
	outer.terms = []*atom{first, rest}
	for _, t := range outer.terms {
		t.inherit(outer)
		pieces = append(pieces, inf.product(append([]*atom{t}, inner...)))
	}
	return pieces, true
}

// product is one factor in the place of several; a single unit is not among them.
func (inf *inference) product(list []*atom) *atom {
	list = slices.DeleteFunc(slices.Clone(list), func(a *atom) bool { return len(list) > 1 && a.size.IsOne() })
	if len(list) == 1 {
		return list[0]
	}
	inf.atoms++
	p := &atom{id: inf.atoms, size: graph.Fixed(1), parts: list}
	for _, a := range list {
		p.size.Size *= a.size.Size
	}
	return p
}

// unify joins two row-major products of the same extent, factor by factor, splitting the larger of two that meet. It works inwards from both
// ends; what is left in the middle, where strides do not divide, keeps its order.
func (inf *inference) unify(x, y []*atom, why string) {
	x, y = inf.unifyFront(x, y, why)
	x, y = inf.unifyBack(x, y, why)
	jam(x, why)
	jam(y, why)
}

// unifyFront joins outer factors as far as it can and returns the rest.
func (inf *inference) unifyFront(x, y []*atom, why string) (restX, restY []*atom) {
	for {
		x, y = leaves(x), leaves(y) // splitting one factor may have split others
		if len(x) == 0 || len(y) == 0 {
			return x, y
		}
		a, b := x[0], y[0]
		if a.size == b.size {
			inf.union(a, b, why)
			x, y = x[1:], y[1:]
		} else if inner, ok := a.size.Div(b.size); ok && inf.split(a, b.size, inner, why) {
			continue
		} else if inner, ok := b.size.Div(a.size); ok && inf.split(b, a.size, inner, why) {
			continue
		} else {
			return x, y
		}
	}
}

// unifyBack joins inner factors as far as it can and returns the rest.
func (inf *inference) unifyBack(x, y []*atom, why string) (restX, restY []*atom) {
	for {
		x, y = leaves(x), leaves(y)
		if len(x) == 0 || len(y) == 0 {
			return x, y
		}
		a, b := x[len(x)-1], y[len(y)-1]
		if a.size == b.size {
			inf.union(a, b, why)
			x, y = x[:len(x)-1], y[:len(y)-1]
		} else if outer, ok := a.size.Div(b.size); ok && inf.split(a, outer, b.size, why) {
			continue
		} else if outer, ok := b.size.Div(a.size); ok && inf.split(b, outer, a.size, why) {
			continue
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
	lifted  bool // of a result in between: it is of branches
}

// present lists the indices that the facet has: those of axes that are not absent.
func (f facet) present() []int {
	var list []int
	for axis, i := range f.index {
		if (f.operand == nil || !f.operand.absent[axis]) && !slices.Contains(list, i) {
			list = append(list, i)
		}
	}
	if (f.lifted || f.operand != nil && f.operand.lift != nil) && !slices.Contains(list, lifted) {
		list = append(list, lifted)
	}
	return list
}

// meet joins the axes that have one index and remembers the space for the pass over families.
func (inf *inference) meet(s *indexSpace, why string) {
	first := map[int][]*atom{}
	join := func(i int, factors []*atom) {
		if other, ok := first[i]; ok {
			inf.unify(other, factors, why)
		} else {
			first[i] = factors
		}
	}
	for k, f := range s.facets {
		if f.operand == nil {
			s.facets[k].lifted = inf.lifting
			continue
		}
		if f.operand.lift != nil {
			join(lifted, []*atom{f.operand.lift})
		}
		for axis, i := range f.index {
			if !f.operand.absent[axis] {
				join(i, f.operand.axes[axis])
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
		if f.operand.lift != nil {
			byIndex[lifted] = leaves([]*atom{f.operand.lift})
		}
		for axis, i := range f.index {
			if _, ok := byIndex[i]; !ok && !f.operand.absent[axis] {
				byIndex[i] = leaves(f.operand.axes[axis])
			}
		}
	}
	return byIndex
}
