package nn

import (
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/internal/kernel"
)

// shapeOperators rearrange elements. Shape inference has said what shapes result; Constant nodes have no entry: their values are there
// before anything runs.
func shapeOperators[T Float]() map[string]operator[T] {
	return map[string]operator[T]{
		"Identity":  {compile: compileView[T]},
		"Flatten":   {compile: compileView[T]},
		"Reshape":   {compile: compileView[T], data: 1},
		"Transpose": {compile: compileTranspose[T]},
	}
}

func compileView[T Float](c *call[T]) (step, error) { return c.view(), nil }

func compileTranspose[T Float](c *call[T]) (step, error) {
	perm, err := graph.Perm(&c.node.Node, len(c.out.shape))
	if err != nil {
		return step{}, err
	}
	there := newPermutation(c.shape(0), perm)
	x, y, dy, dx := c.x(0), c.y(), c.dy(), c.dx(0)
	s := step{forward: func() { permute(y.data, x.data, there) }}
	if dx != nil {
		inverse := make([]int, len(perm))
		for i, p := range perm {
			inverse[p] = i
		}
		back := newPermutation(c.out.shape, inverse)
		s.backward = func() {
			permute(dx.begin(), dy.data, back)
			dx.end()
		}
	}
	return s, nil
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

func (p permutation) tail() permutation {
	return permutation{extents: p.extents[1:], strides: p.strides[1:], blocks: p.blocks[1:]}
}

func permute[T Float](dst, src []T, p permutation) {
	n, stride := p.extents[0], p.strides[0]
	switch {
	case len(p.extents) == 2 && stride == 1 && p.strides[1] == n:
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
