//go:build amd64 && !purego

package kernel

import "golang.org/x/sys/cpu"

// halvesAVX2 are the conversions in assembly: whole blocks there, what is left over in Go, to the same bytes. They are bound by memory, and so serve
// AVX-512 too. Processors with AVX2 have had F16C all along, but may be made to hide it.
func halvesAVX2() halves {
	h := halves{
		f16ToF32: f16ToF32s, bf16ToF32: widenBlocks(bf16ToF32AVX2, bf16ToF32s),
		f32ToF16: f32ToF16s, f32ToBF16: narrowBlocks(f32ToBF16AVX2, f32ToBF16s),
		lerpF16: lerpF16s, lerpBF16: lerpHalfBlocks(lerpBF16AVX2, maskBF16, lerpBF16s),
		anyMasked16: maskedBlocks(32, anyMasked16AVX2), anyMasked32: maskedBlocks(16, anyMasked32AVX2),
	}
	if cpu.X86.HasF16C {
		h.f16ToF32, h.f32ToF16 = widenBlocks(f16ToF32AVX2, f16ToF32s), narrowBlocks(f32ToF16AVX2, f32ToF16s)
		h.lerpF16 = lerpHalfBlocks(lerpF16AVX2, maskF16, lerpF16s)
	}
	return h
}

func widenBlocks(head, tail func(dst []float32, src []uint16)) func(dst []float32, src []uint16) {
	return func(dst []float32, src []uint16) {
		n := blocks(len(src))
		head(dst[:n], src[:n])
		tail(dst[n:], src[n:])
	}
}

func narrowBlocks(head, tail func(dst []uint16, src []float32)) func(dst []uint16, src []float32) {
	return func(dst []uint16, src []float32) {
		n := blocks(len(src))
		head(dst[:n], src[:n])
		tail(dst[n:], src[n:])
	}
}

func lerpHalfBlocks(head func(s, t float32, dst, a, b []uint16, mask uint16) bool, mask uint16, tail func(s, t float32, dst, a, b []uint16) bool) func(s, t float32, dst, a, b []uint16) bool {
	return func(s, t float32, dst, a, b []uint16) bool {
		n := blocks(len(dst))
		finite := head(s, t, dst[:n], a[:n], b[:n], mask)
		return tail(s, t, dst[n:], a[n:], b[n:]) && finite
	}
}

func maskedBlocks[B uint16 | uint32](block int, head func(x []B, mask B) bool) func(x []B, mask B) bool {
	return func(x []B, mask B) bool {
		n := len(x) / block * block
		return head(x[:n], mask) || anyMasked(x[n:], mask)
	}
}
