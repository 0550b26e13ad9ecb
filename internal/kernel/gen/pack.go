package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func writePack(g generator) {
	g.packQuads()
	g.packFours()
	for _, width := range []int{6, 12, 16, 32} {
		g.packRows(width)
		g.packSomeRows(width)
	}
}

// packQuads writes the transposing copy: groups of four lines that run along the depth, sixteen depths at a time, which are a whole line
// of the cache: when lines lie a power of two apart, it would not last until a second visit.
func (g generator) packQuads() {
	g.begin("packQuadsAVX2", "func(dst []float32, width int, src []float32, ld, quads, sixteens int)",
		"packs 4*quads lines of depth 16*sixteens: dst[p*width+i] = src[i*ld+p].")
	dst := g.Load(g.Param("dst").Base(), g.GP64())
	width := g.Load(g.Param("width"), g.GP64())
	src := g.Load(g.Param("src").Base(), g.GP64())
	ld := g.Load(g.Param("ld"), g.GP64())
	sixteens := g.Load(g.Param("sixteens"), g.GP64())
	g.SHLQ(operand.U8(2), width)
	g.SHLQ(operand.U8(2), ld)
	width3, ld3 := g.GP64(), g.GP64()
	g.LEAQ(operand.Mem{Base: width, Index: width, Scale: 2}, width3)
	g.LEAQ(operand.Mem{Base: ld, Index: ld, Scale: 2}, ld3)

	g.Label("sixteen")
	from, to, at := g.GP64(), g.GP64(), g.GP64()
	g.MOVQ(src, from)
	g.MOVQ(dst, to)
	quads := g.Load(g.Param("quads"), g.GP64())
	g.Label("quad")
	g.MOVQ(to, at)
	for half := range 2 {
		rows := []operand.Mem{{}, {Index: ld, Scale: 1}, {Index: ld, Scale: 2}, {Index: ld3, Scale: 1}}
		for i := range rows {
			rows[i].Base, rows[i].Disp = from, 32*half
		}
		lines := g.transpose4x8(rows)
		columns := []operand.Mem{{}, {Index: width, Scale: 1}, {Index: width, Scale: 2}, {Index: width3, Scale: 1}}
		for i, column := range columns {
			column.Base = at
			g.VMOVUPS(lines[i].AsX(), column)
		}
		g.LEAQ(operand.Mem{Base: at, Index: width, Scale: 4}, at)
		for i, column := range columns {
			column.Base = at
			g.VEXTRACTF128(operand.U8(1), lines[i], column)
		}
		if half == 0 {
			g.LEAQ(operand.Mem{Base: at, Index: width, Scale: 4}, at)
		}
	}
	g.LEAQ(operand.Mem{Base: from, Index: ld, Scale: 4}, from)
	g.ADDQ(operand.I8(16), to)
	g.DECQ(quads)
	g.JNZ(operand.LabelRef("quad"))
	g.ADDQ(operand.I8(64), src)
	g.LEAQ(operand.Mem{Base: dst, Index: width, Scale: 8}, dst)
	g.LEAQ(operand.Mem{Base: dst, Index: width, Scale: 8}, dst)
	g.DECQ(sixteens)
	g.JNZ(operand.LabelRef("sixteen"))
	g.end()
}

// packFours writes the transposing copy of what is left of a depth: groups of four lines, four depths at a time.
func (g generator) packFours() {
	g.begin("packFoursAVX2", "func(dst []float32, width int, src []float32, ld, quads, fours int)",
		"packs 4*quads lines of depth 4*fours: dst[p*width+i] = src[i*ld+p].")
	dst := g.Load(g.Param("dst").Base(), g.GP64())
	width := g.Load(g.Param("width"), g.GP64())
	src := g.Load(g.Param("src").Base(), g.GP64())
	ld := g.Load(g.Param("ld"), g.GP64())
	quads := g.Load(g.Param("quads"), g.GP64())
	g.SHLQ(operand.U8(2), width)
	g.SHLQ(operand.U8(2), ld)
	width3, ld3 := g.GP64(), g.GP64()
	g.LEAQ(operand.Mem{Base: width, Index: width, Scale: 2}, width3)
	g.LEAQ(operand.Mem{Base: ld, Index: ld, Scale: 2}, ld3)

	g.Label("quad")
	from, to := g.GP64(), g.GP64()
	g.MOVQ(src, from)
	g.MOVQ(dst, to)
	fours := g.Load(g.Param("fours"), g.GP64())
	g.Label("four")
	r := make([]reg.VecVirtual, 4)
	for i, line := range []operand.Mem{{}, {Index: ld, Scale: 1}, {Index: ld, Scale: 2}, {Index: ld3, Scale: 1}} {
		line.Base = from
		r[i] = g.XMM()
		g.VMOVUPS(line, r[i])
	}
	low0, low1, high0, high1, column := g.XMM(), g.XMM(), g.XMM(), g.XMM(), g.XMM()
	g.VUNPCKLPS(r[1], r[0], low0)
	g.VUNPCKHPS(r[1], r[0], high0)
	g.VUNPCKLPS(r[3], r[2], low1)
	g.VUNPCKHPS(r[3], r[2], high1)
	g.VUNPCKLPD(low1, low0, column)
	g.VMOVUPS(column, operand.Mem{Base: to})
	g.VUNPCKHPD(low1, low0, column)
	g.VMOVUPS(column, operand.Mem{Base: to, Index: width, Scale: 1})
	g.VUNPCKLPD(high1, high0, column)
	g.VMOVUPS(column, operand.Mem{Base: to, Index: width, Scale: 2})
	g.VUNPCKHPD(high1, high0, column)
	g.VMOVUPS(column, operand.Mem{Base: to, Index: width3, Scale: 1})
	g.ADDQ(operand.I8(16), from)
	g.LEAQ(operand.Mem{Base: to, Index: width, Scale: 4}, to)
	g.DECQ(fours)
	g.JNZ(operand.LabelRef("four"))
	g.LEAQ(operand.Mem{Base: src, Index: ld, Scale: 4}, src)
	g.ADDQ(operand.I8(16), dst)
	g.DECQ(quads)
	g.JNZ(operand.LabelRef("quad"))
	g.end()
}

// transpose4x8 loads four rows of eight and transposes them within 128-bit lanes: the result i holds columns i and i+4.
func (g generator) transpose4x8(rows []operand.Mem) []reg.VecVirtual {
	r := make([]reg.VecVirtual, 4)
	for i := range r {
		r[i] = g.YMM()
		g.VMOVUPS(rows[i], r[i])
	}
	pairs := make([]reg.VecVirtual, 4)
	for i := range pairs {
		pairs[i] = g.YMM()
	}
	g.VUNPCKLPS(r[1], r[0], pairs[0])
	g.VUNPCKHPS(r[1], r[0], pairs[1])
	g.VUNPCKLPS(r[3], r[2], pairs[2])
	g.VUNPCKHPS(r[3], r[2], pairs[3])
	out := make([]reg.VecVirtual, 4)
	for i := range out {
		out[i] = g.YMM()
	}
	g.VUNPCKLPD(pairs[2], pairs[0], out[0])
	g.VUNPCKHPD(pairs[2], pairs[0], out[1])
	g.VUNPCKLPD(pairs[3], pairs[1], out[2])
	g.VUNPCKHPD(pairs[3], pairs[1], out[3])
	return out
}

// packRows writes the copy of lines that run across the depth.
func (g generator) packRows(width int) {
	g.begin(fmt.Sprintf("packRows%dAVX2", width), "func(dst, src []float32, ld, depth int)",
		fmt.Sprintf("packs %d lines: dst[p*%d+i] = src[p*ld+i].", width, width))
	dst := g.Load(g.Param("dst").Base(), g.GP64())
	src := g.Load(g.Param("src").Base(), g.GP64())
	ld := g.Load(g.Param("ld"), g.GP64())
	depth := g.Load(g.Param("depth"), g.GP64())
	g.SHLQ(operand.U8(2), ld)
	g.Label("row")
	for at := 0; at < width; {
		from, to := operand.Mem{Base: src, Disp: at * sizeFloat}, operand.Mem{Base: dst, Disp: at * sizeFloat}
		at += g.copyWidest(from, to, width-at)
	}
	g.ADDQ(ld, src)
	g.ADDQ(operand.I32(width*sizeFloat), dst)
	g.DECQ(depth)
	g.JNZ(operand.LabelRef("row"))
	g.end()
}

// packSomeRows writes the copy of fewer lines than a panel has, with zeros in place of the others: loads under a mask.
func (g generator) packSomeRows(width int) {
	g.begin(fmt.Sprintf("packSomeRows%dAVX2", width), "func(dst, src []float32, ld, depth int, mask *int32)",
		fmt.Sprintf("is packRows%dAVX2 of the lines whose mask, of %d elements, is negative. Others are zero, and not read.", width, width))
	dst := g.Load(g.Param("dst").Base(), g.GP64())
	src := g.Load(g.Param("src").Base(), g.GP64())
	ld := g.Load(g.Param("ld"), g.GP64())
	depth := g.Load(g.Param("depth"), g.GP64())
	mask := g.Load(g.Param("mask"), g.GP64())
	g.SHLQ(operand.U8(2), ld)
	var masks []reg.VecVirtual
	for at := 0; at < width; at += 8 {
		m, from := g.YMM(), operand.Mem{Base: mask, Disp: at * 4}
		switch width - at {
		case 2:
			g.VMOVSD(from, m.AsX())
		case 4, 6:
			g.VMOVUPS(from, m.AsX())
		default:
			g.VMOVUPS(from, m)
		}
		masks = append(masks, m)
		if width-at == 6 {
			m := g.YMM()
			g.VMOVSD(operand.Mem{Base: mask, Disp: (at + 4) * 4}, m.AsX())
			masks = append(masks, m)
		}
	}
	g.Label("row")
	at := 0
	for _, m := range masks {
		from, to, r := operand.Mem{Base: src, Disp: at * sizeFloat}, operand.Mem{Base: dst, Disp: at * sizeFloat}, g.YMM()
		switch left := width - at; {
		case left >= 8:
			g.VMASKMOVPS(from, m, r)
			g.VMOVUPS(r, to)
			at += 8
		case left >= 4:
			g.VMASKMOVPS(from, m.AsX(), r.AsX())
			g.VMOVUPS(r.AsX(), to)
			at += 4
		default:
			g.VMASKMOVPS(from, m.AsX(), r.AsX())
			g.VMOVSD(r.AsX(), to)
			at += 2
		}
	}
	g.ADDQ(ld, src)
	g.ADDQ(operand.I32(width*sizeFloat), dst)
	g.DECQ(depth)
	g.JNZ(operand.LabelRef("row"))
	g.end()
}

// copyWidest copies eight, four or two elements, as many as are left, and returns how many.
func (g generator) copyWidest(from, to operand.Mem, left int) int {
	switch {
	case left >= 8:
		r := g.YMM()
		g.VMOVUPS(from, r)
		g.VMOVUPS(r, to)
		return 8
	case left >= 4:
		r := g.XMM()
		g.VMOVUPS(from, r)
		g.VMOVUPS(r, to)
		return 4
	default:
		r := g.XMM()
		g.VMOVSD(from, r)
		g.VMOVSD(r, to)
		return 2
	}
}
