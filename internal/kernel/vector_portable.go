package kernel

import "math"

// portableVectors are the vector kernels in Go. The conversions of products keep the compiler from fusing them with the additions that
// follow, as it may on some processors.
func portableVectors[T Float]() vectors[T] {
	return vectors[T]{
		axpy: axpy[T], scale: scale[T], add: add[T], sub: sub[T], mul: mul[T], div: div[T], lerp: lerp[T],
		relu: relu[T], addRelu: addRelu[T], reluGrad: reluGrad[T],
		maxPairs: maxPairs[T], maxPairsGrad: maxPairsGrad[T], dot: dot[T], sum: sum[T],
		adam: adam[T], sgd: sgd[T], sgdMomentum: sgdMomentum[T], sgdNesterov: sgdNesterov[T],
	}
}

func axpy[T Float](alpha T, x, y []T) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] += T(alpha * v)
	}
}

func scale[T Float](alpha T, x []T) {
	for i := range x {
		x[i] *= alpha
	}
}

func add[T Float](dst, a, b []T) {
	dst, b = dst[:len(a)], b[:len(a)]
	for i, v := range a {
		dst[i] = v + b[i]
	}
}

func sub[T Float](dst, a, b []T) {
	dst, b = dst[:len(a)], b[:len(a)]
	for i, v := range a {
		dst[i] = v - b[i]
	}
}

func mul[T Float](dst, a, b []T) {
	dst, b = dst[:len(a)], b[:len(a)]
	for i, v := range a {
		dst[i] = v * b[i]
	}
}

func div[T Float](dst, a, b []T) {
	dst, b = dst[:len(a)], b[:len(a)]
	for i, v := range a {
		dst[i] = v / b[i]
	}
}

func lerp[T Float](s, t T, dst, a, b []T) {
	dst, b = dst[:len(a)], b[:len(a)]
	for i, v := range a {
		dst[i] = T(s*v) + T(t*b[i])
	}
}

func relu[T Float](dst, x []T) {
	dst = dst[:len(x)]
	for i, v := range x {
		if v < 0 {
			v = 0
		}
		dst[i] = v
	}
}

func addRelu[T Float](dst, row []T) {
	dst = dst[:len(row)]
	for i, v := range row {
		v += dst[i]
		if v < 0 {
			v = 0
		}
		dst[i] = v
	}
}

func reluGrad[T Float](dx, dy, y []T) {
	dx, dy = dx[:len(y)], dy[:len(y)]
	for i, v := range y {
		var g T
		if v > 0 {
			g = dy[i]
		}
		dx[i] = g
	}
}

// lanes is the number of partial sums of Dot and Sum: element i goes to partial sum i mod lanes, whatever the instruction set.
const lanes = 16

func dot[T Float](x, y []T) float64 {
	var acc [lanes]float64
	dotLanes(&acc, x, y)
	return sumLanes(&acc)
}

func dotLanes[T Float](acc *[lanes]float64, x, y []T) {
	y = y[:len(x)]
	for i, v := range x {
		acc[i%lanes] += float64(float64(v) * float64(y[i]))
	}
}

func sum[T Float](x []T) float64 {
	var acc [lanes]float64
	addLanes(&acc, x)
	return sumLanes(&acc)
}

func addLanes[T Float](acc *[lanes]float64, x []T) {
	for i, v := range x {
		acc[i%lanes] += float64(v)
	}
}

// sumLanes adds partial sums pairwise: i and i+8, then i and i+4, and so on.
func sumLanes(acc *[lanes]float64) float64 {
	for half := lanes / 2; half > 0; half /= 2 {
		for i := range half {
			acc[i] += acc[i+half]
		}
	}
	return acc[0]
}

func adam[T Float](w, g, m, v []T, s adamScalars[T]) {
	g, m, v = g[:len(w)], m[:len(w)], v[:len(w)]
	for i, wi := range w {
		gi := g[i] + T(s.decay*wi)
		mi := m[i] + T(s.add1*(gi-m[i]))
		vi := T(s.keep2*v[i]) + T(T(s.add2*gi)*gi)
		m[i], v[i] = mi, vi
		w[i] = wi - T(s.rate*mi)/(T(math.Sqrt(float64(vi)))/s.root2+s.epsilon)
	}
}

func sgd[T Float](w, g []T, s sgdScalars[T]) {
	g = g[:len(w)]
	for i, wi := range w {
		w[i] = wi - T(s.rate*(g[i]+T(s.decay*wi)))
	}
}

func sgdMomentum[T Float](w, g, m []T, s sgdScalars[T]) {
	g, m = g[:len(w)], m[:len(w)]
	for i, wi := range w {
		mi := T(s.momentum*m[i]) + (g[i] + T(s.decay*wi))
		m[i] = mi
		w[i] = wi - T(s.rate*mi)
	}
}

func sgdNesterov[T Float](w, g, m []T, s sgdScalars[T]) {
	g, m = g[:len(w)], m[:len(w)]
	for i, wi := range w {
		gi := g[i] + T(s.decay*wi)
		mi := T(s.momentum*m[i]) + gi
		m[i] = mi
		w[i] = wi - T(s.rate*(gi+T(s.momentum*mi)))
	}
}
