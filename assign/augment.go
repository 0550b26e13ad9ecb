package assign

import (
	"math"

	"github.com/rebasin/rebasin/internal/kernel"
)

// search is the workspace of one shortest path search.
type search struct {
	dist []float64 // length of the shortest path found to each column; +Inf once that is final
	pred []int32   // the row before each column on that path
	done []settled // columns whose length is final, in order
	near []int32   // the nearest columns
	free []int32   // columns without a row, where they are few
	path kernel.Path
}

// settled is a column whose shortest path is known.
type settled struct {
	col   int32
	dist  float64
	price float64 // before the search
}

// augment finds the shortest alternating path from row start to a free column, in reduced costs (Dijkstra's algorithm, one scan of
// a row per column settled), moves every row along it, and lowers the prices of the columns settled so that reduced costs stay
// non-negative. Among several nearest columns a free one, which ends the search, comes before others.
//
// A settled column is taken out of the scans by values that never win instead of by a list of the others: a distance of +Inf and a
// price of -Inf. The scan then runs straight through memory.
func (s *Solver[T]) augment(start int32) error {
	w := &s.search
	w.dist, w.pred, w.done = resize(w.dist, s.m), resize(w.pred, s.m), w.done[:0]
	fill(w.dist, math.Inf(1))
	w.near = resize(w.near, s.m)
	s.gatherFree()
	s.findAlike()
	w.path = kernel.Path{Price: s.price, Dist: w.dist, Pred: w.pred}

	// The length of a path is counted from the reduced costs of the start as they are: its dual only adds a constant.
	i, rent, length := start, 0.0, math.Inf(-1)
	for {
		// A scan that shortens no path only finds the next length, which is this one again where columns are tied.
		if !s.offersNothing(i, rent) || !s.isTied(length) {
			length = kernel.Relax(s.sign, s.row(i), &w.path, i, rent, length)
		}
		if math.IsInf(length, 1) {
			return ErrInfeasible
		}
		j := s.nearest(length)
		if s.rowOf[j] == none {
			s.forgetScans(start)
			s.finish(start, j, length)
			return nil
		}
		i = s.rowOf[j]
		rent = s.at(i, j) - s.price[j] - length
		w.done = append(w.done, settled{col: j, dist: length, price: s.price[j]})
		w.dist[j], s.price[j] = math.Inf(1), math.Inf(-1)
	}
}

// isTied says whether there is another column at the given length.
func (s *Solver[T]) isTied(length float64) bool {
	w := &s.search
	return kernel.Equal(w.dist, length, w.near, 1) > 0
}

// gatherFree lists the columns without a row, or none of them where there are so many that to look at each after every scan would not pay.
func (s *Solver[T]) gatherFree() {
	w, most := &s.search, s.m/8
	w.free = w.free[:0]
	for j, i := range s.rowOf {
		if i != none {
			continue
		}
		if len(w.free) == most {
			w.free = w.free[:0]
			return
		}
		w.free = append(w.free, int32(j))
	}
}

// nearest is a column at the given length, the least there is: a free one if there is one among those looked at, else the first of all.
func (s *Solver[T]) nearest(length float64) int32 {
	looks := 64 // where many are free: enough to find one among many ties, without looking at all of them each time where there is none
	w := &s.search
	if len(w.free) > 0 {
		for _, j := range w.free {
			if w.dist[j] == length {
				return j
			}
		}
		looks = 1
	}
	near := w.near[:kernel.Equal(w.dist, length, w.near, looks)]
	for _, j := range near {
		if s.rowOf[j] == none {
			return j
		}
	}
	return near[0]
}

// finish ends the search from row start at the free column j.
func (s *Solver[T]) finish(start, j int32, length float64) {
	lower(s.price, s.search.done, length)
	s.flip(start, j, s.search.pred)
}

// lower lowers the prices of the columns settled by how much nearer they are than the end of the path.
func lower(price []float64, done []settled, length float64) {
	for _, c := range done {
		price[c.col] = c.price + (c.dist - length)
	}
}

// flip moves every row on the path from row start to column j one column on.
func (s *Solver[T]) flip(start, j int32, pred []int32) {
	for {
		i := pred[j]
		previous := s.colOf[i]
		s.put(i, j)
		if i == start {
			return
		}
		j = previous
	}
}

// put gives column j to row i.
func (s *Solver[T]) put(i, j int32) { s.colOf[i], s.rowOf[j] = j, i }
