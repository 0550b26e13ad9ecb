package model

import (
	"context"
	"fmt"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/tensor"
)

// Write writes the ONNX file anew with the tensors of a file that was opened with it as Options.Names, each in the type and the orientation of its
// initializer. All else of the ONNX file stays. Initializers that the exporter has merged cannot become several again: where their tensors differ that is an error,
// and so is a number that is too large for the initializer's type.
func (n *Names) Write(ctx context.Context, path string, m *Model) error {
	var entries []checkpoint.Entry
	infos := map[string]checkpoint.Info{}
	for _, info := range n.file.Infos() {
		infos[info.Name] = info
	}
	first := map[string]binding{} // by initializer
	for _, p := range n.parameters() {
		from, ok := n.bound[p.Name]
		info, known := infos[p.origin]
		switch other, twice := first[p.origin]; {
		case !ok || !known:
		case twice:
			if err := sameTensors(m, other, from); err != nil {
				return fmt.Errorf("model: writing %q: initializer %q: %w", path, p.origin, err)
			}
		default:
			first[p.origin] = from
			entries = append(entries, checkpoint.Entry{Info: info, Load: func() (*tensor.Tensor, error) { return m.load(from, info.DType) }})
		}
	}
	return n.file.Write(ctx, path, entries, n.file.Metadata())
}

// load reads a tensor as an initializer of a dtype has it.
func (m *Model) load(from binding, dtype tensor.DType) (*tensor.Tensor, error) {
	x, err := m.Tensor(from.tensor)
	if err != nil {
		return nil, err
	}
	y, err := x.Convert(dtype)
	if err != nil {
		return nil, err
	}
	if i, found := y.NonFinite(); found {
		if _, was := x.NonFinite(); !was {
			return nil, fmt.Errorf("element %d of %q is too large for %v", i, from.tensor, dtype)
		}
	}
	if from.transposed {
		return transpose(y), nil
	}
	return y, nil
}

// transpose is a matrix with its axes exchanged.
func transpose(x *tensor.Tensor) *tensor.Tensor {
	rows, columns, size := x.Shape()[0], x.Shape()[1], x.DType().Size()
	out := tensor.New(x.DType(), tensor.Shape{columns, rows})
	for i := range rows {
		for j := range columns {
			copy(out.Bytes()[(j*rows+i)*size:][:size], x.Bytes()[(i*columns+j)*size:])
		}
	}
	return out
}

// sameTensors is an error where two tensors differ that are one initializer.
func sameTensors(m *Model, x, y binding) error {
	a, err := m.load(x, tensor.F64)
	if err != nil {
		return err
	}
	b, err := m.load(y, tensor.F64)
	if err == nil && !a.Equal(b) {
		err = fmt.Errorf("tensors %q and %q differ, which the exporter has merged: %s", x.tensor, y.tensor, survivingNames)
	}
	return err
}
