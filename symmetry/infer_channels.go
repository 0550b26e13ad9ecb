package symmetry

import (
	"errors"
	"slices"

	"github.com/rebasin/rebasin/graph"
)

// channelRules are those of operators on values [N, C, D1, D2, ...].
var channelRules = map[string]inferRule{
	"Conv":                  {conv, siteAddition},
	"MaxPool":               {pool, siteComputed},
	"AveragePool":           {pool, siteComputed},
	"GlobalAveragePool":     {globalPool, siteComputed},
	"BatchNormalization":    {batchNormalization, siteComputed},
	"InstanceNormalization": {instanceNormalization, siteComputed},
	"GroupNormalization":    {groupNormalization, siteComputed},
}

// partRules are those of operators that make values longer or shorter.
var partRules = map[string]inferRule{
	"Concat":     {concat, siteNever},
	"Pad":        {pad, siteNever},
	"Slice":      {slice, siteNever},
	"Split":      {split, siteNever},
	"ReduceMean": {reduce, siteComputed},
	"ReduceSum":  {reduce, siteComputed},
	"ReduceMax":  {reduce, siteComputed},
	"ReduceMin":  {reduce, siteComputed},
	"ReduceProd": {reduce, siteComputed},
	"ReduceL2":   {reduce, siteComputed},
}

// span is count indices from first on.
func span(first, count int) []int {
	list := indices(count)
	for i := range list {
		list[i] += first
	}
	return list
}

// pinSpace keeps the order along the axes behind batch and channels.
func (a *application) pinSpace(o *operand) {
	for _, axis := range o.axes[2:] {
		pinAll(axis, a.why("spatial axis"))
	}
}

// view is an operand with the same elements in another shape, or nil where the operand's axes are absent.
func (a *application) view(o *operand, shape graph.Shape) *operand {
	if o == nil || slices.ContainsFunc(indices(len(o.axes)), func(i int) bool { return o.absent[i] && !o.shape[i].IsOne() }) {
		return nil
	}
	v := a.inf.newOperand(o.name, shape)
	v.param, v.lift, v.stack = o.param, o.lift, o.stack
	a.inf.unify(o.flat(), v.flat(), a.why("groups of channels"))
	return v
}

// grouped splits an axis of channels into groups and channels of a group.
func grouped(shape graph.Shape, axis, groups int) graph.Shape {
	each, _ := shape[axis].Div(graph.Fixed(groups))
	return slices.Concat(shape[:axis], graph.Shape{graph.Fixed(groups), each}, shape[axis+1:])
}

// join adds a facet for a view, if it is there.
func (s *indexSpace) join(v *operand, output bool, index []int) {
	if v != nil {
		s.facets = append(s.facets, facet{operand: v, index: index, output: output})
	}
}

// conv has the indices batch, group, contracted channel of the group, channel of the group, and those of input, kernel and output space, which keep
// their order. So a family of channels may have the group as its parent.
func conv(a *application) {
	const batch, group, contracted, channel, space = 0, 1, 2, 3, 4
	groups, rank := int(a.node.Attrs.Int("group", 1)), len(a.out.axes)-2
	for _, o := range []*operand{a.in[0], a.in[1], a.out} {
		a.pinSpace(o)
	}
	s := &indexSpace{}
	s.join(a.view(a.in[0], grouped(a.in[0].shape, 1, groups)), false, append([]int{batch, group, contracted}, span(space, rank)...))
	s.join(a.view(a.in[1], grouped(a.in[1].shape, 0, groups)), false, append([]int{group, channel, contracted}, span(space+rank, rank)...))
	if len(a.in) > 2 && a.in[2] != nil {
		s.join(a.view(a.in[2], grouped(a.in[2].shape, 0, groups)), false, []int{group, channel})
	}
	s.join(a.view(a.out, grouped(a.out.shape, 1, groups)), true, append([]int{batch, group, channel}, span(space+2*rank, rank)...))
	a.inf.meet(s, a.why("factors that meet have no common refinement"))
}

// groupNormalization has means and deviations for each example and group, and a scale and a bias for each channel or, in the form of opset 18, for
// each group.
func groupNormalization(a *application) {
	const batch, group, channel, space = 0, 1, 2, 3
	groups, rank := int(a.node.Attrs.Int("num_groups", 1)), len(a.out.axes)-2
	all := append([]int{batch, group, channel}, span(space, rank)...)
	s := &indexSpace{}
	s.join(a.view(a.in[0], grouped(a.in[0].shape, 1, groups)), false, all)
	for _, o := range a.in[1:] {
		if o.shape.Equal(graph.ShapeOf(groups)) && groups != a.out.shape[1].Size {
			s.join(o, false, []int{group})
		} else {
			s.join(a.view(o, grouped(o.shape, 0, groups)), false, []int{group, channel})
		}
	}
	s.facets = append(s.facets, facet{index: []int{batch, group}})
	s.join(a.view(a.out, grouped(a.out.shape, 1, groups)), true, all)
	a.inf.meet(s, a.why("factors that meet have no common refinement"))
}

// pool works on each channel by itself.
func pool(a *application) {
	const batch, channel, space = 0, 1, 2
	rank := len(a.out.axes) - 2
	a.pinSpace(a.in[0])
	a.pinSpace(a.out)
	s := &indexSpace{}
	a.input(s, 0, append([]int{batch, channel}, span(space, rank)...))
	a.meet(s, append([]int{batch, channel}, span(space+rank, rank)...))
}

// globalPool sums over space, whose order does not matter to it.
func globalPool(a *application) {
	index, s := indices(len(a.out.axes)), &indexSpace{}
	a.input(s, 0, index)
	a.meet(s, index)
}

// batchNormalization has four vectors over the channels, mean and variance among them.
func batchNormalization(a *application) {
	const channel = 1
	index, s := indices(len(a.out.axes)), &indexSpace{}
	a.input(s, 0, index)
	for i := 1; i < len(a.in); i++ {
		a.input(s, i, []int{channel})
	}
	a.meet(s, index)
}

// instanceNormalization has means and deviations for each example and channel.
func instanceNormalization(a *application) {
	const batch, channel = 0, 1
	index, s := indices(len(a.out.axes)), &indexSpace{}
	a.input(s, 0, index)
	a.input(s, 1, []int{channel})
	a.input(s, 2, []int{channel})
	s.facets = append(s.facets, facet{index: []int{batch, channel}})
	a.meet(s, index)
}

// reduce leaves the axes behind that it goes over, whose order does not matter to it.
func reduce(a *application) {
	rank := len(a.in[0].axes)
	reduced, err := graph.ReduceAxes(&a.node.Node, rank, a.inf.constants)
	if err != nil {
		a.pin(err)
		return
	}
	index := indices(rank)
	out := index
	if len(a.out.axes) < rank {
		out = nil
		for i := range rank {
			if !reduced[i] {
				out = append(out, i)
			}
		}
	}
	s := &indexSpace{}
	a.input(s, 0, index)
	a.meet(s, out)
}

// term is the factor of an operand's axis as a part of a concatenation. An axis along which the tensor is constant has an order of no matter.
func (inf *inference) term(o *operand, axis int) *atom {
	if o.absent[axis] {
		return inf.single(o.shape[axis])
	}
	return inf.product(o.axes[axis])
}

// concat makes the terms of one axis; along the others inputs and output agree.
func concat(a *application) {
	rank := len(a.out.axes)
	axis, err := graph.Axis(a.node.Attrs.Int("axis", 0), rank)
	if err == nil && !a.out.shape[axis].IsFixed() {
		err = errors.New("concatenation of symbolic extents")
	}
	if err != nil {
		a.pin(err)
		return
	}
	s := &indexSpace{}
	var terms []*atom
	for i, o := range a.in {
		index := indices(rank)
		index[axis] = rank + i // an index of its own
		a.input(s, i, index)
		terms = append(terms, a.inf.term(o, axis))
	}
	a.place(a.out, axis, terms)
	a.meet(s, indices(rank))
}

// place joins an axis with a concatenation.
func (a *application) place(o *operand, axis int, terms []*atom) {
	list := terms
	if len(terms) > 1 {
		list = []*atom{a.inf.concatenation(terms)}
	}
	a.inf.unify(o.axes[axis], list, a.why("parts of an axis"))
}

// pad puts new units, all of one value, before and after those that it keeps; a negative number cuts units off.
func pad(a *application) {
	rank := len(a.out.axes)
	before, after, err := graph.PadAmounts(&a.node.Node, rank, a.inf.constants)
	if err != nil {
		a.pin(err)
		return
	}
	index, out, s := indices(rank), indices(rank), &indexSpace{}
	for axis := range rank {
		b, e := before[axis], after[axis]
		if b == 0 && e == 0 {
			continue
		}
		if a.node.Attrs.String("mode", "constant") != "constant" {
			pinAll(a.in[0].axes[axis], a.why("padded with what is there"))
			pinAll(a.out.axes[axis], a.why("padded with what is there"))
		} else {
			kept := a.in[0].shape[axis].Size + min(b, 0) + min(e, 0)
			a.shift(axis, [2]int{-b, -e}, [2]int{b, e}, kept)
		}
		out[axis] = rank + axis
	}
	a.input(s, 0, index)
	a.meet(s, out)
}

// shift keeps some units of an axis, which have cut units around them in the input and new ones in the output; negative numbers are none.
func (a *application) shift(axis int, cut, added [2]int, kept int) {
	var middle []*atom
	if kept > 0 {
		middle = []*atom{a.inf.single(graph.Fixed(kept))}
	}
	around := func(n [2]int) []*atom {
		terms := slices.Clone(middle)
		if n[0] > 0 {
			terms = slices.Insert(terms, 0, a.inf.single(graph.Fixed(n[0])))
		}
		if n[1] > 0 {
			terms = append(terms, a.inf.single(graph.Fixed(n[1])))
		}
		return terms
	}
	if !a.in[0].absent[axis] {
		a.place(a.in[0], axis, around(cut))
	}
	a.place(a.out, axis, around(added))
}

// split takes a run of units for each output.
func split(a *application) {
	node := a.node.Node
	node.Outputs = make([]string, a.node.outputs)
	axis, sizes, err := graph.SplitSizes(&node, a.in[0].shape, a.inf.constants)
	if err != nil {
		a.pin(err)
		return
	}
	ranges := make([]graph.Range, len(a.out.axes))
	for i := range ranges {
		ranges[i] = graph.Range{Step: 1, Len: -1}
	}
	ranges[axis].Len = sizes[a.node.slot]
	for _, n := range sizes[:a.node.slot] {
		ranges[axis].First += n
	}
	a.take(ranges)
}

// slice takes a run of units; other orders are kept as they are.
func slice(a *application) {
	if a.node.ranges != nil {
		a.take(a.node.ranges)
		return
	}
	ranges, err := graph.SliceRanges(&a.node.Node, a.in[0].shape, a.inf.constants)
	if err != nil {
		a.pin(err)
		return
	}
	a.take(ranges)
}

// take is the rule of operators that take a part of the first input.
func (a *application) take(ranges []graph.Range) {
	rank := len(a.out.axes)
	index, out, s := indices(rank), indices(rank), &indexSpace{}
	for axis, r := range ranges {
		extent := a.in[0].shape[axis]
		if r.Step == 1 && (r.Len < 0 || r.Len == extent.Size) {
			continue
		}
		if r.Step == 1 {
			a.shift(axis, [2]int{r.First, extent.Size - r.First - r.Len}, [2]int{}, r.Len)
		} else {
			pinAll(a.in[0].axes[axis], a.why("every so many units are taken"))
			pinAll(a.out.axes[axis], a.why("every so many units are taken"))
		}
		out[axis] = rank + axis
	}
	a.input(s, 0, index)
	a.meet(s, out)
	a.takes = true
	a.inf.taken = append(a.inf.taken, taken{a.in[0], a.out})
}

// taken is a value and a part of it.
type taken struct{ from, part *operand }

// pinUnread keeps the order of what is in no part of a parameter that anything reads, as the rest of a mask made for longer sequences.
func (inf *inference) pinUnread() {
	reads := map[*operand]map[*atom]bool{}
	for _, t := range slices.Backward(inf.taken) {
		if reads[t.from] == nil {
			reads[t.from] = map[*atom]bool{}
		}
		for _, a := range deep(t.part.flat()) {
			if t.part.read || reads[t.part][a] {
				reads[t.from][a] = true
			}
		}
	}
	for _, o := range inf.params() {
		if reads[o] == nil || o.read {
			continue
		}
		for _, a := range deep(o.flat()) {
			if !reads[o][a] {
				pinAll([]*atom{a}, "no operator uses it")
			}
		}
	}
}
