package nn

import (
	"fmt"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// BenchmarkTrainingStep is forward, loss and backward of a 784-512-512-512-10 MLP on batches of 500. Its products alone are 2·500·(3·Σ -
// first) operations, Σ being the number of weights and first those of the first layer, whose input gets no gradient.
func BenchmarkTrainingStep(b *testing.B) {
	const batch = 500
	widths := []int{784, 512, 512, 512, 10}
	g := mlp(b, widths)
	weights := 0
	for i := range widths[1:] {
		weights += widths[i] * widths[i+1]
	}
	operations := 2 * batch * (3*weights - widths[0]*widths[1])
	for _, threads := range []int{1, 2} {
		b.Run(fmt.Sprint("threads=", threads), func(b *testing.B) {
			e := newEngine[float32](b, g, Options{Threads: threads, Training: true})
			for i := range e.Params() {
				e.Params()[i] *= 0.05
			}
			x, labels, dlogits := inputFor[float32](b, g, batch), labelsFor(batch, 10), make([]float32, batch*10)
			trainingStep(b, e, x, labels, dlogits)
			b.ReportAllocs()
			for b.Loop() {
				trainingStep(b, e, x, labels, dlogits)
			}
			seconds := b.Elapsed().Seconds()
			b.ReportMetric(float64(b.N*batch)/seconds, "images/s")
			b.ReportMetric(float64(b.N*operations)/seconds/1e9, "GFLOP/s")
		})
	}
}

func mlp(t testing.TB, widths []int) *graph.Graph {
	return graphOf(t, func(b *graph.Builder) {
		h := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(widths[0]))
		for i := range widths[1:] {
			h = b.Linear(fmt.Sprint("z", i), h, fmt.Sprint("fc", i), widths[i+1], widths[i], true)
			if i+2 < len(widths) {
				h = b.Relu(fmt.Sprint("h", i), h)
			}
		}
		b.Output(h)
	})
}

// BenchmarkPlanes are chains of ten steps on values [128, C, H, W], each with Relu behind it, forward and backward. The bytes are those of norms:
// forward they read twice and write once, backward they read two values twice and write one.
func BenchmarkPlanes(b *testing.B) {
	const batch, layers = 128, 10
	steps := map[string]func(b *graph.Builder, out, x string, channels int) string{
		"add":   func(b *graph.Builder, out, x string, c int) string { return b.Add(out, x, b.Param(out+".v", c, 1, 1)) },
		"batch": func(b *graph.Builder, out, x string, c int) string { return b.BatchNorm(out, x, out, c) },
		"group": func(b *graph.Builder, out, x string, c int) string { return b.GroupNorm(out, x, out, c, 4) },
		"layer": func(b *graph.Builder, out, x string, c int) string { return b.ChannelNorm(out, x, out, c, 1e-6) },
		"scale": func(b *graph.Builder, out, x string, c int) string { return b.Mul(out, x, b.Param(out+".v", c, 1, 1)) },
		"transpose": func(b *graph.Builder, out, x string, _ int) string {
			return b.Transpose(out, b.Relu(out+".r", b.Transpose(out+".t", x, 0, 2, 3, 1)), 0, 3, 1, 2)
		},
	}
	for _, shape := range [][]int{{16, 32, 32}, {64, 8, 8}} {
		for _, name := range sortedKeys(steps) {
			b.Run(fmt.Sprint(name, shape), func(b *testing.B) {
				g := graphOf(b, func(b *graph.Builder) {
					dims := append([]graph.Dim{graph.Sym("N")}, graph.ShapeOf(shape...)...)
					h := b.Mul("first", b.Input("x", tensor.F32, dims...), b.Param("one", 1))
					for i := range layers {
						h = b.Relu(fmt.Sprint("r", i), steps[name](b, fmt.Sprint("n", i), h, shape[0]))
					}
					b.Output(h)
				})
				e := newEngine[float32](b, g, Options{Threads: 2, Training: true, BatchStatistics: true})
				x := inputFor[float32](b, g, batch)
				b.SetBytes(int64(layers * 8 * 4 * len(x)))
				for b.Loop() {
					if err := e.Backward(forward(b, e, x, batch)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
