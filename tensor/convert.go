package tensor

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/rebasin/rebasin/internal/kernel"
)

// chunk is the number of elements converted at a time: both buffers stay in the first-level cache, and nothing the size of the tensor is
// allocated besides the result.
const chunk = 1024

// Convert returns a copy of t with elements of dtype to, which must be a float dtype unless it is t's own. Floats, integers and Bool convert;
// carried dtypes do not. Every element is rounded once, to nearest, ties to even, from its exact value: subnormals are kept, overflow gives an
// infinity, NaN stays NaN (F16 and BF16 survive a trip through F32 bit for bit). true is 1, false is 0. Cost: one pass.
func (t *Tensor) Convert(to DType) (*Tensor, error) {
	if to == t.dtype {
		return t.Clone(), nil
	}
	if !to.IsFloat() || t.dtype > Bool {
		return nil, fmt.Errorf("tensor: no conversion from %v to %v", t.dtype, to)
	}
	if _, err := to.Bytes(t.shape); err != nil {
		return nil, err
	}
	out := New(to, t.shape)
	t.convert(out)
	return out, nil
}

// ConvertInto fills dst with the elements of t, converted as by [Tensor.Convert]. It allocates nothing. An error says that dst has another length or
// that there is no such conversion.
func ConvertInto[T float32 | float64](dst []T, t *Tensor) error {
	to := dtypeOf[T]()
	switch {
	case len(dst) != t.len:
		return fmt.Errorf("tensor: %d elements of shape %v do not fit into %d", t.len, t.shape, len(dst))
	case t.dtype > Bool:
		return fmt.Errorf("tensor: no conversion from %v to %v", t.dtype, to)
	case t.dtype == to:
		copy(dst, view[T](t.data))
	case t.len > 0:
		size := t.len * to.Size()
		t.convert(&Tensor{dtype: to, shape: t.shape, len: t.len, data: unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(dst))), size)})
	}
	return nil
}

// convert fills out, of the same shape and another dtype, one of floats.
func (t *Tensor) convert(out *Tensor) {
	if t.dtype == F64 || t.dtype == I64 || t.dtype == I32 {
		convertWide(out, t)
	} else {
		convertNarrow(out, t)
	}
}

// convertNarrow converts the dtypes of which every value is exact in a float32.
func convertNarrow(out, t *Tensor) {
	var buf [chunk]float32
	for at := 0; at < t.len; at += chunk {
		part := buf[:min(chunk, t.len-at)]
		t.loadNarrow(part, at)
		switch out.dtype {
		case F64:
			mapTo(view[float64](out.data)[at:], part, func(x float32) float64 { return float64(x) })
		case F32:
			copy(view[float32](out.data)[at:], part)
		case F16:
			kernel.F32ToF16(view[uint16](out.data)[at:at+len(part)], part)
		case BF16:
			kernel.F32ToBF16(view[uint16](out.data)[at:at+len(part)], part)
		}
	}
}

// loadNarrow fills dst with the elements from index at on.
func (t *Tensor) loadNarrow(dst []float32, at int) {
	end := at + len(dst)
	switch t.dtype {
	case F32:
		copy(dst, view[float32](t.data)[at:end])
	case F16:
		kernel.F16ToF32(dst, view[uint16](t.data)[at:end])
	case BF16:
		kernel.BF16ToF32(dst, view[uint16](t.data)[at:end])
	case I16:
		mapTo(dst, view[int16](t.data)[at:end], func(x int16) float32 { return float32(x) })
	case I8:
		mapTo(dst, view[int8](t.data)[at:end], func(x int8) float32 { return float32(x) })
	case U8, Bool:
		mapTo(dst, t.data[at:end], func(x byte) float32 { return float32(x) })
	}
}

// convertWide converts the dtypes that need a float64, or even more.
func convertWide(out, t *Tensor) {
	var buf [chunk]float64
	var odd [chunk]float32
	for at := 0; at < t.len; at += chunk {
		part := buf[:min(chunk, t.len-at)]
		t.loadWide(part, at, out.dtype == F64)
		switch out.dtype {
		case F64:
			copy(view[float64](out.data)[at:], part)
		case F32:
			mapTo(view[float32](out.data)[at:], part, func(x float64) float32 { return float32(x) })
		case F16:
			mapTo(odd[:], part, f64ToOddF32)
			kernel.F32ToF16(view[uint16](out.data)[at:at+len(part)], odd[:len(part)])
		case BF16:
			mapTo(odd[:], part, f64ToOddF32)
			kernel.F32ToBF16(view[uint16](out.data)[at:at+len(part)], odd[:len(part)])
		}
	}
}

// loadWide fills dst with the elements from index at on. When they are rounded again, so when final is false, an int64 is rounded to odd.
func (t *Tensor) loadWide(dst []float64, at int, final bool) {
	end := at + len(dst)
	switch t.dtype {
	case F64:
		copy(dst, view[float64](t.data)[at:end])
	case I32:
		mapTo(dst, view[int32](t.data)[at:end], func(x int32) float64 { return float64(x) })
	case I64:
		round := i64ToOddF64
		if final {
			round = func(x int64) float64 { return float64(x) }
		}
		mapTo(dst, view[int64](t.data)[at:end], round)
	}
}

func mapTo[S, D any](dst []D, src []S, f func(S) D) {
	for i, x := range src {
		dst[i] = f(x)
	}
}

// Rounding twice, each time to nearest, can be wrong where the first rounding lands halfway. Rounding to odd first (truncate, then set the last
// bit if anything was cut off) and to nearest afterwards is right as long as the first format has at least two bits more:
// S. Boldo, G. Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to odd", IEEE Transactions on
// Computers 57(4), 2008, doi:10.1109/TC.2007.70819.

// f64ToOddF32 rounds to odd. Beyond the largest float32 that is the largest one, which conversions round on to infinity.
func f64ToOddF32(x float64) float32 {
	y := float32(x)
	if float64(y) == x || x != x {
		return y
	}
	bits := math.Float32bits(y)
	if math.Abs(float64(y)) > math.Abs(x) {
		bits-- // nearest went away from zero
	}
	return math.Float32frombits(bits | 1)
}

// i64ToOddF64 keeps the 53 upper bits of 64 and, when any of the 11 below is set, the lowest bit kept. Values under 2^53 are exact.
func i64ToOddF64(x int64) float64 {
	const limit, cut = 1 << 53, 1<<11 - 1
	if x > -limit && x < limit {
		return float64(x)
	}
	u := uint64(x)
	if x < 0 {
		u = -u
	}
	if u&cut != 0 {
		u = u&^cut | (cut + 1)
	}
	return math.Copysign(float64(u), float64(x))
}
