package kernel

import (
	"fmt"
	"testing"
)

// gemmShapes are squares, and the products of training an MLP 784-512-512-512-10 on batches of 500.
var gemmShapes = []struct {
	name           string
	transA, transB bool
	m, n, k        int
}{
	{"square", false, false, 512, 512, 512},
	{"square", false, false, 1024, 1024, 1024},
	{"square", false, false, 2048, 2048, 2048},
	{"forward", false, true, 500, 512, 784},
	{"forward", false, true, 500, 512, 512},
	{"gradW", true, false, 512, 784, 500},
	{"gradW", true, false, 512, 512, 500},
	{"gradX", false, false, 500, 512, 512},
	{"head", false, true, 500, 10, 512},
	{"headGradW", true, false, 10, 512, 500},
	{"headGradX", false, false, 500, 512, 10},
	{"narrow", false, true, 500, 32, 784},
	{"narrow", false, true, 500, 32, 32},
	{"batch16", false, true, 16, 512, 784},
	{"batch1", false, true, 1, 512, 784},
}

func BenchmarkGemm(b *testing.B) {
	for _, e := range offered() {
		for _, threads := range []int{1, 2} {
			for _, s := range gemmShapes {
				b.Run(fmt.Sprintf("%s/%d/%s-%dx%dx%d", e.name, threads, s.name, s.m, s.n, s.k), func(b *testing.B) {
					pool := NewPool(threads)
					defer pool.Close()
					x, y, z := make([]float32, s.m*s.k), make([]float32, s.k*s.n), make([]float32, s.m*s.n)
					lda, ldb := s.k, s.n
					if s.transA {
						lda = s.m
					}
					if s.transB {
						ldb = s.k
					}
					for b.Loop() {
						gemmWith(&e.engine, pool, s.transA, s.transB, s.m, s.n, s.k, x, lda, y, ldb, 0, z, s.n)
					}
					flops := 2 * float64(s.m) * float64(s.n) * float64(s.k) * float64(b.N)
					b.ReportMetric(flops/b.Elapsed().Seconds()/1e9, "GFLOP/s")
				})
			}
		}
	}
}

func BenchmarkPeak(b *testing.B) {
	for _, threads := range []int{1, 2} {
		b.Run(fmt.Sprint(threads), func(b *testing.B) {
			pool := NewPool(threads)
			defer pool.Close()
			var peak float64
			for b.Loop() {
				peak = max(peak, Peak(pool))
			}
			b.ReportMetric(peak/1e9, "GFLOP/s")
		})
	}
}

func BenchmarkAdamStep(b *testing.B) {
	for _, e := range offered() {
		b.Run(e.name, func(b *testing.B) {
			const n = 1 << 20
			w, g, m, v := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
			s := newAdamScalars[float32](AdamParams{LR: 1e-3, Beta1: .9, Beta2: .999, Epsilon: 1e-8, Correction1: .1, Correction2: .001})
			b.SetBytes(7 * 4 * n)
			for b.Loop() {
				e.adam(w, g, m, v, s)
			}
		})
	}
}

func BenchmarkScans(b *testing.B) {
	for _, n := range []int{1024, 8192} {
		x := make([]float32, n)
		v, dist := make([]float64, n), make([]float64, n)
		for j := range x {
			x[j] = float32(j*7919%n) / float32(n)
		}
		p := Path{Price: v, Dist: dist, Pred: make([]int32, n)}
		at := make([]int32, n)
		var lanes [ScanLanes]float32
		var reduced [ScanLanes]float64
		for name, run := range map[string]func(){
			"LaneMinima":        func() { LaneMinima(1, x, &lanes) },
			"Below":             func() { Below(1, x, 20/float32(n), at, n) },
			"ReducedLaneMinima": func() { ReducedLaneMinima(1, x, v, &reduced) },
			"ReducedBelow":      func() { ReducedBelow(1, x, v, 20/float64(n), at, n) },
			"Equal":             func() { Equal(v, 1, at, 1) },
			"Relax":             func() { Relax(1, x, &p, 1, 0, 0) },
		} {
			b.Run(fmt.Sprintf("%s/n=%d", name, n), func(b *testing.B) {
				b.SetBytes(int64(4 * n))
				for b.Loop() {
					run()
				}
			})
		}
	}
}
