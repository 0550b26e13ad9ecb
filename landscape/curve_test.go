package landscape

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/eval"
)

// evaluatorFunc makes a function of the parameters an Evaluator.
type evaluatorFunc func(ctx context.Context, theta []float32) (train, test eval.Metrics, err error)

func (f evaluatorFunc) Evaluate(ctx context.Context, theta []float32) (train, test eval.Metrics, err error) {
	return f(ctx, theta)
}

// bowl is a quadratic with its minimum at the origin; the test loss is one more than the training loss.
func bowl(_ context.Context, theta []float32) (train, test eval.Metrics, err error) {
	var sum float64
	for _, w := range theta {
		sum += float64(w) * float64(w)
	}
	return eval.Metrics{Loss: sum, Accuracy: .5, Count: 7}, eval.Metrics{Loss: sum + 1, Accuracy: .25, Count: 3}, nil
}

func TestLambdas(t *testing.T) {
	for points := -1; points <= 101; points++ {
		want := max(points, 2)
		if points == 0 {
			want = DefaultPoints
		}
		got := Lambdas(points)
		if len(got) != want {
			t.Fatalf("Lambdas(%d) has %d points, want %d", points, len(got), want)
		}
		if err := checkLambdas(got); err != nil {
			t.Errorf("Lambdas(%d): %v", points, err)
		}
		if want%2 == 1 && got[want/2] != .5 {
			t.Errorf("Lambdas(%d) has %v in the middle", points, got[want/2])
		}
		for i := 1; i < want; i++ {
			if step := got[i] - got[i-1]; math.Abs(step-1/float64(want-1)) > roundoff {
				t.Errorf("Lambdas(%d): step %d is %v", points, i, step)
			}
		}
	}
}

func TestInterpolateKnownCurve(t *testing.T) {
	// From (1, 0) to (0, 1) the bowl is (1-λ)² + λ².
	var seen []string
	curve, err := Interpolate(t.Context(), "bowl", []float32{1, 0}, []float32{0, 1}, []float64{0, .25, .5, 1}, nil,
		evaluatorFunc(bowl), func(done, total int) { seen = append(seen, fmt.Sprintf("%d/%d", done, total)) })
	if err != nil {
		t.Fatal(err)
	}
	point := func(lambda, loss float64) Point {
		return Point{lambda, eval.Metrics{Loss: loss, Accuracy: .5, Count: 7}, eval.Metrics{Loss: loss + 1, Accuracy: .25, Count: 3}}
	}
	want := Curve{"bowl", []Point{point(0, 1), point(.25, .625), point(.5, .5), point(1, 1)}}
	if diff := cmp.Diff(want, curve); diff != "" {
		t.Error(diff)
	}
	if want := []string{"0/4", "1/4", "2/4", "3/4", "4/4"}; !slices.Equal(seen, want) {
		t.Errorf("progress %v, want %v", seen, want)
	}
	train, test := curve.Barriers()
	if zero := (Barrier{}); train != zero || test != zero {
		t.Errorf("barriers of a bowl: %v, %v", train, test)
	}
}

func TestLerpIsExactAtTheEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(rapid.Float32(), 1, 9).Draw(t, "a")
		b := rapid.SliceOfN(rapid.Float32(), len(a), len(a)).Draw(t, "b")
		dst := make([]float32, len(a))
		for lambda, want := range map[float64][]float32{0: a, 1: b} {
			if err := Lerp(dst, a, b, lambda); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(dst, want) {
				t.Errorf("at %v: %v, want %v", lambda, dst, want)
			}
		}
		if err := Lerp(dst, a, a, .3); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(dst, a) {
			t.Errorf("a mixed with itself is %v, not %v", dst, a)
		}
	})
}

func TestInterpolateUsesItsMix(t *testing.T) {
	great := func(dst, a, b []float32, lambda float64) error { // the arc between two orthogonal unit vectors
		sin, cos := math.Sincos(lambda * math.Pi / 2)
		for i := range dst {
			dst[i] = float32(cos*float64(a[i]) + sin*float64(b[i]))
		}
		return nil
	}
	curve, err := Interpolate(t.Context(), "arc", []float32{1, 0}, []float32{0, 1}, Lambdas(9), great, evaluatorFunc(bowl), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range curve.Points {
		if math.Abs(p.Train.Loss-1) > 1e-6 { // float32 parameters of size 1
			t.Errorf("at λ = %v the arc leaves the sphere: %v", p.Lambda, p.Train.Loss)
		}
	}
}

func TestInterpolateErrors(t *testing.T) {
	broken := errors.New("broken")
	two := []float32{1, 2}
	tests := []struct {
		name    string
		a, b    []float32
		lambdas []float64
		mix     Mix
		e       evaluatorFunc
		message string
		is      error
	}{
		{name: "lengths", a: two, b: two[:1], message: `curve "c": models of 2 and 1 parameters`},
		{name: "empty", message: "models of 0 and 0 parameters"},
		{name: "lambdas", a: two, b: two, lambdas: []float64{0, 2}, message: "lambdas go from 0 to 2"},
		{name: "empty lambdas", a: two, b: two, lambdas: []float64{}, message: "at least the two ends"},
		{
			name: "mix", a: two, b: two, message: "mixing at λ = 0: broken", is: broken,
			mix: func(_, _, _ []float32, _ float64) error { return broken },
		},
		{
			name: "evaluator", a: two, b: two, message: "evaluating at λ = 0: broken", is: broken,
			e: func(context.Context, []float32) (train, test eval.Metrics, err error) { return train, test, broken },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := tt.e
			if e == nil {
				e = bowl
			}
			curve, err := Interpolate(t.Context(), "c", tt.a, tt.b, tt.lambdas, tt.mix, e, nil)
			if err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Fatalf("error %v, want one that says %q", err, tt.message)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v does not wrap %v", err, tt.is)
			}
			if len(curve.Points) != 0 {
				t.Error("a curve beside the error")
			}
		})
	}
}

// cancelAfter returns a context and an evaluator that cancels it in its n-th call, and the count of calls.
func cancelAfter(t *testing.T, n int) (context.Context, Evaluator, *int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	calls := new(int)
	return ctx, evaluatorFunc(func(ctx context.Context, theta []float32) (train, test eval.Metrics, err error) {
		*calls++
		if *calls == n {
			cancel()
		}
		return bowl(ctx, theta)
	}), calls
}

func TestInterpolateStopsWhenCancelled(t *testing.T) {
	ctx, e, calls := cancelAfter(t, 3)
	_, err := Interpolate(ctx, "c", []float32{1}, []float32{2}, nil, nil, e, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if *calls != 3 {
		t.Errorf("%d points evaluated, want 3", *calls)
	}
}
