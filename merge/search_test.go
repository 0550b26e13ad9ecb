package merge_test

import (
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/merge"
)

// TestSearchFindsMinimaOfConvexFunctions, of several curvatures, skew and kinked.
func TestSearchFindsMinimaOfConvexFunctions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.Float64Range(-.5, 1.5).Draw(t, "minimum")
		left, right := rapid.Float64Range(.1, 10).Draw(t, "left"), rapid.Float64Range(.1, 10).Draw(t, "right")
		power := rapid.SampledFrom([]float64{1, 2, 4}).Draw(t, "power")
		f := func(l float64) float64 {
			if l < at {
				return left * math.Pow(at-l, power)
			}
			return right * math.Pow(l-at, power)
		}
		asked := 0
		lambda, best, err := merge.SearchLambda(func(l float64) (float64, error) {
			if l < 0 || l > 1 {
				t.Fatalf("asked for %v", l)
			}
			asked++
			return f(l), nil
		})
		if err != nil || best != f(lambda) {
			t.Fatalf("λ %v, loss %v, error %v", lambda, best, err)
		}
		if asked != merge.SearchSteps {
			t.Errorf("asked %d times, announced were %d", asked, merge.SearchSteps)
		}
		if want := max(0, min(1, at)); math.Abs(lambda-want) > .003 {
			t.Errorf("λ %v, the minimum is at %v", lambda, want)
		}
	})
}

// TestSearchOtherFunctions: several valleys, plateaus, and losses that are no numbers.
func TestSearchOtherFunctions(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for name, tt := range map[string]struct {
		f            func(l float64) float64
		lambda, best float64
	}{
		"two valleys, the right one lower": {func(l float64) float64 { return min(math.Abs(l-.2), math.Abs(l-.8)-.05) }, .8, -.05},
		"constant: the first":              {func(float64) float64 { return 7 }, 0, 7},
		"no number on the left": {func(l float64) float64 {
			if l < .35 {
				return nan
			}
			return (l - .6) * (l - .6)
		}, .6, 0},
		"finite at one place": {func(l float64) float64 {
			if l == 1 {
				return 3
			}
			return nan
		}, 1, 3},
		"nowhere a number": {func(float64) float64 { return nan }, 0, inf},
	} {
		t.Run(name, func(t *testing.T) {
			lambda, best, err := merge.SearchLambda(func(l float64) (float64, error) { return tt.f(l), nil })
			if err != nil {
				t.Fatal(err)
			}
			if math.Abs(lambda-tt.lambda) > .003 || best != tt.best && math.Abs(best-tt.best) > .003 {
				t.Errorf("λ %v with %v, want %v with %v", lambda, best, tt.lambda, tt.best)
			}
		})
	}
}

// TestSearchStopsAtAnError wherever it comes.
func TestSearchStopsAtAnError(t *testing.T) {
	bad := errors.New("cancelled")
	for at := 1; at <= merge.SearchSteps; at++ {
		asked := 0
		_, _, err := merge.SearchLambda(func(l float64) (float64, error) {
			asked++
			if asked == at {
				return 0, bad
			}
			return l * l, nil
		})
		if !errors.Is(err, bad) || asked != at {
			t.Errorf("error %v after being asked %d times, want one after %d", err, asked, at)
		}
	}
}
