package nn

import (
	"slices"

	"github.com/rebasin/rebasin/tensor"
)

// repetition says how a tensor is repeated to a larger shape after NumPy. Neighbouring axes that are both repeated, or both not, are
// merged, so that a bias added to a matrix has two axes whatever it was made of.
type repetition struct {
	extents []int // of the larger shape
	strides []int // in the smaller tensor, 0 along repeated axes
	blocks  []int // in the larger tensor
}

// repeat describes how from is repeated to to, which it broadcasts to.
func repeat(from, to tensor.Shape) repetition {
	var r repetition
	stride := 1
	for i := len(to) - 1; i >= 0; i-- {
		extent, s := to[i], 0
		if extent == 1 {
			continue
		}
		if j := i - (len(to) - len(from)); j >= 0 && from[j] != 1 {
			s = stride
			stride *= extent
		}
		if last := len(r.extents) - 1; last >= 0 && (r.strides[last] == 0) == (s == 0) {
			r.extents[last] *= extent
			continue
		}
		r.extents, r.strides = append(r.extents, extent), append(r.strides, s)
	}
	if len(r.extents) == 0 {
		r.extents, r.strides = []int{1}, []int{1}
	}
	slices.Reverse(r.extents)
	slices.Reverse(r.strides)
	r.blocks = make([]int, len(r.extents))
	block := 1
	for i := len(r.extents) - 1; i >= 0; i-- {
		r.blocks[i] = block
		block *= r.extents[i]
	}
	return r
}

// none says that nothing is repeated: both tensors have their elements in the same order.
func (r repetition) none() bool { return len(r.extents) == 1 && r.strides[0] == 1 }

// rows says that a row is repeated under itself, as a bias is.
func (r repetition) rows() (rows, cols int, ok bool) {
	if len(r.extents) == 2 && r.strides[0] == 0 {
		return r.extents[0], r.extents[1], true
	}
	return 0, 0, false
}

// tail is the repetition along the axes after the first.
func (r repetition) tail() repetition {
	return repetition{extents: r.extents[1:], strides: r.strides[1:], blocks: r.blocks[1:]}
}

// expand writes the larger tensor.
func expand[E any](dst, src []E, r repetition) {
	n, stride := r.extents[0], r.strides[0]
	switch {
	case len(r.extents) > 1:
		tail := r.tail()
		for i := range n {
			expand(dst[i*r.blocks[0]:], src[i*stride:], tail)
		}
	case stride == 0:
		fill(dst[:n], src[0])
	default:
		copy(dst[:n], src[:n])
	}
}

// reduce sums the larger tensor src over the repeated axes, in the order of its elements: the transpose of expand.
func reduce[T Float](dst, src []T, r repetition) {
	clear(dst)
	addReduced(dst, src, r)
}

func addReduced[T Float](dst, src []T, r repetition) {
	n, stride := r.extents[0], r.strides[0]
	switch {
	case len(r.extents) > 1:
		tail := r.tail()
		for i := range n {
			addReduced(dst[i*stride:], src[i*r.blocks[0]:], tail)
		}
	case stride == 0:
		var sum T
		for _, v := range src[:n] {
			sum += v
		}
		dst[0] += sum
	default:
		dst = dst[:n]
		for i, v := range src[:n] {
			dst[i] += v
		}
	}
}

func fill[E any](dst []E, v E) {
	for i := range dst {
		dst[i] = v
	}
}

// elements is the number of elements of a shape whose product is known not to overflow.
func elements(s tensor.Shape) int {
	n := 1
	for _, extent := range s {
		n *= extent
	}
	return n
}

// broadcastShape is the shape to which both operands, known to broadcast, are repeated.
func broadcastShape(a, b tensor.Shape) tensor.Shape {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := a.Clone()
	for i, extent := range b {
		if j := len(a) - len(b) + i; out[j] == 1 {
			out[j] = extent
		}
	}
	return out
}
