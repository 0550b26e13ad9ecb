package nn

import (
	"math"
	"slices"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// reduction makes one number of n, of which get gives the i-th, and gives each of them its gradient: that of the number times what slope writes.
type reduction struct {
	value func(n int, get func(i int) float64) float64
	slope func(n int, get func(i int) float64, value float64, put func(i int, v float64))
}

var reductions = map[string]reduction{
	"ReduceSum":  {sumOf, func(n int, _ func(int) float64, _ float64, put func(int, float64)) { putAll(n, put, 1) }},
	"ReduceMax":  {func(n int, get func(int) float64) float64 { return extremeOf(n, get, math.Max) }, extremeSlope},
	"ReduceMin":  {func(n int, get func(int) float64) float64 { return extremeOf(n, get, math.Min) }, extremeSlope},
	"ReduceProd": {productOf, productSlope},
	"ReduceL2":   {normOf, normSlope},
}

func putAll(n int, put func(int, float64), v float64) {
	for i := range n {
		put(i, v)
	}
}

func sumOf(n int, get func(int) float64) float64 {
	sum := 0.0
	for i := range n {
		sum += get(i)
	}
	return sum
}

// extremeOf is NaN where one of the numbers is.
func extremeOf(n int, get func(int) float64, better func(a, b float64) float64) float64 {
	m := get(0)
	for i := 1; i < n; i++ {
		m = better(m, get(i))
	}
	return m
}

// extremeSlope shares the gradient among equal numbers, as PyTorch's amax does.
func extremeSlope(n int, get func(int) float64, value float64, put func(int, float64)) {
	ties := 0.0
	for i := range n {
		ties += truth(get(i) == value)
	}
	for i := range n {
		put(i, truth(get(i) == value)/max(ties, 1))
	}
}

func productOf(n int, get func(int) float64) float64 {
	p := 1.0
	for i := range n {
		p *= get(i)
	}
	return p
}

// productSlope is the product of the other numbers: that of those before by that of those behind.
func productSlope(n int, get func(int) float64, _ float64, put func(int, float64)) {
	behind := make([]float64, n+1)
	behind[n] = 1
	for i := n - 1; i >= 0; i-- {
		behind[i] = behind[i+1] * get(i)
	}
	before := 1.0
	for i := range n {
		put(i, before*behind[i+1])
		before *= get(i)
	}
}

func normOf(n int, get func(int) float64) float64 {
	return math.Sqrt(sumOf(n, func(i int) float64 { return get(i) * get(i) }))
}

// normSlope is x/‖x‖, and 0 at the origin.
func normSlope(n int, get func(int) float64, value float64, put func(int, float64)) {
	for i := range n {
		if value == 0 {
			put(i, 0)
		} else {
			put(i, get(i)/value)
		}
	}
}

// compileReduce makes the step of a reduction over some axes.
func compileReduce[T Float](r reduction) func(*call[T]) (step, error) {
	return func(c *call[T]) (step, error) {
		outer, inner, err := c.reducedPlaces()
		if err != nil {
			return step{}, err
		}
		x, y, dy, dx := c.x(0), c.y(), c.dy(), c.dx(0)
		element := func(o int) func(i int) float64 {
			return func(i int) float64 { return float64(x.data[outer[o]+inner[i]]) }
		}
		s := step{forward: c.parallel(y.n, len(inner), func(lo, hi int) {
			for o := lo; o < hi; o++ {
				y.data[o] = T(r.value(len(inner), element(o)))
			}
		})}
		if dx == nil {
			return s, nil
		}
		c.keepX(0)
		c.keepY()
		back := c.parallel(y.n, len(inner), func(lo, hi int) {
			d := dx.begin()
			for o := lo; o < hi; o++ {
				g := float64(dy.data[o])
				r.slope(len(inner), element(o), float64(y.data[o]), func(i int, v float64) { d[outer[o]+inner[i]] = T(g * v) })
			}
		})
		s.backward = func() {
			back()
			dx.end()
		}
		return s, nil
	}
}

// reducedPlaces lists where, in the input, the elements of each of the outputs begin, and how far from there each of them is.
func (c *call[T]) reducedPlaces() (outer, inner []int, err error) {
	shape := c.shape(0)
	reduced, err := graph.ReduceAxes(&c.node.Node, len(shape), c.constants())
	if err != nil {
		return nil, nil, err
	}
	kept, gone := slices.Clone(shape), slices.Clone(shape)
	for axis, r := range reduced {
		if r {
			kept[axis] = 1
		} else {
			gone[axis] = 1
		}
	}
	return places(kept, shape), places(gone, shape), nil
}

// places lists the offsets, in a tensor, of the elements of a box at its beginning.
func places(box, shape tensor.Shape) []int {
	list, at := make([]int, elements(box)), make([]int, len(box))
	for i := range list {
		for k, n := range shape {
			list[i] = list[i]*n + at[k]
		}
		advance(at, box)
	}
	return list
}
