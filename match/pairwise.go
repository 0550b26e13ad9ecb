package match

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// A PairMatcher aligns b with a: [Weights], [FrankWolfe] or any other.
type PairMatcher func(ctx context.Context, a, b Params) (*Result, error)

// Pairwise aligns models as a tree: neighbours are aligned in pairs and averaged, then the pairs' means in pairs, until one is left; an odd one out
// waits for the next round. The mean of a pair is weighted by how many models stand behind each side, so that the last one is the mean of all aligned
// models, which the alignments that are returned give: every model's is what all pairs above it did to its side. It needs n-1 matchings, of two models
// at a time, and what it finds depends on the order of the models.
//
// The matcher sees the means as float32 parameters; what is not floating-point is the first model's. Nil is weight matching with its default options.
// The result's objective is that of [Many], its trace that of every pair in turn as the matcher gives it. Status is Converged unless a pair's was a limit.
func Pairwise(ctx context.Context, sym *symmetry.Symmetry, models []Params, matcher PairMatcher, observer Observer) (*ManyResult, error) {
	c, err := newCrowd(sym, models, nil, 1)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if matcher == nil {
		matcher = func(ctx context.Context, a, b Params) (*Result, error) {
			return Weights(ctx, sym, a, b, WeightsOptions{})
		}
	}
	r := &ManyResult{Method: "pairwise", Status: Converged, Alignments: make([]*symmetry.Alignment, len(models))}
	var round []*branch
	for i, m := range models {
		r.Alignments[i] = sym.Identity()
		round = append(round, &branch{mean: m, models: []int{i}})
	}
	for len(round) > 1 {
		var next []*branch
		for k := 0; k+1 < len(round); k += 2 {
			if err := r.join(ctx, sym, round[k], round[k+1], matcher); err != nil {
				return nil, err
			}
			next = append(next, round[k])
			observer.report(Event{Stage: StagePairwise, Done: r.Sweeps, Total: len(models) - 1, Objective: r.Trace[len(r.Trace)-1]})
		}
		if len(round)%2 == 1 {
			next = append(next, round[len(round)-1])
		}
		round = next
	}
	c.setAlignments(r.Alignments)
	r.Objective = c.objective()
	return r, nil
}

// A branch is a part of the tree: the mean of its aligned models.
type branch struct {
	mean   Params
	models []int
}

// join aligns b with a and makes a the mean of both.
func (r *ManyResult) join(ctx context.Context, sym *symmetry.Symmetry, a, b *branch, matcher PairMatcher) error {
	pair, err := matcher(ctx, a.mean, b.mean)
	if err != nil {
		return fmt.Errorf("match: aligning %s with %s: %w", b, a, err)
	}
	moved, err := sym.Apply(pair.Alignment, b.mean)
	if err != nil {
		return fmt.Errorf("match: %w", err)
	}
	if a.mean, err = meanOf(a.mean, moved, float64(len(b.models))/float64(len(a.models)+len(b.models))); err != nil {
		return fmt.Errorf("match: the mean of %s and %s: %w", a, b, err)
	}
	b.mean = nil // it may be large
	for _, i := range b.models {
		r.Alignments[i] = sym.Compose(r.Alignments[i], pair.Alignment)
	}
	a.models = append(a.models, b.models...)
	r.Sweeps++
	r.Trace = append(r.Trace, pair.Objective)
	if pair.Status == SweepLimit {
		r.Status = SweepLimit
	}
	for _, n := range pair.Notes {
		r.note(n)
	}
	return nil
}

// note adds a note that is not there yet.
func (r *ManyResult) note(s string) {
	if !slices.Contains(r.Notes, s) {
		r.Notes = append(r.Notes, s)
	}
}

// String names the models, counted from 1.
func (b *branch) String() string {
	if len(b.models) == 1 {
		return fmt.Sprintf("model %d", b.models[0]+1)
	}
	return fmt.Sprintf("the mean of models %d to %d", b.models[0]+1, b.models[len(b.models)-1]+1)
}

// meanOf is (1-λ)a + λb in float32; what is not floating-point is a's.
func meanOf(a, b Params, lambda float64) (Params, error) {
	out := make(Params, len(a))
	for _, name := range slices.Sorted(maps.Keys(a)) {
		t := a[name]
		if !t.DType().IsFloat() {
			out[name] = t
			continue
		}
		fa, err := asFloat32(t)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		fb, err := asFloat32(b[name])
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		m := tensor.New(tensor.F32, t.Shape())
		kernel.Lerp(tensor.Of[float32](m), tensor.Of[float32](fa), tensor.Of[float32](fb), float32(lambda))
		out[name] = m
	}
	return out, nil
}
