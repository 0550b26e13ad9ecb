package nn

import (
	"math"

	"github.com/rebasin/rebasin/internal/kernel"
)

// binary is an elementwise operator of two operands of one shape, to which the call broadcasts them. The gradients read what reads says;
// what they do not read may be nil.
type binary[T Float] struct {
	forward func(y, a, b []T)
	grad    [2]func(d, dy, a, b, y []T)
	reads   [2]reads
}

// reads says which operands a gradient needs.
type reads struct{ a, b, y bool }

func binaryOperators[T Float]() map[string]operator[T] {
	type grads = [2]func(d, dy, a, b, y []T)
	return map[string]operator[T]{
		"Add": {compile: fixedBinary(binary[T]{forward: kernel.Add[T], grad: grads{passGrad[T], passGrad[T]}})},
		"Sub": {compile: fixedBinary(binary[T]{forward: kernel.Sub[T], grad: grads{passGrad[T], negateGrad[T]}})},
		"Mul": {compile: fixedBinary(binary[T]{
			forward: kernel.Mul[T],
			grad:    grads{mulGradA[T], mulGradB[T]},
			reads:   [2]reads{{b: true}, {a: true}},
		})},
		"Div": {compile: compileDiv[T]},
		"Pow": {compile: fixedBinary(binary[T]{
			forward: power[T],
			grad:    grads{powerGradBase[T], powerGradExponent[T]},
			reads:   [2]reads{{a: true, b: true}, {a: true, y: true}},
		})},
		"PRelu": {compile: fixedBinary(binary[T]{
			forward: prelu[T],
			grad:    grads{preluGradX[T], preluGradSlope[T]},
			reads:   [2]reads{{a: true, b: true}, {a: true}},
		})},
	}
}

func fixedBinary[T Float](b binary[T]) func(*call[T]) (step, error) {
	return func(c *call[T]) (step, error) { return c.binary(b), nil }
}

// compileDiv cuts the fraction off where integers are divided.
func compileDiv[T Float](c *call[T]) (step, error) {
	if !c.dtype().IsFloat() {
		return c.binary(binary[T]{forward: func(y, a, b []T) {
			for i, v := range a {
				y[i] = T(math.Trunc(float64(v / b[i])))
			}
		}}), nil
	}
	return c.binary(binary[T]{
		forward: kernel.Div[T],
		grad:    [2]func(d, dy, a, b, y []T){divGradA[T], divGradB[T]},
		reads:   [2]reads{{b: true}, {b: true, y: true}},
	}), nil
}

func power[T Float](y, a, b []T) {
	for i, v := range a {
		y[i] = T(math.Pow(float64(v), float64(b[i])))
	}
}

// powerGradBase is dy·b·a^(b-1).
func powerGradBase[T Float](d, dy, a, b, _ []T) {
	for i, v := range a {
		slope, e := 0.0, float64(b[i])
		if e != 0 {
			slope = e * math.Pow(float64(v), e-1)
		}
		d[i] = dy[i] * T(slope)
	}
}

// powerGradExponent is dy·y·log(a), 0 where the base is not positive.
func powerGradExponent[T Float](d, dy, a, _, y []T) {
	for i, v := range a {
		slope := 0.0
		if v > 0 {
			slope = float64(y[i]) * math.Log(float64(v))
		}
		d[i] = dy[i] * T(slope)
	}
}

func passGrad[T Float](d, dy, _, _, _ []T) { move(d, dy) }

func negateGrad[T Float](d, dy, _, _, _ []T) {
	for i, v := range dy {
		d[i] = -v
	}
}

func mulGradA[T Float](d, dy, _, b, _ []T) { kernel.Mul(d, dy, b) }

func mulGradB[T Float](d, dy, a, _, _ []T) { kernel.Mul(d, dy, a) }

func divGradA[T Float](d, dy, _, b, _ []T) { kernel.Div(d, dy, b) }

// divGradB is -dy·a/b², with y = a/b.
func divGradB[T Float](d, dy, _, b, y []T) {
	for i, v := range dy {
		d[i] = -v * y[i] / b[i]
	}
}

func prelu[T Float](y, x, slope []T) {
	for i, v := range x {
		if v < 0 {
			v *= slope[i]
		}
		y[i] = v
	}
}

func preluGradX[T Float](d, dy, x, slope, _ []T) {
	for i, v := range x {
		g := dy[i]
		if v <= 0 {
			g *= slope[i]
		}
		d[i] = g
	}
}

func preluGradSlope[T Float](d, dy, x, _, _ []T) {
	for i, v := range x {
		g := T(0)
		if v < 0 {
			g = dy[i] * v
		}
		d[i] = g
	}
}

// binary makes the step of an elementwise operator of two operands.
func (c *call[T]) binary(op binary[T]) step {
	y := c.y()
	if c.node.relu {
		op.forward = kernel.SumRelu[T] // only an Add of equal shapes has one
	}
	rep := [2]repetition{repeat(c.shape(0), c.out.shape), repeat(c.shape(1), c.out.shape)}
	if op.isAddOfRow(c, rep) {
		return c.addRow(rep[1])
	}
	if p, ok := c.perChannel(rep); ok {
		return p.step(c)
	}
	var operands [2]*operandView[T]
	for i := range operands {
		operands[i] = c.operandView(i, rep[i], c.scratch)
		if rep[i].none() && rep[1-i].none() {
			c.inPlace = append(c.inPlace, i)
		}
	}
	a, b := operands[0], operands[1]
	run := c.parallel(y.n, 1, func(lo, hi int) { op.forward(y.data[lo:hi], a.whole.data[lo:hi], b.whole.data[lo:hi]) })
	return step{
		forward: func() {
			a.expand()
			b.expand()
			run()
		},
		backward: c.binaryBackward(op, rep),
	}
}

// unRelu makes the gradient of the output that of what the fused Relu took, where it lies.
func (c *call[T]) unRelu() func() {
	if !c.backward {
		return func() {}
	}
	c.keepY()
	y, dy := c.y(), c.dy()
	return c.parallel(c.out.n, 1, func(lo, hi int) { kernel.ReluGrad(dy.data[lo:hi], dy.data[lo:hi], y.data[lo:hi]) })
}

// operandView is an operand as a tensor of the output's shape.
type operandView[T Float] struct {
	source, whole *buffer[T]
	rep           repetition
}

func (c *call[T]) operandView(i int, rep repetition, scratch func(n int) *buffer[T]) *operandView[T] {
	v := &operandView[T]{source: c.x(i), whole: c.x(i), rep: rep}
	if !rep.none() {
		v.whole = scratch(c.out.n)
	}
	return v
}

func (v *operandView[T]) expand() {
	if v.whole != v.source {
		expand(v.whole.data, v.source.data, v.rep)
	}
}

// binaryBackward makes the backward half: for each operand the gradient at the output's shape, then its sum over repeated axes.
func (c *call[T]) binaryBackward(op binary[T], rep [2]repetition) func() {
	var steps []func()
	if c.node.relu {
		steps = append(steps, c.unRelu())
	}
	var seen reads
	for i := range 2 {
		if c.wants(i) {
			r := op.reads[i]
			seen = reads{a: seen.a || r.a, b: seen.b || r.b, y: seen.y || r.y}
		}
	}
	operands := [2]*operandView[T]{}
	for i, read := range [2]bool{seen.a, seen.b} {
		operands[i] = &operandView[T]{whole: &buffer[T]{}}
		operands[i].source = operands[i].whole
		if read {
			c.keepX(i)
			operands[i] = c.operandView(i, rep[i], c.scratchBack)
			steps = append(steps, operands[i].expand)
		}
	}
	y := &buffer[T]{}
	if seen.y {
		c.keepY()
		y = c.y()
	}
	c.order = []int{1, 0}
	if rep[0].none() {
		c.reuse = []int{0}
	}
	for _, i := range c.order {
		if c.wants(i) {
			steps = append(steps, c.operandGrad(op.grad[i], i, operands, y, rep[i]))
		}
	}
	return func() {
		for _, s := range steps {
			s()
		}
	}
}

// operandGrad makes the gradient of operand i.
func (c *call[T]) operandGrad(grad func(d, dy, a, b, y []T), i int, operands [2]*operandView[T], y *buffer[T], rep repetition) func() {
	dx, dy, a, b := c.dx(i), c.dy(), operands[0].whole, operands[1].whole
	var whole *buffer[T] // the gradient at the output's shape, where that is not the operand's
	if !rep.none() {
		whole = c.scratchBack(c.out.n)
	}
	run := c.parallel(c.out.n, 1, func(lo, hi int) {
		d := dx.begin()
		if whole != nil {
			d = whole.data
		}
		grad(d[lo:hi], dy.data[lo:hi], part(a.data, lo, hi), part(b.data, lo, hi), part(y.data, lo, hi))
	})
	return func() {
		run()
		if whole != nil {
			reduce(dx.begin(), whole.data, rep)
		}
		dx.end()
	}
}

// part is s[lo:hi], or nothing of a tensor that is not there.
func part[T Float](s []T, lo, hi int) []T {
	if s == nil {
		return nil
	}
	return s[lo:hi]
}

// isAddOfRow recognises the addition of a bias, which deserves its own kernel.
func (op binary[T]) isAddOfRow(c *call[T], rep [2]repetition) bool {
	_, _, row := rep[1].rows()
	return c.node.Op == "Add" && rep[0].none() && row
}

func (c *call[T]) addRow(rep repetition) step {
	rows, cols, _ := rep.rows()
	x, row, y := c.x(0), c.x(1), c.y()
	c.inPlace = []int{0}
	s := step{forward: c.parallel(rows, cols, func(lo, hi int) {
		d := y.data[lo*cols : hi*cols]
		move(d, x.data[lo*cols:hi*cols])
		kernel.AddRow(d, hi-lo, cols, row.data)
	})}
	dx, dRow, dy := c.dx(0), c.dx(1), c.dy()
	if !c.backward {
		return s
	}
	sum := func() {}
	if dRow != nil {
		sum = c.sumRows(dRow.begin, dy, rows, cols, zero[T])
	}
	c.order, c.reuse = []int{1, 0}, []int{0}
	s.backward = func() {
		sum()
		if dRow != nil {
			dRow.end()
		}
		if dx != nil {
			move(dx.begin(), dy.data)
			dx.end()
		}
	}
	return s
}

func zero[T Float]() T { return 0 }

// move copies src to dst unless they are the same memory.
func move[T Float](dst, src []T) {
	if len(src) > 0 && &dst[0] != &src[0] {
		copy(dst, src)
	}
}
