package kernel

import (
	"fmt"
	"sync"
)

// An engine is one implementation of the inside of Gemm.
type engine[T Float] struct {
	mr, nr int // the register tile: rows of op(A), columns of op(B)
	blocks blocking

	// multiply computes a full register tile from panels of A and B of the given depth: c = a*b, or c += a*b.
	multiply func(depth int, a, b, c []T, ldc int, accumulate bool)
	// multiplyHalf does so for the left nr/2 columns only, with the same operations on each element.
	multiplyHalf func(depth int, a, b, c []T, ldc int, accumulate bool)
	short        []shortTile[T] // the lowest first
	// packLines makes a panel of lines that run along the depth, dst[p*width+i] = src[i*ld+p], of which the first have exist and the others
	// are zero.
	packLines func(dst []T, width, have int, src []T, ld, depth int)
	// packRows does so for lines that run across the depth: dst[p*width+i] = src[p*ld+i].
	packRows func(dst []T, width, have int, src []T, ld, depth int)
	// storeEdge stores the part of a register tile, width elements wide, that lies inside C, or adds it.
	storeEdge func(c []T, ldc int, tile []T, width, rows, cols int, accumulate bool)
	// prefetch asks for the first lines of a panel, a cache line of 64 bytes each; nil where nothing is gained by it.
	prefetch func(x []T, lines int)
}

// A shortTile is a tile of fewer rows, computed from the same panels with the same operations on each element.
type shortTile[T Float] struct {
	rows                   int
	multiply, multiplyHalf func(depth int, a, b, c []T, ldc int, accumulate bool) // all columns, the left nr/2
}

// blocking is the sizes of the blocks of Goto's algorithm, in elements. The depth is the only one results depend on.
type blocking struct {
	depth int // of a block, at most
	span  int // depth packed at a time, in whole blocks
	rows  int // of a tile, the largest part of a parallel product: its panels of A stay in the second-level cache
	cols  int // of a tile
}

// smallest is the kernel of the smallest tile that holds rows x cols, and its size.
func (e *engine[T]) smallest(rows, cols int) (multiply func(depth int, a, b, c []T, ldc int, accumulate bool), height, width int) {
	height, width = e.mr, e.nr
	multiply, multiplyHalf := e.multiply, e.multiplyHalf
	for i := range e.short {
		if t := &e.short[i]; rows <= t.rows {
			multiply, multiplyHalf, height = t.multiply, t.multiplyHalf, t.rows
			break
		}
	}
	if cols <= e.nr/2 {
		return multiplyHalf, height, e.nr / 2
	}
	return multiply, height, width
}

const (
	maxRows       = 2048    // of A packed at a time
	maxColumns    = 2048    // of B packed at a time
	packedLines   = 48      // about as many lines does a part of the packing cover
	serialWork    = 1 << 18 // multiplications that take less time than waking a thread
	tilesThread   = 4       // tiles for each thread, where there are rows enough: so many balance the load
	leastPanels   = 8       // of A in a tile that is made smaller for that
	prefetchDepth = 64      // of a block whose panels are worth fetching ahead
	lineElements  = 16      // float32 of a cache line
)

// Gemm computes C = beta*C + op(A)*op(B), where op(A) is m x k, op(B) is k x n, op(X) is X or, when its flag is set, its transpose, and all
// matrices are stored by rows, lda, ldb and ldc elements apart. Beta is 0 or 1; 0 overwrites C, whatever it held. C must not overlap A or
// B.
//
// The result does not depend on the number of threads. In steady state a call allocates nothing.
//
// Reference: K. Goto, R. A. van de Geijn (2008), Anatomy of High-Performance Matrix Multiplication, ACM TOMS 34(3):12,
// doi:10.1145/1356052.1356053.
// Departures: the blocks of A are packed once and shared by all threads, as B is, which balances the skinny products of training on small
// batches; and several blocks of the depth are packed at a time, so that threads wait for each other less often and C stays in the cache.
func Gemm[T Float](p *Pool, transA, transB bool, m, n, k int, a []T, lda int, b []T, ldb int, beta T, c []T, ldc int) {
	gemmWith(&current[T]().engine, p, transA, transB, m, n, k, a, lda, b, ldb, beta, c, ldc)
}

// gemmWith is Gemm on a given engine.
func gemmWith[T Float](
	e *engine[T], p *Pool, transA, transB bool, m, n, k int, a []T, lda int, b []T, ldb int, beta T, c []T, ldc int,
) {
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
	g.a = operand[T]{data: a, ld: lda, alongDepth: !transA, width: e.mr, packed: g.a.packed}
	g.b = operand[T]{data: b, ld: ldb, alongDepth: transB, width: e.nr, packed: g.b.packed}
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
	if isFloat32[T]() {
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

	depth0, depth int  // the span of depths that is packed
	block         int  // the depth of a block
	accumulate    bool // whether this span adds to C
	packing       bool // the phase
	partsB        int  // while packing: the parts below this are B's, the others A's
	stripes       int  // while multiplying: tiles from left to right
	tilePanels    int  // of A in a tile
	edges         []T  // one register tile for each part, for what sticks out of C
}

// An operand is A or B seen as lines along the depth: rows of op(A), columns of op(B).
type operand[T Float] struct {
	data       []T
	ld         int
	alongDepth bool // neighbours in memory are neighbours along the depth
	width      int  // lines of a panel

	first, count int // the lines that are packed
	panels       int
	packed       []T // block after block, panel after panel; lines beyond the last are zero
}

// packParts is the number of parts the packing is cut into.
func (o *operand[T]) packParts() int { return (o.panels + o.panelsOfPart() - 1) / o.panelsOfPart() }

func (o *operand[T]) panelsOfPart() int { return max(1, packedLines/o.width) }

// take makes lines [first, first+count) the ones to pack, to the given depth.
func (o *operand[T]) take(first, count, depth int) {
	o.first, o.count, o.panels = first, count, ceilDiv(count, o.width)
	o.packed = grow(o.packed, o.panels*o.width*depth)
}

func grow[T Float](s []T, n int) []T {
	if cap(s) < n {
		return Make[T](n)
	}
	return s[:n]
}

func (g *product[T]) multiply(p *Pool, m, n, k int) {
	if m*n*k < serialWork {
		p = nil
	}
	sizes := g.engine.blocks
	g.block = ceilDiv(k, ceilDiv(k, sizes.depth))
	span := sizes.span / g.block * g.block
	addsToC := g.accumulate
	for j := 0; j < n; j += maxColumns {
		for p0 := 0; p0 < k; p0 += span {
			g.depth0, g.depth = p0, min(span, k-p0)
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
	g.packing, g.partsB = true, 0
	if withB {
		g.partsB = g.b.packParts()
	}
	p.Run(g.partsB+g.a.packParts(), g)
}

// multiplyBlock multiplies the packed blocks, cut into tiles.
func (g *product[T]) multiplyBlock(p *Pool) {
	g.packing = false
	g.stripes = ceilDiv(g.b.count, g.engine.blocks.cols)
	g.tilePanels = g.engine.blocks.rows / g.engine.mr
	if threads := p.Threads(); threads > 1 {
		for g.tiles() < tilesThread*threads && g.tilePanels >= 2*leastPanels {
			g.tilePanels /= 2
		}
	}
	g.edges = grow(g.edges, g.tiles()*g.engine.mr*g.engine.nr)
	p.Run(g.tiles(), g)
}

func (g *product[T]) tiles() int { return g.stripes * ceilDiv(g.a.panels, g.tilePanels) }

// Do implements Task.
func (g *product[T]) Do(part int) {
	switch {
	case !g.packing:
		g.tile(part)
	case part < g.partsB:
		g.packPanels(&g.b, part)
	default:
		g.packPanels(&g.a, part-g.partsB)
	}
}

func (g *product[T]) packPanels(o *operand[T], part int) {
	count := o.panelsOfPart()
	for panel := part * count; panel < min((part+1)*count, o.panels); panel++ {
		g.packPanel(o, panel)
	}
}

// packPanel packs a panel, a block of the depth after the other.
func (g *product[T]) packPanel(o *operand[T], panel int) {
	line := o.first + panel*o.width
	have := min(o.width, o.first+o.count-line)
	for p0 := 0; p0 < g.depth; p0 += g.block {
		dst := g.panel(o, panel, p0)
		depth, from := len(dst)/o.width, g.depth0+p0
		if o.alongDepth {
			g.engine.packLines(dst, o.width, have, o.data[line*o.ld+from:], o.ld, depth)
		} else {
			g.engine.packRows(dst, o.width, have, o.data[from*o.ld+line:], o.ld, depth)
		}
	}
}

// panel is the part of a panel that lies in the block that begins at p0. Panels of a block are neighbours: a power of two apart they would
// share few sets of the second-level cache.
func (g *product[T]) panel(o *operand[T], panel, p0 int) []T {
	size := min(g.block, g.depth-p0) * o.width
	return o.packed[p0*o.panels*o.width+panel*size:][:size]
}

// tile computes one tile of C, a block of the depth after the other. While one panel of B is multiplied the next is fetched, a share of it beside
// each register tile.
func (g *product[T]) tile(part int) {
	row0 := part / g.stripes * g.tilePanels
	row1 := min(row0+g.tilePanels, g.a.panels)
	colPanels := g.engine.blocks.cols / g.engine.nr
	col0 := part % g.stripes * colPanels
	col1 := min(col0+colPanels, g.b.panels)
	size := g.engine.mr * g.engine.nr
	edge := g.edges[part*size:][:size]
	for p0 := 0; p0 < g.depth; p0 += g.block {
		for col := col0; col < col1; col++ {
			ahead := g.ahead(col, col0, col1, p0)
			share := ceilDiv(len(ahead), (row1-row0)*lineElements)
			for row := row0; row < row1; row++ {
				if lines := min(share, len(ahead)/lineElements); lines > 0 {
					g.engine.prefetch(ahead, lines)
					ahead = ahead[lines*lineElements:]
				}
				g.registerTile(row, col, p0, edge)
			}
		}
	}
}

// ahead is the panel of B that a tile needs after the one at col and p0, if it is to be fetched.
func (g *product[T]) ahead(col, col0, col1, p0 int) []T {
	switch {
	case g.engine.prefetch == nil || g.block < prefetchDepth:
		return nil
	case col+1 < col1:
		return g.panel(&g.b, col+1, p0)
	case p0+g.block < g.depth:
		return g.panel(&g.b, col0, p0+g.block)
	}
	return nil
}

// registerTile multiplies a block of a panel of A by one of a panel of B. Tiles that stick out of C are computed in edge.
func (g *product[T]) registerTile(row, col, p0 int, edge []T) {
	e, depth := g.engine, min(g.block, g.depth-p0)
	a, b := g.panel(&g.a, row, p0), g.panel(&g.b, col, p0)
	rows, cols := min(e.mr, g.a.count-row*e.mr), min(e.nr, g.b.count-col*e.nr)
	multiply, height, width := e.smallest(rows, cols)
	c := g.c[(g.a.first+row*e.mr)*g.ldc+g.b.first+col*e.nr:]
	accumulate := g.accumulate || p0 > 0
	if rows == height && cols == width {
		multiply(depth, a, b, c, g.ldc, accumulate)
		return
	}
	multiply(depth, a, b, edge, width, false)
	e.storeEdge(c, g.ldc, edge, width, rows, cols, accumulate)
}

// storeEdge stores the part of a register tile that lies inside C.
func storeEdge[T Float](c []T, ldc int, tile []T, width, rows, cols int, accumulate bool) {
	for r := range rows {
		from, to := tile[r*width:][:cols], c[r*ldc:][:cols]
		if !accumulate {
			copy(to, from)
			continue
		}
		for i, v := range from {
			to[i] += v
		}
	}
}
