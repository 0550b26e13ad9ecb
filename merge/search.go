package merge

import "math"

// The search for λ: a grid that finds the right valley, then golden section in it.
const (
	gridPoints  = 11
	goldenSteps = 10
	// SearchSteps is how often SearchLambda asks for the loss.
	SearchSteps = gridPoints + goldenSteps
)

// SearchLambda returns the λ in [0, 1] with the lowest loss among those asked for, and its loss. The grid bounds the valley to two of its cells, golden
// section (Kiefer 1953, doi:10.1090/S0002-9939-1953-0055639-3) narrows it to about 0.002. A loss that is NaN counts as infinite.
func SearchLambda(loss func(lambda float64) (float64, error)) (lambda, best float64, err error) {
	best = math.Inf(1)
	ask := func(l float64) (float64, error) {
		x, err := loss(l)
		if math.IsNaN(x) {
			x = math.Inf(1)
		}
		if x < best {
			lambda, best = l, x
		}
		return x, err
	}
	for i := range gridPoints {
		if _, err := ask(float64(i) / (gridPoints - 1)); err != nil {
			return 0, 0, err
		}
	}
	const step = 1.0 / (gridPoints - 1)
	lo, hi := max(lambda-step, 0), min(lambda+step, 1)
	ratio := (math.Sqrt(5) - 1) / 2
	x1, x2 := hi-ratio*(hi-lo), lo+ratio*(hi-lo)
	f1, err := ask(x1)
	if err != nil {
		return 0, 0, err
	}
	f2, err := ask(x2)
	for i := 2; i < goldenSteps && err == nil; i++ {
		if f1 <= f2 {
			hi, x2, f2 = x2, x1, f1
			x1 = hi - ratio*(hi-lo)
			f1, err = ask(x1)
		} else {
			lo, x1, f1 = x1, x2, f2
			x2 = lo + ratio*(hi-lo)
			f2, err = ask(x2)
		}
	}
	return lambda, best, err
}
