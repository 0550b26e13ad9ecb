package match

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/rebasin/rebasin/assign"
	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/symmetry"
)

// Start says where coordinate descent begins.
type Start string

// The starting points of [Weights].
const (
	// StartIdentity begins at B as it is.
	StartIdentity Start = ""
	// StartRandom begins at a random alignment, another one for every restart.
	StartRandom Start = "random"
	// StartGreedy places one group after the other from the pinned ends, using only tensors whose other groups are placed.
	StartGreedy Start = "greedy"
	// StartGiven begins at WeightsOptions.Init: an alignment from a file, or from Activations.
	StartGiven Start = "given"
)

// WeightsOptions are the options of [Weights]; the zero value is one descent from the identity.
type WeightsOptions struct {
	Start Start
	// Init is the alignment StartGiven begins at.
	Init *symmetry.Alignment
	// Restarts is the number of descents, each with its own random order of groups (and random start, with StartRandom); the best objective is
	// kept, the earlier one among equals. 0 means 1.
	Restarts int
	// MaxSweeps limits the sweeps of one descent. 0 means 100.
	MaxSweeps int
	// Tolerance: a sweep that gains less than Tolerance·‖A‖‖B‖ is the last. 0 means 1e-7.
	Tolerance float64
	// Only restricts the descent to these groups; the others stay at their starting point. Empty means all.
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
// equals leaves ties alone; families (heads with the dimensions inside them) are solved on two levels.
//
// Cost per sweep: O(Σ n·|T|) for the similarities out of date and O(Σ n³) for the assignments. The result depends on the seed, not on the number
// of threads. Cancelling returns ctx.Err().
func Weights(ctx context.Context, sym *symmetry.Symmetry, a, b Params, opt WeightsOptions) (*Result, error) {
	fa, fb, err := check(sym, a, b)
	if err != nil {
		return nil, err
	}
	if err := opt.validate(sym); err != nil {
		return nil, err
	}
	pool := kernel.NewPool(opt.Threads)
	defer pool.Close()
	d, err := newDescent(sym, fa, fb, pool)
	if err != nil {
		return nil, err
	}
	if err := opt.Blend.install(d); err != nil {
		return nil, err
	}
	var best *Result
	for restart := range max(opt.Restarts, 1) {
		r, err := d.run(ctx, fb, restart, opt)
		if err != nil {
			return nil, err
		}
		if best == nil || r.Objective > best.Objective {
			best = r
		}
	}
	return best, nil
}

func (o *WeightsOptions) validate(sym *symmetry.Symmetry) error {
	switch o.Start {
	case StartIdentity, StartRandom, StartGreedy:
	case StartGiven:
		if o.Init == nil {
			return errors.New("match: the start is a given alignment and none was given")
		}
		if err := sym.CheckAlignment(o.Init); err != nil {
			return err
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
func (d *descent) run(ctx context.Context, original map[string][]float32, restart int, opt WeightsOptions) (*Result, error) {
	// One stream per restart: the n-th restart is the same whatever came before it.
	rng := rand.New(rand.NewPCG(opt.Seed, uint64(restart)))
	groups := d.selected(opt.Only)
	if err := d.begin(ctx, original, groups, opt, rng); err != nil {
		return nil, err
	}
	limit, tolerance := opt.MaxSweeps, opt.Tolerance
	if limit == 0 {
		limit = 100
	}
	if tolerance == 0 {
		tolerance = 1e-7
	}
	r := &Result{Status: SweepLimit, Method: "weight", Notes: slices.Clone(d.notes), Objective: d.objective()}
	r.Trace = append(r.Trace, r.Objective)
	for r.Sweeps < limit {
		gain, visited, err := d.sweep(ctx, shuffled(groups, rng))
		if err != nil {
			return nil, err
		}
		if visited == 0 {
			r.Status = Converged
			break
		}
		r.Sweeps++
		r.Trace = append(r.Trace, r.Trace[len(r.Trace)-1]+gain)
		opt.Observer.report(Event{Stage: "weight matching", Restart: restart, Done: r.Sweeps, Objective: r.Trace[len(r.Trace)-1]})
		if gain <= tolerance*d.norm {
			r.Status = Converged
			break
		}
	}
	r.Objective, r.Alignment = d.objective(), d.alignment
	return r, nil
}

func (d *descent) selected(only []string) []*unitGroup {
	if len(only) == 0 {
		return d.groups
	}
	return slices.DeleteFunc(slices.Clone(d.groups), func(g *unitGroup) bool { return !slices.Contains(only, g.Name) })
}

// begin puts the descent at its starting point.
func (d *descent) begin(ctx context.Context, original map[string][]float32, groups []*unitGroup, opt WeightsOptions, rng *rand.Rand) error {
	switch opt.Start {
	case StartRandom:
		d.setAlignment(d.sym.Random(rng), original)
	case StartGiven:
		d.setAlignment(opt.Init, original)
	default:
		d.setAlignment(d.sym.Identity(), original)
	}
	if opt.Start == StartGreedy {
		return d.greedy(ctx, groups)
	}
	return nil
}

// greedy places the groups one by one: always the one with the largest part of its elements in blocks whose other groups are placed (at first those
// that touch the pinned ends), by the similarity of those blocks alone. Groups that are left out of the descent count as placed.
func (d *descent) greedy(ctx context.Context, groups []*unitGroup) error {
	placed := map[string]bool{}
	for _, g := range d.groups {
		placed[g.Name] = !slices.Contains(groups, g)
	}
	for range groups {
		g := nextToPlace(groups, placed)
		placed[g.Name] = true
		usable := func(t *term) bool { return t.readyFor(g.Name, placed) }
		s := d.similarity(g, usable)
		n := g.Size
		perm := make([]int32, g.joint*n)
		for q := range g.joint {
			r, err := d.solver.Solve(ctx, n, n, s[q*n*n:(q+1)*n*n], assign.Options{Maximize: true})
			if err != nil {
				return fmt.Errorf("match: group %q: %w", g.Name, err)
			}
			for i, j := range r.RowToCol {
				perm[q*n+i] = int32(j)
			}
		}
		d.tryMove(g, perm)
		d.accept(g, perm)
	}
	for _, g := range d.groups {
		g.dirty = true
	}
	return nil
}

func nextToPlace(groups []*unitGroup, placed map[string]bool) *unitGroup {
	var best *unitGroup
	share := -1.0
	for _, g := range groups {
		if placed[g.Name] {
			continue
		}
		usable, all := 0, 0
		for _, t := range g.terms {
			size := t.view.rows * t.view.cols
			all += size
			if t.readyFor(g.Name, placed) {
				usable += size
			}
		}
		if part := float64(usable) / float64(max(all, 1)); part > share {
			best, share = g, part
		}
	}
	return best
}

// readyFor says whether every group of the block but the one named is placed; names that are no groups never count.
func (t *term) readyFor(name string, placed map[string]bool) bool {
	for _, n := range t.block.names {
		if done, isGroup := placed[n]; isGroup && n != name && !done {
			return false
		}
	}
	return true
}
