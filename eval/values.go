package eval

import (
	"cmp"
	"context"
	"maps"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/tensor"
)

// Values runs networks on one set of data and hands out values inside them: what repairing a merge needs.
type Values struct {
	Data    Data
	Threads int
	// Batch is the number of samples that run at once. 0 means DefaultBatch. The kept values of one batch are in memory.
	Batch int
	// Memory bounds, in bytes, what Through may take: samples, values, parameters and what the engine works in. 0 means 4 GiB.
	Memory int
}

// Through runs all of the data at once through the part of the graph that the values depend on; see merge.Forward.
func (s *Values) Through(ctx context.Context, g *graph.Graph, params map[string]*tensor.Tensor, values []string,
	visit func(value string, shape tensor.Shape, x []float32) error,
) (bool, error) {
	n := s.Data.Len()
	if n == 0 {
		return false, errEmpty
	}
	part := *g
	part.Outputs = values[len(values)-1:]
	e, err := nn.New[float32](&part, nn.Options{Threads: s.Threads, Visit: values})
	if err != nil {
		return false, err
	}
	defer e.Close()
	const float = 4
	// What is too large to be planned may still run in batches; where it cannot, Each says why.
	if elements, err := e.PlanElements(n); err != nil || float*(elements+len(e.Params())+n*SampleSize(s.Data)) > cmp.Or(s.Memory, 4<<30) {
		return false, nil
	}
	if err := e.SetParams(params); err != nil {
		return false, err
	}
	input := batches{size: n}
	samples, _ := input.fill(s.Data, 0)
	set := maps.Clone(params)
	_, err = e.ForwardThrough(samples, n, func(name string, shape tensor.Shape, x []float32) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := visit(name, shape, x); err != nil {
			return err
		}
		return replace(e, set, params)
	})
	return true, err
}

// replace sets the parameters that are no longer those which were set, and notes them.
func replace(e *nn.Engine[float32], set, params map[string]*tensor.Tensor) error {
	for _, spec := range e.Specs() {
		t := params[spec.Name]
		if t == set[spec.Name] {
			continue
		}
		if err := e.SetParam(spec.Name, t); err != nil {
			return err
		}
		set[spec.Name] = t
	}
	return nil
}

// Each runs the data once, in order, through the part of the graph that the values depend on; see merge.Forward.
func (s *Values) Each(ctx context.Context, g *graph.Graph, params map[string]*tensor.Tensor, values []string,
	visit func(shapes []tensor.Shape, values [][]float32) error,
) error {
	if s.Data.Len() == 0 {
		return errEmpty
	}
	part := *g
	part.Outputs = values[:1]
	e, err := nn.New[float32](&part, nn.Options{Threads: s.Threads, Keep: values[1:]})
	if err != nil {
		return err
	}
	defer e.Close()
	if err := e.SetParams(params); err != nil {
		return err
	}
	input := batches{size: DefaultBatch}
	if s.Batch > 0 {
		input.size = s.Batch
	}
	shapes, x := make([]tensor.Shape, len(values)), make([][]float32, len(values))
	for batch := range input.number(s.Data) {
		if err := ctx.Err(); err != nil {
			return err
		}
		samples, labels := input.fill(s.Data, batch)
		if _, err := e.Forward(samples, len(labels)); err != nil {
			return err
		}
		for i, name := range values {
			x[i], shapes[i] = e.Value(name)
		}
		if err := visit(shapes, x); err != nil {
			return err
		}
	}
	return nil
}
