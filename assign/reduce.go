package assign

import (
	"context"
	"math"
)

const (
	// reductions is how often augmenting row reduction goes through the rows without a column; Jonker and Volgenant (1987) found two to pay.
	reductions = 2

	// scansPerRow bounds one reduction: rows that outbid each other by small steps would otherwise take as many scans as the costs have steps.
	scansPerRow = 4
)

// takeMinima puts every row on the column where its reduced cost c[i,j] - price[j] is smallest, if that is free. Among equally good columns its
// own comes first, which settles at once the matrices where the identity is best row by row, then the first free one. It leaves the
// rest in unplaced.
func (s *Solver[T]) takeMinima(ctx context.Context) error {
	s.unplaced = s.unplaced[:0]
	for i := range int32(s.n) {
		if err := ctx.Err(); err != nil {
			return err
		}
		row := s.row(i)
		least, j := smallest(s.sign, row, s.price)
		switch {
		case math.IsInf(least, 1):
			return ErrInfeasible
		case s.rowOf[i] == none && float64(s.sign*row[i])-s.price[i] == least:
			j = i
		case s.rowOf[j] != none:
			j = s.firstFree(row, least)
		}
		if j == none {
			s.unplaced = append(s.unplaced, i)
			continue
		}
		s.put(i, j)
	}
	return nil
}

// reduce is augmenting row reduction (Jonker & Volgenant 1987, section 2, step 3): a row takes the column it likes best from whoever has it and lowers the
// column's price until its second best column is as good; the row displaced is next. Every price lowered is of a column that has a row and keeps
// having one, so free columns stay at price zero, as rectangular problems need.
func (s *Solver[T]) reduce(ctx context.Context) error {
	queue, later := s.unplaced, s.displaced[:0]
	budget := scansPerRow * s.n
	next := 0
	for ; next < len(queue) && budget > 0; budget-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		i := queue[next]
		next++
		displaced, again := s.bid(i)
		switch {
		case displaced == none:
		case again:
			next--
			queue[next] = displaced
		default:
			later = append(later, displaced)
		}
	}
	s.unplaced, s.displaced = append(later, queue[next:]...), queue
	return nil
}

// bid gives row i the column where its reduced cost is smallest. It returns the row that is without a column afterwards, if one is, and whether that one
// should bid at once: not where nothing but a tie was broken, which could go on for ever.
func (s *Solver[T]) bid(i int32) (displaced int32, again bool) {
	row := s.row(i)
	j, second, least, next := twoSmallest(s.sign, row, s.price)
	if math.IsInf(next, 1) { // its only column: no price would be low enough, the search decides
		return i, false
	}
	lowered := s.price[j] - (next - least)
	switch {
	case lowered < s.price[j]: // false also where the difference is lost in rounding
		s.price[j], again = lowered, true
	case s.rowOf[j] == none:
	case s.rowOf[second] == none:
		j = second
	default:
		if free := s.firstFree(row, least); free != none {
			j = free
		}
	}
	displaced = s.rowOf[j]
	if displaced != none {
		s.colOf[displaced] = none
	}
	s.put(i, j)
	return displaced, again
}

// put gives column j to row i.
func (s *Solver[T]) put(i, j int32) { s.colOf[i], s.rowOf[j] = j, i }

// firstFree is the first free column of the reduced cost least, or none.
func (s *Solver[T]) firstFree(row []T, least float64) int32 {
	for j, i := range s.rowOf {
		if i == none && float64(s.sign*row[j])-s.price[j] == least {
			return int32(j)
		}
	}
	return none
}

// smallest is the smallest reduced cost of row and the first column that has it.
func smallest[T float32 | float64](sign T, row []T, price []float64) (least float64, at int32) {
	price = price[:len(row)]
	least = math.Inf(1)
	for j, c := range row {
		if h := float64(sign*c) - price[j]; h < least {
			least, at = h, int32(j)
		}
	}
	return least, at
}

// twoSmallest is the smallest reduced cost of row, the next one (+Inf if there is none) and the first columns that have them.
func twoSmallest[T float32 | float64](sign T, row []T, price []float64) (at, second int32, least, next float64) {
	price = price[:len(row)]
	least, next = math.Inf(1), math.Inf(1)
	for j, c := range row {
		h := float64(sign*c) - price[j]
		if h >= next {
			continue
		}
		if h < least {
			least, next, at, second = h, least, int32(j), at
		} else {
			next, second = h, int32(j)
		}
	}
	return at, second, least, next
}
