package match

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/symmetry"
)

const (
	defaultSweeps    = 100
	defaultTolerance = 1e-7 // about the rounding of float32
)

// WeightsOptions are the options of [Weights]; the zero value is one descent from the identity.
type WeightsOptions struct {
	Start Start
	// Init is the alignment StartGiven begins at.
	Init *symmetry.Alignment
	// Restarts is the number of descents, each with its own random order of groups (and random start, with StartRandom; see StartVaried); the best objective is
	// kept, the earlier one among equals. 0 means 1.
	Restarts int
	// MaxSweeps limits the sweeps of one descent. 0 means 100.
	MaxSweeps int
	// Tolerance: a sweep that gains no more than Tolerance·‖A‖‖B‖ is the last. 0 means 1e-7; with a negative one the descent goes on until no group
	// can move.
	Tolerance float64
	// Only restricts the descent to these groups; the others stay at their starting point. A family that is not named is carried along with its
	// parents, the order inside each unit kept. Empty means all.
	Only []string
	// Blend adds the similarity of activations to that of the weights (see [Blend]). Nil means weights alone.
	Blend *Blend
	// Seed draws the orders of groups and the random starts.
	Seed uint64
	// Threads bounds the threads of the matrix products; 0 means all.
	Threads  int
	Observer Observer
}

// Weights maximises <A, P·B>, the inner product over all tensors in the symmetry, by coordinate descent: Algorithm 1 of Ainsworth, Hayase,
// Srinivasa 2022 (arXiv:2209.04836).
//
// For one group, all others fixed, the objective is linear in the group's permutation: Σ_i S[i, p(i)] with
// S = Σ unfold(A)·unfold(P·B)ᵀ over every tensor and axis on which the group stands, a linear assignment problem. A group that stands on two axes
// of one tensor makes the objective quadratic; the linearisation at the current alignment is used. A move is accepted only if its gain, recomputed
// in float64 over the elements that move, is positive, so the objective never falls. Groups are visited in random order (the paper's choice),
// those whose similarity has not changed since they were last solved are passed over.
//
// Departures from the paper: the move is solved relative to the current alignment, so that an assignment solver which prefers the identity among
// equals leaves ties alone; families (heads with the dimensions inside them) are solved together with the group they are in: for every pair of
// units the inner assignment, then the outer one on their values, which is exact but where two families move the same elements. Those are improved
// in turns, and a note says so.
//
// Tensors that are not floating-point and running statistics (symmetry.Symmetry.Statistics) move along and do not count. Cost per sweep: O(Σ n·|T|) for the similarities out of date and O(Σ n³) for the
// assignments. Memory: A in float32 where it is not already, one copy of B in float32, and of a group of n units n² float32 for every set of groups that
// it shares tensors with, as far as SimilarityBytes go, and twice for the one at hand. The result depends on the seed, not on the number of threads. Cancelling returns ctx.Err().
func Weights(ctx context.Context, sym *symmetry.Symmetry, a, b Params, opt WeightsOptions) (*Result, error) {
	if err := check(sym, a, b); err != nil {
		return nil, err
	}
	if err := opt.defaults(sym); err != nil {
		return nil, err
	}
	fa, err := floats(a)
	if err != nil {
		return nil, err
	}
	pool := kernel.NewPool(opt.Threads)
	defer pool.Close()
	d, err := newDescent(sym, fa, stored(b), pool)
	if err != nil {
		return nil, err
	}
	if err := opt.Blend.install(d); err != nil {
		return nil, err
	}
	for _, g := range d.groups {
		g.fixed = len(opt.Only) > 0 && !slices.Contains(opt.Only, g.Name)
	}
	var best *Result
	for restart := range opt.Restarts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r, err := d.run(ctx, stored(b), restart, opt)
		if err != nil {
			return nil, err
		}
		if best == nil || r.Objective > best.Objective {
			best = r
		}
	}
	best.Work = d.work
	return best, nil
}

// defaults fills in what is zero and checks the rest.
func (o *WeightsOptions) defaults(sym *symmetry.Symmetry) error {
	if o.Restarts == 0 {
		o.Restarts = 1
	}
	if o.MaxSweeps == 0 {
		o.MaxSweeps = defaultSweeps
	}
	if o.Tolerance == 0 {
		o.Tolerance = defaultTolerance
	}
	if o.Restarts < 0 || o.MaxSweeps < 0 || math.IsNaN(o.Tolerance) {
		return fmt.Errorf("match: %d restarts of %d sweeps with tolerance %v", o.Restarts, o.MaxSweeps, o.Tolerance)
	}
	switch o.Start {
	case StartIdentity, StartRandom, StartGreedy, StartVaried:
	case StartGiven:
		if o.Init == nil {
			return errors.New("match: the start is a given alignment and none was given")
		}
		if err := sym.CheckAlignment(o.Init); err != nil {
			return fmt.Errorf("match: the given start: %w", err)
		}
	default:
		return fmt.Errorf("match: unknown start %q", o.Start)
	}
	for _, name := range o.Only {
		if _, ok := sym.Group(name); !ok {
			return fmt.Errorf("match: the symmetry has no group %q", name)
		}
	}
	return nil
}

// run is one descent from the starting point.
func (d *descent) run(ctx context.Context, b original, restart int, opt WeightsOptions) (*Result, error) {
	// One stream per restart: the n-th restart is the same whatever came before it.
	rng := rand.New(rand.NewPCG(opt.Seed, uint64(restart)))
	if err := d.begin(ctx, b, restart, opt, rng); err != nil {
		return nil, err
	}
	r := &Result{Method: "weight", Objective: d.objective()}
	r.Trace = append(r.Trace, r.Objective)
	e := Event{Stage: StageWeights, Restart: restart}
	d.visit = func(g *unitGroup, gain float64) {
		e.Group, e.Objective = g.Name, r.Objective+gain
		opt.Observer.report(e)
	}
	for r.Status == "" {
		gain, visited, err := d.sweep(ctx, shuffled(d.groups, rng))
		if err != nil {
			return nil, err
		}
		if visited > 0 {
			r.Sweeps++
			r.Objective += gain
			r.Trace = append(r.Trace, r.Objective)
		}
		switch {
		case d.settled() || gain <= opt.Tolerance*d.norm:
			r.Status = Converged
		case r.Sweeps >= opt.MaxSweeps:
			r.Status = SweepLimit
		}
		e.Group, e.Done, e.Objective = "", r.Sweeps, r.Objective
		if r.Status != "" {
			e.Total = e.Done
		}
		if visited > 0 {
			opt.Observer.report(e)
		}
	}
	r.Objective, r.Alignment, r.Notes = d.objective(), d.alignment, slices.Clone(d.notes)
	return r, nil
}
