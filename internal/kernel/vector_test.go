package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// A vectorCase runs one vector kernel on slices and says what each slice must hold afterwards, element by element. The reference does every
// operation in float64 and rounds once to T, which gives the correctly rounded float32 result (Figueroa 1995, When is double rounding
// innocuous?, doi:10.1145/221332.221334), and in float64 is the operation itself.
type vectorCase[T Float] struct {
	name   string
	slices int
	run    func(e *implementation[T], s [][]T)
	want   func(x []T) // updates one element of each slice
}

func vectorCases[T Float]() []vectorCase[T] {
	add := func(x, y T) T { return T(float64(x) + float64(y)) }
	sub := func(x, y T) T { return T(float64(x) - float64(y)) }
	mul := func(x, y T) T { return T(float64(x) * float64(y)) }
	div := func(x, y T) T { return T(float64(x) / float64(y)) }
	relu := func(x T) T {
		if x < 0 {
			return 0
		}
		return x
	}
	const alpha = 0.3
	adamS := newAdamScalars[T](AdamParams{LR: .01, Beta1: .9, Beta2: .999, Epsilon: 1e-8, WeightDecay: .1, Correction1: .19, Correction2: .002})
	sgdS := sgdScalars[T]{decay: .1, momentum: .9, rate: .01}
	decayed := func(w, g T) T { return add(g, mul(sgdS.decay, w)) }
	return []vectorCase[T]{
		{"axpy", 2, func(e *implementation[T], s [][]T) { e.axpy(alpha, s[0], s[1]) }, func(x []T) { x[1] = add(x[1], mul(alpha, x[0])) }},
		{"scale", 1, func(e *implementation[T], s [][]T) { e.scale(alpha, s[0]) }, func(x []T) { x[0] = mul(x[0], alpha) }},
		{"add", 3, func(e *implementation[T], s [][]T) { e.add(s[0], s[1], s[2]) }, func(x []T) { x[0] = add(x[1], x[2]) }},
		{"sub", 3, func(e *implementation[T], s [][]T) { e.sub(s[0], s[1], s[2]) }, func(x []T) { x[0] = sub(x[1], x[2]) }},
		{"mul", 3, func(e *implementation[T], s [][]T) { e.mul(s[0], s[1], s[2]) }, func(x []T) { x[0] = mul(x[1], x[2]) }},
		{"div", 3, func(e *implementation[T], s [][]T) { e.div(s[0], s[1], s[2]) }, func(x []T) { x[0] = div(x[1], x[2]) }},
		{"add in place", 2, func(e *implementation[T], s [][]T) { e.add(s[0], s[0], s[1]) }, func(x []T) { x[0] = add(x[0], x[1]) }},
		{"lerp", 3, func(e *implementation[T], s [][]T) { e.lerp(.7, alpha, s[0], s[1], s[2]) }, func(x []T) {
			x[0] = add(mul(.7, x[1]), mul(alpha, x[2]))
		}},
		{"relu", 2, func(e *implementation[T], s [][]T) { e.relu(s[0], s[1]) }, func(x []T) { x[0] = relu(x[1]) }},
		{"addRelu", 2, func(e *implementation[T], s [][]T) { e.addRelu(s[0], s[1]) }, func(x []T) { x[0] = relu(add(x[0], x[1])) }},
		{"reluGrad", 3, func(e *implementation[T], s [][]T) { e.reluGrad(s[0], s[1], s[2]) }, func(x []T) {
			x[0] = 0
			if x[2] > 0 {
				x[0] = x[1]
			}
		}},
		{"sgd", 2, func(e *implementation[T], s [][]T) { e.sgd(s[0], s[1], sgdS) }, func(x []T) {
			x[0] = sub(x[0], mul(sgdS.rate, decayed(x[0], x[1])))
		}},
		{"sgdMomentum", 3, func(e *implementation[T], s [][]T) { e.sgdMomentum(s[0], s[1], s[2], sgdS) }, func(x []T) {
			x[2] = add(mul(sgdS.momentum, x[2]), decayed(x[0], x[1]))
			x[0] = sub(x[0], mul(sgdS.rate, x[2]))
		}},
		{"sgdNesterov", 3, func(e *implementation[T], s [][]T) { e.sgdNesterov(s[0], s[1], s[2], sgdS) }, func(x []T) {
			g := decayed(x[0], x[1])
			x[2] = add(mul(sgdS.momentum, x[2]), g)
			x[0] = sub(x[0], mul(sgdS.rate, add(g, mul(sgdS.momentum, x[2]))))
		}},
		{"adam", 4, func(e *implementation[T], s [][]T) { e.adam(s[0], s[1], s[2], s[3], adamS) }, func(x []T) {
			g := add(x[1], mul(adamS.decay, x[0]))
			x[2] = add(x[2], mul(adamS.add1, sub(g, x[2])))
			x[3] = add(mul(adamS.keep2, x[3]), mul(mul(adamS.add2, g), g))
			root := add(div(T(math.Sqrt(float64(x[3]))), adamS.root2), adamS.epsilon)
			x[0] = sub(x[0], div(mul(adamS.rate, x[2]), root))
		}},
	}
}

// unusual draws normal numbers and, now and then, one of those that kernels get wrong.
func unusual[T Float](rng *rand.Rand) T {
	special := []float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.NaN()}
	if i := rng.IntN(40); i < len(special) {
		return T(special[i])
	}
	return T(rng.NormFloat64())
}

func checkVectors[T Float](t *testing.T, e *implementation[T]) { checkCases(t, e, vectorCases[T]()) }

func checkCases[T Float](t *testing.T, e *implementation[T], cases []vectorCase[T]) {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 8))
	for _, c := range cases {
		for n := range 201 {
			what := fmt.Sprintf("%s of %d", c.name, n)
			var slices []guarded[T]
			var data, want [][]T
			for i := range c.slices {
				g := newGuarded[T]((n+i)%5, n)
				for j := range g.data {
					g.data[j] = unusual[T](rng)
				}
				slices, data, want = append(slices, g), append(data, g.data), append(want, append([]T(nil), g.data...))
			}
			column := make([]T, c.slices)
			for j := range n {
				for i := range column {
					column[i] = want[i][j]
				}
				c.want(column)
				for i := range column {
					want[i][j] = column[i]
				}
			}
			c.run(e, data)
			for i, g := range slices {
				g.check(t, what)
				sameSlices(t, what, g.data, want[i])
			}
		}
	}
}

func TestVectors(t *testing.T) { forEach(t, checkVectors[float32], checkVectors[float64]) }

// checkReductions compares Dot and Sum with the partial sums their documentation describes.
func checkReductions[T Float](t *testing.T, e *implementation[T]) {
	rng := rand.New(rand.NewPCG(9, 10))
	for n := range 201 {
		x, y := newGuarded[T](n%5, n), newGuarded[T](n%3, n)
		var products, sums [lanes]float64
		for i := range n {
			x.data[i], y.data[i] = T(rng.NormFloat64()), T(rng.NormFloat64())
			products[i%lanes] += float64(float64(x.data[i]) * float64(y.data[i]))
			sums[i%lanes] += float64(x.data[i])
		}
		if got, want := e.dot(x.data, y.data), sumLanes(&products); got != want {
			t.Fatalf("dot of %d is %v, want %v", n, got, want)
		}
		if got, want := e.sum(x.data), sumLanes(&sums); got != want {
			t.Fatalf("sum of %d is %v, want %v", n, got, want)
		}
	}
}

func TestReductions(t *testing.T) { forEach(t, checkReductions[float32], checkReductions[float64]) }

func TestReductionsAddEverything(t *testing.T) {
	const n = 1000
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(i)
	}
	if got, want := Sum(x), float64(n*(n-1)/2); got != want {
		t.Errorf("Sum is %v, want %v", got, want)
	}
	if got, want := Dot(x, x), float64((n-1)*n*(2*n-1)/6); got != want {
		t.Errorf("Dot is %v, want %v", got, want)
	}
}

func TestRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for _, size := range [][2]int{{0, 3}, {1, 1}, {3, 10}, {7, 16}, {5, 33}, {2, 512}} {
		rows, cols := size[0], size[1]
		x, row := make([]float32, rows*cols), make([]float32, cols)
		for i := range x {
			x[i] = float32(rng.IntN(21) - 10)
		}
		for i := range row {
			row[i] = float32(rng.IntN(21) - 10)
		}
		plus, rectified := append([]float32(nil), x...), append([]float32(nil), x...)
		fresh, added := make([]float32, cols), append([]float32(nil), row...)
		fresh[0] = float32(math.NaN())
		AddRow(plus, rows, cols, row)
		AddRowRelu(rectified, rows, cols, row)
		SumRows(fresh, x, rows, cols, 0)
		SumRows(added, x, rows, cols, 1)
		for c := range cols {
			var sum float32
			for r := range rows {
				i := r*cols + c
				sum += x[i]
				if want := x[i] + row[c]; plus[i] != want || rectified[i] != max(want, 0) {
					t.Fatalf("%v: element %d is %v, rectified %v, want %v", size, i, plus[i], rectified[i], want)
				}
			}
			if fresh[c] != sum || added[c] != sum+row[c] {
				t.Fatalf("%v: column %d sums to %v and %v, want %v and %v", size, c, fresh[c], added[c], sum, sum+row[c])
			}
		}
	}
}

func TestElementwise(t *testing.T) {
	a, b, dst := []float64{1, -2, 3}, []float64{4, 5, -6}, make([]float64, 3)
	for _, c := range []struct {
		name string
		run  func()
		want []float64
	}{
		{"Add", func() { Add(dst, a, b) }, []float64{5, 3, -3}},
		{"Sub", func() { Sub(dst, a, b) }, []float64{-3, -7, 9}},
		{"Mul", func() { Mul(dst, a, b) }, []float64{4, -10, -18}},
		{"Div", func() { Div(dst, a, b) }, []float64{.25, -.4, -.5}},
		{"Lerp", func() { Lerp(dst, a, b, .25) }, []float64{1.75, -.25, .75}},
		{"Relu", func() { Relu(dst, a) }, []float64{1, 0, 3}},
		{"ReluGrad", func() { ReluGrad(dst, b, a) }, []float64{4, 0, -6}},
		{"Axpy", func() { Axpy(2, a, dst) }, []float64{6, -4, 0}},
		{"Scale", func() { Scale(.5, dst) }, []float64{3, -2, 0}},
	} {
		c.run()
		sameSlices(t, c.name, dst, c.want)
	}
}

func TestVectorKernelsPanicOnLengths(t *testing.T) {
	two, three := make([]float32, 2), make([]float32, 3)
	for name, run := range map[string]func(){
		"Axpy":       func() { Axpy(1, two, three) },
		"Add":        func() { Add(three, three, two) },
		"Sub":        func() { Sub(three, two, three) },
		"Mul":        func() { Mul(three, two, three) },
		"Div":        func() { Div(three, two, three) },
		"Lerp":       func() { Lerp(three, two, three, 1) },
		"Relu":       func() { Relu(three, two) },
		"ReluGrad":   func() { ReluGrad(three, three, two) },
		"AddRow":     func() { AddRow(two, 1, 3, three) },
		"AddRowRelu": func() { AddRowRelu(two, 1, 3, three) },
		"SumRows":    func() { SumRows(three, two, 1, 3, 0) },
		"Dot":        func() { Dot(two, three) },
		"AdamStep":   func() { AdamStep(three, three, three, two, AdamParams{}) },
		"SGDStep":    func() { SGDStep(three, three, two, SGDParams{Momentum: 1}) },
		"Transpose":  func() { Transpose(two, two, 1, 3) },
	} {
		mustPanic(t, "kernel: "+name+": slices of 3 and 2 elements", run)
	}
}

func TestTranspose(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	for range 100 {
		rows, cols := rng.IntN(70), rng.IntN(70)
		src := make([]float32, rows*cols)
		for i := range src {
			src[i] = float32(i)
		}
		dst, back := newGuarded[float32](1, rows*cols), newGuarded[float32](0, rows*cols)
		Transpose(dst.data, src, rows, cols)
		dst.check(t, "Transpose")
		for i, v := range dst.data {
			if want := src[i%rows*cols+i/rows]; v != want {
				t.Fatalf("%d x %d: element %d is %v, want %v", rows, cols, i, v, want)
			}
		}
		Transpose(back.data, dst.data, cols, rows)
		sameSlices(t, "the transpose of the transpose", back.data, src)
	}
}
