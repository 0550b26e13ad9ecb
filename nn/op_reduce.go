package nn

import (
	"slices"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/tensor"
)

func reduceOperators[T Float]() map[string]operator[T] {
	all := map[string]operator[T]{"ReduceMean": {compile: compileReduceMean[T], data: 1}}
	for name, r := range reductions {
		all[name] = operator[T]{compile: compileReduce[T](r), data: 1}
	}
	return all
}

// compileReduceMean takes the mean over some axes: along runs of the last axes, else over the repeated axes of a broadcast.
func compileReduceMean[T Float](c *call[T]) (step, error) {
	shape := c.shape(0)
	reduced, err := graph.ReduceAxes(&c.node.Node, len(shape), c.planner.engine.net.constants)
	if err != nil {
		return step{}, err
	}
	kept := tensor.Shape(slices.Clone(shape))
	for axis, gone := range reduced {
		if gone {
			kept[axis] = 1
		}
	}
	n := elements(shape) / elements(kept)
	rep := repeat(kept, shape)
	if last := len(rep.extents) - 1; n == 1 || rep.strides[last] == 0 && last <= 1 {
		return c.meanOfRuns(n), nil
	}
	x, y, dy, dx := c.x(0), c.y(), c.dy(), c.dx(0)
	s := step{forward: func() {
		reduce(y.data, x.data, rep)
		kernel.Scale(1/T(n), y.data)
	}}
	if dx != nil {
		s.backward = func() {
			kernel.Scale(1/T(n), dy.data)
			expand(dx.begin(), dy.data, rep)
			dx.end()
		}
	}
	return s, nil
}
