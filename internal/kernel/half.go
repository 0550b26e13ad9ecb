package kernel

import "unsafe"

// halves are the conversions between float32 and the formats of 16 bits of one instruction set. All of them give the same bytes. Their slices have
// equal length, at most halfChunk. They are not for infinities and NaN, except those in Go.
type halves struct {
	f16ToF32, bf16ToF32 func(dst []float32, src []uint16)
	f32ToF16, f32ToBF16 func(dst []uint16, src []float32)
	anyMasked16         func(x []uint16, mask uint16) bool
	anyMasked32         func(x []uint32, mask uint32) bool
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
