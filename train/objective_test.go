package train

import (
	"context"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

func newGrad(params map[string]*tensor.Tensor) map[string]*tensor.Tensor {
	grad := map[string]*tensor.Tensor{}
	for name, p := range params {
		grad[name] = tensor.New(tensor.F32, p.Shape())
	}
	return grad
}

func mustObjective(t *testing.T, g *graph.Graph, data, scored *blobs, batch int) *Objective {
	t.Helper()
	o, err := NewObjective(g, data, scored, batch, 4, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

// smooth is a network of which differences make sense: no kinks.
func smooth(t *testing.T, dropout float64) (*graph.Graph, map[string]*tensor.Tensor) {
	t.Helper()
	return network(t, zoo.Config{Input: []int{6}, Hidden: []int{5, 4}, Classes: 3, Activation: "tanh", Norm: "layer", Dropout: dropout})
}

// batchNormalised is a network whose running statistics are far from those of any batch.
func batchNormalised(t *testing.T) (*graph.Graph, map[string]*tensor.Tensor) {
	t.Helper()
	b := graph.NewBuilder("batch")
	z := b.Linear("z", b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(6)), "fc1", 5, 6, true)
	n := b.Op("BatchNormalization", "n", nil, z, b.Param("bn.weight", 5), b.Param("bn.bias", 5), b.Param("bn.mean", 5), b.Param("bn.var", 5))
	b.Output(b.Linear("y", b.Op("Tanh", "h", nil, n), "fc2", 3, 5, true))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	params := map[string]*tensor.Tensor{}
	for _, p := range g.Params {
		shape, _ := p.Shape.Fixed()
		params[p.Name] = tensor.New(tensor.F32, shape)
		for i := range tensor.Of[float32](params[p.Name]) {
			tensor.Of[float32](params[p.Name])[i] = float32(rng.NormFloat64())
		}
	}
	for i := range 5 {
		tensor.Of[float32](params["bn.mean"])[i], tensor.Of[float32](params["bn.var"])[i] = 100, 1e4
	}
	return g, params
}

// TestGradientEqualsDifferences compares each partial derivative with the central difference of Score, which measures the same samples. Running
// statistics have no part in it.
func TestGradientEqualsDifferences(t *testing.T) {
	g, params := smooth(t, 0)
	checkDifferences(t, g, params)
	g, params = batchNormalised(t)
	checkDifferences(t, g, params)
}

func checkDifferences(t *testing.T, g *graph.Graph, params map[string]*tensor.Tensor) {
	t.Helper()
	// Float32 losses of about 1 are exact to 1e-7, so that differences over 2h are to 1e-5; the third derivative gives h²/6 of its own.
	const h, tolerance = 1e-2, 2e-4
	ctx := context.Background()
	data := newBlobs(30, 3, 5, 6)
	o := mustObjective(t, g, data, data, 30)
	grad := newGrad(params)
	loss, err := o.Gradient(ctx, 0, params, grad)
	if err != nil {
		t.Fatal(err)
	}
	score := func() float64 {
		s, err := o.Score(ctx, params)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := score(); math.Abs(s-loss) > 1e-6 {
		t.Errorf("loss %v of the batch of all samples, score %v", loss, s)
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		values := tensor.Of[float32](params[name])
		for i, x := range values {
			values[i] = x + h
			up := score()
			values[i] = x - h
			down := score()
			values[i] = x
			if got, want := float64(tensor.Of[float32](grad[name])[i]), (up-down)/(2*h); math.Abs(got-want) > tolerance {
				t.Errorf("d/d%s[%d] is %v, differences give %v", name, i, got, want)
			}
		}
	}
}

// TestObjectiveIgnoresDropout: the same bytes as for the network without it, at every step.
func TestObjectiveIgnoresDropout(t *testing.T) {
	ctx := context.Background()
	data := newBlobs(30, 3, 5, 6)
	var grads [2][]map[string]*tensor.Tensor
	for i, dropout := range []float64{0, .5} {
		g, params := smooth(t, dropout)
		o := mustObjective(t, g, data, data, 10)
		for step := range 3 {
			grad := newGrad(params)
			if _, err := o.Gradient(ctx, step, params, grad); err != nil {
				t.Fatal(err)
			}
			grads[i] = append(grads[i], grad)
		}
	}
	for step := range 3 {
		for name, want := range grads[0][step] {
			if !grads[1][step][name].Equal(want) {
				t.Errorf("step %d: the gradient of %q differs under dropout", step, name)
			}
		}
	}
	// With its mask as a second output, it is still none.
	g, _ := smooth(t, .5)
	for i, n := range g.Nodes {
		if n.Op == "Dropout" {
			g.Nodes[i].Outputs = append(slices.Clone(n.Outputs), n.Outputs[0]+".mask")
		}
	}
	for _, n := range withoutDropout(g).Nodes {
		if n.Op == "Dropout" || len(n.Outputs) != 1 {
			t.Errorf("node %+v is left", n)
		}
	}
}

// TestObjectiveBatches reads the samples of each step: an epoch's batches are disjoint, epochs differ, and a step's batch depends on the step alone.
func TestObjectiveBatches(t *testing.T) {
	ctx := context.Background()
	data := newBlobs(23, 3, 5, 6)
	g, params := smooth(t, 0)
	params["counter"] = tensor.New(tensor.I64, nil) // files hold tensors that the graph does not know
	o := mustObjective(t, g, data, newBlobs(3, 3, 5, 6), 5)
	grad := newGrad(params)
	if _, err := o.Score(ctx, params); err != nil {
		t.Fatal(err)
	}
	batch := func(step int) []int {
		data.asked = nil
		if _, err := o.Gradient(ctx, step, params, grad); err != nil {
			t.Fatal(err)
		}
		return data.asked
	}
	var steps [][]int
	for step := range 8 {
		steps = append(steps, batch(step))
	}
	for epoch := range slices.Chunk(steps, 4) {
		all := slices.Concat(epoch...)
		slices.Sort(all)
		if len(slices.Compact(all)) != 20 {
			t.Errorf("the batches %v of an epoch share samples", epoch)
		}
	}
	if slices.Equal(steps[0], steps[4]) {
		t.Error("two epochs begin with the same batch")
	}
	for _, step := range []int{6, 1} {
		if !slices.Equal(batch(step), steps[step]) {
			t.Errorf("step %d has another batch the second time", step)
		}
	}
}

func TestObjectiveErrors(t *testing.T) {
	ctx := context.Background()
	data := newBlobs(12, 3, 5, 6)
	g, params := smooth(t, 0)
	empty := &blobs{shape: []int{6}, classes: 3}
	for name, make := range map[string]func() (*Objective, error){
		"no data":  func() (*Objective, error) { return NewObjective(g, empty, data, 5, 0, 1) },
		"no batch": func() (*Objective, error) { return NewObjective(g, data, data, 0, 0, 1) },
	} {
		if _, err := make(); err == nil || !strings.Contains(err.Error(), "an objective on") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	o := mustObjective(t, g, data, empty, 5)
	if _, err := o.Score(ctx, params); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("error %v of a score on nothing", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := o.Gradient(cancelled, 0, params, newGrad(params)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v of a cancelled gradient", err)
	}
	part := maps.Clone(params)
	delete(part, "fc2.bias")
	if _, err := o.Gradient(ctx, 0, part, newGrad(params)); err == nil || !strings.Contains(err.Error(), `"fc2.bias"`) {
		t.Errorf("error %v of a missing tensor", err)
	}
	classes := mustObjective(t, g, newBlobs(12, 4, 5, 6), data, 5)
	const want = "3 outputs per sample, the data has 4 classes"
	if _, err := classes.Gradient(ctx, 0, params, newGrad(params)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v of wrong classes", err)
	}
}
