package merge

import (
	"fmt"
	"math"
	"strings"

	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/tensor"
)

// Method says how two points in weight space are combined.
type Method string

// The methods.
const (
	// Lerp is the straight line (1-λ)A + λB.
	Lerp Method = "lerp"
	// Slerp is the great circle (Shoemake 1985, doi:10.1145/325165.325242), tensor by tensor: with Ω the angle between the tensors as vectors,
	// (sin((1-λ)Ω) A + sin(λΩ) B) / sin Ω. Tensors that are nearly parallel or antiparallel, or zero, take the straight line.
	Slerp Method = "slerp"
)

// Methods lists them.
func Methods() []Method { return []Method{Lerp, Slerp} }

// collinear is the sine of the angle below which the great circle is not defined to single precision.
const collinear = 1e-6

// Combine returns the point at λ between two tensors of the same name, shape and dtype: a at λ = 0, b at λ = 1, to the bit, and then it may be
// that very tensor. Errors name the tensor.
func Combine(method Method, name string, a, b *tensor.Tensor, lambda float64) (*tensor.Tensor, error) {
	if a.DType() != b.DType() || !a.Shape().Equal(b.Shape()) {
		return nil, fmt.Errorf("merge: tensor %q is %v %v and %v %v", name, a.DType(), a.Shape(), b.DType(), b.Shape())
	}
	switch {
	case !a.DType().IsFloat():
		return carry(name, a, b)
	case lambda == 0:
		return a, nil
	case lambda == 1:
		return b, nil
	}
	if method == Lerp {
		out := tensor.New(a.DType(), a.Shape())
		straight(out, a, b, lambda)
		return out, nil
	}
	out := tensor.New(working(a.DType()), a.Shape())
	x, err := inDType(a, out.DType())
	if err != nil {
		return nil, fmt.Errorf("merge: tensor %q: %w", name, err)
	}
	y, err := inDType(b, out.DType())
	if err != nil {
		return nil, fmt.Errorf("merge: tensor %q: %w", name, err)
	}
	if out.DType() == tensor.F64 {
		slerp(tensor.Of[float64](out), tensor.Of[float64](x), tensor.Of[float64](y), lambda)
	} else {
		slerp(tensor.Of[float32](out), tensor.Of[float32](x), tensor.Of[float32](y), lambda)
	}
	if out, err = inDType(out, a.DType()); err != nil {
		return nil, fmt.Errorf("merge: tensor %q: %w", name, err)
	}
	return out, nil
}

// working is the dtype that floating-point tensors of another are combined in.
func working(d tensor.DType) tensor.DType {
	if d == tensor.F64 {
		return tensor.F64
	}
	return tensor.F32
}

// inDType returns the tensor in a dtype: itself where it has it.
func inDType(t *tensor.Tensor, to tensor.DType) (*tensor.Tensor, error) {
	if t.DType() == to {
		return t, nil
	}
	return t.Convert(to)
}

// batchCounter is the name of BatchNorm's count of the batches it has seen, which decides nothing in a trained network.
const batchCounter = "num_batches_tracked"

// carry returns the tensor both models agree on.
func carry(name string, a, b *tensor.Tensor) (*tensor.Tensor, error) {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if last != batchCounter && !a.Equal(b) {
		return nil, fmt.Errorf("merge: tensor %q (%v) differs between the models and cannot be averaged", name, a.DType())
	}
	return a, nil
}

func slerp[T kernel.Float](dst, a, b []T, lambda float64) {
	if wa, wb, ok := slerpWeights(kernel.Dot(a, a), kernel.Dot(b, b), kernel.Dot(a, b), lambda); ok {
		for i := range dst {
			dst[i] = T(wa*float64(a[i]) + wb*float64(b[i]))
		}
		return
	}
	kernel.Lerp(dst, a, b, T(lambda))
}

// straight stores (1-λ)a + λb in dst, which may be a. The three are of one dtype of floats and one length.
func straight(dst, a, b *tensor.Tensor, lambda float64) {
	switch dst.DType() {
	case tensor.F64:
		kernel.Lerp(tensor.Of[float64](dst), tensor.Of[float64](a), tensor.Of[float64](b), lambda)
	case tensor.F32:
		kernel.Lerp(tensor.Of[float32](dst), tensor.Of[float32](a), tensor.Of[float32](b), float32(lambda))
	case tensor.F16:
		straightHalves(tensor.Halves(dst), tensor.Halves(a), tensor.Halves(b), float32(lambda), kernel.F16ToF32, kernel.F32ToF16)
	default:
		straightHalves(tensor.Halves(dst), tensor.Halves(a), tensor.Halves(b), float32(lambda), kernel.BF16ToF32, kernel.F32ToBF16)
	}
}

// halvesAtOnce is the number of elements of half precision that are in float32 at a time, in the first-level cache.
const halvesAtOnce = 1024

func straightHalves(dst, a, b []uint16, lambda float32, widen func([]float32, []uint16), narrow func([]uint16, []float32)) {
	var x, y [halvesAtOnce]float32
	for len(dst) > 0 {
		n := min(halvesAtOnce, len(dst))
		widen(x[:n], a[:n])
		widen(y[:n], b[:n])
		kernel.Lerp(x[:n], x[:n], y[:n], lambda)
		narrow(dst[:n], x[:n])
		dst, a, b = dst[n:], a[n:], b[n:]
	}
}

// slerpWeights are the factors of a and b on the great circle; not ok where it is not defined.
func slerpWeights(aa, bb, ab, lambda float64) (wa, wb float64, ok bool) {
	norm := math.Sqrt(aa) * math.Sqrt(bb)
	if norm == 0 || math.IsInf(norm, 0) {
		return 0, 0, false
	}
	omega := math.Acos(max(-1, min(1, ab/norm)))
	sin := math.Sin(omega)
	if sin < collinear {
		return 0, 0, false
	}
	return math.Sin((1-lambda)*omega) / sin, math.Sin(lambda*omega) / sin, true
}
