package train

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/tensor"
)

// normalised is a small network with running statistics, and parameters for it.
func normalised(t *testing.T) (*graph.Graph, map[string]*tensor.Tensor) {
	b := graph.NewBuilder("normalised")
	x := b.Input("input", tensor.F32, graph.Sym("N"), graph.Fixed(5))
	h := b.Relu("h", b.BatchNorm("n", b.Linear("z", x, "fc1", 7, 5, false), "bn", 7))
	b.Output(b.Linear("logits", h, "fc2", 3, 7, true))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	params := map[string]*tensor.Tensor{}
	for _, p := range g.Params {
		shape, _ := p.Shape.Fixed()
		v := tensor.New(tensor.F32, shape)
		for i := range tensor.Of[float32](v) {
			tensor.Of[float32](v)[i] = .5 + float32(i%3)/4
		}
		params[p.Name] = v
	}
	return g, params
}

// TestStatisticsFollowTheData trains one step on all the data, with every way to change parameters turned on: running statistics must be those that
// the engine says.
func TestStatisticsFollowTheData(t *testing.T) {
	data := newBlobs(23, 3, 1, 5)
	g, params := normalised(t)
	cfg := Config{Epochs: 1, Batch: 23, Seed: 11, Optimizer: Optimizer{Name: "sgd", LearningRate: .1, Momentum: .9, WeightDecay: .1}}
	got := mustRun(t, g, params, data, cfg, Options{Threads: 1})

	e, err := nn.New[float32](g, nn.Options{BatchStatistics: true, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.SetParams(params); err != nil {
		t.Fatal(err)
	}
	indices := make([]int, data.Len())
	for i := range indices {
		indices[i] = i
	}
	x, labels := make([]float32, 23*5), make([]int32, 23)
	data.Fill(indices, x, labels)
	if _, err := e.Forward(x, 23); err != nil {
		t.Fatal(err)
	}
	e.UpdateStatistics(.1)
	const tolerance = 1e-6 // the order of the samples differs
	for name, want := range e.ParamTensors() {
		moved := false
		for i, v := range tensor.Of[float32](got.Params[name]) {
			w := tensor.Of[float32](want)[i]
			moved = moved || v != tensor.Of[float32](params[name])[i]
			if statistic := graph.Statistics(g)[name]; statistic && max(v-w, w-v) > tolerance {
				t.Errorf("%s[%d] is %v, want %v", name, i, v, w)
			}
		}
		if !moved {
			t.Errorf("%s has not changed", name)
		}
	}
}

// TestResumeKeepsStatistics stops a run after a few steps and continues it.
func TestResumeKeepsStatistics(t *testing.T) {
	data := newBlobs(23, 3, 1, 5)
	g, params := normalised(t)
	cfg := Config{Epochs: 3, Batch: 5, Seed: 11}
	want := mustRun(t, g, params, data, cfg, Options{Threads: 1})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var last *Snapshot
	_, err := Run(ctx, g, params, data, cfg, Options{
		Threads: 2,
		Progress: func(e Event) {
			if e.Step == 7 {
				cancel()
			}
		},
		Snapshot: func(s *Snapshot) error { last = s; return nil },
	})
	if err == nil || last == nil || last.Step != 7 {
		t.Fatalf("error %v, snapshot %v", err, last)
	}
	for name := range last.Tensors {
		if slices.Contains([]string{"m/bn.running_mean", "v/bn.running_var"}, name) {
			t.Errorf("the snapshot has %q: statistics have no moments", name)
		}
	}
	sameResult(t, mustRun(t, g, params, data, cfg, Options{Threads: 1, Resume: last}), want)
}

// TestBatchesAreCheckedFirst asks for trainings whose last batch of each epoch, or every batch, has too few samples for batch statistics: no step may be
// taken before that is said.
func TestBatchesAreCheckedFirst(t *testing.T) {
	g, params := normalised(t)
	for _, c := range []struct {
		samples, batch int
		want           string // "" where the training runs
	}{
		{21, 5, "train: 21 samples in batches of 5 leave 1 for the last batch of an epoch: "},
		{21, 1, "train: batches of 1: "},
		{1, 5, "train: batches of 1: "},
		{22, 5, ""},
		{20, 5, ""},
	} {
		steps := 0
		_, err := Run(context.Background(), g, params, newBlobs(c.samples, 3, 1, 5), Config{Epochs: 1, Batch: c.batch}, Options{
			Threads: 1, Progress: func(Event) { steps++ },
		})
		if c.want == "" {
			if err != nil {
				t.Errorf("%d samples in batches of %d: %v", c.samples, c.batch, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || !strings.Contains(err.Error(), "one value per channel") || steps > 0 {
			t.Errorf("%d samples in batches of %d: %d steps, error %v", c.samples, c.batch, steps, err)
		}
	}
}
