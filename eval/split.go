package eval

import (
	"context"
	"fmt"
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
