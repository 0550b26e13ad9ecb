package symmetry

import "slices"

// classes are the factors that matter to the result.
type classes struct {
	groups  []*atom           // free factors that stand in some parameter: parents first, else in the order of the graph
	parents map[*atom][]*atom // of families, outer to inner in the order of groups; pinned ones first
	order   map[*atom]int     // of first appearance in the values, then in the parameters
}

// classify finds the groups and which of them are families.
func (inf *inference) classify() classes {
	c := classes{parents: map[*atom][]*atom{}, order: inf.appearance()}
	depends, free := inf.dependence(), inf.freeInParams()
	byAppearance := func(x, y *atom) int { return c.order[x] - c.order[y] }
	slices.SortFunc(free, byAppearance)
	for _, b := range free {
		for a := range depends[b] {
			mutual := a.why == "" && depends[a][b]
			if a.size.IsFixed() && !a.jammed && (!mutual || c.order[a] < c.order[b]) {
				c.parents[b] = append(c.parents[b], a)
			}
		}
		slices.SortFunc(c.parents[b], byAppearance)
	}
	for _, b := range free {
		c.list(b)
	}
	for _, b := range c.groups {
		slices.SortStableFunc(c.parents[b], func(x, y *atom) int { return slices.Index(c.groups, x) - slices.Index(c.groups, y) })
	}
	return c
}

// list appends a group after its parents. It ends since dependence is transitive and ties are broken by order.
func (c *classes) list(b *atom) {
	if b.why != "" || slices.Contains(c.groups, b) {
		return
	}
	for _, a := range c.parents[b] {
		c.list(a)
	}
	c.groups = append(c.groups, b)
}

// appearance numbers the factors as they first appear.
func (inf *inference) appearance() map[*atom]int {
	order := map[*atom]int{}
	for _, o := range slices.Concat(inf.values, inf.params()) {
		for _, a := range deep(o.all()) {
			if _, ok := order[a]; !ok {
				order[a] = len(order)
			}
		}
	}
	return order
}

// params lists the operands of the parameters, in the graph's order, but for those that count as several.
func (inf *inference) params() []*operand {
	var list []*operand
	for _, p := range inf.graph.Params {
		if s := inf.stacks[p.Name]; !inf.several(p.Name) && (s == nil || s.members[0] == p.Name) {
			list = append(list, inf.operands[p.Name])
		}
	}
	return list
}

func (inf *inference) freeInParams() []*atom {
	var free []*atom
	for _, o := range inf.params() {
		for _, a := range deep(o.all()) {
			if a.why == "" && !slices.Contains(free, a) {
				free = append(free, a)
			}
		}
	}
	return free
}

// dependence finds, for every factor, the factors that it may depend on: see [Infer].
func (inf *inference) dependence() map[*atom]map[*atom]bool {
	depends := map[*atom]map[*atom]bool{}
	restrict := func(b *atom, allowed map[*atom]bool) {
		if old, ok := depends[b]; ok {
			for a := range old {
				if !allowed[a] {
					delete(old, a)
				}
			}
			return
		}
		depends[b] = allowed
	}
	for _, s := range inf.spaces {
		s.dependence(restrict)
	}
	for _, o := range slices.Concat(inf.values, inf.params()) {
		alone := indexSpace{facets: []facet{{operand: o, index: indices(len(o.axes))}}}
		alone.dependence(restrict)
	}
	return depends
}

// place is one factor of one index of a space; number tells apart the factors of one index. A factor that is a part of a concatenation is there only
// where the index lies in its term.
type place struct {
	factor        *atom
	index, number int
	term          int  // of the index, counted from 1; 0 for factors that are in no concatenation
	nested        bool // a concatenation inside a term, which keeps its order: told no index, and telling none
}

// placesOf lists the places of an index with these factors.
func placesOf(index int, factors []*atom) []place {
	var list []place
	terms := 0
	for _, a := range factors {
		if a.terms == nil {
			list = append(list, place{factor: a, index: index, number: len(list)})
			continue
		}
		for _, t := range flatTerms(a.terms) {
			terms++
			for _, b := range leaves([]*atom{t}) {
				for _, c := range deep([]*atom{b}) {
					list = append(list, place{factor: c, index: index, number: len(list), term: terms, nested: b.terms != nil})
				}
			}
		}
	}
	return list
}

// mayTell says that wherever the place p is there is q, if the facet has the index of q: in the term of p, or in no term. A single unit tells nothing.
func (q place) mayTell(p place) bool {
	if p.factor == q.factor || p.nested || q.nested || q.factor.size.IsOne() {
		return false
	}
	return q.term == 0 || q.index == p.index && q.term == p.term
}

// dependence calls restrict for every place with the factors that the factor there may depend on, as far as this space goes: each facet that
// has the place has that factor at one place, the same in all of them.
func (s *indexSpace) dependence(restrict func(b *atom, allowed map[*atom]bool)) {
	factors := s.factors()
	seen := make([][]place, len(s.facets))
	var all []place
	for i, f := range s.facets {
		for _, index := range f.present() {
			seen[i] = append(seen[i], placesOf(index, factors[index])...)
		}
		for _, p := range seen[i] {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	for _, p := range all {
		allowed := map[*atom]bool{}
		for _, q := range all {
			if q.mayTell(p) && accompanies(seen, p, q) {
				allowed[q.factor] = true
			}
		}
		restrict(p.factor, allowed)
	}
}

// accompanies says that every facet with the place p has the place q, and the factor of q nowhere else; in the other terms of their common index it may
// stand, where p is not.
func accompanies(facets [][]place, p, q place) bool {
	for _, places := range facets {
		if !slices.Contains(places, p) {
			continue
		}
		if !slices.Contains(places, q) {
			return false
		}
		for _, other := range places {
			elsewhere := q.index == p.index && other.index == p.index && other.term != 0 && p.term != 0 && other.term != p.term
			if other.factor == q.factor && other != q && !elsewhere {
				return false
			}
		}
	}
	return true
}
