package experiment

import (
	"context"
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/experiment/task"
	"github.com/rebasin/rebasin/match"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/zoo"
)

// Ways of merging more than two networks.
const (
	MergeAverage  = "average"    // the mean of the networks as they are
	MergeMany     = "merge-many" // match.Many: Algorithm 3 of the paper
	MergePairwise = "pairwise"   // match.Pairwise: pairs, and pairs of pairs
	MergeCycle    = "cycle"      // match.Cycle: all to a common space
	mergePair     = "pair"       // two networks by an alignment that is there
)

// mergeOptions determine a merged network: the mean of those that the task needs, aligned. With mergePair the third artifact, if there is one, aligns
// the second network with the first.
type mergeOptions struct {
	Network zoo.Config `json:"network"`
	Data    Data       `json:"data"`
	Method  string     `json:"method"`
	Seed    uint64     `json:"seed"`
	// Repair of statistics, of a merged pair.
	Repair        string               `json:"repair,omitempty"`
	RepairSamples int                  `json:"repair_samples,omitempty"`
	Augment       dataset.Augmentation `json:"augment,omitempty"`
}

// Merged is the result of a merge.
type Merged struct {
	// Objective is Σ_{i<j} <P_i·A_i, P_j·A_j>, Trace its course; both are 0 and empty where nothing was searched for.
	Objective Number   `json:"objective"`
	Trace     []Number `json:"trace,omitempty"`
	Sweeps    int      `json:"sweeps"`
	Status    string   `json:"status,omitempty"`
	Notes     []string `json:"notes,omitempty"`
}

func (l *Lab) mergeKind() *task.Kind {
	return &task.Kind{Name: "merge", Recipe: 2, Rate: .1, Run: l.runMerge}
}

func (l *Lab) runMerge(ctx context.Context, job *task.Job) error {
	var o mergeOptions
	if err := job.Decode(&o); err != nil {
		return err
	}
	if o.Method == mergePair {
		return l.runMergePair(ctx, job, o)
	}
	cfg, g, err := l.network(ctx, o.Network, o.Data)
	if err != nil {
		return err
	}
	var models []match.Params
	for _, need := range job.Needs {
		params, err := readParams(ctx, need, paramsFile)
		if err != nil {
			return err
		}
		models = append(models, params)
	}
	sym, err := symmetry.Infer(g, models...)
	if err != nil {
		return err
	}
	if _, err := symmetry.Verify(ctx, g, sym, models[0], symmetry.VerifyOptions{Seed: o.Seed, Threads: job.Threads}); err != nil {
		return err
	}
	observe := func(e match.Event) { job.Progress(e.Done, e.Total, e.Stage) }
	var r *match.ManyResult
	switch o.Method {
	case MergeAverage:
		r = &match.ManyResult{}
		for range models {
			r.Alignments = append(r.Alignments, sym.Identity())
		}
	case MergeMany:
		r, err = match.Many(ctx, sym, models, match.ManyOptions{Seed: o.Seed, Threads: job.Threads, Observer: observe})
	case MergePairwise:
		one := func(ctx context.Context, a, b match.Params) (*match.Result, error) {
			return match.Weights(ctx, sym, a, b, match.WeightsOptions{Seed: o.Seed, Threads: job.Threads})
		}
		r, err = match.Pairwise(ctx, sym, models, one, observe)
	case MergeCycle:
		r, err = match.Cycle(ctx, sym, models, match.FrankWolfeOptions{Seed: o.Seed, Threads: job.Threads, Observer: observe})
	default:
		err = fmt.Errorf("there is no way %q of merging many", o.Method)
	}
	if err != nil {
		return err
	}
	for i, p := range r.Alignments {
		if models[i], err = sym.Apply(p, models[i]); err != nil {
			return err
		}
	}
	merged, err := merge.MeanParams(models, slices.Repeat([]float64{1}, len(models)))
	if err != nil {
		return err
	}
	if err := model.Save(ctx, job.Path(paramsFile), merged, &cfg, nil); err != nil {
		return err
	}
	return job.WriteResult(Merged{Objective: Number(r.Objective), Trace: numbers(r.Trace), Sweeps: r.Sweeps, Status: string(r.Status), Notes: r.Notes})
}

// runMergePair averages two networks by an alignment, and repairs the statistics of what comes out.
func (l *Lab) runMergePair(ctx context.Context, job *task.Job, o mergeOptions) error {
	p, err := l.openPair(ctx, job.Needs, o.Network, o.Data, 0)
	if err != nil {
		return err
	}
	if len(job.Needs) > 2 {
		if p.b, err = aligned(job.Needs[2], p.sym, p.b); err != nil {
			return err
		}
	}
	merged, err := merge.Params(merge.Lerp, p.a, p.b, .5)
	if err != nil {
		return err
	}
	out := Merged{}
	if o.Repair != "" {
		data, err := l.training(ctx, o.Data, Part{})
		if err != nil {
			return err
		}
		repairer, err := newRepairer(ctx, p, merge.RepairMethod(o.Repair), o.RepairSamples, o.Augment, data, job.Threads)
		if err != nil {
			return err
		}
		repaired, err := repairer.Apply(ctx, merged, []float64{.5, .5}, nil)
		if err != nil {
			return err
		}
		merged, out.Notes = repaired.Params, repaired.Notes
	}
	if err := model.Save(ctx, job.Path(paramsFile), merged, &p.cfg, nil); err != nil {
		return err
	}
	return job.WriteResult(out)
}
