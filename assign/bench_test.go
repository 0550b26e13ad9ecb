package assign_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/rebasin/rebasin/assign"
)

// kinds are matrices like those that weight matching makes, to be maximised: uniform noise; similarities of unrelated units
// (product of Gaussians); and of units that are a permuted noisy copy of others (planted), the noise as strong as makes the
// permutation just recoverable.
var kinds = []struct {
	name string
	make func(rng *rand.Rand, n int) []float32
}{
	{"uniform", func(rng *rand.Rand, n int) []float32 {
		c := make([]float32, n*n)
		for i := range c {
			c[i] = rng.Float32()
		}
		return c
	}},
	{"product", func(rng *rand.Rand, n int) []float32 {
		return productOfTransposed(gaussians(rng, n), gaussians(rng, n), n)
	}},
	{"planted", func(rng *rand.Rand, n int) []float32 {
		a, noise := gaussians(rng, n), gaussians(rng, n)
		b := make([]float32, n*n)
		strength := float32(math.Sqrt(float64(n)) / 4)
		for i, p := range rng.Perm(n) {
			for k := range n {
				b[i*n+k] = a[p*n+k] + strength*noise[i*n+k]
			}
		}
		return productOfTransposed(a, b, n)
	}},
}

// gaussians is an n by n matrix of standard normal numbers.
func gaussians(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n*n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// productOfTransposed is a·bᵀ.
func productOfTransposed(a, b []float32, n int) []float32 {
	c := make([]float32, n*n)
	for i := range n {
		for j := range n {
			var sum float32
			x, y := a[i*n:(i+1)*n], b[j*n:(j+1)*n]
			for k := range x {
				sum += x[k] * y[k]
			}
			c[i*n+j] = sum
		}
	}
	return c
}

func BenchmarkSolve(b *testing.B) {
	for _, kind := range kinds {
		for _, n := range []int{512, 1024} {
			cost := kind.make(rand.New(rand.NewPCG(1, 2)), n)
			b.Run(fmt.Sprintf("%s/n=%d", kind.name, n), func(b *testing.B) {
				benchmark(b, n, cost, assign.Options{Maximize: true})
			})
		}
	}
}

// BenchmarkWarm solves a matrix again after a small change of every entry, from the prices it had before, as straight-through
// estimation does.
func BenchmarkWarm(b *testing.B) {
	const n = 512
	for _, kind := range kinds {
		rng := rand.New(rand.NewPCG(1, 2))
		cost := kind.make(rng, n)
		before, err := assign.Solve(context.Background(), n, n, cost, assign.Options{Maximize: true})
		if err != nil {
			b.Fatal(err)
		}
		changed := make([]float32, n*n)
		for i, c := range cost {
			changed[i] = c + 1e-3*float32(rng.NormFloat64())*c
		}
		for _, prices := range [][]float64{nil, before.V} {
			name := "cold"
			if prices != nil {
				name = "warm"
			}
			b.Run(fmt.Sprintf("%s/%s/n=%d", kind.name, name, n), func(b *testing.B) {
				benchmark(b, n, changed, assign.Options{Maximize: true, Prices: prices})
			})
		}
	}
}

func benchmark(b *testing.B, n int, cost []float32, opt assign.Options) {
	var solver assign.Solver[float32]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := solver.Solve(context.Background(), n, n, cost, opt); err != nil {
			b.Fatal(err)
		}
	}
}
