package nn

import (
	"fmt"
	"math"
)

func dropoutOperators[T Float]() map[string]operator[T] {
	return map[string]operator[T]{"Dropout": {compile: compileDropout[T], data: 1}}
}

// compileDropout is the identity in inference. In training it drops each element with probability ratio and divides those that stay by
// 1-ratio: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
// JMLR 15, 2014. The node's own seed and training_mode do not count: the engine's options decide.
func compileDropout[T Float](c *call[T]) (step, error) {
	ratio, err := c.dropoutRatio()
	if err != nil {
		return step{}, err
	}
	e := c.planner.engine
	if !e.opt.Training || ratio == 0 {
		return c.view(), nil
	}
	d := &dropout[T]{
		engine: e,
		node:   uint64(c.at),
		keep:   uint64(math.Ldexp(1-ratio, 53)),
		scale:  T(1 / (1 - ratio)),
	}
	x, y, dy, dx := c.x(0), c.y(), c.dy(), c.dx(0)
	c.inPlace = []int{0}
	s := step{forward: c.parallel(y.n, 1, func(lo, hi int) { d.apply(y.data, x.data, lo, hi) })}
	if dx != nil {
		c.reuse = []int{0}
		back := c.parallel(y.n, 1, func(lo, hi int) { d.apply(dx.begin(), dy.data, lo, hi) })
		s.backward = func() {
			back()
			dx.end()
		}
	}
	return s, nil
}

// dropoutRatio is the constant second input, by default one half.
func (c *call[T]) dropoutRatio() (float64, error) {
	if _, constant := c.constants()[c.node.Input(1)]; !constant && c.node.Input(1) != "" {
		return 0, fmt.Errorf("the ratio %q is not a constant", c.node.Input(1))
	}
	r, err := c.setting(1, 0.5)
	if err == nil && !(r >= 0 && r < 1) {
		err = fmt.Errorf("the ratio %v is not in [0, 1)", r)
	}
	return r, err
}

// dropout is one node's mask: a function of the engine's seed, the number of the Forward call, the node and the element, so that backward
// draws it again and threads do not matter.
type dropout[T Float] struct {
	engine *Engine[T]
	node   uint64
	keep   uint64 // an element stays if 53 random bits are below it
	scale  T
}

func (d *dropout[T]) apply(dst, src []T, lo, hi int) {
	key := mix(mix(mix(d.engine.opt.Seed)+d.engine.step) + d.node)
	for i := lo; i < hi; i++ {
		v := T(0)
		if mix(key+uint64(i)*goldenRatio)>>11 < d.keep {
			v = src[i] * d.scale
		}
		dst[i] = v
	}
}

// goldenRatio is 2⁶⁴ over the golden ratio, odd: the increment of SplitMix64.
const goldenRatio = 0x9e3779b97f4a7c15

// mix is the output function of SplitMix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014,
// doi:10.1145/2660193.2660195.
func mix(z uint64) uint64 {
	z += goldenRatio
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
