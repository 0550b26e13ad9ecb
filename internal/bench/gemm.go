package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rebasin/rebasin/internal/kernel"
)

// Gemm is the speed of one matrix product, and the peak of the processor measured in the same process: arithmetic in registers alone.
type Gemm struct {
	M       int     `json:"m"`
	N       int     `json:"n"`
	K       int     `json:"k"`
	Threads int     `json:"threads"`
	GFLOPS  float64 `json:"gflops"`
	Peak    float64 `json:"peak"`
	Kernel  string  `json:"kernel"`
}

// gemmSeconds is how long a product is repeated: long enough for the clock and for the processor to reach its frequency.
const gemmSeconds = 1.0

// MultiplyMatrices times C = op(A)·op(B), C of m x n, the best of as many runs as fit in a second, at least three.
func MultiplyMatrices(ctx context.Context, m, n, k int, transA, transB bool, threads int) (Gemm, error) {
	for _, d := range []int{m, n, k} {
		if d < 1 || d > maxSide {
			return Gemm{}, fmt.Errorf("bench: a product of %d x %d by %d x %d: extents must be 1 to %d", m, k, k, n, maxSide)
		}
	}
	pool := kernel.NewPool(threads)
	defer pool.Close()
	rng := rand.New(rand.NewPCG(0, 0))
	a, b, c := draw(m*k, rng.Float32), draw(k*n, rng.Float32), make([]float32, m*n)
	lda, ldb := k, n
	if transA {
		lda = m
	}
	if transB {
		ldb = k
	}
	r := Gemm{M: m, N: n, K: k, Threads: pool.Threads(), Peak: kernel.Peak(pool) / 1e9, Kernel: kernel.Features()}
	flops := 2 * float64(m) * float64(n) * float64(k)
	begin := time.Now()
	for runs := 0; runs < 3 || time.Since(begin).Seconds() < gemmSeconds; runs++ {
		if err := ctx.Err(); err != nil {
			return Gemm{}, err
		}
		start := time.Now()
		kernel.Gemm(pool, transA, transB, m, n, k, a, lda, b, ldb, 0, c, n)
		r.GFLOPS = max(r.GFLOPS, flops/time.Since(start).Seconds()/1e9)
	}
	return r, nil
}
