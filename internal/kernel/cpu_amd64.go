//go:build amd64 && !purego

package kernel

import "golang.org/x/sys/cpu"

// offered lists what processor and operating system can run, from the slowest to the fastest.
func offered() []*implementation[float32] {
	offers := []*implementation[float32]{portable[float32]()}
	if !cpu.X86.HasAVX2 || !cpu.X86.HasFMA {
		return offers
	}
	offers = append(offers, &implementation[float32]{
		name: "avx2", engine: engineAVX2(), vectors: vectorsAVX2(), norms: normsAVX2(), gathers: gathersAVX2(), halves: halvesAVX2(),
		peak: peakOf(peakAVX2, 12*8),
	})
	if cpu.X86.HasAVX512F {
		offers = append(offers, &implementation[float32]{
			name: "avx512", engine: engineAVX512(), vectors: vectorsAVX2(), norms: normsAVX2(), gathers: gathersAVX2(), halves: halvesAVX2(),
			peak: peakOf(peakAVX512, 24*16),
		})
	}
	return offers
}

// offered64 lists the same for float64, of which only products have assembly: proofs run in it.
func offered64() []*implementation[float64] {
	offers := []*implementation[float64]{portable[float64]()}
	add := func(name string, e engine[float64]) {
		o := portable[float64]()
		o.name, o.engine = name, e
		offers = append(offers, o)
	}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		add("avx2", doubleAVX2())
		if cpu.X86.HasAVX512F {
			add("avx512", doubleAVX512())
		}
	}
	return offers
}

// peakOf turns a loop of multiply-adds into a peak of an implementation.
func peakOf(loop func(rounds int), multiplyAdds int) func(rounds int) float64 {
	return func(rounds int) float64 {
		loop(rounds)
		return 2 * float64(rounds) * float64(multiplyAdds)
	}
}
