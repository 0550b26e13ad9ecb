package train

import (
	"context"
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/tensor"
)

// Objective is the mean cross-entropy of a network on training data, with its gradient: what the straight-through estimator descends on. Close it.
type Objective struct {
	graph   *graph.Graph
	engine  *nn.Engine[float32]
	runner  *eval.Runner
	data    eval.Data
	scored  eval.Data
	batch   int
	seed    uint64
	epoch   int
	order   []int
	x       []float32
	labels  []int32
	dlogits []float32
}

// NewObjective makes the objective on batches of data, in an order drawn from the seed, and scores on the fixed subset scored. Gradients are taken
// in inference mode: what is wanted is the midpoint as it will be used. BatchNormalization is the exception, in gradients and scores: between two
// networks the running statistics are nobody's, and have to be reset, so that those of the batch are what comes closest to the midpoint in use.
func NewObjective(g *graph.Graph, data, scored eval.Data, batch int, seed uint64, threads int) (*Objective, error) {
	if data.Len() == 0 || batch < 1 {
		return nil, fmt.Errorf("train: an objective on %d samples in batches of %d", data.Len(), batch)
	}
	for _, d := range []eval.Data{data, scored} {
		if err := eval.CheckLabels(d); err != nil && d.Len() > 0 {
			return nil, fmt.Errorf("train: %w", err)
		}
	}
	e, err := nn.New[float32](withoutDropout(g), nn.Options{Threads: threads, Training: true, BatchStatistics: len(graph.Statistics(g)) > 0})
	if err != nil {
		return nil, err
	}
	r, err := eval.NewBatchRunner(g, threads)
	if err != nil {
		e.Close()
		return nil, err
	}
	batch = min(batch, data.Len())
	return &Objective{
		graph: g, engine: e, runner: r, data: data, scored: scored, batch: batch, seed: seed, epoch: -1,
		x: make([]float32, batch*eval.SampleSize(data)), labels: make([]int32, batch), dlogits: make([]float32, batch*data.Classes()),
	}, nil
}

// Close joins the engines' threads.
func (o *Objective) Close() {
	o.engine.Close()
	o.runner.Close()
}

// Gradient returns the mean loss on the step's batch and writes its gradient. The batches of an epoch are disjoint; a remainder is left out.
func (o *Objective) Gradient(ctx context.Context, step int, params, grad map[string]*tensor.Tensor) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	perEpoch := o.data.Len() / o.batch
	if epoch := step / perEpoch; epoch != o.epoch {
		o.epoch, o.order = epoch, dataset.Order(o.data.Len(), o.seed, epoch)
	}
	at := step % perEpoch * o.batch
	o.data.Fill(o.order[at:at+o.batch], o.x, o.labels)
	if err := o.engine.SetParams(eval.ParamsOf(o.graph, params)); err != nil {
		return 0, err
	}
	logits, err := o.engine.Forward(o.x, o.batch)
	if err != nil {
		return 0, err
	}
	if len(logits) != len(o.dlogits) {
		return 0, fmt.Errorf("train: the network gives %d outputs per sample, the data has %d classes", len(logits)/o.batch, o.data.Classes())
	}
	sum, _ := nn.CrossEntropy(logits, o.labels, o.data.Classes(), o.dlogits)
	if err := o.engine.Backward(o.dlogits); err != nil {
		return 0, err
	}
	for _, spec := range o.engine.Specs() { // the gradient of tensors that the graph does not know stays as it is
		copy(tensor.Of[float32](grad[spec.Name]), o.engine.Grads()[spec.Offset:spec.Offset+spec.Len])
	}
	return sum / float64(o.batch), nil
}

// Score returns the mean loss on the fixed subset.
func (o *Objective) Score(ctx context.Context, params map[string]*tensor.Tensor) (float64, error) {
	if err := o.runner.SetParams(eval.ParamsOf(o.graph, params)); err != nil {
		return 0, err
	}
	m, err := o.runner.Evaluate(ctx, o.scored)
	return m.Loss, err
}

// withoutDropout returns the graph with Dropout replaced by Identity, so that gradients are those of the network as it is used. A mask that
// something reads is gone, which makes the graph invalid rather than the gradients noisy.
func withoutDropout(g *graph.Graph) *graph.Graph {
	c := *g
	c.Nodes = slices.Clone(g.Nodes)
	for i, n := range c.Nodes {
		if n.Op == "Dropout" {
			c.Nodes[i] = graph.Node{Name: n.Name, Op: "Identity", Inputs: n.Inputs[:1], Outputs: n.Outputs[:1]}
		}
	}
	return &c
}
