package eval_test

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// A linear network's outputs are known: y = s·x. The mean of s = 1 and s = 3 is s = 2, and what s has beside it is ((s - 2)/2)² of the variance, as the
// samples' mean is 0.
func TestOutputs(t *testing.T) {
	b := graph.NewBuilder("scale")
	b.Output(b.Mul("y", b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(2)), b.Param("s", 1)))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	scale := func(s float32) map[string]*tensor.Tensor {
		return map[string]*tensor.Tensor{"s": tensor.FromSlice(tensor.Shape{1}, []float32{s}), "counter": tensor.FromSlice(tensor.Shape{}, []int64{1})}
	}
	const n = eval.DefaultBatch + 100 // in two batches
	data := randomSamples(n, 2, 1, 1)
	data.classes = 0 // no labels
	for i := range n / 2 * 2 {
		data.x[n+i] = -data.x[i]
	}
	ctx := context.Background()
	o, err := eval.NewOutputs(ctx, g, []map[string]*tensor.Tensor{scale(1), scale(3)}, data, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for s, want := range map[float32]float64{2: 0, 1: .25, 4: 1, 0: 1, float32(math.Inf(1)): math.Inf(1)} {
		if got, err := o.Score(ctx, scale(s)); err != nil || !(math.Abs(got-want) <= 1e-6 || got == want) {
			t.Errorf("scale %v scores %v, %v; want %v", s, got, err, want)
		}
	}
	if _, err := o.Score(ctx, map[string]*tensor.Tensor{}); err == nil {
		t.Error("a network without parameters has a score")
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := o.Score(cancelled, scale(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := eval.NewOutputs(ctx, g, []map[string]*tensor.Tensor{scale(float32(math.NaN()))}, data, 1); err == nil {
		t.Error("outputs that are not finite are a measure")
	}
	if _, err := eval.NewOutputs(ctx, g, []map[string]*tensor.Tensor{scale(1)}, randomSamples(0, 2, 1, 1), 1); err == nil {
		t.Error("no samples are a measure")
	}
}
