package assign

import (
	"context"
	"math"
)

// bidsPerRow bounds the auction: rows that outbid each other by small steps would otherwise go on for as long as the costs have steps.
const bidsPerRow = 16

// placeByLists finds an optimal assignment and its prices by lists. The costs are checked in passing where they were not before.
func (s *Solver[T]) placeByLists(ctx context.Context) error {
	s.lists.reset(s.n, s.m)
	s.unplaced, s.tied = s.unplaced[:0], s.tied[:0]
	for i := range int32(s.n) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.checked {
			s.list(i)
		} else if err := s.listFlat(i); err != nil {
			return err
		}
		s.takeBest(i)
	}
	if err := s.auction(ctx); err != nil {
		return err
	}
	s.placeTied()
	s.resetPaths()
	for _, i := range s.unplaced {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.augmentByLists(i); err != nil {
			return err
		}
	}
	return nil
}

// takeBest puts row i on its best column if that is free, and leaves it unplaced otherwise. A row with several best columns waits until
// the others have chosen.
func (s *Solver[T]) takeBest(i int32) {
	j, least, next := s.best(i)
	switch {
	case min(next, s.lists.beyond[i]) <= least:
		s.tied = append(s.tied, i)
	case s.rowOf[j] == none:
		s.put(i, j)
	default:
		s.unplaced = append(s.unplaced, i)
	}
}

// auction is augmenting row reduction (Jonker & Volgenant 1987, section 2, step 3), which is an auction with a minimal bid of
// zero: a row takes the column it likes best from whoever has it and lowers the column's price until its second best column is as
// good; the row displaced is next. Every price lowered is of a column that has a row and keeps having one, so free columns stay at
// price zero, as rectangular problems need.
//
// It ends early where lists do not last, since then every row wants the same few columns, and outbidding each other for them is a
// long way to prices that a search finds at once.
func (s *Solver[T]) auction(ctx context.Context) error {
	queue := s.unplaced
	next := 0
	for range bidsPerRow * s.n {
		if next == len(queue) || s.lists.scans > s.enoughScans()/2 {
			break
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		switch displaced, ok := s.bidByList(queue[next]); {
		case ok && displaced != none:
			queue[next] = displaced
		default:
			if !ok {
				s.tied = append(s.tied, queue[next])
			}
			next++
		}
	}
	s.unplaced = append(queue[:0], queue[next:]...)
	return nil
}

// bidByList gives row i its best column and returns the row that had it, if one had. It is not ok where no price can be lowered:
// the row has several best columns, or only one at all.
func (s *Solver[T]) bidByList(i int32) (displaced int32, ok bool) {
	j, least, next := s.best(i)
	if next > s.lists.beyond[i] {
		s.lists.scans++
		s.list(i)
		j, least, next = s.best(i)
	}
	next = min(next, s.lists.beyond[i])
	lowered := s.price[j] - (next - least)
	if !(lowered < s.price[j]) || math.IsInf(lowered, -1) {
		return none, false
	}
	s.price[j] = lowered
	displaced = s.rowOf[j]
	if displaced != none {
		s.colOf[displaced] = none
	}
	s.put(i, j)
	return displaced, true
}

// placeTied puts the rows with several best columns on free ones among them. Those without go to the unplaced.
func (s *Solver[T]) placeTied() {
	if len(s.tied) == 0 {
		return
	}
	s.free = s.free[:0]
	for j, i := range s.rowOf {
		if i == none {
			s.free = append(s.free, int32(j))
		}
	}
	for _, i := range s.tied {
		_, least, _ := s.best(i)
		if least > s.lists.beyond[i] {
			s.lists.scans++
			s.list(i)
			_, least, _ = s.best(i)
		}
		if j := s.freeBest(i, least); j != none {
			s.put(i, j)
		} else {
			s.unplaced = append(s.unplaced, i)
		}
	}
}

// freeBest is a free column on which row i has its least reduced cost, or none: its own if that is one, then the first in its
// list, then the first of all.
func (s *Solver[T]) freeBest(i int32, least float64) int32 {
	if math.IsInf(least, 1) {
		return none
	}
	if s.rowOf[i] == none && s.at(i, i)-s.price[i] == least {
		return i
	}
	for _, c := range s.lists.of(i) {
		if s.rowOf[c.col] == none && float64(c.cost)-s.price[c.col] == least {
			return c.col
		}
	}
	if least < s.lists.beyond[i] {
		return none
	}
	kept := s.free[:0] // columns taken in the meantime are dropped on the way
	for k, j := range s.free {
		if s.rowOf[j] != none {
			continue
		}
		if s.at(i, j)-s.price[j] == least {
			s.free = append(kept, s.free[k+1:]...)
			return j
		}
		kept = append(kept, j)
	}
	s.free = kept
	return none
}

// enoughScans is the number of scans of whole rows after which lists are given up: they do not last, and searches of whole rows
// cost less.
func (s *Solver[T]) enoughScans() int { return s.n/2 + 64 }
