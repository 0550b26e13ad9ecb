package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// normCases are in the form of vectorCases: each operation rounds once.
func normCases[T Float]() []vectorCase[T] {
	add := func(x, y T) T { return T(float64(x) + float64(y)) }
	sub := func(x, y T) T { return T(float64(x) - float64(y)) }
	mul := func(x, y T) T { return T(float64(x) * float64(y)) }
	relu := func(x T) T {
		if x < 0 {
			return 0
		}
		return x
	}
	const scale = .7
	a := Affine[T]{Shift: .3, Scale: -1.3, Bias: .2}
	at := func(x T) T { return add(mul(sub(x, a.Shift), a.Scale), a.Bias) }
	rows := func(s [][]T) NormRows[T] { return NormRows[T]{First: s[0], Mean: s[1], Inverse: s[2]} }
	centred := func(x, first, mean T) T { return sub(sub(x, first), mean) }
	return []vectorCase[T]{
		{"affine", 2, func(e *implementation[T], s [][]T) { e.affine(s[0], s[1], a) }, func(x []T) { x[0] = at(x[1]) }},
		{"affineRelu", 2, func(e *implementation[T], s [][]T) { e.affineRelu(s[0], s[1], a) }, func(x []T) { x[0] = relu(at(x[1])) }},
		{"affineAdd", 3, func(e *implementation[T], s [][]T) { e.affineAdd(s[0], s[1], s[2], a) }, func(x []T) {
			x[0] = add(at(x[1]), x[2])
		}},
		{"affineAddRelu", 3, func(e *implementation[T], s [][]T) { e.affineAddRelu(s[0], s[1], s[2], a) }, func(x []T) {
			x[0] = relu(add(at(x[1]), x[2]))
		}},
		{"affineMask", 3, func(e *implementation[T], s [][]T) { e.affineMask(s[0], s[1], s[2], a) }, func(x []T) {
			x[0] = 0
			if at(x[2]) > 0 {
				x[0] = x[1]
			}
		}},
		{"affineGrad", 3, func(e *implementation[T], s [][]T) { e.affineGrad(s[0], s[1], s[2], .3, 2, scale, -1) }, func(x []T) {
			x[0] = add(add(mul(2, x[1]), mul(scale, sub(x[2], .3))), -1)
		}},
		{"sumRelu", 3, func(e *implementation[T], s [][]T) { e.sumRelu(s[0], s[1], s[2]) }, func(x []T) { x[0] = relu(add(x[1], x[2])) }},
		{"addDifference", 3, func(e *implementation[T], s [][]T) { e.addDifference(s[0], s[1], s[2]) }, func(x []T) {
			x[0] = add(x[0], sub(x[1], x[2]))
		}},
		{"addSquare", 4, func(e *implementation[T], s [][]T) { e.addSquare(s[0], s[1], s[2], s[3]) }, func(x []T) {
			d := centred(x[1], x[2], x[3])
			x[0] = add(x[0], mul(d, d))
		}},
		{"inverseRoot", 1, func(e *implementation[T], s [][]T) { e.inverseRoot(s[0], scale, .1) }, func(x []T) {
			x[0] = T(1 / float64(T(math.Sqrt(float64(add(mul(x[0], scale), .1))))))
		}},
		{"rowAffine", 5, func(e *implementation[T], s [][]T) { e.rowAffine(s[3], s[4], rows(s), scale, .2) }, func(x []T) {
			x[3] = add(mul(mul(centred(x[4], x[0], x[1]), x[2]), scale), .2)
		}},
		{"addProduct", 3, func(e *implementation[T], s [][]T) { e.addProduct(s[0], s[1], s[2], scale) }, func(x []T) {
			x[0] = add(x[0], mul(mul(x[1], scale), x[2]))
		}},
		{"rowGrad", 8, func(e *implementation[T], s [][]T) { e.rowGrad(s[3], s[4], s[5], rows(s), s[6], s[7], scale) }, func(x []T) {
			x[3] = sub(sub(mul(mul(x[4], scale), x[2]), x[6]), mul(centred(x[5], x[0], x[1]), x[7]))
		}},
	}
}

func checkNorms[T Float](t *testing.T, e *implementation[T]) { checkCases(t, e, normCases[T]()) }

func TestNorms(t *testing.T) { forEach(t, checkNorms[float32], checkNorms[float64]) }

// checkMoments compares the sums over planes with the partial sums their documentation describes.
func checkMoments[T Float](t *testing.T, e *implementation[T]) {
	const planes, shift = 3, .7
	rng := rand.New(rand.NewPCG(15, 16))
	for n := range 70 {
		what := fmt.Sprintf("planes of %d", n)
		stride := n + n%3
		x, dy := make([]T, planes*stride), make([]T, planes*stride)
		var d, squares, g, products [lanes]float64
		for i := range x {
			x[i], dy[i] = T(rng.NormFloat64()), T(rng.NormFloat64())
			j := i % max(stride, 1)
			if j >= n {
				continue
			}
			v := float64(x[i] - shift)
			d[j%lanes] += v
			squares[j%lanes] += float64(v * v)
			g[j%lanes] += float64(dy[i])
			products[j%lanes] += float64(v * float64(dy[i]))
		}
		got, got2 := e.moments(x, n, stride, planes, shift)
		sameSlices(t, what, []float64{got, got2}, []float64{sumLanes(&d), sumLanes(&squares)})
		got, got2 = e.gradMoments(x, dy, n, stride, planes, shift)
		sameSlices(t, what, []float64{got, got2}, []float64{sumLanes(&g), sumLanes(&products)})
	}
}

func TestMoments(t *testing.T) { forEach(t, checkMoments[float32], checkMoments[float64]) }

func TestNormKernelsPanicOnLengths(t *testing.T) {
	two, three := make([]float32, 2), make([]float32, 3)
	rows := NormRows[float32]{First: three, Mean: two, Inverse: three}
	a := Affine[float32]{}
	for name, run := range map[string]func(){
		"GradMoments":    func() { GradMoments(three, two, 1, 1, 1, 0) },
		"Affine.Apply":   func() { a.Apply(three, two) },
		"Affine.Relu":    func() { a.Relu(three, two) },
		"Affine.Add":     func() { a.Add(three, three, two) },
		"Affine.AddRelu": func() { a.AddRelu(three, two, three) },
		"Affine.Mask":    func() { a.Mask(three, two, three) },
		"AffineGrad":     func() { AffineGrad(three, two, three, 0, 0, 0, 0) },
		"SumRelu":        func() { SumRelu(three, two, three) },
		"AddDifference":  func() { AddDifference(three, two, three) },
		"AddSquare":      func() { AddSquare(three, three, three, two) },
		"NormRows.Apply": func() { rows.Apply(three, three, 1, 0) },
		"NormRows.Grad":  func() { rows.Grad(three, three, three, three, three, 1) },
		"AddProduct":     func() { AddProduct(three, three, two, 1) },
	} {
		mustPanic(t, "kernel: "+name+": slices of 3 and 2 elements", run)
	}
	mustPanic(t, "kernel: Moments: the planes do not lie in the slice", func() { Moments(three, 2, 2, 2, 0) })
}
