package nn

import (
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// compareOperators make truths, which are 0 and 1, and choose by them.
func compareOperators[T Float]() map[string]operator[T] {
	compare := func(holds func(a, b T) bool) operator[T] {
		return operator[T]{compile: fixedBinary(binary[T]{forward: func(y, a, b []T) {
			for i, v := range a {
				y[i] = T(truth(holds(v, b[i])))
			}
		}})}
	}
	return map[string]operator[T]{
		"Equal":          compare(func(a, b T) bool { return a == b }),
		"Less":           compare(func(a, b T) bool { return a < b }),
		"LessOrEqual":    compare(func(a, b T) bool { return a <= b }),
		"Greater":        compare(func(a, b T) bool { return a > b }),
		"GreaterOrEqual": compare(func(a, b T) bool { return a >= b }),
		"And":            compare(func(a, b T) bool { return a != 0 && b != 0 }),
		"Or":             compare(func(a, b T) bool { return a != 0 || b != 0 }),
		"Xor":            compare(func(a, b T) bool { return (a != 0) != (b != 0) }),
		"Not":            {compile: fromInput[T](func(x float64) float64 { return truth(x == 0) }, flat)},
		"Where":          {compile: compileWhere[T], passive: []int{0}},
		"Min":            {compile: compileExtreme(func(a, b T) bool { return a < b })},
		"Max":            {compile: compileExtreme(func(a, b T) bool { return a > b })},
		"Sum":            {compile: compileSum[T]},
	}
}

// chosen is a step whose output takes each element from one of some operands, broadcast to its shape.
type chosen[T Float] struct {
	call     *call[T]
	operands []int // inputs
	reps     []repetition
	whole    []*operandView[T]
	choice   *buffer[T] // of each element, the number of its operand
}

// choose makes such a step. Pick fills choice from lo to hi; operands are expanded by then.
func (c *call[T]) choose(first int, pick func(s *chosen[T], lo, hi int)) *chosen[T] {
	s := &chosen[T]{call: c, choice: c.stash(c.out.n)}
	for i := first; i < len(c.in); i++ {
		rep := repeat(c.shape(i), c.out.shape)
		s.operands, s.reps = append(s.operands, i), append(s.reps, rep)
		s.whole = append(s.whole, c.operandView(i, rep, c.scratch))
	}
	c.step.forward = s.forward(pick)
	if c.backward {
		c.step.backward = s.backward()
	}
	return s
}

func (s *chosen[T]) forward(pick func(s *chosen[T], lo, hi int)) func() {
	y := s.call.y()
	run := s.call.parallel(y.n, 1, func(lo, hi int) {
		pick(s, lo, hi)
		for i := lo; i < hi; i++ {
			y.data[i] = s.whole[int(s.choice.data[i])].whole.data[i]
		}
	})
	return func() {
		for _, v := range s.whole {
			v.expand()
		}
		run()
	}
}

// backward gives each operand the gradient of the elements that were taken from it.
func (s *chosen[T]) backward() func() {
	dy := s.call.dy()
	var steps []func()
	for k, i := range s.operands {
		dx := s.call.dx(i)
		if dx == nil {
			continue
		}
		whole := s.call.scratchBack(s.call.out.n)
		steps = append(steps, s.call.parallel(dy.n, 1, func(lo, hi int) {
			for j := lo; j < hi; j++ {
				whole.data[j] = 0
				if int(s.choice.data[j]) == k {
					whole.data[j] = dy.data[j]
				}
			}
		}), func() { reduce(dx.begin(), whole.data, s.reps[k]) }, dx.end)
	}
	return func() {
		for _, f := range steps {
			f()
		}
	}
}

// compileWhere takes elements of input 1 where input 0 holds, else of input 2.
func compileWhere[T Float](c *call[T]) (step, error) {
	condition := c.operandView(0, repeat(c.shape(0), c.out.shape), c.scratch)
	c.choose(1, func(s *chosen[T], lo, hi int) {
		for i := lo; i < hi; i++ {
			s.choice.data[i] = T(truth(condition.whole.data[i] == 0))
		}
	})
	forward := c.step.forward
	return step{forward: func() {
		condition.expand()
		forward()
	}, backward: c.step.backward}, nil
}

// compileExtreme takes the first of the operands that none is better than. Of equal ones the gradient goes to the first.
func compileExtreme[T Float](better func(a, b T) bool) func(*call[T]) (step, error) {
	return func(c *call[T]) (step, error) {
		c.choose(0, func(s *chosen[T], lo, hi int) {
			for i := lo; i < hi; i++ {
				best := 0
				for k, v := range s.whole {
					// NaN is better than all, so that it shows.
					if a, b := v.whole.data[i], s.whole[best].whole.data[i]; better(a, b) || a != a && b == b {
						best = k
					}
				}
				s.choice.data[i] = T(best)
			}
		})
		return c.step, nil
	}
}

// compileSum adds any number of operands, in their order.
func compileSum[T Float](c *call[T]) (step, error) {
	y := c.y()
	scratch := c.scratch(c.out.n)
	reps := make([]repetition, len(c.in))
	for i := range c.in {
		reps[i] = repeat(c.shape(i), c.out.shape)
	}
	s := step{forward: func() {
		expand(y.data, c.x(0).data, reps[0])
		for i := 1; i < len(c.in); i++ {
			expand(scratch.data, c.x(i).data, reps[i])
			for k, v := range scratch.data {
				y.data[k] += v
			}
		}
	}}
	if c.backward {
		s.backward = func() {
			for i := range c.in {
				if dx := c.dx(i); dx != nil {
					reduce(dx.begin(), c.dy().data, reps[i])
					dx.end()
				}
			}
		}
	}
	return s, nil
}

// settings of operators that are read when planning.
func (c *call[T]) constants() map[string]*tensor.Tensor { return c.planner.engine.net.constants }

// axis is the attribute axis, of a value of some rank.
func (c *call[T]) axis(absent int64, rank int) (int, error) {
	return graph.Axis(c.node.Attrs.Int("axis", absent), rank)
}
