package match

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/rebasin/rebasin/symmetry"
)

const (
	defaultSteps         = 200
	frankWolfeTolerance  = 1e-6
	defaultNoise         = .05
	frankWolfeName       = "frank-wolfe"
	cycleName            = "cycle"
	frankWolfeStream     = 1 << 32 // apart from the streams of the descents
	perModelNoiseStreams = 1 << 20
)

// FrankWolfeOptions are the options of [FrankWolfe] and [Cycle]; the zero value begins near the barycentre.
type FrankWolfeOptions struct {
	// Init are the alignments to begin at: one for each model (Cycle), or that of B alone (FrankWolfe). Nil means the barycentre, where every unit of a
	// model is the mean of all its units.
	Init []*symmetry.Alignment
	// Noise is how far the barycentre is disturbed: the part, at most 1, that a random permutation has in the doubly stochastic matrix that begins.
	// 0 means 0.05; negative means none. Starts from Init are not disturbed, nor is the first model, which begins at the identity.
	Noise float64
	// Restarts is the number of runs, each with its own noise and orders; the best objective is kept, the earlier one among equals. 0 means 1.
	Restarts int
	// MaxSteps limits the steps of a run. 0 means 200.
	MaxSteps int
	// Tolerance: a step that gains no more than Tolerance·Σ_{i<j} ‖A_i‖‖A_j‖ is the last. 0 means 1e-6; with a negative one the run goes on until no
	// step gains.
	Tolerance float64
	// Seed draws the noise, and the orders of the descent at the end.
	Seed uint64
	// Threads bounds the threads of the matrix products and assignments; 0 means all.
	Threads  int
	Observer Observer
}

func (o *FrankWolfeOptions) defaults(models int) error {
	if o.Noise == 0 {
		o.Noise = defaultNoise
	}
	if o.Restarts == 0 {
		o.Restarts = 1
	}
	if o.MaxSteps == 0 {
		o.MaxSteps = defaultSteps
	}
	if o.Tolerance == 0 {
		o.Tolerance = frankWolfeTolerance
	}
	if o.Restarts < 0 || o.MaxSteps < 0 || math.IsNaN(o.Tolerance) || !(o.Noise <= 1) {
		return fmt.Errorf("match: %d restarts of %d Frank–Wolfe steps with noise %v and tolerance %v", o.Restarts, o.MaxSteps, o.Noise, o.Tolerance)
	}
	if o.Init != nil && len(o.Init) != models {
		return fmt.Errorf("match: %d alignments to begin at, want %d", len(o.Init), models)
	}
	if slices.Contains(o.Init, nil) {
		return errors.New("match: an alignment to begin at is missing")
	}
	return nil
}

// FrankWolfe maximises <A, P·B> over all groups at once: it relaxes every permutation to a doubly stochastic matrix and climbs by the method of Frank
// and Wolfe (1956, doi:10.1002/nav.3800030109), as Crisostomi et al. 2024 (arXiv:2405.17897) do for neural networks and Vogelstein et al. 2015
// (doi:10.1371/journal.pone.0121002) for graphs. See [Cycle], of which this is the case of two models with the first held fixed: the linear oracle,
// the line search, the groups that are left out, the projection and the descent at the end are the same. The result's objective is that of [Weights],
// never lower than at Init, or at the identity where there is none; its trace is that of
// the relaxed objective and at last the result's; Sweeps counts the steps of Frank–Wolfe.
//
// Unlike coordinate descent it depends on no order of groups, and moves groups together; it costs about two matrix products for every one of a sweep,
// times its steps.
func FrankWolfe(ctx context.Context, sym *symmetry.Symmetry, a, b Params, opt FrankWolfeOptions) (*Result, error) {
	if err := opt.defaults(1); err != nil {
		return nil, err
	}
	if err := check(sym, a, b); err != nil {
		return nil, err
	}
	if opt.Init != nil {
		opt.Init = []*symmetry.Alignment{sym.Identity(), opt.Init[0]}
	}
	m, err := relaxed(ctx, sym, []Params{a, b}, true, opt)
	if err != nil {
		return nil, err
	}
	return &Result{
		Alignment: m.Alignments[1], Objective: m.Objective, Trace: m.Trace, Sweeps: m.Sweeps, Status: m.Status, Method: frankWolfeName, Notes: m.Notes,
	}, nil
}

// Cycle is the cycle-consistent matching of n models of Crisostomi, Fumero, Baieri, Bernard, Rodolà 2024, "C²M³: Cycle-Consistent Multi-Model
// Merging" (arXiv:2405.17897): every model is mapped to a common space, the universe, by one alignment P_i, so that the alignment between any two
// models is the way there and back, and going round a cycle of models is the identity. It maximises
//
//	f = Σ_{i<j} <P_i·A_i, P_j·A_j>
//
// by the method of Frank and Wolfe (1956, doi:10.1002/nav.3800030109), over all groups of all models at once. Each permutation is relaxed to a doubly
// stochastic matrix X. The gradient by the matrix of group g of model i is the similarity of [Weights] between Σ_{j≠i} X_j·A_j and A_i with the other
// groups mixed by theirs. The linear oracle is one assignment problem for each group and model, the step is common to all,
//
//	X ← (1-t)·X + t·V,  V the oracle's vertices.
//
// On the way to the vertices a tensor in which m groups stand is a polynomial of degree m in t, so f is one of degree 2m. It is known exactly from
// the mixed tensors at m+1 values of t, by Lagrange's formula, with inner products in float64; its maximum on [0, 1] is bracketed on a grid of 64
// cells and narrowed by golden section. (The paper searches numerically.) At the end each X is projected to the nearest permutation, an assignment
// problem, and coordinate descent ([Many]) goes on from there, which cannot lower f.
//
// Only plain groups are relaxed, among them those on two axes of one tensor. Families, and groups that have families within their units, are left
// to coordinate descent: they stand where [Many] has put them, or Init, and move again in the descent at the end. A note says which.
//
// Without Init the first model begins at the identity and the others near the barycentre. All alignments are given relative to the first model. The
// trace is that of the relaxed objective, and at last the result's. The objective is never lower than at Init, or at the identity where there is none. Cost per
// step: about twice the matrix products of a sweep of Many, and an assignment for each group and model. Memory: three copies of each model and of the
// largest tensor, and 3·n² float32 for a group of n units and each model. The result depends on the seed, not on the number of threads. Cancelling
// returns ctx.Err().
func Cycle(ctx context.Context, sym *symmetry.Symmetry, models []Params, opt FrankWolfeOptions) (*ManyResult, error) {
	if err := opt.defaults(len(models)); err != nil {
		return nil, err
	}
	return relaxed(ctx, sym, models, false, opt)
}

// relaxed runs Frank–Wolfe, projects, and descends. With anchored the first model does not move.
func relaxed(ctx context.Context, sym *symmetry.Symmetry, models []Params, anchored bool, opt FrankWolfeOptions) (*ManyResult, error) {
	c, err := newCrowd(sym, models, opt.Init, opt.Threads)
	if err != nil {
		return nil, err
	}
	defer c.close()
	plain, left := relaxable(sym)
	polish := ManyOptions{Seed: opt.Seed, Observer: opt.Observer, anchored: anchored}
	if len(left) > 0 && opt.Init == nil {
		if _, err := c.descend(ctx, polish); err != nil {
			return nil, err
		}
	}
	from, atStart := slices.Clone(c.alignments), c.objective()
	var best *ManyResult
	for restart := range opt.Restarts {
		c.setAlignments(from)
		x := newRelaxation(c, plain, anchored)
		x.begin(opt, restart)
		r, err := x.climb(ctx, opt, restart)
		if err != nil {
			return nil, err
		}
		moved, err := x.project(ctx)
		if err != nil {
			return nil, err
		}
		for i := range moved {
			moved[i] = sym.Compose(from[i], moved[i])
		}
		polish.Seed = opt.Seed + uint64(restart)
		end, err := c.descendFrom(ctx, moved, polish)
		if err != nil {
			return nil, err
		}
		if end.Objective < atStart {
			r.Notes = append(r.Notes, "Frank–Wolfe ended below the start: the result is coordinate descent from there")
			if end, err = c.descendFrom(ctx, from, polish); err != nil {
				return nil, err
			}
		}
		r.Alignments, r.Objective, r.Trace = end.Alignments, end.Objective, append(r.Trace, end.Objective)
		for _, n := range end.Notes {
			r.note(n)
		}
		if best == nil || r.Objective > best.Objective {
			best = r
		}
	}
	if len(left) > 0 {
		best.Notes = append(best.Notes, fmt.Sprintf("left to coordinate descent, as families or with families within their units: %s", strings.Join(left, ", ")))
	}
	return best, nil
}

// relaxable divides the groups that can move into those that stand alone and the rest.
func relaxable(sym *symmetry.Symmetry) (plain, left []string) {
	for _, g := range sym.Groups {
		parent := slices.ContainsFunc(sym.Groups, func(f symmetry.Group) bool { return slices.Contains(f.Parents, g.Name) })
		switch {
		case g.Size < 2:
		case parent || len(g.Parents) > 0:
			left = append(left, g.Name)
		default:
			plain = append(plain, g.Name)
		}
	}
	return plain, left
}

// begin puts all matrices at their starting point.
func (x *relaxation) begin(opt FrankWolfeOptions, restart int) {
	for i := range x.matrices {
		for g := range x.matrices[i] {
			switch m := &x.matrices[i][g]; {
			// The first model has the universe to itself: nothing is lost, since the objective only knows how models stand to each other, and where
			// all are near the barycentre it is almost flat.
			case opt.Init != nil || i == 0:
				m.setPermutation(identityPerm(m.n))
			default:
				// A stream of its own for each matrix, so that the noise does not depend on what else there is.
				rng := rand.New(rand.NewPCG(opt.Seed, frankWolfeStream+uint64(restart)*perModelNoiseStreams+uint64(i)<<10+uint64(g)))
				m.setBarycentre(max(opt.Noise, 0), rng)
			}
		}
	}
}

// climb takes steps until none gains.
func (x *relaxation) climb(ctx context.Context, opt FrankWolfeOptions, restart int) (*ManyResult, error) {
	r := &ManyResult{Method: cycleName}
	least := opt.Tolerance * x.norm
	for r.Status == "" {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := x.gradient(ctx)
		if err != nil {
			return nil, err
		}
		r.Objective = f
		r.Trace = append(r.Trace, f)
		opt.Observer.report(Event{Stage: StageFrankWolfe, Restart: restart, Done: r.Sweeps, Objective: f})
		if r.Sweeps >= opt.MaxSteps {
			r.Status = StepLimit
			break
		}
		if err := x.oracle(ctx); err != nil {
			return nil, err
		}
		t, gain, err := x.lineSearch(ctx)
		if err != nil {
			return nil, err
		}
		if t > 0 && gain > 0 {
			x.step(t)
			r.Sweeps++
		}
		if gain <= least || gain <= 0 {
			r.Status = Converged
		}
	}
	opt.Observer.report(Event{Stage: StageFrankWolfe, Restart: restart, Done: r.Sweeps, Total: r.Sweeps, Objective: r.Objective})
	return r, nil
}
