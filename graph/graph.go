package graph

import "github.com/rebasin/rebasin/tensor"

// Opset is the version of the ONNX operator set whose semantics graphs have.
const Opset = 23

// Value is a named tensor of the graph with its type and shape.
type Value struct {
	Name  string
	DType tensor.DType
	Shape Shape
}

// Node applies one operator. An input "" is an absent optional one, an output "" is one that nobody wants.
type Node struct {
	Name, Op        string
	Inputs, Outputs []string
	Attrs           Attrs
}

// Graph is a network: nodes in topological order between inputs, parameters and outputs.
type Graph struct {
	Name    string
	Inputs  []Value
	Outputs []string // names of values
	Params  []Value  // trained tensors; their shapes have no symbols
	Nodes   []Node

	// Declared gives types and shapes of values, by name, that shape inference cannot derive, as the outputs of operators without a shape
	// rule. Where inference derives a shape too, the two must agree. It may be nil.
	Declared map[string]Value
}

// Param returns the parameter of that name.
func (g *Graph) Param(name string) (Value, bool) {
	for _, p := range g.Params {
		if p.Name == name {
			return p, true
		}
	}
	return Value{}, false
}

// Input returns the i-th input of the node, or "" when it is absent.
func (n *Node) Input(i int) string {
	if i < 0 || i >= len(n.Inputs) {
		return ""
	}
	return n.Inputs[i]
}

// String names the node for messages: its own name, else its first output, and its operator.
func (n *Node) String() string {
	name := n.Name
	for i := 0; name == "" && i < len(n.Outputs); i++ {
		name = n.Outputs[i]
	}
	return "node \"" + name + "\" (" + n.Op + ")"
}

// Constants returns the values of all Constant nodes by the name of their output, and what follows from them and from shapes alone: values that
// Identity passes on, targets that are computed with Shape, Gather and Concat, masks and tables of places. Only types with arithmetic are computed with,
// and only as far as no symbol of a shape and no bound on memory stands in the way. The tensors may be those of the nodes' attributes and are not to be
// changed. Nodes whose attributes hold no readable value are left out, and all that comes after the first contradiction in the graph.
func (g *Graph) Constants() map[string]*tensor.Tensor {
	_, constants, _, _ := g.inferAndFold()
	return constants
}

// Statistics is the set of names of parameters that are running statistics: the mean or the variance of some BatchNormalization. They are no
// trained tensors: a training engine estimates them.
func Statistics(g *Graph) map[string]bool {
	origin, stats := map[string]string{}, map[string]bool{}
	for _, p := range g.Params {
		origin[p.Name] = p.Name
	}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if n.Op == "Identity" && origin[n.Input(0)] != "" {
			origin[n.Outputs[0]] = origin[n.Input(0)]
		}
		if n.Op != "BatchNormalization" {
			continue
		}
		for _, in := range []int{3, 4} {
			if p := origin[n.Input(in)]; p != "" {
				stats[p] = true
			}
		}
	}
	return stats
}
