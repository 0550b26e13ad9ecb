package assign_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/rebasin/rebasin/assign"
)

// Products of small integers: few different rows, full of ties, so that whole rows are searched and scans of equal ones left out. Prices of integers are
// exact, so that the gap of an optimum is zero.
func TestFewDifferentRows(t *testing.T) {
	for seed := range uint64(4) {
		for _, n := range []int{150, 400} {
			cost := smallProducts(rand.New(rand.NewPCG(seed, 3)), n)
			for _, maximize := range []bool{false, true} {
				r, err := assign.Solve(context.Background(), n, n, cost, assign.Options{Maximize: maximize})
				if err != nil || r.Gap != 0 {
					t.Errorf("n=%d seed %d maximize %v: gap %v, %v", n, seed, maximize, r.Gap, err)
				}
			}
		}
	}
}

func BenchmarkFewDifferentRows(b *testing.B) {
	const n = 1000
	cost := smallProducts(rand.New(rand.NewPCG(1, 2)), n)
	b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) { benchmark(b, n, cost, assign.Options{Maximize: true}) })
}

// smallProducts is the product of an n by 4 and a 4 by n matrix of 0, 1 and 2.
func smallProducts(rng *rand.Rand, n int) []float32 {
	const inner = 4
	x, y, c := make([]float32, n*inner), make([]float32, n*inner), make([]float32, n*n)
	for i := range x {
		x[i], y[i] = float32(rng.IntN(3)), float32(rng.IntN(3))
	}
	for i := range n {
		for j := range n {
			for k := range inner {
				c[i*n+j] += x[i*inner+k] * y[j*inner+k]
			}
		}
	}
	return c
}
