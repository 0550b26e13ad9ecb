package nn

import (
	"math"

	"github.com/rebasin/rebasin/internal/kernel"
)

// unary is an elementwise operator of one operand. Backward stores in dx the gradient, given dy, of an element of which it sees the input
// or, with fromOutput, the output; dx may be dy.
type unary[T Float] struct {
	forward    func(y, x []T)
	backward   func(dx, dy, v []T)
	fromOutput bool
}

func unaryOperators[T Float]() map[string]operator[T] {
	return map[string]operator[T]{
		"Relu":        {compile: fixedUnary(unary[T]{kernel.Relu[T], kernel.ReluGrad[T], true})},
		"Tanh":        {compile: fixedUnary(unary[T]{tanh[T], tanhGrad[T], true})},
		"Sigmoid":     {compile: fixedUnary(unary[T]{sigmoid[T], sigmoidGrad[T], true})},
		"LeakyRelu":   {compile: leakyRelu[T]},
		"Gelu":        {compile: gelu[T]},
		"Clip":        {compile: clip[T], data: 1},
		"HardSigmoid": {compile: hardSigmoid[T]},
		"HardSwish":   {compile: fixedUnary(unary[T]{forward: hardSwish[T], backward: hardSwishGrad[T]})},
		"Elu":         {compile: elu[T]},
		"Sqrt":        {compile: fromOutput[T](math.Sqrt, func(y float64) float64 { return 1 / (2 * y) })},
		"Reciprocal":  {compile: fromOutput[T](func(x float64) float64 { return 1 / x }, func(y float64) float64 { return -y * y })},
		"Exp":         {compile: fromOutput[T](math.Exp, func(y float64) float64 { return y })},
		"Log":         {compile: fromInput[T](math.Log, func(x float64) float64 { return 1 / x })},
		"Erf":         {compile: fromInput[T](math.Erf, func(x float64) float64 { return 2 / math.SqrtPi * math.Exp(-x*x) })},
		"Neg":         {compile: fromInput[T](func(x float64) float64 { return -x }, func(float64) float64 { return -1 })},
		"Abs":         {compile: fromInput[T](math.Abs, sign)},
		"Sin":         {compile: fromInput[T](math.Sin, math.Cos)},
		"Cos":         {compile: fromInput[T](math.Cos, func(x float64) float64 { return -math.Sin(x) })},
		"Softplus":    {compile: fromInput[T](softplus, logistic)},
		"Mish":        {compile: fromInput[T](mish, mishSlope)},
		"Sign":        {compile: fromInput[T](sign, flat)},
		"Floor":       {compile: fromInput[T](math.Floor, flat)},
		"Ceil":        {compile: fromInput[T](math.Ceil, flat)},
	}
}

// fromInput makes an operator of a function and its derivative.
func fromInput[T Float](f, slope func(x float64) float64) func(*call[T]) (step, error) {
	return fixedUnary(unary[T]{forward: mapped[T](f), backward: sloped[T](slope)})
}

// fromOutput makes an operator of a function and its derivative as a function of its value.
func fromOutput[T Float](f, slope func(float64) float64) func(*call[T]) (step, error) {
	return fixedUnary(unary[T]{forward: mapped[T](f), backward: sloped[T](slope), fromOutput: true})
}

func mapped[T Float](f func(float64) float64) func(y, x []T) {
	return func(y, x []T) {
		for i, v := range x {
			y[i] = T(f(float64(v)))
		}
	}
}

func sloped[T Float](slope func(float64) float64) func(dx, dy, v []T) {
	return func(dx, dy, v []T) {
		for i, x := range v {
			dx[i] = dy[i] * T(slope(float64(x)))
		}
	}
}

// sign is -1, 0 or 1, and the slope of the absolute value, at 0 that in the middle.
func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return x
}

// flat is the slope of what jumps.
func flat(float64) float64 { return 0 }

// softplus is log(1 + exp(x)) without an overflow.
func softplus(x float64) float64 { return math.Max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// mish is x·tanh(softplus(x)). Reference: Misra, "Mish: A Self Regularized Non-Monotonic Activation Function", 2019, arXiv:1908.08681.
func mish(x float64) float64 { return x * math.Tanh(softplus(x)) }

func mishSlope(x float64) float64 {
	t := math.Tanh(softplus(x))
	return t + x*(1-t*t)*logistic(x)
}

// elu is alpha·(exp(x) - 1) below 0. Reference: Clevert, Unterthiner, Hochreiter, "Fast and Accurate Deep Network Learning by Exponential Linear
// Units", 2015, arXiv:1511.07289.
func elu[T Float](c *call[T]) (step, error) {
	alpha := c.node.Attrs.Float("alpha", 1)
	return fromInput[T](func(x float64) float64 {
		if x < 0 {
			return alpha * math.Expm1(x)
		}
		return x
	}, func(x float64) float64 {
		if x < 0 {
			return alpha * math.Exp(x)
		}
		return 1
	})(c)
}

func fixedUnary[T Float](u unary[T]) func(*call[T]) (step, error) {
	return func(c *call[T]) (step, error) { return c.unary(u), nil }
}

// unary makes the step of an elementwise operator.
func (c *call[T]) unary(u unary[T]) step {
	x, y, dy, dx := c.x(0), c.y(), c.dy(), c.dx(0)
	c.inPlace = []int{0}
	s := step{forward: c.parallel(y.n, 1, func(lo, hi int) { u.forward(y.data[lo:hi], x.data[lo:hi]) })}
	if dx == nil {
		return s
	}
	seen := x
	if u.fromOutput {
		seen = y
		c.keepY()
	} else {
		c.keepX(0)
	}
	c.reuse = []int{0}
	back := c.parallel(y.n, 1, func(lo, hi int) { u.backward(dx.begin()[lo:hi], dy.data[lo:hi], seen.data[lo:hi]) })
	s.backward = func() {
		back()
		dx.end()
	}
	return s
}

func tanh[T Float](y, x []T) {
	for i, v := range x {
		y[i] = T(math.Tanh(float64(v)))
	}
}

func tanhGrad[T Float](dx, dy, y []T) {
	for i, v := range y {
		dx[i] = dy[i] * (1 - v*v)
	}
}

func sigmoid[T Float](y, x []T) {
	for i, v := range x {
		y[i] = T(1 / (1 + math.Exp(-float64(v))))
	}
}

func sigmoidGrad[T Float](dx, dy, y []T) {
	for i, v := range y {
		dx[i] = dy[i] * v * (1 - v)
	}
}

func leakyRelu[T Float](c *call[T]) (step, error) {
	alpha := T(c.node.Attrs.Float("alpha", 0.01))
	return c.unary(unary[T]{
		forward: func(y, x []T) {
			for i, v := range x {
				if v < 0 {
					v *= alpha
				}
				y[i] = v
			}
		},
		backward: func(dx, dy, x []T) {
			for i, v := range x {
				g := dy[i]
				if v <= 0 {
					g *= alpha
				}
				dx[i] = g
			}
		},
	}), nil
}

// gelu is x·Φ(x), Φ being the distribution function of the normal distribution, or its approximation by tanh. Reference: Hendrycks, Gimpel,
// "Gaussian Error Linear Units", 2016, arXiv:1606.08415.
func gelu[T Float](c *call[T]) (step, error) {
	if c.node.Attrs.String("approximate", "none") == "tanh" {
		return c.unary(unary[T]{forward: geluTanh[T], backward: geluTanhGrad[T]}), nil
	}
	return c.unary(unary[T]{forward: geluErf[T], backward: geluErfGrad[T]}), nil
}

func geluErf[T Float](y, x []T) {
	for i, v := range x {
		y[i] = T(float64(v) * phi(float64(v)))
	}
}

func geluErfGrad[T Float](dx, dy, x []T) {
	for i, t := range x {
		v := float64(t)
		density := math.Exp(-v*v/2) / math.Sqrt(2*math.Pi)
		dx[i] = dy[i] * T(phi(v)+v*density)
	}
}

// phi is the distribution function of the normal distribution. Erfc keeps its precision where the result is small.
func phi(x float64) float64 { return 0.5 * math.Erfc(-x/math.Sqrt2) }

// The approximation is x/2·(1 + tanh(scale·(x + cubic·x³))).
const (
	geluScale = 0.7978845608028654 // sqrt(2/π)
	geluCubic = 0.044715
)

func geluTanh[T Float](y, x []T) {
	for i, t := range x {
		v := float64(t)
		y[i] = T(v / 2 * (1 + math.Tanh(geluScale*(v+geluCubic*v*v*v))))
	}
}

func geluTanhGrad[T Float](dx, dy, x []T) {
	for i, u := range x {
		v := float64(u)
		t := math.Tanh(geluScale * (v + geluCubic*v*v*v))
		slope := geluScale * (1 + 3*geluCubic*v*v)
		dx[i] = dy[i] * T((1+t)/2+v/2*(1-t*t)*slope)
	}
}

// clip keeps elements within constant bounds, and passes the gradient of those that lie there, bounds included, as PyTorch's clamp does.
func clip[T Float](c *call[T]) (step, error) {
	least, err := c.setting(1, math.Inf(-1))
	if err != nil {
		return step{}, err
	}
	greatest, err := c.setting(2, math.Inf(1))
	if err != nil {
		return step{}, err
	}
	lo, hi := T(least), T(greatest)
	return c.unary(unary[T]{
		forward: func(y, x []T) {
			for i, v := range x {
				y[i] = min(max(v, lo), hi)
			}
		},
		backward: func(dx, dy, x []T) {
			for i, v := range x {
				g := dy[i]
				if v < lo || v > hi {
					g = 0
				}
				dx[i] = g
			}
		},
	}), nil
}

// hardSigmoid is alpha·x + beta, kept within 0 and 1.
func hardSigmoid[T Float](c *call[T]) (step, error) {
	alpha, beta := T(c.node.Attrs.Float("alpha", 0.2)), T(c.node.Attrs.Float("beta", 0.5))
	return c.unary(unary[T]{
		forward: func(y, x []T) {
			for i, v := range x {
				y[i] = min(max(alpha*v+beta, 0), 1)
			}
		},
		backward: func(dx, dy, y []T) {
			for i, v := range y {
				g := T(0)
				if v > 0 && v < 1 {
					g = dy[i] * alpha
				}
				dx[i] = g
			}
		},
		fromOutput: true,
	}), nil
}

// hardSwish is x·(x/6 + 1/2), the second factor kept within 0 and 1. Reference: Howard and others, "Searching for MobileNetV3", 2019,
// arXiv:1905.02244.
func hardSwish[T Float](y, x []T) {
	for i, v := range x {
		y[i] = v * min(max(v/6+0.5, 0), 1)
	}
}

func hardSwishGrad[T Float](dx, dy, x []T) {
	for i, v := range x {
		g := dy[i]
		switch {
		case v <= -3:
			g = 0
		case v < 3:
			g *= v/3 + 0.5
		}
		dx[i] = g
	}
}
