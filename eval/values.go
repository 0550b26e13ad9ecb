package eval

import (
	"context"

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
