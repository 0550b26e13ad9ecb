package symmetry

import (
	"fmt"
	"slices"
)

// nameTable answers what a name means; it is built once per operation.
type nameTable struct {
	groups map[string]Group
	fixed  map[string]int
}

func (s *Symmetry) names() nameTable {
	t := nameTable{groups: make(map[string]Group, len(s.Groups)), fixed: s.Fixed}
	for _, g := range s.Groups {
		t.groups[g.Name] = g
	}
	return t
}

func (t nameTable) parents(name string) []string { return t.groups[name].Parents }

// extent is the size of a group, a family or a fixed name; 0 for a name that means nothing.
func (t nameTable) extent(name string) int {
	if g, ok := t.groups[name]; ok {
		return g.Size
	}
	return t.fixed[name]
}

// joint is the number of joint indices of a group's parents: 1 for a plain group.
func (t nameTable) joint(g Group) int {
	n := 1
	for _, p := range g.Parents {
		n *= t.extent(p)
	}
	return n
}

// count is the number of times that a name stands in the segment.
func (s Segment) count(name string) int {
	n := 0
	for _, f := range s {
		if f.Name == name {
			n++
		}
	}
	return n
}

// find is the index of the first factor of that name, or -1.
func (s Segment) find(name string) int {
	return slices.IndexFunc(s, func(f Factor) bool { return f.Name == name })
}

// carries says whether the name stands anywhere on the axis.
func (a Axis) carries(name string) bool {
	return slices.ContainsFunc(a, func(s Segment) bool { return s.find(name) >= 0 })
}

// indexed says whether every position of the axis has one index of the name: it stands once in each segment.
func (a Axis) indexed(name string) bool {
	return !slices.ContainsFunc(a, func(s Segment) bool { return s.count(name) != 1 })
}

// parentAxis finds the axis that gives a parent's index to a family in the given segment of the given axis. The rule:
//
//  1. A parent in the family's own segment is meant, and it stands there once.
//  2. Otherwise exactly one axis of the tensor carries the parent, it is another one than the family's, and the parent
//     stands once in each of its segments, so that every position has one index.
//
// Which axis carries the parent decides; an axis of a virtual stack counts like any other.
func (l Layout) parentAxis(axis, segment int, parent string) (int, error) {
	switch n := l[axis][segment].count(parent); {
	case n == 1:
		return axis, nil
	case n > 1:
		return 0, fmt.Errorf("parent %q stands %d times in the family's product", parent, n)
	}
	found := -1
	for i, a := range l {
		if !a.carries(parent) {
			continue
		}
		if found >= 0 {
			return 0, fmt.Errorf("parent %q stands on axes %d and %d: which is meant is not clear", parent, found, i)
		}
		found = i
	}
	switch {
	case found < 0:
		return 0, fmt.Errorf("parent %q does not stand in the same tensor", parent)
	case found == axis:
		return 0, fmt.Errorf("parent %q stands on the same axis but in another segment", parent)
	case !l[found].indexed(parent):
		return 0, fmt.Errorf("parent %q does not stand exactly once in every segment of axis %d", parent, found)
	}
	return found, nil
}

// checkParents holds every family of the layout to the rule of parentAxis.
func (l Layout) checkParents(names nameTable) error {
	for i, a := range l {
		for j, s := range a {
			for _, f := range s {
				for _, parent := range names.parents(f.Name) {
					if _, err := l.parentAxis(i, j, parent); err != nil {
						return fmt.Errorf("family %q: %w", formatName(f.Name, names.parents(f.Name)), err)
					}
				}
			}
		}
	}
	return nil
}

// digits is the index of a name at every position of an axis that is indexed by it.
func (a Axis) digits(name string) []int32 {
	digits := make([]int32, 0, a.Len())
	for _, s := range a {
		k := s.find(name)
		stride := s[k+1:].Len()
		for r := range s.Len() {
			digits = append(digits, int32(r/stride%s[k].Size))
		}
	}
	return digits
}
