package kernel

import "math"

func portableScans[T Float]() scans[T] {
	return scans[T]{
		laneMinima: laneMinima[T], below: below[T],
		reducedLaneMinima: reducedLaneMinima[T], reducedBelow: reducedBelow[T],
		relax: relax[T], equal: equal, leastFew: leastFew, searchFew: searchFew,
	}
}

func laneMinima[T Float](sign T, x []T, least *[ScanLanes]T) (largest T) {
	for l := range least {
		least[l] = T(math.Inf(1))
	}
	return lowerLanes(sign, x, least, 0)
}

// lowerLanes goes on with minima of lanes and the largest magnitude at an x that begins at a multiple of ScanLanes.
func lowerLanes[T Float](sign T, x []T, least *[ScanLanes]T, largest T) T {
	odd := largest - largest // x - x is 0 for a finite x and NaN for any other
	for j, v := range x {
		odd += v - v
		v *= sign
		if l := j % ScanLanes; v < least[l] {
			least[l] = v
		}
		if v < 0 {
			v = -v
		}
		if v > largest {
			largest = v
		}
	}
	return largest + odd
}

func below[T Float](sign T, x []T, limit T, at []int32, room int) int {
	return belowFrom(0, sign, x, limit, at, room, 0)
}

// belowFrom goes on at element first, a multiple of scanGroup, with count indices stored.
func belowFrom[T Float](first int, sign T, x []T, limit T, at []int32, room, count int) int {
	for ; first < len(x) && count < room; first += scanGroup {
		for j := first; j < min(first+scanGroup, len(x)); j++ {
			if sign*x[j] <= limit {
				at[count] = int32(j)
				count++
			}
		}
	}
	return count
}

func reducedLaneMinima[T Float](sign T, x []T, v []float64, least *[ScanLanes]float64) {
	for l := range least {
		least[l] = math.Inf(1)
	}
	lowerReducedLanes(sign, x, v, least)
}

// lowerReducedLanes goes on with minima of lanes at an x that begins at a multiple of ScanLanes.
func lowerReducedLanes[T Float](sign T, x []T, v []float64, least *[ScanLanes]float64) {
	v = v[:len(x)]
	for j, c := range x {
		if h := float64(sign*c) - v[j]; h < least[j%ScanLanes] {
			least[j%ScanLanes] = h
		}
	}
}

func reducedBelow[T Float](sign T, x []T, v []float64, limit float64, at []int32, room int) int {
	return reducedBelowFrom(0, sign, x, v, limit, at, room, 0)
}

// reducedBelowFrom goes on at element first, a multiple of scanGroup, with count indices stored.
func reducedBelowFrom[T Float](first int, sign T, x []T, v []float64, limit float64, at []int32, room, count int) int {
	for ; first < len(x) && count < room; first += scanGroup {
		for j := first; j < min(first+scanGroup, len(x)); j++ {
			if float64(sign*x[j])-v[j] <= limit {
				at[count] = int32(j)
				count++
			}
		}
	}
	return count
}

func relax[T Float](sign T, x []T, p *Path, row int32, rent, floor float64) (least float64) {
	return relaxFrom(0, sign, x, p, row, rent, floor, math.Inf(1))
}

// relaxFrom goes on at element first, with the least distance of those before.
func relaxFrom[T Float](first int, sign T, x []T, p *Path, row int32, rent, floor, least float64) float64 {
	price, dist, pred := p.Price[:len(x)], p.Dist[:len(x)], p.Pred[:len(x)]
	for j := first; j < len(x); j++ {
		d := dist[j]
		if h := float64(sign*x[j]) - price[j] - rent; h < d {
			d = max(h, floor)
			dist[j], pred[j] = d, row
		}
		if d < least {
			least = d
		}
	}
	return least
}

func equal(x []float64, value float64, at []int32, room int) int {
	return equalFrom(0, x, value, at, room, 0)
}

// equalFrom goes on at element first, a multiple of scanGroup, with count indices stored.
func equalFrom(first int, x []float64, value float64, at []int32, room, count int) int {
	for ; first < len(x) && count < room; first += scanGroup {
		for j := first; j < min(first+scanGroup, len(x)); j++ {
			if x[j] == value {
				at[count] = int32(j)
				count++
			}
		}
	}
	return count
}

func leastFew(x, price []float64) float64 {
	least := math.Inf(1)
	for j, v := range x {
		least = min(least, v-price[j])
	}
	return least
}

func searchFew(p *FewPath, start int) (least float64, at, settled int) {
	n := len(p.Price)
	path := Path{Price: p.Price, Dist: p.Dist, Pred: p.Pred}
	for j := range p.Dist {
		p.Dist[j], p.Pred[j] = math.Inf(1), int32(start)
	}
	i, rent, least := start, 0.0, math.Inf(-1)
	for {
		least = relaxFew(p.Cost[i*n:i*n+n], &path, int32(i), rent, least)
		at = p.nearest(least)
		if at < 0 || p.isFree(at) {
			return least, at, settled
		}
		i = int(p.RowOf[at])
		rent = p.Cost[i*n+at] - p.Price[at] - least
		p.Col[settled], p.Length[settled] = int32(at), least
		settled++
		p.Dist[at] = math.NaN()
	}
}

// relaxFew is relax where the distances of settled columns are NaN, and the least distance is that of others.
func relaxFew(x []float64, p *Path, row int32, rent, floor float64) float64 {
	least := math.Inf(1)
	for j, d := range p.Dist {
		if h := x[j] - p.Price[j] - rent; h < d {
			d = max(h, floor)
			p.Dist[j], p.Pred[j] = d, row
		}
		if d < least {
			least = d
		}
	}
	return least
}

// nearest is the first free column at this distance, or else the first column, or -1 if it is +Inf.
func (p *FewPath) nearest(least float64) int {
	first := -1
	for j, d := range p.Dist {
		switch {
		case d != least || math.IsInf(d, 1):
		case p.isFree(j):
			return j
		case first < 0:
			first = j
		}
	}
	return first
}

func (p *FewPath) isFree(j int) bool { return p.Free[j/64]>>(j%64)&1 == 1 }
