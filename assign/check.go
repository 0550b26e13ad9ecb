package assign

import (
	"context"
	"fmt"
	"math"
)

// largestCost bounds |c| so that no sum of the search overflows: path lengths stay below 4·n·max|c|, and n below 2⁴⁰. Every float32 is below it.
const largestCost = 0x1p980

// checkCosts says whether every cost may stand in a matrix of cols columns, and returns the largest finite |c|.
func checkCosts[T float32 | float64](ctx context.Context, cols int, cost []T, maximize bool) (float64, error) {
	var largest T
	for first := 0; first < len(cost); first += cols {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		row := cost[first : first+cols]
		m, finite := extent(row)
		if !finite {
			var err error
			if m, err = checkInfinite(row, first/cols, maximize); err != nil {
				return 0, err
			}
		}
		if float64(m) > largestCost {
			return 0, tooLarge(row, first/cols)
		}
		largest = max(largest, m)
	}
	return float64(largest), ctx.Err()
}

// extent is the largest |x| of row, and whether all of row is finite.
func extent[T float32 | float64](row []T) (largest T, finite bool) {
	var nan T // x - x is 0 for a finite x and NaN for any other
	for _, x := range row {
		nan += x - x
		if x < 0 {
			x = -x
		}
		if x > largest {
			largest = x
		}
	}
	return largest, nan == 0
}

// checkInfinite goes through a row that is not finite: only the infinity that forbids a pair may be in it. It returns the largest finite |x|.
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

// orient writes cost, of shape [rows, cols], to dst: transposed where rows outnumber columns, negated to maximise.
func orient[T float32 | float64](dst, cost []T, rows, cols int, negate bool) {
	sign := T(1)
	if negate {
		sign = -1
	}
	if rows <= cols {
		for i, c := range cost {
			dst[i] = sign * c
		}
		return
	}
	const block = 16 // rows at a time, so that a cache line of dst is filled before it leaves the cache
	for first := 0; first < rows; first += block {
		last := min(first+block, rows)
		for j := range cols {
			for i := first; i < last; i++ {
				dst[j*rows+i] = sign * cost[i*cols+j]
			}
		}
	}
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
