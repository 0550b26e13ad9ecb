package symmetry

import (
	"slices"

	"github.com/rebasin/rebasin/graph"
)

// A recurrent operator in both directions has the parameters of both in one tensor, and the units are a family of the direction. Exporters keep the two
// apart and stack them in the graph, where neither has an axis of directions by which a family could be told. So the operator is read as what it is, two
// operators whose outputs are put side by side:
//
//	Reshape(Transpose(LSTM(x, Concat(W, W'), ...))) = Concat(LSTM(x, W, ...), LSTM(x, W', ...))

// sideBySide is the operator that puts the outputs of both directions side by side: a Concat where units can be observed.
const sideBySide = "outputs of both directions"

// bothWays is a recurrent operator and what stands around it.
type bothWays struct {
	node   *inferNode
	inputs [2][]string // of each direction
	gone   []string    // values that are no more: the stacked parameters, and those on the way to out
	out    string      // [T, N, 2*H]
}

// byDirection writes recurrent operators in both directions as two, where their parameters are stacked from those of each.
func (inf *inference) byDirection(nodes []*inferNode) []*inferNode {
	makers, readers := map[string]*inferNode{}, map[string]*inferNode{}
	for _, n := range nodes {
		makers[n.Outputs[0]] = n
		for _, in := range n.Inputs {
			readers[inf.origin(in)] = n
		}
	}
	var gone []string
	replaced := map[*inferNode][]*inferNode{}
	for _, n := range nodes {
		if b, ok := inf.goesBothWays(n, makers, readers); ok {
			replaced[n] = inf.eachWay(b)
			gone = append(gone, b.gone...)
		}
	}
	var out []*inferNode
	for _, n := range nodes {
		if list, ok := replaced[n]; ok {
			out = append(out, list...)
		} else if !slices.Contains(gone, n.Outputs[0]) {
			out = append(out, n)
		}
	}
	return out
}

// goesBothWays recognises the operator. Its first state, if it has one, must be the same for all units.
func (inf *inference) goesBothWays(n *inferNode, makers, readers map[string]*inferNode) (*bothWays, bool) {
	const parameters, lengths, firstState, firstCell, peepholes = 1, 4, 5, 6, 7
	if graph.Gates(n.Op) == 0 || n.slot != 0 || n.Attrs.String("direction", "") != "bidirectional" || n.Input(lengths) != "" || n.Input(peepholes) != "" {
		return nil, false
	}
	for _, state := range []string{n.Input(firstState), n.Input(firstCell)} {
		if state != "" && !inf.uniform(state, makers) {
			return nil, false
		}
	}
	b := &bothWays{node: n, inputs: [2][]string{{n.Input(0)}, {n.Input(0)}}}
	for i := parameters; i < lengths && n.Input(i) != ""; i++ {
		stacked := inf.origin(n.Input(i))
		maker := makers[stacked]
		if maker == nil || maker.Op != "Concat" || maker.Attrs.Int("axis", 0) != 0 || len(maker.Inputs) != 2 || inf.uses[stacked] != 1 {
			return nil, false
		}
		for way, in := range maker.Inputs {
			if s := inf.shapes[inf.origin(in)].Shape; s.Rank() == 0 || !s[0].IsOne() {
				return nil, false
			}
			b.inputs[way] = append(b.inputs[way], in)
		}
		b.gone = append(b.gone, stacked)
	}
	return b, len(b.gone) > 1 && inf.endsSideBySide(b, readers)
}

// endsSideBySide says that nobody reads the operator but a Transpose to [T, N, 2, H], and nobody that but a Reshape to [T, N, 2*H].
func (inf *inference) endsSideBySide(b *bothWays, readers map[string]*inferNode) bool {
	for _, n := range inf.graph.Nodes {
		if n.Outputs[0] == b.node.Outputs[0] && slices.ContainsFunc(n.Outputs[1:], func(out string) bool { return inf.uses[out] > 0 }) {
			return false
		}
	}
	y := b.node.Outputs[0]
	turn := readers[y]
	if inf.uses[y] != 1 || turn == nil || turn.Op != "Transpose" {
		return false
	}
	turned := turn.Outputs[0]
	perm, err := graph.Perm(&turn.Node, 4)
	flatten := readers[turned]
	if err != nil || !slices.Equal(perm, []int{0, 2, 1, 3}) || inf.uses[turned] != 1 || flatten == nil || flatten.Op != "Reshape" {
		return false
	}
	b.out = flatten.Outputs[0]
	shape, out := inf.shapes[y].Shape, inf.shapes[b.out].Shape
	if shape.Rank() != 4 || !shape[3].IsFixed() {
		return false
	}
	b.gone = append(b.gone, turned, b.out)
	return out.Equal(graph.Shape{shape[0], shape[2], graph.Fixed(2 * shape[3].Size)})
}

// uniform says that all elements of a value are the same for sure.
func (inf *inference) uniform(name string, makers map[string]*inferNode) bool {
	for {
		name = inf.origin(name)
		if t, ok := inf.constants[name]; ok {
			return constantTensor(t)
		}
		maker := makers[name]
		if maker == nil {
			return false
		}
		switch maker.Op {
		case "ConstantOfShape":
			return true
		case "Slice", "Expand", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Cast":
			name = maker.Input(0)
		default:
			return false
		}
	}
}

// eachWay writes the operators of each direction and what puts their outputs side by side. The names of the values between cannot be those of others.
func (inf *inference) eachWay(b *bothWays) []*inferNode {
	var nodes []*inferNode
	add := func(op, out string, shape graph.Shape, attrs graph.Attrs, in ...string) {
		inf.shapes[out] = graph.Value{Name: out, DType: inf.shapes[b.node.Outputs[0]].DType, Shape: shape}
		nodes = append(nodes, &inferNode{Node: graph.Node{Name: b.node.Name, Op: op, Inputs: in, Outputs: []string{out}, Attrs: attrs}, outputs: 1})
	}
	y := b.node.Outputs[0]
	shape := inf.shapes[y].Shape
	var sides []string
	for way, in := range b.inputs {
		one, side := y+between+string(rune('0'+way)), y+between+string(rune('2'+way))
		add(b.node.Op, one, graph.Shape{shape[0], graph.Fixed(1), shape[2], shape[3]}, nil, in...)
		add("Reshape", side, graph.Shape{shape[0], shape[2], shape[3]}, nil, one)
		sides = append(sides, side)
	}
	add(sideBySide, b.out, inf.shapes[b.out].Shape, graph.Attrs{"axis": int64(2)}, sides...)
	return nodes
}
