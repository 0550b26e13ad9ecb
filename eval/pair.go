package eval

import (
	"context"
	"fmt"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/tensor"
)

// Split measures parameters on training and test data: the evaluator of interpolation curves and loss planes.
type Split struct {
	Runner      *Runner
	Train, Test Data
}

// Evaluate measures the flat arena theta, laid out as Runner.Theta, on both parts.
func (s *Split) Evaluate(ctx context.Context, theta []float32) (train, test Metrics, err error) {
	arena := s.Runner.Theta()
	if len(theta) != len(arena) {
		return train, test, fmt.Errorf("eval: %d parameters for a network of %d", len(theta), len(arena))
	}
	copy(arena, theta)
	if train, err = s.Runner.Evaluate(ctx, s.Train); err != nil {
		return train, test, err
	}
	test, err = s.Runner.Evaluate(ctx, s.Test)
	return train, test, err
}

// Activations runs two sets of parameters of one graph on the same inputs and hands out the values at sites: the source of activation matching.
type Activations struct {
	Graph   *graph.Graph
	A, B    map[string]*tensor.Tensor
	Data    Data
	Threads int
	// Batch is the number of samples that run at once. 0 means DefaultBatch.
	Batch int
}

// Batches is the number of batches Each visits.
func (s *Activations) Batches() int {
	return (s.Data.Len() + s.batch() - 1) / s.batch()
}

func (s *Activations) batch() int {
	if s.Batch > 0 {
		return s.Batch
	}
	return DefaultBatch
}

// Each runs the data once, in order; see match.ActivationSource.
func (s *Activations) Each(ctx context.Context, sites []string, visit func(shapes []tensor.Shape, a, b [][]float32) error) error {
	ra, err := s.runner(sites, s.A)
	if err != nil {
		return err
	}
	defer ra.Close()
	rb, err := s.runner(sites, s.B)
	if err != nil {
		return err
	}
	defer rb.Close()
	shapes := make([]tensor.Shape, len(sites))
	va, vb := make([][]float32, len(sites)), make([][]float32, len(sites))
	n, size := s.Data.Len(), sampleSize(s.Data)
	for start := 0; start < n; start += s.batch() {
		if err := ctx.Err(); err != nil {
			return err
		}
		count := min(s.batch(), n-start)
		for _, r := range []*Runner{ra, rb} {
			r.fill(s.Data, start, count, size)
			if _, err := r.engine.Forward(r.x[:count*size], count); err != nil {
				return err
			}
		}
		for i, site := range sites {
			va[i], shapes[i] = ra.engine.Value(site)
			vb[i], _ = rb.engine.Value(site)
		}
		if err := visit(shapes, va, vb); err != nil {
			return err
		}
	}
	return nil
}

func (s *Activations) runner(sites []string, params map[string]*tensor.Tensor) (*Runner, error) {
	e, err := nn.New[float32](s.Graph, nn.Options{Threads: s.Threads, Keep: sites})
	if err != nil {
		return nil, err
	}
	if err := e.SetParams(params); err != nil {
		e.Close()
		return nil, err
	}
	return &Runner{engine: e, batch: s.batch()}, nil
}
