package merge

import (
	"context"
	"fmt"
	"io"
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
	// OpenSection, where it is not nil, gives the elements of a tensor in parts, or nil where it cannot.
	OpenSection func(name string) (checkpoint.Section, error)
}

// NotFiniteError says that a tensor has an infinity or NaN, which no merge makes sense of.
type NotFiniteError struct {
	Source, Tensor string
	Element        int // row-major
}

func (e *NotFiniteError) Error() string {
	return fmt.Sprintf("merge: %q: tensor %q: element %d is not finite (NaN or infinite)", e.Source, e.Tensor, e.Element)
}

// load loads a tensor whose values are finite.
func (s *Source) load(name string) (*tensor.Tensor, error) {
	t, err := s.Load(name)
	if err != nil {
		return nil, err
	}
	if i, found := t.NonFinite(); found {
		return nil, &NotFiniteError{s.Name, name, i}
	}
	return t, nil
}

// Plan is a merge of two or more models, decided from their headers.
type Plan struct {
	// Sources are the models.
	Sources []Source
	Method  Method
	// Weights are those of the models in the sum. They are at least 0 and sum to one.
	Weights []float64
	// Tensors are what is to be done, in A's order.
	Tensors []Step
	// Repaired are tensors that are written in place of the combined ones, see [Repairer]; nil where nothing was repaired.
	Repaired map[string]*tensor.Tensor
	// Form is that of the output, unless the ending of its name says otherwise; the zero value is plain safetensors.
	Form checkpoint.Form
	// Threads combine parts of a tensor at a time; 0 means GOMAXPROCS. The bytes written are the same for any number.
	Threads int
	// NoSync has the output take its name when the system has it, which need not be the disk: see [checkpoint.FileOptions].
	NoSync bool
	// Bytes is the size of the output's data.
	Bytes int64
}

// What a plan does with a tensor.
const (
	// ActionCombine: the tensors of all models make a new one.
	ActionCombine = "combine"
	// ActionCopy: the tensors have no arithmetic, and the first model's is written if the others' equal it.
	ActionCopy = "copy"
)

// Step is the part of a plan about one tensor.
type Step struct {
	checkpoint.Info
	Action string // ActionCombine or ActionCopy
}

// NewPlan decides a merge. All models must have the same tensors, of the same shapes and dtypes; the first that differs is in the error. The weights
// need not sum to one; they are divided by their sum. Only two models lie on a great circle.
func NewPlan(sources []Source, method Method, weights []float64) (*Plan, error) {
	if !slices.Contains(Methods(), method) {
		return nil, fmt.Errorf("merge: unknown method %q; there are %v", method, Methods())
	}
	if len(sources) < 2 || len(sources) > 2 && method != Lerp {
		return nil, fmt.Errorf("merge: %d models cannot be combined by %s", len(sources), method)
	}
	shares, err := sharesOf(weights, len(sources))
	if err != nil {
		return nil, err
	}
	p := &Plan{Sources: sources, Method: method, Weights: shares}
	for _, s := range sources[1:] {
		if err := sameTensors(sources[0], s); err != nil {
			return nil, err
		}
	}
	for _, info := range sources[0].Infos {
		if err := p.add(info); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// sharesOf divides the weights by their sum.
func sharesOf(weights []float64, models int) ([]float64, error) {
	if len(weights) != models {
		return nil, fmt.Errorf("merge: %d weights for %d models", len(weights), models)
	}
	var most, sum float64
	for _, w := range weights {
		if !(w >= 0) || math.IsInf(w, 1) {
			return nil, fmt.Errorf("merge: weights %v: they must be non-negative numbers, not all zero", weights)
		}
		most = max(most, w)
	}
	if most == 0 {
		return nil, fmt.Errorf("merge: weights %v: they must be non-negative numbers, not all zero", weights)
	}
	shares := slices.Clone(weights)
	if math.IsInf(most*float64(models), 1) {
		for i := range shares {
			shares[i] /= float64(models)
		}
	}
	for _, w := range shares {
		sum += w
	}
	for i := range shares {
		shares[i] /= sum
	}
	return shares, nil
}

// sameTensors returns the first difference between two models.
func sameTensors(a, b Source) error {
	other := map[string]checkpoint.Info{}
	for _, info := range b.Infos {
		other[info.Name] = info
	}
	for _, info := range a.Infos {
		y, ok := other[info.Name]
		if !ok {
			return fmt.Errorf("merge: tensor %q is in %q and not in %q", info.Name, a.Name, b.Name)
		}
		delete(other, info.Name)
		if y.DType != info.DType || !slices.Equal(y.Shape, info.Shape) {
			return fmt.Errorf("merge: tensor %q is %v %v in %q and %v %v in %q", info.Name, info.DType, info.Shape, a.Name, y.DType, y.Shape, b.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(other)) {
		return fmt.Errorf("merge: tensor %q is in %q and not in %q", name, b.Name, a.Name)
	}
	return nil
}

// SetLambda puts a plan of two models at the place on the way from the first (0) to the second (1).
func (p *Plan) SetLambda(lambda float64) { p.Weights = []float64{1 - lambda, lambda} }

func (p *Plan) add(info checkpoint.Info) error {
	size, err := info.DType.Bytes(info.Shape)
	if err != nil {
		return fmt.Errorf("merge: tensor %q: %w", info.Name, err)
	}
	step := Step{Info: info, Action: ActionCopy}
	if info.DType.IsFloat() {
		step.Action = ActionCombine
	}
	p.Bytes += int64(size)
	p.Tensors = append(p.Tensors, step)
	return nil
}

// Memory is the largest sum of tensors held at once while the plan is executed with this output, if the sources hold none themselves. Of what is
// merged part by part that is the parts under way. Else it is two inputs and the result; on a great circle two inputs of half precision and all three in
// float32; of more than two models the first, one after the other, and their sum in float64.
func (p *Plan) Memory(path string) (int64, error) {
	var most int64
	streamed := p.Form.Streams(path)
	for _, s := range p.Tensors {
		size, err := s.DType.Bytes(s.Shape)
		if err != nil {
			return 0, fmt.Errorf("merge: tensor %q: %w", s.Name, err)
		}
		held := p.wholeMemory(s, int64(size))
		if streamed && p.streams(s) {
			if partly, err := p.inSections(s.Name); err != nil {
				return 0, err
			} else if partly {
				held = p.partsMemory(int64(size))
			}
		}
		most = max(most, held)
	}
	return most, nil
}

// wholeMemory is what is held to merge a tensor of so many bytes as a whole.
func (p *Plan) wholeMemory(s Step, size int64) int64 {
	in := func(d tensor.DType) int64 { return size / int64(s.DType.Size()) * int64(d.Size()) }
	held, w := 2*size, working(s.DType)
	switch {
	case s.Action == ActionCopy:
	case len(p.Sources) > 2:
		held += in(tensor.F64)
		if w != s.DType {
			held += in(w)
		}
	case p.Method == Slerp && w != s.DType:
		held += 3 * in(w)
	default:
		held += size
	}
	return held
}

// Entries are the plan's tensors ready to be written, each computed when it is asked for. Progress, which may be nil, hears of each.
func (p *Plan) Entries(progress func(done, total int)) []checkpoint.Entry {
	return p.entries(context.Background(), progress)
}

// entries are Entries of which the context ends even what is under way in parts.
func (p *Plan) entries(ctx context.Context, progress func(done, total int)) []checkpoint.Entry {
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
		if p.streams(s) {
			entries[i].Stream = func(w io.Writer) error {
				err := p.stream(ctx, s, w)
				done++
				if progress != nil {
					progress(done, len(p.Tensors))
				}
				return err
			}
		}
	}
	return entries
}

// load computes one tensor of the merged model.
func (p *Plan) load(name string) (*tensor.Tensor, error) {
	if t := p.Repaired[name]; t != nil {
		return t, nil
	}
	if len(p.Sources) == 2 {
		a, err := p.Sources[0].load(name)
		if err != nil {
			return nil, err
		}
		b, err := p.Sources[1].load(name)
		if err != nil {
			return nil, err
		}
		return Combine(p.Method, name, a, b, p.Weights[1])
	}
	var m mean
	for i := range p.Sources {
		t, err := p.Sources[i].load(name)
		if err != nil {
			return nil, err
		}
		if err := m.add(name, t, p.Weights[i]); err != nil {
			return nil, err
		}
	}
	return m.tensor(name)
}

// Execute writes the merged model in the plan's form, atomically: it appears whole or not at all. Tensors are loaded one after the other, or, where
// sources and form allow it, read, combined and written in parts. A value that is not finite is a *[NotFiniteError].
func (p *Plan) Execute(ctx context.Context, path string, metadata checkpoint.Metadata, progress func(done, total int)) error {
	return checkpoint.WriteLate(ctx, path, p.entries(ctx, progress), metadata, p.Form, checkpoint.FileOptions{NoSync: p.NoSync})
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

// bytesPerSecond is a cautious rate of reading models, combining them and writing one, on one core of a desktop machine.
const bytesPerSecond = 500e6

// Seconds foresees the time of executing the plan.
func (p *Plan) Seconds() float64 {
	return float64(len(p.Sources)+1) * float64(p.Bytes) / bytesPerSecond
}
