package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func writeGather(g generator) {
	g.tileRows(false)
	g.tileRows(true)
	for _, lanes := range []int{2, 4, 8, 16, 32} {
		g.gather(lanes)
	}
	for _, lanes := range []int{2, 4, 8, 16, 32} {
		g.scatter(lanes)
	}
}

// A lanePart is one register's share of a run of lanes.
type lanePart struct {
	offset int // in bytes
	size   int // in elements: 2, 4 or 8
}

func laneParts(lanes int) []lanePart {
	if lanes <= 8 {
		return []lanePart{{0, lanes}}
	}
	var parts []lanePart
	for at := 0; at < lanes; at += 8 {
		parts = append(parts, lanePart{at * sizeFloat, 8})
	}
	return parts
}

func (g generator) laneRegister(size int) reg.VecVirtual {
	if size == 8 {
		return g.YMM()
	}
	return g.XMM()
}

// moveLanes copies a register's share between memory and a register, either way.
func (g generator) moveLanes(size int, from, to operand.Op) {
	if size == 2 {
		g.VMOVSD(from, to)
		return
	}
	g.VMOVUPS(from, to)
}

// tileRows writes the copy, or the addition, of part of a register tile to rows of a matrix: fours columns of four.
func (g generator) tileRows(add bool) {
	name, what := "storeRowsAVX2", "copies rows of 4*fours elements: c[r*ldc+i] = tile[r*width+i]."
	if add {
		name, what = "addRowsAVX2", "adds rows of 4*fours elements: c[r*ldc+i] += tile[r*width+i]."
	}
	g.begin(name, "func(c []float32, ldc int, tile []float32, width, rows, fours int)", what)
	c := g.Load(g.Param("c").Base(), g.GP64())
	ldc := g.Load(g.Param("ldc"), g.GP64())
	tile := g.Load(g.Param("tile").Base(), g.GP64())
	width := g.Load(g.Param("width"), g.GP64())
	rows := g.Load(g.Param("rows"), g.GP64())
	n := g.Load(g.Param("fours"), g.GP64())
	g.SHLQ(operand.U8(2), ldc)
	g.SHLQ(operand.U8(2), width)
	g.SHLQ(operand.U8(4), n)
	g.Label("row")
	at := g.GP64()
	g.XORQ(at, at)
	g.Label("four")
	r := g.XMM()
	from, to := operand.Mem{Base: tile, Index: at, Scale: 1}, operand.Mem{Base: c, Index: at, Scale: 1}
	g.VMOVUPS(from, r)
	if add {
		g.VADDPS(to, r, r)
	}
	g.VMOVUPS(r, to)
	g.ADDQ(operand.I8(16), at)
	g.CMPQ(at, n)
	g.JLT(operand.LabelRef("four"))
	g.ADDQ(ldc, c)
	g.ADDQ(width, tile)
	g.DECQ(rows)
	g.JNZ(operand.LabelRef("row"))
	g.end()
}

// gather writes the copy of runs that lie at given offsets.
func (g generator) gather(lanes int) {
	g.begin(fmt.Sprintf("gather%dAVX2", lanes), "func(dst []float32, width int, src []float32, offsets []int32)",
		fmt.Sprintf("copies runs of %d: dst[p*width+i] = src[offsets[p]+i].", lanes))
	dst := g.Load(g.Param("dst").Base(), g.GP64())
	width := g.Load(g.Param("width"), g.GP64())
	src := g.Load(g.Param("src").Base(), g.GP64())
	offsets := g.Load(g.Param("offsets").Base(), g.GP64())
	count := g.Load(g.Param("offsets").Len(), g.GP64())
	g.SHLQ(operand.U8(2), width)
	g.Label("run")
	at := g.GP64()
	g.MOVLQSX(operand.Mem{Base: offsets}, at)
	for _, p := range laneParts(lanes) {
		r := g.laneRegister(p.size)
		g.moveLanes(p.size, operand.Mem{Base: src, Index: at, Scale: 4, Disp: p.offset}, r)
		g.moveLanes(p.size, r, operand.Mem{Base: dst, Disp: p.offset})
	}
	g.ADDQ(operand.I8(4), offsets)
	g.ADDQ(width, dst)
	g.DECQ(count)
	g.JNZ(operand.LabelRef("run"))
	g.end()
}

// scatter writes the addition of runs to where given offsets say.
func (g generator) scatter(lanes int) {
	g.begin(fmt.Sprintf("scatter%dAVX2", lanes), "func(dst []float32, offsets []int32, src []float32, width int)",
		fmt.Sprintf("adds runs of %d: dst[offsets[p]+i] += src[p*width+i].", lanes))
	dst := g.Load(g.Param("dst").Base(), g.GP64())
	offsets := g.Load(g.Param("offsets").Base(), g.GP64())
	count := g.Load(g.Param("offsets").Len(), g.GP64())
	src := g.Load(g.Param("src").Base(), g.GP64())
	width := g.Load(g.Param("width"), g.GP64())
	g.SHLQ(operand.U8(2), width)
	g.Label("run")
	at := g.GP64()
	g.MOVLQSX(operand.Mem{Base: offsets}, at)
	for _, p := range laneParts(lanes) {
		r, sum := g.laneRegister(p.size), g.laneRegister(p.size)
		to := operand.Mem{Base: dst, Index: at, Scale: 4, Disp: p.offset}
		g.moveLanes(p.size, operand.Mem{Base: src, Disp: p.offset}, r)
		g.moveLanes(p.size, to, sum)
		g.VADDPS(r, sum, sum)
		g.moveLanes(p.size, sum, to)
	}
	g.ADDQ(operand.I8(4), offsets)
	g.ADDQ(width, src)
	g.DECQ(count)
	g.JNZ(operand.LabelRef("run"))
	g.end()
}
