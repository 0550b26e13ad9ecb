package assign

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/internal/kernel"
)

func TestNthIsThatOfSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.SliceOfN(rapid.Map(rapid.IntRange(0, 9), func(i int) float64 { return float64(i) / 3 }), 1, 60).Draw(t, "x")
		rank := rapid.IntRange(0, len(x)-1).Draw(t, "rank")
		sorted := slices.Sorted(slices.Values(x))
		if got := nth(x, rank); got != sorted[rank] {
			t.Fatalf("%v, want %v", got, sorted[rank])
		}
		for k, v := range x {
			if k < rank && v > sorted[rank] || k > rank && v < sorted[rank] {
				t.Fatalf("%v at %d of %v, on the wrong side of %v", v, k, x, sorted[rank])
			}
		}
	})
}

// The bounds are the least lane and the fourth largest, whatever the signs, the ties and the infinities.
func TestBoundsAreThoseOfSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.Float32Range(-3, 3), rapid.SampledFrom([]float32{0, -1, 1, float32(math.Inf(1)), math.MaxFloat32}))
		lanes := [kernel.ScanLanes]float32(rapid.SliceOfN(value, kernel.ScanLanes, kernel.ScanLanes).Draw(t, "lanes"))
		least, limit := bounds(&lanes)
		sorted := slices.Sorted(slices.Values(lanes[:]))
		if want := min(sorted[listRank-1], math.MaxFloat32); least != sorted[0] || limit != want {
			t.Errorf("%v and %v, want %v and %v", least, limit, sorted[0], want)
		}
	})
}

// A list holds columns with their costs, none twice, and whatever it does not hold is no better than its bound and no better than
// what it holds.
func TestListsBoundTheRest(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for _, values := range []int{1, 2, 50, 1 << 30} {
		for range 20 {
			const n = 200
			s := Solver[float32]{problem: problem[float32]{n: 1, m: n, sign: -1}}
			for range n {
				c := float32(rng.IntN(values))
				if rng.IntN(5) == 0 {
					c = float32(math.Inf(-1))
				}
				s.cost = append(s.cost, c)
				s.price = append(s.price, -float64(rng.IntN(3)))
			}
			s.lists.reset(1, n)
			s.list(0)
			checkList(t, &s)
			clear(s.price)
			if err := s.listFlat(0); err != nil {
				t.Fatal(err)
			}
			checkList(t, &s)
		}
	}
}

// checkList checks the list of row 0.
func checkList(t *testing.T, s *Solver[float32]) {
	t.Helper()
	held := map[int32]bool{}
	worst := math.Inf(-1)
	for _, c := range s.lists.of(0) {
		if float64(c.cost) != s.at(0, c.col) || held[c.col] || math.IsInf(float64(c.cost), 0) {
			t.Fatalf("column %d at cost %v in %v", c.col, c.cost, s.lists.of(0))
		}
		held[c.col] = true
		worst = max(worst, float64(c.cost)-s.price[c.col])
	}
	if len(held) < listRank {
		t.Fatalf("%d columns", len(held))
	}
	for j := range int32(s.m) {
		if h := s.at(0, j) - s.price[j]; !held[j] && (h < s.lists.beyond[0] || h < worst) {
			t.Fatalf("column %d at %v is left out, the bound is %v and the worst held %v", j, h, s.lists.beyond[0], worst)
		}
	}
}

// Where every row wants the same columns, lists do not last and rows are searched whole; where rows are unlike, hardly a row is
// looked at twice.
func TestListsAreGivenUpWhereTheyDoNotLast(t *testing.T) {
	const n = 300
	rng := rand.New(rand.NewPCG(13, 14))
	for name, c := range map[string]struct {
		cost   func(i, j int) float32
		giveUp bool
	}{
		"rank one": {func(i, j int) float32 { return float32((i + 1) * (j + 1)) }, true},
		"uniform":  {func(int, int) float32 { return rng.Float32() }, false},
	} {
		var cost []float32
		for i := range n {
			for j := range n {
				cost = append(cost, c.cost(i, j))
			}
		}
		var s Solver[float32]
		if _, err := s.Solve(context.Background(), n, n, cost, Options{}); err != nil {
			t.Fatal(err)
		}
		if gaveUp := s.lists.scans > s.enoughScans(); gaveUp != c.giveUp || !gaveUp && s.lists.scans > n/4 {
			t.Errorf("%s: %d scans of rows, enough are %d", name, s.lists.scans, s.enoughScans())
		}
	}
}
