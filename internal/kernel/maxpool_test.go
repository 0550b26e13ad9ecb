package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// Windows of few values, so that ties are common, with NaN, infinities and zeros of both signs among them.
func checkMaxPairs[T Float](t *testing.T, e *implementation[T]) {
	rng := rand.New(rand.NewPCG(11, 12))
	values := []float64{math.NaN(), math.Inf(-1), math.Inf(1), math.Copysign(0, -1), 0, 1, 1, 2, -1, -1, -2, 3}
	for n := range 40 {
		for range 30 {
			top, bottom, dy := newGuarded[T](n%3, 2*n), newGuarded[T](n%5, 2*n), newGuarded[T](n%7, n)
			y, dTop, dBottom := newGuarded[T](n%4, n), newGuarded[T](1, 2*n), newGuarded[T](2, 2*n)
			for j := range top.data {
				top.data[j], bottom.data[j] = T(values[rng.IntN(len(values))]), T(values[rng.IntN(len(values))])
			}
			for j := range dy.data {
				dy.data[j] = T(rng.NormFloat64())
			}
			e.maxPairs(y.data, top.data, bottom.data)
			e.maxPairsGrad(dTop.data, dBottom.data, dy.data, top.data, bottom.data)
			for j := range n {
				window := []T{top.data[2*j], top.data[2*j+1], bottom.data[2*j], bottom.data[2*j+1]}
				grads := []T{dTop.data[2*j], dTop.data[2*j+1], dBottom.data[2*j], dBottom.data[2*j+1]}
				place := 0
				for i, v := range window {
					if best := window[place]; v > best || v != v && best == best {
						place = i
					}
				}
				what := fmt.Sprintf("%d windows, %d: %v", n, j, window)
				if got, want := y.data[j], window[place]; math.Float64bits(float64(got)) != math.Float64bits(float64(want)) && got == got {
					t.Fatalf("%s: the greatest is %v, want %v", what, got, want)
				} else if (got == got) != (want == want) {
					t.Fatalf("%s: the greatest is %v, want %v", what, got, want)
				}
				for i, g := range grads {
					if i == place && g != dy.data[j] || i != place && g != 0 {
						t.Fatalf("%s: gradients are %v, want %v at %d", what, grads, dy.data[j], place)
					}
				}
			}
			for _, g := range []guarded[T]{top, bottom, dy, y, dTop, dBottom} {
				g.check(t, fmt.Sprintf("%d windows", n))
			}
		}
	}
}

func TestMaxPairs(t *testing.T) { forEach(t, checkMaxPairs[float32], checkMaxPairs[float64]) }
