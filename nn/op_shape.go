package nn

import (
	"math"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/tensor"
)

// shapeOperators rearrange elements. Shape inference has said what shapes result; Constant nodes have no entry: their values are there
// before anything runs.
func shapeOperators[T Float]() map[string]operator[T] {
	return map[string]operator[T]{
		"Identity":  {compile: compileView[T]},
		"Flatten":   {compile: compileView[T]},
		"Reshape":   {compile: compileView[T], data: 1},
		"Transpose": {compile: compileTranspose[T]},
		"Squeeze":   {compile: compileView[T], data: 1},
		"Unsqueeze": {compile: compileView[T], data: 1},
		"Cast":      {compile: compileCast[T]},
	}
}

func compileView[T Float](c *call[T]) (step, error) { return c.view(), nil }

// compileCast cuts off the fractions of what becomes an integer, and makes a truth of what is not 0. All else stays as it is: whatever the type of a
// float in the graph, the engine computes in T.
func compileCast[T Float](c *call[T]) (step, error) {
	from := c.planner.engine.net.values[c.node.Inputs[0]].DType
	switch to := c.dtype(); {
	case to == tensor.Bool && from != tensor.Bool:
		return c.unary(unary[T]{forward: mapped[T](func(x float64) float64 { return truth(x != 0) })}), nil
	case !to.IsFloat() && from.IsFloat():
		return c.unary(unary[T]{forward: mapped[T](math.Trunc)}), nil
	}
	return c.view(), nil
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func compileTranspose[T Float](c *call[T]) (step, error) {
	perm, err := graph.Perm(&c.node.Node, len(c.out.shape))
	if err != nil {
		return step{}, err
	}
	there := newPermutation(c.shape(0), perm)
	x, y, dy, dx := c.x(0), c.y(), c.dy(), c.dx(0)
	s := step{forward: c.permute(func() []T { return y.data }, x, there)}
	if dx != nil {
		inverse := make([]int, len(perm))
		for i, p := range perm {
			inverse[p] = i
		}
		back := newPermutation(c.out.shape, inverse)
		run := c.permute(dx.begin, dy, back)
		s.backward = func() {
			run()
			dx.end()
		}
	}
	return s, nil
}

// permute runs a permutation, on all threads unless it is that of a matrix, cut along the first axis of the result.
func (c *call[T]) permute(dst func() []T, src *buffer[T], p permutation) func() {
	if len(p.extents) == 1 || p.isTransposition() {
		return func() { permute(dst(), src.data, p) }
	}
	tail := p.tail()
	return c.parallel(p.extents[0], p.blocks[0], func(lo, hi int) {
		for i := lo; i < hi; i++ {
			permute(dst()[i*p.blocks[0]:], src.data[i*p.strides[0]:], tail)
		}
	})
}

// permutation walks the axes of a result in order, knowing how far apart neighbours lie in the source.
type permutation struct{ extents, strides, blocks []int }

// newPermutation makes axis perm[i] of a tensor axis i of the result. Axes of extent 1 are left out, and axes that stay neighbours become
// one.
func newPermutation(shape []int, perm []int) permutation {
	stride := make([]int, len(shape))
	for i, s := len(shape)-1, 1; i >= 0; i-- {
		stride[i] = s
		s *= shape[i]
	}
	var p permutation
	for _, axis := range perm {
		last := len(p.extents) - 1
		switch {
		case shape[axis] == 1:
		case last >= 0 && p.strides[last] == stride[axis]*shape[axis]:
			p.extents[last] *= shape[axis]
			p.strides[last] = stride[axis]
		default:
			p.extents, p.strides = append(p.extents, shape[axis]), append(p.strides, stride[axis])
		}
	}
	if len(p.extents) == 0 {
		p.extents, p.strides = []int{1}, []int{1}
	}
	p.blocks = make([]int, len(p.extents))
	for i, block := len(p.extents)-1, 1; i >= 0; i-- {
		p.blocks[i] = block
		block *= p.extents[i]
	}
	return p
}

// isTransposition says that what is left is a matrix to be transposed.
func (p permutation) isTransposition() bool {
	return len(p.extents) == 2 && p.strides[0] == 1 && p.strides[1] == p.extents[0]
}

func (p permutation) tail() permutation {
	return permutation{extents: p.extents[1:], strides: p.strides[1:], blocks: p.blocks[1:]}
}

func permute[T Float](dst, src []T, p permutation) {
	n, stride := p.extents[0], p.strides[0]
	switch {
	case p.isTransposition():
		kernel.Transpose(dst[:n*p.extents[1]], src[:n*p.extents[1]], p.extents[1], n)
	case len(p.extents) > 1:
		tail := p.tail()
		for i := range n {
			permute(dst[i*p.blocks[0]:], src[i*stride:], tail)
		}
	case stride == 1:
		copy(dst[:n], src[:n])
	default:
		for i := range n {
			dst[i] = src[i*stride]
		}
	}
}
