package train

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

// blobs is a set of points around one centre per class. It notes which samples were asked for.
type blobs struct {
	shape   []int
	classes int
	x       []float32
	labels  []int32
	asked   []int
}

func newBlobs(n, classes int, seed uint64, shape ...int) *blobs {
	rng := rand.New(rand.NewPCG(seed, 0))
	size := 1
	for _, extent := range shape {
		size *= extent
	}
	centres := make([]float64, classes*size)
	for i := range centres {
		centres[i] = rng.NormFloat64()
	}
	b := &blobs{shape: shape, classes: classes}
	for i := range n {
		label := i % classes
		b.labels = append(b.labels, int32(label))
		for k := range size {
			b.x = append(b.x, float32(centres[label*size+k]+rng.NormFloat64()/2))
		}
	}
	return b
}

func (b *blobs) Len() int     { return len(b.labels) }
func (b *blobs) Shape() []int { return b.shape }
func (b *blobs) Classes() int { return b.classes }

func (b *blobs) Fill(indices []int, x []float32, labels []int32) {
	size := len(b.x) / len(b.labels)
	for row, i := range indices {
		copy(x[row*size:(row+1)*size], b.x[i*size:])
		labels[row] = b.labels[i]
	}
	b.asked = append(b.asked, indices...)
}

// network is an mlp with its initial parameters.
func network(t testing.TB, cfg zoo.Config) (*graph.Graph, map[string]*tensor.Tensor) {
	t.Helper()
	cfg.Arch = "mlp"
	g, err := zoo.Build(cfg)
	if err != nil {
		t.Fatal(err)
	}
	params, err := zoo.Init(g, cfg, 7)
	if err != nil {
		t.Fatal(err)
	}
	return g, params
}

// linear is the network x·wᵀ + b with small random parameters.
func linear(t testing.TB, in, out int) (*graph.Graph, map[string]*tensor.Tensor) {
	t.Helper()
	b := graph.NewBuilder("linear")
	x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(in))
	b.Output(b.Linear("y", x, "fc", out, in, true))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 0))
	params := map[string]*tensor.Tensor{}
	for _, p := range g.Params {
		shape, _ := p.Shape.Fixed()
		n, err := shape.Elements()
		if err != nil {
			t.Fatal(err)
		}
		data := make([]float32, n)
		for i := range data {
			data[i] = float32(rng.NormFloat64() / 4)
		}
		params[p.Name] = tensor.FromSlice(shape, data)
	}
	return g, params
}

func mustRun(t testing.TB, g *graph.Graph, params map[string]*tensor.Tensor, data eval.Data, cfg Config, opt Options) *Result {
	t.Helper()
	r, err := Run(context.Background(), g, params, data, cfg, opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sameResult fails unless two trainings ended in the same bytes with the same history.
func sameResult(t testing.TB, got, want *Result) {
	t.Helper()
	for name, w := range want.Params {
		if !got.Params[name].Equal(w) {
			t.Errorf("tensor %q differs", name)
		}
	}
	if len(got.Params) != len(want.Params) || got.Steps != want.Steps {
		t.Errorf("%d tensors after %d steps, want %d after %d", len(got.Params), got.Steps, len(want.Params), want.Steps)
	}
	if !slices.Equal(got.History, want.History) {
		t.Errorf("history %v, want %v", got.History, want.History)
	}
}

// digits opens the first n images of a split of MNIST.
func digits(t testing.TB, split dataset.Split, n int) *dataset.Set {
	t.Helper()
	set, err := dataset.Open(context.Background(), "mnist", split, dataset.Options{})
	if err != nil {
		t.Fatal(err)
	}
	indices := make([]int, n)
	for i := range indices {
		indices[i] = i
	}
	return set.Subset(indices)
}
