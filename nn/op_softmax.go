package nn

import (
	"math"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

func softmaxOperators[T Float]() map[string]operator[T] {
	return map[string]operator[T]{
		"Softmax":    {compile: compileSoftmax(softmax[T], softmaxGrad[T])},
		"LogSoftmax": {compile: compileSoftmax(logSoftmax[T], logSoftmaxGrad[T])},
	}
}

// line is n elements of a tensor along one axis, stride apart.
type line struct{ start, n, stride int }

// lines are all lines of a tensor along one axis.
type lines struct{ n, inner int }

func linesAlong(shape tensor.Shape, axis int) lines {
	return lines{n: shape[axis], inner: elements(shape[axis+1:])}
}

func (l lines) at(i int) line {
	return line{start: i/l.inner*l.n*l.inner + i%l.inner, n: l.n, stride: l.inner}
}

// compileSoftmax makes the step of an operator that works on lines; both of its halves may work in place.
func compileSoftmax[T Float](forward func(y, x []T, l line), backward func(dx, dy, y []T, l line)) func(*call[T]) (step, error) {
	return func(c *call[T]) (step, error) {
		axis, err := graph.Axis(c.node.Attrs.Int("axis", -1), len(c.out.shape))
		if err != nil {
			return step{}, err
		}
		all := linesAlong(c.out.shape, axis)
		count := c.out.n / all.n
		x, y, dy, dx := c.x(0), c.y(), c.dy(), c.dx(0)
		c.inPlace = []int{0}
		s := step{forward: c.parallel(count, all.n, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				forward(y.data, x.data, all.at(i))
			}
		})}
		if dx == nil {
			return s, nil
		}
		c.keepY()
		c.reuse = []int{0}
		back := c.parallel(count, all.n, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				backward(dx.begin(), dy.data, y.data, all.at(i))
			}
		})
		s.backward = func() {
			back()
			dx.end()
		}
		return s, nil
	}
}

// logSumExp is the greatest element m of a line and log Σ exp(x-m).
func logSumExp[T Float](x []T, l line) (greatest, rest float64) {
	m := math.Inf(-1)
	for k := range l.n {
		m = math.Max(m, float64(x[l.start+k*l.stride])) // of NaN, too, so that it shows
	}
	sum := 0.0
	for k := range l.n {
		sum += math.Exp(float64(x[l.start+k*l.stride]) - m)
	}
	return m, math.Log(sum)
}

func softmax[T Float](y, x []T, l line) {
	m, rest := logSumExp(x, l)
	for k := range l.n {
		i := l.start + k*l.stride
		y[i] = T(math.Exp(float64(x[i]) - m - rest))
	}
}

// softmaxGrad is y·(dy - Σ dy·y).
func softmaxGrad[T Float](dx, dy, y []T, l line) {
	sum := 0.0
	for k := range l.n {
		i := l.start + k*l.stride
		sum += float64(dy[i]) * float64(y[i])
	}
	for k := range l.n {
		i := l.start + k*l.stride
		dx[i] = T(float64(y[i]) * (float64(dy[i]) - sum))
	}
}

func logSoftmax[T Float](y, x []T, l line) {
	m, rest := logSumExp(x, l)
	for k := range l.n {
		i := l.start + k*l.stride
		y[i] = T(float64(x[i]) - m - rest)
	}
}

// logSoftmaxGrad is dy - exp(y)·Σ dy.
func logSoftmaxGrad[T Float](dx, dy, y []T, l line) {
	sum := 0.0
	for k := range l.n {
		sum += float64(dy[l.start+k*l.stride])
	}
	for k := range l.n {
		i := l.start + k*l.stride
		dx[i] = T(float64(dy[i]) - math.Exp(float64(y[i]))*sum)
	}
}
