package kernel

import (
	"math"
	"testing"
)

// roundoff is what a few hundred operations in float64 may lose.
const roundoff = 1e-12

// TestAdamStep follows the recurrence of the paper for many steps.
func TestAdamStep(t *testing.T) {
	p := AdamParams{LR: .01, Beta1: .9, Beta2: .99, Epsilon: 1e-8, WeightDecay: .05}
	w, m, v := []float64{.5, -2}, make([]float64, 2), make([]float64, 2)
	var refW, refM, refV [2]float64
	copy(refW[:], w)
	for step := 1; step <= 50; step++ {
		p.Correction1, p.Correction2 = 1-math.Pow(p.Beta1, float64(step)), 1-math.Pow(p.Beta2, float64(step))
		g := []float64{math.Sin(float64(step)), 3}
		for i := range refW {
			d := g[i] + p.WeightDecay*refW[i]
			refM[i] = p.Beta1*refM[i] + (1-p.Beta1)*d
			refV[i] = p.Beta2*refV[i] + (1-p.Beta2)*d*d
			refW[i] -= p.LR * (refM[i] / p.Correction1) / (math.Sqrt(refV[i]/p.Correction2) + p.Epsilon)
		}
		AdamStep(w, g, m, v, p)
		for i := range w {
			if math.Abs(w[i]-refW[i]) > roundoff {
				t.Fatalf("step %d: weight %d is %v, want %v", step, i, w[i], refW[i])
			}
		}
	}
}

// TestAdamStepFirst checks that the first step without decay moves every weight by the learning rate against the sign of its gradient.
func TestAdamStepFirst(t *testing.T) {
	w, g, m, v := []float64{1, 1, 1}, []float64{4, -.001, 0}, make([]float64, 3), make([]float64, 3)
	AdamStep(w, g, m, v, AdamParams{LR: .1, Beta1: .9, Beta2: .999, Epsilon: 1e-15, Correction1: 1 - .9, Correction2: 1 - .999})
	for i, want := range []float64{.9, 1.1, 1} {
		if math.Abs(w[i]-want) > roundoff {
			t.Errorf("weight %d is %v, want %v", i, w[i], want)
		}
	}
}

// TestSGDStep compares two steps with a constant gradient of 1 and no decay with their closed form.
func TestSGDStep(t *testing.T) {
	for _, c := range []struct {
		name string
		p    SGDParams
		want float64
	}{
		{"plain", SGDParams{LR: .1}, -.1 - .1},
		{"momentum", SGDParams{LR: .1, Momentum: .9}, -.1 - .1*1.9},
		{"nesterov", SGDParams{LR: .1, Momentum: .9, Nesterov: true}, -.1*1.9 - .1*(1+.9*1.9)},
		{"decay", SGDParams{LR: .1, WeightDecay: .5}, -.1 - .1*(1-.5*.1)},
	} {
		w, g, m := []float64{0}, []float64{1}, []float64{0}
		if c.p.Momentum == 0 {
			m = nil
		}
		SGDStep(w, g, m, c.p)
		SGDStep(w, g, m, c.p)
		if math.Abs(w[0]-c.want) > roundoff {
			t.Errorf("%s: weight is %v, want %v", c.name, w[0], c.want)
		}
	}
}
