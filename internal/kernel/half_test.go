package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// All 65,536 values of each format, at every alignment of blocks, and back: whatever the instruction set, the bytes of the portable code.
func TestHalvesWiden(t *testing.T) {
	all := make([]uint16, 1<<16)
	for i := range all {
		all[i] = uint16(i)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	finite := func(mask uint16) []uint16 {
		return slices.DeleteFunc(slices.Clone(all), func(h uint16) bool { return h&mask == mask })
	}
	for _, o := range offered() {
		for _, c := range []struct {
			name       string
			fast, want func([]float32, []uint16)
			narrow     func([]uint16, []float32)
			mask       uint16
			widenAll   func([]float32, []uint16)
		}{
			{"F16", o.f16ToF32, f16ToF32s, o.f32ToF16, maskF16, F16ToF32},
			{"BF16", o.bf16ToF32, bf16ToF32s, o.f32ToBF16, maskBF16, BF16ToF32},
		} {
			src := finite(c.mask)
			got, want, back := make([]float32, len(src)), make([]float32, len(src)), make([]uint16, len(src))
			c.fast(got, src)
			c.want(want, src)
			c.narrow(back, got)
			if !slices.Equal(bitsOf(got), bitsOf(want)) || !slices.Equal(back, src) {
				t.Errorf("%s of %s differs from the portable code, or does not survive a trip", c.name, o.name)
			}
			whole, wantWhole := make([]float32, len(all)), make([]float32, len(all))
			c.widenAll(whole, all)
			c.want(wantWhole, all)
			if !slices.Equal(bitsOf(whole), bitsOf(wantWhole)) {
				t.Errorf("%s: infinities or NaN are not kept", c.name)
			}
		}
	}
}

// halfEdges are values around every rounding boundary of both formats: halfway between neighbours, and the floats next to it.
func halfEdges() []float32 {
	var x []float32
	for h := range uint32(0x7c00) {
		for _, sign := range []uint32{0, 1 << 31} {
			low := math.Float32bits(f16ToF32(uint16(h)))
			mid := math.Float32bits((f16ToF32(uint16(h)) + f16ToF32(uint16(h+1))) / 2)
			if h == 0x7bff {
				mid = math.Float32bits(65520)
			}
			for _, bits := range []uint32{low, low + 1, mid - 1, mid, mid + 1} {
				x = append(x, math.Float32frombits(bits|sign))
			}
		}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200000 {
		bits := rng.Uint32()
		if rng.IntN(2) == 0 {
			bits = bits&^0xffff | []uint32{0, 1, 0x7fff, 0x8000, 0x8001, 0xffff}[rng.IntN(6)]
		}
		x = append(x, math.Float32frombits(bits))
	}
	return append(x, 0, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, float32(math.Copysign(0, -1)))
}

func TestHalvesRound(t *testing.T) {
	all := halfEdges()
	finite := slices.DeleteFunc(slices.Clone(all), func(x float32) bool { return math.Float32bits(x)&maskF32 == maskF32 })
	for _, o := range offered() {
		for _, c := range []struct {
			name       string
			fast, want func([]uint16, []float32)
			whole      func([]uint16, []float32)
		}{
			{"F16", o.f32ToF16, f32ToF16s, F32ToF16},
			{"BF16", o.f32ToBF16, f32ToBF16s, F32ToBF16},
		} {
			for n := range 70 {
				got, want := make([]uint16, n), make([]uint16, n)
				c.fast(got, finite[n:2*n])
				c.want(want, finite[n:2*n])
				if !slices.Equal(got, want) {
					t.Fatalf("%s of %s: %d elements differ from the portable code", c.name, o.name, n)
				}
			}
			got, want := make([]uint16, len(finite)), make([]uint16, len(finite))
			c.fast(got, finite)
			c.want(want, finite)
			if !slices.Equal(got, want) {
				t.Errorf("%s of %s differs from the portable code", c.name, o.name)
			}
			got, want = make([]uint16, len(all)), make([]uint16, len(all))
			c.whole(got, all)
			c.want(want, all)
			if !slices.Equal(got, want) {
				t.Errorf("%s: infinities or NaN are not kept", c.name)
			}
		}
	}
}

// Between two vectors of halves: to the bytes of converting, Lerp and rounding, whatever the instruction set and the tail, and in place.
func TestLerpHalves(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, c := range []struct {
		name   string
		of     func(*implementation[float32]) func(s, t float32, dst, a, b []uint16) bool
		whole  func(dst, a, b []uint16, t float32) int
		widen  func([]float32, []uint16)
		narrow func([]uint16, []float32)
		mask   uint16
	}{
		{"F16", func(o *implementation[float32]) func(s, t float32, dst, a, b []uint16) bool { return o.lerpF16 }, LerpF16, F16ToF32, F32ToF16, maskF16},
		{"BF16", func(o *implementation[float32]) func(s, t float32, dst, a, b []uint16) bool { return o.lerpBF16 }, LerpBF16, BF16ToF32, F32ToBF16, maskBF16},
	} {
		finite := func(n int) []uint16 {
			x := make([]uint16, n)
			for i := range x {
				for x[i] = c.mask; x[i]&c.mask == c.mask; {
					x[i] = uint16(rng.Uint32())
				}
			}
			return x
		}
		want := func(a, b []uint16, lambda float32) []uint16 {
			x, y, out := make([]float32, len(a)), make([]float32, len(a)), make([]uint16, len(a))
			c.widen(x, a)
			c.widen(y, b)
			Lerp(x, x, y, lambda)
			c.narrow(out, x)
			return out
		}
		for _, o := range offered() {
			for _, n := range []int{0, 1, 15, 16, 17, 47, 64, 1000, 1 << 17} {
				lambda := rng.Float32()
				a, b, got := finite(n), finite(n), make([]uint16, n)
				if !c.of(o)(1-lambda, lambda, got, a, b) || !slices.Equal(got, want(a, b, lambda)) {
					t.Errorf("%s of %s: %d elements are not those of converting, Lerp and rounding", c.name, o.name, n)
				}
				for i := range min(n, 64) {
					for _, x := range [][]uint16{a, b} {
						was := x[i]
						x[i] = c.mask | was
						if c.of(o)(.5, .5, got, a, b) {
							t.Fatalf("%s of %s: element %d of %d is not finite, and not found", c.name, o.name, i, n)
						}
						x[i] = was
					}
				}
			}
		}
		const n, bad = 5000, 3001
		a, b := finite(n), finite(n)
		out := want(a, b, .25)
		b[bad] = c.mask
		left := slices.Clone(a)
		done := c.whole(a, a, b, .25)
		if done > bad || done < bad-halfChunk || !slices.Equal(a[:done], out[:done]) || !slices.Equal(a[done:], left[done:]) {
			t.Errorf("%s: element %d is not finite, %d are said to be done, or not those", c.name, bad, done)
		}
	}
}

func TestAnyMasked(t *testing.T) {
	for _, o := range offered() {
		for n := range 150 {
			x16, x32 := make([]uint16, n), make([]uint32, n)
			for i := range n {
				x16[i], x32[i] = 0x7bff, 0x7f7f_ffff
			}
			if o.anyMasked16(x16, maskF16) || o.anyMasked32(x32, maskF32) {
				t.Fatalf("%s finds what is not there in %d elements", o.name, n)
			}
			for i := range n {
				x16[i], x32[i] = 0xfc01, 0xff80_0000
				if !o.anyMasked16(x16, maskF16) || !o.anyMasked32(x32, maskF32) {
					t.Fatalf("%s misses element %d of %d", o.name, i, n)
				}
				x16[i], x32[i] = 0x03ff, 0x007f_ffff
			}
		}
	}
}

func BenchmarkF16ToF32(b *testing.B) {
	src, dst := make([]uint16, 1<<15), make([]float32, 1<<15)
	b.SetBytes(int64(6 * len(src)))
	for b.Loop() {
		F16ToF32(dst, src)
	}
}

func BenchmarkLerpF16(b *testing.B) {
	x, y, dst := make([]uint16, 1<<16), make([]uint16, 1<<16), make([]uint16, 1<<16)
	b.SetBytes(int64(6 * len(x)))
	for b.Loop() {
		LerpF16(dst, x, y, .5)
	}
}

func BenchmarkF32ToF16(b *testing.B) {
	src, dst := make([]float32, 1<<15), make([]uint16, 1<<15)
	b.SetBytes(int64(6 * len(src)))
	for b.Loop() {
		F32ToF16(dst, src)
	}
}
