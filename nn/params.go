package nn

import (
	"fmt"
	"maps"
	"slices"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/tensor"
)

// ParamSpec says where a parameter lies in the arenas of [Engine.Params] and [Engine.Grads]. Offsets are multiples of 16 elements; what
// lies between tensors is zero, has gradient zero and is to stay zero.
type ParamSpec struct {
	Name        string
	Shape       tensor.Shape
	Offset, Len int
	// Statistic marks a running mean or variance: it is not trained, and lies behind all that is.
	Statistic bool
}

// layOut places the parameters of float types, in the order of the graph, statistics after all others.
func (e *Engine[T]) layOut() error {
	statistics := graph.Statistics(e.net.graph)
	size := 0
	for _, statistic := range []bool{false, true} {
		for _, p := range e.net.graph.Params {
			if !p.DType.IsFloat() || statistics[p.Name] != statistic {
				continue
			}
			shape, n, err := e.net.bind(p.Name, 1)
			if err != nil {
				return err
			}
			e.specs = append(e.specs, ParamSpec{Name: p.Name, Shape: shape, Offset: size, Len: n, Statistic: statistic})
			size += align(n)
			if size > maxElements {
				return fmt.Errorf("the parameters have more than %d elements", maxElements)
			}
		}
		if !statistic {
			e.trained = size
		}
	}
	e.params = kernel.Make[T](size)
	if e.opt.Training {
		e.grads = kernel.Make[T](size)
	}
	return nil
}

// Specs lists the parameters as they lie in the arena: in the order of Graph.Params without those that are not floats, running statistics last.
func (e *Engine[T]) Specs() []ParamSpec { return slices.Clone(e.specs) }

// Params is the arena of parameters itself: writing to it changes them.
func (e *Engine[T]) Params() []T { return e.params }

// Trained is the length of the leading part of the arenas that is trained: what an optimiser may change. Behind it are running statistics.
func (e *Engine[T]) Trained() int { return e.trained }

// Grads is the arena of gradients, which Backward overwrites; nil in inference.
func (e *Engine[T]) Grads() []T { return e.grads }

// SetParams sets all parameters, from tensors of any float type. Tensors of the graph's parameters that are not floats may be among them,
// and are passed over. An error names the tensor that is missing, has another shape or is not the graph's, and changes nothing.
func (e *Engine[T]) SetParams(params map[string]*tensor.Tensor) error {
	if err := e.CheckParams(params); err != nil {
		return err
	}
	for _, s := range e.specs {
		if err := e.take(s, params[s.Name]); err != nil {
			return err
		}
	}
	return nil
}

// take sets a parameter from a tensor that has been checked.
func (e *Engine[T]) take(s ParamSpec, t *tensor.Tensor) error {
	if err := tensor.ConvertInto(e.params[s.Offset:s.Offset+s.Len], t); err != nil {
		return fmt.Errorf("nn: graph %q: tensor %q: %w", e.net.graph.Name, s.Name, err)
	}
	return nil
}

// CheckParams returns the error that [Engine.SetParams] would, and sets nothing.
func (e *Engine[T]) CheckParams(params map[string]*tensor.Tensor) error {
	known := map[string]bool{}
	for _, p := range e.net.graph.Params {
		known[p.Name] = true
		if err := checkParam(p, params[p.Name]); err != nil {
			return fmt.Errorf("nn: graph %q: %w", e.net.graph.Name, err)
		}
	}
	for _, name := range sortedKeys(params) {
		if !known[name] {
			return fmt.Errorf("nn: graph %q: tensor %q is not a parameter of the graph", e.net.graph.Name, name)
		}
	}
	return nil
}

// checkParam holds a tensor, nil where there is none, to what the graph says of the parameter.
func checkParam(p graph.Value, t *tensor.Tensor) error {
	if t == nil {
		if p.DType.IsFloat() {
			return fmt.Errorf("tensor %q is missing", p.Name)
		}
		return nil
	}
	if want, _ := p.Shape.Fixed(); !t.Shape().Equal(want) {
		return fmt.Errorf("tensor %q has shape %v, not %v", p.Name, t.Shape(), want)
	}
	if p.DType.IsFloat() && !t.DType().IsFloat() {
		return fmt.Errorf("tensor %q is of %v, not of floats", p.Name, t.DType())
	}
	return nil
}

// SetParam sets one parameter, from a tensor of any float type and its shape. An error changes nothing. Different parameters may be set at the same time.
func (e *Engine[T]) SetParam(name string, t *tensor.Tensor) error {
	at := slices.IndexFunc(e.specs, func(s ParamSpec) bool { return s.Name == name })
	if at < 0 {
		return fmt.Errorf("nn: graph %q: tensor %q is no parameter of floats", e.net.graph.Name, name)
	}
	p, _ := e.net.graph.Param(name)
	if err := checkParam(p, t); err != nil {
		return fmt.Errorf("nn: graph %q: %w", e.net.graph.Name, err)
	}
	return e.take(e.specs[at], t)
}

// convert returns the elements of t as T. They are those of t itself where it has that type.
func convert[T Float](t *tensor.Tensor) ([]T, error) {
	dtype := dtypeOf[T]()
	if t.DType() != dtype {
		var err error
		if t, err = t.Convert(dtype); err != nil {
			return nil, err
		}
	}
	return tensor.Of[T](t), nil
}

func dtypeOf[T Float]() tensor.DType {
	if _, ok := any(T(0)).(float32); ok {
		return tensor.F32
	}
	return tensor.F64
}

// ParamTensors copies the parameters into tensors of T.
func (e *Engine[T]) ParamTensors() map[string]*tensor.Tensor { return e.tensors(e.params) }

// GradTensors copies the gradients into tensors of T; it is empty in inference.
func (e *Engine[T]) GradTensors() map[string]*tensor.Tensor { return e.tensors(e.grads) }

func (e *Engine[T]) tensors(arena []T) map[string]*tensor.Tensor {
	out := make(map[string]*tensor.Tensor, len(e.specs))
	for _, s := range e.specs {
		if arena != nil {
			out[s.Name] = tensor.FromSlice(s.Shape, arena[s.Offset:s.Offset+s.Len])
		}
	}
	return out
}

// sortedKeys lists the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
