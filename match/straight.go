package match

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// Objective is the training loss as StraightThrough and Auto need it. The data behind it is training data: a test set has no place here.
type Objective interface {
	// Gradient returns the mean loss of the step's batch at the parameters and writes its gradient, float32 tensors of the same names and shapes.
	Gradient(ctx context.Context, step int, params, grad Params) (float64, error)
	Judge
}

// Judge says how good a network is.
type Judge interface {
	// Score returns what is to be small: the mean loss on one fixed subset of the training data, as a rule.
	Score(ctx context.Context, params Params) (float64, error)
}

// StraightThroughOptions are the options of [StraightThrough]; the zero value is documented at each field.
type StraightThroughOptions struct {
	// Steps of gradient descent. 0 means 100.
	Steps int
	// LearningRate of the descent on the surrogate. 0 means 1e-2.
	LearningRate float64
	// ScoreEvery: a candidate is scored every so many steps, and at the last. 0 means 5.
	ScoreEvery int
	// Patience is the number of steps without a better candidate after which the descent begins again at the best one. 0 means 25.
	Patience int
	// MaxSweeps limits the warm-started sweeps of weight matching in one step. 0 means 2: the surrogate moves little from step to step.
	MaxSweeps int
	// Weights are the options of the first weight matching, whose result is the first candidate.
	Weights  WeightsOptions
	Seed     uint64
	Threads  int
	Observer Observer
}

// StraightThrough minimises the loss at the midpoint of A and P·B (Ainsworth et al. 2022, Algorithm 2). The argmax of weight matching is piecewise
// constant, so its gradient is replaced by that of a surrogate S (Bengio, Léonard, Courville 2013, arXiv:1308.3432): S starts at A, and each step
//
//	P = argmax <S, P·B>        warm-started weight matching, of the original B
//	M = ½(A + P·B)             the loss and its gradient are taken here
//	S ← S - Adam(½ ∇L(M))      as if P·B were S
//
// Departures from the paper. The descent has no momentum, and forgets the scale of gradients quickly: those of steps ago were taken at other
// alignments. And it begins again, S at A and P at the best candidate, once it has found no better one for a while: S, which nothing holds near the
// networks, only wanders off. Narrow networks need both, wide ones neither.
//
// The first P is that of [Weights] against A, and a candidate. Candidates are scored on one fixed subset of the training data; the best is returned,
// as a copy, so it is never worse there than weight matching. (The authors' code aliases the best and returns the last.)
// Objective and Trace are losses of the scored candidates' midpoints; one that is not finite is no candidate. A tensor that two parts of the network
// share is one tensor here, with one surrogate and the gradient of both uses.
//
// Memory: A, B in float32 and seven of their size. The result does not depend on the number of threads as far as the objective's losses and gradients
// do not. Cancelling returns ctx.Err().
func StraightThrough(ctx context.Context, sym *symmetry.Symmetry, a, b Params, obj Objective, opt StraightThroughOptions) (*Result, error) {
	if err := check(sym, a, b); err != nil {
		return nil, err
	}
	if err := opt.defaults(); err != nil {
		return nil, err
	}
	w := opt.Weights
	w.Seed, w.Threads = opt.Seed, opt.Threads
	first, err := Weights(ctx, sym, a, b, w)
	if err != nil {
		return nil, fmt.Errorf("match: weight matching before the straight-through estimator: %w", err)
	}
	fa, err := floats(a)
	if err != nil {
		return nil, err
	}
	fb, err := floats(b)
	if err != nil {
		return nil, err
	}
	pool := kernel.NewPool(opt.Threads)
	defer pool.Close()
	s, err := newStraight(sym, a, fa, fb, pool)
	if err != nil {
		return nil, err
	}
	s.d.setAlignment(first.Alignment, fb)
	return s.run(ctx, obj, opt)
}

// defaults fills in what is zero and checks the rest.
func (o *StraightThroughOptions) defaults() error {
	if o.Steps == 0 {
		o.Steps = 100
	}
	if o.LearningRate == 0 {
		o.LearningRate = 1e-2
	}
	if o.ScoreEvery == 0 {
		o.ScoreEvery = 5
	}
	if o.Patience == 0 {
		o.Patience = 25
	}
	if o.MaxSweeps == 0 {
		o.MaxSweeps = 2
	}
	if o.Steps < 0 || o.ScoreEvery < 0 || o.Patience < 0 || o.MaxSweeps < 0 || !(o.LearningRate > 0) {
		return fmt.Errorf("match: straight-through: %d steps of rate %v with %d sweeps each, scored every %d, with a patience of %d",
			o.Steps, o.LearningRate, o.MaxSweeps, o.ScoreEvery, o.Patience)
	}
	return nil
}

// straight is the state of the estimator. All arrays are float32, by tensor name.
type straight struct {
	d         *descent
	a, b      memory
	surrogate memory
	m, v      map[string][]float32 // Adam's moments
	midpoint  Params               // carries the tensors that have no arithmetic too
	grad      Params
	names     []string // the floating-point tensors, sorted
	begun     int      // the step at which the descent began, or began again
	improved  int      // the step of the best candidate, or of the last beginning
}

func newStraight(sym *symmetry.Symmetry, params Params, a, b memory, pool *kernel.Pool) (*straight, error) {
	d, err := newDescent(sym, a, b, pool)
	if err != nil {
		return nil, err
	}
	s := &straight{
		d: d, a: a, b: b, names: slices.Sorted(maps.Keys(a)), midpoint: maps.Clone(params), grad: Params{},
		surrogate: memory{}, m: map[string][]float32{}, v: map[string][]float32{},
	}
	for _, name := range s.names {
		shape := params[name].Shape()
		s.surrogate[name] = slices.Clone(a[name])
		s.m[name], s.v[name] = make([]float32, len(a[name])), make([]float32, len(a[name]))
		s.midpoint[name], s.grad[name] = tensor.New(tensor.F32, shape), tensor.New(tensor.F32, shape)
	}
	return s, nil
}

func (s *straight) run(ctx context.Context, obj Objective, opt StraightThroughOptions) (*Result, error) {
	rng := rand.New(rand.NewPCG(opt.Seed, 0x53_54_45))
	r := &Result{Status: StepLimit, Method: "ste", Objective: math.Inf(1)}
	for step := 0; ; step++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if step > 0 {
			if err := s.match(ctx, rng, opt.MaxSweeps); err != nil {
				return nil, err
			}
		}
		s.setMidpoint()
		if step%opt.ScoreEvery == 0 || step == opt.Steps {
			if err := s.score(ctx, obj, step, r); err != nil {
				return nil, err
			}
			opt.Observer.report(Event{Stage: StageStraightThrough, Done: step, Total: opt.Steps, Objective: r.Objective})
		}
		if step == opt.Steps {
			break
		}
		if step-s.improved >= opt.Patience && r.Alignment != nil {
			s.beginAgain(step, r.Alignment)
		}
		loss, err := obj.Gradient(ctx, step, s.midpoint, s.grad)
		if err != nil {
			return nil, err
		}
		if math.IsNaN(loss) || math.IsInf(loss, 0) {
			return nil, fmt.Errorf("match: straight-through step %d: the loss at the midpoint is %v", step, loss)
		}
		s.descend(step, opt.LearningRate)
		r.Sweeps++
	}
	if r.Alignment == nil {
		return nil, errors.New("match: straight-through: no candidate has a finite loss")
	}
	r.Notes = s.d.notes
	return r, nil
}

// match brings P up to date with the surrogate.
func (s *straight) match(ctx context.Context, rng *rand.Rand, sweeps int) error {
	s.d.setReference(s.surrogate)
	for range sweeps {
		gain, visited, err := s.d.sweep(ctx, shuffled(s.d.groups, rng))
		if err != nil {
			return err
		}
		if visited == 0 || gain <= defaultTolerance*s.d.norm {
			return nil
		}
	}
	return nil
}

// setMidpoint writes ½(A + P·B). Tensors outside the symmetry are averaged as they are.
func (s *straight) setMidpoint() {
	permuted := s.d.current(s.b)
	for _, name := range s.names {
		kernel.Lerp(tensor.Of[float32](s.midpoint[name]), s.a[name], permuted[name], .5)
	}
}

func (s *straight) score(ctx context.Context, obj Objective, step int, r *Result) error {
	loss, err := obj.Score(ctx, s.midpoint)
	if err != nil {
		return err
	}
	r.Trace = append(r.Trace, loss)
	if loss < r.Objective {
		r.Objective, r.Alignment = loss, s.d.alignment.Clone()
		s.improved = step
	}
	return nil
}

// beginAgain returns the surrogate to A and the alignment to the best one.
func (s *straight) beginAgain(step int, best *symmetry.Alignment) {
	s.begun, s.improved = step, step
	for _, name := range s.names {
		copy(s.surrogate[name], s.a[name])
		clear(s.m[name])
		clear(s.v[name])
	}
	s.d.setAlignment(best, s.b)
	s.setMidpoint()
}

// The descent's constants, in Adam's terms.
const (
	straightBeta1   = 0
	straightBeta2   = .9
	straightEpsilon = 1e-8
)

// descend gives the surrogate half the midpoint's gradient.
func (s *straight) descend(step int, rate float64) {
	t := float64(step - s.begun + 1)
	p := kernel.AdamParams{
		LR: rate, Beta1: straightBeta1, Beta2: straightBeta2, Epsilon: straightEpsilon,
		Correction1: 1, Correction2: 1 - math.Pow(straightBeta2, t),
	}
	for _, name := range s.names {
		g := tensor.Of[float32](s.grad[name])
		kernel.Scale(.5, g)
		kernel.AdamStep(s.surrogate[name], g, s.m[name], s.v[name], p)
	}
}

// current returns P·B by tensor name, sharing storage; tensors without a layout come from the original.
func (d *descent) current(original memory) map[string][]float32 {
	out := maps.Clone(original)
	for _, s := range d.stacks {
		at := 0
		for _, m := range s.members {
			n := len(original[m])
			out[m] = s.b[at : at+n]
			at += n
		}
	}
	return out
}
