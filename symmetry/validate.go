package symmetry

import (
	"fmt"
	"slices"
	"sort"

	"github.com/rebasin/rebasin/tensor"
)

// maxPermEntries bounds the permutations of one family together: 1 GiB of int32.
const maxPermEntries = 1 << 28

// Validate checks everything that the rest of the package relies on:
//
//   - names are unique and fit for the text form; sizes are positive; every group stands in some layout;
//   - parents are known, listed once each, a family's parents before the family and all of them listed;
//   - every layout has the rank and the extents of its tensor, and names have one size everywhere;
//   - wherever a family stands its parents stand in the same tensor, and which is meant is clear (see the package
//     comment);
//   - every tensor has at most one layout, and virtual stacks are complete and of one shape;
//   - pins, sites and running statistics name what exists.
func (s *Symmetry) Validate() error {
	if err := s.validateNames(); err != nil {
		return err
	}
	names := s.names()
	if err := s.validateLayouts(names); err != nil {
		return err
	}
	if err := s.validateSites(names); err != nil {
		return err
	}
	if err := s.validateStatistics(); err != nil {
		return err
	}
	for _, p := range s.Pinned {
		shape, ok := s.Shapes[p.Tensor]
		if !ok {
			return fmt.Errorf("pinned tensor %q: unknown", p.Tensor)
		}
		if p.Axis < -1 || p.Axis >= len(shape) {
			return fmt.Errorf("pinned tensor %q: axis %d of shape %v", p.Tensor, p.Axis, shape)
		}
	}
	return nil
}

func (s *Symmetry) validateNames() error {
	for _, name := range sortedKeys(s.Fixed) {
		if err := checkName(name); err != nil {
			return fmt.Errorf("fixed %q: %w", name, err)
		}
		if n := s.Fixed[name]; n < 1 || n > maxExtent {
			return fmt.Errorf("fixed %q: size %d", name, n)
		}
	}
	names := s.names()
	seen := make(map[string]bool, len(s.Groups))
	for _, g := range s.Groups {
		if seen[g.Name] {
			return fmt.Errorf("group %q is there twice", g.Name)
		}
		seen[g.Name] = true
		if err := names.checkGroup(g); err != nil {
			return fmt.Errorf("group %q: %w", g.Name, err)
		}
	}
	return nil
}

func (t nameTable) checkGroup(g Group) error {
	if err := checkName(g.Name); err != nil {
		return err
	}
	if _, ok := t.fixed[g.Name]; ok {
		return fmt.Errorf("the name is that of a fixed extent")
	}
	if g.Size < 1 || g.Size > maxExtent {
		return fmt.Errorf("size %d", g.Size)
	}
	if err := t.checkParentList(g.Name, g.Parents); err != nil {
		return err
	}
	entries := g.Size
	for _, p := range g.Parents {
		if entries *= t.extent(p); entries > maxPermEntries {
			break
		}
	}
	if entries > maxPermEntries {
		return fmt.Errorf("more than %d units over all parents", maxPermEntries)
	}
	return nil
}

// checkParentList checks that parents are known and closed: a family among them stands after all of its own parents.
func (t nameTable) checkParentList(name string, parents []string) error {
	for i, p := range parents {
		if p == name {
			return fmt.Errorf("it is its own parent")
		}
		if slices.Contains(parents[:i], p) {
			return fmt.Errorf("parent %q twice", p)
		}
		_, isGroup := t.groups[p]
		_, isFixed := t.fixed[p]
		if !isGroup && !isFixed {
			return fmt.Errorf("parent %q is no group, family or fixed name", p)
		}
		for _, q := range t.parents(p) {
			if !slices.Contains(parents[:i], q) {
				return fmt.Errorf("parent %q is a family of %q, which must be listed before it", p, q)
			}
		}
	}
	return nil
}

func (s *Symmetry) validateLayouts(names nameTable) error {
	owner := map[string]string{}
	stands := map[string]bool{}
	for _, key := range sortedKeys(s.Layouts) {
		st, err := s.stackOf(key, names)
		if err != nil {
			return err
		}
		if err := s.validateStack(st, names); err != nil {
			return fmt.Errorf("tensor %q: %w", key, err)
		}
		for _, m := range st.members {
			if other, ok := owner[m]; ok {
				return fmt.Errorf("tensor %q has two layouts, %q and %q", m, other, key)
			}
			owner[m] = key
		}
		st.layout.each(func(f Factor) { stands[f.Name] = true })
	}
	for _, g := range s.Groups {
		if !stands[g.Name] {
			return fmt.Errorf("group %q stands in no layout", g.Name)
		}
	}
	return nil
}

func (s *Symmetry) validateStack(st stack, names nameTable) error {
	if len(st.virtual) > 0 {
		if err := s.validateHoles(st, names); err != nil {
			return err
		}
	}
	for _, m := range st.members {
		if err := checkShape(st.layout[len(st.virtual):], s.Shapes[m]); err != nil {
			return err
		}
	}
	return checkLayout(st.layout, names)
}

// validateHoles checks that the stack has as many tensors as its holes say, and parents as elsewhere.
func (s *Symmetry) validateHoles(st stack, names nameTable) error {
	t, _, err := parseTemplate(st.key)
	if err != nil {
		return err
	}
	extents, _, err := t.extents(s.Shapes)
	if err != nil {
		return err
	}
	for i, name := range t.holes {
		if n := names.extent(name); n != extents[i] {
			return fmt.Errorf("%q has size %d, the names of the tensors count %d", name, n, extents[i])
		}
		if !slices.Equal(t.parents[name], names.parents(name)) {
			return fmt.Errorf("%q stands with other parents than %v", name, names.parents(name))
		}
	}
	return nil
}

func checkShape(layout Layout, shape tensor.Shape) error {
	if len(layout) != len(shape) {
		return fmt.Errorf("layout has %s, shape %v has %d", countNoun(len(layout), "axis", "axes"), shape, len(shape))
	}
	for i, a := range layout {
		if a.Len() != shape[i] {
			return fmt.Errorf("axis %d: layout has extent %d, shape %v has %d", i, a.Len(), shape, shape[i])
		}
	}
	return nil
}

func countNoun(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// checkLayout checks names, sizes and parents.
func checkLayout(layout Layout, names nameTable) error {
	var err error
	layout.each(func(f Factor) {
		switch n := names.extent(f.Name); {
		case err != nil || (f.Name == "" && f.Size >= 0):
		case f.Name == "":
			err = fmt.Errorf("an extent of %d", f.Size)
		case n == 0:
			err = fmt.Errorf("%q is no group, family or fixed name", f.Name)
		case n != f.Size:
			err = fmt.Errorf("%q has size %d, here %d", f.Name, n, f.Size)
		}
	})
	if err != nil {
		return err
	}
	for i, a := range layout {
		if len(a) == 0 || slices.ContainsFunc(a, func(s Segment) bool { return len(s) == 0 }) {
			return fmt.Errorf("axis %d has an empty layout", i)
		}
	}
	return layout.checkParents(names)
}

// each calls f for every factor in order.
func (l Layout) each(f func(Factor)) {
	for _, a := range l {
		for _, s := range a {
			for _, factor := range s {
				f(factor)
			}
		}
	}
}

func (s *Symmetry) validateSites(names nameTable) error {
	for _, group := range sortedKeys(s.Sites) {
		if _, ok := names.groups[group]; !ok {
			return fmt.Errorf("sites of %q: no such group", group)
		}
		for _, site := range s.Sites[group] {
			if err := checkLayout(site.Layout, names); err != nil {
				return fmt.Errorf("site %q of group %q: %w", site.Value, group, err)
			}
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
