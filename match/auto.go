package match

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// AutoOptions are the options of [Auto].
type AutoOptions struct {
	Weights         WeightsOptions
	Activations     ActivationsOptions
	StraightThrough StraightThroughOptions
	// BlendMu is the blend tried. 0 means 0.8.
	BlendMu  float64
	Observer Observer
}

// Candidate is one alignment [Auto] has tried, with the loss at its midpoint.
type Candidate struct {
	Method string
	Loss   float64
}

// Auto runs candidates from cheap to dear and keeps the one whose midpoint has the lowest loss, because the objectives of the matchers are means and
// the loss between the models is the end: B as it is, weight matching, activation matching, weight matching from the activations, the blend and the
// straight-through estimator. Losses are Judge.Score of held, which should be on training data that obj does not descend on; obj may be nil, then
// there is no straight-through candidate. The result's Objective is the winner's loss, its Trace the losses in the order of the candidates.
func Auto(ctx context.Context, sym *symmetry.Symmetry, a, b Params, src ActivationSource, obj Objective, held Judge, opt AutoOptions) (*Result, []Candidate, error) {
	if held == nil {
		return nil, nil, errors.New("match: choosing between alignments needs data")
	}
	if err := check(sym, a, b); err != nil {
		return nil, nil, err
	}
	steps := autoSteps(sym, a, b, src, obj, opt)
	best := &Result{Objective: math.Inf(1)}
	var tried []Candidate
	consider := func(method string, r *Result) error {
		loss, err := midpointLoss(ctx, sym, a, b, r.Alignment, held)
		if err != nil {
			return err
		}
		tried = append(tried, Candidate{method, loss})
		trace := append(best.Trace, loss)
		if loss < best.Objective {
			c := *r
			c.Method, c.Objective = method, loss
			best = &c
		}
		best.Trace = trace
		opt.Observer.report(Event{Stage: StageAuto, Done: len(tried), Total: len(steps), Objective: loss})
		return nil
	}
	for _, step := range steps {
		r, err := step.run(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("match: candidate %q: %w", step.method, err)
		}
		if err := consider(step.method, r); err != nil {
			return nil, nil, err
		}
	}
	if best.Alignment == nil {
		return nil, nil, errors.New("match: no candidate has a finite loss at its midpoint")
	}
	return best, tried, nil
}

type autoStep struct {
	method string
	run    func(context.Context) (*Result, error)
}

// autoSteps are the candidates in order. Later ones use what earlier ones found.
func autoSteps(sym *symmetry.Symmetry, a, b Params, src ActivationSource, obj Objective, opt AutoOptions) []autoStep {
	var activations *Result
	steps := []autoStep{
		{"none", func(context.Context) (*Result, error) { return &Result{Alignment: sym.Identity(), Status: Solved}, nil }},
		{"weight", func(ctx context.Context) (*Result, error) { return Weights(ctx, sym, a, b, opt.Weights) }},
	}
	if src != nil {
		steps = append(steps,
			autoStep{"activation", func(ctx context.Context) (r *Result, err error) {
				activations, err = Activations(ctx, sym, a, b, src, opt.Activations)
				return activations, err
			}},
			autoStep{"weight from activation", func(ctx context.Context) (*Result, error) {
				w := opt.Weights
				w.Start, w.Init = StartGiven, activations.Alignment
				return Weights(ctx, sym, a, b, w)
			}},
			autoStep{"blend", func(ctx context.Context) (*Result, error) {
				s, err := ActivationSimilarity(ctx, sym, src, opt.Activations)
				if err != nil {
					return nil, err
				}
				mu := opt.BlendMu
				if mu == 0 {
					mu = .8
				}
				w := opt.Weights
				w.Blend, w.Start, w.Init = &Blend{Mu: mu, Similarity: s}, StartGiven, activations.Alignment
				return Weights(ctx, sym, a, b, w)
			}})
	}
	if obj != nil {
		steps = append(steps, autoStep{"ste", func(ctx context.Context) (*Result, error) {
			return StraightThrough(ctx, sym, a, b, obj, opt.StraightThrough)
		}})
	}
	return steps
}

// midpointLoss is the loss of ½(A + P·B).
func midpointLoss(ctx context.Context, sym *symmetry.Symmetry, a, b Params, p *symmetry.Alignment, judge Judge) (float64, error) {
	permuted, err := sym.Apply(p, b)
	if err != nil {
		return 0, fmt.Errorf("match: %w", err)
	}
	midpoint, err := meanOf(a, permuted, .5)
	if err != nil {
		return 0, fmt.Errorf("match: %w", err)
	}
	loss, err := judge.Score(ctx, midpoint)
	if math.IsNaN(loss) {
		loss = math.Inf(1)
	}
	return loss, err
}

// InnerProduct is <A, P·B> over the tensors in the symmetry, statistics left out, in float64: the objective of [Weights] for any alignment.
func InnerProduct(sym *symmetry.Symmetry, a, b Params, p *symmetry.Alignment) (float64, error) {
	if err := check(sym, a, b); err != nil {
		return 0, err
	}
	if err := sym.CheckAlignment(p); err != nil {
		return 0, fmt.Errorf("match: %w", err)
	}
	// One tensor after the other, so that no whole network is held again.
	load := func(name string) (*tensor.Tensor, error) { return b[name], nil }
	var sum float64
	for _, key := range slices.Sorted(maps.Keys(sym.Layouts)) {
		for _, name := range sym.Members(key) {
			if !a[name].DType().IsFloat() || slices.Contains(sym.Statistics, name) {
				continue
			}
			moved, err := sym.ApplyFrom(p, name, load)
			if err != nil {
				return 0, fmt.Errorf("match: tensor %q of B: %w", name, err)
			}
			x, err := asFloat32(a[name])
			if err != nil {
				return 0, fmt.Errorf("match: tensor %q of A: %w", name, err)
			}
			y, err := asFloat32(moved)
			if err != nil {
				return 0, fmt.Errorf("match: tensor %q of B: %w", name, err)
			}
			sum += kernel.Dot(tensor.Of[float32](x), tensor.Of[float32](y))
		}
	}
	return sum, nil
}
