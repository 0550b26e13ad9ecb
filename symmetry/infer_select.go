package symmetry

import (
	"slices"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// A projection of queries, keys and values at once is often cut up after it was reshaped to (3, heads, d) and transposed: by Gather, Split or Slice along
// the axis of extent 3. Read as they stand, these nodes would give all three parts the same factors, and so tie the dimensions of values to those of
// queries and keys. But what is taken of an axis that is the outermost part of another one is a run of that, so the selection may as well come first:
//
//	Gather(Transpose(Reshape(x))) = Reshape(Transpose(Reshape(Slice(x))))
//
// and then the parts are terms of a concatenation with factors of their own.

// selection takes a run of units of one axis.
type selection struct {
	input           string
	axis, first, n  int
	rearrangements  []rearrangement // between the Reshape and the selection, in the order in which they run
	source          string          // what the Reshape reads
	sourceAxis, per int             // its axis, and how many of its units one of the selected axis is
	split           graph.Shape     // the shape that the Reshape gives
	splitAxis       int
}

// rearrangement is a Transpose, or a Reshape that only adds or takes away axes of extent 1.
type rearrangement struct {
	perm  []int
	shape graph.Shape // of the output
	axis  int         // where the selected axis is then
}

// selectEarly moves selections before the Reshapes that they look through, and leaves out what nobody reads any more.
func (inf *inference) selectEarly(nodes []*inferNode) []*inferNode {
	makers := map[string]*inferNode{}
	var out []*inferNode
	crossed := map[string]bool{}
	for _, n := range nodes {
		makers[n.Outputs[0]] = n
		if s, ok := inf.selects(n); ok && inf.trace(&s, makers, crossed) {
			out = append(out, inf.replay(n, &s)...)
			continue
		}
		out = append(out, n)
	}
	return inf.withoutUnread(out, crossed)
}

// selects recognises a selection along one axis.
func (inf *inference) selects(n *inferNode) (selection, bool) {
	v, known := inf.shapes[n.Input(0)]
	if _, known2 := inf.shapes[n.Outputs[0]]; !known || !known2 {
		return selection{}, false
	}
	s := selection{input: n.Input(0)}
	switch n.Op {
	case "Gather":
		t, ok := inf.constants[n.Input(1)]
		axis, err := graph.Axis(n.Attrs.Int("axis", 0), len(v.Shape))
		if !ok || err != nil || t.Len() != 1 || t.DType() != tensor.I64 || len(t.Shape()) > 1 {
			return selection{}, false
		}
		s.axis, s.first, s.n = axis, int(tensor.Of[int64](t)[0]), 1
		if s.first < 0 {
			s.first += v.Shape[axis].Size
		}
		return s, v.Shape[axis].IsFixed()
	case "Split":
		node := n.Node
		node.Outputs = make([]string, n.outputs)
		axis, sizes, err := graph.SplitSizes(&node, v.Shape, inf.constants)
		if err != nil {
			return selection{}, false
		}
		s.axis, s.n = axis, sizes[n.slot]
		for _, size := range sizes[:n.slot] {
			s.first += size
		}
		return s, true
	case "Slice":
		return inf.slices(n, v.Shape)
	}
	return selection{}, false
}

func (inf *inference) slices(n *inferNode, shape graph.Shape) (selection, bool) {
	ranges, err := graph.SliceRanges(&n.Node, shape, inf.constants)
	if err != nil {
		return selection{}, false
	}
	s := selection{input: n.Input(0), axis: -1}
	for i, r := range ranges {
		switch whole := r.Len < 0 || r.Step == 1 && r.Len == shape[i].Size; {
		case whole:
		case s.axis >= 0 || r.Step != 1:
			return selection{}, false
		default:
			s.axis, s.first, s.n = i, r.First, r.Len
		}
	}
	return s, s.axis >= 0
}

// trace goes back from the selection to the Reshape that makes its axis the outermost part of another one.
func (inf *inference) trace(s *selection, makers map[string]*inferNode, crossed map[string]bool) bool {
	v, axis := inf.origin(s.input), s.axis
	var path []string
	for {
		maker := makers[v]
		if maker == nil {
			return false
		}
		path = append(path, v)
		before, known := inf.shapes[maker.Input(0)]
		if !known {
			return false
		}
		r := rearrangement{shape: inf.shapes[v].Shape, axis: axis}
		switch maker.Op {
		case "Transpose":
			perm, err := graph.Perm(&maker.Node, len(before.Shape))
			if err != nil {
				return false
			}
			r.perm, axis = perm, perm[axis]
		case "Reshape", "Squeeze", "Unsqueeze", "Flatten":
			if s.splits(before.Shape, r.shape, axis) {
				s.source, s.split, s.splitAxis = inf.origin(maker.Input(0)), r.shape, axis
				for _, name := range path {
					crossed[name] = true
				}
				return true
			}
			kept, ok := sameButOnes(before.Shape, r.shape, axis)
			if !ok {
				return false
			}
			axis = kept
		default:
			return false
		}
		s.rearrangements = slices.Insert(s.rearrangements, 0, r)
		v = inf.origin(maker.Input(0))
	}
}

// splits says that an axis of the shape after a Reshape is the outermost of several that one axis of the shape before was split into.
func (s *selection) splits(before, after graph.Shape, axis int) bool {
	lead, err := after[:axis].Elements()
	if err != nil || !after[axis].IsFixed() {
		return false
	}
	for k, d := range before {
		front, err := before[:k].Elements()
		if err != nil || front != lead || d.IsOne() || !d.IsFixed() {
			continue
		}
		per, ok := d.Div(after[axis])
		if !ok || per.IsOne() {
			return false
		}
		for m := axis + 2; m <= len(after); m++ {
			if all, err := after[axis:m].Elements(); err == nil && all == d {
				s.sourceAxis, s.per = k, per.Size
				return true
			}
		}
		return false
	}
	return false
}

// sameButOnes finds the place of an axis before a Reshape that changes nothing but axes of extent 1.
func sameButOnes(before, after graph.Shape, axis int) (int, bool) {
	var places []int
	for i, d := range before {
		if !d.IsOne() {
			places = append(places, i)
		}
	}
	at := 0
	var found int
	for i, d := range after {
		if d.IsOne() {
			continue
		}
		if at == len(places) || before[places[at]] != d {
			return 0, false
		}
		if i == axis {
			found = places[at]
		}
		at++
	}
	return found, at == len(places) && !after[axis].IsOne()
}

// between stands in the names of values that are not in the graph, and so cannot be those of others.
const between = "\x00"

// replay writes the selection, then what it looked through.
func (inf *inference) replay(n *inferNode, s *selection) []*inferNode {
	var nodes []*inferNode
	last := s.source
	add := func(op string, shape graph.Shape, attrs graph.Attrs, ranges []graph.Range, out string) {
		node := &inferNode{Node: graph.Node{Name: n.Name, Op: op, Inputs: []string{last}, Outputs: []string{out}, Attrs: attrs}, ranges: ranges, lift: n.lift}
		inf.shapes[out] = graph.Value{Name: out, DType: inf.shapes[n.Input(0)].DType, Shape: shape}
		nodes, last = append(nodes, node), out
	}
	next := func() string { return n.Outputs[0] + between + string(rune('0'+len(nodes))) }
	with := func(shape graph.Shape, axis, extent int) graph.Shape {
		out := slices.Clone(shape)
		out[axis] = graph.Fixed(extent)
		return out
	}
	source := inf.shapes[s.source].Shape
	ranges := make([]graph.Range, len(source))
	for i := range ranges {
		ranges[i] = graph.Range{Step: 1, Len: -1}
	}
	ranges[s.sourceAxis] = graph.Range{First: s.first * s.per, Step: 1, Len: s.n * s.per}
	add("Slice", with(source, s.sourceAxis, s.n*s.per), nil, ranges, next())
	add("Reshape", with(s.split, s.splitAxis, s.n), nil, nil, next())
	for _, r := range s.rearrangements {
		if r.perm == nil {
			add("Reshape", with(r.shape, r.axis, s.n), nil, nil, next())
			continue
		}
		perm := make([]int64, len(r.perm))
		for i, p := range r.perm {
			perm[i] = int64(p)
		}
		add("Transpose", with(r.shape, r.axis, s.n), graph.Attrs{"perm": perm}, nil, next())
	}
	add("Reshape", inf.shapes[n.Outputs[0]].Shape, nil, nil, n.Outputs[0])
	return nodes
}

// withoutUnread leaves out the nodes that selections looked through and that nobody else reads.
func (inf *inference) withoutUnread(nodes []*inferNode, crossed map[string]bool) []*inferNode {
	read := map[string]bool{}
	for _, out := range inf.graph.Outputs {
		read[inf.origin(out)] = true
	}
	var kept []*inferNode
	for _, n := range slices.Backward(nodes) {
		if _, passed := inf.alias[n.Outputs[0]]; crossed[n.Outputs[0]] && !read[n.Outputs[0]] && !passed {
			continue
		}
		kept = append(kept, n)
		if _, passed := inf.alias[n.Outputs[0]]; !passed {
			for _, in := range n.Inputs {
				read[inf.origin(in)] = true
			}
		}
	}
	slices.Reverse(kept)
	return kept
}
