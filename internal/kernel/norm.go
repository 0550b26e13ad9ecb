package kernel

// norms are the kernels of normalisation of one instruction set. All of them give the same bytes. Their slices have equal length.
type norms[T Float] struct {
	moments       func(x []T, n, stride, planes int, shift T) (sum, squares float64)
	gradMoments   func(x, dy []T, n, stride, planes int, shift T) (sum, products float64)
	affine        func(dst, x []T, a Affine[T])
	affineRelu    func(dst, x []T, a Affine[T])
	affineAdd     func(dst, x, y []T, a Affine[T])
	affineAddRelu func(dst, x, y []T, a Affine[T])
	affineMask    func(dst, dy, x []T, a Affine[T])
	affineGrad    func(dst, dy, x []T, shift, a, b, c T)
	sumRelu       func(dst, a, b []T)
	addDifference func(sum, x, first []T)
	addSquare     func(sum, x, first, mean []T)
	inverseRoot   func(x []T, scale, epsilon T)
	rowAffine     func(dst, x []T, r NormRows[T], scale, bias T)
	addProduct    func(sum, a, b []T, scale T)
	rowGrad       func(dst, dy, x []T, r NormRows[T], u, v []T, scale T)
}

// Affine is the map (x - Shift)*Scale + Bias. The difference comes first, so that a large mean costs no precision.
type Affine[T Float] struct{ Shift, Scale, Bias T }

// Moments returns the sum of x - shift and of its squares over planes of n elements that start stride apart in x. Differences are taken in
// T, and summed in float64 in a fixed number of partial sums, each plane beginning with the first.
func Moments[T Float](x []T, n, stride, planes int, shift T) (sum, squares float64) {
	holdsPlanes("Moments", len(x), n, stride, planes)
	return current[T]().moments(x, n, stride, planes, shift)
}

// GradMoments returns the sum of dy and of dy*(x - shift) over planes as in [Moments], which lie in both alike.
func GradMoments[T Float](x, dy []T, n, stride, planes int, shift T) (sum, products float64) {
	sameLength("GradMoments", len(x), len(dy))
	holdsPlanes("GradMoments", len(x), n, stride, planes)
	return current[T]().gradMoments(x, dy, n, stride, planes, shift)
}

// holdsPlanes panics unless the planes lie within length elements.
func holdsPlanes(name string, length, n, stride, planes int) {
	if planes > 0 && (planes-1)*stride+n > length {
		panic("kernel: " + name + ": the planes do not lie in the slice")
	}
}

// Apply stores the map of x in dst, which may be x.
func (a Affine[T]) Apply(dst, x []T) {
	sameLength("Affine.Apply", len(dst), len(x))
	current[T]().affine(dst, x, a)
}

// Relu stores Relu of the map of x in dst, which may be x.
func (a Affine[T]) Relu(dst, x []T) {
	sameLength("Affine.Relu", len(dst), len(x))
	current[T]().affineRelu(dst, x, a)
}

// Add stores the map of x, plus y, in dst, which may be either.
func (a Affine[T]) Add(dst, x, y []T) {
	sameLength("Affine.Add", len(dst), len(x), len(y))
	current[T]().affineAdd(dst, x, y, a)
}

// AddRelu stores Relu of the map of x, plus y, in dst, which may be either.
func (a Affine[T]) AddRelu(dst, x, y []T) {
	sameLength("Affine.AddRelu", len(dst), len(x), len(y))
	current[T]().affineAddRelu(dst, x, y, a)
}

// Mask stores in dst, which may be dy, the gradient of the map of x given that of its Relu, dy: dy where the map is positive, else 0. It
// computes the map as Relu does, to the same bit.
func (a Affine[T]) Mask(dst, dy, x []T) {
	sameLength("Affine.Mask", len(dst), len(dy), len(x))
	current[T]().affineMask(dst, dy, x, a)
}

// AffineGrad stores a*dy + b*(x - shift) + c in dst, which may be either: the gradient of a normalisation.
func AffineGrad[T Float](dst, dy, x []T, shift, a, b, c T) {
	sameLength("AffineGrad", len(dst), len(dy), len(x))
	current[T]().affineGrad(dst, dy, x, shift, a, b, c)
}

// SumRelu stores max(a + b, 0) in dst, which may be either. A NaN stays one.
func SumRelu[T Float](dst, a, b []T) {
	sameLength("SumRelu", len(dst), len(a), len(b))
	current[T]().sumRelu(dst, a, b)
}

// NormRows normalises each element of a row by itself: x becomes (x - First - Mean)*Inverse. First is close to x, so that the difference is
// exact or nearly so, and Mean is what is left of the mean.
type NormRows[T Float] struct{ First, Mean, Inverse []T }

// AddDifference adds x - first to sum.
func AddDifference[T Float](sum, x, first []T) {
	sameLength("AddDifference", len(sum), len(x), len(first))
	current[T]().addDifference(sum, x, first)
}

// AddSquare adds (x - first - mean)² to sum.
func AddSquare[T Float](sum, x, first, mean []T) {
	sameLength("AddSquare", len(sum), len(x), len(first), len(mean))
	current[T]().addSquare(sum, x, first, mean)
}

// InverseRoot makes each x 1/sqrt(x*scale + epsilon).
func InverseRoot[T Float](x []T, scale, epsilon T) { current[T]().inverseRoot(x, scale, epsilon) }

// Apply stores the normalised x times scale, plus bias, in dst, which may be x.
func (r NormRows[T]) Apply(dst, x []T, scale, bias T) {
	r.check("NormRows.Apply", len(dst), len(x))
	current[T]().rowAffine(dst, x, r, scale, bias)
}

// Grad stores scale*dy*Inverse - u - (x - First - Mean)*v in dst, which may be dy or x.
func (r NormRows[T]) Grad(dst, dy, x, u, v []T, scale T) {
	r.check("NormRows.Grad", len(dst), len(dy), len(x), len(u), len(v))
	current[T]().rowGrad(dst, dy, x, r, u, v, scale)
}

func (r NormRows[T]) check(name string, want int, others ...int) {
	sameLength(name, want, others...)
	sameLength(name, want, len(r.First), len(r.Mean), len(r.Inverse))
}

// AddProduct adds scale*a*b to sum.
func AddProduct[T Float](sum, a, b []T, scale T) {
	sameLength("AddProduct", len(sum), len(a), len(b))
	current[T]().addProduct(sum, a, b, scale)
}
