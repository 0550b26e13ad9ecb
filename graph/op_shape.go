package graph

import (
	"fmt"
	"slices"
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
	"Squeeze":   {inputs: between(1, 2), outputs: one, infer: squeeze},
	"Unsqueeze": {inputs: two, outputs: one, infer: unsqueeze},
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
	target, err := c.extents(1)
	if err != nil {
		return nil, err
	}
	s, err := reshapeTo(c.shape(0), target, c.node.Attrs.Int("allowzero", 0) != 0)
	if err != nil {
		return nil, err
	}
	return c.result(s)
}

// reshapeTo resolves a target in which 0 copies the extent of the same axis (unless zeros are allowed to mean themselves) and one -1 takes
// what is left.
func reshapeTo(in, target Shape, allowZero bool) (Shape, error) {
	if len(target) > MaxRank {
		return nil, fmt.Errorf("rank %d of the target exceeds %d", len(target), MaxRank)
	}
	out, rest := make(Shape, len(target)), -1
	for i, n := range target {
		switch {
		case n == Fixed(0) && !allowZero && i < len(in):
			out[i] = in[i]
		case n == Fixed(-1) && rest < 0:
			out[i], rest = Fixed(1), i
		case n.Size > 0:
			out[i] = n
		default:
			return nil, fmt.Errorf("target %s: extent %s of axis %d is not possible for shape %s", target, n, i, in)
		}
	}
	have, err := in.Elements()
	if err != nil {
		return nil, err
	}
	named, err := out.Elements()
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", target, err)
	}
	left, ok := have.Div(named)
	if !ok || rest < 0 && !left.IsOne() {
		return nil, fmt.Errorf("shape %s has %s elements, which do not fill target %s", in, have, target)
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

// squeeze takes away axes of extent 1: those of a constant list, else all.
func squeeze(c *call) ([]Value, error) {
	in := c.shape(0)
	axes, err := c.node.axesOf(1, in.Rank(), c.constants)
	if err != nil {
		return nil, err
	}
	out := Shape{}
	for i, d := range in {
		gone := slices.Contains(axes, i)
		switch {
		case gone && !d.IsOne():
			return nil, fmt.Errorf("axis %d of input %q of shape %s is not of extent 1", i, c.node.Input(0), in)
		case !gone && (c.has(1) || !d.IsOne()):
			out = append(out, d)
		}
	}
	return c.result(out)
}

// unsqueeze puts axes of extent 1 at the places of the result that a constant list names.
func unsqueeze(c *call) ([]Value, error) {
	list, err := c.node.list(1, c.constants)
	if err != nil {
		return nil, err
	}
	rank := c.shape(0).Rank() + len(list)
	if rank > MaxRank {
		return nil, fmt.Errorf("rank %d exceeds %d", rank, MaxRank)
	}
	axes, err := c.node.axesOf(1, rank, c.constants)
	if err != nil {
		return nil, err
	}
	out, rest := make(Shape, rank), c.shape(0)
	for i := range out {
		if slices.Contains(axes, i) {
			out[i] = Fixed(1)
			continue
		}
		out[i], rest = rest[0], rest[1:]
	}
	return c.result(out)
}
