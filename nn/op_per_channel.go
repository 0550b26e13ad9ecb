package nn

import "github.com/rebasin/rebasin/internal/kernel"

// perChannel is an Add or Mul of which each element of one operand stands for planes of the other one, as [C, 1, 1] does for [N, C, H, W]: a map of
// each plane by itself, which needs no operand at the output's shape.
type perChannel[T Float] struct {
	x, other               int // inputs: the planes, and what has one element for each channel
	planes, channels, size int
	multiply               bool
	sums                   []float64 // backward, of each plane: what it adds to the gradient of the other operand
}

// perChannel recognises such a node.
func (c *call[T]) perChannel(rep [2]repetition) (*perChannel[T], bool) {
	if c.node.Op != "Add" && c.node.Op != "Mul" {
		return nil, false
	}
	for other, r := range rep {
		last := len(r.extents) - 1
		if !rep[1-other].none() || last < 1 || last > 2 || r.strides[last] != 0 || r.strides[last-1] != 1 {
			continue
		}
		return &perChannel[T]{
			x: 1 - other, other: other, multiply: c.node.Op == "Mul",
			planes: c.out.n / r.extents[last], channels: r.extents[last-1], size: r.extents[last],
		}, true
	}
	return nil, false
}

func (p *perChannel[T]) plane(b []T, plane int) []T { return b[plane*p.size:][:p.size] }

func (p *perChannel[T]) step(c *call[T]) step {
	x, other, y := c.x(p.x), c.x(p.other), c.y()
	c.inPlace = []int{p.x}
	s := step{forward: c.parallel(p.planes, p.size, func(lo, hi int) {
		for plane := lo; plane < hi; plane++ {
			p.apply(p.plane(y.data, plane), p.plane(x.data, plane), other.data[plane%p.channels])
		}
	})}
	if c.backward {
		s.backward = p.backward(c)
	}
	return s
}

func (p *perChannel[T]) apply(y, x []T, v T) {
	a := kernel.Affine[T]{Scale: 1, Bias: v}
	if p.multiply {
		a = kernel.Affine[T]{Scale: v}
	}
	a.Apply(y, x)
}

// backward writes the gradient of the planes after it has read all else, so that it may take the memory of dy.
func (p *perChannel[T]) backward(c *call[T]) func() {
	dX, dOther := c.dx(p.x), c.dx(p.other)
	c.order, c.reuse = []int{p.other, p.x}, []int{p.x}
	if p.multiply && dOther != nil {
		c.keepX(p.x)
	}
	if p.multiply && dX != nil {
		c.keepX(p.other)
	}
	p.sums = make([]float64, p.planes)
	var steps []func()
	if dOther != nil {
		steps = append(steps, p.sumPlanes(c), func() { p.total(dOther.begin()) }, dOther.end)
	}
	if dX != nil {
		steps = append(steps, p.planeGrads(c, dX), dX.end)
	}
	return func() {
		for _, s := range steps {
			s()
		}
	}
}

// sumPlanes sums dy of each plane, or dy·x.
func (p *perChannel[T]) sumPlanes(c *call[T]) func() {
	x, dy := c.x(p.x), c.dy()
	return c.parallel(p.planes, p.size, func(lo, hi int) {
		for plane := lo; plane < hi; plane++ {
			g := p.plane(dy.data, plane)
			if p.multiply {
				p.sums[plane] = kernel.Dot(g, p.plane(x.data, plane))
			} else {
				p.sums[plane] = kernel.Sum(g)
			}
		}
	})
}

// total adds the planes of each channel in order.
func (p *perChannel[T]) total(d []T) {
	for channel := range p.channels {
		sum := 0.0
		for plane := channel; plane < p.planes; plane += p.channels {
			sum += p.sums[plane]
		}
		d[channel] = T(sum)
	}
}

// planeGrads is dy, multiplied as the planes were.
func (p *perChannel[T]) planeGrads(c *call[T], dX *sink[T]) func() {
	other, dy := c.x(p.other), c.dy()
	return c.parallel(p.planes, p.size, func(lo, hi int) {
		for plane := lo; plane < hi; plane++ {
			d, g := p.plane(dX.begin(), plane), p.plane(dy.data, plane)
			if p.multiply {
				p.apply(d, g, other.data[plane%p.channels])
			} else {
				move(d, g)
			}
		}
	})
}
