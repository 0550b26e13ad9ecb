package train

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/tensor"
)

// Snapshot is the state of a training after a whole step: all that the rest of the run depends on beside graph and data.
type Snapshot struct {
	Config Config `json:"config"`
	// Subject is Options.Subject.
	Subject string `json:"subject,omitempty"`
	// Data recognises the data set of the run: its size and a hash of some of its samples.
	Data    string  `json:"data"`
	Step    int     `json:"step"`
	History []Epoch `json:"history"`
	// Sum of the losses, number of correct answers and number of samples of the epoch so far.
	Sum     float64 `json:"sum"`
	Correct int     `json:"correct"`
	Seen    int     `json:"seen"`
	// Tensors are "param/NAME", running statistics among them, and the moments of the optimiser, "m/NAME" and "v/NAME" as far as it has them.
	Tensors map[string]*tensor.Tensor `json:"-"`

	path string // where LoadSnapshot found it
}

// snapshotKey is the metadata key of the file form.
const snapshotKey = "rebasin.snapshot"

// snapshot hands a copy of the state to the caller, unless it has that state already.
func (t *trainer) snapshot() error {
	if t.opt.Snapshot == nil || t.saved == t.step {
		return nil
	}
	t.saved = t.step
	s := &Snapshot{
		Config: t.cfg, Subject: t.opt.Subject, Data: fingerprint(t.data),
		Step: t.step, History: slices.Clone(t.history), Sum: t.sum, Correct: t.correct, Seen: t.seen,
		Tensors: map[string]*tensor.Tensor{},
	}
	for _, part := range t.state() {
		s.Tensors[part.name] = tensor.FromSlice(part.shape, slices.Clone(part.data))
	}
	return t.opt.Snapshot(s)
}

// part is one tensor of the state of a run.
type part struct {
	name  string
	shape tensor.Shape
	data  []float32 // the run's own memory
}

// state lists the tensors of the run.
func (t *trainer) state() []part {
	var parts []part
	for _, arena := range []struct {
		kind string
		data []float32
	}{{"param", t.engine.Params()}, {"m", t.update.m}, {"v", t.update.v}} {
		if arena.data == nil {
			continue
		}
		for _, spec := range t.engine.Specs() {
			if spec.Statistic && arena.kind != "param" {
				continue
			}
			parts = append(parts, part{arena.kind + "/" + spec.Name, spec.Shape, arena.data[spec.Offset : spec.Offset+spec.Len]})
		}
	}
	return parts
}

// restore continues where the snapshot was taken.
func (t *trainer) restore(s *Snapshot) error {
	if err := t.checkProgress(s); err != nil {
		return fmt.Errorf("train: %s: %w", s.title(), err)
	}
	parts := t.state()
	for _, p := range parts {
		x, ok := s.Tensors[p.name]
		if !ok {
			return fmt.Errorf("train: %s: tensor %q is missing", s.title(), p.name)
		}
		if x.DType() != tensor.F32 || !x.Shape().Equal(p.shape) {
			return fmt.Errorf("train: %s: tensor %q is %v %v, the run has F32 %v", s.title(), p.name, x.DType(), x.Shape(), p.shape)
		}
		copy(p.data, tensor.Of[float32](x))
	}
	if len(s.Tensors) != len(parts) {
		return fmt.Errorf("train: %s: tensor %q is not the run's", s.title(), s.unknown(parts))
	}
	t.step, t.history, t.sum, t.correct, t.seen = s.Step, slices.Clone(s.History), s.Sum, s.Correct, s.Seen
	t.saved = s.Step
	return nil
}

// checkProgress compares what the snapshot says about itself with the run it is to be continued as.
func (t *trainer) checkProgress(s *Snapshot) error {
	if s.Config != t.cfg {
		return fmt.Errorf("it is of another run: its configuration is %s, asked for is %s", compact(s.Config), compact(t.cfg))
	}
	if s.Subject != t.opt.Subject {
		return fmt.Errorf("it is of another run: it trains %s, asked for is %s", s.Subject, t.opt.Subject)
	}
	if data := fingerprint(t.data); s.Data != data {
		return fmt.Errorf("it is of a training on other data: %s, not %s", s.Data, data)
	}
	if s.Step < 0 || s.Step > t.total {
		return fmt.Errorf("it is at step %d of a run of %d", s.Step, t.total)
	}
	epochs, steps := s.Step/t.perEpoch, s.Step%t.perEpoch
	if len(s.History) != epochs {
		return fmt.Errorf("it is at step %d, after %d epochs, and has the history of %d", s.Step, epochs, len(s.History))
	}
	if s.Seen != steps*t.cfg.Batch || s.Correct < 0 || s.Correct > s.Seen {
		return fmt.Errorf("it has seen %d samples, %d of them answered correctly, in %d steps of an epoch", s.Seen, s.Correct, steps)
	}
	if math.IsNaN(s.Sum) || math.IsInf(s.Sum, 0) {
		return fmt.Errorf("the sum of the losses is %v", s.Sum)
	}
	return nil
}

// title names the snapshot in errors.
func (s *Snapshot) title() string {
	if s.path == "" {
		return "snapshot"
	}
	return fmt.Sprintf("snapshot %q", s.path)
}

// unknown is the first tensor that is none of the parts.
func (s *Snapshot) unknown(parts []part) string {
	for _, name := range slices.Sorted(maps.Keys(s.Tensors)) {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			return name
		}
	}
	return ""
}

// fingerprintSamples is how many samples, spread over the set, are hashed.
const fingerprintSamples = 64

// fingerprint recognises a data set by its size and some of its samples.
func fingerprint(d eval.Data) string {
	n := min(d.Len(), fingerprintSamples)
	indices := make([]int, n)
	for i := range indices {
		indices[i] = i * (d.Len() / n)
	}
	x, labels := make([]float32, n*eval.SampleSize(d)), make([]int32, n)
	d.Fill(indices, x, labels)
	h := sha256.New()
	for _, part := range []any{x, labels} {
		// Writing numbers to a hash cannot fail.
		_ = binary.Write(h, binary.LittleEndian, part)
	}
	return fmt.Sprintf("%d samples of %v in %d classes, %s", d.Len(), d.Shape(), d.Classes(), hex.EncodeToString(h.Sum(nil)[:8]))
}

func compact(c Config) string {
	// The configuration of a run has been checked: it has no number that JSON cannot say. Another one's, given from memory, may.
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Sprintf("%+v", c)
	}
	return string(b)
}

// Save writes the snapshot as safetensors, atomically.
func (s *Snapshot) Save(ctx context.Context, path string) error {
	state, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("train: snapshot %q: %w", path, err)
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

// LoadSnapshot reads what Save wrote. Whether it fits a run, [Run] finds out.
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
	s := &Snapshot{}
	if err := s.parse(text); err != nil {
		return nil, fmt.Errorf("train: snapshot %q: %w", path, err)
	}
	s.path, s.Tensors = path, map[string]*tensor.Tensor{}
	for _, info := range r.Infos() {
		if s.Tensors[info.Name], err = r.Read(info.Name); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// parse reads the JSON form. A field it does not know is a state it would lose.
func (s *Snapshot) parse(text string) error {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(s); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("text after the end of the state")
	}
	return nil
}
