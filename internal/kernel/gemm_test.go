package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestGemmQuick(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pool := NewPool(3)
	defer pool.Close()
	for range 300 {
		m, n, k := rng.IntN(70), rng.IntN(70), rng.IntN(900)
		a, b, c := make([]float32, m*k), make([]float32, n*k), make([]float32, m*n)
		for i := range a {
			a[i] = rng.Float32()
		}
		for i := range b {
			b[i] = rng.Float32()
		}
		ta, tb := rng.IntN(2) == 0, rng.IntN(2) == 0
		lda, ldb := max(k, 1), max(n, 1)
		if ta {
			lda = max(m, 1)
		}
		if tb {
			ldb = max(k, 1)
		}
		Gemm(pool, ta, tb, m, n, k, a, lda, b, ldb, 0, c, max(n, 1))
		for i := range m {
			for j := range n {
				var s float64
				for p := range k {
					x, y := i*k+p, p*n+j
					if ta {
						x = p*m + i
					}
					if tb {
						y = j*k + p
					}
					s += float64(a[x]) * float64(b[y])
				}
				if math.Abs(s-float64(c[i*n+j])) > 1e-3 {
					t.Fatalf("%d %d: %v, want %v", i, j, c[i*n+j], s)
				}
			}
		}
	}
}
