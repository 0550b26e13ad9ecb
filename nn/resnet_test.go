package nn

import (
	"fmt"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// resnet20 is the residual network of He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015, arXiv:1512.03385, for CIFAR,
// its widths multiplied, with projections of 3x3 where a stage begins.
func resnet20(t testing.TB, width int, norm string) *graph.Graph {
	return graphOf(t, func(b *graph.Builder) {
		r := residualNetwork{b, norm}
		h := r.conv("conv1", b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(3), graph.Fixed(32), graph.Fixed(32)), 3, 16*width, 1)
		h = b.Relu("relu1", h)
		in := 16 * width
		for stage := range 3 {
			for block := range 3 {
				out := 16 * width << stage
				h = r.block(fmt.Sprintf("layer%d.%d", stage, block), h, in, out)
				in = out
			}
		}
		b.Output(b.Linear("logits", b.Flatten("f", b.GlobalAveragePool("gap", h), 1), "fc", 10, in, true))
	})
}

type residualNetwork struct {
	*graph.Builder
	norm string
}

// conv is a convolution and the norm behind it.
func (r residualNetwork) conv(name, x string, in, out, stride int) string {
	h := r.Conv2D(name, x, r.Param(name+".weight", out, in, 3, 3), "", graph.ConvOptions{Stride: stride, Pad: 1})
	if r.norm == "layer" {
		return r.ChannelNorm(name+".ln", h, name+".ln", out, 1e-6)
	}
	return r.BatchNorm(name+".bn", h, name+".bn", out)
}

func (r residualNetwork) block(name, x string, in, out int) string {
	stride, shortcut := 1, x
	if in != out {
		stride = 2
		shortcut = r.conv(name+".shortcut", x, in, out, stride)
	}
	h := r.Relu(name+".relu", r.conv(name+".conv1", x, in, out, stride))
	return r.Relu(name, r.Add(name+".sum", r.conv(name+".conv2", h, out, out, 1), shortcut))
}

// TestMemoryOfResNet20 holds a training step at width 4 and batch 128 to 1.5 times all values, each once, with parameters, gradients and the
// momentum of the optimiser.
func TestMemoryOfResNet20(t *testing.T) {
	const batch, limit = 128, 1.5
	for _, norm := range []string{"batch", "layer"} {
		e, err := New[float32](resnet20(t, 4, norm), Options{Training: true, BatchStatistics: true, Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		p, err := newPlan(e, batch)
		if err != nil {
			t.Fatal(err)
		}
		parameters := 3 * len(e.Params()) // with gradients and momentum
		values := parameters
		for i := range e.net.graph.Nodes {
			name := e.net.graph.Nodes[i].Outputs[0]
			_, n, err := e.net.bind(name, batch)
			if err != nil {
				t.Fatal(err)
			}
			values += n
		}
		got := place(p.buffers) + parameters
		t.Logf("%s: %d MB, values and parameters %d MB, ratio %.3f", norm, got*4>>20, values*4>>20, float64(got)/float64(values))
		if float64(got) > limit*float64(values) {
			t.Errorf("%s: a step takes %d elements, all values and parameters are %d", norm, got, values)
		}
	}
}

// BenchmarkResNet20 is a training step on batches of 128.
func BenchmarkResNet20(b *testing.B) {
	const batch = 128
	for _, norm := range []string{"batch", "layer"} {
		b.Run(norm, func(b *testing.B) {
			g := resnet20(b, 1, norm)
			e := newEngine[float32](b, g, Options{Threads: 2, Training: true, BatchStatistics: true})
			for i := range e.Params() {
				e.Params()[i] *= 0.05
			}
			x, labels, dlogits := inputFor[float32](b, g, batch), labelsFor(batch, 10), make([]float32, batch*10)
			trainingStep(b, e, x, labels, dlogits)
			b.ReportAllocs()
			for b.Loop() {
				trainingStep(b, e, x, labels, dlogits)
			}
			b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "images/s")
		})
	}
}
