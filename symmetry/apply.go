package symmetry

import (
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/tensor"
)

// Apply permutes the units of a network: unit i of the result is unit p[i] of the source, on every axis where a group
// stands; a family's permutation is that of the result's parents. Tensors of every dtype move.
//
// tensors need not hold every tensor of the symmetry, but all of a virtual stack or none. The result has the same names;
// a tensor that has no layout, or that the alignment does not move, is the same pointer as in tensors. An error names
// the group that does not fit or the tensor of another shape than the symmetry's.
//
// Cost: one pass over each tensor for each axis that moves, one pass in all where a family's parent stands on another
// axis.
func (s *Symmetry) Apply(a *Alignment, tensors map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error) {
	if err := s.CheckAlignment(a); err != nil {
		return nil, err
	}
	out := make(map[string]*tensor.Tensor, len(tensors))
	for name, t := range tensors {
		out[name] = t
	}
	load := func(name string) (*tensor.Tensor, error) {
		if t, ok := tensors[name]; ok {
			return t, nil
		}
		return nil, fmt.Errorf("tensor %q is missing", name)
	}
	names := s.names()
	for _, key := range sortedKeys(s.Layouts) {
		st, err := s.stackOf(key, names)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(st.members, func(m string) bool { return tensors[m] != nil }) {
			continue
		}
		m := names.mover(st, a)
		for i, name := range st.members {
			if out[name], err = s.move(m, i, load); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// ApplyTensor is [Symmetry.Apply] for one tensor. A tensor of a virtual stack may be another one of the stack in the
// result: that is an error here, and [Symmetry.ApplyFrom] is for it.
func (s *Symmetry) ApplyTensor(a *Alignment, name string, t *tensor.Tensor) (*tensor.Tensor, error) {
	return s.ApplyFrom(a, name, func(source string) (*tensor.Tensor, error) {
		if source != name {
			return nil, fmt.Errorf("tensor %q: is made of tensor %q of its virtual stack, which was not given", name, source)
		}
		return t, nil
	})
}

// ApplyFrom makes one tensor of the result, asking load for the tensors of the source that it is made of: the tensor of
// that name or, in a virtual stack, the one that takes its place (several, where the place depends on another axis). So
// a checkpoint can be permuted one tensor at a time. The result may be the very tensor that load returned.
func (s *Symmetry) ApplyFrom(a *Alignment, name string, load func(string) (*tensor.Tensor, error)) (*tensor.Tensor, error) {
	key, _, ok := s.LayoutOf(name)
	if !ok {
		return load(name)
	}
	names := s.names()
	st, err := s.stackOf(key, names)
	if err != nil {
		return nil, err
	}
	st.layout.each(func(f Factor) {
		if g, ok := names.groups[f.Name]; ok && err == nil {
			err = names.checkPerm(g, a)
		}
	})
	if err != nil {
		return nil, err
	}
	return s.move(names.mover(st, a), slices.Index(st.members, name), load)
}

// AxisIndex is the gather index of one axis of a layout of the symmetry: position r of the result is position index[r]
// of the source. ok is false where there is no such index, because a family on the axis has a parent on another axis;
// this depends on the layout alone, not on the alignment, which must fit the symmetry.
func (s *Symmetry) AxisIndex(a *Alignment, layout Layout, axis int) (index []int32, ok bool) {
	p := s.names().axisMove(layout, axis, a)
	if len(p.cross) > 0 {
		return nil, false
	}
	return p.index(nil), true
}

// mover moves the tensors of one entry of Layouts.
type mover struct {
	stack
	axes []axisMove // virtual axes first
}

// axisMove is what an alignment does to one axis.
type axisMove struct {
	segments [][]factorMove
	length   int
	cross    []crossParent // the parents on other axes, each once
	moves    bool
}

// factorMove is what an alignment does to one factor of a product.
type factorMove struct {
	size, stride int
	perm         []int32 // nil where fixed
	parents      []parentIndex
}

// parentIndex says where the index of a parent is: in a factor of the same product, or among the cross parents.
type parentIndex struct {
	extent int
	factor int // -1: cross
	cross  int
}

// crossParent is a parent that stands on another axis; digits is its index at each position there.
type crossParent struct {
	name   string
	axis   int
	extent int
	digits []int32
}

func (t nameTable) mover(st stack, a *Alignment) mover {
	m := mover{stack: st, axes: make([]axisMove, len(st.layout))}
	for i := range st.layout {
		m.axes[i] = t.axisMove(st.layout, i, a)
		if n := m.axes[i].length; !m.axes[i].moves {
			m.axes[i] = axisMove{segments: [][]factorMove{{{size: n, stride: 1}}}, length: n}
		}
	}
	return m
}

func (t nameTable) axisMove(layout Layout, axis int, a *Alignment) axisMove {
	p := axisMove{length: layout[axis].Len()}
	for j, s := range layout[axis] {
		factors := make([]factorMove, len(s))
		for k, f := range s {
			factors[k] = factorMove{size: f.Size, stride: s[k+1:].Len()}
			g, isGroup := t.groups[f.Name]
			if !isGroup {
				continue
			}
			factors[k].perm = a.Perms[f.Name]
			p.moves = p.moves || !isIdentity(factors[k].perm, g.Size)
			for _, parent := range g.Parents {
				factors[k].parents = append(factors[k].parents, t.parentIndex(&p, layout, axis, j, parent))
			}
		}
		p.segments = append(p.segments, factors)
	}
	return p
}

func (t nameTable) parentIndex(p *axisMove, layout Layout, axis, segment int, parent string) parentIndex {
	extent := t.extent(parent)
	on, err := layout.parentAxis(axis, segment, parent)
	if err != nil {
		panic("symmetry: a layout that Validate refuses: " + err.Error())
	}
	if on == axis {
		return parentIndex{extent: extent, factor: layout[axis][segment].find(parent)}
	}
	k := slices.IndexFunc(p.cross, func(c crossParent) bool { return c.name == parent })
	if k < 0 {
		k = len(p.cross)
		p.cross = append(p.cross, crossParent{name: parent, axis: on, extent: extent, digits: layout[on].digits(parent)})
	}
	return parentIndex{extent: extent, factor: -1, cross: k}
}

// index is the gather index of the axis where the cross parents have the given indices.
func (p *axisMove) index(cross []int32) []int32 {
	index := make([]int32, 0, p.length)
	for _, factors := range p.segments {
		start := len(index)
		extents := make([]int, len(factors))
		for k, f := range factors {
			extents[k] = f.size
		}
		for at := range grid(extents) {
			source := start
			for k := range factors {
				source += factors[k].stride * factors[k].source(k, at, cross)
			}
			index = append(index, int32(source))
		}
	}
	return index
}

// source is the index in the source of factor k where the result's indices in the product are at.
func (f *factorMove) source(k int, at []int, cross []int32) int {
	if f.perm == nil {
		return at[k]
	}
	joint := 0
	for _, p := range f.parents {
		digit := 0
		if p.factor >= 0 {
			digit = at[p.factor]
		} else {
			digit = int(cross[p.cross])
		}
		joint = joint*p.extent + digit
	}
	return int(f.perm[joint*f.size+at[k]])
}

// move makes member i of the result.
func (s *Symmetry) move(m mover, i int, load func(string) (*tensor.Tensor, error)) (*tensor.Tensor, error) {
	virtual := make([]int, len(m.virtual))
	for rest, k := i, len(virtual)-1; k >= 0; k-- {
		virtual[k] = rest % m.axes[k].length
		rest /= m.axes[k].length
	}
	checked := func(member int) (*tensor.Tensor, error) {
		name := m.members[member]
		t, err := load(name)
		if err == nil && !t.Shape().Equal(s.Shapes[name]) {
			err = fmt.Errorf("tensor %q: shape %v, the symmetry has %v", name, t.Shape(), s.Shapes[name])
		}
		return t, err
	}
	if m.separable() {
		return m.takeAxes(virtual, checked)
	}
	return m.takeElements(virtual, checked)
}

// separable says that once the member is chosen every axis moves by itself.
func (m *mover) separable() bool {
	return !slices.ContainsFunc(m.axes, func(p axisMove) bool {
		return slices.ContainsFunc(p.cross, func(c crossParent) bool { return c.axis >= len(m.virtual) })
	})
}

func (m *mover) takeAxes(virtual []int, load func(int) (*tensor.Tensor, error)) (*tensor.Tensor, error) {
	source := 0
	for k := range virtual {
		p := &m.axes[k]
		source = source*p.length + int(p.index(p.crossAt(virtual))[virtual[k]])
	}
	t, err := load(source)
	if err != nil {
		return nil, err
	}
	for axis := range m.axes[len(virtual):] {
		p := &m.axes[len(virtual)+axis]
		if !p.moves {
			continue
		}
		if t, err = t.Take(axis, p.index(p.crossAt(virtual))); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", m.key, err)
		}
	}
	return t, nil
}

// crossAt is the index of every cross parent at a position of the tensor.
func (p *axisMove) crossAt(at []int) []int32 {
	cross := make([]int32, len(p.cross))
	for k, c := range p.cross {
		cross[k] = c.digits[at[c.axis]]
	}
	return cross
}

// crossJoint is the joint index of the cross parents at a position of the tensor.
func (p *axisMove) crossJoint(at []int) int {
	joint := 0
	for i := range p.cross {
		c := &p.cross[i]
		joint = joint*c.extent + int(c.digits[at[c.axis]])
	}
	return joint
}

// table is the gather index for every joint index of the cross parents.
func (p *axisMove) table() [][]int32 {
	extents := make([]int, len(p.cross))
	for i, c := range p.cross {
		extents[i] = c.extent
	}
	var table [][]int32
	cross := make([]int32, len(extents))
	for at := range grid(extents) {
		for i, digit := range at {
			cross[i] = int32(digit)
		}
		table = append(table, p.index(cross))
	}
	return table
}

// takeElements gathers where the place on one axis depends on the position on another. What lies behind the last axis
// that matters is copied whole.
func (m *mover) takeElements(virtual []int, load func(int) (*tensor.Tensor, error)) (*tensor.Tensor, error) {
	like, err := load(m.flat(virtual, 0, len(virtual)))
	if err != nil {
		return nil, err
	}
	out := tensor.New(like.DType(), like.Shape())
	if out.Len() == 0 {
		return out, nil
	}
	last := m.lastAxis()
	block := out.DType().Size()
	for _, p := range m.axes[last:] {
		block *= p.length
	}
	tables := make([][][]int32, last)
	for k := range tables {
		tables[k] = m.axes[k].table()
	}
	sources := memberBytes{like: like, load: load, data: map[int][]byte{}}
	at := append(slices.Clone(virtual), make([]int, last-len(virtual))...)
	from := make([]int, last)
	target := out.Bytes()
	for inner := range grid(out.Shape()[:last-len(virtual)]) {
		copy(at[len(virtual):], inner)
		for k := range from {
			from[k] = int(tables[k][m.axes[k].crossJoint(at)][at[k]])
		}
		data, err := sources.get(m.flat(from, 0, len(virtual)))
		if err != nil {
			return nil, err
		}
		offset := block * m.flat(from, len(virtual), last)
		target = target[copy(target[:block], data[offset:]):]
	}
	return out, nil
}

// lastAxis is the number of axes up to the last one that moves, holds a parent of one that does, or is virtual.
func (m *mover) lastAxis() int {
	last := len(m.virtual)
	for k, p := range m.axes {
		if p.moves {
			last = max(last, k+1)
		}
		for _, c := range p.cross {
			last = max(last, c.axis+1)
		}
	}
	return last
}

// flat is the row-major index over the axes from first to before last.
func (m *mover) flat(at []int, first, last int) int {
	index := 0
	for k := first; k < last; k++ {
		index = index*m.axes[k].length + at[k]
	}
	return index
}

// memberBytes loads the tensors of a stack as they are needed.
type memberBytes struct {
	like *tensor.Tensor
	load func(int) (*tensor.Tensor, error)
	data map[int][]byte
}

func (b *memberBytes) get(member int) ([]byte, error) {
	if data, ok := b.data[member]; ok {
		return data, nil
	}
	t, err := b.load(member)
	if err != nil {
		return nil, err
	}
	if t.DType() != b.like.DType() {
		return nil, fmt.Errorf("a virtual stack of dtypes %v and %v", t.DType(), b.like.DType())
	}
	b.data[member] = t.Bytes()
	return t.Bytes(), nil
}
