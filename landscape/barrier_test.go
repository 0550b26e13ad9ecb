package landscape

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// roundoff bounds the rounding of a few float64 operations on losses below 100.
const roundoff = 1e-12

func TestLossBarrierByHand(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	lambdas := []float64{0, .25, .5, 1}
	tests := []struct {
		name         string
		losses       []float64
		chord, paper float64
	}{
		{"hump", []float64{1, 1.5, 3, 2}, 1.5, 1.5},
		{"chord and paper differ", []float64{1, 2.2, 1, 2}, .95, .7},
		{"valley with uneven ends", []float64{1, 0, 0, 2}, 0, .5},
		{"straight line", []float64{1, 1.25, 1.5, 2}, 0, .5},
		{"flat", []float64{1, 1, 1, 1}, 0, 0},
		{"NaN inside", []float64{1, nan, 1, 1}, nan, nan},
		{"NaN beats Inf", []float64{inf, 1, nan, 1}, nan, nan},
		{"Inf inside", []float64{1, 1, inf, 1}, inf, inf},
		{"Inf at an end", []float64{1, 1, 1, inf}, inf, inf},
		{"+Inf beats -Inf", []float64{-inf, 1, inf, 1}, inf, inf},
		{"-Inf", []float64{1, -inf, 1, 1}, -inf, -inf},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := LossBarrier(lambdas, tt.losses)
			if !same(got.Chord, tt.chord) || !same(got.Paper, tt.paper) {
				t.Errorf("LossBarrier(%v) = %v, want {%v %v}", tt.losses, got, tt.chord, tt.paper)
			}
		})
	}
}

func same(a, b float64) bool {
	return a == b || math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) < roundoff
}

func TestLossBarrierPanics(t *testing.T) {
	tests := []struct {
		name            string
		lambdas, losses []float64
		message         string
	}{
		{"no points", nil, nil, "at least the two ends"},
		{"one point", []float64{0}, []float64{1}, "at least the two ends"},
		{"starts inside", []float64{.1, 1}, []float64{1, 1}, "instead of 0 to 1"},
		{"ends inside", []float64{0, .9}, []float64{1, 1}, "instead of 0 to 1"},
		{"descends", []float64{0, .6, .5, 1}, []float64{1, 1, 1, 1}, "lambda 2 is 0.5 after 0.6"},
		{"repeats", []float64{0, .5, .5, 1}, []float64{1, 1, 1, 1}, "not ascending"},
		{"NaN", []float64{0, math.NaN(), 1}, []float64{1, 1, 1}, "not ascending"},
		{"lengths differ", []float64{0, 1}, []float64{1, 1, 1}, "3 losses for 2 lambdas"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if got, _ := recover().(string); !strings.Contains(got, tt.message) {
					t.Errorf("panic %q, want one that says %q", got, tt.message)
				}
			}()
			LossBarrier(tt.lambdas, tt.losses)
		})
	}
}

// genCurve draws ascending lambdas with their ends, and a loss for each.
func genCurve(t *rapid.T) (lambdas, losses []float64) {
	lambdas = Lambdas(rapid.IntRange(2, 30).Draw(t, "points"))
	losses = rapid.SliceOfN(rapid.Float64Range(0, 50), len(lambdas), len(lambdas)).Draw(t, "losses")
	return lambdas, losses
}

func TestLossBarrierProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lambdas, losses := genCurve(t)
		n := len(losses)
		got := LossBarrier(lambdas, losses)
		half := math.Abs(losses[0]-losses[n-1]) / 2
		if got.Chord < 0 {
			t.Errorf("chord %v is below 0", got.Chord)
		}
		if got.Paper < half {
			t.Errorf("paper's form %v is below half the distance of the ends, %v", got.Paper, half)
		}
		if math.Abs(got.Chord-got.Paper) > half+roundoff {
			t.Errorf("forms %v differ by more than the chord deviates from its middle, %v", got, half)
		}

		reversed := make([]float64, n)
		tilted := make([]float64, n)
		a, b := rapid.Float64Range(-5, 5).Draw(t, "a"), rapid.Float64Range(-5, 5).Draw(t, "b")
		for i, l := range lambdas {
			reversed[n-1-i] = losses[i]
			tilted[i] = losses[i] + (1-l)*a + l*b
		}
		if back := LossBarrier(lambdas, reversed); !same(back.Chord, got.Chord) || !same(back.Paper, got.Paper) {
			t.Errorf("from B to A %v, from A to B %v", back, got)
		}
		if lean := LossBarrier(lambdas, tilted); !same(lean.Chord, got.Chord) {
			t.Errorf("chord %v changes to %v when a straight line is added", got.Chord, lean.Chord)
		}
	})
}
