package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// eachScans runs a test on the scans of every instruction set offered here, in both types.
func eachScans(t *testing.T, in32 func(*testing.T, *scans[float32]), in64 func(*testing.T, *scans[float64])) {
	t.Helper()
	for _, e := range offered() {
		t.Run(e.name+"/float32", func(t *testing.T) { in32(t, scansNamed[float32](e.name)) })
		t.Run(e.name+"/float64", func(t *testing.T) { in64(t, scansNamed[float64](e.name)) })
	}
}

// scanSizes are all tails of up to three groups, and some larger sizes.
func scanSizes() []int {
	var sizes []int
	for n := range 3*scanGroup + 2 {
		sizes = append(sizes, n)
	}
	return append(sizes, 1000, 1024)
}

// costs fills x with numbers of few values, so that ties are common, and some that forbid a pair.
func costs[T Float](rng *rand.Rand, x []T, sign T) {
	for j := range x {
		x[j] = T(rng.IntN(41) - 20)
		if rng.IntN(10) == 0 {
			x[j] = sign * T(math.Inf(1))
		}
	}
}

// guardedInts is a guarded slice of indices.
func guardedInts(n int) (data []int32, check func(t *testing.T, what string)) {
	const margin, mark = 40, 77777
	b := slices.Repeat([]int32{mark}, margin+n+margin)
	return b[margin : margin+n : margin+n], func(t *testing.T, what string) {
		t.Helper()
		for i, v := range b {
			if (i < margin || i >= margin+n) && v != mark {
				t.Fatalf("%s: wrote %v at %d of %d elements", what, v, i-margin, n)
			}
		}
	}
}

func checkLaneMinima[T Float](t *testing.T, s *scans[T]) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range scanSizes() {
		for _, sign := range []T{1, -1} {
			what := fmt.Sprintf("%d elements, sign %v", n, sign)
			x := newGuarded[T](n%7, n)
			costs(rng, x.data, sign)
			want := [ScanLanes]T{}
			reduced := [ScanLanes]float64{}
			for l := range want {
				want[l], reduced[l] = T(math.Inf(1)), math.Inf(1)
			}
			v := newGuarded[float64](n%3, n)
			largest := T(0)
			for j, c := range x.data {
				v.data[j] = rng.NormFloat64()
				want[j%ScanLanes] = min(want[j%ScanLanes], sign*c)
				reduced[j%ScanLanes] = min(reduced[j%ScanLanes], float64(sign*c)-v.data[j])
				largest = max(largest, T(math.Abs(float64(c))))
			}
			var got [ScanLanes]T
			l := s.laneMinima(sign, x.data, &got)
			if isFinite := largest-largest == 0; got != want || isFinite && l != largest || !isFinite && l-l == 0 {
				t.Fatalf("%s: %v, largest %v; want %v, %v", what, got, l, want, largest)
			}
			var gotReduced [ScanLanes]float64
			if s.reducedLaneMinima(sign, x.data, v.data, &gotReduced); gotReduced != reduced {
				t.Fatalf("%s: reduced %v, want %v", what, gotReduced, reduced)
			}
		}
	}
}

func TestLaneMinima(t *testing.T) { eachScans(t, checkLaneMinima[float32], checkLaneMinima[float64]) }

// Whatever is not finite is noticed wherever it stands, and so is the largest magnitude of either sign.
func checkLargest[T Float](t *testing.T, s *scans[T]) {
	var least [ScanLanes]T
	for n := 1; n < 2*scanGroup+20; n++ {
		x := make([]T, n)
		for j := range n {
			for _, odd := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 5, -5} {
				x[j] = T(odd)
				got := float64(s.laneMinima(1, x, &least))
				if math.Abs(odd) == 5 && got != 5 || math.Abs(odd) != 5 && got-got == 0 {
					t.Fatalf("with %v at %d of %d the largest magnitude is %v", odd, j, n, got)
				}
			}
			x[j] = 0
		}
	}
}

func TestLargest(t *testing.T) { eachScans(t, checkLargest[float32], checkLargest[float64]) }

func checkBelow[T Float](t *testing.T, s *scans[T]) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, n := range scanSizes() {
		for _, sign := range []T{1, -1} {
			x, v := newGuarded[T](n%7, n), newGuarded[float64](n%5, n)
			costs(rng, x.data, sign)
			for j := range v.data {
				v.data[j] = float64(rng.IntN(5))
			}
			limit := float64(rng.IntN(60) - 30)
			for _, room := range []int{1, 10, n + 1} {
				what := fmt.Sprintf("%d elements, sign %v, limit %v, room %d", n, sign, limit, room)
				at, check := guardedInts(n)
				want := indicesBelow(n, room, func(j int) bool { return float64(sign*x.data[j]) <= limit })
				if got := at[:s.below(sign, x.data, T(limit), at, room)]; !slices.Equal(got, want) {
					t.Fatalf("%s: %v, want %v", what, got, want)
				}
				want = indicesBelow(n, room, func(j int) bool { return float64(sign*x.data[j])-v.data[j] <= limit })
				if got := at[:s.reducedBelow(sign, x.data, v.data, limit, at, room)]; !slices.Equal(got, want) {
					t.Fatalf("%s, reduced: %v, want %v", what, got, want)
				}
				check(t, what)
			}
		}
	}
}

// indicesBelow is what Below finds among n elements.
func indicesBelow(n, room int, is func(j int) bool) []int32 {
	found := []int32{}
	for j := range n {
		if j%scanGroup == 0 && len(found) >= room {
			break
		}
		if is(j) {
			found = append(found, int32(j))
		}
	}
	return found
}

func TestBelow(t *testing.T) { eachScans(t, checkBelow[float32], checkBelow[float64]) }

// pathCase is a search in progress with n columns: some not reached, some settled.
func pathCase(rng *rand.Rand, n int) (p Path, floor float64, checks []func(*testing.T, string)) {
	price, dist := newGuarded[float64](n%3, n), newGuarded[float64](n%5, n)
	pred, checkPred := guardedInts(n)
	floor = float64(rng.IntN(10))
	for j := range n {
		price.data[j], dist.data[j], pred[j] = -float64(rng.IntN(8)), floor+float64(rng.IntN(20)), 7
		switch rng.IntN(4) {
		case 0:
			dist.data[j] = math.Inf(1)
		case 1:
			dist.data[j], price.data[j] = math.Inf(1), math.Inf(-1)
		}
	}
	return Path{Price: price.data, Dist: dist.data, Pred: pred}, floor,
		[]func(*testing.T, string){price.check, dist.check, checkPred}
}

func checkRelax[T Float](t *testing.T, s *scans[T]) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, n := range scanSizes() {
		for _, sign := range []T{1, -1} {
			what := fmt.Sprintf("%d elements, sign %v", n, sign)
			x := newGuarded[T](n%7, n)
			costs(rng, x.data, sign)
			p, floor, checks := pathCase(rng, n)
			rent := float64(rng.IntN(20) - 10)
			dist, pred := slices.Clone(p.Dist), slices.Clone(p.Pred)
			want := math.Inf(1)
			for j, c := range x.data {
				if h := float64(sign*c) - p.Price[j] - rent; h < dist[j] {
					dist[j], pred[j] = max(h, floor), 3
				}
				want = min(want, dist[j])
			}
			if got := s.relax(sign, x.data, &p, 3, rent, floor); got != want {
				t.Fatalf("%s: least %v, want %v", what, got, want)
			}
			sameSlices(t, what, p.Dist, dist)
			if !slices.Equal(p.Pred, pred) {
				t.Fatalf("%s: rows %v, want %v", what, p.Pred, pred)
			}
			at, checkAt := guardedInts(n)
			for _, room := range []int{1, n + 1} {
				equal := indicesBelow(n, room, func(j int) bool { return dist[j] == want })
				if got := at[:s.equal(p.Dist, want, at, room)]; !slices.Equal(got, equal) {
					t.Fatalf("%s, room %d: nearest are %v, want %v", what, room, got, equal)
				}
			}
			for _, check := range append(checks, checkAt) {
				check(t, what)
			}
		}
	}
}

func TestRelax(t *testing.T) { eachScans(t, checkRelax[float32], checkRelax[float64]) }

func TestLeastFew(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, e := range offered() {
		for n := 8; n <= 2*scanGroup; n += 8 {
			x, price := newGuarded[float64](n%7, n), newGuarded[float64](n%3, n)
			costs(rng, x.data, 1)
			costs(rng, price.data, -1)
			if got, want := scansNamed[float64](e.name).leastFew(x.data, price.data), leastFew(x.data, price.data); got != want {
				t.Fatalf("%s, %d elements: %v, want %v", e.name, n, got, want)
			}
		}
	}
}

// Whole assignments, one search after another, are the same by every implementation, and optimal: with the prices at the end no row that has a
// column would have a better one.
func TestSearchFew(t *testing.T) {
	for _, e := range offered() {
		t.Run(e.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(7, 8))
			for n := 8; n <= MostFew; n += 8 {
				for _, m := range []int{n, n - 1, n - 7, n/2 + 1} {
					checkSearchFew(t, rng, scansNamed[float64](e.name), max(m, n-7), m)
				}
			}
		})
	}
}

// checkSearchFew gives columns to m rows of as many or more columns, with forbidden columns up to a multiple of 8.
func checkSearchFew(t *testing.T, rng *rand.Rand, s *scans[float64], columns, m int) {
	t.Helper()
	n := (columns + 7) &^ 7
	cost, price, dist := newGuarded[float64](columns%7, m*n), newGuarded[float64](columns%5, n), newGuarded[float64](columns%3, n)
	length := newGuarded[float64](1, n)
	pred, checkPred := guardedInts(n)
	col, checkCol := guardedInts(n)
	costs(rng, cost.data, 1)
	for i := range m {
		for j := range n {
			if j >= columns {
				cost.data[i*n+j] = math.Inf(1)
			} else if rng.IntN(3) == 0 {
				cost.data[i*n+j] += rng.NormFloat64() // ties are not everywhere
			}
		}
	}
	fillWith(price.data, 0)
	got := FewPath{Cost: cost.data, Price: price.data, RowOf: make([]int32, n), Dist: dist.data, Pred: pred, Col: col, Length: length.data}
	want := FewPath{
		Cost: cost.data, Price: slices.Clone(price.data), RowOf: make([]int32, n), Dist: make([]float64, n), Pred: make([]int32, n),
		Col: make([]int32, n), Length: make([]float64, n),
	}
	for j := range columns {
		got.Free[j/64] |= 1 << (j % 64)
	}
	want.Free = got.Free
	colOf := make([]int32, m)
	for i := range m {
		what := fmt.Sprintf("%d of %d rows, %d columns", i, m, columns)
		least, at, settled := s.searchFew(&got, i)
		wantLeast, wantAt, wantSettled := searchFew(&want, i)
		if least != wantLeast || at != wantAt || settled != wantSettled || !slices.Equal(col[:settled], want.Col[:settled]) {
			t.Fatalf("%s: %v at %d, %d settled %v; want %v at %d, %d settled %v", what, least, at, settled, col[:settled], wantLeast, wantAt, wantSettled,
				want.Col[:wantSettled])
		}
		sameSlices(t, what, got.Length[:settled], want.Length[:settled])
		sameSlices(t, what, got.Dist, want.Dist)
		for _, g := range []guarded[float64]{cost, price, dist, length} {
			g.check(t, what)
		}
		checkPred(t, what)
		checkCol(t, what)
		if math.IsInf(least, 1) {
			return // every way to a free column is forbidden
		}
		for _, p := range []*FewPath{&got, &want} {
			p.Free[at/64] &^= 1 << (at % 64)
			for k, c := range p.Col[:settled] {
				p.Price[c] += p.Length[k] - least
			}
			for j := int32(at); ; {
				row := p.Pred[j]
				p.RowOf[j] = row
				if int(row) == i {
					break
				}
				j = colOf[row]
			}
		}
		for j := range columns {
			if got.Free[j/64]>>(j%64)&1 == 0 {
				colOf[got.RowOf[j]] = int32(j)
			}
		}
		if !slices.Equal(got.RowOf, want.RowOf) {
			t.Fatalf("%s: rows are %v, want %v", what, got.RowOf, want.RowOf)
		}
	}
	for i, j := range colOf {
		row := cost.data[i*n : i*n+n]
		if own, best := row[j]-price.data[j], leastFew(row, price.data); own > best+1e-9 {
			t.Fatalf("%d rows, %d columns: row %d pays %v, and %v would do", m, columns, i, own, best)
		}
	}
}

func fillWith(x []float64, v float64) {
	for i := range x {
		x[i] = v
	}
}

// FuzzScans compares the scans of all instruction sets, on slices of any length at any offset, with those in Go.
func FuzzScans(f *testing.F) {
	f.Add(uint64(1), uint16(300), uint8(3), int8(0))
	f.Fuzz(func(t *testing.T, seed uint64, size uint16, offset uint8, limit int8) {
		n := int(size) % 700
		want := scanResults(portableScans[float32](), seed, n, int(offset), float64(limit)/16)
		for _, e := range offered() {
			if got := scanResults(*scansNamed[float32](e.name), seed, n, int(offset), float64(limit)/16); got != want {
				t.Errorf("%s: %s, want %s", e.name, got, want)
			}
		}
	})
}

// scanResults is all that scans of random numbers give, as text.
func scanResults(s scans[float32], seed uint64, n, offset int, limit float64) string {
	rng := rand.New(rand.NewPCG(seed, 0))
	x := make([]float32, offset+n)[offset:]
	v := make([]float64, offset+n)[offset:]
	for j := range x {
		x[j], v[j] = float32(rng.NormFloat64()), rng.NormFloat64()
	}
	var lanes [ScanLanes]float32
	var reduced [ScanLanes]float64
	at := make([]int32, n)
	largest := s.laneMinima(-1, x, &lanes)
	s.reducedLaneMinima(-1, x, v, &reduced)
	text := fmt.Sprint(largest, lanes, reduced)
	text += fmt.Sprint(at[:s.below(-1, x, float32(limit), at, n/3)])
	text += fmt.Sprint(at[:s.reducedBelow(-1, x, v, limit, at, n/3)])
	p, floor, _ := pathCase(rng, n)
	text += fmt.Sprint(s.relax(-1, x, &p, 5, limit, floor))
	return text + fmt.Sprint(p.Dist, p.Pred)
}

func TestScansPanicOnLengths(t *testing.T) {
	two, three := make([]float64, 2), make([]float64, 3)
	var least [ScanLanes]float64
	for name, run := range map[string]func(){
		"Below":              func() { Below(1, three, 0, make([]int32, 2), 3) },
		"ReducedLaneMinima":  func() { ReducedLaneMinima(1, three, two, &least) },
		"ReducedBelow":       func() { ReducedBelow(1, three, two, 0, make([]int32, 3), 3) },
		"ReducedBelow found": func() { ReducedBelow(1, three, three, 0, make([]int32, 2), 3) },
		"Equal":              func() { Equal(three, 0, make([]int32, 2), 3) },
		"LeastFew":           func() { LeastFew(three, three) },
		"SearchFew":          func() { SearchFew(&FewPath{Cost: make([]float64, 8), Price: make([]float64, 8)}, 0) },
		"SearchFew's row": func() {
			eight, ints := make([]float64, 8), make([]int32, 8)
			SearchFew(&FewPath{Cost: eight, Price: eight, RowOf: ints, Dist: eight, Pred: ints, Col: ints, Length: eight}, 1)
		},
		"Relax": func() { Relax(1, three, &Path{Price: three, Dist: two}, 0, 0, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			run()
		})
	}
}

// The scans that are in use give what the implementation named does.
func TestScansInUse(t *testing.T) {
	x := []float32{3, -4, 1}
	var least [ScanLanes]float32
	if largest := LaneMinima(-1, x, &least); largest != 4 || least[0] != -3 || least[1] != 4 {
		t.Errorf("largest %v, least %v", largest, least)
	}
	at := make([]int32, 3)
	if got := at[:Below(1, x, 1, at, 3)]; !slices.Equal(got, []int32{1, 2}) {
		t.Errorf("below 1: %v", got)
	}
	if got := at[:ReducedBelow(1, x, []float64{2, -5, 0}, 1, at, 3)]; !slices.Equal(got, []int32{0, 1, 2}) {
		t.Errorf("reduced below 1: %v", got)
	}
	p := Path{Price: []float64{0, 0, 0}, Dist: []float64{9, 9, 0}, Pred: make([]int32, 3)}
	if got := Relax(1, x, &p, 2, 0, 1); got != 0 || !slices.Equal(p.Dist, []float64{3, 1, 0}) {
		t.Errorf("least %v of %v", got, p.Dist)
	}
	if got := at[:Equal(p.Dist, 1, at, 3)]; !slices.Equal(got, []int32{1}) {
		t.Errorf("equal to 1: %v", got)
	}
}
