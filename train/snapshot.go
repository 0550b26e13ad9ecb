package train

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/tensor"
)

// Snapshot is the state of a training after a whole step.
type Snapshot struct {
	Config  Config                    `json:"config"`
	Subject string                    `json:"subject,omitempty"` // Options.Subject
	Step    int                       `json:"step"`
	History []Epoch                   `json:"history"`
	Sum     float64                   `json:"sum"` // of the losses of the epoch so far
	Correct int                       `json:"correct"`
	Seen    int                       `json:"seen"`
	Tensors map[string]*tensor.Tensor `json:"-"` // "param/NAME", "m/NAME", "v/NAME"
}

// snapshotKey is the metadata key of the file form.
const snapshotKey = "rebasin.snapshot"

// snapshot hands the state to the caller, as a copy.
func (t *trainer) snapshot() error {
	if t.opt.Snapshot == nil {
		return nil
	}
	s := &Snapshot{
		Config: t.cfg, Subject: t.opt.Subject, Step: t.step, History: slices.Clone(t.history), Sum: t.sum, Correct: t.correct, Seen: t.seen,
		Tensors: map[string]*tensor.Tensor{},
	}
	for kind, arena := range t.arenas() {
		for _, spec := range t.engine.Specs() {
			s.Tensors[kind+"/"+spec.Name] = tensor.FromSlice(spec.Shape, slices.Clone(arena[spec.Offset:spec.Offset+spec.Len]))
		}
	}
	return t.opt.Snapshot(s)
}

func (t *trainer) arenas() map[string][]float32 {
	a := map[string][]float32{"param": t.engine.Params(), "m": t.update.m}
	if t.update.v != nil {
		a["v"] = t.update.v
	}
	return a
}

// restore continues where the snapshot was taken.
func (t *trainer) restore(s *Snapshot) error {
	if !reflect.DeepEqual(s.Config, t.cfg) {
		return fmt.Errorf("train: the snapshot is of another run: its configuration is %s, asked for is %s", compact(s.Config), compact(t.cfg))
	}
	if s.Subject != t.opt.Subject {
		return fmt.Errorf("train: the snapshot is of another run: it is of %s, asked for is %s", s.Subject, t.opt.Subject)
	}
	if s.Step < 0 || s.Step > t.total {
		return fmt.Errorf("train: the snapshot is at step %d of a run of %d", s.Step, t.total)
	}
	want := 0
	for kind, arena := range t.arenas() {
		for _, spec := range t.engine.Specs() {
			name := kind + "/" + spec.Name
			want++
			x, ok := s.Tensors[name]
			if !ok {
				return fmt.Errorf("train: the snapshot has no tensor %q", name)
			}
			if x.DType() != tensor.F32 || !slices.Equal(x.Shape(), spec.Shape) {
				return fmt.Errorf("train: tensor %q of the snapshot is %v %v, the network has F32 %v", name, x.DType(), x.Shape(), spec.Shape)
			}
			copy(arena[spec.Offset:spec.Offset+spec.Len], tensor.Of[float32](x))
		}
	}
	if len(s.Tensors) != want {
		return fmt.Errorf("train: the snapshot has %d tensors, the run %d", len(s.Tensors), want)
	}
	t.step, t.history, t.sum, t.correct, t.seen = s.Step, slices.Clone(s.History), s.Sum, s.Correct, s.Seen
	return nil
}

func compact(c Config) string {
	b, _ := json.Marshal(c)
	return string(b)
}

// Save writes the snapshot as safetensors, atomically.
func (s *Snapshot) Save(ctx context.Context, path string) error {
	state, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("train: snapshot: %w", err)
	}
	var entries []checkpoint.Entry
	for _, name := range slices.Sorted(maps.Keys(s.Tensors)) {
		x := s.Tensors[name]
		entries = append(entries, checkpoint.Entry{
			Info: checkpoint.Info{Name: name, DType: x.DType(), Shape: x.Shape()},
			Load: func() (*tensor.Tensor, error) { return x, nil },
		})
	}
	return checkpoint.WriteSafetensors(ctx, path, entries, map[string]string{snapshotKey: string(state)})
}

// LoadSnapshot reads what Save wrote.
func LoadSnapshot(path string) (*Snapshot, error) {
	r, err := checkpoint.OpenSafetensors(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, ok := r.Metadata()[snapshotKey]
	if !ok {
		return nil, fmt.Errorf("train: %q is no snapshot of a training", path)
	}
	s := &Snapshot{Tensors: map[string]*tensor.Tensor{}}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(s); err != nil {
		return nil, fmt.Errorf("train: snapshot %q: %w", path, err)
	}
	for _, info := range r.Infos() {
		x, err := r.Read(info.Name)
		if err != nil {
			return nil, err
		}
		s.Tensors[info.Name] = x
	}
	return s, nil
}
