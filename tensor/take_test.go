package tensor_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/tensor"
)

// takeNaively computes every element of the result from its coordinates.
func takeNaively(x *tensor.Tensor, axis int, idx []int32) *tensor.Tensor {
	shape := x.Shape().Clone()
	shape[axis] = len(idx)
	out := tensor.New(x.DType(), shape)
	size := x.DType().Size()
	at := make([]int, len(shape))
	for to := range out.Len() {
		rest := to
		for d := len(shape) - 1; d >= 0; d-- {
			at[d], rest = rest%shape[d], rest/shape[d]
		}
		from := 0
		for d, n := range x.Shape() {
			i := at[d]
			if d == axis {
				i = int(idx[i])
			}
			from = from*n + i
		}
		copy(out.Bytes()[to*size:(to+1)*size], x.Bytes()[from*size:(from+1)*size])
	}
	return out
}

// drawTensor returns a tensor of any dtype, of random bytes, with one axis at least.
func drawTensor(t *rapid.T) *tensor.Tensor {
	dtype := rapid.SampledFrom(tensor.DTypes()).Draw(t, "dtype")
	shape := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 4).Draw(t, "shape")
	x := tensor.New(dtype, shape)
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	for i := range x.Bytes() {
		x.Bytes()[i] = byte(r.Uint32())
		if dtype == tensor.Bool {
			x.Bytes()[i] &= 1
		}
	}
	return x
}

func TestTakeEqualsNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := drawTensor(t)
		axis := rapid.IntRange(0, len(x.Shape())-1).Draw(t, "axis")
		var idx []int32
		if n := x.Shape()[axis]; n > 0 {
			idx = rapid.SliceOfN(rapid.Int32Range(0, int32(n)-1), 0, 8).Draw(t, "idx")
		}
		got, err := x.Take(axis, idx)
		if err != nil {
			t.Fatal(err)
		}
		if want := takeNaively(x, axis, idx); !got.Equal(want) {
			t.Fatalf("%v along %d by %v: %v %x, want %v %x", x, axis, idx, got, got.Bytes(), want, want.Bytes())
		}
	})
}

// A permutation and its inverse bring every tensor back.
func TestTakeInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := drawTensor(t)
		axis := rapid.IntRange(0, len(x.Shape())-1).Draw(t, "axis")
		n := x.Shape()[axis]
		perm, inverse := make([]int32, n), make([]int32, n)
		for i, p := range rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "perm"), 1)).Perm(n) {
			perm[i], inverse[p] = int32(p), int32(i)
		}
		there, err := x.Take(axis, perm)
		if err != nil {
			t.Fatal(err)
		}
		back, err := there.Take(axis, inverse)
		if err != nil {
			t.Fatal(err)
		}
		if !back.Equal(x) {
			t.Fatalf("%v along %d by %v did not come back", x, axis, perm)
		}
	})
}

func TestTakeErrors(t *testing.T) {
	x := tensor.New(tensor.F32, tensor.Shape{2, 3})
	for _, c := range []struct {
		axis int
		idx  []int32
		err  string
	}{
		{-1, nil, "axis -1 of shape [2 3]"},
		{2, nil, "axis 2 of shape [2 3]"},
		{0, []int32{0, 2}, "index 2 at position 1 is outside axis 0 of shape [2 3]"},
		{1, []int32{3}, "index 3 at position 0"},
		{1, []int32{-1}, "index -1 at position 0"},
		{1, []int32{math.MaxInt32}, "index 2147483647"},
	} {
		if y, err := x.Take(c.axis, c.idx); !matches(err, c.err) {
			t.Errorf("axis %d by %v: %v, error %v; want %q", c.axis, c.idx, y, err, c.err)
		}
	}
	if _, err := tensor.New(tensor.F32, nil).Take(0, nil); err == nil {
		t.Error("a scalar has an axis")
	}
	if _, err := tensor.New(tensor.U8, tensor.Shape{0}).Take(0, []int32{0}); err == nil {
		t.Error("an empty axis has an element")
	}
	huge := tensor.New(tensor.F64, tensor.Shape{1, 0, 1 << 60})
	if _, err := huge.Take(0, make([]int32, 8)); !matches(err, "overflows") {
		t.Errorf("a result beyond int64: error %v", err)
	}
}

func BenchmarkTake(b *testing.B) {
	const n = 1024
	x := tensor.New(tensor.F32, tensor.Shape{n, n})
	idx := make([]int32, n)
	for i, p := range rand.New(rand.NewPCG(1, 1)).Perm(n) {
		idx[i] = int32(p)
	}
	for axis := range 2 {
		b.Run(fmt.Sprintf("axis%d", axis), func(b *testing.B) {
			b.SetBytes(int64(len(x.Bytes())))
			for b.Loop() {
				if _, err := x.Take(axis, idx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
