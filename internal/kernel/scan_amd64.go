//go:build amd64 && !purego

package kernel

import (
	"math"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// scansNamed is the implementation for an instruction set, or the best below it that the processor can run.
func scansNamed[T Float](set string) *scans[T] {
	x := cpu.X86
	s := portableScans[T]()
	switch {
	case set == "portable" || !x.HasBMI1:
	case set == "avx512" && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL:
		s = scansAVX512[T]()
	default:
		s = scansAVX2[T]()
	}
	return &s
}

func scansAVX512[T Float]() scans[T] {
	if isFloat32[T]() {
		s := scanBlocks[float32]{
			reducedLaneMinima: reducedLaneMinima32AVX512, reducedBelow: reducedBelow32AVX512, relax: relax32AVX512,
			equal: equal64AVX512, leastFew: leastFew64AVX512, searchFew: searchFew64AVX512,
		}.scans()
		s.laneMinima, s.below = laneMinimaBlocks(laneMinima32AVX512), belowBlocks(below32AVX512)
		return *(*scans[T])(unsafe.Pointer(&s))
	}
	s := scanBlocks[float64]{
		reducedLaneMinima: reducedLaneMinima64AVX512, reducedBelow: reducedBelow64AVX512, relax: relax64AVX512,
		equal: equal64AVX512, leastFew: leastFew64AVX512, searchFew: searchFew64AVX512,
	}.scans()
	return *(*scans[T])(unsafe.Pointer(&s))
}

func scansAVX2[T Float]() scans[T] {
	if isFloat32[T]() {
		s := scanBlocks[float32]{
			reducedLaneMinima: reducedLaneMinima32AVX2, reducedBelow: reducedBelow32AVX2, relax: relax32AVX2,
			equal: equal64AVX2, leastFew: leastFew64AVX2, searchFew: searchFew64AVX2,
		}.scans()
		s.laneMinima, s.below = laneMinimaBlocks(laneMinima32AVX2), belowBlocks(below32AVX2)
		return *(*scans[T])(unsafe.Pointer(&s))
	}
	s := scanBlocks[float64]{
		reducedLaneMinima: reducedLaneMinima64AVX2, reducedBelow: reducedBelow64AVX2, relax: relax64AVX2,
		equal: equal64AVX2, leastFew: leastFew64AVX2, searchFew: searchFew64AVX2,
	}.scans()
	return *(*scans[T])(unsafe.Pointer(&s))
}

// scanBlocks are scans in assembly, which do whole blocks. The rest of a row is left to Go.
type scanBlocks[T Float] struct {
	reducedLaneMinima func(sign float64, x []T, v []float64, least *[ScanLanes]float64)
	reducedBelow      func(sign float64, x []T, v []float64, limit float64, at []int32, room int) (count, done int)
	relax             func(sign float64, x []T, price, dist []float64, pred []int32, row int32, rent, floor float64) float64
	equal             func(x []float64, value float64, at []int32, room int) (count, done int)
	leastFew          func(x, price []float64) (least float64)
	searchFew         func(cost *float64, n int, price, dist *float64, pred, rowOf *int32, free *[4]uint64, start int, col *int32, length *float64) (least float64, at, settled int)
}

// scans completes b. Scans at zero prices are those in Go.
func (b scanBlocks[T]) scans() scans[T] {
	s := portableScans[T]()
	s.leastFew = b.leastFew
	s.searchFew = func(p *FewPath, start int) (least float64, at, settled int) {
		return b.searchFew(&p.Cost[0], len(p.Price), &p.Price[0], &p.Dist[0], &p.Pred[0], &p.RowOf[0], &p.Free, start, &p.Col[0], &p.Length[0])
	}
	s.reducedLaneMinima = func(sign T, x []T, v []float64, least *[ScanLanes]float64) {
		for l := range least {
			least[l] = math.Inf(1)
		}
		n := len(x) &^ (scanGroup - 1)
		b.reducedLaneMinima(float64(sign), x[:n], v, least)
		lowerReducedLanes(sign, x[n:], v[n:], least)
	}
	s.reducedBelow = func(sign T, x []T, v []float64, limit float64, at []int32, room int) int {
		n := len(x) &^ (scanGroup - 1)
		count, done := b.reducedBelow(float64(sign), x[:n], v, limit, at, room)
		return reducedBelowFrom(done, sign, x, v, limit, at, room, count)
	}
	s.relax = func(sign T, x []T, p *Path, row int32, rent, floor float64) float64 {
		const block = 16
		n := len(x) &^ (block - 1)
		least := b.relax(float64(sign), x[:n], p.Price, p.Dist, p.Pred, row, rent, floor)
		return relaxFrom(n, sign, x, p, row, rent, floor, least)
	}
	s.equal = func(x []float64, value float64, at []int32, room int) int {
		count, done := b.equal(x[:len(x)&^(scanGroup-1)], value, at, room)
		return equalFrom(done, x, value, at, room, count)
	}
	return s
}

func laneMinimaBlocks(
	head func(sign float32, x []float32, least *[ScanLanes]float32) (largest uint32),
) func(sign float32, x []float32, least *[ScanLanes]float32) float32 {
	return func(sign float32, x []float32, least *[ScanLanes]float32) float32 {
		for l := range least {
			least[l] = float32(math.Inf(1))
		}
		n := len(x) &^ (scanGroup - 1)
		largest := math.Float32frombits(head(sign, x[:n], least))
		return lowerLanes(sign, x[n:], least, largest)
	}
}

func belowBlocks(
	head func(sign float32, x []float32, limit float32, at []int32, room int) (count, done int),
) func(sign float32, x []float32, limit float32, at []int32, room int) int {
	return func(sign float32, x []float32, limit float32, at []int32, room int) int {
		n := len(x) &^ (scanGroup - 1)
		count, done := head(sign, x[:n], limit, at, room)
		return belowFrom(done, sign, x, limit, at, room, count)
	}
}
