package kernel

import "unsafe"

// halves are the conversions between float32 and the formats of 16 bits of one instruction set. All of them give the same bytes. Their slices have
// equal length, at most halfChunk. They are not for infinities and NaN, except those in Go.
type halves struct {
	f16ToF32, bf16ToF32 func(dst []float32, src []uint16)
	f32ToF16, f32ToBF16 func(dst []uint16, src []float32)
	// lerpF16 and lerpBF16 store s*a + t*b and report whether all of a and b are finite; what is stored where they are not means nothing.
	lerpF16, lerpBF16 func(s, t float32, dst, a, b []uint16) bool
	anyMasked16       func(x []uint16, mask uint16) bool
	anyMasked32       func(x []uint32, mask uint32) bool
}

// halfChunk is the number of elements that are looked at for infinities and NaN, and then converted, while they are in the first-level cache.
const halfChunk = 1024

// Exponents of ones, which infinities and NaN share.
const (
	maskF32  = 0x7f80_0000
	maskF16  = 0x7c00
	maskBF16 = 0x7f80
)

// F16ToF32 stores the binary16 numbers of src in dst. It is exact, and keeps the bits of NaN.
func F16ToF32(dst []float32, src []uint16) {
	h := &current[float32]().halves
	widen("F16ToF32", dst, src, maskF16, h, h.f16ToF32, f16ToF32s)
}

// BF16ToF32 stores the numbers of src, which are the upper halves of float32, in dst. It is exact, and keeps the bits of NaN.
func BF16ToF32(dst []float32, src []uint16) {
	h := &current[float32]().halves
	widen("BF16ToF32", dst, src, maskBF16, h, h.bf16ToF32, bf16ToF32s)
}

// F32ToF16 rounds src to binary16: to nearest, ties to even; subnormals are kept, overflow gives an infinity, NaN stays NaN.
func F32ToF16(dst []uint16, src []float32) {
	h := &current[float32]().halves
	narrow("F32ToF16", dst, src, h, h.f32ToF16, f32ToF16s)
}

// F32ToBF16 is F32ToF16 for the upper halves of float32.
func F32ToBF16(dst []uint16, src []float32) {
	h := &current[float32]().halves
	narrow("F32ToBF16", dst, src, h, h.f32ToBF16, f32ToBF16s)
}

// LerpF16 stores (1-t)*a + t*b of binary16, computed in float32 and rounded as by [F32ToF16], in dst, which may be a or b. It returns how many elements it
// has done: all, or those before a run of at most a thousand elements in which one of a or b is infinite or NaN. There a and b are as they were.
func LerpF16(dst, a, b []uint16, t float32) int {
	return lerpHalves("LerpF16", dst, a, b, t, current[float32]().lerpF16)
}

// LerpBF16 is LerpF16 for the upper halves of float32.
func LerpBF16(dst, a, b []uint16, t float32) int {
	return lerpHalves("LerpBF16", dst, a, b, t, current[float32]().lerpBF16)
}

func lerpHalves(name string, dst, a, b []uint16, t float32, lerp func(s, t float32, dst, a, b []uint16) bool) int {
	sameLength(name, len(dst), len(a), len(b))
	out := make([]uint16, min(halfChunk, len(dst)))
	for at := 0; at < len(dst); at += halfChunk {
		end := min(at+halfChunk, len(dst))
		out = out[:end-at]
		if !lerp(1-t, t, out, a[at:end], b[at:end]) {
			return at
		}
		copy(dst[at:], out)
	}
	return len(dst)
}

func widen(name string, dst []float32, src []uint16, mask uint16, h *halves, fast, whole func(dst []float32, src []uint16)) {
	sameLength(name, len(dst), len(src))
	for len(src) > 0 {
		n := min(halfChunk, len(src))
		if h.anyMasked16(src[:n], mask) {
			whole(dst[:n], src[:n])
		} else {
			fast(dst[:n], src[:n])
		}
		dst, src = dst[n:], src[n:]
	}
}

func narrow(name string, dst []uint16, src []float32, h *halves, fast, whole func(dst []uint16, src []float32)) {
	sameLength(name, len(dst), len(src))
	for len(src) > 0 {
		n := min(halfChunk, len(src))
		if h.anyMasked32(bitsOf(src[:n]), maskF32) {
			whole(dst[:n], src[:n])
		} else {
			fast(dst[:n], src[:n])
		}
		dst, src = dst[n:], src[n:]
	}
}

// bitsOf are the bits of float32.
func bitsOf(x []float32) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

// AnyMasked16 reports whether an element has all bits of mask set.
func AnyMasked16(x []uint16, mask uint16) bool { return current[float32]().anyMasked16(x, mask) }

// AnyMasked32 reports whether an element has all bits of mask set.
func AnyMasked32(x []uint32, mask uint32) bool { return current[float32]().anyMasked32(x, mask) }
