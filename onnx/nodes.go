package onnx

import (
	"fmt"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/onnx/internal/onnxpb"
)

// readNodes reads all nodes as the file has them.
func (c *converter) readNodes() ([]graph.Node, error) {
	list := c.file.model.GetGraph().GetNode()
	nodes := make([]graph.Node, len(list))
	for i, p := range list {
		n := &nodes[i]
		*n = graph.Node{Name: p.GetName(), Op: operatorName(p.GetDomain(), p.GetOpType()), Inputs: p.GetInput(), Outputs: p.GetOutput()}
		if c.functions[n.Op] {
			n.Op = "function " + n.Op
		}
		// The converter changes what it reads.
		n.Inputs, n.Outputs = append([]string{}, n.Inputs...), append([]string{}, n.Outputs...)
		if max(len(n.Inputs), len(n.Outputs)) > maxListed {
			return nil, malformed("node %d (%s) has more than %d inputs or outputs", i, quote(n.Name), maxListed)
		}
		if n.Op == "" {
			return nil, malformed("node %d (%s) has no operator", i, quote(n.Name))
		}
		var err error
		if n.Attrs, err = c.attributes(p.GetAttribute()); err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
	}
	return nodes, nil
}

func (c *converter) attributes(list []*onnxpb.AttributeProto) (graph.Attrs, error) {
	attrs := graph.Attrs{}
	for _, p := range list {
		name := p.GetName()
		if attrs.Has(name) {
			return nil, malformed("attribute %s stands there twice", quote(name))
		}
		v, err := c.attribute(p)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", quote(name), err)
		}
		if v != nil {
			attrs[name] = v
		}
	}
	return attrs, nil
}

// attribute reads a value; nil is one of a type that no operator of the graph has.
func (c *converter) attribute(p *onnxpb.AttributeProto) (any, error) {
	if p.GetRefAttrName() != "" {
		return nil, malformed("it refers to %s outside of a function", quote(p.GetRefAttrName()))
	}
	switch p.GetType() {
	case onnxpb.AttributeProto_FLOAT:
		return float64(p.GetF()), nil
	case onnxpb.AttributeProto_INT:
		return p.GetI(), nil
	case onnxpb.AttributeProto_STRING:
		return string(p.GetS()), nil
	case onnxpb.AttributeProto_TENSOR:
		if p.GetT() == nil {
			return nil, malformed("it has no tensor")
		}
		t, err := c.file.attributeTensor(p.GetT())
		if err != nil {
			return nil, err
		}
		return t, c.reserve(int64(len(t.Bytes())))
	case onnxpb.AttributeProto_FLOATS:
		floats := make([]float64, len(p.GetFloats()))
		for i, v := range p.GetFloats() {
			floats[i] = float64(v)
		}
		return floats, nil
	case onnxpb.AttributeProto_INTS:
		return append([]int64{}, p.GetInts()...), nil
	case onnxpb.AttributeProto_STRINGS:
		strings := make([]string, len(p.GetStrings()))
		for i, v := range p.GetStrings() {
			strings[i] = string(v)
		}
		return strings, nil
	case onnxpb.AttributeProto_GRAPH, onnxpb.AttributeProto_GRAPHS:
		return nil, unsupported("control flow with a graph of its own is not supported")
	case onnxpb.AttributeProto_TENSORS, onnxpb.AttributeProto_SPARSE_TENSOR, onnxpb.AttributeProto_SPARSE_TENSORS, onnxpb.AttributeProto_TYPE_PROTO,
		onnxpb.AttributeProto_TYPE_PROTOS:
		return nil, nil
	}
	return nil, malformed("it has the unknown type %d", p.GetType())
}

// controlFlow are the operators that run graphs of their own.
var controlFlow = map[string]bool{"If": true, "Loop": true, "Scan": true, "SequenceMap": true}

// sort puts nodes in topological order, those of a file in order staying as they are, and checks that every value has one source.
func (c *converter) sort(nodes []graph.Node) ([]graph.Node, error) {
	source := map[string]int{} // which node makes a value; -1 for inputs and initializers
	for _, in := range c.graph.Inputs {
		source[in.Name] = -1
	}
	for i := range c.file.tensors {
		if _, twice := source[c.file.tensors[i].Name]; twice {
			return nil, malformed("value %s is defined twice", quote(c.file.tensors[i].Name))
		}
		source[c.file.tensors[i].Name] = -1
	}
	for i := range nodes {
		if controlFlow[nodes[i].Op] {
			return nil, fmt.Errorf("%s: %w", &nodes[i], unsupported("control flow is not supported"))
		}
		wanted := false
		for _, out := range nodes[i].Outputs {
			if out == "" {
				continue
			}
			if _, twice := source[out]; twice {
				return nil, fmt.Errorf("%s: %w", &nodes[i], malformed("value %s is defined twice", quote(out)))
			}
			source[out], wanted = i, true
		}
		if !wanted {
			return nil, fmt.Errorf("%s: %w", &nodes[i], malformed("no output has a name"))
		}
	}
	s := &sorter{nodes: nodes, source: source, state: make([]uint8, len(nodes))}
	for i := range nodes {
		if err := s.visit(i); err != nil {
			return nil, err
		}
	}
	return s.sorted, nil
}

// sorter walks from nodes to what they read.
type sorter struct {
	nodes  []graph.Node
	source map[string]int
	state  []uint8 // 0 untouched, 1 on the way, 2 sorted
	sorted []graph.Node
}

// step is a node on the way and the next of its inputs to look at.
type step struct{ node, input int }

// visit appends a node behind all that it depends on. The way is a list and no recursion: a chain may have a million nodes.
func (s *sorter) visit(first int) error {
	if s.state[first] == 2 {
		return nil
	}
	s.state[first] = 1
	for way := []step{{first, 0}}; len(way) > 0; {
		at := &way[len(way)-1]
		n := &s.nodes[at.node]
		if at.input == len(n.Inputs) {
			s.state[at.node] = 2
			s.sorted = append(s.sorted, *n)
			way = way[:len(way)-1]
			continue
		}
		name := n.Inputs[at.input]
		at.input++
		if name == "" {
			continue
		}
		from, defined := s.source[name]
		switch {
		case !defined:
			return fmt.Errorf("%s: %w", n, malformed("input %s is not defined", quote(name)))
		case from < 0 || s.state[from] == 2:
		case s.state[from] == 1:
			return fmt.Errorf("%s: %w", n, malformed("input %s depends on the node's own output: the graph has a cycle", quote(name)))
		default:
			s.state[from] = 1
			way = append(way, step{from, 0})
		}
	}
	return nil
}
