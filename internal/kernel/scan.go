package kernel

import (
	"fmt"
	"unsafe"
)

// ScanLanes is the number of lanes of a scan: element j belongs to lane j mod ScanLanes.
const ScanLanes = 16

// scanGroup is the number of elements that scans handle between looks at what they found.
const scanGroup = 64

// A Path is the state of a shortest path search on the columns of a matrix, as [Relax] reads and extends it.
type Path struct {
	Price []float64 // dual of each column
	Dist  []float64 // length of the shortest path known to each column
	Pred  []int32   // the row before each column on that path
}

// scans are the kernels that look for small elements of a row of costs, for one type of costs. All implementations give the same results:
// whatever is computed is computed in float64, by the same operations on each element.
type scans[T Float] struct {
	laneMinima        func(sign T, x []T, least *[ScanLanes]T) T
	below             func(sign T, x []T, limit T, at []int32, room int) int
	reducedLaneMinima func(sign T, x []T, v []float64, least *[ScanLanes]float64)
	reducedBelow      func(sign T, x []T, v []float64, limit float64, at []int32, room int) int
	relax             func(sign T, x []T, p *Path, row int32, rent, floor float64) float64
	equal             func(x []float64, value float64, at []int32, room int) int
	leastFew          func(x, price []float64) (least float64)
	searchFew         func(p *FewPath, start int) (least float64, at, settled int)
}

// The scans in use. Unlike the other kernels those of float64 are in assembly too.
var (
	scans32 = scansNamed[float32](chosen32.name)
	scans64 = scansNamed[float64](chosen32.name)
)

// scansOf is the implementation in use for T.
func scansOf[T Float]() *scans[T] {
	if isFloat32[T]() {
		return (*scans[T])(unsafe.Pointer(scans32))
	}
	return (*scans[T])(unsafe.Pointer(scans64))
}

// LaneMinima stores in least the smallest sign·x[j] of each lane, +Inf for one without elements, and returns the largest |x[j]|,
// which is NaN or +Inf if any element is. The sign is 1 or -1. With NaN among the elements least is arbitrary.
func LaneMinima[T Float](sign T, x []T, least *[ScanLanes]T) (largest T) {
	return scansOf[T]().laneMinima(sign, x, least)
}

// Below stores in at the indices j of the elements with sign·x[j] <= limit, in increasing order, and returns their number. It stops at
// the end of a group of 64 elements once there are room of them, which is at least 1. at has
// room for all elements.
func Below[T Float](sign T, x []T, limit T, at []int32, room int) int {
	sameLength("Below", len(x), min(len(x), len(at)))
	return scansOf[T]().below(sign, x, limit, at, room)
}

// ReducedLaneMinima stores in least the smallest sign·x[j] - v[j] of each lane, +Inf for one without elements.
func ReducedLaneMinima[T Float](sign T, x []T, v []float64, least *[ScanLanes]float64) {
	sameLength("ReducedLaneMinima", len(x), len(v))
	scansOf[T]().reducedLaneMinima(sign, x, v, least)
}

// ReducedBelow is [Below] of sign·x[j] - v[j].
func ReducedBelow[T Float](sign T, x []T, v []float64, limit float64, at []int32, room int) int {
	sameLength("ReducedBelow", len(x), len(v), min(len(x), len(at)))
	return scansOf[T]().reducedBelow(sign, x, v, limit, at, room)
}

// Relax offers every column j the path that goes on through the given row at the length h = (sign·x[j] - Price[j]) - rent, but no
// less than floor: where h < Dist[j], Dist[j] becomes max(h, floor) and Pred[j] the row. It returns the least distance, +Inf if
// there is none.
func Relax[T Float](sign T, x []T, p *Path, row int32, rent, floor float64) (least float64) {
	sameLength("Relax", len(x), len(p.Price), len(p.Dist), len(p.Pred))
	return scansOf[T]().relax(sign, x, p, row, rent, floor)
}

// Equal stores in at the indices of the elements of x that equal value, as [Below] does.
func Equal(x []float64, value float64, at []int32, room int) int {
	sameLength("Equal", len(x), min(len(x), len(at)))
	return scans64.equal(x, value, at, room)
}

// LeastFew is the least x[j] - price[j], for float64 slices whose length is a multiple of 8 and not zero.
func LeastFew(x, price []float64) float64 {
	if len(x) == 0 || len(x)%8 != 0 || len(x) != len(price) {
		panic(fmt.Sprintf("kernel: LeastFew: slices of %d and %d elements", len(x), len(price)))
	}
	return scans64.leastFew(x, price)
}

// MostFew is the number of columns of the largest [FewPath].
const MostFew = 4 * 64

// A FewPath is a shortest path search on up to [MostFew] columns. Its slices but Cost have an element for each column, and their number is a multiple of 8.
type FewPath struct {
	Cost  []float64            // one row after the other, +Inf where a row may not have a column
	Price []float64            // dual of each column
	RowOf []int32              // row of each column that is not free
	Free  [MostFew / 64]uint64 // the free columns: column j is bit j%64 of word j/64

	Dist   []float64 // work space
	Pred   []int32   // the row before each column on the shortest path to it
	Col    []int32   // columns settled, in their order
	Length []float64 // of the paths to them
}

// SearchFew searches from row start for the nearest free column (Dijkstra's algorithm), in reduced costs Cost - Price counted from the
// duals of the rows that have columns; all of them are non-negative but for those of the start, whose dual only adds a constant. Among columns as near as one another a free one comes first, then the
// first of all. It returns that column, the length of the path to it and how many columns of Col and Length were settled on the way;
// where no free column can be reached least is +Inf. All implementations give the same.
func SearchFew(p *FewPath, start int) (least float64, at, settled int) {
	n := len(p.Price)
	if n%8 != 0 || uint(n-8) > MostFew-8 || n != len(p.RowOf) || n != len(p.Dist) || n != len(p.Pred) || n != len(p.Col) || n != len(p.Length) ||
		uint(start) >= uint(len(p.Cost)/n) {
		panic(fmt.Sprintf("kernel: SearchFew: row %d of %d costs, slices of %d, %d, %d, %d, %d and %d elements", start, len(p.Cost), n, len(p.RowOf),
			len(p.Dist), len(p.Pred), len(p.Col), len(p.Length)))
	}
	return scans64.searchFew(p, start)
}
