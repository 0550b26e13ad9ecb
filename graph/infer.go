package graph

import (
	"errors"
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/tensor"
)

// ErrUnknownOperator is in the errors of InferShapes for operators that have no shape rule.
var ErrUnknownOperator = errors.New("operator has no shape rule")

// InferShapes derives the type and shape of every value, by name. The graph must be valid. An operator without a shape rule is an error,
// wrapping [ErrUnknownOperator], also where its outputs are declared.
func (g *Graph) InferShapes() (map[string]Value, error) {
	values, unknown, err := g.infer()
	if err == nil {
		err = unknown
	}
	if err != nil {
		return nil, fmt.Errorf("graph %q: %w", g.Name, err)
	}
	return values, nil
}

// PartialShapes derives what it can in a graph that may have operators without a shape rule, or shapes that are computed as the network runs:
// the values of their outputs are taken from Graph.Declared, and are absent from the result where nothing is declared, as is all that depends
// on them. Contradictions are errors still.
func (g *Graph) PartialShapes() (map[string]Value, error) {
	values, _, err := g.infer()
	if err != nil {
		return nil, fmt.Errorf("graph %q: %w", g.Name, err)
	}
	return values, nil
}

// errComputedShape is in the errors of rules that cannot say a shape because it depends on what the network computes.
var errComputedShape = errors.New("shape is not a constant")

// infer returns the values that can be known and the first reason why others are not.
func (g *Graph) infer() (values map[string]Value, unknown, err error) {
	values, _, unknown, err = g.inferAndFold()
	return values, unknown, err
}

// inferAndFold also returns the constants, and what follows from them, up to the first contradiction.
func (g *Graph) inferAndFold() (values map[string]Value, constants map[string]*tensor.Tensor, unknown, err error) {
	values = map[string]Value{}
	for _, list := range [][]Value{g.Inputs, g.Params} {
		for _, v := range list {
			values[v.Name] = v
		}
	}
	f, used := &folder{constants: map[string]*tensor.Tensor{}, lists: map[string]Shape{}}, g.uses()
	for i := range g.Nodes {
		n := &g.Nodes[i]
		err := g.apply(&call{node: n, constants: f.constants, lists: f.lists}, values, used, f)
		switch {
		case errors.Is(err, ErrUnknownOperator), errors.Is(err, errComputedShape), errors.Is(err, errUnknownInput):
			g.adopt(n, values)
			if unknown == nil {
				unknown = fmt.Errorf("%s: %w", n, err)
			}
		case err != nil:
			return nil, f.constants, nil, fmt.Errorf("%s: %w", n, err)
		}
	}
	return values, f.constants, unknown, nil
}

// uses is the set of names that some node or the graph's outputs read.
func (g *Graph) uses() map[string]bool {
	used := map[string]bool{}
	for _, n := range g.Nodes {
		for _, in := range n.Inputs {
			used[in] = true
		}
	}
	for _, out := range g.Outputs {
		used[out] = true
	}
	return used
}

// errUnknownInput follows from another of the errors that leave shapes unknown.
var errUnknownInput = errors.New("the shape of an input is unknown")

// bind looks up the inputs.
func (c *call) bind(values map[string]Value) error {
	c.in = make([]Value, len(c.node.Inputs))
	for i, name := range c.node.Inputs {
		if name == "" {
			continue
		}
		v, ok := values[name]
		if !ok {
			return fmt.Errorf("input %q: %w", name, errUnknownInput)
		}
		c.in[i] = v
	}
	return nil
}

// adopt takes the declared values of a node's outputs where inference cannot say.
func (g *Graph) adopt(n *Node, values map[string]Value) {
	for _, out := range n.Outputs {
		if d, ok := g.Declared[out]; ok {
			values[out] = d
		}
	}
}

// apply runs a shape rule and records what it gives.
func (g *Graph) apply(c *call, values map[string]Value, used map[string]bool, f *folder) error {
	op, ok := operators[c.node.Op]
	if !ok {
		return ErrUnknownOperator
	}
	if err := op.check(c.node); err != nil {
		return err
	}
	if err := c.bind(values); err != nil {
		return err
	}
	outs, err := op.infer(c)
	if err != nil {
		return err
	}
	for i, name := range c.node.Outputs {
		if i >= len(outs) {
			if name != "" && used[name] {
				return fmt.Errorf("output %d, %q, is used, which is not supported", i, name)
			}
			continue
		}
		if name == "" {
			continue
		}
		v := outs[i]
		v.Name, v.Shape = name, slices.Clip(v.Shape)
		if err := v.Shape.validate(leastExtent(c.node, v.DType)); err != nil {
			return fmt.Errorf("output %q: %w", name, err)
		}
		if d, ok := g.Declared[name]; ok && (d.DType != v.DType || !d.Shape.Equal(v.Shape)) {
			return fmt.Errorf("output %q is %v %s but declared as %v %s", name, v.DType, v.Shape, d.DType, d.Shape)
		}
		values[name] = v
		if i == 0 {
			f.fold(c, v)
		}
	}
	return nil
}

// leastExtent is 0 for constants, and where they are passed on or lists of extents are computed, since the target of a Reshape to a scalar is empty, and
// 1 for everything else.
func leastExtent(n *Node, d tensor.DType) int {
	if n.Op == "Constant" || n.Op == "Identity" || !d.IsFloat() {
		return 0
	}
	return 1
}

// Operators lists the operators that have a shape rule, sorted.
func Operators() []string { return sortedKeys(operators) }
