package kernel

import "math"

// AdamParams are the scalars of one step of Adam. Correction1 and Correction2 are 1 - Beta1^t and 1 - Beta2^t of step t, counted from 1.
type AdamParams struct {
	LR, Beta1, Beta2, Epsilon, WeightDecay, Correction1, Correction2 float64
}

// adamScalars are AdamParams in the precision and the combinations the update uses.
type adamScalars[T Float] struct {
	decay, add1, keep2, add2, root2, epsilon, rate T
}

func newAdamScalars[T Float](p AdamParams) adamScalars[T] {
	return adamScalars[T]{
		decay: T(p.WeightDecay),
		add1:  T(1 - p.Beta1),
		keep2: T(p.Beta2), add2: T(1 - p.Beta2),
		root2: T(math.Sqrt(p.Correction2)), epsilon: T(p.Epsilon), rate: T(p.LR / p.Correction1),
	}
}

// AdamStep updates the weights w and the moments m and v with the gradient g as torch.optim.Adam does:
//
//	g = g + WeightDecay*w
//	m = m + (1-Beta1)*(g - m)
//	v = Beta2*v + (1-Beta2)*g*g
//	w = w - LR/Correction1 * m / (sqrt(v)/sqrt(Correction2) + Epsilon)
//
// Reference: D. P. Kingma, J. Ba (2015), Adam: A Method for Stochastic Optimization, algorithm 1, arXiv:1412.6980.
func AdamStep[T Float](w, g, m, v []T, p AdamParams) {
	sameLength("AdamStep", len(w), len(g), len(m), len(v))
	current[T]().adam(w, g, m, v, newAdamScalars[T](p))
}

// SGDParams are the scalars of one step of stochastic gradient descent.
type SGDParams struct {
	LR, Momentum, WeightDecay float64
	Nesterov                  bool
}

// sgdScalars are SGDParams in the precision the update uses.
type sgdScalars[T Float] struct{ decay, momentum, rate T }

// SGDStep updates the weights w and the momentum buffer m with the gradient g as torch.optim.SGD does, for a buffer that starts at zero:
//
//	g = g + WeightDecay*w
//	m = Momentum*m + g
//	w = w - LR*(g + Momentum*m)  with Nesterov's momentum, else
//	w = w - LR*m
//
// Without momentum m is not touched and may be nil.
//
// Reference: I. Sutskever, J. Martens, G. Dahl, G. Hinton (2013), On the importance of initialization and momentum in deep learning, ICML.
func SGDStep[T Float](w, g, m []T, p SGDParams) {
	sameLength("SGDStep", len(w), len(g))
	s := sgdScalars[T]{decay: T(p.WeightDecay), momentum: T(p.Momentum), rate: T(p.LR)}
	if p.Momentum == 0 {
		current[T]().sgd(w, g, s)
		return
	}
	sameLength("SGDStep", len(w), len(m))
	if p.Nesterov {
		current[T]().sgdNesterov(w, g, m, s)
	} else {
		current[T]().sgdMomentum(w, g, m, s)
	}
}
