package kernel

import (
	"sync/atomic"
	"time"
)

// Peak measures how many float32 operations the threads of the pool can do in a second, multiplication and addition counted apart, when
// nothing has to be fetched: what Gemm is to be compared with. It is the best of several short runs.
func Peak(p *Pool) float64 {
	const tries, rounds = 10, 1 << 20
	var best float64
	for range tries {
		t := &peakTask{rounds: rounds}
		begin := time.Now()
		p.Run(p.Threads(), t)
		best = max(best, float64(t.operations.Load())/time.Since(begin).Seconds())
	}
	return best
}

type peakTask struct {
	rounds     int
	operations atomic.Int64
}

// Do implements Task.
func (t *peakTask) Do(int) { t.operations.Add(int64(chosen32.peak(t.rounds))) }

// peakPortable does eight independent multiply-adds a round.
func peakPortable[T Float](rounds int) float64 {
	var x [8]T
	factor := T(rounds) // unknown to the compiler
	a, b, c, d, e, f, g, h := x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
	for range rounds {
		a += a * factor
		b += b * factor
		c += c * factor
		d += d * factor
		e += e * factor
		f += f * factor
		g += g * factor
		h += h * factor
	}
	if a+b+c+d+e+f+g+h != 0 {
		return 0
	}
	return 16 * float64(rounds)
}
