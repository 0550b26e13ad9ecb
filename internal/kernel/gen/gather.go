package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func writeGather(g generator) {
	for _, lanes := range []int{2, 4, 8, 16} {
		g.gather(lanes)
	}
	for _, lanes := range []int{2, 4, 8, 16} {
		g.scatter(lanes)
	}
}

// A lanePart is one register's share of a run of lanes.
type lanePart struct {
	offset int // in bytes
	size   int // in elements: 2, 4 or 8
}

func laneParts(lanes int) []lanePart {
	if lanes == 16 {
		return []lanePart{{0, 8}, {32, 8}}
	}
	return []lanePart{{0, lanes}}
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
