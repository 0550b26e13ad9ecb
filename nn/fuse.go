package nn

import (
	"slices"
)

// fusion joins nodes of a network whose values between nobody else reads, so that they are never written.
type fusion[T Float] struct {
	net     *network[T]
	readers map[string]int
	makers  map[string]*node // of the values that may be fused away
	kept    []*node
}

// fuse makes one step of Transpose, LayerNormalization and Transpose where channels are normalised, and of nodes with the Add of a residual and
// the Relu behind them.
func (n *network[T]) fuse() {
	f := &fusion[T]{net: n, readers: map[string]int{}, makers: map[string]*node{}}
	for _, node := range n.nodes {
		for _, in := range n.dataInputs(node) {
			f.readers[in]++
		}
	}
	for _, node := range n.nodes {
		f.take(node)
	}
	n.nodes = f.kept
}

// take adds a node, or puts it into the one before.
func (f *fusion[T]) take(node *node) {
	switch node.Op {
	case "Transpose":
		if f.channelNorm(node) {
			return
		}
	case "Add":
		if f.residual(node) {
			return
		}
	case "Relu":
		if before := f.makers[node.Input(0)]; before != nil && f.takesRelu(before) {
			f.rename(before, node)
			before.relu = true
			return
		}
	}
	f.kept = append(f.kept, node)
	f.offer(node)
}

// offer notes a node whose output only one other reads.
func (f *fusion[T]) offer(node *node) {
	if out := node.Outputs[0]; f.readers[out] == 1 && !f.net.pinned[out] && !f.net.visited[out] {
		f.makers[out] = node
	}
}

// rename gives a node the output of the one behind it, which it has swallowed.
func (f *fusion[T]) rename(node, swallowed *node) {
	delete(f.makers, node.Outputs[0])
	node.Outputs = swallowed.Outputs
	f.offer(node)
}

// takesRelu says that a step can apply Relu to its output.
func (f *fusion[T]) takesRelu(n *node) bool {
	switch n.Op {
	case "Gemm", "Conv":
		return !n.relu
	case "Add":
		return !n.relu && f.sameShapes(n.Inputs[0], n.Inputs[1])
	}
	return !n.relu && isNorm(n)
}

// isNorm says that a node is a normalisation of planes or channels, which can add a residual to its output.
func isNorm(n *node) bool {
	switch n.Op {
	case "BatchNormalization", "InstanceNormalization", "GroupNormalization":
		return true
	case "LayerNormalization":
		return n.channels
	}
	return false
}

func (f *fusion[T]) sameShapes(a, b string) bool {
	return f.net.values[a].Shape.Equal(f.net.values[b].Shape)
}

// residual puts an Add into the normalisation that makes one of its operands, the later one if both are made so. The step then stands where the
// Add did: the other operand is there by then.
func (f *fusion[T]) residual(add *node) bool {
	a, b := add.Inputs[0], add.Inputs[1]
	if a == b || !f.sameShapes(a, b) {
		return false
	}
	for i, node := range slices.Backward(f.kept) {
		out := node.Outputs[0]
		if (out != a && out != b) || f.makers[out] != node || !isNorm(node) || node.relu || node.residual {
			continue
		}
		other := a
		if out == a {
			other = b
		}
		node.Inputs, node.residual = append(slices.Clone(node.Inputs), other), true
		f.kept = append(slices.Delete(f.kept, i, i+1), node)
		f.rename(node, add)
		return true
	}
	return false
}

// channelNorm recognises the second Transpose of a LayerNormalization over axis 1.
func (f *fusion[T]) channelNorm(behind *node) bool {
	norm := f.makers[behind.Input(0)]
	if norm == nil || norm.Op != "LayerNormalization" || norm.channels {
		return false
	}
	before := f.makers[norm.Input(0)]
	if before == nil || before.Op != "Transpose" {
		return false
	}
	rank := f.net.values[norm.Input(0)].Shape.Rank()
	if axis := norm.Attrs.Int("axis", -1); axis != -1 && axis != int64(rank-1) {
		return false
	}
	toLast, toFirst := channelsLast(rank)
	if !slices.Equal(before.Attrs.Ints("perm"), toLast) || !slices.Equal(behind.Attrs.Ints("perm"), toFirst) {
		return false
	}
	f.kept = slices.DeleteFunc(f.kept, func(n *node) bool { return n == before })
	delete(f.makers, before.Outputs[0])
	norm.Inputs = slices.Clone(norm.Inputs)
	norm.Inputs[0], norm.channels = before.Inputs[0], true
	f.rename(norm, behind)
	return true
}

// channelsLast are the orders of axes that move axis 1 of a value to the end, and back.
func channelsLast(rank int) (toLast, toFirst []int64) {
	if rank < 3 {
		return nil, nil
	}
	toLast, toFirst = []int64{0}, []int64{0, int64(rank - 1)}
	for axis := 2; axis < rank; axis++ {
		toLast, toFirst = append(toLast, int64(axis)), append(toFirst, int64(axis-1))
	}
	return append(toLast, 1), toFirst
}
