package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// writeHalf writes the conversions between float32 and the two formats of 16 bits, sixteen elements a round. None of them is for infinities or NaN,
// which the processor's own conversions change, and which anyMasked finds.
func writeHalf(g generator) {
	g.halfLoop("f16ToF32AVX2", "dst []float32, src []uint16", "widens binary16.", func(dst, src operand.Mem) {
		r := g.YMM()
		g.VCVTPH2PS(src, r)
		g.VMOVUPS(r, dst)
	})
	g.halfLoop("bf16ToF32AVX2", "dst []float32, src []uint16", "widens the upper halves of binary32.", func(dst, src operand.Mem) {
		r := g.YMM()
		g.VPMOVZXWD(src, r)
		g.VPSLLD(operand.U8(16), r, r)
		g.VMOVDQU(r, dst)
	})
	g.halfLoop("f32ToF16AVX2", "dst []uint16, src []float32", "rounds to binary16, to nearest, ties to even.", func(dst, src operand.Mem) {
		r := g.YMM()
		g.VMOVUPS(src, r)
		g.VCVTPS2PH(operand.U8(0), r, dst)
	})
	g.roundBF16()
	g.anyMasked(16, func(x, y, z operand.Op) { g.VPCMPEQW(x, y, z) }, func(x, y operand.Op) { g.VPBROADCASTW(x, y) })
	g.anyMasked(32, func(x, y, z operand.Op) { g.VPCMPEQD(x, y, z) }, func(x, y operand.Op) { g.VBROADCASTSS(x, y) })
}

// halfLoop writes a loop over blocks, of which body converts eight elements at a time.
func (g generator) halfLoop(name, params, doc string, body func(dst, src operand.Mem)) {
	g.begin(name, "func("+params+")", fmt.Sprintf("%s The length of src is a multiple of %d.", doc, block))
	dst := g.Load(g.Param("dst").Base(), g.GP64())
	src := g.Load(g.Param("src").Base(), g.GP64())
	n := g.Load(g.Param("src").Len(), g.GP64())
	narrow, wide := dst, src
	if params[:len("dst []float32")] == "dst []float32" {
		narrow, wide = src, dst
	}
	g.SHRQ(operand.U8(4), n)
	g.JZ(operand.LabelRef("done"))
	g.Label("loop")
	for half := range 2 {
		at16, at32 := operand.Mem{Base: narrow, Disp: 16 * half}, operand.Mem{Base: wide, Disp: 32 * half}
		if narrow == src {
			body(at32, at16)
		} else {
			body(at16, at32)
		}
	}
	g.ADDQ(operand.I8(2*block), narrow)
	g.ADDQ(operand.I8(4*block), wide)
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	g.Label("done")
	g.end()
}

// roundBF16 adds half of the last place kept, less one where that is even, and keeps the upper half.
func (g generator) roundBF16() {
	one, half := g.YMM(), g.YMM()
	prepare := func() {
		g.VPCMPEQD(one, one, one)
		g.VPSRLD(operand.U8(17), one, half) // 0x7fff
		g.VPSRLD(operand.U8(31), one, one)
	}
	round := func(src operand.Mem) reg.VecVirtual {
		x, odd := g.YMM(), g.YMM()
		g.VMOVDQU(src, x)
		g.VPSRLD(operand.U8(16), x, odd)
		g.VPAND(one, odd, odd)
		g.VPADDD(half, x, x)
		g.VPADDD(odd, x, x)
		g.VPSRLD(operand.U8(16), x, x)
		return x
	}
	g.begin("f32ToBF16AVX2", "func(dst []uint16, src []float32)",
		fmt.Sprintf("rounds to the upper half, to nearest, ties to even. The length of src is a multiple of %d.", block))
	dst := g.Load(g.Param("dst").Base(), g.GP64())
	src := g.Load(g.Param("src").Base(), g.GP64())
	n := g.Load(g.Param("src").Len(), g.GP64())
	prepare()
	g.SHRQ(operand.U8(4), n)
	g.JZ(operand.LabelRef("done"))
	g.Label("loop")
	low, high := round(operand.Mem{Base: src}), round(operand.Mem{Base: src, Disp: 32})
	g.VPACKUSDW(high, low, low) // within lanes: low0 high0 low1 high1
	g.VPERMQ(operand.U8(0b11_01_10_00), low, low)
	g.VMOVDQU(low, operand.Mem{Base: dst})
	g.ADDQ(operand.I8(2*block), dst)
	g.ADDQ(operand.I8(4*block), src)
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	g.Label("done")
	g.end()
}

// anyMasked writes the search for elements of bits bits, 64 bytes a round.
func (g generator) anyMasked(bits int, equal func(x, y, z operand.Op), broadcast func(x, y operand.Op)) {
	perRound := 64 * 8 / bits
	g.begin(fmt.Sprintf("anyMasked%dAVX2", bits), fmt.Sprintf("func(x []uint%d, mask uint%d) bool", bits, bits),
		fmt.Sprintf("reports whether an element has all bits of mask. The length of x is a multiple of %d.", perRound))
	x := g.Load(g.Param("x").Base(), g.GP64())
	n := g.Load(g.Param("x").Len(), g.GP64())
	address, err := g.Param("mask").Resolve()
	if err != nil {
		panic(err)
	}
	mask, found := g.YMM(), g.YMM()
	broadcast(address.Addr, mask)
	g.VPXOR(found, found, found)
	shift := uint8(5)
	if bits == 32 {
		shift = 4
	}
	g.SHRQ(operand.U8(shift), n)
	g.JZ(operand.LabelRef("done"))
	g.Label("loop")
	for half := range 2 {
		r := g.YMM()
		g.VPAND(operand.Mem{Base: x, Disp: 32 * half}, mask, r)
		equal(r, mask, r)
		g.VPOR(r, found, found)
	}
	g.ADDQ(operand.I8(64), x)
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	g.Label("done")
	g.VPTEST(found, found)
	result := g.GP8()
	g.SETNE(result)
	g.Store(result, g.ReturnIndex(0))
	g.end()
}
