package nn

import (
	"slices"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// contractionOperators contract axes that an equation names.
func contractionOperators[T Float]() map[string]operator[T] {
	return map[string]operator[T]{"Einsum": {compile: compileEinsum[T]}}
}

// contraction adds to a tensor the products of elements of others, for all values of some labels.
type contraction struct {
	extents []int   // of the labels, those of the result first
	to      []int   // strides in the result
	from    [][]int // strides in each factor
}

// labelStrides are those of a tensor along each label; an axis twice of one label is its diagonal.
func labelStrides(labels []int, shape tensor.Shape, count int) []int {
	strides, stride := make([]int, count), 1
	for axis, k := range slices.Backward(labels) {
		strides[k] += stride
		stride *= shape[axis]
	}
	return strides
}

// newContraction puts the labels of the result, outermost first, before those that are summed over.
func newContraction(extents []int, result []int, to []int, from [][]int) contraction {
	var order []int
	for _, k := range result {
		if !slices.Contains(order, k) {
			order = append(order, k)
		}
	}
	for k := range extents {
		if !slices.Contains(order, k) {
			order = append(order, k)
		}
	}
	pick := func(list []int) []int {
		out := make([]int, len(order))
		for i, k := range order {
			out[i] = list[k]
		}
		return out
	}
	c := contraction{extents: pick(extents), to: pick(to)}
	for _, f := range from {
		c.from = append(c.from, pick(f))
	}
	return c
}

// contract goes along one label, then the next, from places at which the tensors stand.
func contract[T Float](c *contraction, label int, dst []T, to int, src [][]T, from []int) {
	if label == len(c.extents) {
		product := T(1)
		for i, s := range src {
			product *= s[from[i]]
		}
		dst[to] += product
		return
	}
	at := slices.Clone(from)
	for range c.extents[label] {
		contract(c, label+1, dst, to, src, at)
		to += c.to[label]
		for i := range at {
			at[i] += c.from[i][label]
		}
	}
}

// compileEinsum goes over all labels, the gradients, too, each being a contraction of that of the output with the other inputs.
func compileEinsum[T Float](c *call[T]) (step, error) {
	e, err := graph.EquationOf(&c.node.Node)
	if err != nil {
		return step{}, err
	}
	extents, strides := make([]int, e.Labels), make([][]int, len(c.in))
	for i, labels := range e.Inputs {
		strides[i] = labelStrides(labels, c.shape(i), e.Labels)
		for axis, k := range labels {
			extents[k] = c.shape(i)[axis]
		}
	}
	out := labelStrides(e.Output, c.out.shape, e.Labels)
	y, dy := c.y(), c.dy()
	data := func(skip int) func() [][]T {
		return func() [][]T {
			var list [][]T
			for i := range c.in {
				if i != skip {
					list = append(list, c.x(i).data)
				}
			}
			return list
		}
	}
	all := newContraction(extents, e.Output, out, strides)
	factors := data(-1)
	s := step{forward: func() {
		clear(y.data)
		contract(&all, 0, y.data, 0, factors(), make([]int, len(c.in)))
	}}
	if !c.backward {
		return s, nil
	}
	var steps []func()
	for i := range c.in {
		dx := c.dx(i)
		if dx == nil {
			continue
		}
		var from [][]int
		for j := range c.in {
			if j != i {
				c.keepX(j)
				from = append(from, strides[j])
			}
		}
		back, others := newContraction(extents, e.Inputs[i], strides[i], append(from, out)), data(i)
		steps = append(steps, func() {
			clear(dx.begin())
			contract(&back, 0, dx.begin(), 0, append(others(), dy.data), make([]int, len(c.in)))
			dx.end()
		})
	}
	s.backward = func() {
		for _, f := range steps {
			f()
		}
	}
	return s, nil
}
