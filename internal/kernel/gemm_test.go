package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// A gemmCase is a call of Gemm, with strides that exceed the widths by a gap.
type gemmCase struct {
	transA, transB bool
	m, n, k, gap   int
	beta           int
}

func (c gemmCase) String() string {
	return fmt.Sprintf("transA=%v transB=%v m=%d n=%d k=%d gap=%d beta=%d", c.transA, c.transB, c.m, c.n, c.k, c.gap, c.beta)
}

// matrix returns a rows x cols matrix, stored transposed when trans is set, and its leading dimension. The gaps hold NaN, which must not
// be read.
func matrix[T Float](rows, cols int, trans bool, gap int, value func() T) (data []T, ld int) {
	if trans {
		rows, cols = cols, rows
	}
	ld = cols + gap
	data = make([]T, rows*ld)
	for i := range data {
		data[i] = T(math.NaN())
		if i%ld < cols {
			data[i] = value()
		}
	}
	return data[:max(0, len(data)-gap)], ld
}

// element reads an element of op(X).
func element[T Float](data []T, ld int, trans bool, row, col int) float64 {
	if trans {
		row, col = col, row
	}
	return float64(data[row*ld+col])
}

// reference is beta*c + op(A)*op(B) in float64, and the sum of the magnitudes of what was added.
func reference[T Float](c gemmCase, a []T, lda int, b []T, ldb int, before float64, row, col int) (value, magnitude float64) {
	if c.beta == 1 {
		value, magnitude = before, math.Abs(before)
	}
	for p := range c.k {
		product := element(a, lda, c.transA, row, p) * element(b, ldb, c.transB, p, col)
		value += product
		magnitude += math.Abs(product)
	}
	return value, magnitude
}

// checkGemm compares a product with the reference. An error of tolerance times the sum of magnitudes is allowed.
func checkGemm[T Float](t *testing.T, e *implementation[T], p *Pool, c gemmCase, tolerance float64, value func() T) {
	t.Helper()
	a, lda := matrix(c.m, c.k, c.transA, c.gap, value)
	b, ldb := matrix(c.k, c.n, c.transB, c.gap, value)
	ldc := c.n + c.gap
	out := newGuarded[T](c.gap, c.m*ldc)
	for i := range out.data {
		switch {
		case i%ldc >= c.n:
			out.data[i] = guard
		case c.beta == 0:
			out.data[i] = T(math.NaN())
		default:
			out.data[i] = value()
		}
	}
	before := append([]T(nil), out.data...)
	gemmWith(&e.engine, p, c.transA, c.transB, c.m, c.n, c.k, a, lda, b, ldb, T(c.beta), out.data, ldc)
	out.check(t, c.String())
	for i, got := range out.data {
		row, col := i/ldc, i%ldc
		if col >= c.n {
			if got != guard {
				t.Fatalf("%v: wrote %v between rows, at %d, %d", c, got, row, col)
			}
			continue
		}
		want, magnitude := reference(c, a, lda, b, ldb, float64(before[i]), row, col)
		if !(math.Abs(float64(got)-want) <= tolerance*magnitude) {
			t.Fatalf("%v: element %d, %d is %v, want %v", c, row, col, got, want)
		}
	}
}

// smallIntegers have products and sums without rounding, so that results are exact.
func smallIntegers[T Float](rng *rand.Rand) func() T { return func() T { return T(rng.IntN(9) - 4) } }

// variants calls f with every combination of transposes and beta, or, under the race detector, which has nothing more to find there, with
// one that depends on the size.
func variants(c gemmCase, f func(gemmCase)) {
	for v := range 8 {
		if raceDetector && v != (c.m+3*c.n+c.k)%8 {
			continue
		}
		c.transA, c.transB, c.beta = v&1 != 0, v&2 != 0, v>>2
		f(c)
	}
}

// checkTiles multiplies at every size up to two register tiles and one, in both directions.
func checkTiles[T Float](t *testing.T, e *implementation[T]) {
	rng := rand.New(rand.NewPCG(1, 2))
	depths := []int{1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 0, 33}
	for m := 1; m <= 2*e.mr+1; m++ {
		for n := 1; n <= 2*e.nr+1; n++ {
			variants(gemmCase{m: m, n: n, k: depths[(m+n)%len(depths)], gap: (m * n) % 3}, func(c gemmCase) {
				checkGemm(t, e, nil, c, 0, smallIntegers[T](rng))
			})
		}
	}
}

func TestGemmTiles(t *testing.T) { forEach(t, checkTiles[float32], checkTiles[float64]) }

// checkBlocks multiplies at sizes around those of the blocks.
func checkBlocks[T Float](t *testing.T, e *implementation[T]) {
	rng, sizes := rand.New(rand.NewPCG(3, 4)), e.blocks
	pool := NewPool(2)
	defer pool.Close()
	for _, size := range [][3]int{
		{13, 33, sizes.depth - 1},
		{13, 33, sizes.depth},
		{13, 33, sizes.depth + 1},
		{5, 40, 2*sizes.depth + 1},
		{7, 18, sizes.span - 1},
		{7, 18, sizes.span},
		{7, 18, sizes.span + 1},
		{300, 4, 2*sizes.span + 1},
		{sizes.rows - 1, sizes.cols + 1, 15},
		{sizes.rows + 1, sizes.cols - 1, 16},
		{2*sizes.rows + 1, 2*sizes.cols + 1, 9},
		{maxRows + 1, 33, 4},
		{13, maxColumns + 1, 4},
	} {
		variants(gemmCase{m: size[0], n: size[1], k: size[2], gap: size[2] % 3}, func(c gemmCase) {
			checkGemm(t, e, pool, c, 0, smallIntegers[T](rng))
		})
	}
}

func TestGemmBlocks(t *testing.T) { forEach(t, checkBlocks[float32], checkBlocks[float64]) }

// drawCase draws a call of Gemm.
func drawCase(t *rapid.T) gemmCase {
	return gemmCase{
		transA: rapid.Bool().Draw(t, "transA"), transB: rapid.Bool().Draw(t, "transB"),
		m: rapid.IntRange(0, 80).Draw(t, "m"), n: rapid.IntRange(0, 80).Draw(t, "n"), k: rapid.IntRange(0, 90).Draw(t, "k"),
		gap: rapid.IntRange(0, 5).Draw(t, "gap"), beta: rapid.IntRange(0, 1).Draw(t, "beta"),
	}
}

// checkAccuracy allows what a sum in any order can lose: one rounding of the magnitude per addition (Higham 2002, Accuracy and Stability of
// Numerical Algorithms, section 3.1).
func checkAccuracy[T Float](t *testing.T, e *implementation[T], unit float64) {
	pool := NewPool(2)
	defer pool.Close()
	rapid.Check(t, func(rt *rapid.T) {
		c := drawCase(rt)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		checkGemm(t, e, pool, c, unit*float64(c.k+2), func() T { return T(rng.NormFloat64()) })
	})
}

func TestGemmAccuracy(t *testing.T) {
	forEach(t, func(t *testing.T, e *implementation[float32]) { checkAccuracy(t, e, 0x1p-24) },
		func(t *testing.T, e *implementation[float64]) { checkAccuracy(t, e, 0x1p-53) })
}

// checkThreads asserts that neither the number of threads nor the rows and columns computed in one call change a byte.
func checkThreads[T Float](t *testing.T, e *implementation[T]) {
	rng, sizes := rand.New(rand.NewPCG(5, 6)), e.blocks
	for _, size := range [][3]int{{40, 70, sizes.span + 1}, {sizes.rows*2 + 7, sizes.cols + 9, 50}, {500, 10, 80}, {3, 600, 401}} {
		m, n, k := size[0], size[1], size[2]
		a, lda := matrix(m, k, false, 0, func() T { return T(rng.NormFloat64()) })
		b, ldb := matrix(k, n, true, 0, func() T { return T(rng.NormFloat64()) })
		start := make([]T, m*n)
		for i := range start {
			start[i] = T(rng.NormFloat64())
		}
		want := append([]T(nil), start...)
		gemmWith(&e.engine, nil, false, true, m, n, k, a, lda, b, ldb, 1, want, n)
		for _, threads := range []int{1, 2, 3, 5} {
			pool := NewPool(threads)
			got := append([]T(nil), start...)
			gemmWith(&e.engine, pool, false, true, m, n, k, a, lda, b, ldb, 1, got, n)
			pool.Close()
			sameSlices(t, fmt.Sprint(size, " on ", threads, " threads"), got, want)
		}
		cut := m / 3
		got := append([]T(nil), start...)
		gemmWith(&e.engine, nil, false, true, cut, n, k, a, lda, b, ldb, 1, got, n)
		gemmWith(&e.engine, nil, false, true, m-cut, n, k, a[cut*lda:], lda, b, ldb, 1, got[cut*n:], n)
		sameSlices(t, fmt.Sprint(size, " in two calls, one above the other"), got, want)
		cut = n/3 | 1
		got = append([]T(nil), start...)
		gemmWith(&e.engine, nil, false, true, m, cut, k, a, lda, b, ldb, 1, got, n)
		gemmWith(&e.engine, nil, false, true, m, n-cut, k, a, lda, b[cut*ldb:], ldb, 1, got[cut:], n)
		sameSlices(t, fmt.Sprint(size, " in two calls side by side"), got, want)
	}
}

func TestGemmThreads(t *testing.T) { forEach(t, checkThreads[float32], checkThreads[float64]) }

// checkPacking compares panels, whole and partial, with the definition: line i at depth p is element p*width+i, and lines that do not
// exist are zero.
func checkPacking[T Float](t *testing.T, e *implementation[T]) {
	for _, width := range []int{e.mr, e.nr} {
		for have := 1; have <= width; have++ {
			for _, depth := range []int{1, 7, 15, 16, 17, 31, 32, 40} {
				what := fmt.Sprintf("%d of %d lines, depth %d", have, width, depth)
				along, across := newGuarded[T](have%3, width*depth), newGuarded[T](depth%3, width*depth)
				src := make([]T, max(have*(depth+2), depth*(have+1)))
				for i := range src {
					src[i] = T(i + 1)
				}
				e.packLines(along.data, width, have, src[:have*(depth+2)-2], depth+2, depth)
				e.packRows(across.data, width, have, src[:depth*(have+1)-1], have+1, depth)
				along.check(t, what)
				across.check(t, what)
				for i := range width * depth {
					line, p := i%width, i/width
					var wantAlong, wantAcross T
					if line < have {
						wantAlong, wantAcross = src[line*(depth+2)+p], src[p*(have+1)+line]
					}
					if along.data[i] != wantAlong || across.data[i] != wantAcross {
						t.Fatalf("%s: element %d is %v and %v, want %v and %v", what, i, along.data[i], across.data[i], wantAlong, wantAcross)
					}
				}
			}
		}
	}
}

func TestPacking(t *testing.T) { forEach(t, checkPacking[float32], checkPacking[float64]) }

func TestGemmOverwritesNonFinite(t *testing.T) {
	c := []float32{float32(math.NaN()), float32(math.Inf(1))}
	Gemm(nil, false, false, 1, 2, 0, nil, 0, nil, 2, 0, c, 2)
	sameSlices(t, "an empty product", c, []float32{0, 0})
	Gemm(nil, false, false, 1, 2, 1, []float32{float32(math.Inf(1))}, 1, []float32{0, 1}, 2, 0, c, 2)
	sameSlices(t, "infinity times 0 and 1", c, []float32{float32(math.NaN()), float32(math.Inf(1))})
}

func TestGemmPanicsOnShortSlices(t *testing.T) {
	x := make([]float32, 6)
	mustPanic(t, "kernel: Gemm: a has 6 elements, needs 7", func() { Gemm(nil, false, false, 2, 1, 3, x, 4, x, 1, 0, x, 1) })
	mustPanic(t, "kernel: Gemm: b has 3 columns but leading dimension 2", func() { Gemm(nil, false, false, 1, 3, 2, x, 2, x, 2, 0, x, 3) })
	mustPanic(t, "kernel: Gemm: c has 2 elements, needs 4", func() { Gemm(nil, false, true, 2, 2, 1, x, 1, x, 1, 0, x[:2], 2) })
	mustPanic(t, "kernel: Gemm: b is 1 x -1", func() { Gemm(nil, false, false, 1, -1, 1, x, 1, x, 1, 0, x, 1) })
	mustPanic(t, "kernel: Gemm: beta is 2, not 0 or 1", func() { Gemm(nil, false, false, 1, 1, 1, x, 1, x, 1, 2, x, 1) })
}

func TestGemmAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("sync.Pool forgets at random under the race detector")
	}
	pool := NewPool(2)
	defer pool.Close()
	a, b, c := make([]float32, 100*70), make([]float32, 70*90), make([]float32, 100*90)
	n := testing.AllocsPerRun(100, func() { Gemm(pool, false, false, 100, 90, 70, a, 70, b, 90, 0, c, 90) })
	if n != 0 {
		t.Errorf("%v allocations a call", n)
	}
}

// checkStoreEdge compares parts of a tile with the definition.
func checkStoreEdge[T Float](t *testing.T, e *implementation[T]) {
	const width = 32
	tile := make([]T, 12*width)
	for i := range tile {
		tile[i] = T(i + 1)
	}
	for rows := range 13 {
		for cols := range width + 1 {
			for _, add := range []bool{false, true} {
				ldc := cols + rows%3
				c := newGuarded[T](cols%5, max(0, (rows-1)*ldc+cols))
				for i := range c.data {
					c.data[i] = T(-i)
				}
				e.storeEdge(c.data, ldc, tile, width, rows, cols, add)
				what := fmt.Sprintf("%d x %d, add %t", rows, cols, add)
				c.check(t, what)
				for i, got := range c.data {
					want := T(-i)
					if r, col := i/max(ldc, 1), i%max(ldc, 1); col < cols {
						want = tile[r*width+col]
						if add {
							want += T(-i)
						}
					}
					if got != want {
						t.Fatalf("%s: element %d is %v, want %v", what, i, got, want)
					}
				}
			}
		}
	}
}

func TestStoreEdge(t *testing.T) { forEach(t, checkStoreEdge[float32], checkStoreEdge[float64]) }
