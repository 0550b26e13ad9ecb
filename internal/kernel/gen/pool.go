package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Comparisons, as an immediate operand.
const (
	equalOrdered = operand.U8(0x00)
	unordered    = operand.U8(0x03)
)

func writePool(g generator) {
	g.maxPairs()
	g.maxPairsGrad()
}

// window loads the four elements of four windows of two rows and two columns, in their order.
func (g generator) window(top, bottom reg.Register) []reg.VecVirtual {
	var elements []reg.VecVirtual
	for _, row := range []reg.Register{top, bottom} {
		low, high, even, odd := g.XMM(), g.XMM(), g.XMM(), g.XMM()
		g.VMOVUPS(operand.Mem{Base: row}, low)
		g.VMOVUPS(operand.Mem{Base: row, Disp: 16}, high)
		g.VSHUFPS(operand.U8(0x88), high, low, even)
		g.VSHUFPS(operand.U8(0xdd), high, low, odd)
		elements = append(elements, even, odd)
	}
	return elements
}

// greatest is the greatest of elements, the first of those that compare equal, or a NaN if there is one: their sum is, where two are not ordered.
func (g generator) greatest(elements []reg.VecVirtual) reg.VecVirtual {
	best := g.XMM()
	g.VMOVAPS(elements[0], best)
	for _, v := range elements[1:] {
		odd, sum := g.XMM(), g.XMM()
		g.VCMPPS(unordered, v, best, odd)
		g.VADDPS(v, best, sum)
		g.VMAXPS(best, v, best)
		g.VBLENDVPS(odd, sum, best, best)
	}
	return best
}

func (g generator) maxPairs() {
	g.begin("maxPairsAVX2", "func(y, top, bottom []float32)", "is maxPairs. The length of y is a multiple of 4 and not zero.")
	y := g.Load(g.Param("y").Base(), g.GP64())
	n := g.Load(g.Param("y").Len(), g.GP64())
	top := g.Load(g.Param("top").Base(), g.GP64())
	bottom := g.Load(g.Param("bottom").Base(), g.GP64())
	g.Label("loop")
	g.VMOVUPS(g.greatest(g.window(top, bottom)), operand.Mem{Base: y})
	g.ADDQ(operand.I8(16), y)
	g.ADDQ(operand.I8(32), top)
	g.ADDQ(operand.I8(32), bottom)
	g.SUBQ(operand.I8(4), n)
	g.JNZ(operand.LabelRef("loop"))
	g.end()
}

func (g generator) maxPairsGrad() {
	g.begin("maxPairsGradAVX2", "func(dTop, dBottom, dy, top, bottom []float32)",
		"is maxPairsGrad. The length of dy is a multiple of 4 and not zero.")
	dy := g.Load(g.Param("dy").Base(), g.GP64())
	n := g.Load(g.Param("dy").Len(), g.GP64())
	top := g.Load(g.Param("top").Base(), g.GP64())
	bottom := g.Load(g.Param("bottom").Base(), g.GP64())
	grads := []reg.Register{g.Load(g.Param("dTop").Base(), g.GP64()), g.Load(g.Param("dBottom").Base(), g.GP64())}
	g.Label("loop")
	elements := g.window(top, bottom)
	best, left := g.greatest(elements), g.XMM()
	g.VMOVUPS(operand.Mem{Base: dy}, left)
	var shares []reg.VecVirtual
	for _, v := range elements {
		// The first that is the greatest takes all that is left, which is all or nothing.
		is, odd, share := g.XMM(), g.XMM(), g.XMM()
		g.VCMPPS(equalOrdered, best, v, is)
		g.VCMPPS(unordered, v, v, odd)
		g.VORPS(odd, is, is)
		g.VANDPS(left, is, share)
		g.VANDNPS(left, is, left)
		shares = append(shares, share)
	}
	for i, grad := range grads {
		low, high := g.XMM(), g.XMM()
		g.VUNPCKLPS(shares[2*i+1], shares[2*i], low)
		g.VUNPCKHPS(shares[2*i+1], shares[2*i], high)
		g.VMOVUPS(low, operand.Mem{Base: grad})
		g.VMOVUPS(high, operand.Mem{Base: grad, Disp: 16})
		g.ADDQ(operand.I8(32), grad)
	}
	g.ADDQ(operand.I8(16), dy)
	g.ADDQ(operand.I8(32), top)
	g.ADDQ(operand.I8(32), bottom)
	g.SUBQ(operand.I8(4), n)
	g.JNZ(operand.LabelRef("loop"))
	g.end()
}
