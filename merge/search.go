package merge

import "math"

// The search for λ: a grid that finds the right valley, then golden section in it.
const (
	gridPoints  = 11
	goldenSteps = 10
	// SearchSteps is how often SearchLambda asks for the loss.
	SearchSteps = gridPoints + goldenSteps
)

// SearchLambda returns the λ in [0, 1] with the lowest loss among those asked for, the first of equals, and its loss. The grid bounds the valley
// to two of its cells, golden section (Kiefer 1953, Sequential minimax search for a maximum, doi:10.1090/S0002-9939-1953-0055639-3) narrows it
// to 0.003. A loss that is NaN counts as infinite. The first error of loss ends the search and is returned.
func SearchLambda(loss func(lambda float64) (float64, error)) (lambda, best float64, err error) {
	best = math.Inf(1)
	ask := func(l float64) float64 {
		if err != nil {
			return 0
		}
		var x float64
		x, err = loss(l)
		if math.IsNaN(x) {
			x = math.Inf(1)
		}
		if x < best {
			lambda, best = l, x
		}
		return x
	}
	for i := range gridPoints {
		ask(float64(i) / (gridPoints - 1))
	}
	const cell = 1.0 / (gridPoints - 1)
	golden(ask, max(lambda-cell, 0), min(lambda+cell, 1))
	if err != nil {
		return 0, 0, err
	}
	return lambda, best, nil
}

// golden asks goldenSteps times for values between lo and hi, closing in on the lowest.
func golden(ask func(float64) float64, lo, hi float64) {
	ratio := (math.Sqrt(5) - 1) / 2
	x1, x2 := hi-ratio*(hi-lo), lo+ratio*(hi-lo)
	f1, f2 := ask(x1), ask(x2)
	for range goldenSteps - 2 {
		if f1 <= f2 {
			hi, x2, f2 = x2, x1, f1
			x1 = hi - ratio*(hi-lo)
			f1 = ask(x1)
		} else {
			lo, x1, f1 = x1, x2, f2
			x2 = lo + ratio*(hi-lo)
			f2 = ask(x2)
		}
	}
}
