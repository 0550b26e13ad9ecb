package assign

import (
	"math"
	"slices"
)

// alike knows which rows are equal. In a search, a row that equals one that was scanned, at a rent no higher than that one's, offers every column a
// path no shorter: its scan is left out. Matrices that need many scans are often made of few different rows.
type alike struct {
	known bool
	class []int32          // of each row: the first row equal to it
	last  map[uint64]int32 // the first row of the last class of each hash
	rent  []float64        // of each class: the highest at which a row of it was scanned in the present search, -Inf if none was
}

// findAlike finds the rows that are equal, once for a problem. Rows are compared in full where some of their elements agree.
func (s *Solver[T]) findAlike() {
	a := &s.alike
	if a.known {
		return
	}
	a.known = true
	a.class, a.rent = resize(a.class, s.n), resize(a.rent, s.n)
	fill(a.rent, math.Inf(-1))
	if a.last == nil {
		a.last = map[uint64]int32{}
	}
	clear(a.last)
	for i := range int32(s.n) {
		a.class[i] = i
		h := s.sample(i)
		if first, ok := a.last[h]; ok && slices.Equal(s.row(first), s.row(i)) {
			a.class[i] = first
		} else {
			a.last[h] = i
		}
	}
}

// sample is a hash of some elements of row i (FNV-1a over whole elements). Equal rows have equal ones.
func (s *Solver[T]) sample(i int32) uint64 {
	row, h := s.row(i), uint64(14695981039346656037)
	for j := 0; j < len(row); j += len(row)/32 + 1 {
		h = (h ^ math.Float64bits(float64(row[j])+0)) * 1099511628211
	}
	return h
}

// offersNothing says that row i at this rent cannot shorten a path in the present search. If it can, it is taken as scanned.
func (s *Solver[T]) offersNothing(i int32, rent float64) bool {
	r := &s.alike.rent[s.alike.class[i]]
	if rent <= *r {
		return true
	}
	*r = rent
	return false
}

// forgetScans ends a search from row start that went through the rows of the settled columns.
func (s *Solver[T]) forgetScans(start int32) {
	a := &s.alike
	a.rent[a.class[start]] = math.Inf(-1)
	for _, c := range s.search.done {
		a.rent[a.class[s.rowOf[c.col]]] = math.Inf(-1)
	}
}
