package landscape

import (
	"fmt"
	"math"
)

// Barrier is how far the loss rises between two models, in the unit of the loss.
type Barrier struct {
	// Chord is max over λ of L((1-λ)A+λB) − ((1-λ)L(A)+λL(B)), never below 0 because λ = 0 and λ = 1 take part.
	// Frankle, Dziugaite, Roy, Carbin (2020), Linear Mode Connectivity and the Lottery Ticket Hypothesis, arXiv 1912.05671,
	// measure against the mean of the ends; Entezari, Sedghi, Saukh, Neyshabur (2022), arXiv 2110.06296, against the chord.
	Chord float64 `json:"chord"`
	// Paper is max over λ of L((1-λ)A+λB) − ½(L(A)+L(B)), definition 2.2 of Ainsworth, Hayase, Srinivasa (2023), Git Re-Basin,
	// arXiv 2209.04836. It is at least ½|L(A)−L(B)|, for the ends take part.
	Paper float64 `json:"paper"`
}

// LossBarrier returns both barriers of the losses measured at lambdas, in O(len(lambdas)).
//
// Where a loss is not finite no barrier can be stated, and both forms are that value: NaN if any loss is NaN, else +Inf
// if any is +Inf, else -Inf.
//
// It panics unless lambdas ascend strictly from 0 to 1, both included, with one loss each.
func LossBarrier(lambdas, losses []float64) Barrier {
	if err := checkLambdas(lambdas); err != nil {
		panic("landscape: LossBarrier: " + err.Error())
	}
	if len(losses) != len(lambdas) {
		panic(fmt.Sprintf("landscape: LossBarrier: %d losses for %d lambdas", len(losses), len(lambdas)))
	}
	if v, found := nonFinite(losses); found {
		return Barrier{Chord: v, Paper: v}
	}
	a, b := losses[0], losses[len(losses)-1]
	var out Barrier // the ends make chord 0 and the paper's form at least half the distance of the ends
	out.Paper = math.Abs(a-b) / 2
	for i, l := range lambdas {
		out.Chord = max(out.Chord, losses[i]-((1-l)*a+l*b))
		out.Paper = max(out.Paper, losses[i]-(a+b)/2)
	}
	return out
}

// nonFinite returns the value that stands for losses of which some are not finite: NaN before +Inf before -Inf.
func nonFinite(losses []float64) (value float64, found bool) {
	for _, l := range losses {
		switch {
		case math.IsNaN(l):
			return l, true
		case math.IsInf(l, 1), math.IsInf(l, -1) && !found:
			value, found = l, true
		}
	}
	return value, found
}

// checkLambdas tells what keeps lambdas from ascending strictly from 0 to 1, both included.
func checkLambdas(lambdas []float64) error {
	n := len(lambdas)
	if n < 2 {
		return fmt.Errorf("%d lambdas, at least the two ends are needed", n)
	}
	if lambdas[0] != 0 || lambdas[n-1] != 1 {
		return fmt.Errorf("lambdas go from %v to %v instead of 0 to 1", lambdas[0], lambdas[n-1])
	}
	for i := 1; i < n; i++ {
		if !(lambdas[i-1] < lambdas[i]) { // written so that NaN is caught too
			return fmt.Errorf("lambda %d is %v after %v, not ascending", i, lambdas[i], lambdas[i-1])
		}
	}
	return nil
}
