package match

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// Params are the tensors of one network by name.
type Params = map[string]*tensor.Tensor

// Status says how a matcher ended.
type Status string

// The ways a matcher ends.
const (
	// Converged: no group could improve the objective by more than the tolerance.
	Converged Status = "converged"
	// SweepLimit: the limit on sweeps was reached while the objective still rose.
	SweepLimit Status = "sweep limit"
	// StepLimit: all steps were taken. The straight-through estimator ends like this; Frank–Wolfe still rose.
	StepLimit Status = "step limit"
	// Solved: one exact assignment per group, nothing iterative.
	Solved Status = "solved"
)

// Result is what a matcher returns.
type Result struct {
	// Alignment puts B's units in A's order.
	Alignment *symmetry.Alignment
	// Objective is the matcher's own: <A, P·B> for Weights, the sum of matched correlations for Activations, the loss at the midpoint for
	// StraightThrough and Auto.
	Objective float64
	// Trace is the objective before the first and after every sweep (Weights), or of every scored candidate (StraightThrough, Auto).
	Trace []float64
	// Sweeps counts the sweeps over all groups, of the best restart, or the steps of StraightThrough.
	Sweeps int
	Status Status
	// Method names what produced the alignment; Auto reports its winner here.
	Method string
	// Notes are facts a person should know: groups that fell back to weights, approximations made.
	Notes []string
	// Work is where the time of Weights went, all restarts together.
	Work Work
}

// Work is an account of weight matching.
type Work struct {
	// Similarity, Assignment and Moves are the seconds spent on similarity matrices, on assignment problems (those of families included), and on
	// measuring and making moves, corrections of similarities after them included.
	Similarity, Assignment, Moves float64
	// FLOPs are the floating-point operations done for similarities; FullFLOPs those of computing every one in full each time it was used.
	FLOPs, FullFLOPs float64
}

// clock starts to measure a part; the function it returns ends it.
func (w *Work) clock(part *float64) func() {
	start := time.Now()
	return func() { *part += time.Since(start).Seconds() }
}

// The stages of which progress is reported.
const (
	StageWeights         = "weight matching" // a step is a sweep; the only one with restarts
	StageActivations     = "activation matching"
	StageStraightThrough = "straight-through"
	StageAuto            = "auto"        // a step is a candidate
	StageMany            = "many models" // a step is a sweep over all models
	StageFrankWolfe      = "Frank–Wolfe"
	StagePairwise        = "pairs of models" // a step is a pair
)

// Event is one report of progress.
type Event struct {
	// Stage names the work: one of the constants above.
	Stage string
	// Restart counts from 0. Done of Total steps of the stage are finished; Total is 0 while it is not known, and Done at the last report.
	Restart, Done, Total int
	// Group is the group that weight matching is about to solve for in the sweep after Done; empty in the report that ends a sweep and in other stages.
	Group string
	// Objective is the matcher's current objective, 0 until it is known.
	Objective float64
}

// Observer receives progress. A nil Observer is silent.
type Observer func(Event)

func (o Observer) report(e Event) {
	if o != nil {
		o(e)
	}
}

// ErrMismatch is wrapped by errors about two networks that do not fit each other or their symmetry.
var ErrMismatch = errors.New("networks do not match")

// check validates the symmetry and both networks against it and each other: the same tensors, all of them finite as float32.
func check(sym *symmetry.Symmetry, a, b Params) error {
	if err := sym.Validate(); err != nil {
		return fmt.Errorf("match: %w", err)
	}
	if err := SameTensors(a, b); err != nil {
		return err
	}
	if err := fits(sym, a); err != nil {
		return err
	}
	if err := finite(a, "A"); err != nil {
		return err
	}
	return finite(b, "B")
}

// SameTensors reports the first difference between two networks in names, in shapes, or in what is a floating-point tensor, as an error wrapping
// [ErrMismatch]. Networks of different precision fit each other.
func SameTensors(a, b Params) error {
	for _, name := range slices.Sorted(maps.Keys(a)) {
		t, ok := b[name]
		if !ok {
			return fmt.Errorf("%w: tensor %q is in A only", ErrMismatch, name)
		}
		if !slices.Equal(a[name].Shape(), t.Shape()) {
			return fmt.Errorf("%w: tensor %q has shape %v in A and %v in B", ErrMismatch, name, a[name].Shape(), t.Shape())
		}
		if a[name].DType().IsFloat() != t.DType().IsFloat() {
			return fmt.Errorf("%w: tensor %q is %v in A and %v in B", ErrMismatch, name, a[name].DType(), t.DType())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if _, ok := a[name]; !ok {
			return fmt.Errorf("%w: tensor %q is in B only", ErrMismatch, name)
		}
	}
	return nil
}

// fits checks that the network has the tensors of the symmetry.
func fits(sym *symmetry.Symmetry, p Params) error {
	for _, name := range slices.Sorted(maps.Keys(sym.Shapes)) {
		switch t, ok := p[name]; {
		case !ok:
			return fmt.Errorf("%w: tensor %q of the symmetry is in neither", ErrMismatch, name)
		case !slices.Equal(t.Shape(), sym.Shapes[name]):
			return fmt.Errorf("%w: tensor %q has shape %v, the symmetry says %v", ErrMismatch, name, t.Shape(), sym.Shapes[name])
		}
	}
	return nil
}

// finite refuses values that are not finite as float32: no inner product survives them.
func finite(p Params, who string) error {
	for _, name := range slices.Sorted(maps.Keys(p)) {
		t := p[name]
		if !t.DType().IsFloat() {
			continue
		}
		i, found := t.NonFinite()
		if !found && t.DType() != tensor.F64 { // every other dtype's finite values are finite as float32
			continue
		}
		f, err := asFloat32(t)
		if err != nil {
			return fmt.Errorf("match: tensor %q of %s: %w", name, who, err)
		}
		if !found {
			i, found = f.NonFinite()
		}
		if found {
			return fmt.Errorf("match: tensor %q of %s: element %d is %v; only finite weights can be aligned", name, who, i, tensor.Of[float32](f)[i])
		}
	}
	return nil
}

// floats returns the floating-point tensors as float32: the caller's own memory where they are, so it must not be written. They have been found finite.
func floats(p Params) (memory, error) {
	out := make(memory, len(p))
	for name, t := range p {
		if !t.DType().IsFloat() {
			continue
		}
		f, err := asFloat32(t)
		if err != nil {
			return nil, fmt.Errorf("match: tensor %q: %w", name, err)
		}
		out[name] = tensor.Of[float32](f)
	}
	return out, nil
}

// An original gives the values of a network's floating-point tensors as they are before anything moves.
type original interface {
	// length is the number of elements of a tensor, which is one of floating-point numbers.
	length(name string) int
	// copyTo writes the elements to dst, of that length.
	copyTo(dst []float32, name string)
}

// memory is a network in float32.
type memory map[string][]float32

func (m memory) length(name string) int            { return len(m[name]) }
func (m memory) copyTo(dst []float32, name string) { copy(dst, m[name]) }

// stored is a network in the dtypes that it came in, converted whenever it is asked for: half-precision checkpoints need not be kept twice.
type stored Params

func (s stored) length(name string) int { return s[name].Len() }

func (s stored) copyTo(dst []float32, name string) {
	if err := tensor.ConvertInto(dst, s[name]); err != nil {
		panic(fmt.Sprintf("match: tensor %q: %v", name, err)) // check has seen that all are of floats, and length how many
	}
}

// asFloat32 returns the tensor itself where it is float32 already.
func asFloat32(t *tensor.Tensor) (*tensor.Tensor, error) {
	if t.DType() == tensor.F32 {
		return t, nil
	}
	return t.Convert(tensor.F32)
}
