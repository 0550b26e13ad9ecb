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

// collinear is the sine below which the great circle is not defined to single precision.
const collinear = 1e-6

// Combine returns the point at λ between two tensors of the same name, shape and dtype: a at λ = 0, b at λ = 1. Errors name the tensor.
func Combine(method Method, name string, a, b *tensor.Tensor, lambda float64) (*tensor.Tensor, error) {
	if a.DType() != b.DType() || !equalShape(a, b) {
		return nil, fmt.Errorf("merge: tensor %q is %v %v and %v %v", name, a.DType(), a.Shape(), b.DType(), b.Shape())
	}
	switch {
	case !a.DType().IsFloat():
		return carry(name, a, b)
	case a.DType() == tensor.F64:
		out := tensor.New(tensor.F64, a.Shape())
		combine(method, tensor.Of[float64](out), tensor.Of[float64](a), tensor.Of[float64](b), lambda)
		return out, nil
	}
	x, err := a.Convert(tensor.F32)
	if err != nil {
		// A dtype whose arithmetic is not known here is carried like an integer one.
		return carry(name, a, b)
	}
	y, err := b.Convert(tensor.F32)
	if err != nil {
		return nil, fmt.Errorf("merge: tensor %q: %w", name, err)
	}
	out := tensor.New(tensor.F32, a.Shape())
	combine(method, tensor.Of[float32](out), tensor.Of[float32](x), tensor.Of[float32](y), lambda)
	return out.Convert(a.DType())
}

// carry returns the tensor both models agree on.
func carry(name string, a, b *tensor.Tensor) (*tensor.Tensor, error) {
	if !a.Equal(b) && !strings.HasSuffix(name, "num_batches_tracked") {
		return nil, fmt.Errorf("merge: tensor %q (%v) differs between the models and cannot be averaged", name, a.DType())
	}
	return a, nil
}

func combine[T kernel.Float](method Method, dst, a, b []T, lambda float64) {
	if method == Slerp {
		if wa, wb, ok := slerpWeights(kernel.Dot(a, a), kernel.Dot(b, b), kernel.Dot(a, b), lambda); ok {
			for i := range dst {
				dst[i] = T(wa*float64(a[i]) + wb*float64(b[i]))
			}
			return
		}
	}
	kernel.Lerp(dst, a, b, T(lambda))
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

func equalShape(a, b *tensor.Tensor) bool {
	if len(a.Shape()) != len(b.Shape()) {
		return false
	}
	for i, n := range a.Shape() {
		if b.Shape()[i] != n {
			return false
		}
	}
	return true
}
