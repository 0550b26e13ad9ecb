package nn

import (
	"math"

	"github.com/rebasin/rebasin/graph"
)

func normalisationOperators[T Float]() map[string]operator[T] {
	return map[string]operator[T]{"LayerNormalization": {compile: compileLayerNorm[T]}}
}

// layerNorm normalises rows of n elements: y = (x - mean)/sqrt(variance + epsilon)·scale + bias. Reference: Ba, Kiros, Hinton, "Layer
// Normalization", 2016, arXiv:1607.06450.
type layerNorm[T Float] struct {
	rows, n                       int
	epsilon                       float64
	x, scale, bias, mean, inverse *buffer[T] // bias may be nil; mean and inverse deviation have one element for each row
	y, dy                         *buffer[T]
}

func compileLayerNorm[T Float](c *call[T]) (step, error) {
	if c.node.channels {
		return compileChannelNorm(c)
	}
	axis, err := graph.Axis(c.node.Attrs.Int("axis", -1), len(c.out.shape))
	if err != nil {
		return step{}, err
	}
	n := elements(c.out.shape[axis:])
	rows := c.out.n / n
	l := &layerNorm[T]{
		rows: rows, n: n, epsilon: c.node.Attrs.Float("epsilon", 1e-5),
		x: c.x(0), scale: c.x(1), mean: c.stash(rows), inverse: c.stash(rows), y: c.y(), dy: c.dy(),
	}
	if c.has(2) {
		l.bias = c.x(2)
	}
	c.inPlace = []int{0}
	s := step{forward: c.parallel(rows, n, l.forward)}
	if c.backward {
		s.backward = l.backward(c)
	}
	return s, nil
}

func (l *layerNorm[T]) row(b *buffer[T], r int) []T { return b.data[r*l.n : (r+1)*l.n] }

func (l *layerNorm[T]) forward(lo, hi int) {
	for r := lo; r < hi; r++ {
		x, y := l.row(l.x, r), l.row(l.y, r)
		mean, inverse := l.moments(x)
		l.mean.data[r], l.inverse.data[r] = T(mean), T(inverse)
		for i, v := range x {
			y[i] = (v - T(mean)) * T(inverse) * l.scale.data[i]
		}
		if l.bias != nil {
			for i, v := range l.bias.data {
				y[i] += v
			}
		}
	}
}

// moments are the mean of a row and the inverse of its deviation.
func (l *layerNorm[T]) moments(x []T) (mean, inverse float64) {
	for _, v := range x {
		mean += float64(v)
	}
	mean /= float64(l.n)
	variance := 0.0
	for _, v := range x {
		d := float64(v) - mean
		variance += d * d
	}
	return mean, 1 / math.Sqrt(variance/float64(l.n)+l.epsilon)
}

// backward writes the gradient of x last, so that it may take the memory of dy.
func (l *layerNorm[T]) backward(c *call[T]) func() {
	dX, dScale, dBias := c.dx(0), c.dx(1), c.dx(2)
	c.order, c.reuse = []int{1, 2, 0}, []int{0}
	if dX != nil {
		c.keepX(1)
	}
	if dX != nil || dScale != nil {
		c.keepX(0)
	}
	var steps []func()
	if dScale != nil {
		steps = append(steps, c.parallel(l.n, l.rows, func(lo, hi int) { l.scaleGrad(dScale.begin(), lo, hi) }), dScale.end)
	}
	if dBias != nil {
		steps = append(steps, c.sumRows(dBias.begin, l.dy, l.rows, l.n, zero[T]), dBias.end)
	}
	if dX != nil {
		steps = append(steps, c.parallel(l.rows, l.n, func(lo, hi int) { l.inputGrad(dX.begin(), lo, hi) }), dX.end)
	}
	return func() {
		for _, s := range steps {
			s()
		}
	}
}

// scaleGrad sums dy·x̂ over the rows, for the columns from lo to hi, x̂ being the normalised x.
func (l *layerNorm[T]) scaleGrad(d []T, lo, hi int) {
	clear(d[lo:hi])
	for r := range l.rows {
		x, dy := l.row(l.x, r), l.row(l.dy, r)
		mean, inverse := l.mean.data[r], l.inverse.data[r]
		for i := lo; i < hi; i++ {
			d[i] += dy[i] * (x[i] - mean) * inverse
		}
	}
}

// inputGrad is (g - mean(g) - x̂·mean(g·x̂))/deviation with g = dy·scale.
func (l *layerNorm[T]) inputGrad(d []T, lo, hi int) {
	for r := lo; r < hi; r++ {
		x, dy, dx := l.row(l.x, r), l.row(l.dy, r), d[r*l.n:(r+1)*l.n]
		mean, inverse := float64(l.mean.data[r]), float64(l.inverse.data[r])
		sum, product := 0.0, 0.0
		for i, v := range x {
			g := float64(dy[i]) * float64(l.scale.data[i])
			sum += g
			product += g * (float64(v) - mean) * inverse
		}
		sum /= float64(l.n)
		product /= float64(l.n)
		for i, v := range x {
			g := float64(dy[i]) * float64(l.scale.data[i])
			dx[i] = T((g - sum - (float64(v)-mean)*inverse*product) * inverse)
		}
	}
}
