package nn

import (
	"errors"
	"fmt"
	"math"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/tensor"
)

// spatialOperators enlarge and fold images.
func spatialOperators[T Float]() map[string]operator[T] {
	return map[string]operator[T]{
		"ConvTranspose": {compile: compileConvTranspose[T]},
		"Resize":        {compile: compileResize[T], data: 1},
		"DepthToSpace":  {compile: compileFolded[T]},
		"SpaceToDepth":  {compile: compileFolded[T]},
	}
}

// compileConvTranspose is the gradient of a convolution by its input, that of an image Y with weights W to X; its own gradients are that convolution, and
// its gradient by the weights.
func compileConvTranspose[T Float](c *call[T]) (step, error) {
	shape, err := transposedShape(c)
	if err != nil {
		return step{}, err
	}
	engine := c.planner.engine
	conv := kernel.NewConv(shape, &engine.convs)
	c.planner.convs = append(c.planner.convs, conv)
	x, w, y := c.x(0), c.x(1), c.y()
	pixels := c.out.n / (c.out.shape[0] * c.out.shape[1])
	addBias := func() {}
	if c.has(2) {
		b := c.x(2)
		addBias = c.parallel(c.out.n/pixels, pixels, func(lo, hi int) {
			for plane := lo; plane < hi; plane++ {
				kernel.Affine[T]{Scale: 1, Bias: b.data[plane%shape.In]}.Apply(y.data[plane*pixels:][:pixels], y.data[plane*pixels:][:pixels])
			}
		})
	}
	s := step{forward: func() {
		conv.InputGrad(engine.pool, x.data, w.data, y.data, 0)
		addBias()
	}}
	if !c.backward {
		return s, nil
	}
	dX, dW, dy := c.dx(0), c.dx(1), c.dy()
	c.adds, c.order = true, []int{2, 1, 0}
	biasGrad := func() {}
	if c.wants(2) {
		biasGrad = c.channelSums(c.dx(2), dy, shape.Batch, shape.In, pixels)
	}
	var whole *buffer[T] // the gradient of X, where it is to be added to another one
	if dX != nil {
		c.keepX(1)
		whole = c.scratchBack(c.in[0].n)
	}
	if dW != nil {
		c.keepX(0)
	}
	s.backward = func() {
		biasGrad()
		if dW != nil {
			conv.WeightGrad(engine.pool, dy.data, x.data, dW.into.data, dW.beta())
		}
		if dX != nil {
			conv.Forward(engine.pool, dy.data, w.data, nil, whole.data)
			if dX.add {
				kernel.Add(dX.into.data, dX.into.data, whole.data)
			} else {
				copy(dX.into.data, whole.data)
			}
		}
	}
	return s, nil
}

// transposedShape is the geometry of the convolution that a ConvTranspose turns around.
func transposedShape[T Float](c *call[T]) (kernel.ConvShape, error) {
	x, w := c.shape(0), c.shape(1)
	axes := len(x) - 2
	if axes > 2 {
		return kernel.ConvShape{}, fmt.Errorf("input of shape %v: convolutions have one or two spatial axes here", x)
	}
	window, err := graph.TransposedWindowOf(&c.node.Node, x[2:], w[2:])
	if err != nil {
		return kernel.ConvShape{}, err
	}
	s := kernel.ConvShape{
		Batch: x[0], In: c.out.shape[1], Out: x[1], Groups: int(c.node.Attrs.Int("group", 1)),
		Size: [2]int{1, 1}, Kernel: [2]int{1, 1}, Stride: [2]int{1, 1}, Dilation: [2]int{1, 1},
	}
	for i := range axes {
		to := 2 - axes + i
		s.Size[to], s.Kernel[to], s.Stride[to], s.Dilation[to] = window.Out[i], w[2+i], window.Stride[i], window.Dilation[i]
		s.Pads[to], s.Pads[to+2] = window.Before[i], window.After[i]
		if reach := (w[2+i]-1)*window.Dilation[i] + 1; (window.Out[i]+window.Before[i]+window.After[i]-reach)/window.Stride[i]+1 != x[2+i] {
			return kernel.ConvShape{}, errors.New("more padding of the output than its stride is not supported")
		}
	}
	if !s.Fits() {
		return kernel.ConvShape{}, fmt.Errorf("an image of %v with %d and %d channels is too large", s.Size, s.In, s.Out)
	}
	return s, nil
}

// compileFolded is a Transpose of more axes.
func compileFolded[T Float](c *call[T]) (step, error) {
	first, perm, err := graph.FoldedShapes(&c.node.Node, graph.ShapeOf(c.shape(0)...))
	if err != nil {
		return step{}, err
	}
	shape, _ := first.Fixed()
	x, y, dy, dx := c.x(0), c.y(), c.dy(), c.dx(0)
	s := step{forward: c.permute(func() []T { return y.data }, x, newPermutation(shape, perm))}
	if dx == nil {
		return s, nil
	}
	turned, inverse := make(tensor.Shape, len(perm)), make([]int, len(perm))
	for i, p := range perm {
		turned[i], inverse[p] = shape[p], i
	}
	back := c.permute(dx.begin, dy, newPermutation(turned, inverse))
	s.backward = func() {
		back()
		dx.end()
	}
	return s, nil
}

// tap is an element of an axis that an interpolated one is made of, and its weight.
type tap struct {
	from   int
	weight float64
}

// resized is one axis of a value that is read at other places: of each new element, up to two taps.
type resized struct {
	outer, from, to, inner int
	taps                   [][]tap
}

// compileResize reads one axis after the other, linear interpolation over several being a product.
func compileResize[T Float](c *call[T]) (step, error) {
	axes, err := c.resizedAxes()
	if err != nil {
		return step{}, err
	}
	if len(axes) == 0 {
		return c.view(), nil
	}
	x, y, dy, dx := c.x(0), c.y(), c.dy(), c.dx(0)
	values := []*buffer[T]{x}
	for _, a := range axes[:len(axes)-1] {
		values = append(values, c.scratch(a.outer*a.to*a.inner))
	}
	values = append(values, y)
	var forward, backward []func()
	for i, a := range axes {
		from, to := values[i], values[i+1]
		forward = append(forward, c.parallel(a.outer, a.to*a.inner, func(lo, hi int) { interpolate(a, to.data, from.data, lo, hi) }))
	}
	if dx == nil {
		return c.sequence(forward, nil), nil
	}
	grads := []func() []T{dx.begin}
	for _, a := range axes[:len(axes)-1] {
		b := c.scratchBack(a.outer * a.to * a.inner)
		grads = append(grads, func() []T { return b.data })
	}
	grads = append(grads, func() []T { return dy.data })
	for i := len(axes) - 1; i >= 0; i-- {
		a := axes[i]
		backward = append(backward, c.parallel(a.outer, a.to*a.inner, func(lo, hi int) { spread(a, grads[i](), grads[i+1](), lo, hi) }))
	}
	return c.sequence(forward, append(backward, dx.end)), nil
}

// interpolate makes the outer indices from lo to hi of an axis.
func interpolate[T Float](a resized, to, from []T, lo, hi int) {
	for o := lo; o < hi; o++ {
		for i, taps := range a.taps {
			row := to[(o*a.to+i)*a.inner:][:a.inner]
			clear(row)
			for _, t := range taps {
				kernel.Axpy(T(t.weight), from[(o*a.from+t.from)*a.inner:][:a.inner], row)
			}
		}
	}
}

// spread is the transpose of interpolate.
func spread[T Float](a resized, dFrom, dTo []T, lo, hi int) {
	clear(dFrom[lo*a.from*a.inner : hi*a.from*a.inner])
	for o := lo; o < hi; o++ {
		for i, taps := range a.taps {
			for _, t := range taps {
				kernel.Axpy(T(t.weight), dTo[(o*a.to+i)*a.inner:][:a.inner], dFrom[(o*a.from+t.from)*a.inner:][:a.inner])
			}
		}
	}
}

func (c *call[T]) resizedAxes() ([]resized, error) {
	attrs := c.node.Attrs
	mode := attrs.String("mode", "nearest")
	if mode != "nearest" && mode != "linear" || attrs.Int("antialias", 0) != 0 {
		return nil, fmt.Errorf("mode %q, or antialias, is not supported", mode)
	}
	shape, now := c.shape(0), c.shape(0).Clone()
	scales, err := graph.ResizeScales(&c.node.Node, len(shape), c.constants())
	if err != nil {
		return nil, err
	}
	var axes []resized
	for axis, to := range c.out.shape {
		from, scale := shape[axis], float64(to)/float64(shape[axis])
		if scales != nil {
			scale = scales[axis]
		}
		if scale == 1 {
			continue
		}
		a := resized{outer: elements(now[:axis]), from: from, to: to, inner: elements(now[axis+1:])}
		for i := range to {
			at, err := resizedPlace(attrs.String("coordinate_transformation_mode", "half_pixel"), i, from, to, scale)
			if err != nil {
				return nil, err
			}
			taps := linearTaps(at, from)
			if mode == "nearest" {
				if taps, err = nearestTap(attrs.String("nearest_mode", "round_prefer_floor"), at, from); err != nil {
					return nil, err
				}
			}
			a.taps = append(a.taps, taps)
		}
		axes = append(axes, a)
		now[axis] = to
	}
	return axes, nil
}

// resizedPlace is where, on the old axis, element i of the new one lies, in the words of the ONNX specification.
func resizedPlace(mode string, i, from, to int, scale float64) (float64, error) {
	x := float64(i)
	switch mode {
	case "half_pixel":
		return (x+0.5)/scale - 0.5, nil
	case "pytorch_half_pixel":
		if to == 1 {
			return 0, nil
		}
		return (x+0.5)/scale - 0.5, nil
	case "half_pixel_symmetric":
		center := float64(from) / 2
		return center*(1-float64(to)/(float64(from)*scale)) + (x+0.5)/scale - 0.5, nil
	case "align_corners":
		if to == 1 {
			return 0, nil
		}
		return x * float64(from-1) / float64(to-1), nil
	case "asymmetric":
		return x / scale, nil
	}
	return 0, fmt.Errorf("coordinate_transformation_mode %q is not supported", mode)
}

func clampIndex(i float64, n int) int { return int(min(max(i, 0), float64(n-1))) }

func nearestTap(mode string, at float64, n int) ([]tap, error) {
	switch mode {
	case "round_prefer_floor":
		at = math.Ceil(at - 0.5)
	case "round_prefer_ceil":
		at = math.Floor(at + 0.5)
	case "floor":
		at = math.Floor(at)
	case "ceil":
		at = math.Ceil(at)
	default:
		return nil, fmt.Errorf("nearest_mode %q is not supported", mode)
	}
	return []tap{{clampIndex(at, n), 1}}, nil
}

// linearTaps are the neighbours of a place; beyond the ends the last element goes on.
func linearTaps(at float64, n int) []tap {
	low := math.Floor(at)
	return []tap{{clampIndex(low, n), 1 - (at - low)}, {clampIndex(low+1, n), at - low}}
}
