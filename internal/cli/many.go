package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/match"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/symmetry"
)

// Ways to align that are named in more than one place.
const (
	alignFrankWolfe = "frank-wolfe"
	alignMany       = "many"
	alignCycle      = "cycle"
	alignPairwise   = "pairwise"
)

// jointMethods are the values of merge's --align that align all models together.
var jointMethods = []string{alignMany, alignCycle, alignPairwise}

// freeStarts are the values of --init that need nothing but the two models that are matched.
var freeStarts = []string{startVaried, "identity", "greedy", "random"}

// joint says that all models are aligned together, not every one with the first.
func (m *matchFlags) joint() bool { return slices.Contains(jointMethods, m.method) }

// findAlignments finds those of all models, of more than two or by a method that aligns them together.
func (m *matchFlags) findAlignments(ctx context.Context, a *app, r *matching) error {
	c := &crowdSearch{matchFlags: m, r: r, a: a, observe: m.observer(a)}
	for _, p := range r.pairs() {
		p.sym, p.data, p.why = r.sym, r.data, r.why
	}
	for _, net := range r.models() {
		params, err := net.Params(ctx)
		if err != nil {
			return err
		}
		c.params = append(c.params, params)
	}
	before, err := match.PairObjective(r.sym, c.params, nil)
	if err != nil {
		return err
	}
	begin := time.Now()
	found, err := c.run(ctx)
	if err != nil {
		return err
	}
	seconds := time.Since(begin).Seconds()
	a.settle()
	for i, p := range r.pairs() {
		p.result = &match.Result{
			Alignment: found.Alignments[i+1], Objective: found.Objective, Trace: found.Trace, Sweeps: found.Sweeps, Status: found.Status, Method: found.Method,
			Notes: found.Notes,
		}
	}
	r.before, r.seconds, r.candidates = before, seconds, c.candidates
	if len(r.candidates) > 0 {
		r.criterion = m.criterionOf(r.data)
	}
	r.after, err = match.PairObjective(r.sym, c.params, found.Alignments)
	return err
}

// applyAll permutes all models but the first and proves each. The first pair's verification is the worst of all.
func (m *matchFlags) applyAll(ctx context.Context, a *app, r *matching) error {
	for _, p := range r.pairs() {
		if err := m.apply(ctx, a, p); err != nil {
			return err
		}
		if v := p.verified; v != nil && v.MaxDeviation > r.verified.MaxDeviation {
			r.verified = v
		}
	}
	return nil
}

// crowdSearch is one run of a matcher of more than two models.
type crowdSearch struct {
	*matchFlags
	r       *matching
	a       *app
	params  []match.Params
	observe match.Observer
	// candidates are those of auto.
	candidates []match.Candidate
}

func (c *crowdSearch) run(ctx context.Context) (*match.ManyResult, error) {
	if c.method == "auto" {
		return c.auto(ctx)
	}
	return c.by(ctx, c.method)
}

// by aligns all models by one method.
func (c *crowdSearch) by(ctx context.Context, method string) (*match.ManyResult, error) {
	sym, threads := c.r.sym, c.a.threads
	switch method {
	case alignMany:
		return match.Many(ctx, sym, c.params, match.ManyOptions{Seed: c.seed, Threads: threads, Observer: c.observe})
	case alignCycle:
		return match.Cycle(ctx, sym, c.params, match.FrankWolfeOptions{Restarts: c.restarts, Seed: c.seed, Threads: threads, Observer: c.observe})
	case alignPairwise:
		return match.Pairwise(ctx, sym, c.params, func(ctx context.Context, a, b match.Params) (*match.Result, error) {
			return match.Weights(ctx, sym, a, b, match.WeightsOptions{
				Start: matchStarts[c.init], Restarts: c.restarts, Seed: c.seed, Threads: threads, Observer: c.observe,
			})
		}, c.observe)
	}
	return c.star(ctx, method)
}

// star aligns every model with the first.
func (c *crowdSearch) star(ctx context.Context, method string) (*match.ManyResult, error) {
	out := &match.ManyResult{Method: method, Status: match.Converged, Alignments: []*symmetry.Alignment{c.r.sym.Identity()}}
	if method == notAligned {
		for range c.params[1:] {
			out.Alignments = append(out.Alignments, c.r.sym.Identity())
		}
		out.Status = match.Solved
		return out, nil
	}
	flags := *c.matchFlags
	flags.method = method
	for i, p := range c.r.pairs() {
		if err := flags.findAlignment(ctx, c.a, p); err != nil {
			return nil, fmt.Errorf("aligning %q with %q: %w", p.b.Path, p.a.Path, err)
		}
		out.Alignments = append(out.Alignments, p.result.Alignment)
		out.Sweeps += p.result.Sweeps
		if i == 0 || p.result.Status == match.SweepLimit {
			out.Status = p.result.Status
		}
		for _, n := range p.result.Notes {
			if !slices.Contains(out.Notes, n) {
				out.Notes = append(out.Notes, n)
			}
		}
	}
	return out, nil
}

// auto chooses between ways to align all models by the loss of the mean of the aligned models on training data that none of them was found on.
func (c *crowdSearch) auto(ctx context.Context) (*match.ManyResult, error) {
	judge, closing, err := c.judge(ctx)
	if err != nil {
		return nil, err
	}
	defer closing()
	methods := []string{notAligned, "weight", alignPairwise, alignMany, alignCycle}
	if c.data.name != "" {
		methods = append(methods, "activation")
	}
	var best *match.ManyResult
	least := math.Inf(1)
	for i, method := range methods {
		found, err := c.by(ctx, method)
		if err != nil {
			return nil, fmt.Errorf("candidate %q: %w", method, err)
		}
		loss, err := c.score(ctx, found.Alignments, judge)
		if err != nil {
			return nil, fmt.Errorf("candidate %q: %w", method, err)
		}
		c.candidates = append(c.candidates, match.Candidate{Method: method, Loss: loss})
		c.observe(match.Event{Stage: match.StageAuto, Done: i + 1, Total: len(methods), Objective: loss})
		if loss < least {
			best, least = found, loss
		}
	}
	if best == nil {
		return nil, errors.New("no candidate has a finite loss at the mean")
	}
	if !c.own.active() && !c.r.data.Labelled() {
		best.Notes = append(best.Notes, unlabelledNote)
	}
	return best, nil
}

// judge scores on a part of the training data that is kept from the pairs' own data, or by the user's evaluation.
func (c *crowdSearch) judge(ctx context.Context) (judge match.Judge, closing func(), err error) {
	if c.own.active() {
		return &commandJudge{&c.own, c.r.a}, func() {}, nil
	}
	all := c.r.data
	rest, held := all.HeldOut(c.data.samples, dataset.SampleSeed)
	c.setData(rest)
	restore := func() { c.setData(all) }
	if !all.Labelled() {
		outputs, err := eval.NewOutputs(ctx, c.r.a.Graph, c.params, held, c.a.threads)
		if err != nil {
			return nil, nil, err
		}
		return outputs, func() {
			outputs.Close()
			restore()
		}, nil
	}
	s := &search{matchFlags: c.matchFlags, net: c.r.a, threads: c.a.threads}
	obj, err := s.newObjective(rest, held)
	if err != nil {
		return nil, nil, err
	}
	return obj, func() {
		obj.Close()
		restore()
	}, nil
}

// setData is what the pairs are matched on.
func (c *crowdSearch) setData(data *dataset.Set) {
	for _, p := range c.r.pairs() {
		p.data = data
	}
}

// score is the loss of the mean of the aligned models.
func (c *crowdSearch) score(ctx context.Context, p []*symmetry.Alignment, judge match.Judge) (float64, error) {
	aligned := make([]match.Params, len(c.params))
	weights := make([]float64, len(c.params))
	for i := range p {
		var err error
		if aligned[i], err = c.r.sym.Apply(p[i], c.params[i]); err != nil {
			return 0, err
		}
		weights[i] = 1
	}
	mean, err := merge.MeanParams(aligned, weights)
	if err != nil {
		return 0, err
	}
	loss, err := judge.Score(ctx, mean)
	if math.IsNaN(loss) {
		loss = math.Inf(1)
	}
	return loss, err
}

// frankWolfeOptions begin where weight matching was to begin, if that is said.
func (s *search) frankWolfeOptions() match.FrankWolfeOptions {
	opt := match.FrankWolfeOptions{Restarts: s.restarts, Seed: s.seed, Threads: s.threads, Observer: s.observe}
	if s.weights.Start == match.StartGiven {
		opt.Init = []*symmetry.Alignment{s.weights.Init}
	}
	return opt
}
