package assign

import (
	"context"
	"fmt"
	"math"

	"github.com/rebasin/rebasin/internal/kernel"
)

// largestCost bounds |c| so that no sum of the search overflows: path lengths stay below 4·n·max|c|, and n below 2⁴⁰. Every
// float32 is below it.
const largestCost = 0x1p980

// checkCosts says whether every cost may stand in the matrix, of cols columns as given, and finds the largest.
func (s *Solver[T]) checkCosts(ctx context.Context, cols int) error {
	const run = 1 << 20 // elements between looks at ctx
	for rest := s.cost; len(rest) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(run, len(rest))
		largest := float64(kernel.LaneMinima(s.sign, rest[:n], &s.lists.lanes))
		if !(largest <= min(largestCost, float64(maxFinite[T]()))) {
			return s.checkRows(ctx, cols) // says which row
		}
		s.max = max(s.max, largest)
		rest = rest[n:]
	}
	return ctx.Err()
}

// checkRows is checkCosts row by row, since some elements are not finite or too large.
func (s *Solver[T]) checkRows(ctx context.Context, cols int) error {
	for first := 0; first < len(s.cost); first += cols {
		if err := ctx.Err(); err != nil {
			return err
		}
		row := s.cost[first : first+cols]
		if err := s.admit(row, first/cols, kernel.LaneMinima(s.sign, row, &s.lists.lanes)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// admit checks row i, of which largest is the largest magnitude, NaN or +Inf if any is.
func (s *Solver[T]) admit(row []T, i int, largest T) error {
	if !(largest <= maxFinite[T]()) {
		var err error
		if largest, err = checkInfinite(row, i, s.sign < 0); err != nil {
			return err
		}
	}
	if float64(largest) > largestCost {
		return tooLarge(row, i)
	}
	s.max = max(s.max, float64(largest))
	return nil
}

// checkInfinite goes through a row that is not finite: only the infinity that forbids a pair may be in it. It returns the largest
// finite |x|.
func checkInfinite[T float32 | float64](row []T, i int, maximize bool) (largest T, err error) {
	forbidding, verb := math.Inf(1), "minimising"
	if maximize {
		forbidding, verb = math.Inf(-1), "maximising"
	}
	for j, c := range row {
		x := float64(c)
		switch {
		case math.IsNaN(x):
			return 0, fmt.Errorf("assign: cost[%d,%d] is NaN", i, j)
		case math.IsInf(x, 0) && x != forbidding:
			return 0, fmt.Errorf("assign: cost[%d,%d] is %v, infinitely good: when %s, only %v (a forbidden pair) may be infinite",
				i, j, x, verb, forbidding)
		case x != forbidding:
			largest = max(largest, T(math.Abs(x)))
		}
	}
	return largest, nil
}

// tooLarge names the first finite cost of row i that is beyond largestCost.
func tooLarge[T float32 | float64](row []T, i int) error {
	for j, c := range row {
		if x := math.Abs(float64(c)); x > largestCost && !math.IsInf(x, 0) {
			return fmt.Errorf("assign: cost[%d,%d] is %v: beyond %v in magnitude, sums could overflow", i, j, c, float64(largestCost))
		}
	}
	return nil
}

// checkPrices says whether prices can start a problem of this shape.
func checkPrices(rows, cols int, prices []float64) error {
	switch {
	case prices == nil:
		return nil
	case rows != cols:
		return fmt.Errorf("assign: starting prices need a square problem, not [%d %d]", rows, cols)
	case len(prices) != cols:
		return fmt.Errorf("assign: %d starting prices for %d columns", len(prices), cols)
	}
	for j, p := range prices {
		if math.IsNaN(p) || math.IsInf(p, 0) {
			return fmt.Errorf("assign: starting price of column %d is %v", j, p)
		}
	}
	return nil
}

// resize returns a slice of length n in the memory of s where it suffices. Its contents are arbitrary.
func resize[E any](s []E, n int) []E {
	if cap(s) < n {
		return make([]E, n)
	}
	return s[:n]
}

// fill sets every element of s to x.
func fill[E any](s []E, x E) {
	for i := range s {
		s[i] = x
	}
}
