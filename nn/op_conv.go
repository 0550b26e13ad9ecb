package nn

import (
	"fmt"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/internal/kernel"
)

func convOperators[T Float]() map[string]operator[T] {
	return map[string]operator[T]{"Conv": {compile: compileConv[T]}}
}

// convolution is Y = W * X + B, with the Relu behind it where one was fused. X is [N, In, rows, columns] or, with one spatial axis, [N, In, columns]; W is
// [Out, In/group, ...].
type convolution[T Float] struct {
	shape kernel.ConvShape
	conv  *kernel.Conv[T]
	pool  *kernel.Pool
	out   [2]int
}

func compileConv[T Float](c *call[T]) (step, error) {
	shape, err := convShape(c)
	if err != nil {
		return step{}, err
	}
	engine := c.planner.engine
	v := &convolution[T]{shape: shape, conv: kernel.NewConv(shape, &engine.convs), pool: engine.pool, out: shape.OutSize()}
	c.planner.convs = append(c.planner.convs, v.conv)
	x, w, y := c.x(0), c.x(1), c.y()
	bias := func() []T { return nil }
	if c.has(2) {
		b := c.x(2)
		bias = func() []T { return b.data }
	}
	relu := func() {}
	if c.node.relu {
		relu = c.parallel(c.out.n, 1, func(lo, hi int) { kernel.Relu(y.data[lo:hi], y.data[lo:hi]) })
	}
	s := step{forward: func() {
		v.conv.Forward(v.pool, x.data, w.data, bias(), y.data)
		relu()
	}}
	if c.backward {
		s.backward = v.backward(c)
	}
	return s, nil
}

// backward writes the gradients of bias, weights and input, in this order.
func (v *convolution[T]) backward(c *call[T]) func() {
	x, w, y, dy := c.x(0), c.x(1), c.y(), c.dy()
	dX, dW := c.dx(0), c.dx(1)
	c.adds, c.order = true, []int{2, 1, 0}
	unRelu, biasGrad := func() {}, func() {}
	if c.node.relu {
		c.keepY()
		unRelu = c.parallel(c.out.n, 1, func(lo, hi int) { kernel.ReluGrad(dy.data[lo:hi], dy.data[lo:hi], y.data[lo:hi]) })
	}
	if c.wants(2) {
		biasGrad = c.channelSums(c.dx(2), dy, v.shape.Batch, v.shape.Out, v.out[0]*v.out[1])
	}
	if dX != nil {
		c.keepX(1)
	}
	if dW != nil {
		c.keepX(0)
	}
	return func() {
		unRelu()
		biasGrad()
		if dW != nil {
			v.conv.WeightGrad(v.pool, x.data, dy.data, dW.into.data, dW.beta())
		}
		if dX != nil {
			v.conv.InputGrad(v.pool, dy.data, w.data, dX.into.data, dX.beta())
		}
	}
}

// channelSums adds the sums of src, [batch, channels, pixels], over batch and pixels to d, accumulated in float64 from image to image.
func (c *call[T]) channelSums(d *sink[T], src *buffer[T], batch, channels, pixels int) func() {
	return c.parallel(channels, batch*pixels, func(lo, hi int) {
		for channel := lo; channel < hi; channel++ {
			sum := 0.0
			for n := range batch {
				sum += kernel.Sum(src.data[(n*channels+channel)*pixels:][:pixels])
			}
			if d.add {
				sum += float64(d.into.data[channel])
			}
			d.into.data[channel] = T(sum)
		}
	})
}

// convShape reads the geometry of a Conv node. One spatial axis counts as columns of a single row.
func convShape[T Float](c *call[T]) (kernel.ConvShape, error) {
	x, w := c.shape(0), c.shape(1)
	axes := len(x) - 2
	if axes > 2 {
		return kernel.ConvShape{}, fmt.Errorf("input of shape %v: convolutions have one or two spatial axes here", x)
	}
	window, err := graph.WindowOf(&c.node.Node, x[2:], w[2:])
	if err != nil {
		return kernel.ConvShape{}, err
	}
	s := kernel.ConvShape{
		Batch: x[0], In: x[1], Out: w[0], Groups: int(c.node.Attrs.Int("group", 1)),
		Size: [2]int{1, 1}, Kernel: [2]int{1, 1}, Stride: [2]int{1, 1}, Dilation: [2]int{1, 1},
	}
	for i := range axes {
		to := 2 - axes + i
		s.Size[to], s.Kernel[to], s.Stride[to], s.Dilation[to] = x[2+i], w[2+i], window.Stride[i], window.Dilation[i]
		s.Pads[to], s.Pads[to+2] = window.Before[i], window.After[i]
	}
	if !s.Fits() {
		return kernel.ConvShape{}, fmt.Errorf("an image of %v with %d and %d channels is too large", s.Size, s.In, s.Out)
	}
	return s, nil
}
