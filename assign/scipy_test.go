package assign_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/rebasin/rebasin/assign"
)

// scipyCase is a matrix of whole numbers and the sums that SciPy found for it. See scripts/scipy_fixtures.py.
type scipyCase struct {
	Rows, Cols     int
	Seed           uint64
	Range, Shift   int64
	Least, Largest float64
}

// Whole numbers give SciPy's values to the last digit, in both types.
func TestSciPyValues(t *testing.T) {
	text, err := os.ReadFile("testdata/scipy.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []scipyCase
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%dx%d of %d", c.Rows, c.Cols, c.Range), func(t *testing.T) {
			checkSciPy[float32](t, c)
			checkSciPy[float64](t, c)
		})
	}
}

func checkSciPy[T float32 | float64](t *testing.T, c scipyCase) {
	t.Helper()
	cost, state := make([]T, c.Rows*c.Cols), c.Seed
	for k := range cost {
		state = state*6364136223846793005 + 1442695040888963407
		cost[k] = T(int64(state>>33)%c.Range - c.Shift)
	}
	for _, maximize := range []bool{false, true} {
		r, err := assign.Solve(context.Background(), c.Rows, c.Cols, cost, assign.Options{Maximize: maximize})
		if err != nil {
			t.Fatal(err)
		}
		want := c.Least
		if maximize {
			want = c.Largest
		}
		if r.Value != want || r.Gap != 0 {
			t.Errorf("%T, maximize %t: %v with a gap of %v, want %v", cost, maximize, r.Value, r.Gap, want)
		}
	}
}
