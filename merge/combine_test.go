package merge_test

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/tensor"
)

var floats = []tensor.DType{tensor.F64, tensor.F32, tensor.F16, tensor.BF16}

// drawTensor draws values of moderate size, exact in float32.
func drawTensor(t *rapid.T, name string, n int) []float32 {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) float32 {
		return float32(rapid.IntRange(-4000, 4000).Draw(t, "thousandths")) / 1000
	}), n, n).Draw(t, name)
}

func as(t rapid.TB, d tensor.DType, shape tensor.Shape, values []float32) *tensor.Tensor {
	t.Helper()
	x, err := tensor.FromSlice(shape, values).Convert(d)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func values(t rapid.TB, x *tensor.Tensor) []float64 {
	t.Helper()
	y, err := x.Convert(tensor.F64)
	if err != nil {
		t.Fatal(err)
	}
	return tensor.Of[float64](y)
}

func mustCombine(t rapid.TB, m merge.Method, a, b *tensor.Tensor, lambda float64) *tensor.Tensor {
	t.Helper()
	out, err := merge.Combine(m, "w", a, b, lambda)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func norm(x []float64) float64 {
	var sum float64
	for _, v := range x {
		sum += v * v
	}
	return math.Sqrt(sum)
}

// half is the relative rounding error of each dtype, once for the result and a few times of float32 on the way.
func half(d tensor.DType) float64 {
	return map[tensor.DType]float64{tensor.F64: 1e-15, tensor.F32: 3e-7, tensor.F16: 1. / 2000, tensor.BF16: 1. / 250}[d]
}

// TestEndsAreExact for every method and dtype: the bits of a at 0, those of b at 1, NaN and negative zero included.
func TestEndsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom(floats).Draw(t, "dtype")
		m := rapid.SampledFrom(merge.Methods()).Draw(t, "method")
		special := []float32{float32(math.NaN()), float32(math.Copysign(0, -1)), float32(math.Inf(1)), 1}
		a := as(t, d, tensor.Shape{3, 4}, append(special, drawTensor(t, "a", 8)...))
		b := as(t, d, tensor.Shape{3, 4}, append(drawTensor(t, "b", 8), special...))
		if !mustCombine(t, m, a, b, 0).Equal(a) || !mustCombine(t, m, a, b, 1).Equal(b) {
			t.Error("an end is not the model there")
		}
	})
}

// TestLerpIsTheStraightLine compares with float64 arithmetic, element by element.
func TestLerpIsTheStraightLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom(floats).Draw(t, "dtype")
		n := rapid.IntRange(1, 40).Draw(t, "n")
		lambda := rapid.Float64Range(0, 1).Draw(t, "lambda")
		a, b := as(t, d, tensor.Shape{n}, drawTensor(t, "a", n)), as(t, d, tensor.Shape{n}, drawTensor(t, "b", n))
		out := mustCombine(t, merge.Lerp, a, b, lambda)
		if out.DType() != d || !out.Shape().Equal(a.Shape()) {
			t.Fatalf("the result is %v", out)
		}
		x, y := values(t, a), values(t, b)
		for i, got := range values(t, out) {
			want := (1-lambda)*x[i] + lambda*y[i]
			if math.Abs(got-want) > half(d)*max(math.Abs(x[i]), math.Abs(y[i]), 1) {
				t.Errorf("%v between %v and %v at %v, want %v", got, x[i], y[i], lambda, want)
			}
		}
	})
}

// TestSlerpIsTheGreatCircle: between tensors of one norm every point has it, and lies at the angle λΩ from a.
func TestSlerpIsTheGreatCircle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom(floats[:2]).Draw(t, "dtype")
		n := rapid.IntRange(2, 40).Draw(t, "n")
		lambda := rapid.Float64Range(0, 1).Draw(t, "lambda")
		x, y := drawTensor(t, "a", n), drawTensor(t, "b", n)
		x[0], y[1] = x[0]+5, y[1]+5 // neither zero nor parallel
		nx, ny := norm(values(t, as(t, d, tensor.Shape{n}, x))), norm(values(t, as(t, d, tensor.Shape{n}, y)))
		for i := range y {
			y[i] = float32(float64(y[i]) * nx / ny)
		}
		a, b := as(t, d, tensor.Shape{n}, x), as(t, d, tensor.Shape{n}, y)
		va, vb, vc := values(t, a), values(t, b), values(t, mustCombine(t, merge.Slerp, a, b, lambda))
		// Scaling rounded b to float32, which is what its norm is off by.
		const tolerance = 1e-5
		if math.Abs(norm(vc)-nx) > tolerance*nx {
			t.Errorf("norm %v at %v, want %v", norm(vc), lambda, nx)
		}
		if got, want := angle(va, vc), lambda*angle(va, vb); math.Abs(got-want) > 2e-3 {
			t.Errorf("angle %v at %v, want %v", got, lambda, want)
		}
	})
}

func angle(a, b []float64) float64 {
	var dot float64
	for i := range a {
		dot += a[i] * b[i]
	}
	return math.Acos(max(-1, min(1, dot/norm(a)/norm(b))))
}

// TestSlerpKnownPoint is half way from (1, 0) to (0, 2): weights 1/√2 each.
func TestSlerpKnownPoint(t *testing.T) {
	a, b := tensor.FromSlice(tensor.Shape{2}, []float64{1, 0}), tensor.FromSlice(tensor.Shape{2}, []float64{0, 2})
	got := tensor.Of[float64](mustCombine(t, merge.Slerp, a, b, .5))
	if math.Abs(got[0]-math.Sqrt(.5)) > 1e-15 || math.Abs(got[1]-math.Sqrt2) > 1e-15 {
		t.Errorf("%v", got)
	}
}

// TestSlerpFallsBack where there is no great circle, or too many.
func TestSlerpFallsBack(t *testing.T) {
	for name, tt := range map[string][2][]float32{
		"equal":        {{1, 2, 3}, {1, 2, 3}},
		"parallel":     {{1, 2, 3}, {2, 4, 6}},
		"antiparallel": {{1, 2, 3}, {-2, -4, -6}},
		"zero":         {{0, 0, 0}, {1, 2, 3}},
		"both zero":    {{0, 0, 0}, {0, 0, 0}},
		"one element":  {{2}, {3}},
		"no element":   {{}, {}},
		"nearly":       {{1, 1, 1}, {1, 1, 1.0000001}},
	} {
		t.Run(name, func(t *testing.T) {
			shape := tensor.Shape{len(tt[0])}
			a, b := tensor.FromSlice(shape, tt[0]), tensor.FromSlice(shape, tt[1])
			if !mustCombine(t, merge.Slerp, a, b, .3).Equal(mustCombine(t, merge.Lerp, a, b, .3)) {
				t.Error("not the straight line")
			}
		})
	}
}

// TestCarried lists the dtypes without arithmetic: equal ones are copied, others are errors that name the tensor.
func TestCarried(t *testing.T) {
	for _, d := range tensor.DTypes() {
		if d.IsFloat() {
			continue
		}
		a, b := tensor.New(d, tensor.Shape{2, 2}), tensor.New(d, tensor.Shape{2, 2})
		for _, m := range merge.Methods() {
			if !mustCombine(t, m, a, b, .5).Equal(a) {
				t.Errorf("%v: equal tensors are not copied", d)
			}
		}
		b.Bytes()[0] = 1
		for _, lambda := range []float64{0, .5, 1} {
			_, err := merge.Combine(merge.Lerp, "mask", a, b, lambda)
			if err == nil || !strings.Contains(err.Error(), `tensor "mask" (`+d.String()+`) differs`) {
				t.Errorf("%v at %v: error %v", d, lambda, err)
			}
		}
	}
}

// TestBatchCounter is A's, whatever B's is; a name that only looks like it is no counter.
func TestBatchCounter(t *testing.T) {
	a, b := tensor.FromSlice(tensor.Shape{}, []int64{100}), tensor.FromSlice(tensor.Shape{}, []int64{200})
	for name, counter := range map[string]bool{
		"num_batches_tracked":              true,
		"layer1.0.bn1.num_batches_tracked": true,
		"my_num_batches_tracked":           false,
		"num_batches_tracked.old":          false,
	} {
		got, err := merge.Combine(merge.Lerp, name, a, b, .5)
		if (err == nil) != counter || counter && !got.Equal(a) {
			t.Errorf("%q: %v, error %v", name, got, err)
		}
	}
}

func TestCombineErrors(t *testing.T) {
	a := tensor.New(tensor.F32, tensor.Shape{2, 3})
	for want, b := range map[string]*tensor.Tensor{
		`tensor "w" is F32 [2 3] and F32 [3 2]`:   tensor.New(tensor.F32, tensor.Shape{3, 2}),
		`tensor "w" is F32 [2 3] and F16 [2 3]`:   tensor.New(tensor.F16, tensor.Shape{2, 3}),
		`tensor "w" is F32 [2 3] and F32 [2 3 1]`: tensor.New(tensor.F32, tensor.Shape{2, 3, 1}),
	} {
		if _, err := merge.Combine(merge.Lerp, "w", a, b, .5); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestInputsStay: combining changes neither tensor.
func TestInputsStay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom(floats).Draw(t, "dtype")
		m := rapid.SampledFrom(merge.Methods()).Draw(t, "method")
		a, b := as(t, d, tensor.Shape{9}, drawTensor(t, "a", 9)), as(t, d, tensor.Shape{9}, drawTensor(t, "b", 9))
		ca, cb := a.Clone(), b.Clone()
		mustCombine(t, m, a, b, .25)
		if !a.Equal(ca) || !b.Equal(cb) {
			t.Error("an input changed")
		}
	})
}
