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
