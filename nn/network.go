package nn

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// node is a node of the graph that matters, perhaps with what stands around it.
type node struct {
	graph.Node
	channels bool // a LayerNormalization over axis 1, the Transposes around it being gone
	residual bool // the last input is added to the output: the fused Add
	relu     bool // the output is that of the fused Relu, behind all else
	reaches  bool // the first output of the graph depends on it, by way of differentiable steps
	slot     int  // which of the operator's outputs this node makes: one that makes several is several nodes
	outputs  int  // how many outputs it has in the graph
}

// network is what an engine knows of its graph before a batch size is chosen.
type network[T Float] struct {
	graph     *graph.Graph
	inputs    []graph.Value
	batch     string // the symbol of the inputs' first axis, "" when that is a number
	values    map[string]graph.Value
	operators map[string]operator[T]
	constants map[string]*tensor.Tensor
	floats    map[string][]T  // those that are read when the network runs
	pinned    map[string]bool // values that stay readable
	visited   map[string]bool // values that are shown on the way
	nodes     []*node
}

// newNetwork checks a graph and keeps of it what the outputs and the kept values depend on.
func newNetwork[T Float](g *graph.Graph, keep, visit []string) (*network[T], error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	g, err := g.Lowered()
	if err != nil {
		return nil, err
	}
	n := &network[T]{graph: g, operators: operators[T](), floats: map[string][]T{}, pinned: map[string]bool{}, visited: map[string]bool{}}
	if err := n.knowsOperators(); err != nil {
		return nil, err
	}
	if n.values, err = g.InferShapes(); err != nil {
		return nil, err
	}
	n.constants = g.Constants()
	for _, step := range []func() error{
		n.findInputs, func() error { return n.pin(keep, visit) }, n.keepNeeded, n.convertConstants, n.checkTypes,
	} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("graph %q: %w", g.Name, err)
		}
	}
	n.fuse()
	return n, nil
}

// isConstant says that the node is there before anything runs.
func isConstant(n *graph.Node) bool { return n.Op == "Constant" }

func (n *network[T]) knowsOperators() error {
	for i := range n.graph.Nodes {
		node := &n.graph.Nodes[i]
		if _, ok := n.operators[node.Op]; !ok && !isConstant(node) {
			return fmt.Errorf("graph %q: %s: %w", n.graph.Name, node, ErrUnknownOperator)
		}
	}
	return nil
}

// findInputs demands inputs whose first extent is the batch, the same for all of them.
func (n *network[T]) findInputs() error {
	if n.inputs = n.graph.Inputs; len(n.inputs) == 0 {
		return errors.New("no inputs")
	}
	for i, in := range n.inputs {
		if !carries(in.DType) {
			return fmt.Errorf("input %q is of %v, not of floats, I64, I32 or BOOL", in.Name, in.DType)
		}
		if len(in.Shape) == 0 {
			return fmt.Errorf("input %q is a scalar, without a batch axis", in.Name)
		}
		if i == 0 {
			n.batch = in.Shape[0].Sym
		}
		if in.Shape[0] != n.inputs[0].Shape[0] {
			return fmt.Errorf("inputs %q of shape %s and %q of shape %s have no common batch axis", n.inputs[0].Name, n.inputs[0].Shape, in.Name, in.Shape)
		}
		if _, err := in.Shape.Bind(n.sizes(1)); err != nil {
			return fmt.Errorf("input %q: %w", in.Name, err)
		}
	}
	return nil
}

// inputNames is for messages.
func (n *network[T]) inputNames() string {
	var names []string
	for _, in := range n.inputs {
		names = append(names, strconv.Quote(in.Name))
	}
	return strings.Join(names, ", ")
}

// sizes gives numbers to symbols: the batch is the only one.
func (n *network[T]) sizes(batch int) map[string]int { return map[string]int{n.batch: batch} }

func (n *network[T]) pin(keep, visit []string) error {
	for _, name := range n.graph.Outputs {
		n.pinned[name] = true
	}
	for i, name := range slices.Concat(keep, visit) {
		if _, ok := n.values[name]; !ok {
			return fmt.Errorf("there is no value %q to keep", name)
		}
		if i < len(keep) {
			n.pinned[name] = true
		} else {
			n.visited[name] = true
		}
	}
	for _, name := range slices.Concat(n.graph.Outputs, keep, visit) {
		if v := n.values[name]; !v.DType.IsFloat() {
			return fmt.Errorf("value %q is of %v, not of floats", name, v.DType)
		}
	}
	return nil
}

// convertConstants makes T of the constants that are read: by nodes when they run, or by the caller.
func (n *network[T]) convertConstants() error {
	read := slices.Concat(sortedKeys(n.pinned), sortedKeys(n.visited))
	for _, node := range n.nodes {
		read = append(read, n.dataInputs(node)...)
	}
	for _, name := range read {
		t, ok := n.constants[name]
		if !ok || n.floats[name] != nil {
			continue
		}
		data, err := convertExactly[T](t)
		if err != nil {
			return fmt.Errorf("constant %q: %w", name, err)
		}
		n.floats[name] = data
	}
	return nil
}

// convertExactly is convert, but that integers must not change.
func convertExactly[T Float](t *tensor.Tensor) ([]T, error) {
	data, err := convert[T](t)
	if err != nil || t.DType() != tensor.I64 {
		return data, err
	}
	for i, v := range tensor.Of[int64](t) {
		// What rounds to 2⁶³ would not fit into an int64 again.
		if f := float64(data[i]); f >= 1<<63 || int64(f) != v {
			return nil, fmt.Errorf("%v cannot hold the integer %d", dtypeOf[T](), v)
		}
	}
	return data, nil
}

// keepNeeded keeps the nodes that the outputs and the kept values depend on.
func (n *network[T]) keepNeeded() error {
	wanted := map[string]bool{}
	for name := range n.pinned {
		wanted[name] = true
	}
	for name := range n.visited {
		wanted[name] = true
	}
	reaches := map[string]bool{n.graph.Outputs[0]: true}
	for i := len(n.graph.Nodes) - 1; i >= 0; i-- {
		for slot, out := range slices.Backward(n.graph.Nodes[i].Outputs) {
			if _, constant := n.constants[out]; constant || !wanted[out] {
				continue
			}
			node := &node{Node: n.graph.Nodes[i], slot: slot, outputs: len(n.graph.Nodes[i].Outputs)}
			node.Outputs = []string{out}
			n.want(node, wanted, reaches)
			n.nodes = append(n.nodes, node)
		}
	}
	slices.Reverse(n.nodes)
	return nil
}

// want asks for the inputs of a node.
func (n *network[T]) want(node *node, wanted, reaches map[string]bool) {
	node.reaches = reaches[node.Outputs[0]]
	passive := n.operators[node.Op].passive
	for i, in := range n.dataInputs(node) {
		if in == "" { // absent, as an output that nobody asks for is
			continue
		}
		wanted[in] = true
		if node.reaches && n.values[in].DType.IsFloat() && !slices.Contains(passive, i) {
			reaches[in] = true
		}
	}
}

// dataInputs are the inputs that are read when the node runs.
func (n *network[T]) dataInputs(node *node) []string {
	switch data := n.operators[node.Op].data; {
	case data == none:
		return nil
	case data > 0:
		return node.Inputs[:data]
	}
	return node.Inputs
}

// carries says that values of a type can stand in an engine's memory: integers and truths do so as T.
func carries(d tensor.DType) bool {
	return d.IsFloat() || d == tensor.I64 || d == tensor.I32 || d == tensor.Bool
}

func (n *network[T]) checkTypes() error {
	params := map[string]bool{}
	for _, p := range n.graph.Params {
		params[p.Name] = true
	}
	for _, node := range n.nodes {
		for _, name := range n.dataInputs(node) {
			if v := n.values[name]; name != "" && (!carries(v.DType) || params[name] && !v.DType.IsFloat()) {
				return fmt.Errorf("%s: input %q is of %v, not of floats", &node.Node, name, v.DType)
			}
		}
	}
	return nil
}

// bind is the shape of a value at a batch size, its elements counted.
func (n *network[T]) bind(name string, batch int) (tensor.Shape, int, error) {
	shape, err := n.values[name].Shape.Bind(n.sizes(batch))
	if err != nil {
		return nil, 0, fmt.Errorf("value %q: %w", name, err)
	}
	count, err := shape.Elements()
	if err != nil {
		return nil, 0, fmt.Errorf("value %q: %w", name, err)
	}
	if count > maxElements {
		return nil, 0, fmt.Errorf("value %q: shape %v has more than %d elements", name, shape, maxElements)
	}
	return shape, count, nil
}

// maxElements bounds what is allocated for a tensor, so that a hostile shape is an error and no crash: 2³⁶ float32 are 256 GiB.
const maxElements = 1 << 36
