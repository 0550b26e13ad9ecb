package assign

import (
	"math"
	"unsafe"

	"github.com/rebasin/rebasin/internal/kernel"
)

const (
	// listRank is the rank, among the least reduced costs of the 16 lanes of a row, up to which its list reaches: 27 columns on
	// average in a row without structure, and never fewer than the rank.
	listRank = kernel.ScanLanes - 3

	// listRoom is the most columns a list holds.
	listRoom = 48
)

// candidate is a column in the list of a row, with its cost.
type candidate[T float32 | float64] struct {
	col  int32
	cost T
}

// lists hold the columns that are best for each row: all that a solution looks at as long as none outside a list could be better.
//
// A list is made of the reduced costs c[i,j] - price[j] at one time. Prices only fall, so that reduced costs only rise, and the
// bound on those outside the list stays one however old the list is. It is exact, since rounding keeps order.
type lists[T float32 | float64] struct {
	entries []candidate[T] // listRoom for each row
	length  []int32        // of the list of each row
	beyond  []float64      // lower bound on the reduced costs of the columns that are not in the list of each row
	scans   int            // of whole rows, but for those that made the first list of each

	lanes        [kernel.ScanLanes]T
	reducedLanes [kernel.ScanLanes]float64
	at           []int32   // columns found by a scan
	values       []float64 // their reduced costs
	ranked       []float64 // the same in another order
}

// reset makes room for lists of n rows and m columns.
func (l *lists[T]) reset(n, m int) {
	l.entries = resize(l.entries, n*listRoom)
	l.length = resize(l.length, n)
	l.beyond = resize(l.beyond, n)
	l.at = resize(l.at, m)
	l.values = resize(l.values, m)
	l.ranked = resize(l.ranked, m)
	l.scans = 0
}

// of is the list of row i.
func (l *lists[T]) of(i int32) []candidate[T] {
	first := int(i) * listRoom
	return l.entries[first : first+int(l.length[i])]
}

// list makes the list of row i at the present prices.
func (s *Solver[T]) list(i int32) {
	l, row := &s.lists, s.row(i)
	kernel.ReducedLaneMinima(s.sign, row, s.price, &l.reducedLanes)
	least, limit := bounds(&l.reducedLanes)
	count := kernel.ReducedBelow(s.sign, row, s.price, limit, l.at, room(least, limit, s.m))
	s.store(i, count, limit, math.MaxFloat64)
}

// listFlat is list while all prices are zero. It checks the costs of the row in passing.
func (s *Solver[T]) listFlat(i int32) error {
	l, row := &s.lists, s.row(i)
	largest := kernel.LaneMinima(s.sign, row, &l.lanes)
	if err := s.admit(row, int(i), largest); err != nil {
		return err
	}
	least, limit := bounds(&l.lanes)
	count := kernel.Below(s.sign, row, limit, l.at, room(least, limit, s.m))
	s.store(i, count, float64(limit), float64(maxFinite[T]()))
	return nil
}

// bounds is the least of the lanes and the one of rank listRank, up to which a list is to reach: finite, so that no list holds a
// forbidden column. It keeps the four largest in order, as integers, for which the compiler has minima and maxima without branches.
func bounds[T float32 | float64](lanes *[kernel.ScanLanes]T) (least, limit T) {
	const lowest = math.MinInt64
	low, a, b, c, d := int64(math.MaxInt64), int64(lowest), int64(lowest), int64(lowest), int64(lowest)
	for _, x := range lanes {
		k := ordinal(float64(x))
		low = min(low, k)
		a, k = max(a, k), min(a, k)
		b, k = max(b, k), min(b, k)
		c, k = max(c, k), min(c, k)
		d = max(d, k)
	}
	return T(ofOrdinal(low)), min(T(ofOrdinal(d)), maxFinite[T]())
}

// ordinal maps float64s to integers in the same order.
func ordinal(x float64) int64 {
	k := int64(math.Float64bits(x))
	return k ^ int64(uint64(k>>63)>>1)
}

// ofOrdinal is the inverse of ordinal.
func ofOrdinal(k int64) float64 { return math.Float64frombits(uint64(k ^ int64(uint64(k>>63)>>1))) }

// room is how many columns up to limit are worth finding. Where all of them are equally good it is hardly more than a list holds.
func room[T float32 | float64](least, limit T, m int) int {
	if least == limit {
		return min(listRoom+1, m)
	}
	return m
}

// store makes the list of row i from the first count columns of l.at: all whose reduced costs are up to limit, or where these are equally
// good, more than a list holds. Nothing but forbidden columns lies beyond the limit unlimited.
func (s *Solver[T]) store(i int32, count int, limit, unlimited float64) {
	l, row := &s.lists, s.row(i)
	if limit == unlimited {
		limit = math.Inf(1)
	}
	if count > listRoom {
		count, limit = s.narrow(i, count)
	}
	entries := l.entries[int(i)*listRoom:][:count]
	for k, j := range l.at[:count] {
		entries[k] = candidate[T]{j, s.sign * row[j]}
	}
	l.length[i], l.beyond[i] = int32(count), limit
}

// narrow leaves the best of the first count columns of l.at, as many as a list holds, and returns their number and the least reduced cost of
// the others.
func (s *Solver[T]) narrow(i int32, count int) (kept int, limit float64) {
	l := &s.lists
	for k, j := range l.at[:count] {
		l.values[k] = s.at(i, j) - s.price[j]
	}
	ranked := l.ranked[:count]
	copy(ranked, l.values)
	limit = nth(ranked, listRoom)
	ties := listRoom // how many at the limit there is room for
	for _, h := range ranked[:listRoom] {
		if h < limit {
			ties--
		}
	}
	for k, j := range l.at[:count] {
		h := l.values[k]
		if h > limit || h == limit && ties == 0 {
			continue
		}
		if h == limit {
			ties--
		}
		l.at[kept] = j
		kept++
	}
	return kept, limit
}

// best is the best column in the list of row i, its reduced cost, and the next reduced cost in the list, +Inf if there is none. It moves these two to the
// front, where they most often still are the best the next time: then all other comparisons go one way, and the processor foresees them.
func (s *Solver[T]) best(i int32) (at int32, least, next float64) {
	price, list := s.price, s.lists.of(i)
	first, second := 0, 0
	least, next = math.Inf(1), math.Inf(1)
	for k, c := range list {
		h := float64(c.cost) - price[c.col]
		if h >= next {
			continue
		}
		if h < least {
			first, second = k, first
			least, next = h, least
		} else {
			second, next = k, h
		}
	}
	if len(list) < 2 {
		if len(list) == 0 {
			return none, least, next
		}
		return list[0].col, least, next
	}
	list[0], list[first] = list[first], list[0]
	if second == 0 {
		second = first // where the swap has put it
	}
	if second != 0 {
		list[1], list[second] = list[second], list[1]
	}
	return list[0].col, least, next
}

// least is the smallest reduced cost of row i.
func (s *Solver[T]) least(i int32) float64 {
	l := &s.lists
	if s.m <= fewColumns {
		return kernel.LeastFew(s.few.row(i), s.few.Price)
	}
	if _, least, _ := s.best(i); least <= l.beyond[i] {
		return least
	}
	kernel.ReducedLaneMinima(s.sign, s.row(i), s.price, &l.reducedLanes)
	least := l.reducedLanes[0]
	for _, x := range l.reducedLanes[1:] {
		least = min(least, x)
	}
	return least
}

// maxFinite is the largest finite T.
func maxFinite[T float32 | float64]() T {
	largest := math.MaxFloat64
	if unsafe.Sizeof(T(0)) == unsafe.Sizeof(float32(0)) {
		largest = math.MaxFloat32
	}
	return T(largest)
}

// nth moves the element of x of the given rank, from 0, to its place, with none before it that is larger and none behind it that
// is smaller, and returns it (C. A. R. Hoare, "Algorithm 65: Find", Communications of the ACM 4(7), 321-322 (1961), DOI
// 10.1145/366622.366647).
func nth[T float32 | float64](x []T, rank int) T {
	first, last := 0, len(x)-1
	for first < last {
		pivot := x[(first+last)/2]
		i, j := first, last
		for i <= j {
			for x[i] < pivot {
				i++
			}
			for pivot < x[j] {
				j--
			}
			if i <= j {
				x[i], x[j] = x[j], x[i]
				i++
				j--
			}
		}
		if rank <= j {
			last = j
		} else if rank >= i {
			first = i
		} else {
			break
		}
	}
	return x[rank]
}
