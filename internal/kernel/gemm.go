package kernel

import (
	"fmt"
	"sync"
)

// An engine is one implementation of the inside of Gemm.
type engine[T Float] struct {
	mr, nr int // the register tile: rows of op(A), columns of op(B)

	// multiply computes a full register tile from panels of A and B of the given depth: c = a*b, or c += a*b.
	multiply func(depth int, a, b, c []T, ldc int, accumulate bool)
	// packLines makes a panel of lines that run along the depth, dst[p*width+i] = src[i*ld+p], of which the first have exist and the others
	// are zero.
	packLines func(dst []T, width, have int, src []T, ld, depth int)
	// packRows does so for lines that run across the depth: dst[p*width+i] = src[p*ld+i].
	packRows func(dst []T, width, have int, src []T, ld, depth int)
}

// Sizes of the blocks of Goto's algorithm, in elements. The depth of a block is the only one results depend on.
const (
	maxDepth   = 384  // a panel of B of this depth streams from the second-level cache while one of A stays in the first
	maxRows    = 2048 // of A packed at a time
	maxColumns = 2048 // of B packed at a time
	tileRows   = 192  // what a part of a parallel product covers: its panels of A stay in the second-level cache
	tileCols   = 256
	packPart   = 4 // panels a part of the packing covers
)

// Gemm computes C = beta*C + op(A)*op(B), where op(A) is m x k, op(B) is k x n, op(X) is X or, when its flag is set, its transpose, and all
// matrices are stored by rows, lda, ldb and ldc elements apart. Beta is 0 or 1; 0 overwrites C, whatever it held. C must not overlap A or B.
//
// The result does not depend on the number of threads. In steady state a call allocates nothing.
//
// Reference: K. Goto, R. A. van de Geijn (2008), Anatomy of High-Performance Matrix Multiplication, ACM TOMS 34(3):12, doi:10.1145/1356052.1356053.
// Departure: the blocks of A are packed once and shared by all threads, as B is, which balances the skinny products of training on small batches.
func Gemm[T Float](p *Pool, transA, transB bool, m, n, k int, a []T, lda int, b []T, ldb int, beta T, c []T, ldc int) {
	gemmWith(&current[T]().engine, p, transA, transB, m, n, k, a, lda, b, ldb, beta, c, ldc)
}

// gemmWith is Gemm on a given engine.
func gemmWith[T Float](e *engine[T], p *Pool, transA, transB bool, m, n, k int, a []T, lda int, b []T, ldb int, beta T, c []T, ldc int) {
	if beta != 0 && beta != 1 {
		panic(fmt.Sprintf("kernel: Gemm: beta is %v, not 0 or 1", beta))
	}
	checkOperand("a", transA, m, k, len(a), lda)
	checkOperand("b", transB, k, n, len(b), ldb)
	holdsMatrix("Gemm", "c", len(c), m, n, ldc)
	if m == 0 || n == 0 {
		return
	}
	if k == 0 {
		if beta == 0 {
			for i := range m {
				clear(c[i*ldc : i*ldc+n])
			}
		}
		return
	}
	pool := products[T]()
	g, _ := pool.Get().(*product[T])
	if g == nil {
		g = new(product[T])
	}
	g.engine, g.accumulate = e, beta == 1
	g.a = operand[T]{data: a, ld: lda, alongDepth: !transA, lines: m, width: e.mr, packed: g.a.packed}
	g.b = operand[T]{data: b, ld: ldb, alongDepth: transB, lines: n, width: e.nr, packed: g.b.packed}
	g.c, g.ldc = c, ldc
	g.multiply(p, m, n, k)
	g.a.data, g.b.data, g.c = nil, nil, nil
	pool.Put(g)
}

func checkOperand(name string, trans bool, rows, cols, have, ld int) {
	if trans {
		rows, cols = cols, rows
	}
	holdsMatrix("Gemm", name, have, rows, cols, ld)
}

var products32, products64 sync.Pool

// products is the store of packing buffers for T.
func products[T Float]() *sync.Pool {
	if _, ok := asFloat32[T](nil); ok {
		return &products32
	}
	return &products64
}

// A product is one call of Gemm under way. Its phases run as Tasks, one after the other.
type product[T Float] struct {
	engine *engine[T]
	a, b   operand[T]
	c      []T
	ldc    int

	depth0, depth int  // the depth block
	accumulate    bool // whether this depth block adds to C
	packing       bool // the phase
	partsA        int  // while packing: the parts below this are A's, the others B's
	stripes       int  // while multiplying: tiles from left to right
	edges         []T  // one register tile for each part, for what sticks out of C
}

// An operand is A or B seen as lines along the depth: rows of op(A), columns of op(B).
type operand[T Float] struct {
	data       []T
	ld         int
	alongDepth bool // neighbours in memory are neighbours along the depth
	lines      int
	width      int // lines of a panel

	first, count int // the lines that are packed
	packed       []T // panel after panel; lines beyond the last are zero
}

func (o *operand[T]) panels() int { return (o.count + o.width - 1) / o.width }

// take makes lines [first, first+count) the ones to pack, to the given depth.
func (o *operand[T]) take(first, count, depth int) {
	o.first, o.count = first, count
	o.packed = grow(o.packed, o.panels()*o.width*depth)
}

func grow[T Float](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

func (g *product[T]) multiply(p *Pool, m, n, k int) {
	blocks := (k + maxDepth - 1) / maxDepth
	block := (k + blocks - 1) / blocks
	addsToC := g.accumulate
	for j := 0; j < n; j += maxColumns {
		for p0 := 0; p0 < k; p0 += block {
			g.depth0, g.depth = p0, min(block, k-p0)
			g.accumulate = addsToC || p0 > 0
			g.b.take(j, min(maxColumns, n-j), g.depth)
			for i := 0; i < m; i += maxRows {
				g.a.take(i, min(maxRows, m-i), g.depth)
				g.pack(p, i == 0)
				g.multiplyBlock(p)
			}
		}
	}
}

// pack fills the panels of A and, when they are new, those of B.
func (g *product[T]) pack(p *Pool, withB bool) {
	g.packing = true
	g.partsA = (g.a.panels() + packPart - 1) / packPart
	parts := g.partsA
	if withB {
		parts += (g.b.panels() + packPart - 1) / packPart
	}
	p.Run(parts, g)
}

// multiplyBlock multiplies the packed blocks, cut into tiles.
func (g *product[T]) multiplyBlock(p *Pool) {
	g.packing = false
	g.stripes = (g.b.count + tileCols - 1) / tileCols
	parts := g.stripes * ((g.a.panels() + g.tilePanels() - 1) / g.tilePanels())
	g.edges = grow(g.edges, parts*g.engine.mr*g.engine.nr)
	p.Run(parts, g)
}

// tilePanels is the number of panels of A in a tile.
func (g *product[T]) tilePanels() int { return tileRows / g.engine.mr }

// Do implements Task.
func (g *product[T]) Do(part int) {
	switch {
	case !g.packing:
		g.tile(part)
	case part < g.partsA:
		g.packPanels(&g.a, part)
	default:
		g.packPanels(&g.b, part-g.partsA)
	}
}

func (g *product[T]) packPanels(o *operand[T], part int) {
	for panel := part * packPart; panel < min((part+1)*packPart, o.panels()); panel++ {
		g.packPanel(o, panel)
	}
}

func (g *product[T]) packPanel(o *operand[T], panel int) {
	dst := o.packed[panel*o.width*g.depth:][:o.width*g.depth]
	line := o.first + panel*o.width
	have := min(o.width, o.first+o.count-line)
	if o.alongDepth {
		g.engine.packLines(dst, o.width, have, o.data[line*o.ld+g.depth0:], o.ld, g.depth)
	} else {
		g.engine.packRows(dst, o.width, have, o.data[g.depth0*o.ld+line:], o.ld, g.depth)
	}
}

// tile computes one tile of C.
func (g *product[T]) tile(part int) {
	e, depth := g.engine, g.depth
	row0 := part / g.stripes * g.tilePanels()
	row1 := min(row0+g.tilePanels(), g.a.panels())
	colPanels := tileCols / e.nr
	col0 := part % g.stripes * colPanels
	col1 := min(col0+colPanels, g.b.panels())
	edge := g.edges[part*e.mr*e.nr:][:e.mr*e.nr]
	for col := col0; col < col1; col++ {
		b := g.b.packed[col*e.nr*depth:][:e.nr*depth]
		cols := min(e.nr, g.b.count-col*e.nr)
		for row := row0; row < row1; row++ {
			a := g.a.packed[row*e.mr*depth:][:e.mr*depth]
			rows := min(e.mr, g.a.count-row*e.mr)
			c := g.c[(g.a.first+row*e.mr)*g.ldc+g.b.first+col*e.nr:]
			if rows == e.mr && cols == e.nr {
				e.multiply(depth, a, b, c, g.ldc, g.accumulate)
				continue
			}
			e.multiply(depth, a, b, edge, e.nr, false)
			storeEdge(c, g.ldc, edge, e.nr, rows, cols, g.accumulate)
		}
	}
}

// storeEdge stores the part of a register tile that lies inside C.
func storeEdge[T Float](c []T, ldc int, tile []T, nr, rows, cols int, accumulate bool) {
	for r := range rows {
		from, to := tile[r*nr:][:cols], c[r*ldc:][:cols]
		if !accumulate {
			copy(to, from)
			continue
		}
		for i, v := range from {
			to[i] += v
		}
	}
}
