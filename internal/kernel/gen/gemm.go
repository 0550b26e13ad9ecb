package main

import (
	"fmt"
	"math/bits"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const noSplit = attr.NOSPLIT

const sizeFloat = 4

// A vector set names the registers of an instruction set.
type vectorSet struct {
	suffix string
	bytes  int
	alloc  func(generator) reg.VecVirtual
	zero   func(g generator, r reg.VecVirtual)
}

var (
	avx512 = vectorSet{
		"AVX512", 64,
		func(g generator) reg.VecVirtual { return g.ZMM() },
		func(g generator, r reg.VecVirtual) { g.VPXORD(r, r, r) },
	}
	avx2 = vectorSet{
		"AVX2", 32,
		func(g generator) reg.VecVirtual { return g.YMM() },
		func(g generator, r reg.VecVirtual) { g.VXORPS(r, r, r) },
	}
)

// An element is what a vector is made of.
type element struct {
	name      string // in names of kernels; empty for float32
	typeName  string
	size      int
	broadcast func(generator, operand.Op, operand.Op)
	fma       func(generator, operand.Op, operand.Op, operand.Op)
	add       func(generator, operand.Op, operand.Op, operand.Op)
}

var (
	single = element{
		"", "float32", sizeFloat,
		func(g generator, x, y operand.Op) { g.VBROADCASTSS(x, y) },
		func(g generator, x, y, z operand.Op) { g.VFMADD231PS(x, y, z) },
		func(g generator, x, y, z operand.Op) { g.VADDPS(x, y, z) },
	}
	double = element{
		"Double", "float64", 2 * sizeFloat,
		func(g generator, x, y operand.Op) { g.VBROADCASTSD(x, y) },
		func(g generator, x, y, z operand.Op) { g.VFMADD231PD(x, y, z) },
		func(g generator, x, y, z operand.Op) { g.VADDPD(x, y, z) },
	}
)

func writeGemm(g generator) {
	// 24 accumulators cover the latency of the two 512-bit multipliers of the widest cores, and leave registers for two vectors of B.
	g.microKernel(single, avx512, 12, 12, 2, 2, 4)
	g.microKernel(single, avx512, 12, 12, 1, 2, 4)
	for _, rows := range []int{4, 8} {
		g.microKernel(single, avx512, rows, 12, 2, 2, 4)
		g.microKernel(single, avx512, rows, 12, 1, 2, 4)
	}
	// 12 accumulators, two vectors of B and two broadcast elements of A fill the 16 registers.
	g.microKernel(single, avx2, 6, 6, 2, 2, 8)
	g.microKernel(single, avx2, 6, 6, 1, 2, 8)
	g.microKernel(single, avx2, 4, 6, 2, 2, 8)
	g.microKernel(single, avx2, 4, 6, 1, 2, 8)
	// As many registers of elements of twice the size.
	for _, vecs := range []int{2, 1} {
		g.microKernel(double, avx512, 12, 12, vecs, 2, 4)
		g.microKernel(double, avx512, 4, 12, vecs, 2, 4)
		g.microKernel(double, avx2, 6, 6, vecs, 2, 8)
	}
	g.prefetch()
	g.peakLoop(avx512, 24)
	g.peakLoop(avx2, 12)
}

// prefetch writes the loop that asks for lines of the cache.
func (g generator) prefetch() {
	g.begin("prefetchLines", "func(x []float32, lines int)", "brings lines of 64 bytes, one or more, into the second-level cache.")
	x := g.Load(g.Param("x").Base(), g.GP64())
	lines := g.Load(g.Param("lines"), g.GP64())
	g.Label("line")
	g.PREFETCHT1(operand.Mem{Base: x})
	g.ADDQ(operand.I8(64), x)
	g.DECQ(lines)
	g.JNZ(operand.LabelRef("line"))
	g.end()
}

// A tile is the state of a micro-kernel while it is written.
type tile struct {
	generator
	element    element
	set        vectorSet
	rows, vecs int
	panelRows  int
	panelVecs  int
	a, b       reg.GPVirtual
	acc        [][]reg.VecVirtual
	vecB       []reg.VecVirtual
	broadcast  []reg.VecVirtual
}

// microKernel writes the multiplication of the first rows of the panelRows lines of a panel by the first vecs of the panelVecs vectors of one, unroll
// steps of the depth at a time.
func (g generator) microKernel(e element, set vectorSet, rows, panelRows, vecs, panelVecs, unroll int) {
	cols := vecs * set.bytes / e.size
	g.begin(fmt.Sprintf("multiply%s%dx%d%s", e.name, rows, cols, set.suffix), fmt.Sprintf("func(depth int, a, b, c []%s, ldc int, accumulate bool)", e.typeName),
		fmt.Sprintf("computes a %d x %d tile of c, or adds to it, from panels of a and b.", rows, cols))
	t := &tile{generator: g, element: e, set: set, rows: rows, panelRows: panelRows, vecs: vecs, panelVecs: panelVecs}
	depth := g.Load(g.Param("depth"), g.GP64()).(reg.GPVirtual)
	t.a = g.Load(g.Param("a").Base(), g.GP64()).(reg.GPVirtual)
	t.b = g.Load(g.Param("b").Base(), g.GP64()).(reg.GPVirtual)
	t.prefetchC()
	t.clear()
	g.loops(depth, unroll, t.steps)
	t.store()
	g.end()
}

// loops runs body(unroll) as often as it fits into count, then body(1) for the rest.
func (g generator) loops(count reg.GPVirtual, unroll int, body func(steps int)) {
	g.SUBQ(operand.I8(unroll), count)
	g.JL(operand.LabelRef("rest"))
	g.Label("unrolled")
	body(unroll)
	g.SUBQ(operand.I8(unroll), count)
	g.JGE(operand.LabelRef("unrolled"))
	g.Label("rest")
	g.ADDQ(operand.I8(unroll), count)
	g.JZ(operand.LabelRef("done"))
	g.Label("single")
	body(1)
	g.DECQ(count)
	g.JNZ(operand.LabelRef("single"))
	g.Label("done")
}

// prefetchC asks for the lines of C that the tile ends in.
func (t *tile) prefetchC() {
	c, ldc := t.rowPointer()
	for row := range t.rows {
		t.PREFETCHT0(operand.Mem{Base: c})
		if t.vecs*t.set.bytes > 64 {
			t.PREFETCHT0(operand.Mem{Base: c, Disp: 64})
		}
		if row < t.rows-1 {
			t.ADDQ(ldc, c)
		}
	}
}

// rowPointer loads the address of the tile's first row and the distance of rows in bytes.
func (t *tile) rowPointer() (c, ldc reg.Register) {
	c = t.Load(t.Param("c").Base(), t.GP64())
	ldc = t.Load(t.Param("ldc"), t.GP64())
	t.SHLQ(operand.U8(bits.TrailingZeros(uint(t.element.size))), ldc)
	return c, ldc
}

func (t *tile) clear() {
	for range t.rows {
		var row []reg.VecVirtual
		for range t.vecs {
			r := t.set.alloc(t.generator)
			t.set.zero(t.generator, r)
			row = append(row, r)
		}
		t.acc = append(t.acc, row)
	}
	for range t.vecs {
		t.vecB = append(t.vecB, t.set.alloc(t.generator))
	}
	for range 2 {
		t.broadcast = append(t.broadcast, t.set.alloc(t.generator))
	}
}

// steps multiplies and adds for a number of depths, and moves the pointers past them.
func (t *tile) steps(n int) {
	for step := range n {
		for v, r := range t.vecB {
			t.VMOVUPS(operand.Mem{Base: t.b, Disp: (step*t.panelVecs + v) * t.set.bytes}, r)
		}
		for row := range t.rows {
			a := t.broadcast[row%len(t.broadcast)]
			t.element.broadcast(t.generator, operand.Mem{Base: t.a, Disp: (step*t.panelRows + row) * t.element.size}, a)
			for v, b := range t.vecB {
				t.element.fma(t.generator, b, a, t.acc[row][v])
			}
		}
	}
	t.ADDQ(operand.I32(n*t.panelRows*t.element.size), t.a)
	t.ADDQ(operand.I32(n*t.panelVecs*t.set.bytes), t.b)
}

// store writes the accumulators to C, or adds them to it.
func (t *tile) store() {
	c, ldc := t.rowPointer()
	accumulate := t.Load(t.Param("accumulate"), t.GP8())
	t.TESTB(accumulate, accumulate)
	t.JZ(operand.LabelRef("overwrite"))
	t.storeRows(c, ldc, true)
	t.end()
	t.Label("overwrite")
	t.storeRows(c, ldc, false)
}

func (t *tile) storeRows(c, ldc reg.Register, accumulate bool) {
	for row := range t.rows {
		for v, r := range t.acc[row] {
			at := operand.Mem{Base: c, Disp: v * t.set.bytes}
			if accumulate {
				t.element.add(t.generator, at, r, r)
			}
			t.VMOVUPS(r, at)
		}
		if row < t.rows-1 {
			t.ADDQ(ldc, c)
		}
	}
}

// peakLoop writes a loop of independent fused multiply-adds on registers.
func (g generator) peakLoop(set vectorSet, registers int) {
	g.begin("peak"+set.suffix, "func(iterations int)",
		fmt.Sprintf("runs iterations of %d independent multiply-adds of %d float32 each.", registers, set.bytes/sizeFloat))
	n := g.Load(g.Param("iterations"), g.GP64())
	factor := set.alloc(g)
	set.zero(g, factor)
	var acc []reg.VecVirtual
	for range registers {
		r := set.alloc(g)
		set.zero(g, r)
		acc = append(acc, r)
	}
	g.Label("loop")
	for _, r := range acc {
		g.VFMADD231PS(factor, factor, r)
	}
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	g.end()
}
