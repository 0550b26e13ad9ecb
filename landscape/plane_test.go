package landscape

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/eval"
)

// planeTolerance is relative: points of the plane are float32 vectors, and distances of them are compared.
const planeTolerance = 1e-5

func gaussian(seed uint64, n int) []float32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(rng.NormFloat64())
	}
	return out
}

// minus returns a − b in float64.
func minus(a, b []float32) []float64 {
	out := make([]float64, len(a))
	for i := range out {
		out[i] = float64(a[i]) - float64(b[i])
	}
	return out
}

func dot(a, b []float64) float64 {
	var sum float64
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// point returns the model at (x, y).
func (p basis) point(x, y float64) []float32 {
	out := make([]float32, len(p.w1))
	p.at(out, x, y)
	return out
}

func TestBasisIdentities(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(3, 200).Draw(t, "n")
		seed := rapid.Uint64().Draw(t, "seed")
		w1, w2, w3 := gaussian(seed, n), gaussian(seed+1, n), gaussian(seed+2, n)
		b, err := newBasis(w1, w2, w3)
		if err != nil {
			t.Fatal(err)
		}
		near := func(what string, got, want float64) {
			t.Helper()
			if math.Abs(got-want) > planeTolerance*(1+math.Abs(want)) {
				t.Errorf("%s is %v, want %v", what, got, want)
			}
		}

		origin := b.point(0, 0)
		u, v := minus(b.point(1, 0), origin), minus(b.point(0, 1), origin)
		near("⟨û, û⟩", dot(u, u), 1)
		near("⟨v̂, v̂⟩", dot(v, v), 1)
		near("⟨û, v̂⟩", dot(u, v), 0)

		for k, w := range [][]float32{w1, w2, w3} {
			c := b.corners()[k]
			off := minus(b.point(c[0], c[1]), w)
			near("distance of a model from its corner", math.Sqrt(dot(off, off)), 0)
			d := minus(w, w1)
			near("x of a corner", c[0], dot(d, u))
			near("y of a corner", c[1], dot(d, v))
		}
	})
}

func TestPlaneMeasuresItsGrid(t *testing.T) {
	w1, w2, w3 := []float32{1, 2, 0}, []float32{5, 2, 0}, []float32{3, 5, 0}
	res, err := Plane(t.Context(), w1, w2, w3, PlaneOptions{Width: 5, Height: 4, Margin: .5}, evaluatorFunc(bowl), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := PlaneResult{
		X:       []float64{-2, 0, 2, 4, 6},
		Y:       []float64{-1.5, .5, 2.5, 4.5},
		Corners: [3][2]float64{{0, 0}, {4, 0}, {2, 3}},
		Grid:    res.Grid,
	}
	if diff := cmp.Diff(want, res); diff != "" {
		t.Fatal(diff)
	}
	for r, y := range res.Y {
		for c, x := range res.X {
			loss := (1+x)*(1+x) + (2+y)*(2+y) // here û and v̂ are the first two axes
			if got := res.Grid[r][c]; math.Abs(got.Train.Loss-loss) > planeTolerance*loss || got.Test.Count != 3 {
				t.Errorf("at (%v, %v): %v, want a loss of %v", x, y, got, loss)
			}
		}
	}
}

func TestPlaneDefaultsAndMargins(t *testing.T) {
	w1, w2, w3 := []float32{0, 0}, []float32{10, 0}, []float32{5, 10}
	var done, total int
	res, err := Plane(t.Context(), w1, w2, w3, PlaneOptions{}, evaluatorFunc(bowl), func(d, n int) { done, total = d, n })
	if err != nil {
		t.Fatal(err)
	}
	if len(res.X) != 21 || len(res.Y) != 21 || done != 441 || total != 441 {
		t.Errorf("%d by %d points, progress %d/%d", len(res.X), len(res.Y), done, total)
	}
	if res.X[0] != -2 || res.X[20] != 12 || res.Y[0] != -2 || res.Y[20] != 12 {
		t.Errorf("default margin: x from %v to %v, y from %v to %v", res.X[0], res.X[20], res.Y[0], res.Y[20])
	}
	res, err = Plane(t.Context(), w1, w2, w3, PlaneOptions{Width: 2, Height: 2, Margin: -1}, evaluatorFunc(bowl), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(res.X, []float64{0, 10}) || !slices.Equal(res.Y, []float64{0, 10}) {
		t.Errorf("no margin: x %v, y %v", res.X, res.Y)
	}
}

func TestPlaneIsDeterministic(t *testing.T) {
	run := func() PlaneResult {
		res, err := Plane(t.Context(), gaussian(1, 999), gaussian(2, 999), gaussian(3, 999), PlaneOptions{Width: 3, Height: 3},
			evaluatorFunc(bowl), nil)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if diff := cmp.Diff(run(), run()); diff != "" {
		t.Error(diff)
	}
}

func TestPlaneErrors(t *testing.T) {
	nan := float32(math.NaN())
	w1, w2, w3 := []float32{0, 0}, []float32{1, 0}, []float32{0, 1}
	broken := evaluatorFunc(func(context.Context, []float32) (train, test eval.Metrics, err error) {
		return train, test, errors.New("broken")
	})
	tests := []struct {
		name       string
		w1, w2, w3 []float32
		opt        PlaneOptions
		e          Evaluator
		message    string
		collinear  bool
	}{
		{name: "first two equal", w1: w1, w2: w1, w3: w3, message: "the first two are equal", collinear: true},
		{name: "first and third equal", w1: w1, w2: w2, w3: w1, message: "on one line", collinear: true},
		{name: "on the line", w1: []float32{1, 1}, w2: []float32{3, 5}, w3: []float32{2, 3}, message: "on one line", collinear: true},
		{name: "lengths", w1: w1, w2: w2, w3: w3[:1], message: "models of 2, 2 and 1 parameters"},
		{name: "empty", message: "models of 0, 0 and 0 parameters"},
		{name: "NaN", w1: w1, w2: w2, w3: []float32{nan, 1}, message: "not finite"},
		{name: "narrow", w1: w1, w2: w2, w3: w3, opt: PlaneOptions{Width: 1}, message: "a grid of 1 by"},
		{name: "huge", w1: w1, w2: w2, w3: w3, opt: PlaneOptions{Height: 1 << 40}, message: "a side has 2 to 4096"},
		{name: "margin", w1: w1, w2: w2, w3: w3, opt: PlaneOptions{Margin: math.NaN()}, message: "a margin of NaN"},
		{name: "evaluator", w1: w1, w2: w2, w3: w3, e: broken, message: "evaluating at (-0.2, -0.2): broken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := tt.e
			if e == nil {
				e = evaluatorFunc(bowl)
			}
			_, err := Plane(t.Context(), tt.w1, tt.w2, tt.w3, tt.opt, e, nil)
			if err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Fatalf("error %v, want one that says %q", err, tt.message)
			}
			if errors.Is(err, ErrCollinear) != tt.collinear {
				t.Errorf("%v: ErrCollinear is %v, want %v", err, !tt.collinear, tt.collinear)
			}
		})
	}
}

// TestCollinearAtFloat32Resolution puts the third model on the line up to the rounding of its parameters.
func TestCollinearAtFloat32Resolution(t *testing.T) {
	w1, w2 := gaussian(1, 5000), gaussian(2, 5000)
	w3 := make([]float32, len(w1))
	if err := Lerp(w3, w1, w2, .37); err != nil {
		t.Fatal(err)
	}
	if _, err := newBasis(w1, w2, w3); !errors.Is(err, ErrCollinear) {
		t.Errorf("error %v, want ErrCollinear", err)
	}
	w3[0] += .5
	if _, err := newBasis(w1, w2, w3); err != nil {
		t.Errorf("off the line: %v", err)
	}
}

func TestPlaneStopsWhenCancelled(t *testing.T) {
	ctx, e, calls := cancelAfter(t, 5)
	_, err := Plane(ctx, []float32{0, 0}, []float32{1, 0}, []float32{0, 1}, PlaneOptions{}, e, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if *calls != 5 {
		t.Errorf("%d points evaluated, want 5", *calls)
	}
}
