package graph

import "github.com/rebasin/rebasin/tensor"

// reduceOperators make one element of all along some axes.
var reduceOperators = map[string]operator{
	"ReduceMean": reduction,
	"ReduceSum":  reduction,
	"ReduceMax":  reduction,
	"ReduceMin":  reduction,
	"ReduceProd": reduction,
	"ReduceL2":   reduction,
}

var reduction = operator{
	inputs: between(1, 2), outputs: one, attrs: map[string]string{"keepdims": "INT", "noop_with_empty_axes": "INT"}, infer: reduce,
}

// ReduceAxes says, for each axis of a value of this rank, whether a node of a reduction, as ReduceMean, goes over it. Constants are those of
// [Graph.Constants].
func ReduceAxes(n *Node, rank int, constants map[string]*tensor.Tensor) ([]bool, error) {
	axes, err := n.axesOf(1, rank, constants)
	if err != nil {
		return nil, err
	}
	if len(axes) == 0 && n.Attrs.Int("noop_with_empty_axes", 0) == 0 {
		axes = allAxes(rank)
	}
	reduced := make([]bool, rank)
	for _, axis := range axes {
		reduced[axis] = true
	}
	return reduced, nil
}

func reduce(c *call) ([]Value, error) {
	reduced, err := ReduceAxes(c.node, c.shape(0).Rank(), c.constants)
	if err != nil {
		return nil, err
	}
	keep := c.node.Attrs.Int("keepdims", 1) != 0
	out := Shape{}
	for i, d := range c.shape(0) {
		switch {
		case !reduced[i]:
			out = append(out, d)
		case keep:
			out = append(out, Fixed(1))
		}
	}
	return c.result(out)
}
