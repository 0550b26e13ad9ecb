package nn

import (
	"math"
	"testing"
)

// Central differences with step h are off by about h², and rounding by 1e-16/h: with h = 1e-5 both are below 1e-9 for values near one,
// and the curvature of what is tested here leaves a factor of a hundred.
const (
	differenceStep    = 1e-5
	gradientTolerance = 1e-7
)

// TestGradients compares every gradient of every case with central differences of a random linear form of the output.
func TestGradients(t *testing.T) {
	for _, c := range testCases() {
		t.Run(c.name, func(t *testing.T) {
			g := graphOf(t, c.build)
			e := newEngine[float64](t, g, c.options(true))
			x := inputFor[float64](t, g, c.batch)
			form := random[float64](len(forward(t, e, x, c.batch)), 3)
			if err := e.Backward(form); err != nil {
				t.Fatal(err)
			}
			got := append([]float64(nil), e.Grads()...)
			loss := func() float64 {
				sum := 0.0
				for i, y := range forward(t, e, x, c.batch) {
					sum += form[i] * y
				}
				return sum
			}
			want := make([]float64, len(got))
			for _, s := range e.Specs() {
				for i := s.Offset; i < s.Offset+s.Len && !s.Statistic; i++ {
					want[i] = difference(&e.Params()[i], loss)
				}
			}
			if d := deviation(got, want); d > gradientTolerance {
				t.Errorf("gradients deviate by %g:\n got %v\nwant %v", d, got, want)
			}
		})
	}
}

func difference(p *float64, f func() float64) float64 {
	old := *p
	*p = old + differenceStep
	up := f()
	*p = old - differenceStep
	down := f()
	*p = old
	return (up - down) / (2 * differenceStep)
}

// TestFloat32AgreesWithFloat64 runs every case in both types.
func TestFloat32AgreesWithFloat64(t *testing.T) {
	const tolerance = 1e-4 // some hundred operations in float32, each within 6e-8
	for _, c := range testCases() {
		t.Run(c.name, func(t *testing.T) {
			g := graphOf(t, c.build)
			wide := newEngine[float64](t, g, c.options(true))
			narrow := newEngine[float32](t, g, c.options(true))
			x := inputFor[float32](t, g, c.batch)
			x64 := make([]float64, len(x))
			for i, v := range x {
				x64[i] = float64(v)
			}
			y, y64 := forward(t, narrow, x, c.batch), forward(t, wide, x64, c.batch)
			if d := deviation(y, y64); d > tolerance {
				t.Errorf("outputs deviate by %g", d)
			}
			form := random[float32](len(y), 3)
			if err := narrow.Backward(form); err != nil {
				t.Fatal(err)
			}
			form64 := make([]float64, len(form))
			for i, v := range form {
				form64[i] = float64(v)
			}
			if err := wide.Backward(form64); err != nil {
				t.Fatal(err)
			}
			if d := deviation(narrow.Grads(), wide.Grads()); d > tolerance {
				t.Errorf("gradients deviate by %g", d)
			}
		})
	}
}

// TestBackwardOverwrites runs the same step twice, with rubbish in the gradients between: nothing of it may stay.
func TestBackwardOverwrites(t *testing.T) {
	for _, c := range testCases() {
		g := graphOf(t, c.build)
		e := newEngine[float64](t, g, c.options(true))
		x := inputFor[float64](t, g, c.batch)
		form := random[float64](len(forward(t, e, x, c.batch)), 3)
		if err := e.Backward(form); err != nil {
			t.Fatal(err)
		}
		first := append([]float64(nil), e.Grads()...)
		for _, s := range e.Specs() {
			fill(e.Grads()[s.Offset:s.Offset+s.Len], math.NaN())
		}
		forward(t, e, x, c.batch)
		if err := e.Backward(form); err != nil {
			t.Fatal(err)
		}
		if d := deviation(e.Grads(), first); d != 0 {
			t.Errorf("%s: the second gradient deviates by %g from the first", c.name, d)
		}
	}
}
