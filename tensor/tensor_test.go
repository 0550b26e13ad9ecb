package tensor_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/rebasin/rebasin/tensor"
)

func TestDTypes(t *testing.T) {
	want := []struct {
		dtype tensor.DType
		name  string
		size  int
		float bool
	}{
		{tensor.F64, "F64", 8, true},
		{tensor.F32, "F32", 4, true},
		{tensor.F16, "F16", 2, true},
		{tensor.BF16, "BF16", 2, true},
		{tensor.I64, "I64", 8, false},
		{tensor.I32, "I32", 4, false},
		{tensor.I16, "I16", 2, false},
		{tensor.I8, "I8", 1, false},
		{tensor.U8, "U8", 1, false},
		{tensor.Bool, "BOOL", 1, false},
		{tensor.U16, "U16", 2, false},
		{tensor.U32, "U32", 4, false},
		{tensor.U64, "U64", 8, false},
		{tensor.F8E4M3, "F8_E4M3", 1, false},
		{tensor.F8E5M2, "F8_E5M2", 1, false},
	}
	all := tensor.DTypes()
	if len(all) != len(want) {
		t.Fatalf("%d dtypes, want %d", len(all), len(want))
	}
	for i, w := range want {
		parsed, err := tensor.ParseDType(w.name)
		if err != nil || parsed != w.dtype || all[i] != w.dtype {
			t.Errorf("%s: parsed as %v (%v), listed as %v", w.name, parsed, err, all[i])
		}
		if d := w.dtype; d.String() != w.name || d.Size() != w.size || d.IsFloat() != w.float || !d.Valid() {
			t.Errorf("%s: is %v of %d bytes, float %v, valid %v", w.name, d, d.Size(), d.IsFloat(), d.Valid())
		}
	}
}

func TestNoDType(t *testing.T) {
	for _, name := range []string{"", "f32", "F33", "float32", "F8_E8M0", "DType(0)"} {
		if d, err := tensor.ParseDType(name); err == nil {
			t.Errorf("ParseDType(%q) = %v, want an error", name, d)
		}
	}
	for _, d := range []tensor.DType{0, tensor.F8E5M2 + 1, 255} {
		if d.Valid() || d.IsFloat() {
			t.Errorf("%v: valid %v, float %v", d, d.Valid(), d.IsFloat())
		}
		if want := fmt.Sprintf("DType(%d)", uint8(d)); d.String() != want {
			t.Errorf("String() = %q, want %q", d.String(), want)
		}
		if _, err := d.Bytes(tensor.Shape{1}); err == nil {
			t.Errorf("%v: Bytes gave no error", d)
		}
		mustPanic(t, "Size of DType", func() { d.Size() })
	}
}

func TestShapeElements(t *testing.T) {
	const overflow, negative = "overflows int64", "negative extent"
	for _, c := range []struct {
		shape tensor.Shape
		text  string
		want  int
		err   string
	}{
		{nil, "[]", 1, ""},
		{tensor.Shape{}, "[]", 1, ""},
		{tensor.Shape{7}, "[7]", 7, ""},
		{tensor.Shape{3, 4}, "[3 4]", 12, ""},
		{tensor.Shape{3, 0, 4}, "[3 0 4]", 0, ""},
		{tensor.Shape{math.MaxInt64}, "[9223372036854775807]", math.MaxInt64, ""},
		{tensor.Shape{1 << 31, 1 << 31}, "[2147483648 2147483648]", 1 << 62, ""},
		{tensor.Shape{1 << 32, 1 << 31}, "[4294967296 2147483648]", 0, overflow},
		{tensor.Shape{1 << 32, 1 << 32, 1}, "[4294967296 4294967296 1]", 0, overflow},
		{tensor.Shape{0, 1 << 32, 1 << 32}, "[0 4294967296 4294967296]", 0, overflow},
		{tensor.Shape{-1}, "[-1]", 0, negative},
		{tensor.Shape{0, -1}, "[0 -1]", 0, negative},
		{tensor.Shape{-1, -1}, "[-1 -1]", 0, negative},
		{tensor.Shape{math.MinInt64, 2}, "[-9223372036854775808 2]", 0, negative},
	} {
		if c.shape.String() != c.text {
			t.Errorf("String() = %q, want %q", c.shape.String(), c.text)
		}
		n, err := c.shape.Elements()
		if n != c.want || !matches(err, c.err) {
			t.Errorf("%v: %d elements, error %v; want %d, %q", c.shape, n, err, c.want, c.err)
		}
	}
}

func TestDTypeBytes(t *testing.T) {
	if n, err := tensor.F64.Bytes(tensor.Shape{3, 5}); n != 120 || err != nil {
		t.Errorf("F64[3 5] has %d bytes (%v), want 120", n, err)
	}
	edge := tensor.Shape{1 << 60}
	if _, err := tensor.F64.Bytes(edge); !matches(err, "size overflows") {
		t.Errorf("F64%v: error %v", edge, err)
	}
	if n, err := tensor.F32.Bytes(edge); n != 1<<62 || err != nil {
		t.Errorf("F32%v has %d bytes (%v)", edge, n, err)
	}
}

// Every allocation must start at a multiple of eight bytes, small ones too, which the allocator would align less.
func TestAlignment(t *testing.T) {
	for n := range 40 {
		for range 8 {
			x := tensor.New(tensor.U8, tensor.Shape{n})
			if p := uintptr(unsafe.Pointer(unsafe.SliceData(x.Bytes()))); p%8 != 0 || p == 0 || len(x.Bytes()) != n {
				t.Fatalf("%d bytes at %#x, length %d", n, p, len(x.Bytes()))
			}
		}
	}
}

func TestFromBytesOwnership(t *testing.T) {
	buf := tensor.New(tensor.U8, tensor.Shape{24}).Bytes()
	for i := range buf {
		buf[i] = byte(i)
	}
	for offset := range 8 {
		data := buf[offset : offset+16]
		x := mustFromBytes(t, tensor.F32, tensor.Shape{2, 2}, data)
		if diff := cmp.Diff(data, x.Bytes()); diff != "" {
			t.Error(diff)
		}
		if shares := &x.Bytes()[0] == &data[0]; shares != (offset == 0) {
			t.Errorf("at offset %d the data is shared: %v", offset, shares)
		}
		if uintptr(unsafe.Pointer(&x.Bytes()[0]))%8 != 0 {
			t.Errorf("at offset %d the data stayed misaligned", offset)
		}
		if cap(x.Bytes()) != 16 && offset == 0 {
			t.Error("an append to the data of the tensor would write behind it")
		}
	}
	if empty := mustFromBytes(t, tensor.F32, tensor.Shape{0}, nil); empty.Len() != 0 || len(tensor.Of[float32](empty)) != 0 {
		t.Errorf("no bytes make %v", empty)
	}
}

func TestFromBytesErrors(t *testing.T) {
	for _, c := range []struct {
		dtype tensor.DType
		shape tensor.Shape
		data  []byte
		err   string
	}{
		{tensor.F32, tensor.Shape{3, 4}, make([]byte, 40), "shape [3 4] of F32 needs 48 bytes, got 40"},
		{tensor.F32, tensor.Shape{}, nil, "shape [] of F32 needs 4 bytes, got 0"},
		{tensor.U8, tensor.Shape{0}, make([]byte, 1), "needs 0 bytes, got 1"},
		{tensor.U8, tensor.Shape{-1}, nil, "negative extent"},
		{tensor.U8, tensor.Shape{1 << 40, 1 << 40}, nil, "overflows"},
		{0, tensor.Shape{1}, make([]byte, 1), "not a dtype"},
		{tensor.Bool, tensor.Shape{3}, []byte{0, 1, 2}, "element 2 of a BOOL is 2"},
	} {
		if x, err := tensor.FromBytes(c.dtype, c.shape, c.data); !matches(err, c.err) {
			t.Errorf("%v%v: got %v, error %v; want %q", c.dtype, c.shape, x, err, c.err)
		}
	}
}

func TestViews(t *testing.T) {
	testView(t, tensor.F64, []float64{0, -1.5, math.Inf(1)})
	testView(t, tensor.F32, []float32{0, -1.5, math.MaxFloat32})
	testView(t, tensor.I64, []int64{0, -1, math.MaxInt64})
	testView(t, tensor.I32, []int32{0, -1, math.MaxInt32})
	testView(t, tensor.I16, []int16{0, -1, math.MaxInt16})
	testView(t, tensor.I8, []int8{0, -1, math.MaxInt8})
	testView(t, tensor.U8, []uint8{0, 1, 255})
	testView(t, tensor.Bool, []bool{false, true, true})
	testView(t, tensor.U16, []uint16{0, 1, math.MaxUint16})
	testView(t, tensor.U32, []uint32{0, 1, math.MaxUint32})
	testView(t, tensor.U64, []uint64{0, 1, math.MaxUint64})
}

func testView[T tensor.Element](t *testing.T, dtype tensor.DType, values []T) {
	t.Helper()
	x := tensor.FromSlice(tensor.Shape{1, len(values)}, values)
	if x.DType() != dtype || x.Len() != len(values) || len(x.Bytes()) != len(values)*dtype.Size() {
		t.Fatalf("%v: made %v of %d elements, %d bytes", dtype, x, x.Len(), len(x.Bytes()))
	}
	if diff := cmp.Diff(values, tensor.Of[T](x)); diff != "" {
		t.Errorf("%v: %s", dtype, diff)
	}
	first := values[0]
	tensor.Of[T](x)[0] = values[1]
	if values[0] != first {
		t.Errorf("%v: FromSlice shares memory with its argument", dtype)
	}
	if tensor.Of[T](x)[0] != values[1] {
		t.Errorf("%v: Of does not share memory with the tensor", dtype)
	}
	if empty := tensor.New(dtype, tensor.Shape{0, 3}); len(tensor.Of[T](empty)) != 0 {
		t.Errorf("%v: an empty tensor has elements", dtype)
	}
}

// The bytes are little-endian whatever the view says, since files hold them so.
func TestLittleEndian(t *testing.T) {
	got := tensor.FromSlice(tensor.Shape{2}, []int32{1, -2}).Bytes()
	if diff := cmp.Diff([]byte{1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff}, got); diff != "" {
		t.Error(diff)
	}
}

func TestCallerMistakesPanic(t *testing.T) {
	x := tensor.New(tensor.F16, tensor.Shape{2})
	mustPanic(t, "view of F16 as U16", func() { tensor.Of[uint16](x) })
	mustPanic(t, "shape [2 2] needs 4 elements, got 3", func() { tensor.FromSlice(tensor.Shape{2, 2}, []float32{1, 2, 3}) })
	mustPanic(t, "negative extent", func() { tensor.New(tensor.F32, tensor.Shape{-1}) })
	mustPanic(t, "not a dtype", func() { tensor.New(0, tensor.Shape{1}) })
}

func TestCloneAndEqual(t *testing.T) {
	nan := math.Float32frombits(0x7fc0_0001)
	x := tensor.FromSlice(tensor.Shape{2, 2}, []float32{1, nan, 0, -3})
	same := x.Clone()
	if !x.Equal(same) || !same.Equal(x) {
		t.Fatal("a clone is not equal to its original")
	}
	for name, other := range map[string]*tensor.Tensor{
		"other bits of a NaN": tensor.FromSlice(tensor.Shape{2, 2}, []float32{1, math.Float32frombits(0x7fc0_0002), 0, -3}),
		"other sign of zero":  tensor.FromSlice(tensor.Shape{2, 2}, []float32{1, nan, float32(math.Copysign(0, -1)), -3}),
		"other shape":         tensor.FromSlice(tensor.Shape{4}, []float32{1, nan, 0, -3}),
		"other dtype":         mustFromBytes(t, tensor.I32, tensor.Shape{2, 2}, x.Clone().Bytes()),
	} {
		if x.Equal(other) || other.Equal(x) {
			t.Errorf("%s: equal", name)
		}
	}
	tensor.Of[float32](same)[0] = 9
	same.Shape()[0] = 4
	if tensor.Of[float32](x)[0] != 1 || x.Shape()[0] != 2 {
		t.Error("a clone shares memory with its original")
	}
	if x.String() != "F32[2 2]" {
		t.Errorf("String() = %q", x.String())
	}
}

func TestNonFinite(t *testing.T) {
	bad := []float64{math.Inf(1), math.Inf(-1), math.NaN()}
	for _, dtype := range []tensor.DType{tensor.F64, tensor.F32, tensor.F16, tensor.BF16} {
		for _, v := range bad {
			for _, at := range []int{0, 4, 6} {
				values := []float64{1, -2, 0, 60000, -0.5, 0x1p-20, 3}
				x := mustConvert(t, tensor.FromSlice(tensor.Shape{7}, values), dtype)
				if i, found := x.NonFinite(); found {
					t.Errorf("%v: element %d of %v is not finite", dtype, i, values)
				}
				values[at], values[6] = v, v
				x = mustConvert(t, tensor.FromSlice(tensor.Shape{7}, values), dtype)
				if i, found := x.NonFinite(); i != at || !found {
					t.Errorf("%v: found %d, %v; want %v at %d", dtype, i, found, v, at)
				}
			}
		}
	}
	ones := mustFromBytes(t, tensor.I32, tensor.Shape{1}, []byte{0xff, 0xff, 0xff, 0xff})
	if _, found := ones.NonFinite(); found {
		t.Error("an integer is not finite")
	}
}

func mustPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
			t.Errorf("panic %q, want one with %q", got, want)
		}
	}()
	f()
}

// matches reports whether an error has the wanted text, "" standing for no error.
func matches(err error, want string) bool {
	if want == "" {
		return err == nil
	}
	return err != nil && strings.Contains(err.Error(), want)
}

func mustFromBytes(t *testing.T, dtype tensor.DType, shape tensor.Shape, data []byte) *tensor.Tensor {
	t.Helper()
	x, err := tensor.FromBytes(dtype, shape, data)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func mustConvert(t *testing.T, x *tensor.Tensor, to tensor.DType) *tensor.Tensor {
	t.Helper()
	y, err := x.Convert(to)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

// The rest of a tensor shares its memory.
func TestFrom(t *testing.T) {
	x := tensor.FromSlice(tensor.Shape{2, 3}, []float64{0, 1, 2, 3, 4, 5})
	rest := x.From(4)
	if rest.Len() != 2 || !rest.Shape().Equal(tensor.Shape{2}) || tensor.Of[float64](rest)[1] != 5 {
		t.Errorf("the rest is %v: %v", rest, tensor.Of[float64](rest))
	}
	tensor.Of[float64](rest)[0] = 7
	if tensor.Of[float64](x)[4] != 7 {
		t.Error("the rest is a copy")
	}
	if x.From(6).Len() != 0 || x.From(0).Len() != 6 {
		t.Error("the ends are wrong")
	}
	for _, at := range []int{-1, 7} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("From(%d) does not panic", at)
				}
			}()
			x.From(at)
		}()
	}
}
