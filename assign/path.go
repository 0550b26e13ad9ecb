package assign

import (
	"math"

	"github.com/rebasin/rebasin/internal/kernel"
)

// event is what a search by lists does next at some length of path: settle a column, or look at a row beyond its list.
type event struct {
	length float64
	node   int32 // the column, or ^row
}

// listSearch is the workspace of searches by lists beside that of searches of whole rows. Between searches all lengths of paths are +Inf.
type listSearch struct {
	events  []event   // a heap with four children to a node
	reached []int32   // columns with a finite length of path
	rent    []float64 // of each row that is to be looked at: its dual, less that of the start
	listed  []int32   // the search that made the list of each row
	serial  int32     // of the present search

	length float64 // of the shortest path to a free column so far, +Inf if there is none
	end    int32   // that column
}

// resetPaths prepares for searches by lists.
func (s *Solver[T]) resetPaths() {
	w, l := &s.search, &s.listSearch
	w.dist, w.pred = resize(w.dist, s.m), resize(w.pred, s.m)
	fill(w.dist, math.Inf(1))
	l.rent, l.listed = resize(l.rent, s.n), resize(l.listed, s.n)
	fill(l.listed, 0)
	l.serial = 0
}

// augmentByLists does what augment does. It goes through the list of a row reached instead of the row, and through the row only
// when the search comes to the length at which columns outside the list could matter. Rows are searched whole where that happens
// too often.
func (s *Solver[T]) augmentByLists(start int32) error {
	if s.lists.scans > s.enoughScans() {
		return s.augment(start)
	}
	l := &s.listSearch
	l.serial++
	l.events, l.reached, s.search.done = l.events[:0], l.reached[:0], s.search.done[:0]
	l.length, l.end = math.Inf(1), none
	s.reach(start, 0, math.Inf(-1))
	enough := s.advance()
	for _, j := range l.reached {
		s.search.dist[j] = math.Inf(1)
	}
	switch {
	case enough:
		return s.augment(start)
	case l.end == none:
		return ErrInfeasible
	}
	s.finish(start, l.end, l.length)
	return nil
}

// advance works through the events until none is nearer than the nearest free column. It stops, and says so, after enough scans of
// whole rows.
func (s *Solver[T]) advance() (enough bool) {
	w, l := &s.search, &s.listSearch
	for {
		e := l.pop()
		switch {
		case e.length >= l.length: // also where there is none
			return false
		case e.node < 0:
			if s.lists.scans++; s.lists.scans > s.enoughScans() {
				return true
			}
			s.look(^e.node, e.length)
		case e.length == w.dist[e.node]: // else it was reached on a shorter path since
			j := e.node
			w.done = append(w.done, settled{col: j, dist: e.length, price: s.price[j]})
			i := s.rowOf[j]
			s.reach(i, s.at(i, j)-s.price[j]-e.length, e.length)
		}
	}
}

// reach offers the columns in the list of row i, which was reached at the given length, the paths that go on through it.
func (s *Solver[T]) reach(i int32, rent, length float64) {
	l, price := &s.listSearch, s.price
	for _, c := range s.lists.of(i) {
		if h := float64(c.cost) - price[c.col] - rent; h < l.length {
			s.offer(i, c.col, max(h, length))
		}
	}
	if h := s.lists.beyond[i] - rent; h < l.length {
		l.rent[i] = rent
		l.push(event{max(h, length), ^i})
	}
}

// look offers the columns outside the list of row i, at the length where they could matter: first by making a new list, and in a
// later event of the same search, when prices are as they were and so would be the list, all of them.
func (s *Solver[T]) look(i int32, length float64) {
	l, f := &s.listSearch, &s.lists
	rent := l.rent[i]
	if l.listed[i] != l.serial {
		l.listed[i] = l.serial
		s.list(i)
		s.reach(i, rent, length)
		return
	}
	limit := min(l.length+rent, math.MaxFloat64)
	count := kernel.ReducedBelow(s.sign, s.row(i), s.price, limit, f.at, s.m)
	for _, j := range f.at[:count] {
		if h := s.at(i, j) - s.price[j] - rent; h < l.length {
			s.offer(i, j, max(h, length))
		}
	}
}

// offer offers column j a path of the given length that goes on through row i.
func (s *Solver[T]) offer(i, j int32, length float64) {
	w, l := &s.search, &s.listSearch
	if length >= w.dist[j] {
		return
	}
	if math.IsInf(w.dist[j], 1) {
		l.reached = append(l.reached, j)
	}
	w.dist[j], w.pred[j] = length, i
	if s.rowOf[j] == none {
		l.length, l.end = length, j
		return
	}
	l.push(event{length, j})
}

// push adds an event to the heap.
func (l *listSearch) push(e event) {
	h := append(l.events, e)
	k := len(h) - 1
	for k > 0 {
		parent := (k - 1) / 4
		if h[parent].length <= e.length {
			break
		}
		h[k] = h[parent]
		k = parent
	}
	h[k] = e
	l.events = h
}

// pop removes the event of the smallest length from the heap and returns it; one of length +Inf if there is none.
func (l *listSearch) pop() event {
	last := len(l.events) - 1
	if last < 0 {
		return event{length: math.Inf(1)}
	}
	top, e, h := l.events[0], l.events[last], l.events[:last]
	l.events = h
	k := 0
	for first := 1; first < last; first = 4*k + 1 {
		least := first
		for child := first + 1; child < min(first+4, last); child++ {
			if h[child].length < h[least].length {
				least = child
			}
		}
		if e.length <= h[least].length {
			break
		}
		h[k] = h[least]
		k = least
	}
	if last > 0 {
		h[k] = e
	}
	return top
}
