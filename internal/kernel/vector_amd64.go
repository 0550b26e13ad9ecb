//go:build amd64 && !purego

package kernel

// vectorsAVX2 are the vector kernels in assembly: whole blocks there, what is left over in Go, to the same bytes. They are bound by
// memory or by division, where wider registers gain nothing, and so serve AVX-512 too.
func vectorsAVX2() vectors[float32] {
	return vectors[float32]{
		axpy:  axpyBlocks,
		scale: scaleBlocks,
		add:   withTail(addAVX2, add[float32]),
		sub:   withTail(subAVX2, sub[float32]),
		mul:   withTail(mulAVX2, mul[float32]),
		div:   withTail(divAVX2, div[float32]),
		lerp:  lerpBlocks,
		relu:  withTail2(reluAVX2, relu[float32]), addRelu: withTail2(addReluAVX2, addRelu[float32]),
		reluGrad: withTail(reluGradAVX2, reluGrad[float32]),
		maxPairs: maxPairsBlocks, maxPairsGrad: maxPairsGradBlocks,
		dot: dotBlocks, sum: sumBlocks,
		adam: adamBlocks, sgd: sgdBlocks, sgdMomentum: sgdMomentumBlocks, sgdNesterov: sgdNesterovBlocks,
	}
}

// blocks is the part of n elements that the assembly does: a multiple of lanes.
func blocks(n int) int { return n &^ (lanes - 1) }

func withTail(head, tail func(x, y, z []float32)) func(x, y, z []float32) {
	return func(x, y, z []float32) {
		n := blocks(len(x))
		head(x[:n], y[:n], z[:n])
		if n < len(x) {
			tail(x[n:], y[n:], z[n:])
		}
	}
}

func withTail2(head, tail func(x, y []float32)) func(x, y []float32) {
	return func(x, y []float32) {
		n := blocks(len(x))
		head(x[:n], y[:n])
		if n < len(x) {
			tail(x[n:], y[n:])
		}
	}
}

func maxPairsBlocks(y, top, bottom []float32) {
	n := len(y) &^ 3
	if n > 0 {
		maxPairsAVX2(y[:n], top[:2*n], bottom[:2*n])
	}
	maxPairs(y[n:], top[2*n:], bottom[2*n:])
}

func maxPairsGradBlocks(dTop, dBottom, dy, top, bottom []float32) {
	n := len(dy) &^ 3
	if n > 0 {
		maxPairsGradAVX2(dTop[:2*n], dBottom[:2*n], dy[:n], top[:2*n], bottom[:2*n])
	}
	maxPairsGrad(dTop[2*n:], dBottom[2*n:], dy[n:], top[2*n:], bottom[2*n:])
}

func axpyBlocks(alpha float32, x, y []float32) {
	n := blocks(len(x))
	axpyAVX2(alpha, x[:n], y[:n])
	axpy(alpha, x[n:], y[n:])
}

func scaleBlocks(alpha float32, x []float32) {
	n := blocks(len(x))
	scaleAVX2(alpha, x[:n])
	scale(alpha, x[n:])
}

func lerpBlocks(s, t float32, dst, a, b []float32) {
	n := blocks(len(dst))
	lerpAVX2(s, t, dst[:n], a[:n], b[:n])
	lerp(s, t, dst[n:], a[n:], b[n:])
}

func dotBlocks(x, y []float32) float64 {
	var acc [lanes]float64
	n := blocks(len(x))
	dotBlocksAVX2(&acc, x[:n], y[:n])
	dotLanes(&acc, x[n:], y[n:])
	return sumLanes(&acc)
}

func sumBlocks(x []float32) float64 {
	var acc [lanes]float64
	n := blocks(len(x))
	sumBlocksAVX2(&acc, x[:n])
	addLanes(&acc, x[n:])
	return sumLanes(&acc)
}

func adamBlocks(w, g, m, v []float32, s adamScalars[float32]) {
	n := blocks(len(w))
	adamAVX2(s.decay, s.add1, s.keep2, s.add2, s.root2, s.epsilon, s.rate, w[:n], g[:n], m[:n], v[:n])
	adam(w[n:], g[n:], m[n:], v[n:], s)
}

func sgdBlocks(w, g []float32, s sgdScalars[float32]) {
	n := blocks(len(w))
	sgdAVX2(s.decay, s.rate, w[:n], g[:n])
	sgd(w[n:], g[n:], s)
}

func sgdMomentumBlocks(w, g, m []float32, s sgdScalars[float32]) {
	n := blocks(len(w))
	sgdMomentumAVX2(s.decay, s.momentum, s.rate, w[:n], g[:n], m[:n])
	sgdMomentum(w[n:], g[n:], m[n:], s)
}

func sgdNesterovBlocks(w, g, m []float32, s sgdScalars[float32]) {
	n := blocks(len(w))
	sgdNesterovAVX2(s.decay, s.momentum, s.rate, w[:n], g[:n], m[:n])
	sgdNesterov(w[n:], g[n:], m[n:], s)
}
