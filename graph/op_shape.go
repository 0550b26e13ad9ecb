package graph

import (
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/tensor"
)

// shapeOperators make constants and rearrange elements.
var shapeOperators = map[string]operator{
	"Constant": {
		inputs: none, outputs: one,
		attrs: map[string]string{
			"value": "TENSOR", "value_int": "INT", "value_ints": "INTS", "value_float": "FLOAT", "value_floats": "FLOATS",
		},
		infer: constant,
	},
	"Flatten":   {inputs: one, outputs: one, attrs: map[string]string{"axis": "INT"}, infer: flatten},
	"Reshape":   {inputs: two, outputs: one, attrs: map[string]string{"allowzero": "INT"}, infer: reshape},
	"Transpose": {inputs: one, outputs: one, attrs: map[string]string{"perm": "INTS"}, infer: transpose},
}

func constant(c *call) ([]Value, error) {
	t, err := c.node.Attrs.constant()
	if err != nil {
		return nil, err
	}
	return []Value{{DType: t.DType(), Shape: ShapeOf(t.Shape()...)}}, nil
}

// flatten makes a matrix: the axes before axis by the axes from it on. Unlike elsewhere axis may be the rank.
func flatten(c *call) ([]Value, error) {
	axis, err := FlattenAxis(c.node, c.shape(0).Rank())
	if err != nil {
		return nil, err
	}
	rows, err := c.shape(0)[:axis].Elements()
	if err != nil {
		return nil, err
	}
	cols, err := c.shape(0)[axis:].Elements()
	if err != nil {
		return nil, err
	}
	return c.result(Shape{rows, cols})
}

// FlattenAxis is the number of axes that a Flatten node folds into the rows of its result.
func FlattenAxis(n *Node, rank int) (int, error) {
	axis := n.Attrs.Int("axis", 1)
	if axis == int64(rank) {
		return rank, nil
	}
	return Axis(axis, rank)
}

func reshape(c *call) ([]Value, error) {
	t, ok := c.constants[c.node.Input(1)]
	if !ok {
		return nil, fmt.Errorf("target %q: %w", c.node.Input(1), errComputedShape)
	}
	if t.DType() != tensor.I64 || len(t.Shape()) != 1 {
		return nil, fmt.Errorf("target shape %q is %v %v, not a list of I64", c.node.Input(1), t.DType(), t.Shape())
	}
	s, err := reshapeTo(c.shape(0), tensor.Of[int64](t), c.node.Attrs.Int("allowzero", 0) != 0)
	if err != nil {
		return nil, err
	}
	return c.result(s)
}

// reshapeTo resolves a target in which 0 copies the extent of the same axis (unless zeros are allowed to mean themselves) and one -1 takes
// what is left.
func reshapeTo(in Shape, target []int64, allowZero bool) (Shape, error) {
	if len(target) > MaxRank {
		return nil, fmt.Errorf("rank %d of the target exceeds %d", len(target), MaxRank)
	}
	out, rest := make(Shape, len(target)), -1
	for i, n := range target {
		switch {
		case n == 0 && !allowZero && i < len(in):
			out[i] = in[i]
		case n == -1 && rest < 0:
			out[i], rest = Fixed(1), i
		case n > 0 && int64(int(n)) == n:
			out[i] = Fixed(int(n))
		default:
			return nil, fmt.Errorf("target %v: extent %d of axis %d is not possible for shape %s", target, n, i, in)
		}
	}
	have, err := in.Elements()
	if err != nil {
		return nil, err
	}
	named, err := out.Elements()
	if err != nil {
		return nil, fmt.Errorf("target %v: %w", target, err)
	}
	left, ok := have.Div(named)
	if !ok || rest < 0 && !left.IsOne() {
		return nil, fmt.Errorf("shape %s has %s elements, which do not fill target %v", in, have, target)
	}
	if rest >= 0 {
		out[rest] = left
	}
	return out, nil
}

func transpose(c *call) ([]Value, error) {
	perm, err := Perm(c.node, c.shape(0).Rank())
	if err != nil {
		return nil, err
	}
	out := make(Shape, len(perm))
	for i, p := range perm {
		out[i] = c.shape(0)[p]
	}
	return c.result(out)
}

// Perm is the order of axes of a Transpose node: axis i of the result is axis Perm[i] of the input. Without the attribute it reverses them.
func Perm(n *Node, rank int) ([]int, error) {
	perm := make([]int, rank)
	attr := n.Attrs.Ints("perm")
	if !n.Attrs.Has("perm") {
		for i := range perm {
			perm[i] = rank - 1 - i
		}
		return perm, nil
	}
	if len(attr) != rank {
		return nil, fmt.Errorf("attribute perm %v does not fit rank %d", attr, rank)
	}
	for i, p := range attr {
		if p < 0 || p >= int64(rank) || slices.Contains(attr[:i], p) {
			return nil, fmt.Errorf("attribute perm %v is not an order of %d axes", attr, rank)
		}
		perm[i] = int(p)
	}
	return perm, nil
}
