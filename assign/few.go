package assign

import (
	"context"
	"math"
	"math/bits"

	"github.com/rebasin/rebasin/internal/kernel"
)

// fewColumns is the number of columns up to which problems are solved by scans of whole rows, in float64 and padded to whole
// registers by forbidden columns.
const fewColumns = 127

// fewSearch is the workspace for problems of few columns. Its slices have an element for each column, padding included.
type fewSearch struct {
	cost []float64 // one row after the other
	path kernel.Path
	free [2]uint64 // the columns without a row, as bits
	done []settled
}

// row is row i of the padded matrix.
func (w *fewSearch) row(i int32) []float64 {
	width := len(w.path.Dist)
	return w.cost[int(i)*width : (int(i)+1)*width]
}

// placeFew finds an optimal assignment of few columns and its prices. The costs are checked in passing where they were not before.
func (s *Solver[T]) placeFew(ctx context.Context) error {
	if s.n == 0 {
		return nil
	}
	w := &s.few
	width := (s.m + 7) &^ 7
	w.cost = resize(w.cost, s.n*width)
	w.path.Price, w.path.Dist, w.path.Pred = resize(w.path.Price, width), resize(w.path.Dist, width), resize(w.path.Pred, width)
	fill(w.path.Price, 0)
	copy(w.path.Price, s.price)
	for i := range int32(s.n) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if largest := pad(w.row(i), s.row(i), s.sign); !s.checked {
			if err := s.admit(s.row(i), int(i), largest); err != nil {
				return err
			}
		}
	}
	w.free = [2]uint64{1<<min(s.m, 64) - 1, 1<<max(0, s.m-64) - 1}
	for i := range int32(s.n) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.augmentFew(i); err != nil {
			return err
		}
	}
	copy(s.price, w.path.Price)
	return nil
}

// pad writes sign·row to dst and fills the rest with forbidden columns. It returns the largest magnitude, NaN if one is not finite.
func pad[T float32 | float64](dst []float64, row []T, sign T) (largest T) {
	odd := T(0) // x - x is 0 for a finite x and NaN for any other
	for j, x := range row {
		odd += x - x
		x *= sign
		dst[j] = float64(x)
		if x < 0 {
			x = -x
		}
		if x > largest {
			largest = x
		}
	}
	fill(dst[len(row):], math.Inf(1))
	return largest + odd
}

// augmentFew is augment in the padded matrix.
func (s *Solver[T]) augmentFew(start int32) error {
	w := &s.few
	p := &w.path
	fill(p.Dist, math.Inf(1))
	w.done = w.done[:0]
	i, rent, length := start, 0.0, math.Inf(-1)
	for {
		row := w.row(i)
		var low, high uint64
		length, low, high = kernel.RelaxFew(row, p, i, rent, length)
		if math.IsInf(length, 1) {
			return ErrInfeasible
		}
		if j := w.firstFree(low, high); j != none {
			w.free[j/64] &^= 1 << (j % 64)
			lower(p.Price, w.done, length)
			s.flip(start, j, p.Pred)
			return nil
		}
		j := first(low, high)
		i = s.rowOf[j]
		rent = w.cost[int(i)*len(row)+int(j)] - p.Price[j] - length
		w.done = append(w.done, settled{col: j, dist: length, price: p.Price[j]})
		p.Dist[j], p.Price[j] = math.Inf(1), math.Inf(-1)
	}
}

// firstFree is the first free column among those that are bits, or none.
func (w *fewSearch) firstFree(low, high uint64) int32 {
	if low, high = low&w.free[0], high&w.free[1]; low|high == 0 {
		return none
	}
	return first(low, high)
}

// first is the first column among those that are bits.
func first(low, high uint64) int32 {
	if low != 0 {
		return int32(bits.TrailingZeros64(low))
	}
	return int32(64 + bits.TrailingZeros64(high))
}

// leastFew is the smallest reduced cost of row i.
func (w *fewSearch) leastFew(i int32) float64 {
	fill(w.path.Dist, math.Inf(1))
	least, _, _ := kernel.RelaxFew(w.row(i), &w.path, i, 0, math.Inf(-1))
	return least
}
