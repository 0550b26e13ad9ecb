package eval

import (
	"context"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/tensor"
)

// ParamsOf are the tensors that the graph runs on. Files hold others beside them, as the counters of PyTorch's batch normalisations.
func ParamsOf(g *graph.Graph, tensors map[string]*tensor.Tensor) map[string]*tensor.Tensor {
	out := make(map[string]*tensor.Tensor, len(g.Params))
	for _, p := range g.Params {
		if t, ok := tensors[p.Name]; ok {
			out[p.Name] = t
		}
	}
	return out
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
	b := s.batches()
	return b.number(s.Data)
}

func (s *Activations) batches() batches {
	if s.Batch > 0 {
		return batches{size: s.Batch}
	}
	return batches{size: DefaultBatch}
}

// Each runs the data once, in order; see match.ActivationSource.
func (s *Activations) Each(ctx context.Context, sites []string, visit func(shapes []tensor.Shape, a, b [][]float32) error) error {
	if s.Data.Len() == 0 {
		return errEmpty
	}
	a, err := s.engine(sites, s.A)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := s.engine(sites, s.B)
	if err != nil {
		return err
	}
	defer b.Close()
	input := s.batches()
	shapes := make([]tensor.Shape, len(sites))
	va, vb := make([][]float32, len(sites)), make([][]float32, len(sites))
	for batch := range input.number(s.Data) {
		if err := ctx.Err(); err != nil {
			return err
		}
		x, labels := input.fill(s.Data, batch)
		for _, e := range []*nn.Engine[float32]{a, b} {
			if _, err := e.Forward(x, len(labels)); err != nil {
				return err
			}
		}
		for i, site := range sites {
			va[i], shapes[i] = a.Value(site)
			vb[i], _ = b.Value(site)
		}
		if err := visit(shapes, va, vb); err != nil {
			return err
		}
	}
	return nil
}

// engine runs one set of parameters and keeps the sites readable.
func (s *Activations) engine(sites []string, params map[string]*tensor.Tensor) (*nn.Engine[float32], error) {
	e, err := nn.New[float32](s.Graph, nn.Options{Threads: s.Threads, Keep: sites})
	if err != nil {
		return nil, err
	}
	if err := e.SetParams(ParamsOf(s.Graph, params)); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}
