package assign

import "math"

// search is the workspace of one shortest path search.
type search struct {
	dist []float64 // length of the shortest path found to each column; +Inf once that is final
	pred []int     // the row before each column on that path
	done []settled // columns whose length is final, in order
}

// settled is a column whose shortest path is known.
type settled struct {
	col   int
	dist  float64
	price float64 // before the search
}

// augment finds the shortest alternating path from row start to a free column, in reduced costs (Dijkstra's algorithm, one scan of a row per column
// settled), moves every row along it, and lowers the prices of the columns settled so that reduced costs stay non-negative.
//
// A settled column is taken out of the scans by values that never win instead of by a list of the others: a distance of +Inf and a price of -Inf.
// The scan then runs straight through memory.
func (s *Solver[T]) augment(start int) error {
	w := &s.search
	w.dist, w.pred, w.done = resize(w.dist, s.m), resize(w.pred, s.m), w.done[:0]
	fill(w.dist, math.Inf(1))

	// The length of a path is counted from the reduced costs of the start as they are: its dual only adds a constant.
	i, rent, length := start, 0.0, math.Inf(-1)
	for {
		var j int
		length, j = relax(s.row(i), s.price, w, s.rowOf, i, rent, length)
		if math.IsInf(length, 1) {
			return ErrInfeasible
		}
		if s.rowOf[j] == none {
			s.finish(start, j, length)
			return nil
		}
		i = s.rowOf[j]
		rent = s.at(i, j) - s.price[j] - length
		w.done = append(w.done, settled{col: j, dist: length, price: s.price[j]})
		w.dist[j], s.price[j] = math.Inf(1), math.Inf(-1)
	}
}

// relax offers every column the path that goes on through row i at the length c[i,j] - price[j] - rent, but no less than floor, the
// length at which row i was reached: only rounding could make it less. It returns the column nearest to the start of those not settled: among equals a
// free one, which ends the search, and then the first.
func relax[T float32 | float64](row []T, price []float64, w *search, rowOf []int, i int, rent, floor float64) (length float64, at int) {
	price, dist, pred, rowOf := price[:len(row)], w.dist[:len(row)], w.pred[:len(row)], rowOf[:len(row)]
	length = math.Inf(1)
	free := false
	for j, c := range row {
		d := dist[j]
		if h := float64(c) - price[j] - rent; h < d {
			d = max(h, floor)
			dist[j], pred[j] = d, i
		}
		if d > length {
			continue
		}
		if d < length {
			length, at, free = d, j, rowOf[j] == none
		} else if !free && rowOf[j] == none {
			at, free = j, true
		}
	}
	return length, at
}

// finish ends the search from row start at the free column j: prices are lowered by how much nearer than j their column is, and the rows on the
// path each move one column on.
func (s *Solver[T]) finish(start, j int, length float64) {
	for _, c := range s.search.done {
		s.price[c.col] = c.price + (c.dist - length)
	}
	for {
		i := s.search.pred[j]
		previous := s.colOf[i]
		s.put(i, j)
		if i == start {
			return
		}
		j = previous
	}
}
