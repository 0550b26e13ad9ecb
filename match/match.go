package match

import (
	"errors"
	"fmt"
	"maps"
	"slices"

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
	// StepLimit: the straight-through estimator ran all its steps, which is how it ends.
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
}

// Event is one report of progress.
type Event struct {
	// Stage names the work: "weight matching", "activation matching", "straight-through".
	Stage string
	// Restart counts from 0. Done of Total steps of the stage are finished; Total is 0 when it is not known beforehand.
	Restart, Done, Total int
	// Objective is the matcher's current objective.
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

// check validates both networks against the symmetry and returns them as float32, in the symmetry's tensors only.
func check(sym *symmetry.Symmetry, a, b Params) (fa, fb map[string][]float32, err error) {
	if err := SameTensors(a, b); err != nil {
		return nil, nil, err
	}
	fa, err = floats(sym, a, "A")
	if err != nil {
		return nil, nil, err
	}
	fb, err = floats(sym, b, "B")
	return fa, fb, err
}

// SameTensors reports the first difference in names or shapes between two networks, as an error wrapping [ErrMismatch].
func SameTensors(a, b Params) error {
	for _, name := range slices.Sorted(maps.Keys(a)) {
		t, ok := b[name]
		if !ok {
			return fmt.Errorf("%w: tensor %q is in A only", ErrMismatch, name)
		}
		if !slices.Equal(a[name].Shape(), t.Shape()) {
			return fmt.Errorf("%w: tensor %q has shape %v in A and %v in B", ErrMismatch, name, a[name].Shape(), t.Shape())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if _, ok := a[name]; !ok {
			return fmt.Errorf("%w: tensor %q is in B only", ErrMismatch, name)
		}
	}
	return nil
}

// floats converts the floating-point tensors to float32 and refuses values that are not finite: no inner product survives them.
func floats(sym *symmetry.Symmetry, p Params, who string) (map[string][]float32, error) {
	for _, name := range slices.Sorted(maps.Keys(sym.Shapes)) {
		if t, ok := p[name]; !ok {
			return nil, fmt.Errorf("%w: tensor %q of the symmetry is missing in %s", ErrMismatch, name, who)
		} else if !slices.Equal(t.Shape(), sym.Shapes[name]) {
			return nil, fmt.Errorf("%w: tensor %q has shape %v in %s, the symmetry says %v", ErrMismatch, name, t.Shape(), who, sym.Shapes[name])
		}
	}
	out := make(map[string][]float32, len(p))
	for _, name := range slices.Sorted(maps.Keys(p)) {
		t := p[name]
		if !t.DType().IsFloat() {
			continue
		}
		f, err := t.Convert(tensor.F32)
		if err != nil {
			return nil, fmt.Errorf("match: tensor %q of %s: %w", name, who, err)
		}
		if i, found := f.NonFinite(); found {
			return nil, fmt.Errorf("match: tensor %q of %s: element %d is %v; only finite weights can be aligned", name, who, i, tensor.Of[float32](f)[i])
		}
		out[name] = tensor.Of[float32](f)
	}
	return out, nil
}
