package nn

import (
	"errors"
	"fmt"

	"github.com/rebasin/rebasin/graph"
)

// errSpatialAxes is what pooling over volumes gives.
var errSpatialAxes = errors.New("more than two spatial axes are not supported")

// partOperators put values together and take parts of them.
func partOperators[T Float]() map[string]operator[T] {
	return map[string]operator[T]{
		"Concat": {compile: compileConcat[T]},
		"Pad":    {compile: compilePad[T], data: 1},
		"Slice":  {compile: compileSlice[T], data: 1},
	}
}

// transfer copies a box of elements between two tensors. It walks the axes of the box, knowing how far apart neighbours lie in both; axes that
// are neighbours in both are one.
type transfer struct {
	extents    []int
	from, to   []int // strides
	fromOffset int
	toOffset   int
}

// newTransfer has the box's extents, and for both tensors their shape, the first element along each axis, and the steps, nil meaning ones.
func newTransfer(box, from, fromFirst, fromStep, to, toFirst []int) *transfer {
	t := &transfer{}
	fromStride, toStride := 1, 1
	for i := len(box) - 1; i >= 0; i-- {
		step := 1
		if fromStep != nil {
			step = fromStep[i]
		}
		t.fromOffset += fromFirst[i] * fromStride
		t.toOffset += toFirst[i] * toStride
		t.add(box[i], step*fromStride, toStride)
		fromStride *= from[i]
		toStride *= to[i]
	}
	if len(t.extents) == 0 {
		t.extents, t.from, t.to = []int{1}, []int{1}, []int{1}
	}
	return t
}

// add puts an axis before those that are there; the last axis of the box is the first in the lists.
func (t *transfer) add(extent, from, to int) {
	last := len(t.extents) - 1
	switch {
	case extent == 1:
	case last >= 0 && t.from[last]*t.extents[last] == from && t.to[last]*t.extents[last] == to:
		t.extents[last] *= extent
	default:
		t.extents, t.from, t.to = append(t.extents, extent), append(t.from, from), append(t.to, to)
	}
}

// reversed copies back.
func (t *transfer) reversed() *transfer {
	return &transfer{extents: t.extents, from: t.to, to: t.from, fromOffset: t.toOffset, toOffset: t.fromOffset}
}

// outer is the extent of the outermost axis, along which work is cut, and inner what stands behind one step along it.
func (t *transfer) outer() int { return t.extents[len(t.extents)-1] }

func (t *transfer) inner() int { return elements(t.extents[:len(t.extents)-1]) }

// transferPart copies what stands from lo to hi of the outermost axis.
func transferPart[T Float](t *transfer, dst, src []T, lo, hi int) {
	axis := len(t.extents) - 1
	transferAxis(t, axis, dst, src, t.toOffset+lo*t.to[axis], t.fromOffset+lo*t.from[axis], hi-lo)
}

// transferAxis copies n steps along an axis.
func transferAxis[T Float](t *transfer, axis int, dst, src []T, to, from, n int) {
	fromStep, toStep := t.from[axis], t.to[axis]
	switch {
	case axis > 0:
		for i := range n {
			transferAxis(t, axis-1, dst, src, to+i*toStep, from+i*fromStep, t.extents[axis-1])
		}
	case fromStep == 1 && toStep == 1:
		copy(dst[to:to+n], src[from:from+n])
	default:
		for i := range n {
			dst[to+i*toStep] = src[from+i*fromStep]
		}
	}
}

// transferInput makes the halves of a step that copies input i to the output by t, and its gradient back.
func (c *call[T]) transferInput(i int, t *transfer) (forward, backward func()) {
	x, y := c.x(i), c.y()
	forward = c.parallel(t.outer(), t.inner(), func(lo, hi int) { transferPart(t, y.data, x.data, lo, hi) })
	dx, dy := c.dx(i), c.dy()
	if dx == nil {
		return forward, func() {}
	}
	back := t.reversed()
	whole := elements(t.extents) == c.in[i].n
	run := c.parallel(back.outer(), back.inner(), func(lo, hi int) { transferPart(back, dx.begin(), dy.data, lo, hi) })
	return forward, func() {
		if !whole { // what was cut off has no gradient
			clear(dx.begin())
		}
		run()
		dx.end()
	}
}

func compileConcat[T Float](c *call[T]) (step, error) {
	axis, err := graph.Axis(c.node.Attrs.Int("axis", 0), len(c.out.shape))
	if err != nil {
		return step{}, err
	}
	var forward, backward []func()
	at := make([]int, len(c.out.shape))
	for i, v := range c.in {
		f, b := c.transferInput(i, newTransfer(v.shape, v.shape, make([]int, len(v.shape)), nil, c.out.shape, at))
		forward, backward = append(forward, f), append(backward, b)
		at[axis] += v.shape[axis]
	}
	return c.sequence(forward, backward), nil
}

// sequence runs functions one after the other.
func (c *call[T]) sequence(forward, backward []func()) step {
	run := func(all []func()) func() {
		return func() {
			for _, f := range all {
				f()
			}
		}
	}
	s := step{forward: run(forward)}
	if c.backward {
		s.backward = run(backward)
	}
	return s
}

// compilePad surrounds a value with a constant, or cuts off what negative pads say.
func compilePad[T Float](c *call[T]) (step, error) {
	if mode := c.node.Attrs.String("mode", "constant"); mode != "constant" {
		return step{}, fmt.Errorf("mode %q is not supported", mode)
	}
	before, after, err := graph.PadAmounts(&c.node.Node, len(c.out.shape), c.planner.engine.net.constants)
	if err != nil {
		return step{}, err
	}
	value, err := c.setting(2, 0)
	if err != nil {
		return step{}, err
	}
	shape := c.shape(0)
	box, from, to := make([]int, len(shape)), make([]int, len(shape)), make([]int, len(shape))
	for i, extent := range shape {
		box[i] = max(0, extent+min(before[i], 0)+min(after[i], 0))
		from[i], to[i] = max(0, -before[i]), max(0, before[i])
	}
	y := c.y()
	forward, backward := c.transferInput(0, newTransfer(box, shape, from, nil, c.out.shape, to))
	surround := func() {}
	if elements(box) < c.out.n {
		surround = c.parallel(c.out.n, 1, func(lo, hi int) { fill(y.data[lo:hi], T(value)) })
	}
	return c.sequence([]func(){surround, forward}, []func(){backward}), nil
}

func compileSlice[T Float](c *call[T]) (step, error) {
	shape := c.shape(0)
	ranges, err := graph.SliceRanges(&c.node.Node, graph.ShapeOf(shape...), c.planner.engine.net.constants)
	if err != nil {
		return step{}, err
	}
	first, steps := make([]int, len(shape)), make([]int, len(shape))
	for i, r := range ranges {
		first[i], steps[i] = r.First, r.Step
	}
	forward, backward := c.transferInput(0, newTransfer(c.out.shape, shape, first, steps, c.out.shape, make([]int, len(shape))))
	return c.sequence([]func(){forward}, []func(){backward}), nil
}

// setting is a scalar input that must be a constant, or what it is when absent.
func (c *call[T]) setting(i int, absent float64) (float64, error) {
	name := c.node.Input(i)
	if name == "" {
		return absent, nil
	}
	t, ok := c.constants()[name]
	if !ok || t.Len() != 1 {
		return 0, fmt.Errorf("input %d, %q, is not a constant scalar", i, name)
	}
	v, err := convert[T](t)
	if err != nil {
		return 0, fmt.Errorf("input %d, %q: %w", i, name, err)
	}
	return float64(v[0]), nil
}
