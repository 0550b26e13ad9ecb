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
	// Tensors are what is to be done, in A's order.
	Tensors []Step
	// Repaired are tensors that are written in place of the combined ones, see [Repairer]; nil where nothing was repaired.
	Repaired map[string]*tensor.Tensor
	// Form is that of the output, unless the ending of its name says otherwise; the zero value is plain safetensors.
	Form checkpoint.Form
	// Bytes is the size of the output's data. Memory is the largest sum of tensors held at once while executing, if the sources hold none: both
	// inputs, their float32 forms where they are of half precision, and the result.
	Bytes, Memory int64
}

// What a plan does with a tensor.
const (
	// ActionCombine: the tensors of both models make a new one.
	ActionCombine = "combine"
	// ActionCopy: the tensors have no arithmetic, and A's is written if B's equals it.
	ActionCopy = "copy"
)

// Step is the part of a plan about one tensor.
type Step struct {
	checkpoint.Info
	Action string // ActionCombine or ActionCopy
}

// NewPlan decides a merge. Both models must have the same tensors, of the same shapes and dtypes; the first that differs is in the error. The weights
// of the two models need not sum to one; they are divided by their sum.
func NewPlan(a, b Source, method Method, weights [2]float64) (*Plan, error) {
	if !slices.Contains(Methods(), method) {
		return nil, fmt.Errorf("merge: unknown method %q; there are %v", method, Methods())
	}
	wa, wb := weights[0], weights[1]
	if !(wa >= 0 && wb >= 0) || math.IsInf(max(wa, wb), 1) || wa == 0 && wb == 0 {
		return nil, fmt.Errorf("merge: weights %v: they must be non-negative numbers, not all zero", weights)
	}
	if math.IsInf(wa+wb, 1) {
		wa, wb = wa/2, wb/2
	}
	p := &Plan{A: a, B: b, Method: method, Lambda: wb / (wa + wb)}
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
	size, err := info.DType.Bytes(info.Shape)
	if err != nil {
		return fmt.Errorf("merge: tensor %q: %w", info.Name, err)
	}
	own := int64(size)
	step := Step{Info: info, Action: ActionCopy}
	held := 2 * own
	if info.DType.IsFloat() {
		step.Action = ActionCombine
		held += own
		if w := working(info.DType); w != info.DType {
			held += 3 * own / int64(info.DType.Size()) * int64(w.Size())
		}
	}
	p.Bytes += own
	p.Memory = max(p.Memory, held)
	p.Tensors = append(p.Tensors, step)
	return nil
}

// Entries are the plan's tensors ready to be written, each computed when it is asked for. Progress, which may be nil, hears of each.
func (p *Plan) Entries(progress func(done, total int)) []checkpoint.Entry {
	entries := make([]checkpoint.Entry, len(p.Tensors))
	done := 0
	for i, s := range p.Tensors {
		entries[i] = checkpoint.Entry{Info: s.Info, Load: func() (*tensor.Tensor, error) {
			t, err := p.load(s.Name)
			done++
			if progress != nil {
				progress(done, len(p.Tensors))
			}
			return t, err
		}}
	}
	return entries
}

// load computes one tensor of the merged model.
func (p *Plan) load(name string) (*tensor.Tensor, error) {
	if t := p.Repaired[name]; t != nil {
		return t, nil
	}
	a, err := p.A.Load(name)
	if err != nil {
		return nil, err
	}
	b, err := p.B.Load(name)
	if err != nil {
		return nil, err
	}
	return Combine(p.Method, name, a, b, p.Lambda)
}

// Execute writes the merged model in the plan's form, atomically: it appears whole or not at all. Tensors are loaded one after the other.
func (p *Plan) Execute(ctx context.Context, path string, metadata map[string]string, progress func(done, total int)) error {
	return checkpoint.Write(ctx, path, p.Entries(progress), metadata, p.Form)
}

// Params computes the merged tensors in memory, for measuring before writing. Tensors that are copied are a's, or at the ends of the way b's, own.
func Params(method Method, a, b map[string]*tensor.Tensor, lambda float64) (map[string]*tensor.Tensor, error) {
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if a[name] == nil {
			return nil, fmt.Errorf("merge: tensor %q is missing in the first model", name)
		}
	}
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
