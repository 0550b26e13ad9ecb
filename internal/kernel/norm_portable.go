package kernel

import "math"

// portableNorms are the kernels of normalisation in Go. Conversions keep products from being fused with the additions that follow.
func portableNorms[T Float]() norms[T] {
	return norms[T]{
		moments: moments[T], gradMoments: gradMoments[T],
		affine: affine[T], affineRelu: affineRelu[T], affineAdd: affineAdd[T], affineAddRelu: affineAddRelu[T],
		affineMask: affineMask[T], affineGrad: affineGrad[T], sumRelu: sumRelu[T],
		addDifference: addDifference[T], addSquare: addSquare[T], inverseRoot: inverseRoot[T], rowAffine: rowAffine[T],
		addProduct: addProduct[T], rowGrad: rowGrad[T],
	}
}

// momentSums are the partial sums of two sums, side by side.
type momentSums [2 * lanes]float64

func (s *momentSums) total() (first, second float64) {
	return sumLanes((*[lanes]float64)(s[:lanes])), sumLanes((*[lanes]float64)(s[lanes:]))
}

func moments[T Float](x []T, n, stride, planes int, shift T) (sum, squares float64) {
	var acc momentSums
	for p := range planes {
		addMoments(&acc, x[p*stride:][:n], shift)
	}
	return acc.total()
}

func addMoments[T Float](acc *momentSums, x []T, shift T) {
	for i, v := range x {
		d := float64(v - shift)
		acc[i%lanes] += d
		acc[lanes+i%lanes] += float64(d * d)
	}
}

func gradMoments[T Float](x, dy []T, n, stride, planes int, shift T) (sum, products float64) {
	var acc momentSums
	for p := range planes {
		addGradMoments(&acc, x[p*stride:][:n], dy[p*stride:][:n], shift)
	}
	return acc.total()
}

func addGradMoments[T Float](acc *momentSums, x, dy []T, shift T) {
	dy = dy[:len(x)]
	for i, v := range x {
		g := float64(dy[i])
		acc[i%lanes] += g
		acc[lanes+i%lanes] += float64(g * float64(v-shift))
	}
}

func (a Affine[T]) at(x T) T { return T((x-a.Shift)*a.Scale) + a.Bias }

// positive is max(v, 0), of NaN NaN.
func positive[T Float](v T) T {
	if v < 0 {
		return 0
	}
	return v
}

func affine[T Float](dst, x []T, a Affine[T]) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = a.at(v)
	}
}

func affineRelu[T Float](dst, x []T, a Affine[T]) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = positive(a.at(v))
	}
}

func affineAdd[T Float](dst, x, y []T, a Affine[T]) {
	dst, y = dst[:len(x)], y[:len(x)]
	for i, v := range x {
		dst[i] = a.at(v) + y[i]
	}
}

func affineAddRelu[T Float](dst, x, y []T, a Affine[T]) {
	dst, y = dst[:len(x)], y[:len(x)]
	for i, v := range x {
		dst[i] = positive(a.at(v) + y[i])
	}
}

func affineMask[T Float](dst, dy, x []T, a Affine[T]) {
	dst, dy = dst[:len(x)], dy[:len(x)]
	for i, v := range x {
		var g T
		if a.at(v) > 0 {
			g = dy[i]
		}
		dst[i] = g
	}
}

func affineGrad[T Float](dst, dy, x []T, shift, a, b, c T) {
	dst, dy = dst[:len(x)], dy[:len(x)]
	for i, v := range x {
		dst[i] = T(a*dy[i]) + T(b*(v-shift)) + c
	}
}

func sumRelu[T Float](dst, a, b []T) {
	dst, b = dst[:len(a)], b[:len(a)]
	for i, v := range a {
		dst[i] = positive(v + b[i])
	}
}

func addDifference[T Float](sum, x, first []T) {
	sum, first = sum[:len(x)], first[:len(x)]
	for i, v := range x {
		sum[i] += v - first[i]
	}
}

func addSquare[T Float](sum, x, first, mean []T) {
	sum, first, mean = sum[:len(x)], first[:len(x)], mean[:len(x)]
	for i, v := range x {
		d := v - first[i] - mean[i]
		sum[i] += T(d * d)
	}
}

func inverseRoot[T Float](x []T, scale, epsilon T) {
	for i, v := range x {
		x[i] = 1 / T(math.Sqrt(float64(T(v*scale)+epsilon)))
	}
}

func rowAffine[T Float](dst, x []T, r NormRows[T], scale, bias T) {
	dst, first, mean, inverse := dst[:len(x)], r.First[:len(x)], r.Mean[:len(x)], r.Inverse[:len(x)]
	for i, v := range x {
		dst[i] = T((v-first[i]-mean[i])*inverse[i]*scale) + bias
	}
}

func addProduct[T Float](sum, a, b []T, scale T) {
	sum, b = sum[:len(a)], b[:len(a)]
	for i, v := range a {
		sum[i] += T(v * scale * b[i])
	}
}

func rowGrad[T Float](dst, dy, x []T, r NormRows[T], u, v []T, scale T) {
	dst, dy, u, v = dst[:len(x)], dy[:len(x)], u[:len(x)], v[:len(x)]
	first, mean, inverse := r.First[:len(x)], r.Mean[:len(x)], r.Inverse[:len(x)]
	for i, w := range x {
		dst[i] = T(dy[i]*scale*inverse[i]) - u[i] - T((w-first[i]-mean[i])*v[i])
	}
}
