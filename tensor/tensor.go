package tensor

import (
	"bytes"
	"fmt"
	"unsafe"

	"github.com/rebasin/rebasin/internal/kernel"
)

// Tensor is a dense array: row-major, little-endian, aligned to eight bytes.
type Tensor struct {
	dtype DType
	shape Shape
	len   int
	data  []byte
}

// Element is a Go type that an element of some dtype can be viewed as.
type Element interface {
	float64 | float32 | int64 | int32 | int16 | int8 | uint8 | bool | uint16 | uint32 | uint64
}

// New returns a tensor of zeros. It panics when dtype or shape is not valid; sizes from a file are checked with [DType.Bytes] first.
func New(dtype DType, shape Shape) *Tensor {
	size, err := dtype.Bytes(shape)
	if err != nil {
		panic("tensor: New: " + err.Error())
	}
	return &Tensor{dtype: dtype, shape: shape.Clone(), len: size / dtype.Size(), data: alignedBytes(size)}
}

// alignedBytes returns n zero bytes that start at a multiple of eight. The allocator aligns small byte slices less than that.
func alignedBytes(n int) []byte {
	words := kernel.Make[uint64](n/8 + (n%8+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), n)
}

// FromBytes returns a tensor of little-endian data, which belongs to it from then on. The data is copied only when it is not aligned to eight
// bytes. An error says that the length of data is not that of the shape, or that an element of a Bool is neither 0 nor 1.
func FromBytes(dtype DType, shape Shape, data []byte) (*Tensor, error) {
	size, err := dtype.Bytes(shape)
	if err != nil {
		return nil, err
	}
	if len(data) != size {
		return nil, fmt.Errorf("tensor: shape %v of %v needs %d bytes, got %d", shape, dtype, size, len(data))
	}
	if dtype == Bool {
		// Go leaves a bool of any other bit pattern undefined, and Of would make one.
		for i, b := range data {
			if b > 1 {
				return nil, fmt.Errorf("tensor: element %d of a BOOL is %d, neither 0 nor 1", i, b)
			}
		}
	}
	if uintptr(unsafe.Pointer(unsafe.SliceData(data)))%8 != 0 {
		data = append(alignedBytes(size)[:0], data...)
	}
	return &Tensor{dtype: dtype, shape: shape.Clone(), len: size / dtype.Size(), data: data[:size:size]}, nil
}

// FromSlice returns a tensor with a copy of values, of the dtype that T stands for. It panics when their number is not that of the shape.
func FromSlice[T Element](shape Shape, values []T) *Tensor {
	t := New(dtypeOf[T](), shape)
	if t.len != len(values) {
		panic(fmt.Sprintf("tensor: FromSlice: shape %v needs %d elements, got %d", shape, t.len, len(values)))
	}
	copy(view[T](t.data), values)
	return t
}

// Of returns the elements of t as a slice that shares its memory. It panics when T is not the type of t's dtype. F16, BF16 and the F8 dtypes
// have no Go type: use [Tensor.Convert] for their values and [Tensor.Bytes] for their bits.
func Of[T Element](t *Tensor) []T {
	if want := dtypeOf[T](); t.dtype != want {
		panic(fmt.Sprintf("tensor: Of: view of %v as %v", t.dtype, want))
	}
	return view[T](t.data)
}

// view reinterprets aligned bytes as elements.
func view[T Element](data []byte) []T {
	var zero T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(data))), len(data)/int(unsafe.Sizeof(zero)))
}

func dtypeOf[T Element]() DType {
	var zero T
	switch any(zero).(type) {
	case float64:
		return F64
	case float32:
		return F32
	case int64:
		return I64
	case int32:
		return I32
	case int16:
		return I16
	case int8:
		return I8
	case uint8:
		return U8
	case bool:
		return Bool
	case uint16:
		return U16
	case uint32:
		return U32
	}
	return U64
}

// Halves returns the bits of the elements of a tensor of F16 or BF16, sharing its memory. It panics for another dtype.
func Halves(t *Tensor) []uint16 {
	if t.dtype != F16 && t.dtype != BF16 {
		panic("tensor: Halves of " + t.dtype.String())
	}
	return view[uint16](t.data)
}

// DType returns the type of the elements.
func (t *Tensor) DType() DType { return t.dtype }

// Shape returns the extents, which must not be changed.
func (t *Tensor) Shape() Shape { return t.shape }

// Len returns the number of elements.
func (t *Tensor) Len() int { return t.len }

// Bytes returns the data itself, not a copy.
func (t *Tensor) Bytes() []byte { return t.data }

// String returns dtype and shape: "F32[3 4]".
func (t *Tensor) String() string { return t.dtype.String() + t.shape.String() }

// Clone returns a tensor of the same content that shares nothing with t.
func (t *Tensor) Clone() *Tensor {
	c := New(t.dtype, t.shape)
	copy(c.data, t.data)
	return c
}

// From returns the elements from index at on as one row, sharing t's memory. It panics when at is not within t, or when the elements there are not aligned to
// eight bytes.
func (t *Tensor) From(at int) *Tensor {
	first := at * t.dtype.Size()
	if at < 0 || at > t.len || first%8 != 0 {
		panic(fmt.Sprintf("tensor: From: element %d of %v", at, t))
	}
	return &Tensor{dtype: t.dtype, shape: Shape{t.len - at}, len: t.len - at, data: t.data[first:]}
}

// Equal reports whether t and o have the same dtype, shape and bits. NaNs of the same bits are equal; zeros of different sign are not.
func (t *Tensor) Equal(o *Tensor) bool {
	return t.dtype == o.dtype && t.shape.Equal(o.shape) && bytes.Equal(t.data, o.data)
}

// NonFinite returns the row-major index of the first element that is infinite or not a number. Only the dtypes of [DType.IsFloat] have such
// elements here.
func (t *Tensor) NonFinite() (index int, found bool) {
	switch t.dtype {
	case F64:
		return firstMasked(view[uint64](t.data), 0x7ff0_0000_0000_0000)
	case F32:
		return firstMaskedOf(kernel.AnyMasked32, view[uint32](t.data), 0x7f80_0000)
	case F16:
		return firstMaskedOf(kernel.AnyMasked16, view[uint16](t.data), 0x7c00)
	case BF16:
		return firstMaskedOf(kernel.AnyMasked16, view[uint16](t.data), 0x7f80)
	}
	return 0, false
}

// firstMaskedOf is firstMasked, with a fast way to find out that there is none.
func firstMaskedOf[B uint32 | uint16](anyMasked func([]B, B) bool, bits []B, mask B) (int, bool) {
	for at := 0; at < len(bits); at += chunk {
		part := bits[at:min(at+chunk, len(bits))]
		if anyMasked(part, mask) {
			i, found := firstMasked(part, mask)
			return at + i, found
		}
	}
	return 0, false
}

// firstMasked returns the index of the first element with all bits of the mask set: an exponent of ones is what infinities and NaNs share.
func firstMasked[B uint64 | uint32 | uint16](bits []B, mask B) (int, bool) {
	for i, b := range bits {
		if b&mask == mask {
			return i, true
		}
	}
	return 0, false
}
