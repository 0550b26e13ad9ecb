package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"time"

	"github.com/rebasin/rebasin/assign"
	"github.com/rebasin/rebasin/internal/kernel"
)

// Assign is the timing of one assignment problem.
type Assign struct {
	N       int     `json:"n"`
	Columns int     `json:"columns,omitempty"` // where not as many as rows
	Value   float64 `json:"value"`
	Seconds float64 `json:"seconds"`
	DualGap float64 `json:"dual_gap"`
}

// Kinds are the matrices that weight matching produces: a uniform; b the product of two Gaussian weight matrices; c1, c2, c3 a planted permutation under
// little, medium and heavy noise; d1 small integers; d2 planted with 30 % dead units in both models.
func Kinds() []string { return []string{"a", "b", "c1", "c2", "c3", "d1", "d2"} }

// maxSide keeps n*n*4 bytes below 16 GiB.
const maxSide = 1 << 16

// SolveAssignment times an n x columns problem, the best of runs.
func SolveAssignment(ctx context.Context, cost []float32, n, columns int, maximize bool, runs int) (Assign, error) {
	var solver assign.Solver[float32]
	best := Assign{N: n, Seconds: math.Inf(1)}
	if columns != n {
		best.Columns = columns
	}
	for range runs {
		start := time.Now()
		r, err := solver.Solve(ctx, n, columns, cost, assign.Options{Maximize: maximize})
		if err != nil {
			return Assign{}, err
		}
		best.Seconds = min(best.Seconds, time.Since(start).Seconds())
		best.Value, best.DualGap = r.Value, r.Gap
	}
	return best, nil
}

// ReadMatrix reads an n x columns matrix of raw little-endian float32, row-major. The file must have exactly that size.
func ReadMatrix(path string, n, columns int) ([]float32, error) {
	if least, most := min(n, columns), max(n, columns); least < 1 || most > maxSide {
		return nil, fmt.Errorf("bench: %d x %d, rows and columns must be 1 to %d", n, columns, maxSide)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if want := 4 * int64(n) * int64(columns); info.Size() != want {
		return nil, fmt.Errorf("bench: %q has %d bytes, %d x %d float32 have %d", path, info.Size(), n, columns, want)
	}
	out := make([]float32, n*columns)
	if err := binary.Read(bufio.NewReaderSize(f, 1<<20), binary.LittleEndian, out); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("bench: reading %q: %w", path, err)
	}
	return out, nil
}

// Matrix draws an n x n matrix of one of the [Kinds].
func Matrix(kind string, n int, seed uint64) ([]float32, error) {
	if n < 1 || n > maxSide {
		return nil, fmt.Errorf("bench: n is %d, it must be 1 to %d", n, maxSide)
	}
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	scale := math.Sqrt(float64(n))
	switch kind {
	case "a":
		return draw(n*n, rng.Float32), nil
	case "b":
		return product(gaussian(rng, n), gaussian(rng, n), n), nil
	case "c1":
		return planted(rng, n, .5, false), nil
	case "c2":
		return planted(rng, n, scale/4, false), nil
	case "c3":
		return planted(rng, n, scale/1.5, false), nil
	case "d1":
		return draw(n*n, func() float32 { return float32(rng.IntN(100)) }), nil
	case "d2":
		return planted(rng, n, .5, true), nil
	}
	return nil, fmt.Errorf("bench: unknown kind %q; there are %v", kind, Kinds())
}

func draw(n int, next func() float32) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = next()
	}
	return out
}

func gaussian(rng *rand.Rand, n int) []float32 {
	return draw(n*n, func() float32 { return float32(rng.NormFloat64()) })
}

// product is a·bᵀ.
func product(a, b []float32, n int) []float32 {
	pool := kernel.NewPool(0)
	defer pool.Close()
	out := make([]float32, n*n)
	kernel.Gemm(pool, false, true, n, n, n, a, n, b, n, 0, out, n)
	return out
}

// planted is the similarity of n random units with the same units in another order and under noise, three in ten of them dead if asked for.
func planted(rng *rand.Rand, n int, noise float64, dead bool) []float32 {
	a, b := gaussian(rng, n), make([]float32, n*n)
	for i, from := range rng.Perm(n) {
		for k := range n {
			b[i*n+k] = a[from*n+k] + float32(noise*rng.NormFloat64())
		}
	}
	if dead {
		for _, w := range [][]float32{a, b} {
			for _, i := range rng.Perm(n)[:3*n/10] {
				clear(w[i*n : (i+1)*n])
			}
		}
	}
	return product(a, b, n)
}
