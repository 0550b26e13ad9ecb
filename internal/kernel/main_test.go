package kernel

import (
	"math"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// forEach runs a test on every implementation this processor can run, in float32 and in float64.
func forEach(t *testing.T, in32 func(*testing.T, *implementation[float32]), in64 func(*testing.T, *implementation[float64])) {
	t.Helper()
	for _, e := range offered() {
		t.Run(e.name, func(t *testing.T) { in32(t, e) })
	}
	doubles := offered64()
	if raceDetector {
		doubles = doubles[len(doubles)-1:] // what runs in parallel is the same in all
	}
	for _, e := range doubles {
		t.Run("float64 "+e.name, func(t *testing.T) { in64(t, e) })
	}
}

// same reports whether two numbers have the same bits, or are both not numbers.
func same[T Float](x, y T) bool {
	a, b := float64(x), float64(y)
	return math.Float64bits(a) == math.Float64bits(b) || (math.IsNaN(a) && math.IsNaN(b))
}

func sameSlices[T Float](t *testing.T, what string, got, want []T) {
	t.Helper()
	for i := range want {
		if !same(got[i], want[i]) {
			t.Fatalf("%s: element %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// guard is what surrounds the data of a guarded slice.
const guard = 12345

// A guarded slice lies at some offset within a buffer whose rest must not change.
type guarded[T Float] struct {
	buffer []T
	data   []T
}

func newGuarded[T Float](offset, n int) guarded[T] {
	const margin = 40
	b := make([]T, margin+offset+n+margin)
	for i := range b {
		b[i] = guard
	}
	return guarded[T]{b, b[margin+offset:][:n]}
}

func (g guarded[T]) check(t *testing.T, what string) {
	t.Helper()
	before := cap(g.buffer) - cap(g.data)
	for i, v := range g.buffer {
		if (i < before || i >= before+len(g.data)) && v != guard {
			t.Fatalf("%s: wrote %v at %d of %d elements", what, v, i-before, len(g.data))
		}
	}
}

// mustPanic runs f and checks what it panics with.
func mustPanic(t *testing.T, want any, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got := recover(); got != want {
			t.Errorf("panic with %v, want %v", got, want)
		}
	}()
	f()
}
