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
	g.lerpF16()
	g.lerpBF16()
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

// bfloatRounding is 1 and 0x7fff in every lane of 32 bits.
type bfloatRounding struct{ one, half reg.VecVirtual }

func (g generator) bfloatRounding() bfloatRounding {
	r := bfloatRounding{g.YMM(), g.YMM()}
	g.VPCMPEQD(r.one, r.one, r.one)
	g.VPSRLD(operand.U8(17), r.one, r.half)
	g.VPSRLD(operand.U8(31), r.one, r.one)
	return r
}

// roundUpper rounds the elements of x to their upper halves, which it moves to the lower ones.
func (g generator) roundUpper(r bfloatRounding, x reg.VecVirtual) {
	odd := g.YMM()
	g.VPSRLD(operand.U8(16), x, odd)
	g.VPAND(r.one, odd, odd)
	g.VPADDD(r.half, x, x)
	g.VPADDD(odd, x, x)
	g.VPSRLD(operand.U8(16), x, x)
}

// storeUpper stores the sixteen lower halves of low and high.
func (g generator) storeUpper(low, high reg.VecVirtual, dst operand.Mem) {
	g.VPACKUSDW(high, low, low) // within lanes: low0 high0 low1 high1
	g.VPERMQ(operand.U8(0b11_01_10_00), low, low)
	g.VMOVDQU(low, dst)
}

// lerpF16 writes the way between two vectors of binary16, with a look at every element for an exponent of ones.
func (g generator) lerpF16() {
	g.lerpHalves("lerpF16AVX2", "binary16", func(src operand.Mem) reg.VecVirtual {
		x := g.YMM()
		g.VCVTPH2PS(src, x)
		return x
	}, func(low, high reg.VecVirtual, dst operand.Mem) {
		g.VCVTPS2PH(operand.U8(0), low, dst)
		g.VCVTPS2PH(operand.U8(0), high, operand.Mem{Base: dst.Base, Disp: dst.Disp + block})
	})
}

// lerpBF16 is lerpF16 for the upper halves of binary32.
func (g generator) lerpBF16() {
	var r bfloatRounding
	g.lerpHalves("lerpBF16AVX2", "the upper halves of binary32", func(src operand.Mem) reg.VecVirtual {
		x := g.YMM()
		g.VPMOVZXWD(src, x)
		g.VPSLLD(operand.U8(16), x, x)
		return x
	}, func(low, high reg.VecVirtual, dst operand.Mem) {
		g.roundUpper(r, low)
		g.roundUpper(r, high)
		g.storeUpper(low, high, dst)
	}, func() { r = g.bfloatRounding() })
}

// lerpHalves writes a loop that widens sixteen elements of a and of b, and rounds and stores what lies between.
func (g generator) lerpHalves(name, format string, widen func(operand.Mem) reg.VecVirtual, store func(low, high reg.VecVirtual, dst operand.Mem), prepare ...func()) {
	g.begin(name, "func(s, t float32, dst, a, b []uint16, mask uint16) bool", fmt.Sprintf("stores s*a + t*b in dst, all of %s, and reports whether "+
		"no element of a and b has all bits of mask. The length of dst is a multiple of %d.", format, block))
	s, t, mask := g.YMM(), g.YMM(), g.YMM()
	g.VBROADCASTSS(g.address("s"), s)
	g.VBROADCASTSS(g.address("t"), t)
	g.VPBROADCASTW(g.address("mask"), mask)
	dst := g.Load(g.Param("dst").Base(), g.GP64())
	a := g.Load(g.Param("a").Base(), g.GP64())
	b := g.Load(g.Param("b").Base(), g.GP64())
	n := g.Load(g.Param("dst").Len(), g.GP64())
	found := g.YMM()
	g.VPXOR(found, found, found)
	for _, f := range prepare {
		f()
	}
	g.SHRQ(operand.U8(4), n)
	g.JZ(operand.LabelRef("done"))
	g.Label("loop")
	for _, x := range []reg.Register{a, b} {
		r := g.YMM()
		g.VPAND(operand.Mem{Base: x}, mask, r)
		g.VPCMPEQW(r, mask, r)
		g.VPOR(r, found, found)
	}
	var out [2]reg.VecVirtual
	for half := range out {
		x, y := widen(operand.Mem{Base: a, Disp: block * half}), widen(operand.Mem{Base: b, Disp: block * half})
		g.VMULPS(s, x, x)
		g.VMULPS(t, y, y)
		g.VADDPS(y, x, x)
		out[half] = x
	}
	store(out[0], out[1], operand.Mem{Base: dst})
	for _, x := range []reg.Register{dst, a, b} {
		g.ADDQ(operand.I8(2*block), x)
	}
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	g.Label("done")
	g.VPTEST(found, found)
	result := g.GP8()
	g.SETEQ(result)
	g.Store(result, g.ReturnIndex(0))
	g.end()
}

// roundBF16 adds half of the last place kept, less one where that is even, and keeps the upper half.
func (g generator) roundBF16() {
	round := func(r bfloatRounding, src operand.Mem) reg.VecVirtual {
		x := g.YMM()
		g.VMOVDQU(src, x)
		g.roundUpper(r, x)
		return x
	}
	g.begin("f32ToBF16AVX2", "func(dst []uint16, src []float32)",
		fmt.Sprintf("rounds to the upper half, to nearest, ties to even. The length of src is a multiple of %d.", block))
	dst := g.Load(g.Param("dst").Base(), g.GP64())
	src := g.Load(g.Param("src").Base(), g.GP64())
	n := g.Load(g.Param("src").Len(), g.GP64())
	r := g.bfloatRounding()
	g.SHRQ(operand.U8(4), n)
	g.JZ(operand.LabelRef("done"))
	g.Label("loop")
	low, high := round(r, operand.Mem{Base: src}), round(r, operand.Mem{Base: src, Disp: 32})
	g.storeUpper(low, high, operand.Mem{Base: dst})
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
