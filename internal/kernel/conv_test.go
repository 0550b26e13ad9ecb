package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// convReference is a convolution written as its definition, in float64: it calls f with the indices of every product of an output, an input and a
// weight.
func convReference(s *ConvShape, f func(y, x, w int)) {
	out := s.OutSize()
	in, rows := s.In/s.Groups, s.Out/s.Groups
	for n := range s.Batch {
		for o := range s.Out {
			for p := range out[0] * out[1] {
				oy, ox := p/out[1], p%out[1]
				for i := range in {
					for t := range s.Kernel[0] * s.Kernel[1] {
						ky, kx := t/s.Kernel[1], t%s.Kernel[1]
						iy := oy*s.Stride[0] + ky*s.Dilation[0] - s.Pads[0]
						ix := ox*s.Stride[1] + kx*s.Dilation[1] - s.Pads[1]
						if iy < 0 || iy >= s.Size[0] || ix < 0 || ix >= s.Size[1] {
							continue
						}
						channel := o/rows*in + i
						f((n*s.Out+o)*out[0]*out[1]+p, ((n*s.In+channel)*s.Size[0]+iy)*s.Size[1]+ix, (o*in+i)*s.Kernel[0]*s.Kernel[1]+t)
					}
				}
			}
		}
	}
}

func integers[T Float](rng *rand.Rand, n int) []T {
	x := make([]T, n)
	for i := range x {
		x[i] = T(rng.IntN(9) - 4)
	}
	return x
}

// checkConv compares all three computations with the reference, exactly: sums of small integers have no rounding.
func checkConv[T Float](t interface {
	Helper()
	Fatalf(format string, args ...any)
}, e *implementation[T], p *Pool, ws *Workspace[T], s ConvShape, seed uint64,
) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	nx, nw, ny := s.lengths()
	x, w, dy, bias := integers[T](rng, nx), integers[T](rng, nw), integers[T](rng, ny), integers[T](rng, s.Out)
	y, dx, dw := make([]float64, ny), make([]float64, nx), make([]float64, nw)
	convReference(&s, func(iy, ix, iw int) {
		y[iy] += float64(x[ix]) * float64(w[iw])
		dx[ix] += float64(dy[iy]) * float64(w[iw])
		dw[iw] += float64(dy[iy]) * float64(x[ix])
	})
	c := NewConv(s, ws)
	compare := func(what string, got guarded[T], want func(i int) float64) {
		t.Helper()
		before := cap(got.buffer) - cap(got.data)
		for i, v := range got.buffer {
			if (i < before || i >= before+len(got.data)) && v != guard {
				t.Fatalf("%s of %+v: wrote %v at %d of %d", what, s, v, i-before, len(got.data))
			}
		}
		for i, v := range got.data {
			if float64(v) != want(i) {
				t.Fatalf("%s of %+v: element %d is %v, want %v", what, s, i, v, want(i))
			}
		}
	}
	outPixels := ny / s.Batch / s.Out
	for round := range 2 { // with a workspace that is clean, and one that is not
		out := newGuarded[T](round, ny)
		c.forwardWith(e, p, x, w, nil, out.data)
		compare("output", out, func(i int) float64 { return y[i] })
		c.forwardWith(e, p, x, w, bias, out.data)
		compare("output with bias", out, func(i int) float64 { return y[i] + float64(bias[i/outPixels%s.Out]) })
		for beta := range 2 {
			old := integers[T](rng, max(nx, nw))
			grad := newGuarded[T](round, nx)
			copy(grad.data, old)
			c.inputGradWith(e, p, dy, w, grad.data, T(beta))
			compare("gradient of the input", grad, func(i int) float64 { return dx[i] + float64(beta)*float64(old[i]) })
			grad = newGuarded[T](round, nw)
			copy(grad.data, old)
			c.weightGradWith(e, p, x, dy, grad.data, T(beta))
			compare("gradient of the weights", grad, func(i int) float64 { return dw[i] + float64(beta)*float64(old[i]) })
		}
		for i := range ws.partial {
			ws.partial[i] = T(math.NaN())
		}
	}
}

// convCases are the geometries of networks, small, and what is special: one pixel, kernels as large as the image, channels beyond a register tile.
func convCases() []ConvShape {
	square := func(batch, in, out, size, kernel, stride, pad int) ConvShape {
		return ConvShape{
			Batch: batch, In: in, Out: out, Groups: 1, Size: [2]int{size, size}, Kernel: [2]int{kernel, kernel}, Stride: [2]int{stride, stride},
			Dilation: [2]int{1, 1}, Pads: [4]int{pad, pad, pad, pad},
		}
	}
	grouped := square(3, 8, 12, 9, 3, 1, 1)
	grouped.Groups = 4
	depthwise := square(2, 6, 6, 10, 3, 2, 1)
	depthwise.Groups = 6
	dilated := square(2, 3, 5, 11, 3, 1, 2)
	dilated.Dilation = [2]int{2, 3}
	strided := dilated
	strided.Stride = [2]int{2, 3}
	wide := square(2, 2, 3, 8, 3, 1, 1)
	wide.Size = [2]int{3, 300}
	return []ConvShape{
		square(2, 3, 16, 32, 3, 1, 1), square(2, 16, 16, 16, 3, 1, 1), square(2, 16, 33, 16, 3, 2, 1), square(5, 33, 40, 4, 3, 1, 1),
		square(9, 40, 35, 2, 3, 1, 1), square(9, 64, 7, 1, 3, 1, 1), square(2, 20, 24, 8, 1, 1, 0), square(2, 20, 24, 8, 1, 2, 0),
		square(1, 3, 5, 20, 7, 2, 3), square(2, 3, 4, 5, 5, 1, 0), square(7, 1, 1, 1, 1, 1, 0), square(3, 4, 4, 6, 3, 1, 2),
		square(3, 4, 4, 6, 2, 1, 3), square(2, 30, 30, 14, 3, 1, 1), square(3, 8, 3, 7, 3, 3, 0), square(6, 1, 2, 3, 1, 1, 0),
		grouped, depthwise, dilated, strided, wide,
	}
}

func TestConv(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	forEach(t, func(t *testing.T, e *implementation[float32]) { checkConvs(t, e, pool) }, func(t *testing.T, e *implementation[float64]) { checkConvs(t, e, pool) })
}

func checkConvs[T Float](t *testing.T, e *implementation[T], p *Pool) {
	var ws Workspace[T]
	for i, s := range convCases() {
		checkConv(t, e, p, &ws, s, uint64(i))
	}
	if raceDetector {
		return
	}
	rapid.Check(t, func(r *rapid.T) { checkConv(r, e, p, &ws, drawConv(r), 7) })
}

func drawConv(r *rapid.T) ConvShape {
	pair := func(name string, low, high int) [2]int {
		return [2]int{rapid.IntRange(low, high).Draw(r, name+"0"), rapid.IntRange(low, high).Draw(r, name+"1")}
	}
	s := ConvShape{Batch: rapid.IntRange(1, 6).Draw(r, "batch"), Groups: rapid.IntRange(1, 3).Draw(r, "groups")}
	s.In, s.Out = s.Groups*rapid.IntRange(1, 9).Draw(r, "in"), s.Groups*rapid.IntRange(1, 14).Draw(r, "out")
	s.Kernel, s.Stride, s.Dilation = pair("kernel", 1, 4), pair("stride", 1, 3), pair("dilation", 1, 2)
	before, after := pair("before", 0, 3), pair("after", 0, 3)
	s.Pads = [4]int{before[0], before[1], after[0], after[1]}
	for i := range 2 {
		least := max(1, s.Dilation[i]*(s.Kernel[i]-1)+1-s.Pads[i]-s.Pads[i+2])
		s.Size[i] = rapid.IntRange(least, least+12).Draw(r, fmt.Sprint("size", i))
	}
	return s
}

// The same bytes come out for any number of threads, with real numbers, whose sums depend on their order.
func TestConvThreads(t *testing.T) {
	for _, s := range convCases() {
		sameForAllThreads(t, s)
	}
}

func sameForAllThreads(t *testing.T, s ConvShape) {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	nx, nw, ny := s.lengths()
	x, w, dy := gaussians(rng, nx), gaussians(rng, nw), gaussians(rng, ny)
	var want [3][]float32
	for _, threads := range []int{1, 2, 3} {
		pool := NewPool(threads)
		var ws Workspace[float32]
		c := NewConv(s, &ws)
		got := [3][]float32{make([]float32, ny), make([]float32, nx), make([]float32, nw)}
		c.Forward(pool, x, w, nil, got[0])
		c.InputGrad(pool, dy, w, got[1], 0)
		c.WeightGrad(pool, x, dy, got[2], 0)
		pool.Close()
		for i := range got {
			if want[i] == nil {
				want[i] = got[i]
			}
			sameSlices(t, fmt.Sprintf("%+v, result %d with %d threads", s, i, threads), got[i], want[i])
		}
	}
}

func gaussians(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

func BenchmarkConv(b *testing.B) {
	for _, s := range []struct{ in, out, size, stride int }{
		{3, 16, 32, 1}, {16, 16, 32, 1}, {32, 32, 16, 1}, {64, 64, 8, 1}, {32, 64, 16, 2}, {64, 64, 32, 1}, {256, 256, 8, 1}, {512, 512, 2, 1},
	} {
		shape := ConvShape{
			Batch: 128, In: s.in, Out: s.out, Groups: 1, Size: [2]int{s.size, s.size}, Kernel: [2]int{3, 3}, Stride: [2]int{s.stride, s.stride},
			Dilation: [2]int{1, 1}, Pads: [4]int{1, 1, 1, 1},
		}
		rng := rand.New(rand.NewPCG(3, 4))
		nx, nw, ny := shape.lengths()
		x, w, dy := gaussians(rng, nx), gaussians(rng, nw), gaussians(rng, ny)
		y, dx, dw := make([]float32, ny), make([]float32, nx), make([]float32, nw)
		pool := NewPool(0)
		var ws Workspace[float32]
		c := NewConv(shape, &ws)
		flops := 2 * float64(ny) * float64(nw) / float64(s.out)
		for _, pass := range []struct {
			name string
			run  func()
		}{
			{"forward", func() { c.Forward(pool, x, w, nil, y) }},
			{"input", func() { c.InputGrad(pool, dy, w, dx, 0) }},
			{"weights", func() { c.WeightGrad(pool, x, dy, dw, 0) }},
		} {
			b.Run(fmt.Sprintf("%dx%d,%d,stride=%d/%s", s.in, s.out, s.size, s.stride, pass.name), func(b *testing.B) {
				for b.Loop() {
					pass.run()
				}
				b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
		pool.Close()
	}
}

func TestConvFits(t *testing.T) {
	s := ConvShape{Batch: 1, In: 64, Out: 64, Groups: 1, Size: [2]int{2000, 2000}, Kernel: [2]int{3, 3}, Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}}
	if !s.Fits() {
		t.Error("64 channels of 2000 x 2000 pixels are too large")
	}
	s.Size = [2]int{8000, 8000}
	if s.Fits() {
		t.Error("64 channels of 8000 x 8000 pixels fit")
	}
	s.Size, s.In = [2]int{3, 3}, 1<<24
	if s.Fits() {
		t.Error("256 images of 2^24 channels of 3 x 3 pixels fit")
	}
}

// TestFlippedPads: small weights that reach far make a gradient of the output, with its padding, that offsets of 32 bits do not reach, though the images
// themselves are small.
func TestFlippedPads(t *testing.T) {
	s := ConvShape{Batch: 1, In: 1, Out: 600, Groups: 1, Size: [2]int{1000, 1000}, Kernel: [2]int{2, 2}, Stride: [2]int{1, 1}, Dilation: [2]int{998, 998}}
	if _, ok := s.flippedPads(); ok || !s.Fits() {
		t.Errorf("600 channels of 1998 x 1998 pixels are within 32 bits; the image fits: %v", s.Fits())
	}
	s.Out = 500
	if pads, ok := s.flippedPads(); !ok || pads != [2]int{998, 998} {
		t.Errorf("padding of %v, possible %v", pads, ok)
	}
}

func TestConvShortSlices(t *testing.T) {
	s := ConvShape{Batch: 2, In: 3, Out: 4, Groups: 1, Size: [2]int{5, 5}, Kernel: [2]int{3, 3}, Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}}
	pool := NewPool(1)
	defer pool.Close()
	c := NewConv(s, &Workspace[float32]{})
	nx, nw, ny := s.lengths()
	full := [3]int{nx, nw, ny}
	for short := range 3 {
		var v [3][]float32
		for i, n := range full {
			if i == short {
				n--
			}
			v[i] = make([]float32, n)
		}
		for pass, run := range map[string]func(){
			"Forward":    func() { c.Forward(pool, v[0], v[1], nil, v[2]) },
			"InputGrad":  func() { c.InputGrad(pool, v[2], v[1], v[0], 0) },
			"WeightGrad": func() { c.WeightGrad(pool, v[0], v[2], v[1], 0) },
		} {
			func() {
				defer func() {
					if text, _ := recover().(string); !strings.Contains(text, "kernel: Conv."+pass) {
						t.Errorf("%s with slice %d too short: panic %q", pass, short, text)
					}
				}()
				run()
			}()
		}
	}
}

// TestForwardMemory compares what Forward says that it takes with what it took: of one convolution exactly, of several one after the other at most.
func TestForwardMemory(t *testing.T) {
	pool := NewPool(1)
	defer pool.Close()
	var all WorkspaceMemory
	var shared Workspace[float32]
	for _, s := range slices.Concat(convCases(), depthwiseCases()) {
		nx, nw, ny := s.lengths()
		x, w, y := make([]float32, nx), make([]float32, nw), make([]float32, ny)
		var ws Workspace[float32]
		c := NewConv(s, &ws)
		need := c.ForwardMemory()
		c.Forward(pool, x, w, nil, y)
		if got, want := ws.Len(), need.Elements(1); got != want {
			t.Errorf("%+v: the workspace has %d elements, not %d", s, got, want)
		}
		all = all.Max(need)
		NewConv(s, &shared).Forward(pool, x, w, nil, y)
	}
	if got, want := shared.Len(), all.Elements(1); got != want {
		t.Errorf("the shared workspace has %d elements, not %d", got, want)
	}
	if one, three := all.Elements(1), all.Elements(3); three <= one || three > 3*one {
		t.Errorf("%d elements on one thread, %d on three", one, three)
	}
}
