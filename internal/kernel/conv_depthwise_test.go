package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// depthwiseCases are convolutions that are done directly: planes below and beyond what an operation covers at least, several channels to a part and one,
// strides, dilations and paddings that differ by axis, kernels beyond the image, two channels out of one in.
func depthwiseCases() []ConvShape {
	of := func(batch, channels, per, height, width, kernel, stride int) ConvShape {
		return ConvShape{
			Batch: batch, In: channels, Out: channels * per, Groups: channels, Size: [2]int{height, width}, Kernel: [2]int{kernel, kernel},
			Stride: [2]int{stride, stride}, Dilation: [2]int{1, 1}, Pads: [4]int{kernel / 2, kernel / 2, kernel / 2, kernel / 2},
		}
	}
	uneven := of(3, 5, 2, 9, 14, 3, 1)
	uneven.Kernel, uneven.Pads, uneven.Dilation = [2]int{2, 4}, [4]int{0, 3, 2, 1}, [2]int{3, 2}
	strided := uneven
	strided.Stride = [2]int{2, 3}
	oneAxis := of(4, 6, 1, 1, 40, 5, 1)
	oneAxis.Kernel, oneAxis.Pads = [2]int{1, 5}, [4]int{0, 2, 0, 2}
	large := of(1, 2, 1, 150, 230, 3, 1)
	return []ConvShape{
		of(5, 7, 1, 4, 4, 3, 1), of(3, 40, 1, 16, 16, 3, 1), of(2, 9, 2, 32, 32, 3, 1), of(3, 8, 1, 17, 16, 3, 2), of(2, 3, 1, 3, 3, 7, 1),
		of(130, 3, 1, 1, 1, 1, 1), of(2, 1, 1, 8, 8, 5, 2), uneven, strided, oneAxis, large,
	}
}

func TestDepthwise(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	forEach(t, func(t *testing.T, e *implementation[float32]) { checkDepthwise(t, e, pool) }, func(t *testing.T, e *implementation[float64]) { checkDepthwise(t, e, pool) })
}

func checkDepthwise[T Float](t *testing.T, e *implementation[T], p *Pool) {
	var ws Workspace[T]
	for i, s := range depthwiseCases() {
		if !s.isDepthwise() {
			t.Errorf("%+v is not done directly", s)
		}
		checkConv(t, e, p, &ws, s, uint64(i))
		againstProducts(t, e, p, s)
	}
}

// againstProducts compares all passes with the ones that are products of matrices, on real numbers. Sums of at most a few thousand products are as far
// apart as float32 rounds them.
func againstProducts[T Float](t *testing.T, e *implementation[T], p *Pool, s ConvShape) {
	t.Helper()
	const tolerance = 1e-5
	rng := rand.New(rand.NewPCG(5, 6))
	nx, nw, ny := s.lengths()
	reals := func(n int) []T {
		x := make([]T, n)
		for i := range x {
			x[i] = T(rng.NormFloat64())
		}
		return x
	}
	x, w, dy, bias := reals(nx), reals(nw), reals(ny), reals(s.Out)
	y, dx, dw := [2][]T{make([]T, ny), make([]T, ny)}, [2][]T{make([]T, nx), make([]T, nx)}, [2][]T{make([]T, nw), make([]T, nw)}

	var ws Workspace[T]
	c := NewConv(s, &ws)
	c.forwardWith(e, p, x, w, bias, y[0])
	c.inputGradWith(e, p, dy, w, dx[0], 0)
	c.weightGradWith(e, p, x, dy, dw[0], 0)

	forward := newPatches(e, s.Batch, s.In, s.Out, s.Groups, s.Size, s.OutSize(), s.Kernel, s.Stride, s.Dilation, [2]int{s.Pads[0], s.Pads[1]})
	forward.run(p, &ws, x, weightLines[T]{w: w, groups: s.Groups}, bias, y[1], false)
	newSpread(e, &s).run(p, &ws, dy, w, dx[1], false)
	weights := newWeightGrad(e, &s)
	weights.run(p, &ws, x, dy, dw[1], false)

	for what, pair := range map[string][2][]T{"output": y, "gradient of the input": dx, "gradient of the weights": dw} {
		largest, off := 0.0, 0.0
		for i, v := range pair[1] {
			largest, off = max(largest, math.Abs(float64(v))), max(off, math.Abs(float64(v-pair[0][i])))
		}
		if !(off <= tolerance*largest) || largest == 0 {
			t.Errorf("%s of %+v: off by %g of %g", what, s, off, largest)
		}
	}
}

func TestDepthwiseThreads(t *testing.T) {
	for _, s := range depthwiseCases() {
		sameForAllThreads(t, s)
	}
}

func BenchmarkDepthwise(b *testing.B) {
	for _, c := range []struct{ channels, per, size, stride int }{{32, 1, 32, 1}, {32, 2, 32, 1}, {128, 1, 16, 1}, {128, 1, 16, 2}, {512, 1, 4, 1}} {
		s := ConvShape{
			Batch: 64, In: c.channels, Out: c.channels * c.per, Groups: c.channels, Size: [2]int{c.size, c.size}, Kernel: [2]int{3, 3},
			Stride: [2]int{c.stride, c.stride}, Dilation: [2]int{1, 1}, Pads: [4]int{1, 1, 1, 1},
		}
		rng := rand.New(rand.NewPCG(3, 4))
		nx, nw, ny := s.lengths()
		x, w, dy := gaussians(rng, nx), gaussians(rng, nw), gaussians(rng, ny)
		y, dx, dw := make([]float32, ny), make([]float32, nx), make([]float32, nw)
		pool := NewPool(1)
		var ws Workspace[float32]
		e := current[float32]()
		direct := NewConv(s, &ws)
		patches := newPatches(e, s.Batch, s.In, s.Out, s.Groups, s.Size, s.OutSize(), s.Kernel, s.Stride, s.Dilation, [2]int{1, 1})
		back, weights := newSpread(e, &s), newWeightGrad(e, &s)
		for _, pass := range []struct {
			name string
			run  func()
		}{
			{"forward/direct", func() { direct.Forward(pool, x, w, nil, y) }},
			{"forward/product", func() { patches.run(pool, &ws, x, weightLines[float32]{w: w, groups: s.Groups}, nil, y, false) }},
			{"input/direct", func() { direct.InputGrad(pool, dy, w, dx, 0) }},
			{"input/product", func() { back.run(pool, &ws, dy, w, dx, false) }},
			{"weights/direct", func() { direct.WeightGrad(pool, x, dy, dw, 0) }},
			{"weights/product", func() { weights.run(pool, &ws, x, dy, dw, false) }},
		} {
			b.Run(fmt.Sprintf("%dx%d,%d,stride=%d/%s", c.channels, c.per, c.size, c.stride, pass.name), func(b *testing.B) {
				for b.Loop() {
					pass.run()
				}
				b.ReportMetric(2*9*float64(ny)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
		pool.Close()
	}
}
