package assign

import (
	"context"
	"math"

	"github.com/rebasin/rebasin/internal/kernel"
)

// fewColumns is the number of columns up to which problems are solved by scans of whole rows, in float64 and padded to whole
// registers by forbidden columns.
const fewColumns = 192

// fewSearch is the workspace for problems of few columns. Its slices have an element for each column, padding included.
type fewSearch struct {
	kernel.FewPath
}

// row is row i of the padded matrix.
func (w *fewSearch) row(i int32) []float64 {
	width := len(w.Price)
	return w.Cost[int(i)*width : (int(i)+1)*width]
}

// resize makes room for n rows of width columns.
func (w *fewSearch) resize(n, width int) {
	w.Cost = resize(w.Cost, n*width)
	w.Price, w.Dist, w.Length = resize(w.Price, width), resize(w.Dist, width), resize(w.Length, width)
	w.Pred, w.RowOf, w.Col = resize(w.Pred, width), resize(w.RowOf, width), resize(w.Col, width)
}

// placeFew finds an optimal assignment of few columns and its prices. The costs are checked in passing where they were not before.
func (s *Solver[T]) placeFew(ctx context.Context) error {
	if s.n == 0 {
		return nil
	}
	w := &s.few
	w.resize(s.n, (s.m+7)&^7)
	fill(w.Price, 0)
	copy(w.Price, s.price)
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
	for k := range w.Free {
		w.Free[k] = 1<<min(max(0, s.m-64*k), 64) - 1
	}
	for i := range int32(s.n) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.augmentFew(i); err != nil {
			return err
		}
	}
	copy(s.price, w.Price)
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
	length, j, settled := kernel.SearchFew(&w.FewPath, int(start))
	if math.IsInf(length, 1) {
		return ErrInfeasible
	}
	w.Free[j/64] &^= 1 << (j % 64)
	for k, c := range w.Col[:settled] {
		w.Price[c] += w.Length[k] - length
	}
	for i, at := int32(none), int32(j); i != start; {
		i = w.Pred[at]
		previous := s.colOf[i]
		s.put(i, at)
		w.RowOf[at] = i
		at = previous
	}
	return nil
}
