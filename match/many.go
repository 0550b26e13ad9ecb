package match

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/symmetry"
)

// ManyOptions are the options of [Many]; the zero value begins at the models as they are.
type ManyOptions struct {
	// Init are the alignments to begin at, one for each model. Nil means the identity.
	Init []*symmetry.Alignment
	// MaxSweeps limits the sweeps over all models. 0 means 100.
	MaxSweeps int
	// Tolerance: a sweep that gains no more than Tolerance·Σ_{i<j} ‖A_i‖‖A_j‖ is the last. 0 means 1e-7; with a negative one the search goes on until
	// no model moves. The descent of one model against the others ends by the same rule.
	Tolerance float64
	// Seed draws the orders of models and groups.
	Seed uint64
	// Threads bounds the threads of the matrix products; 0 means all.
	Threads  int
	Observer Observer

	anchored bool // the first model does not move
}

// ManyResult is what the matchers of more than two models return.
type ManyResult struct {
	// Alignments put the units of each model in the order of the first: the alignment of model 0 is the identity. Those between two models follow
	// from them, and are consistent around every cycle.
	Alignments []*symmetry.Alignment
	// Objective is Σ_{i<j} <P_i·A_i, P_j·A_j>.
	Objective float64
	// Trace is the objective before the first and after every sweep (Many), step (Cycle) or pair (Pairwise; of that pair alone).
	Trace []float64
	// Sweeps counts sweeps over all models (Many), steps of Frank–Wolfe (Cycle) or pairs (Pairwise).
	Sweeps int
	Status Status
	// Method names what produced the alignments.
	Method string
	// Notes are facts a person should know.
	Notes []string
}

// Many aligns more than two models with each other by MergeMany, Algorithm 3 of Ainsworth, Hayase, Srinivasa 2022 (arXiv:2209.04836): it goes over
// the models in random order, aligns each to the mean of all others by weight matching, and repeats until no model moves. The merged network is the
// mean of the aligned ones.
//
// Aligning model i to the mean of the others maximises <Σ_{j≠i} P_j·A_j, P_i·A_i>, so the sum over all pairs never falls, up to the rounding of the
// mean to float32: this is coordinate descent on the objective of [Cycle]. What it finds depends on where it begins and on the orders drawn.
//
// Departures from the paper: weight matching continues from where the model stands; a model is passed over while none of the others has moved since
// it was aligned. All alignments are given relative to the first model. Two models are allowed.
//
// Cost per sweep: n times that of [Weights] and the n means, O(n²·|A|). Memory: the models where they are not float32 already, one copy of each, one
// of the mean, and the similarities of one model. The result depends on the seed, not on the number of threads. Cancelling returns ctx.Err().
func Many(ctx context.Context, sym *symmetry.Symmetry, models []Params, opt ManyOptions) (*ManyResult, error) {
	if opt.MaxSweeps < 0 || math.IsNaN(opt.Tolerance) {
		return nil, fmt.Errorf("match: %d sweeps with tolerance %v", opt.MaxSweeps, opt.Tolerance)
	}
	c, err := newCrowd(sym, models, opt.Init, opt.Threads)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.descend(ctx, opt)
}

// crowd is coordinate descent on Σ_{i<j} <P_i·A_i, P_j·A_j>. One descent serves all models: its B is the model whose turn it is, its A the sum of the
// others.
type crowd struct {
	sym        *symmetry.Symmetry
	d          *descent
	pool       *kernel.Pool
	originals  []memory
	current    [][][]float32 // per model and stack: P_i·A_i
	alignments []*symmetry.Alignment
	reference  [][]float32 // per stack
	norm       float64     // Σ_{i<j} ‖A_i‖‖A_j‖
}

// newCrowd checks the models and puts them at the alignments, the identity where there are none.
func newCrowd(sym *symmetry.Symmetry, models []Params, init []*symmetry.Alignment, threads int) (*crowd, error) {
	if err := sym.Validate(); err != nil {
		return nil, fmt.Errorf("match: %w", err)
	}
	if len(models) < 2 {
		return nil, fmt.Errorf("match: %d models; at least two can be aligned with each other", len(models))
	}
	if init != nil && len(init) != len(models) {
		return nil, fmt.Errorf("match: %d alignments to begin at for %d models", len(init), len(models))
	}
	c := &crowd{sym: sym, originals: make([]memory, len(models)), alignments: make([]*symmetry.Alignment, len(models))}
	for i, m := range models {
		if err := SameTensors(models[0], m); err != nil {
			return nil, fmt.Errorf("match: models 1 and %d as A and B: %w", i+1, err)
		}
		if err := fits(sym, m); err != nil {
			return nil, fmt.Errorf("match: model %d: %w", i+1, err)
		}
		if err := finite(m, fmt.Sprintf("model %d", i+1)); err != nil {
			return nil, err
		}
		var err error
		if c.originals[i], err = floats(m); err != nil {
			return nil, err
		}
		c.alignments[i] = sym.Identity()
		if init != nil {
			if init[i] == nil {
				return nil, fmt.Errorf("match: no alignment for model %d to begin at", i+1)
			}
			if err := sym.CheckAlignment(init[i]); err != nil {
				return nil, fmt.Errorf("match: the start of model %d: %w", i+1, err)
			}
			c.alignments[i] = init[i].Clone()
		}
	}
	c.pool = kernel.NewPool(threads)
	var err error
	if c.d, err = newDescent(sym, c.originals[0], c.originals[0], c.pool); err != nil {
		c.close()
		return nil, err
	}
	c.makeRoom()
	c.setAlignments(c.alignments)
	c.setNorm()
	return c, nil
}

func (c *crowd) close() { c.pool.Close() }

func (c *crowd) makeRoom() {
	c.current = make([][][]float32, len(c.originals))
	for i := range c.current {
		for _, s := range c.d.stacks {
			c.current[i] = append(c.current[i], make([]float32, len(s.b)))
		}
	}
	for _, s := range c.d.stacks {
		s.a = make([]float32, len(s.b)) // not the first model's own memory
		c.reference = append(c.reference, s.a)
	}
}

// turn makes model i the B of the descent.
func (c *crowd) turn(i int) {
	for k, s := range c.d.stacks {
		s.b = c.current[i][k]
	}
	c.d.alignment = c.alignments[i]
	c.d.markStale()
}

// setAlignments puts all models at these alignments.
func (c *crowd) setAlignments(p []*symmetry.Alignment) {
	for i := range p {
		c.turn(i)
		c.d.setAlignment(p[i], c.originals[i])
		c.alignments[i] = c.d.alignment
	}
}

func (c *crowd) setNorm() {
	var sum float64
	for _, m := range c.current {
		var sq float64
		for _, x := range m {
			sq += kernel.Dot(x, x)
		}
		norm := math.Sqrt(sq)
		c.norm += sum * norm
		sum += norm
	}
}

// objective is Σ_{i<j} <P_i·A_i, P_j·A_j>, every product of two elements summed in float64.
func (c *crowd) objective() float64 {
	values := make([]float64, len(c.d.stacks))
	c.pool.Run(len(values), partTask(func(k int) {
		for j := range c.current {
			for i := range j {
				values[k] += kernel.Dot(c.current[i][k], c.current[j][k])
			}
		}
	}))
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum
}

// sumOthers makes the sum of all models but i the A of the descent.
func (c *crowd) sumOthers(i int) {
	c.pool.Run(len(c.reference), partTask(func(k int) {
		clear(c.reference[k])
		for j := range c.current {
			if j != i {
				kernel.Add(c.reference[k], c.reference[k], c.current[j][k])
			}
		}
	}))
}

// descend aligns the models by turns until none moves.
func (c *crowd) descend(ctx context.Context, opt ManyOptions) (*ManyResult, error) {
	if opt.MaxSweeps == 0 {
		opt.MaxSweeps = defaultSweeps
	}
	if opt.Tolerance == 0 {
		opt.Tolerance = defaultTolerance
	}
	rng := rand.New(rand.NewPCG(opt.Seed, 0))
	r := &ManyResult{Method: "many", Objective: c.objective()}
	r.Trace = append(r.Trace, r.Objective)
	// A model is at rest while nothing has moved since it was aligned last: moves count what has, seen what it was then.
	moves, seen := 1, make([]int, len(c.originals))
	for r.Status == "" {
		opt.Observer.report(Event{Stage: StageMany, Done: r.Sweeps, Objective: r.Objective})
		var gain float64
		for _, i := range rng.Perm(len(c.originals)) {
			if seen[i] == moves || i == 0 && opt.anchored {
				continue
			}
			g, err := c.align(ctx, i, rng, opt.Tolerance)
			if err != nil {
				return nil, err
			}
			if g > 0 {
				moves++
				gain += g
			}
			seen[i] = moves
		}
		r.Sweeps++
		r.Objective = c.objective()
		r.Trace = append(r.Trace, r.Objective)
		switch {
		case gain <= opt.Tolerance*c.norm || gain == 0:
			r.Status = Converged
		case r.Sweeps >= opt.MaxSweeps:
			r.Status = SweepLimit
		}
	}
	opt.Observer.report(Event{Stage: StageMany, Done: r.Sweeps, Total: r.Sweeps, Objective: r.Objective})
	r.Alignments, r.Notes = relativeToFirst(c.sym, c.alignments), append(r.Notes, c.d.notes...)
	return r, nil
}

func (c *crowd) descendFrom(ctx context.Context, p []*symmetry.Alignment, opt ManyOptions) (*ManyResult, error) {
	c.setAlignments(p)
	return c.descend(ctx, opt)
}

// align aligns model i to the sum of the others by weight matching from where it stands, and returns what the objective gains.
func (c *crowd) align(ctx context.Context, i int, rng *rand.Rand, tolerance float64) (float64, error) {
	c.turn(i)
	c.sumOthers(i)
	var total float64
	for range defaultSweeps {
		gain, _, err := c.d.sweep(ctx, shuffled(c.d.groups, rng))
		if err != nil {
			return 0, err
		}
		total += gain
		if c.d.settled() || gain <= tolerance*c.norm {
			break
		}
	}
	c.alignments[i] = c.d.alignment
	return total, nil
}

// relativeToFirst follows all alignments by the one that undoes the first.
func relativeToFirst(sym *symmetry.Symmetry, p []*symmetry.Alignment) []*symmetry.Alignment {
	out := make([]*symmetry.Alignment, len(p))
	back := sym.Invert(p[0])
	for i := range p {
		out[i] = sym.Compose(p[i], back)
	}
	return out
}

// PairObjective is Σ_{i<j} <P_i·A_i, P_j·A_j> over the tensors in the symmetry, statistics left out, in float64: the objective of [Many] and [Cycle]
// for any alignments, one for each model. Nil alignments mean the models as they are.
func PairObjective(sym *symmetry.Symmetry, models []Params, p []*symmetry.Alignment) (float64, error) {
	c, err := newCrowd(sym, models, p, 1)
	if err != nil {
		return 0, err
	}
	defer c.close()
	return c.objective(), nil
}
