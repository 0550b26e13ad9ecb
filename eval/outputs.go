package eval

import (
	"context"
	"fmt"
	"math"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// Outputs judges mixtures of networks where there are no labels to measure a loss by: by how far a mixture's outputs are from the mean of the networks'
// own, which is what their ensemble computes. It is not safe for concurrent use; Close it.
type Outputs struct {
	graph  *graph.Graph
	runner *Runner
	data   Data
	mean   []float64 // of the networks' outputs, sample by sample
	spread float64   // squares of mean's distances from its own mean over all samples
}

// NewOutputs runs the networks on the data. As [NewBatchRunner] does it normalises batches by their own statistics where there is BatchNormalization,
// since those of a mixture have to be made anew.
func NewOutputs(ctx context.Context, g *graph.Graph, networks []map[string]*tensor.Tensor, d Data, threads int) (_ *Outputs, err error) {
	if d.Len() == 0 {
		return nil, errEmpty
	}
	r, err := NewBatchRunner(g, threads)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	o := &Outputs{graph: g, runner: r, data: d}
	for i, params := range networks {
		if err := r.SetParams(ParamsOf(g, params)); err != nil {
			return nil, fmt.Errorf("eval: network %d: %w", i+1, err)
		}
		at := 0
		if err := r.outputs(ctx, d, func(y []float32) error {
			if i == 0 {
				o.mean = append(o.mean, make([]float64, len(y))...)
			}
			for k, v := range y {
				o.mean[at+k] += float64(v) / float64(len(networks))
			}
			at += len(y)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	each := len(o.mean) / d.Len()
	for k := range each {
		center := 0.0
		for at := k; at < len(o.mean); at += each {
			center += o.mean[at] / float64(d.Len())
		}
		for at := k; at < len(o.mean); at += each {
			o.spread += (o.mean[at] - center) * (o.mean[at] - center)
		}
	}
	if math.IsNaN(o.spread) || math.IsInf(o.spread, 0) {
		return nil, fmt.Errorf("eval: the networks' outputs are not finite")
	}
	return o, nil
}

// Close joins the engine's threads.
func (o *Outputs) Close() { o.runner.Close() }

// Score is Σ|y - m|² / Σ|m - m̄|² over all samples: y are the outputs of the network with these parameters, m the mean of those of the networks, and m̄
// the mean of m over the samples. 0 is the ensemble itself, 1 what a constant would have. A network without finite outputs has +Inf.
func (o *Outputs) Score(ctx context.Context, params map[string]*tensor.Tensor) (float64, error) {
	if err := o.runner.SetParams(ParamsOf(o.graph, params)); err != nil {
		return 0, fmt.Errorf("eval: %w", err)
	}
	at, sum := 0, 0.0
	err := o.runner.outputs(ctx, o.data, func(y []float32) error {
		for k, v := range y {
			d := float64(v) - o.mean[at+k]
			sum += d * d
		}
		at += len(y)
		return nil
	})
	switch {
	case sum == 0:
		return 0, err
	case math.IsNaN(sum) || o.spread == 0:
		return math.Inf(1), err
	}
	return sum / o.spread, err
}

// outputs runs the data in batches, in order, labelled or not, and hands what the network puts out to visit, during whose call it is valid.
func (r *Runner) outputs(ctx context.Context, d Data, visit func(y []float32) error) error {
	for batch := range r.batches.number(d) {
		if err := ctx.Err(); err != nil {
			return err
		}
		x, labels := r.batches.fill(d, batch)
		y, err := r.engine.Forward(x, len(labels))
		if err != nil {
			return err
		}
		if err := visit(y); err != nil {
			return err
		}
	}
	return nil
}
