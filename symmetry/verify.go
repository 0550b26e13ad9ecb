package symmetry

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/tensor"
)

// Tolerance is the greatest deviation, max|Δ| / max(1, max|y|) over all outputs y, at which two networks run in float64
// count as computing the same. Summing in another order costs about 1e-16 for each layer and never comes near; what is
// not a symmetry changes outputs by much more.
const Tolerance = 1e-6

// Sensitivity is the deviation that permuting one axis alone must cause for the axis to count as seen by the proof: had
// the symmetry forgotten the axis, the proof would have failed by a wide margin.
const Sensitivity = 10 * Tolerance

// defaultSamples is how many random inputs a network is run on, unless that takes too long.
const defaultSamples = 32

// VerifyOptions say how hard to look. The zero value draws 32 inputs from seed 0, or fewer for a network that takes long.
type VerifyOptions struct {
	Seed    uint64
	Threads int       // 0 means GOMAXPROCS
	Samples int       // random inputs; 0 means 32 or, where these would take long, at least 2
	Inputs  []float32 // inputs to run on besides, one after the other
}

// Proof is what [Verify] found where a symmetry holds.
type Proof struct {
	// MaxDeviation is the greatest deviation of the outputs that an alignment caused.
	MaxDeviation float64
	// Samples is the number of inputs on which outputs were compared, over all trials.
	Samples int
	// Unproven are the groups of two or more units that the proof could not have refuted: none of their axes changes the
	// outputs when permuted alone.
	Unproven []string
	// Inert are the single axes of which that is true, as the bias of attention's keys, which softmax cancels.
	Inert []AxisRef
	// Untried is how many other axes were not permuted alone, the network being costly and their groups seen on another axis already.
	Untried int
}

// AxisRef names an axis of a tensor on which a group stands. Axis -1 is the numbering of the tensors of a virtual stack.
type AxisRef struct {
	Group, Tensor string
	Axis          int
}

// String is "fc1: axis 0 of fc1.bias".
func (r AxisRef) String() string { return fmt.Sprintf("%s: axis %d of %s", r.Group, r.Axis, r.Tensor) }

// GroupError says that permuting the units of a group changes what the network computes.
type GroupError struct {
	Group     string
	Deviation float64
	Random    bool // it showed with random parameters, not with those of the checkpoint
}

func (e *GroupError) Error() string {
	with := "the checkpoint's parameters"
	if e.Random {
		with = "random parameters"
	}
	return fmt.Sprintf("group %q is not a symmetry: with %s, permuting its units changes the outputs by %.3g, where %.0e is allowed",
		e.Group, with, e.Deviation, Tolerance)
}

// Verify proves that a symmetry is one of the network's function, by running it: an alignment that moves every group is
// drawn and applied, and the outputs before and after must agree within [Tolerance], in float64. It does so on the
// parameters given and on random ones, where no accident (a bias that is still zero) hides a mistake; tensors of
// s.Constant keep their values there. A final Softmax, which would hide differences of what saturates it, is seen through.
//
// The proof must be able to fail. So each axis on which a group stands is also permuted alone, which must change the
// outputs by more than [Sensitivity]: otherwise the proof would not notice if the axis were wrong, and the axis is listed
// in Proof.Inert; what was not seen is tried again on the parameters given and on a few more random ones. A group all of whose axes are inert is listed in Proof.Unproven. Where so many runs would take long, fewer inputs
// do, and one axis of each group that changes the outputs.
//
// A symmetry that does not hold is a *[GroupError] naming the group at fault. Outputs that are not finite are an error.
// The result depends on the seed alone, not on the number of threads. Cost: four runs of the network on all inputs, and
// one on a few of them for each axis, and a few more for an axis that is inert.
func Verify(ctx context.Context, g *graph.Graph, s *Symmetry, params map[string]*tensor.Tensor, opt VerifyOptions) (*Proof, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	logits, _ := nn.StripSoftmax(g)
	r, err := newVerifyRun(logits, opt.Threads)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	defer r.close()
	rng := rand.New(rand.NewPCG(opt.Seed, verifyStream))
	if opt.Samples <= 0 {
		opt.Samples = affordable(g, verifyRuns, defaultSamples, leastSamples)
	}
	if err := r.setInputs(append(r.randomInputs(rng, opt.Samples), widen(opt.Inputs)...)); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	v := &verifier{run: r, symmetry: s, seen: map[AxisRef]bool{}, proof: &Proof{}}
	v.economise(g)
	if err := r.engine.CheckParams(params); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	trials := []trial{
		{source: sourceOf(params), alignment: s.moving(rng)},
		{source: s.randomSource(rng.Uint64(), params), alignment: s.moving(rng), random: true},
	}
	for _, t := range trials {
		if err := v.holds(ctx, t); err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
	}
	// Random parameters first: with them hardly an axis is left to try with the others. Units that no input excites hide an axis, so what was
	// not seen gets more chances.
	slices.Reverse(trials)
	for range moreDraws {
		trials = append(trials, trial{source: s.randomSource(rng.Uint64(), params), alignment: s.moving(rng), random: true})
	}
	for _, t := range trials {
		if err := v.sensitive(ctx, t); err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
	}
	v.conclude()
	return v.proof, nil
}

// verifyRuns is how often all inputs run: before and after an alignment, with two sets of parameters.
const verifyRuns = 4

// moreDraws of random parameters are for axes of which nothing has been seen.
const moreDraws = 3

// verifyStream keeps the draws of Verify apart from others of the same seed.
const verifyStream = 0x7665726966790000

// A source gives the tensors of a network one at a time, always the same, to several goroutines at once: of a large network there need not be a second set.
type source func(name string) (*tensor.Tensor, error)

func sourceOf(params map[string]*tensor.Tensor) source {
	return func(name string) (*tensor.Tensor, error) {
		if t := params[name]; t != nil {
			return t, nil
		}
		return nil, fmt.Errorf("tensor %q is missing", name)
	}
}

// trial is one set of parameters and the alignment tried on it.
type trial struct {
	source    source
	alignment *Alignment
	random    bool
}

// verifier collects a proof.
type verifier struct {
	run      *verifyRun
	symmetry *Symmetry
	seen     map[AxisRef]bool // the axes permuted alone: whether that changes the outputs
	sparing  bool             // one axis that is seen does for each group
	proof    *Proof
}

// holds compares the outputs before and after the trial's alignment.
func (v *verifier) holds(ctx context.Context, t trial) error {
	before, err := v.run.with(ctx, t.source, v.run.inputs)
	if err != nil && t.random {
		return fmt.Errorf("with random parameters: %w", err)
	}
	if err != nil {
		return err
	}
	deviation, err := v.deviation(ctx, t, before, len(v.symmetry.Groups))
	if err != nil {
		return err
	}
	if deviation > Tolerance {
		return v.blame(ctx, t, before, deviation)
	}
	v.proof.MaxDeviation = max(v.proof.MaxDeviation, deviation)
	v.proof.Samples += v.run.samples
	return nil
}

// deviation is what the trial's alignment of the first groups, the others staying as they are, does to the outputs.
func (v *verifier) deviation(ctx context.Context, t trial, before []float64, groups int) (float64, error) {
	a := v.symmetry.Identity()
	for _, g := range v.symmetry.Groups[:groups] {
		a.Perms[g.Name] = t.alignment.Perms[g.Name]
	}
	if err := v.symmetry.CheckAlignment(a); err != nil {
		return 0, err
	}
	moved := func(name string) (*tensor.Tensor, error) { return v.symmetry.ApplyFrom(a, name, t.source) }
	after, err := v.run.with(ctx, moved, v.run.inputs)
	if err != nil {
		return 0, err
	}
	return outputDeviation(after, before), nil
}

// blame finds the group at fault by bisection: with the first good groups moved the outputs stay, with the first bad ones
// they change. Good is below bad throughout, so that in the end one group makes the difference.
func (v *verifier) blame(ctx context.Context, t trial, before []float64, deviation float64) error {
	good, bad := 0, len(v.symmetry.Groups)
	for good+1 < bad {
		middle := (good + bad) / 2
		d, err := v.deviation(ctx, t, before, middle)
		if err != nil {
			return err
		}
		if d > Tolerance {
			bad, deviation = middle, d
		} else {
			good = middle
		}
	}
	return &GroupError{Group: v.symmetry.Groups[bad-1].Name, Deviation: deviation, Random: t.random}
}

// proven is the set of groups of which an axis changes the outputs when permuted alone.
func (v *verifier) proven() map[string]bool {
	proven := map[string]bool{}
	for ref, seen := range v.seen {
		if seen {
			proven[ref.Group] = true
		}
	}
	return proven
}

// economise decides on how many inputs axes are permuted alone, and whether on all of them.
func (v *verifier) economise(g *graph.Graph) {
	runs := len(v.symmetry.axisRefs())
	if v.run.fewRows = affordable(g, runs, fewRows, 0); v.run.fewRows == 0 {
		v.sparing = true
		v.run.fewRows = affordable(g, len(v.symmetry.Groups), fewRows, 1)
	}
}

// unread says that the network does not read a tensor, which is another name of one that it does.
func (v *verifier) unread(ref AxisRef) bool {
	_, literal := v.symmetry.Shapes[ref.Tensor]
	_, read := v.run.specs[ref.Tensor]
	return literal && !read
}

// refs lists the axes to permute alone: those of tensors with several first where not all are tried, since a vector may do nothing.
func (v *verifier) refs() []AxisRef {
	refs := slices.DeleteFunc(v.symmetry.axisRefs(), v.unread)
	if v.sparing {
		slices.SortStableFunc(refs, func(a, b AxisRef) int {
			return len(v.symmetry.Layouts[b.Tensor]) - len(v.symmetry.Layouts[a.Tensor])
		})
	}
	return refs
}

// sensitive permutes each axis that no trial has seen so far alone.
func (v *verifier) sensitive(ctx context.Context, t trial) error {
	proven := v.proven()
	refs := slices.DeleteFunc(v.refs(), func(ref AxisRef) bool { return v.seen[ref] || v.sparing && proven[ref.Group] })
	if len(refs) == 0 {
		return nil
	}
	before, err := v.run.with(ctx, t.source, v.run.few)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if v.sparing && proven[ref.Group] {
			continue
		}
		moved, err := v.symmetry.permuteAlone(ref, t)
		if err != nil {
			return err
		}
		after, err := v.run.instead(ctx, moved, t.source, v.run.few)
		if err != nil {
			return err
		}
		v.seen[ref] = outputDeviation(after, before) > Sensitivity
		proven[ref.Group] = proven[ref.Group] || v.seen[ref]
	}
	return nil
}

// conclude lists what was not seen, in the order of the groups.
func (v *verifier) conclude() {
	proven := v.proven()
	for _, ref := range slices.DeleteFunc(v.symmetry.axisRefs(), v.unread) {
		switch seen, tried := v.seen[ref]; {
		case !tried:
			v.proof.Untried++
		case !seen:
			v.proof.Inert = append(v.proof.Inert, ref)
		}
	}
	for _, g := range v.symmetry.Groups {
		if g.Size > 1 && !proven[g.Name] {
			v.proof.Unproven = append(v.proof.Unproven, g.Name)
		}
	}
}
