package nn

import "github.com/rebasin/rebasin/graph"

// makeOperators make values from shapes. Where no batch stands in them they are constants, and there before anything runs.
func makeOperators[T Float]() map[string]operator[T] {
	return map[string]operator[T]{
		"ConstantOfShape": {compile: compileConstantOfShape[T], data: none},
		"Range":           {compile: compileRange[T], data: none},
		"Shape":           {compile: compileShape[T], data: none},
	}
}

func compileConstantOfShape[T Float](c *call[T]) (step, error) {
	t, err := graph.FilledWith(&c.node.Node)
	if err != nil {
		return step{}, err
	}
	value, err := convertExactly[T](t)
	if err != nil {
		return step{}, err
	}
	y := c.y()
	return step{forward: func() { fill(y.data, value[0]) }}, nil
}

// compileRange counts from 0 on: a range that depends on the batch does nothing else.
func compileRange[T Float](c *call[T]) (step, error) {
	y := c.y()
	return step{forward: func() {
		for i := range y.data {
			y.data[i] = T(i)
		}
	}}, nil
}

func compileShape[T Float](c *call[T]) (step, error) {
	net := c.planner.engine.net
	shape, _, err := net.bind(c.node.Inputs[0], c.planner.plan.batch)
	if err != nil {
		return step{}, err
	}
	shape = shape[graph.ShapeStart(&c.node.Node, len(shape)):]
	y := c.y()
	return step{forward: func() {
		for i := range y.data {
			y.data[i] = T(shape[i])
		}
	}}, nil
}
