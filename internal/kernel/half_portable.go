package kernel

import "math"

func portableHalves() halves {
	return halves{
		f16ToF32: f16ToF32s, bf16ToF32: bf16ToF32s, f32ToF16: f32ToF16s, f32ToBF16: f32ToBF16s,
		lerpF16: lerpF16s, lerpBF16: lerpBF16s,
		anyMasked16: anyMasked[uint16], anyMasked32: anyMasked[uint32],
	}
}

func anyMasked[B uint16 | uint32](x []B, mask B) bool {
	for _, b := range x {
		if b&mask == mask {
			return true
		}
	}
	return false
}

func f16ToF32s(dst []float32, src []uint16) {
	dst = dst[:len(src)]
	for i, h := range src {
		dst[i] = f16ToF32(h)
	}
}

func bf16ToF32s(dst []float32, src []uint16) {
	dst = dst[:len(src)]
	for i, h := range src {
		dst[i] = math.Float32frombits(uint32(h) << 16)
	}
}

func f32ToF16s(dst []uint16, src []float32) {
	dst = dst[:len(src)]
	for i, x := range src {
		dst[i] = f32ToF16(x)
	}
}

func f32ToBF16s(dst []uint16, src []float32) {
	dst = dst[:len(src)]
	for i, x := range src {
		dst[i] = f32ToBF16(x)
	}
}

func lerpF16s(s, t float32, dst, a, b []uint16) bool {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		if a[i]&maskF16 == maskF16 || b[i]&maskF16 == maskF16 {
			return false
		}
		dst[i] = f32ToF16(float32(s*f16ToF32(a[i])) + float32(t*f16ToF32(b[i])))
	}
	return true
}

func lerpBF16s(s, t float32, dst, a, b []uint16) bool {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		if a[i]&maskBF16 == maskBF16 || b[i]&maskBF16 == maskBF16 {
			return false
		}
		x, y := math.Float32frombits(uint32(a[i])<<16), math.Float32frombits(uint32(b[i])<<16)
		dst[i] = f32ToBF16(float32(s*x) + float32(t*y))
	}
	return true
}

// f32ToBF16 rounds to nearest, ties to even.
func f32ToBF16(x float32) uint16 {
	bits := math.Float32bits(x)
	if x != x {
		h := uint16(bits >> 16)
		if h&0x7f == 0 {
			h |= 0x40 // the payload was all in the lower half: stay a NaN
		}
		return h
	}
	// Half of the last place, less one when the kept part is even; a carry runs on into the exponent, up to infinity, as it should.
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// f16ToF32 is exact.
func f16ToF32(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp, frac := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exp {
	case 0: // zero or subnormal: frac counts units of 2^-24
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
	case 0x1f: // infinity or NaN
		return math.Float32frombits(sign | 0x7f80_0000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

// f32ToF16 rounds to nearest, ties to even.
func f32ToF16(x float32) uint16 {
	bits := math.Float32bits(x)
	sign, mag := uint16(bits>>16&0x8000), bits&0x7fff_ffff
	switch {
	case mag > 0x7f80_0000: // NaN
		frac := uint16(mag >> 13 & 0x3ff)
		if frac == 0 {
			frac = 0x200 // the payload was all in the lower bits: stay a NaN
		}
		return sign | 0x7c00 | frac
	case mag >= 0x477f_f000: // 65520, halfway between the largest F16 and the power of two above
		return sign | 0x7c00
	case mag < 0x3880_0000: // below 2^-14, so subnormal
		// Added to 1/2, the last place of which is 2^-24, the value is rounded by the addition itself.
		half := math.Float32bits(math.Float32frombits(mag) + 0.5)
		return sign | uint16(half-math.Float32bits(0.5))
	}
	// Normal: rebase the exponent, then round as f32ToBF16 does.
	mag -= (127 - 15) << 23
	return sign | uint16((mag+0xfff+mag>>13&1)>>13)
}
