package symmetry

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// result writes down what inference found.
func (inf *inference) result() *Symmetry {
	r := &resultWriter{
		inf: inf, classes: inf.classify(), names: map[*atom]string{}, taken: map[string]bool{},
		sym: &Symmetry{
			Fixed: map[string]int{}, Layouts: map[string]Layout{}, Shapes: map[string]tensor.Shape{},
			Sites: map[string][]Site{}, Constant: map[string]bool{},
		},
	}
	r.name()
	r.groups()
	for _, p := range inf.graph.Params {
		r.param(p.Name)
	}
	for _, b := range r.classes.groups {
		r.sites(b)
	}
	r.sym.Statistics = sortedKeys(graph.Statistics(inf.graph))
	return r.sym
}

type resultWriter struct {
	inf     *inference
	classes classes
	names   map[*atom]string
	taken   map[string]bool
	sym     *Symmetry
}

// name names the groups, and the pinned factors that are parents.
func (r *resultWriter) name() {
	for _, s := range r.inf.spaces {
		factors := s.factors()
		for _, f := range s.facets {
			if f.operand == nil || !f.operand.param {
				continue
			}
			for _, index := range f.present() {
				if s.creates(index) {
					r.nameAxis(f.operand.nameOf(index), deep(factors[index]))
				}
			}
		}
	}
	for _, o := range r.inf.params() {
		if o.lift != nil {
			r.nameAxis(o.nameOf(lifted), deep([]*atom{o.lift}))
		}
		for _, axis := range o.axes {
			r.nameAxis(o.name, deep(axis))
		}
	}
	for _, b := range r.classes.groups {
		for _, a := range r.classes.parents[b] {
			if a.why != "" && r.names[a] == "" {
				r.names[a] = r.unique(r.names[b] + ".fixed")
			}
		}
	}
}

// nameOf is the name of the parameter that an index comes from: of the index of branches, what numbers them.
func (o *operand) nameOf(index int) string {
	if index == lifted && o.stack != nil {
		return o.stack.numberName()
	}
	return o.name
}

// creates says that the index comes into being here: the output has it, and of the inputs only parameters.
func (s *indexSpace) creates(index int) bool {
	out := false
	for _, f := range s.facets {
		has := slices.Contains(f.present(), index)
		if has && f.operand != nil && !f.operand.param && !f.output {
			return false
		}
		out = out || has && f.output
	}
	return out
}

// nameAxis names the groups on an axis of a parameter that have no name yet.
func (r *resultWriter) nameAxis(param string, factors []*atom) {
	var groups []*atom
	for _, a := range factors {
		if slices.Contains(r.classes.groups, a) && !slices.Contains(groups, a) {
			groups = append(groups, a)
		}
	}
	for i, a := range groups {
		if r.names[a] != "" {
			continue
		}
		name := groupName(param)
		if len(groups) > 1 {
			name += "." + strconv.Itoa(i)
		}
		r.names[a] = r.unique(name)
	}
}

// roleNames are the last parts of parameters' names that say what a parameter is to its layer.
var roleNames = []string{"weight", "bias", "kernel", "scale", "W", "B"}

// groupName is the name of the layer that a parameter belongs to, in the alphabet of layouts.
func groupName(param string) string {
	if i := strings.LastIndexAny(param, "./"); i > 0 && slices.Contains(roleNames, param[i+1:]) {
		param = param[:i]
	}
	name := strings.Map(func(c rune) rune {
		if isNameRune(c) {
			return c
		}
		return '_'
	}, param)
	if checkName(name) != nil {
		name = "g" + name
	}
	return name
}

func (r *resultWriter) unique(name string) string {
	candidate := name
	for i := 2; r.taken[candidate]; i++ {
		candidate = fmt.Sprintf("%s.%d", name, i)
	}
	r.taken[candidate] = true
	return candidate
}

func (r *resultWriter) groups() {
	for _, b := range r.classes.groups {
		g := Group{Name: r.names[b], Size: b.size.Size}
		for _, a := range r.classes.parents[b] {
			g.Parents = append(g.Parents, r.names[a])
			if a.why != "" {
				r.sym.Fixed[r.names[a]] = a.size.Size
			}
		}
		r.sym.Groups = append(r.sym.Groups, g)
	}
}

// param writes the layout of a parameter and what is pinned in it.
func (r *resultWriter) param(name string) {
	o := r.inf.operands[name]
	shape, _ := o.shape.Fixed()
	r.sym.Shapes[name] = shape
	if r.inf.several(name) {
		layout := make(Layout, len(shape))
		for i, n := range shape {
			layout[i] = FixedAxis(n)
		}
		r.sym.Layouts[name] = layout
		r.sym.Constant[name] = true
		why := fmt.Sprintf("all its elements are equal, so that its order does not matter to its %d uses", r.inf.uses[name])
		r.sym.Pinned = append(r.sym.Pinned, Pin{Tensor: name, Axis: -1, Why: why})
		return
	}
	if r.inf.traits.frozen[name] != nil {
		r.sym.Constant[name] = true
	}
	r.sym.Layouts[r.key(name, o)] = r.layout(o)
	for i := range o.axes {
		r.pins(name, o, i)
	}
}

// key is the name of an entry of Layouts: that of the tensor, or of the virtual stack that it belongs to.
func (r *resultWriter) key(name string, o *operand) string {
	if o.stack == nil {
		return name
	}
	e := o.lift.root()
	var parents []string
	for _, p := range r.classes.parents[e] {
		parents = append(parents, r.names[p])
	}
	return o.stack.before + "{" + formatName(r.names[e], parents) + "}" + o.stack.after
}

// layout writes the factors of an operand. An axis without named factors becomes one factor, of size 0 where it has a symbol.
func (r *resultWriter) layout(o *operand) Layout {
	layout := make(Layout, len(o.axes))
	for i, axis := range o.axes {
		written, named := Axis{}, false
		for _, factors := range segments(axis) {
			segment := r.segment(factors)
			named = named || slices.ContainsFunc(segment, func(f Factor) bool { return f.Name != "" })
			written = append(written, segment)
		}
		switch {
		case named:
			layout[i] = written
		case o.shape[i].IsFixed():
			layout[i] = FixedAxis(o.shape[i].Size)
		default:
			layout[i] = FixedAxis(0)
		}
	}
	return layout
}

// segment writes a product. A concatenation in it is one that keeps its order.
func (r *resultWriter) segment(factors []*atom) Segment {
	var segment Segment
	for _, a := range factors {
		f := Factor{Name: r.names[a], Size: a.size.Size}
		if !a.size.IsFixed() {
			f.Size = 0
		}
		segment = append(segment, f)
	}
	return segment
}

// segments are the products whose concatenation an axis is: a product whose outermost factor is a concatenation is one of products.
func segments(axis []*atom) [][]*atom {
	factors := leaves(axis)
	if len(factors) == 0 || factors[0].terms == nil {
		return [][]*atom{factors}
	}
	var list [][]*atom
	for _, t := range factors[0].terms {
		for _, s := range segments([]*atom{t}) {
			if len(s) == 1 && s[0].size.IsOne() && len(factors) > 1 {
				s = nil // one unit times the rest
			}
			list = append(list, slices.Concat(s, factors[1:]))
		}
	}
	return list
}

// settle pins the concatenations that layouts cannot say: those that are not the outermost factor of an axis.
func (inf *inference) settle() {
	for _, o := range slices.Concat(inf.values, inf.params()) {
		for _, axis := range o.axes {
			for _, s := range segments(axis) {
				for _, a := range s {
					if a.terms != nil {
						jam([]*atom{a}, "a concatenation inside a product")
					}
				}
			}
		}
	}
}

// pins lists the runs of factors on an axis that keep their order for one reason.
func (r *resultWriter) pins(name string, o *operand, axis int) {
	all := segments(o.axes[axis])
	if why, ok := wholly(all); ok && len(all) > 1 {
		r.sym.Pinned = append(r.sym.Pinned, Pin{Tensor: name, Axis: axis, Why: why})
		return
	}
	for _, factors := range all {
		for start := 0; start < len(factors); {
			why, end := reason(factors[start]), start+1
			for end < len(factors) && reason(factors[end]) == why {
				end++
			}
			if why != "" {
				pin := Pin{Tensor: name, Axis: axis, Why: why}
				if end-start < len(factors) || len(all) > 1 {
					pin.Part = r.part(factors[start:end])
				}
				r.sym.Pinned = append(r.sym.Pinned, pin)
			}
			start = end
		}
	}
}

// reason says why a factor keeps its order, if it does.
func reason(a *atom) string { return deep([]*atom{a})[0].why }

// wholly says that all factors keep their order for one reason.
func wholly(all [][]*atom) (why string, ok bool) {
	for i, factors := range all {
		for j, a := range factors {
			if w := reason(a); w == "" || (i > 0 || j > 0) && w != why {
				return "", false
			} else if why == "" {
				why = w
			}
		}
	}
	return why, why != ""
}

// part is the text form of some factors of a product.
func (r *resultWriter) part(factors []*atom) string {
	return r.sym.Format(Layout{Axis{r.segment(factors)}})
}

// sites finds the values with the best view of a group.
func (r *resultWriter) sites(b *atom) {
	best := siteNever
	var sites []Site
	for _, o := range r.inf.values {
		rank := inferRules[o.op].site
		if rank == siteNever || rank < best || strings.Contains(o.name, between) || o.lift != nil || !slices.Contains(deep(o.flat()), b) {
			continue
		}
		layout := r.layout(o)
		if mixesSymbol(layout) {
			continue
		}
		if rank > best {
			best, sites = rank, nil
		}
		sites = append(sites, Site{Value: o.name, Layout: layout})
	}
	if len(sites) > 0 {
		r.sym.Sites[r.names[b]] = sites
	}
}

// mixesSymbol says that an axis has both an extent that only a run knows and others: layouts cannot say how they divide it.
func mixesSymbol(layout Layout) bool {
	for _, axis := range layout {
		for _, s := range axis {
			if len(s) > 1 && slices.ContainsFunc(s, func(f Factor) bool { return f.Size == 0 }) {
				return true
			}
		}
	}
	return false
}
