package experiment

import (
	"context"
	"fmt"
	"os"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/experiment/task"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/match"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/train"
	"github.com/rebasin/rebasin/zoo"
)

// Ways of aligning that experiments know.
const (
	Naive         = "naive"             // B as it is
	ByActivation  = "activation"        // match.Activations
	ByWeight      = "weight"            // match.Weights
	ByRestarts    = "weight-restarts"   // match.Weights, the best objective of ten orders of groups
	ByFirst       = "weight-activation" // match.Weights from the alignment by activations
	ByBlend       = "blend"             // match.Weights with the similarity of activations blended in
	ByFrankWolfe  = "frank-wolfe"       // match.FrankWolfe
	ByStraight    = "ste"               // match.StraightThrough
	ByAuto        = "auto"              // match.Auto
	manyRestarts  = 10
	blendMu       = .8
	activationRun = 250 // samples at once
)

// Methods lists the ways of aligning.
func Methods() []string {
	return []string{Naive, ByActivation, ByWeight, ByRestarts, ByFirst, ByBlend, ByFrankWolfe, ByStraight, ByAuto}
}

// matchOptions determine an alignment of two networks: the first two that the task needs.
type matchOptions struct {
	Network zoo.Config `json:"network"`
	Data    Data       `json:"data"`
	Method  string     `json:"method"`
	Seed    uint64     `json:"seed"`
	// Samples of the training data for activations and for losses; Steps and Batch of the straight-through estimator.
	Samples int `json:"samples,omitempty"`
	Steps   int `json:"steps,omitempty"`
	Batch   int `json:"batch,omitempty"`
	// Epoch at which the networks are taken; 0 is at the end.
	Epoch int `json:"epoch,omitempty"`
}

// Matched is the result of an alignment.
type Matched struct {
	// Method is what the alignment came from in the end.
	Method string `json:"method"`
	// Product is <A, P·B> of the weights, before and after.
	Product [2]Number `json:"product"`
	// Objective is the matcher's own, Trace its course.
	Objective Number   `json:"objective"`
	Trace     []Number `json:"trace,omitempty"`
	Sweeps    int      `json:"sweeps"`
	Status    string   `json:"status"`
	Notes     []string `json:"notes,omitempty"`
	// Candidates are what auto chose from.
	Candidates []Candidate `json:"candidates,omitempty"`
	// Log10 is that of the number of symmetries.
	Log10 float64 `json:"log10_symmetries"`
	// Deviation is the largest difference that the alignment makes to outputs, in float64.
	Deviation float64 `json:"max_deviation"`
}

// Candidate is one of those that auto chose from, with the loss that it was judged by.
type Candidate struct {
	Method string `json:"method"`
	Loss   Number `json:"loss"`
}

func (l *Lab) matchKind() *task.Kind {
	return &task.Kind{Name: "match", Recipe: 2, Rate: .2, Run: l.runMatch}
}

// pair is two networks of one graph.
type pair struct {
	cfg  zoo.Config
	g    *graph.Graph
	a, b map[string]*tensor.Tensor
	sym  *symmetry.Symmetry
}

// openPair reads the networks of the first two artifacts.
func (l *Lab) openPair(ctx context.Context, needs []task.Artifact, cfg zoo.Config, d Data, epoch int) (*pair, error) {
	name := paramsFile
	if epoch > 0 {
		name = epochFile(epoch)
	}
	var p pair
	var err error
	if p.cfg, p.g, err = l.network(ctx, cfg, d); err != nil {
		return nil, err
	}
	if p.a, err = readParams(ctx, needs[0], name); err != nil {
		return nil, err
	}
	if p.b, err = readParams(ctx, needs[1], name); err != nil {
		return nil, err
	}
	p.sym, err = symmetry.Infer(p.g, p.a, p.b)
	return &p, err
}

// runMatch finds an alignment, and proves it.
func (l *Lab) runMatch(ctx context.Context, job *task.Job) error {
	var o matchOptions
	if err := job.Decode(&o); err != nil {
		return err
	}
	p, err := l.openPair(ctx, job.Needs, o.Network, o.Data, o.Epoch)
	if err != nil {
		return err
	}
	data, err := l.open(ctx, o.Data, dataset.Train)
	if err != nil {
		return err
	}
	if _, err := symmetry.Verify(ctx, p.g, p.sym, p.b, symmetry.VerifyOptions{Seed: o.Seed, Threads: job.Threads}); err != nil {
		return err
	}
	m := &matcher{pair: p, matchOptions: o, data: data.Sample(o.Data.Limit), job: job}
	r, err := m.run(ctx)
	if err != nil {
		return err
	}
	out := Matched{
		Method: r.Method, Objective: Number(r.Objective), Trace: numbers(r.Trace), Sweeps: r.Sweeps, Status: string(r.Status), Notes: r.Notes,
		Candidates: m.candidates, Log10: p.sym.Log10(),
	}
	for i, alignment := range []*symmetry.Alignment{p.sym.Identity(), r.Alignment} {
		product, err := match.InnerProduct(p.sym, p.a, p.b, alignment)
		if err != nil {
			return err
		}
		out.Product[i] = Number(product)
	}
	permuted, err := p.sym.Apply(r.Alignment, p.b)
	if err != nil {
		return err
	}
	if out.Deviation, _, err = symmetry.Equivalent(ctx, p.g, p.b, permuted, nil, 0); err != nil {
		return err
	}
	if !(out.Deviation <= symmetry.Tolerance) {
		return fmt.Errorf("the aligned network differs from what it was: its outputs deviate by %g", out.Deviation)
	}
	f, err := os.Create(job.Path(alignmentFile))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := symmetry.WriteAlignment(f, p.sym, r.Alignment); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return job.WriteResult(out)
}

// matcher is one alignment with all that it needs.
type matcher struct {
	*pair
	matchOptions
	data       *dataset.Set // the training part
	job        *task.Job
	candidates []Candidate
}

func (m *matcher) observe(e match.Event) { m.job.Progress(e.Done, e.Total, e.Stage) }

func (m *matcher) weights() match.WeightsOptions {
	return match.WeightsOptions{Seed: m.Seed, Threads: m.job.Threads, Observer: m.observe}
}

func (m *matcher) activations() match.ActivationsOptions {
	return match.ActivationsOptions{Threads: m.job.Threads, Observer: m.observe, Weights: m.weights()}
}

// source runs both networks on a part of some data.
func (m *matcher) source(data *dataset.Set) match.ActivationSource {
	return &eval.Activations{Graph: m.g, A: m.a, B: m.b, Data: data.Sample(m.Samples), Threads: m.job.Threads, Batch: activationRun}
}

func (m *matcher) straight() match.StraightThroughOptions {
	return match.StraightThroughOptions{Steps: m.Steps, Weights: m.weights(), Seed: m.Seed, Threads: m.job.Threads, Observer: m.observe}
}

func (m *matcher) run(ctx context.Context) (*match.Result, error) {
	weights := m.weights()
	switch m.Method {
	case ByActivation:
		return match.Activations(ctx, m.sym, m.a, m.b, m.source(m.data), m.activations())
	case ByWeight:
	case ByRestarts:
		weights.Restarts = manyRestarts
	case ByFirst:
		first, err := match.Activations(ctx, m.sym, m.a, m.b, m.source(m.data), m.activations())
		if err != nil {
			return nil, err
		}
		weights.Start, weights.Init = match.StartGiven, first.Alignment
	case ByBlend:
		similarity, err := match.ActivationSimilarity(ctx, m.sym, m.source(m.data), m.activations())
		if err != nil {
			return nil, err
		}
		weights.Blend = &match.Blend{Mu: blendMu, Similarity: similarity}
	case ByFrankWolfe:
		return match.FrankWolfe(ctx, m.sym, m.a, m.b, match.FrankWolfeOptions{Seed: m.Seed, Threads: m.job.Threads, Observer: m.observe})
	case ByStraight:
		obj, err := m.objective(m.data, m.data.Sample(m.Samples))
		if err != nil {
			return nil, err
		}
		defer obj.Close()
		return match.StraightThrough(ctx, m.sym, m.a, m.b, obj, m.straight())
	case ByAuto:
		return m.auto(ctx)
	default:
		return nil, fmt.Errorf("there is no method %q; there are %v", m.Method, Methods())
	}
	return match.Weights(ctx, m.sym, m.a, m.b, weights)
}

func (m *matcher) objective(data, scored *dataset.Set) (*train.Objective, error) {
	return train.NewObjective(m.g, data, scored, m.Batch, m.Seed, m.job.Threads)
}

// auto chooses by the loss on a part of the training data that nothing is found on.
func (m *matcher) auto(ctx context.Context) (*match.Result, error) {
	rest, held := m.data.HeldOut(m.Samples, heldSeed)
	obj, err := m.objective(rest, rest.Sample(m.Samples))
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	judge, err := m.objective(rest, held)
	if err != nil {
		return nil, err
	}
	defer judge.Close()
	r, candidates, err := match.Auto(ctx, m.sym, m.a, m.b, m.source(rest), obj, judge, match.AutoOptions{
		Weights: m.weights(), Activations: m.activations(), StraightThrough: m.straight(), BlendMu: blendMu, Observer: m.observe,
	})
	for _, c := range candidates {
		m.candidates = append(m.candidates, Candidate{c.Method, Number(c.Loss)})
	}
	return r, err
}

// heldSeed draws the part of the training data that auto judges on: another one than losses are reported on.
const heldSeed = 0x4e1d
