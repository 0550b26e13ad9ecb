package merge

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/tensor"
)

// Source gives one of the models to merge: its tensors' headers, and their data on demand.
type Source struct {
	// Name is the file, for plans and errors; Hash is its SHA-256.
	Name, Hash string
	Infos      []checkpoint.Info
	Load       func(name string) (*tensor.Tensor, error)
}

// Plan is a merge of two models, decided from their headers.
type Plan struct {
	A, B   Source
	Method Method
	// Lambda is the place on the way from A (0) to B (1).
	Lambda float64
	// Tensors are what is to be done, in the order of writing.
	Tensors []Step
	// Bytes is the size of the output's data, Memory the largest sum of tensors held at once while executing: both inputs, their float32 forms
	// and the result.
	Bytes, Memory int64
}

// Step is the part of a plan about one tensor.
type Step struct {
	checkpoint.Info
	// Action is "combine" or "copy".
	Action string
}

// NewPlan decides a merge. The weights of the two models need not sum to one; they are divided by their sum.
func NewPlan(a, b Source, method Method, weights [2]float64) (*Plan, error) {
	if !slices.Contains(Methods(), method) {
		return nil, fmt.Errorf("merge: unknown method %q; there are %v", method, Methods())
	}
	sum := weights[0] + weights[1]
	for _, w := range weights {
		if !(w >= 0) || math.IsInf(w, 0) || sum == 0 {
			return nil, fmt.Errorf("merge: weights %v: they must be non-negative numbers, not all zero", weights)
		}
	}
	p := &Plan{A: a, B: b, Method: method, Lambda: weights[1] / sum}
	other := map[string]checkpoint.Info{}
	for _, info := range b.Infos {
		other[info.Name] = info
	}
	for _, info := range a.Infos {
		y, ok := other[info.Name]
		if !ok {
			return nil, fmt.Errorf("merge: tensor %q is in %q and not in %q", info.Name, a.Name, b.Name)
		}
		delete(other, info.Name)
		if y.DType != info.DType || !slices.Equal(y.Shape, info.Shape) {
			return nil, fmt.Errorf("merge: tensor %q is %v %v in %q and %v %v in %q", info.Name, info.DType, info.Shape, a.Name, y.DType, y.Shape, b.Name)
		}
		if err := p.add(info); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(other)) {
		return nil, fmt.Errorf("merge: tensor %q is in %q and not in %q", name, b.Name, a.Name)
	}
	return p, nil
}

func (p *Plan) add(info checkpoint.Info) error {
	n, err := info.Shape.Elements()
	if err != nil {
		return fmt.Errorf("merge: tensor %q: %w", info.Name, err)
	}
	step := Step{Info: info, Action: "copy"}
	own := int64(n) * int64(info.DType.Size())
	held := 2 * own
	if info.DType.IsFloat() {
		step.Action = "combine"
		held += own
		if info.DType != tensor.F32 && info.DType != tensor.F64 {
			held += 3 * 4 * int64(n)
		}
	}
	p.Bytes += own
	p.Memory = max(p.Memory, held)
	p.Tensors = append(p.Tensors, step)
	return nil
}

// Entries are the plan's tensors ready to be written, each computed when it is asked for.
func (p *Plan) Entries(progress func(done, total int)) []checkpoint.Entry {
	entries := make([]checkpoint.Entry, len(p.Tensors))
	done := 0
	for i, s := range p.Tensors {
		entries[i] = checkpoint.Entry{Info: s.Info, Load: func() (*tensor.Tensor, error) {
			a, err := p.A.Load(s.Name)
			if err != nil {
				return nil, err
			}
			b, err := p.B.Load(s.Name)
			if err != nil {
				return nil, err
			}
			t, err := Combine(p.Method, s.Name, a, b, p.Lambda)
			done++
			if progress != nil {
				progress(done, len(p.Tensors))
			}
			return t, err
		}}
	}
	return entries
}

// Execute writes the merged model as safetensors, atomically: it appears whole or not at all.
func (p *Plan) Execute(ctx context.Context, path string, metadata map[string]string, progress func(done, total int)) error {
	return checkpoint.WriteSafetensors(ctx, path, p.Entries(progress), metadata)
}

// Params computes the merged tensors in memory, for measuring before writing.
func Params(method Method, a, b map[string]*tensor.Tensor, lambda float64) (map[string]*tensor.Tensor, error) {
	out := make(map[string]*tensor.Tensor, len(a))
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if b[name] == nil {
			return nil, fmt.Errorf("merge: tensor %q is missing in the second model", name)
		}
		t, err := Combine(method, name, a[name], b[name], lambda)
		if err != nil {
			return nil, err
		}
		out[name] = t
	}
	return out, nil
}

// bytesPerSecond is a cautious rate of reading two models, combining them and writing one, on one core of a desktop machine.
const bytesPerSecond = 500e6

// Seconds foresees the time of executing the plan.
func (p *Plan) Seconds() float64 { return 3 * float64(p.Bytes) / bytesPerSecond }
