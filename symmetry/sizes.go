package symmetry

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// variable is a size to be found: of a name, or of one "_" (name empty).
type variable struct {
	name      string
	value     int
	known     bool
	from      string // where the value is from, for messages
	equations []int
}

// equation says that the segments of an axis fill its extent: the sum of products of variables.
type equation struct {
	entry  *specEntry
	axis   int
	extent int
	terms  []term
	queued bool
}

type term struct {
	coefficient int
	variables   []int
}

// solution holds the sizes of a specification while they are found.
//
// Every axis is an equation in sizes of at least 1. One with a single unknown has at most one solution, since its left
// side grows with the unknown, and bisection finds it; each size found may leave another equation with a single unknown.
// Every equation is looked at once for each variable in it, so the cost is linear in the text.
type solution struct {
	variables []variable
	byName    map[string]int
	equations []equation
	blank     map[*specEntry][]int // the variables of an entry's "_", in order
	queue     []int
}

// solve finds the sizes of all names, or says which must be given.
func (r *specResolver) solve() (*solution, error) {
	v, err := r.propagate()
	if err != nil {
		return nil, err
	}
	if open := v.open(); len(open) > 0 {
		return nil, fmt.Errorf("the size of %q does not follow from the shapes: give it under sizes", open[0])
	}
	for i := range v.equations {
		if e := &v.equations[i]; len(v.unknowns(e)) > 0 {
			return nil, e.entry.errorf("axis %d: %s: more than one _ is unknown", e.axis, e.text())
		}
	}
	return v, nil
}

// openNames are the names whose sizes do not follow from the shapes and what sizes says, sorted.
func (r *specResolver) openNames() ([]string, error) {
	v, err := r.propagate()
	if err != nil {
		return nil, err
	}
	return v.open(), nil
}

func (r *specResolver) propagate() (*solution, error) {
	v := &solution{byName: map[string]int{}, blank: map[*specEntry][]int{}}
	for _, e := range r.file.entries {
		for axis, a := range e.layout {
			v.add(e, axis, a)
		}
		for _, a := range e.virtual {
			v.named(a[0][0].Name)
		}
	}
	if err := v.given(r); err != nil {
		return nil, err
	}
	for len(v.queue) > 0 {
		i := v.queue[0]
		v.queue = v.queue[1:]
		v.equations[i].queued = false
		if err := v.step(&v.equations[i]); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (v *solution) add(e *specEntry, axis int, a Axis) {
	eq := equation{entry: e, axis: axis, extent: e.shape[axis], queued: true}
	id := len(v.equations)
	for _, s := range a {
		t := term{coefficient: 1}
		for _, f := range s {
			switch {
			case f.Name != "":
				t.variables = append(t.variables, v.named(f.Name))
			case f.Size > 0:
				t.coefficient = mulCap(t.coefficient, f.Size)
			default:
				v.variables = append(v.variables, variable{})
				t.variables = append(t.variables, len(v.variables)-1)
				v.blank[e] = append(v.blank[e], len(v.variables)-1)
			}
		}
		for _, i := range t.variables {
			if at := v.variables[i].equations; len(at) == 0 || at[len(at)-1] != id {
				v.variables[i].equations = append(at, id)
			}
		}
		eq.terms = append(eq.terms, t)
	}
	v.equations = append(v.equations, eq)
	v.queue = append(v.queue, id)
}

func (v *solution) named(name string) int {
	i, ok := v.byName[name]
	if !ok {
		i = len(v.variables)
		v.byName[name] = i
		v.variables = append(v.variables, variable{name: name})
	}
	return i
}

// given puts in what is known without an equation: fixed extents, sizes, and the numbers in names.
func (v *solution) given(r *specResolver) error {
	for _, name := range sortedKeys(r.fixed) {
		v.set(v.named(name), r.fixed[name], "fixed")
	}
	for _, z := range r.file.sizes {
		v.set(v.named(z.name), z.size, "sizes")
	}
	for _, e := range r.file.entries {
		for _, a := range e.virtual {
			f := a[0][0]
			i := v.named(f.Name)
			if x := v.variables[i]; x.known && x.value != f.Size {
				return e.errorf("%q has size %d (%s) and %d (the numbers in the names of the tensors)", f.Name, x.value, x.from,
					f.Size)
			}
			v.set(i, f.Size, fmt.Sprintf("the names of %q", e.key))
		}
	}
	return nil
}

func (v *solution) set(i, value int, from string) {
	x := &v.variables[i]
	if x.known {
		return
	}
	x.value, x.known, x.from = value, true, from
	for _, id := range x.equations {
		if !v.equations[id].queued {
			v.equations[id].queued = true
			v.queue = append(v.queue, id)
		}
	}
}

// unknowns are the distinct unknown variables of an equation.
func (v *solution) unknowns(e *equation) []int {
	var unknown []int
	for _, t := range e.terms {
		for _, i := range t.variables {
			if !v.variables[i].known && !slices.Contains(unknown, i) {
				if unknown = append(unknown, i); len(unknown) > 1 {
					return unknown
				}
			}
		}
	}
	return unknown
}

// step checks an equation without unknowns, solves one with a single unknown and leaves the others.
func (v *solution) step(e *equation) error {
	switch unknown := v.unknowns(e); len(unknown) {
	case 0:
		if v.eval(e, -1, 0) != e.extent {
			return v.conflict(e)
		}
	case 1:
		x := unknown[0]
		least := 1
		if v.variables[x].name == "" {
			least = 0
		}
		value := sort.Search(e.extent+1, func(n int) bool { return v.eval(e, x, n) >= e.extent })
		if value < least || value > e.extent || v.eval(e, x, value) != e.extent {
			return e.entry.errorf("axis %d: %s%s cannot have extent %d", e.axis, e.text(), v.knownOf(e), e.extent)
		}
		v.set(x, value, fmt.Sprintf("axis %d of tensor %q", e.axis, e.entry.key))
	}
	return nil
}

// eval is the left side of an equation where variable x, if any, has the value n. It stops growing at maxExtent squared.
func (v *solution) eval(e *equation, x, n int) int {
	sum := 0
	for _, t := range e.terms {
		product := t.coefficient
		for _, i := range t.variables {
			if i == x {
				product = mulCap(product, n)
			} else {
				product = mulCap(product, v.variables[i].value)
			}
		}
		sum = min(sum+product, maxProduct)
	}
	return sum
}

const maxProduct = 1 << 61

// mulCap multiplies without overflow, up to maxProduct.
func mulCap(a, b int) int {
	if a != 0 && b > maxProduct/a {
		return maxProduct
	}
	return a * b
}

func (v *solution) conflict(e *equation) error {
	if len(e.terms) == 1 && len(e.terms[0].variables) == 1 && e.terms[0].coefficient == 1 {
		x := v.variables[e.terms[0].variables[0]]
		return e.entry.errorf("%q has size %d (%s) and %d (axis %d of this tensor)", x.name, x.value, x.from, e.extent, e.axis)
	}
	return e.entry.errorf("axis %d: %s%s makes %d, shape %v has %d", e.axis, e.text(), v.knownOf(e), v.eval(e, -1, 0),
		e.entry.shape, e.extent)
}

// knownOf lists the known names of an equation, as " (c5 = 32 from axis 0 of tensor "conv.weight")".
func (v *solution) knownOf(e *equation) string {
	var parts []string
	for _, t := range e.terms {
		for _, i := range t.variables {
			x := v.variables[i]
			if part := fmt.Sprintf("%s = %d from %s", x.name, x.value, x.from); x.known && x.name != "" && !slices.Contains(parts, part) {
				parts = append(parts, part)
			}
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func (e *equation) text() string {
	return formatAxis(e.entry.layout[e.axis], func(name string) []string { return e.entry.parents[name] })
}

// open are the names that are still unknown, sorted.
func (v *solution) open() []string {
	var open []string
	for _, x := range v.variables {
		if !x.known && x.name != "" {
			open = append(open, x.name)
		}
	}
	sort.Strings(open)
	return open
}

func (v *solution) size(name string) int { return v.variables[v.byName[name]].value }

// fill is the entry's layout with the sizes found.
func (v *solution) fill(e *specEntry) Layout {
	out := make(Layout, len(e.layout))
	blank := v.blank[e]
	for i, a := range e.layout {
		out[i] = make(Axis, len(a))
		for j, s := range a {
			out[i][j] = make(Segment, len(s))
			for k, f := range s {
				switch {
				case f.Name != "":
					f.Size = v.size(f.Name)
				case f.Size == 0:
					f.Size = v.variables[blank[0]].value
					blank = blank[1:]
				}
				out[i][j][k] = f
			}
		}
	}
	return out
}
