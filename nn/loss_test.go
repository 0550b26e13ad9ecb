package nn

import (
	"math"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

func TestCrossEntropy(t *testing.T) {
	const rows, classes = 6, 4
	logits, labels := random[float64](rows*classes, 1), labelsFor(rows, classes)
	dlogits := make([]float64, len(logits))
	sum, correct := CrossEntropy(logits, labels, classes, dlogits)
	wantSum, wantCorrect := 0.0, 0
	for i, label := range labels {
		row := logits[i*classes : (i+1)*classes]
		total, greatest := 0.0, true
		for _, v := range row {
			total += math.Exp(v)
			greatest = greatest && v <= row[label]
		}
		wantSum -= math.Log(math.Exp(row[label]) / total)
		if greatest {
			wantCorrect++
		}
	}
	if math.Abs(sum-wantSum) > 1e-12 || correct != wantCorrect {
		t.Errorf("sum %v, correct %d; want %v, %d", sum, correct, wantSum, wantCorrect)
	}
	mean := func() float64 {
		sum, _ := CrossEntropy(logits, labels, classes, nil)
		return sum / rows
	}
	want := make([]float64, len(logits))
	for i := range logits {
		want[i] = difference(&logits[i], mean)
	}
	if d := deviation(dlogits, want); d > gradientTolerance {
		t.Errorf("the gradient deviates by %g", d)
	}
	CrossEntropy(logits, labels, classes, logits)
	if d := deviation(logits, dlogits); d != 0 {
		t.Errorf("the gradient in place of the logits deviates by %g", d)
	}
}

// TestCrossEntropyIsStable takes logits whose exponentials do not fit, ties and a NaN.
func TestCrossEntropyIsStable(t *testing.T) {
	nan := float32(math.NaN())
	for _, c := range []struct {
		row     []float32
		label   int32
		sum     float64
		correct int
	}{
		{[]float32{3e38, 0}, 0, 0, 1},
		{[]float32{1000, 0}, 1, 1000, 0},
		{[]float32{-1000, -1001}, 0, math.Log1p(math.Exp(-1)), 1},
		{[]float32{2, 2}, 0, math.Ln2, 1},
		{[]float32{2, 2}, 1, math.Ln2, 0},
		{[]float32{nan, 0}, 0, math.NaN(), 0},
		{[]float32{0, nan}, 0, math.NaN(), 0},
	} {
		d := make([]float32, 2)
		sum, correct := CrossEntropy(c.row, []int32{c.label}, 2, d)
		same := math.Abs(sum-c.sum) <= 1e-12 || math.IsNaN(sum) && math.IsNaN(c.sum)
		if !same || correct != c.correct {
			t.Errorf("logits %v, label %d: sum %v, correct %d; want %v, %d", c.row, c.label, sum, correct, c.sum, c.correct)
		}
		if !math.IsNaN(sum) && (math.Abs(float64(d[0]+d[1])) > 1e-6 || d[c.label] > 0) {
			t.Errorf("logits %v, label %d: gradient %v", c.row, c.label, d)
		}
	}
}

func TestCrossEntropyPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"label too large": func() { CrossEntropy(make([]float32, 4), []int32{0, 2}, 2, nil) },
		"label negative":  func() { CrossEntropy(make([]float32, 4), []int32{0, -1}, 2, nil) },
		"too few logits":  func() { CrossEntropy(make([]float32, 3), []int32{0, 1}, 2, nil) },
		"short gradient":  func() { CrossEntropy(make([]float32, 4), []int32{0, 1}, 2, make([]float32, 3)) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

// TestFinalLogSoftmaxIsHarmless gives the same loss and gradients with and without.
func TestFinalLogSoftmaxIsHarmless(t *testing.T) {
	build := func(final bool) *graph.Graph {
		return graphOf(t, func(b *graph.Builder) {
			y := b.Linear("logits", b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(5)), "fc", 3, 5, true)
			if final {
				y = b.Op("LogSoftmax", "log", nil, y)
			}
			b.Output(y)
		})
	}
	var losses []float64
	var grads [][]float64
	for _, final := range []bool{false, true} {
		g := build(final)
		e := newEngine[float64](t, g, Options{Training: true, Threads: 1})
		losses = append(losses, trainingStep(t, e, inputFor[float64](t, g, 7), labelsFor(7, 3), make([]float64, 21)))
		grads = append(grads, e.Grads())
	}
	if math.Abs(losses[0]-losses[1]) > 1e-12 || deviation(grads[0], grads[1]) > 1e-12 {
		t.Errorf("losses %v, gradients %v", losses, grads)
	}
}

func TestStripSoftmax(t *testing.T) {
	input := func(b *graph.Builder) string { return b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(5)) }
	for _, c := range []struct {
		name     string
		build    func(b *graph.Builder)
		output   string
		nodes    int
		stripped bool
	}{
		{"last axis", func(b *graph.Builder) {
			b.Output(b.Softmax("p", b.Linear("logits", input(b), "fc", 3, 5, true), -1))
			b.Declare("p", tensor.F32, graph.Sym("N"), graph.Fixed(3))
		}, "logits", 1, true},
		{"axis 1", func(b *graph.Builder) { b.Output(b.Softmax("p", b.Relu("h", input(b)), 1)) }, "h", 1, true},
		{"over the batch", func(b *graph.Builder) { b.Output(b.Softmax("p", b.Relu("h", input(b)), 0)) }, "p", 2, false},
		{"none", func(b *graph.Builder) { b.Output(b.Relu("h", input(b))) }, "h", 1, false},
		{"not final", func(b *graph.Builder) { b.Output(b.Relu("h", b.Softmax("p", input(b), -1))) }, "h", 2, false},
		{"read by others", func(b *graph.Builder) {
			p := b.Softmax("p", b.Relu("h", input(b)), -1)
			b.Output(p)
			b.Output(b.Op("Tanh", "t", nil, p))
		}, "h", 3, true},
		{"logits are an output", func(b *graph.Builder) {
			h := b.Relu("h", input(b))
			b.Output(b.Softmax("p", h, -1))
			b.Output(h)
		}, "p", 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := graphOf(t, c.build)
			nodes := len(g.Nodes)
			got, stripped := StripSoftmax(g)
			if stripped != c.stripped || got.Outputs[0] != c.output || len(got.Nodes) != c.nodes {
				t.Errorf("stripped %v, output %q, %d nodes", stripped, got.Outputs[0], len(got.Nodes))
			}
			if err := got.Validate(); err != nil {
				t.Error(err)
			}
			if len(g.Nodes) != nodes || stripped && g.Outputs[0] == c.output {
				t.Error("the graph that was given has changed")
			}
		})
	}
}
