package symmetry

import (
	"bytes"
	"fmt"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// traits is what the values of the parameters tell about them.
type traits struct {
	constant map[string]bool   // all elements are equal, in each model
	frozen   map[string][]bool // the same in all of several differing models: per axis, whether the tensor varies along it
}

// readTraits compares the models given, each of which must have the graph's parameters.
func readTraits(g *graph.Graph, models []map[string]*tensor.Tensor) (traits, error) {
	t := traits{constant: map[string]bool{}, frozen: map[string][]bool{}}
	differ := false
	for _, p := range g.Params {
		same, constant := true, len(models) > 0
		for i, m := range models {
			if err := checkParam(p, m[p.Name]); err != nil {
				return traits{}, fmt.Errorf("model %d: %w", i+1, err)
			}
			same = same && m[p.Name].Equal(models[0][p.Name])
			constant = constant && constantTensor(m[p.Name])
		}
		if constant {
			t.constant[p.Name] = true
		}
		if differ = differ || !same; same && !constant && len(models) > 1 {
			t.frozen[p.Name] = variesAlong(models[0][p.Name])
		}
	}
	if !differ {
		clear(t.frozen) // the same model twice says nothing
	}
	return t, nil
}

func checkParam(p graph.Value, t *tensor.Tensor) error {
	if t == nil {
		return fmt.Errorf("tensor %q is missing", p.Name)
	}
	if have := graph.ShapeOf(t.Shape()...); !have.Equal(p.Shape) {
		return fmt.Errorf("tensor %q has shape %s, the graph says %s", p.Name, have, p.Shape)
	}
	return nil
}

func variesAlong(t *tensor.Tensor) []bool {
	varies := make([]bool, len(t.Shape()))
	for axis := range varies {
		varies[axis] = !constantAlong(t, axis)
	}
	return varies
}

// constantTensor says that all elements have the same bits.
func constantTensor(t *tensor.Tensor) bool {
	return repeats(t.Bytes(), t.DType().Size())
}

// repeats says that data is one block of n bytes over and over.
func repeats(data []byte, n int) bool {
	return len(data) <= n || bytes.Equal(data[:len(data)-n], data[n:])
}

// constantAlong says that the elements along an axis have the same bits, for each index of the other axes.
func constantAlong(t *tensor.Tensor, axis int) bool {
	shape, inner := t.Shape(), t.DType().Size()
	for _, n := range shape[axis+1:] {
		inner *= n
	}
	data, slab := t.Bytes(), inner*shape[axis]
	for ; len(data) > 0; data = data[slab:] {
		if !repeats(data[:slab], inner) {
			return false
		}
	}
	return true
}
