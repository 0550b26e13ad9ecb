package tensor_test

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/rebasin/rebasin/tensor"
)

// half is one of the two-byte float formats, described independently of the code under test.
type half struct {
	dtype         tensor.DType
	exponentBits  int
	mantissaBits  int
	largestFinite uint16
	magnitudes    []float64 // of the patterns 0..largestFinite, and of the power of two above
}

var halves = []*half{
	newHalf(tensor.F16, 5, 10),
	newHalf(tensor.BF16, 8, 7),
}

func newHalf(dtype tensor.DType, exponentBits, mantissaBits int) *half {
	h := &half{dtype: dtype, exponentBits: exponentBits, mantissaBits: mantissaBits}
	h.largestFinite = uint16((1<<exponentBits-1)<<mantissaBits) - 1
	for bits := 0; bits <= int(h.largestFinite)+1; bits++ {
		h.magnitudes = append(h.magnitudes, h.magnitude(bits))
	}
	return h
}

// magnitude decodes a pattern by the definition of the format, as if the exponent of all ones were one more power of two.
func (h *half) magnitude(bits int) float64 {
	bias := 1<<(h.exponentBits-1) - 1
	exponent, fraction := bits>>h.mantissaBits, bits&(1<<h.mantissaBits-1)
	if exponent == 0 {
		return math.Ldexp(float64(fraction), 1-bias-h.mantissaBits)
	}
	return math.Ldexp(float64(1<<h.mantissaBits+fraction), exponent-bias-h.mantissaBits)
}

// nearest rounds by searching all values: to the nearest, and to the even pattern when halfway. x is not a NaN.
func (h *half) nearest(x float64) uint16 {
	compare := func(m float64) int {
		switch a := math.Abs(x); {
		case a < m:
			return -1
		case a > m:
			return 1
		}
		return 0
	}
	return h.sign(math.Signbit(x)) | h.search(compare)
}

// nearestInt does the same for an integer, which a float64 may not hold.
func (h *half) nearestInt(x int64) uint16 {
	a := new(big.Float).SetPrec(64).SetInt64(x)
	a.Abs(a)
	return h.sign(x < 0) | h.search(func(m float64) int { return a.Cmp(big.NewFloat(m)) })
}

func (h *half) sign(negative bool) uint16 {
	if negative {
		return 0x8000
	}
	return 0
}

// search finds the pattern of a magnitude a from comparisons of a with others.
func (h *half) search(compare func(float64) int) uint16 {
	upper := sort.Search(len(h.magnitudes), func(i int) bool { return compare(h.magnitudes[i]) < 0 })
	if upper == len(h.magnitudes) {
		return h.largestFinite + 1
	}
	lower := upper - 1
	middle := (h.magnitudes[lower] + h.magnitudes[upper]) / 2 // exact: one bit more than the format has
	if c := compare(middle); c > 0 || c == 0 && upper%2 == 0 {
		return uint16(upper)
	}
	return uint16(lower)
}

func allPatterns(t *testing.T, dtype tensor.DType) *tensor.Tensor {
	data := make([]byte, 2<<16)
	for i := range 1 << 16 {
		binary.LittleEndian.PutUint16(data[2*i:], uint16(i))
	}
	return mustFromBytes(t, dtype, tensor.Shape{1 << 16}, data)
}

// bits16 returns the patterns of a tensor of two-byte elements.
func bits16(x *tensor.Tensor) []uint16 {
	bits := make([]uint16, x.Len())
	for i := range bits {
		bits[i] = binary.LittleEndian.Uint16(x.Bytes()[2*i:])
	}
	return bits
}

// Every pattern decodes to the value that the format defines, NaNs to NaNs.
func TestDecodeHalvesExhaustively(t *testing.T) {
	for _, h := range halves {
		x := allPatterns(t, h.dtype)
		as32 := tensor.Of[float32](mustConvert(t, x, tensor.F32))
		as64 := tensor.Of[float64](mustConvert(t, x, tensor.F64))
		for i := range 1 << 16 {
			want := math.Inf(1)
			if m := i & 0x7fff; m <= int(h.largestFinite) {
				want = h.magnitudes[m]
			} else if m > int(h.largestFinite)+1 {
				want = math.NaN()
			}
			if i >= 0x8000 {
				want = -want
			}
			if !identical(float64(as32[i]), want) || !identical(as64[i], want) {
				t.Fatalf("%v %#04x: F32 %v, F64 %v, want %v", h.dtype, i, as32[i], as64[i], want)
			}
		}
	}
}

// identical compares values and signs, all NaNs being alike.
func identical(a, b float64) bool {
	if math.IsNaN(a) || math.IsNaN(b) {
		return math.IsNaN(a) && math.IsNaN(b)
	}
	return a == b && math.Signbit(a) == math.Signbit(b)
}

// Widening and back is the identity on all 65536 patterns: bit for bit through F32, and through F64 on everything but the kind of a NaN.
func TestHalfRoundTripsExhaustively(t *testing.T) {
	for _, h := range halves {
		x := allPatterns(t, h.dtype)
		if !mustConvert(t, mustConvert(t, x, tensor.F32), h.dtype).Equal(x) {
			t.Errorf("%v: changed by a trip through F32", h.dtype)
		}
		back := bits16(mustConvert(t, mustConvert(t, x, tensor.F64), h.dtype))
		for i, b := range back {
			bothNaN := uint16(i)&0x7fff > h.largestFinite+1 && b&0x7fff > h.largestFinite+1
			if int(b) != i && !bothNaN {
				t.Fatalf("%v %#04x: came back from F64 as %#04x", h.dtype, i, b)
			}
		}
	}
}

// Encoding equals a search through all values: at every value, every halfway point, the floats beside those, and random bits.
func TestEncodeHalves(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, h := range halves {
		var as32 []float32
		var as64 []float64
		add := func(x float64) {
			for _, y := range []float64{x, math.Nextafter(x, 0), math.Nextafter(x, math.Inf(1))} {
				as64 = append(as64, y, -y)
			}
			f := float32(x)
			for _, y := range []float32{f, math.Nextafter32(f, 0), math.Nextafter32(f, math.MaxFloat32)} {
				as32 = append(as32, y, -y)
			}
		}
		for i := range h.magnitudes[1:] {
			add(h.magnitudes[i])
			add((h.magnitudes[i] + h.magnitudes[i+1]) / 2)
		}
		for range 20000 {
			as32 = append(as32, math.Float32frombits(r.Uint32()))
			as64 = append(as64, math.Float64frombits(r.Uint64()), r.NormFloat64())
		}
		as64 = append(as64, math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64)

		for i, got := range bits16(mustConvert(t, tensor.FromSlice(tensor.Shape{len(as32)}, as32), h.dtype)) {
			h.check(t, float64(as32[i]), got)
		}
		for i, got := range bits16(mustConvert(t, tensor.FromSlice(tensor.Shape{len(as64)}, as64), h.dtype)) {
			h.check(t, as64[i], got)
		}
	}
}

func (h *half) check(t *testing.T, x float64, got uint16) {
	t.Helper()
	if math.IsNaN(x) {
		if got&0x7fff <= h.largestFinite+1 {
			t.Fatalf("NaN to %v: %#04x", h.dtype, got)
		}
		return
	}
	if want := h.nearest(x); got != want {
		t.Fatalf("%v (%#016x) to %v: %#04x, want %#04x", x, math.Float64bits(x), h.dtype, got, want)
	}
}

// A NaN of which all payload bits are cut off must not become an infinity.
func TestNarrowNaNsStayNaNs(t *testing.T) {
	var nans []float32
	for bit := range 23 {
		nans = append(nans, math.Float32frombits(0x7f80_0000|1<<bit), math.Float32frombits(0xff80_0000|1<<bit))
	}
	for _, h := range halves {
		for i, got := range bits16(mustConvert(t, tensor.FromSlice(tensor.Shape{len(nans)}, nans), h.dtype)) {
			if got&0x7fff <= h.largestFinite+1 || got>>15 != uint16(i%2) {
				t.Errorf("%#08x to %v: %#04x", math.Float32bits(nans[i]), h.dtype, got)
			}
		}
	}
}

// An int64 has more bits than a float64, so a second rounding could go wrong: every format is checked against exact arithmetic, at random
// numbers of all lengths and beside all halfway points of F32.
func TestConvertInt64(t *testing.T) {
	values := []int64{0, 1, -1, math.MaxInt64, math.MinInt64, math.MinInt64 + 1, 1<<53 - 1, 1 << 53, 1<<53 + 1, 1<<62 + 1<<54, 1<<62 + 1<<54 + 1}
	r := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		x := int64(r.Uint64()) >> r.IntN(64)
		values = append(values, x)
		for _, kept := range []int{8, 11, 24} { // bits of BF16, F16 and F32
			tie := tieOf(r, kept)
			values = append(values, tie-1, tie, tie+1, -tie)
		}
	}
	x := tensor.FromSlice(tensor.Shape{len(values)}, values)
	as64, as32 := tensor.Of[float64](mustConvert(t, x, tensor.F64)), tensor.Of[float32](mustConvert(t, x, tensor.F32))
	for i, v := range values {
		exact := new(big.Float).SetPrec(64).SetInt64(v)
		want64, _ := exact.Float64()
		want32, _ := exact.Float32()
		if as64[i] != want64 || as32[i] != want32 {
			t.Fatalf("%d: F64 %v, want %v; F32 %v, want %v", v, as64[i], want64, as32[i], want32)
		}
	}
	for _, h := range halves {
		for i, got := range bits16(mustConvert(t, x, h.dtype)) {
			if want := h.nearestInt(values[i]); got != want {
				t.Fatalf("%d to %v: %#04x, want %#04x", values[i], h.dtype, got, want)
			}
		}
	}
}

// tieOf returns a random positive integer halfway between two floats of so many bits.
func tieOf(r *rand.Rand, kept int) int64 {
	odd := int64(1)<<kept | r.Int64N(1<<kept) | 1 // kept+1 bits, the last set
	return odd << r.IntN(63-kept)
}

func TestConvertFloat64ToFloat32(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	values := []float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.MaxFloat64, 0x1p-149, 0x1p-150, 0x1.8p-150, 1e-46}
	for range 20000 {
		f := float64(math.Float32frombits(r.Uint32() & 0xff7f_ffff)) // never all ones in the exponent
		next := float64(math.Nextafter32(float32(f), math.MaxFloat32))
		middle := (f + next) / 2
		values = append(values, f, middle, math.Nextafter(middle, f), math.Nextafter(middle, next))
	}
	got := tensor.Of[float32](mustConvert(t, tensor.FromSlice(tensor.Shape{len(values)}, values), tensor.F32))
	for i, v := range values {
		want := float32(v)
		if !math.IsInf(v, 0) {
			want, _ = new(big.Float).SetFloat64(v).Float32()
		}
		if !identical(float64(got[i]), float64(want)) {
			t.Fatalf("%v: %v, want %v", v, got[i], want)
		}
	}
}

func TestConvertSmallIntegersAndBool(t *testing.T) {
	var i16 []int16
	for i := math.MinInt16; i <= math.MaxInt16; i++ {
		i16 = append(i16, int16(i))
	}
	testIntegers(t, i16)
	var i8 []int8
	var u8 []uint8
	for i := range 256 {
		i8, u8 = append(i8, int8(i-128)), append(u8, uint8(i))
	}
	testIntegers(t, i8)
	testIntegers(t, u8)
	r := rand.New(rand.NewPCG(7, 8))
	i32 := []int32{math.MinInt32, math.MaxInt32, 1 << 24, 1<<24 + 1, 1<<24 + 3}
	for range 20000 {
		i32 = append(i32, int32(r.Uint32())>>r.IntN(32))
	}
	testIntegers(t, i32)

	bools := tensor.FromSlice(tensor.Shape{2}, []bool{false, true})
	if got := tensor.Of[float32](mustConvert(t, bools, tensor.F32)); got[0] != 0 || got[1] != 1 {
		t.Errorf("false, true became %v", got)
	}
}

func testIntegers[T int16 | int8 | uint8 | int32](t *testing.T, values []T) {
	t.Helper()
	x := tensor.FromSlice(tensor.Shape{len(values)}, values)
	as64, as32 := tensor.Of[float64](mustConvert(t, x, tensor.F64)), tensor.Of[float32](mustConvert(t, x, tensor.F32))
	for i, v := range values {
		if as64[i] != float64(v) || as32[i] != float32(v) {
			t.Fatalf("%v %d: F64 %v, F32 %v", x.DType(), v, as64[i], as32[i])
		}
	}
	for _, h := range halves {
		for i, got := range bits16(mustConvert(t, x, h.dtype)) {
			if want := h.nearestInt(int64(values[i])); got != want {
				t.Fatalf("%v %d to %v: %#04x, want %#04x", x.DType(), values[i], h.dtype, got, want)
			}
		}
	}
}

// Elements are converted in chunks; none may be lost or moved at their ends, and the shape stays.
func TestConvertAllLengths(t *testing.T) {
	for _, n := range []int{0, 1, 2, 1023, 1024, 1025, 2048, 2049} {
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(i % 251)
		}
		x := tensor.FromSlice(tensor.Shape{1, n, 1}, values)
		for _, from := range []tensor.DType{tensor.F64, tensor.F32, tensor.F16, tensor.BF16} {
			for _, to := range []tensor.DType{tensor.F64, tensor.F32, tensor.F16, tensor.BF16} {
				got := mustConvert(t, mustConvert(t, x, from), to)
				if got.DType() != to || !got.Shape().Equal(x.Shape()) {
					t.Fatalf("%v to %v: %v", from, to, got)
				}
				if !mustConvert(t, got, tensor.F64).Equal(x) {
					t.Errorf("%d elements changed from %v to %v", n, from, to)
				}
			}
		}
	}
}

func TestConvertToOwnDTypeCopies(t *testing.T) {
	for _, dtype := range tensor.DTypes() {
		x := tensor.New(dtype, tensor.Shape{3})
		y := mustConvert(t, x, dtype)
		y.Bytes()[0] = 1
		if x.Bytes()[0] != 0 {
			t.Errorf("%v: shares memory", dtype)
		}
	}
}

// Exactly the conversions from a dtype with arithmetic to a float dtype exist.
func TestConvertRefuses(t *testing.T) {
	carried := map[tensor.DType]bool{tensor.U16: true, tensor.U32: true, tensor.U64: true, tensor.F8E4M3: true, tensor.F8E5M2: true}
	for _, from := range tensor.DTypes() {
		for _, to := range append(tensor.DTypes(), 0, 200) {
			_, err := tensor.New(from, tensor.Shape{2}).Convert(to)
			if want := from == to || to.IsFloat() && !carried[from]; (err == nil) != want {
				t.Errorf("%v to %v: error %v", from, to, err)
			}
		}
	}
}

// TestConvertInto has it agree with Convert, and refuse what that refuses and what does not fit.
func TestConvertInto(t *testing.T) {
	for _, from := range []tensor.DType{tensor.F16, tensor.BF16, tensor.F32, tensor.F64, tensor.I64, tensor.I32, tensor.U8, tensor.Bool} {
		for _, n := range []int{0, 1, 3000} {
			x := tensor.New(from, tensor.Shape{n})
			for i, b := 0, x.Bytes(); i < len(b); i++ {
				b[i] = byte(i % 2)
			}
			wide, narrow := make([]float64, n), make([]float32, n)
			if err := errors.Join(tensor.ConvertInto(wide, x), tensor.ConvertInto(narrow, x)); err != nil {
				t.Fatalf("%v: %v", from, err)
			}
			if want := tensor.Of[float64](mustConvert(t, x, tensor.F64)); !slices.Equal(wide, want) {
				t.Errorf("%v to float64: %v, want %v", from, wide, want)
			}
			if want := tensor.Of[float32](mustConvert(t, x, tensor.F32)); !slices.Equal(narrow, want) {
				t.Errorf("%v to float32: %v, want %v", from, narrow, want)
			}
			if err := tensor.ConvertInto(make([]float32, n+1), x); err == nil {
				t.Errorf("%v: %d elements fill %d", from, n, n+1)
			}
		}
	}
	if err := tensor.ConvertInto(make([]float32, 1), tensor.New(tensor.F8E4M3, tensor.Shape{1})); err == nil {
		t.Error("a dtype without arithmetic was converted")
	}
}

func BenchmarkConvert(b *testing.B) {
	for _, c := range []struct{ from, to tensor.DType }{
		{tensor.F32, tensor.F16},
		{tensor.F16, tensor.F32},
		{tensor.F32, tensor.BF16},
		{tensor.BF16, tensor.F32},
		{tensor.F64, tensor.F32},
	} {
		b.Run(c.from.String()+"-"+c.to.String(), func(b *testing.B) {
			values := make([]float64, 1<<20)
			r := rand.New(rand.NewPCG(1, 1))
			for i := range values {
				values[i] = r.NormFloat64()
			}
			x, err := tensor.FromSlice(tensor.Shape{len(values)}, values).Convert(c.from)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(x.Bytes())))
			for b.Loop() {
				if _, err := x.Convert(c.to); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
