package merge

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/rebasin/rebasin/tensor"
)

// mean is the weighted sum of one tensor of several models, in float64.
type mean struct {
	first *tensor.Tensor
	sum   []float64
}

// add adds a model's tensor. Those without arithmetic must all be equal, where two models' would have to be.
func (m *mean) add(name string, t *tensor.Tensor, weight float64) error {
	if m.first == nil {
		m.first = t
		if t.DType().IsFloat() {
			m.sum = make([]float64, t.Len())
		}
	} else if t.DType() != m.first.DType() || !t.Shape().Equal(m.first.Shape()) {
		return fmt.Errorf("merge: tensor %q is %v %v and %v %v", name, m.first.DType(), m.first.Shape(), t.DType(), t.Shape())
	}
	if !t.DType().IsFloat() {
		_, err := carry(name, m.first, t)
		return err
	}
	if weight == 0 {
		return nil // also of what is not finite
	}
	x, err := inDType(t, working(t.DType()))
	if err != nil {
		return fmt.Errorf("merge: tensor %q: %w", name, err)
	}
	if x.DType() == tensor.F64 {
		addScaled(m.sum, tensor.Of[float64](x), weight)
	} else {
		addScaled(m.sum, tensor.Of[float32](x), weight)
	}
	return nil
}

func addScaled[T float32 | float64](sum []float64, x []T, weight float64) {
	for i, v := range x {
		sum[i] += weight * float64(v)
	}
}

// tensor is the mean in the dtype of the first.
func (m *mean) tensor(name string) (*tensor.Tensor, error) {
	if m.sum == nil {
		return m.first, nil
	}
	out := tensor.New(working(m.first.DType()), m.first.Shape())
	if out.DType() == tensor.F64 {
		copy(tensor.Of[float64](out), m.sum)
	} else {
		dst := tensor.Of[float32](out)
		for i, v := range m.sum {
			dst[i] = float32(v)
		}
	}
	out, err := inDType(out, m.first.DType())
	if err != nil {
		return nil, fmt.Errorf("merge: tensor %q: %w", name, err)
	}
	return out, nil
}

// MeanParams is the weighted mean of models in memory, summed in float64 and rounded once to each tensor's dtype. The weights are divided by their sum.
// Integers must be equal, but for counts of batches, and are the first model's.
func MeanParams(models []map[string]*tensor.Tensor, weights []float64) (map[string]*tensor.Tensor, error) {
	if len(models) == 0 {
		return nil, errors.New("merge: no models")
	}
	shares, err := sharesOf(weights, len(models))
	if err != nil {
		return nil, err
	}
	out := make(map[string]*tensor.Tensor, len(models[0]))
	for i, m := range models[1:] {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if models[0][name] == nil {
				return nil, fmt.Errorf("merge: tensor %q of model %d is missing in the first model", name, i+2)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(models[0])) {
		var sum mean
		for i, m := range models {
			if m[name] == nil {
				return nil, fmt.Errorf("merge: tensor %q is missing in model %d", name, i+1)
			}
			if err := sum.add(name, m[name], shares[i]); err != nil {
				return nil, err
			}
		}
		if out[name], err = sum.tensor(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}
