//go:build amd64 && !purego

package kernel

// normsAVX2 are the kernels of normalisation in assembly: whole blocks there, what is left over in Go, to the same bytes.
func normsAVX2() norms[float32] {
	return norms[float32]{
		moments: momentsBlocks, gradMoments: gradMomentsBlocks,
		affine: affineBlocks, affineRelu: affineReluBlocks, affineAdd: affineAddBlocks, affineAddRelu: affineAddReluBlocks,
		affineMask: affineMaskBlocks, affineGrad: affineGradBlocks,
		sumRelu: withTail(sumReluAVX2, sumRelu[float32]), addDifference: withTail(addDifferenceAVX2, addDifference[float32]),
		addSquare: addSquareBlocks, inverseRoot: inverseRootBlocks, rowAffine: rowAffineBlocks,
		addProduct: addProductBlocks, rowGrad: rowGradBlocks,
	}
}

func momentsBlocks(x []float32, n, stride, planes int, shift float32) (sum, squares float64) {
	var acc momentSums
	whole := blocks(n)
	for p := range planes {
		v := x[p*stride:][:n]
		momentsAVX2((*[2 * lanes]float64)(&acc), shift, v[:whole])
		addMoments(&acc, v[whole:], shift)
	}
	return acc.total()
}

func gradMomentsBlocks(x, dy []float32, n, stride, planes int, shift float32) (sum, products float64) {
	var acc momentSums
	whole := blocks(n)
	for p := range planes {
		v, g := x[p*stride:][:n], dy[p*stride:][:n]
		gradMomentsAVX2((*[2 * lanes]float64)(&acc), shift, v[:whole], g[:whole])
		addGradMoments(&acc, v[whole:], g[whole:], shift)
	}
	return acc.total()
}

func affineBlocks(dst, x []float32, a Affine[float32]) {
	n := blocks(len(x))
	affineAVX2(a.Shift, a.Scale, a.Bias, dst[:n], x[:n])
	affine(dst[n:], x[n:], a)
}

func affineReluBlocks(dst, x []float32, a Affine[float32]) {
	n := blocks(len(x))
	affineReluAVX2(a.Shift, a.Scale, a.Bias, dst[:n], x[:n])
	affineRelu(dst[n:], x[n:], a)
}

func affineAddBlocks(dst, x, y []float32, a Affine[float32]) {
	n := blocks(len(x))
	affineAddAVX2(a.Shift, a.Scale, a.Bias, dst[:n], x[:n], y[:n])
	affineAdd(dst[n:], x[n:], y[n:], a)
}

func affineAddReluBlocks(dst, x, y []float32, a Affine[float32]) {
	n := blocks(len(x))
	affineAddReluAVX2(a.Shift, a.Scale, a.Bias, dst[:n], x[:n], y[:n])
	affineAddRelu(dst[n:], x[n:], y[n:], a)
}

func affineMaskBlocks(dst, dy, x []float32, a Affine[float32]) {
	n := blocks(len(x))
	affineMaskAVX2(a.Shift, a.Scale, a.Bias, dst[:n], dy[:n], x[:n])
	affineMask(dst[n:], dy[n:], x[n:], a)
}

func affineGradBlocks(dst, dy, x []float32, shift, a, b, c float32) {
	n := blocks(len(x))
	affineGradAVX2(shift, a, b, c, dst[:n], dy[:n], x[:n])
	affineGrad(dst[n:], dy[n:], x[n:], shift, a, b, c)
}

func addSquareBlocks(sum, x, first, mean []float32) {
	n := blocks(len(x))
	addSquareAVX2(sum[:n], x[:n], first[:n], mean[:n])
	addSquare(sum[n:], x[n:], first[n:], mean[n:])
}

func inverseRootBlocks(x []float32, scale, epsilon float32) {
	n := blocks(len(x))
	inverseRootAVX2(scale, epsilon, 1, x[:n])
	inverseRoot(x[n:], scale, epsilon)
}

// from is the rows without their first n elements.
func (r NormRows[T]) from(n int) NormRows[T] {
	return NormRows[T]{First: r.First[n:], Mean: r.Mean[n:], Inverse: r.Inverse[n:]}
}

func rowAffineBlocks(dst, x []float32, r NormRows[float32], scale, bias float32) {
	n := blocks(len(x))
	rowAffineAVX2(scale, bias, dst[:n], x[:n], r.First[:n], r.Mean[:n], r.Inverse[:n])
	rowAffine(dst[n:], x[n:], r.from(n), scale, bias)
}

func addProductBlocks(sum, a, b []float32, scale float32) {
	n := blocks(len(a))
	addProductAVX2(scale, sum[:n], a[:n], b[:n])
	addProduct(sum[n:], a[n:], b[n:], scale)
}

func rowGradBlocks(dst, dy, x []float32, r NormRows[float32], u, v []float32, scale float32) {
	n := blocks(len(x))
	rowGradAVX2(scale, dst[:n], dy[:n], x[:n], r.First[:n], r.Mean[:n], r.Inverse[:n], u[:n], v[:n])
	rowGrad(dst[n:], dy[n:], x[n:], r.from(n), u[n:], v[n:], scale)
}
