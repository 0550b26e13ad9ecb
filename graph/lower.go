package graph

import (
	"fmt"
	"math"
	"slices"

	"github.com/rebasin/rebasin/tensor"
)

// Lowered writes out the operators that ONNX defines as functions of others, Attention, RMSNormalization and RotaryEmbedding, so that what reads a graph
// need not know them. The values that the functions compute on the way bear the name of the node's output, a slash and a word. A node whose shapes are not
// known stays as it is. The graph must be valid; it is not changed, and returned itself where nothing is to be written out.
func (g *Graph) Lowered() (*Graph, error) {
	if !slices.ContainsFunc(g.Nodes, func(n Node) bool { return IsFunction(n.Op) }) {
		return g, nil
	}
	values, err := g.PartialShapes()
	if err != nil {
		return nil, err
	}
	low := *g
	low.Nodes = nil
	used := g.uses()
	for i := range g.Nodes {
		n := &g.Nodes[i]
		write, ok := lowerings[n.Op]
		l := &lowering{node: n, values: values, used: used}
		if ok && l.known() && write(l) {
			low.Nodes = append(low.Nodes, l.nodes...)
		} else {
			low.Nodes = append(low.Nodes, *n)
		}
	}
	if err := low.Validate(); err != nil {
		return nil, err
	}
	return &low, nil
}

// IsFunction says that [Graph.Lowered] writes an operator out.
func IsFunction(op string) bool {
	_, ok := lowerings[op]
	return ok
}

// lowerings write a node out, or say that they cannot.
var lowerings = map[string]func(*lowering) bool{
	"Attention": lowerAttention, "RMSNormalization": lowerRMSNormalization, "RotaryEmbedding": lowerRotaryEmbedding,
}

// lowering writes nodes in the place of one.
type lowering struct {
	node   *Node
	values map[string]Value
	used   map[string]bool
	nodes  []Node
}

func (l *lowering) known() bool {
	for _, in := range l.node.Inputs {
		if _, ok := l.values[in]; in != "" && !ok {
			return false
		}
	}
	return true
}

func (l *lowering) shape(i int) Shape { return l.values[l.node.Input(i)].Shape }

// add writes a node whose output is named after the node that is written out.
func (l *lowering) add(word, op string, attrs Attrs, in ...string) string {
	return l.give(fmt.Sprintf("%s/%s.%d", l.node.Outputs[0], word, len(l.nodes)), op, attrs, in...)
}

// give writes a node that makes a value of this name.
func (l *lowering) give(out, op string, attrs Attrs, in ...string) string {
	l.nodes = append(l.nodes, Node{Name: l.node.Name, Op: op, Inputs: in, Outputs: []string{out}, Attrs: attrs})
	return out
}

func (l *lowering) constant(t *tensor.Tensor) string {
	return l.add("constant", "Constant", Attrs{"value": t})
}

func (l *lowering) ints(v ...int64) string {
	return l.constant(tensor.FromSlice(tensor.Shape{len(v)}, v))
}

// number is a scalar of the type of the first input. It is written down in F64, so that who computes in that loses nothing.
func (l *lowering) number(v float64) string {
	wide := l.constant(tensor.FromSlice(tensor.Shape{}, []float64{v}))
	to, ok := map[tensor.DType]int64{tensor.F32: 1, tensor.F16: 10, tensor.BF16: 16}[l.values[l.node.Input(0)].DType]
	if !ok {
		return wide
	}
	return l.add("number", "Cast", Attrs{"to": to}, wide)
}

func (l *lowering) transpose(word, x string, perm ...int64) string {
	return l.add(word, "Transpose", Attrs{"perm": perm}, x)
}

// lowerRMSNormalization is x/sqrt(mean(x²) + epsilon)·scale over the axes from axis on. Reference: Zhang, Sennrich, "Root Mean Square Layer
// Normalization", 2019, arXiv:1910.07467.
func lowerRMSNormalization(l *lowering) bool {
	x, rank := l.node.Input(0), l.shape(0).Rank()
	axis, err := Axis(l.node.Attrs.Int("axis", -1), rank)
	if err != nil {
		return false
	}
	var axes []int64
	for i := axis; i < rank; i++ {
		axes = append(axes, int64(i))
	}
	mean := l.add("mean", "ReduceMean", nil, l.add("square", "Mul", nil, x, x), l.ints(axes...))
	root := l.add("root", "Sqrt", nil, l.add("shifted", "Add", nil, mean, l.number(l.node.Attrs.Float("epsilon", 1e-5))))
	l.give(l.node.Outputs[0], "Mul", nil, l.add("normalised", "Div", nil, x, root), l.node.Input(1))
	return true
}

// lowerRotaryEmbedding turns the pairs (x1, x2), which are halves of a head or neighbours, to (cos·x1 - sin·x2, sin·x1 + cos·x2). Reference: Su and others,
// "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021, arXiv:2104.09864.
func lowerRotaryEmbedding(l *lowering) bool {
	n := l.node
	s, err := heads(l.shape(0), n.Attrs.Int("num_heads", 0))
	if err != nil {
		return false
	}
	size := int64(s[3].Size)
	turned := n.Attrs.Int("rotary_embedding_dim", 0)
	if turned == 0 {
		turned = size
	}
	x, flat := n.Input(0), l.shape(0).Rank() == 3
	if flat {
		x = l.add("heads", "Reshape", nil, x, l.ints(0, 0, int64(s[1].Size), size))
	} else {
		x = l.transpose("heads", x, 0, 2, 1, 3)
	}
	take := func(word, x string, start, end, step int64) string {
		return l.add(word, "Slice", nil, x, l.ints(start), l.ints(end), l.ints(-1), l.ints(step))
	}
	table := func(i int) string {
		t := n.Input(i)
		if n.Input(3) != "" {
			t = l.add("angle", "Gather", nil, t, n.Input(3))
		}
		return l.add("angle", "Unsqueeze", nil, t, l.ints(2))
	}
	cos, sin := table(1), table(2)
	part := x
	if turned < size {
		part = take("part", x, 0, turned, 1)
	}
	interleaved := n.Attrs.Int("interleaved", 0) != 0
	var pair [2]string
	for i := range int64(2) {
		if interleaved {
			pair[i] = take("half", part, i, math.MaxInt64, 2)
		} else {
			pair[i] = take("half", part, i*turned/2, (i+1)*turned/2, 1)
		}
	}
	product := func(a, b string) string { return l.add("product", "Mul", nil, a, b) }
	first := l.add("turned", "Sub", nil, product(cos, pair[0]), product(sin, pair[1]))
	second := l.add("turned", "Add", nil, product(sin, pair[0]), product(cos, pair[1]))
	last := Attrs{"axis": int64(-1)}
	if interleaved {
		a, b := l.add("pair", "Unsqueeze", nil, first, l.ints(-1)), l.add("pair", "Unsqueeze", nil, second, l.ints(-1))
		part = l.add("pairs", "Reshape", nil, l.add("pairs", "Concat", last, a, b), l.ints(0, 0, 0, turned))
	} else {
		part = l.add("pairs", "Concat", last, first, second)
	}
	if turned < size {
		part = l.add("whole", "Concat", last, part, take("rest", x, turned, math.MaxInt64, 1))
	}
	if flat {
		l.give(n.Outputs[0], "Reshape", nil, part, l.ints(0, 0, -1))
	} else {
		l.give(n.Outputs[0], "Transpose", Attrs{"perm": []int64{0, 2, 1, 3}}, part)
	}
	return true
}

// lowerAttention is softmax(Q·Kᵀ·scale + mask)·V for each head. A head of keys and values may serve several heads of queries, one after the other. Causal
// masks compare the numbers of queries and keys.
func lowerAttention(l *lowering) bool {
	n := l.node
	shape := func(i int) Shape {
		if n.Input(i) == "" {
			return nil
		}
		return l.shape(i)
	}
	qs, ks, vs, err := attentionShapes(n, shape)
	causal := n.Attrs.Int("is_causal", 0) != 0
	if err != nil || !qs[1].IsFixed() || !qs[3].IsFixed() || !vs[3].IsFixed() || causal && !maskable(qs[2], ks[2]) {
		return false
	}
	part := func(i int, s Shape) string {
		if shape(i).Rank() == 4 {
			return n.Input(i)
		}
		apart := l.add("heads", "Reshape", nil, n.Input(i), l.ints(0, 0, int64(s[1].Size), int64(s[3].Size)))
		return l.transpose("heads", apart, 0, 2, 1, 3)
	}
	q, k, v := part(0, qs), part(1, ks), part(2, vs)
	if n.Input(4) != "" {
		k = l.add("key", "Concat", Attrs{"axis": int64(2)}, n.Input(4), k)
		v = l.add("value", "Concat", Attrs{"axis": int64(2)}, n.Input(5), v)
	}
	present := [2]string{k, v}
	if times := qs[1].Size / ks[1].Size; times > 1 {
		repeat := func(x string, size int) string {
			wide := l.add("shared", "Expand", nil, l.add("shared", "Unsqueeze", nil, x, l.ints(2)), l.ints(1, 1, int64(times), 1, 1))
			if !ks[2].IsFixed() {
				return l.add("shared", "Reshape", nil, wide, l.ints(0, int64(qs[1].Size), -1, int64(size)))
			}
			return l.add("shared", "Reshape", nil, wide, l.ints(0, int64(qs[1].Size), int64(ks[2].Size), int64(size)))
		}
		k, v = repeat(k, ks[3].Size), repeat(v, vs[3].Size)
	}
	scale := n.Attrs.Float("scale", 1/math.Sqrt(float64(qs[3].Size)))
	scores := [4]string{}
	scores[0] = l.add("scores", "Mul", nil, l.add("products", "MatMul", nil, q, l.transpose("turned", k, 0, 1, 3, 2)), l.number(scale))
	scores[1] = l.masked(scores[0], causal, qs[2], ks[2])
	scores[2] = scores[1]
	if softcap := n.Attrs.Float("softcap", 0); softcap != 0 {
		bound := l.number(softcap)
		scores[2] = l.add("bounded", "Mul", nil, l.add("bounded", "Tanh", nil, l.add("bounded", "Div", nil, scores[1], bound)), bound)
	}
	scores[3] = l.add("weights", "Softmax", Attrs{"axis": int64(-1)}, scores[2])
	if y := n.Outputs[0]; shape(0).Rank() == 4 {
		l.give(y, "MatMul", nil, scores[3], v)
	} else {
		back := l.transpose("mixed", l.add("mixed", "MatMul", nil, scores[3], v), 0, 2, 1, 3)
		l.give(y, "Reshape", nil, back, l.ints(0, 0, int64(qs[1].Size*vs[3].Size)))
	}
	for i, name := range n.Outputs[1:] {
		if name == "" || !l.used[name] {
			continue
		}
		if i < 2 {
			l.give(name, "Identity", nil, present[i])
			continue
		}
		mode := n.Attrs.Int("qk_matmul_output_mode", 0)
		if mode < 0 || mode > 3 {
			return false
		}
		l.give(name, "Identity", nil, scores[mode])
	}
	return true
}

// maskable says that a causal mask can be written down.
func maskable(queries, keys Dim) bool {
	n, err := queries.Mul(keys)
	return err == nil && n.IsFixed() && n.Size <= maxFolded
}

// masked adds the mask to scores. A mask of truths keeps what is true.
func (l *lowering) masked(scores string, causal bool, queries, keys Dim) string {
	if causal {
		keep := tensor.New(tensor.Bool, tensor.Shape{queries.Size, keys.Size})
		for i := range queries.Size {
			for j := range min(i+1, keys.Size) {
				keep.Bytes()[i*keys.Size+j] = 1
			}
		}
		scores = l.add("causal", "Where", nil, l.constant(keep), scores, l.number(math.Inf(-1)))
	}
	mask := l.node.Input(3)
	switch {
	case mask == "":
		return scores
	case l.values[mask].DType == tensor.Bool:
		return l.add("masked", "Where", nil, mask, scores, l.number(math.Inf(-1)))
	}
	return l.add("masked", "Add", nil, scores, mask)
}
