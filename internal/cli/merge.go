package cli

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

// mergeFlags are the flags of merge.
type mergeFlags struct {
	matchFlags
	repair          repairFlags
	output, combine string
	weightTexts     []string
	weights         [2]float64
	search, dryRun  bool
}

func (a *app) merge() *cobra.Command {
	var f mergeFlags
	c := &cobra.Command{
		Use:   "merge A B -o OUT",
		Short: "Align B with A and merge the two",
		Long: `Aligns B with A and writes the network between them. --dry-run prints what would
be done, with the memory and the time it takes, and does nothing.
--search-lambda looks for the best place on the way from A to B by the loss on
training data, or by --eval-command, your own evaluation in any framework. --repair gives the channels of the merged network the statistics
that averaging took from them: reset computes the running ones of
BatchNormalization anew, rescale and repair match all channels to A and B.`,
		Example: `  rebasin merge a.safetensors b.safetensors -o merged.safetensors
  rebasin merge a.safetensors b.safetensors -o merged.safetensors --align ste --data mnist
  rebasin merge a.safetensors b.safetensors -o merged.safetensors --search-lambda --data mnist
  rebasin merge a.safetensors b.safetensors -o merged.safetensors --repair repair --data mnist
  rebasin merge a.safetensors b.safetensors -o merged.safetensors --search-lambda --eval-command './evaluate.sh {}'
  rebasin merge a.safetensors b-aligned.safetensors -o merged.safetensors --align none --method slerp --weights .7,.3 --dry-run`,
		Args: arguments(2, 2, "two models, A and B, are"),
		RunE: func(c *cobra.Command, args []string) error {
			if f.search && c.Flags().Changed("weights") {
				return usagef("--weights and --search-lambda exclude each other")
			}
			return a.runMerge(c.Context(), &f, args[0], args[1])
		},
	}
	f.register(c)
	f.repair.register(c, "; by default reset for networks with BatchNormalization where --data is given, else none")
	s := c.Flags()
	s.StringVar(&f.method, "align", "weight", "how to align B with A first: weight, activation, ste, auto, none")
	s.StringVar(&f.combine, "method", "lerp", "how to combine: lerp, the straight line, or slerp, the great circle of each tensor")
	s.StringSliceVar(&f.weightTexts, "weights", []string{".5", ".5"}, "weights of the two models; they are divided by their sum")
	s.BoolVar(&f.search, "search-lambda", false, "choose the weights by the loss on the training part of --data, or by --eval-command")
	s.BoolVar(&f.dryRun, "dry-run", false, "print the plan and do nothing")
	s.StringVarP(&f.output, "output", "o", "", "`FILE` to write")
	choices(c, "align", append(slices.Clone(matchMethods), notAligned)...)
	choices(c, "method", string(merge.Lerp), string(merge.Slerp))
	return c
}

// check finds mistakes in the flags before anything is opened, and parses the weights.
func (f *mergeFlags) check() error {
	if !slices.Contains(merge.Methods(), merge.Method(f.combine)) {
		return usagef("--method %q: there are %v (how to align is said by --align)", f.combine, merge.Methods())
	}
	if err := f.parseWeights(); err != nil {
		return err
	}
	if f.own.active() && !f.search && f.method != "auto" {
		return usagef("--eval-command is for --search-lambda and --align auto")
	}
	if err := f.own.check(); err != nil {
		return err
	}
	if f.search && !f.own.active() {
		if err := f.data.require(); err != nil {
			return err
		}
	}
	if err := f.repair.check(&f.data); err != nil {
		return err
	}
	if f.later = f.search && !f.own.active() || f.repair.active(); f.method == notAligned {
		return f.data.check()
	}
	return f.matchFlags.check()
}

func (f *mergeFlags) parseWeights() error {
	if len(f.weightTexts) != 2 {
		return usagef("--weights: two numbers are needed, not %d", len(f.weightTexts))
	}
	for i, text := range f.weightTexts {
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || !(x >= 0) || math.IsInf(x, 0) {
			return usagef("--weights: %q is not a number of at least 0", text)
		}
		f.weights[i] = x
	}
	if f.weights[0]+f.weights[1] == 0 {
		return usagef("--weights: not all can be zero")
	}
	return nil
}

func (a *app) runMerge(ctx context.Context, f *mergeFlags, pathA, pathB string) error {
	if err := f.check(); err != nil {
		return err
	}
	if err := checkOutput(f.output, pathA, pathB, f.models.symmetry, f.models.graph, f.init); err != nil {
		return err
	}
	if f.dryRun {
		return a.planMerge(ctx, f, pathA, pathB)
	}
	r, err := f.align(ctx, a, pathA, pathB)
	if err != nil {
		return err
	}
	defer r.close()
	if err := checkApart(f.output, r.a, r.b); err != nil {
		return err
	}
	if err := f.repair.choose(a, f.data.name, r.a, r.b); err != nil {
		return err
	}
	plan, err := f.newPlan(r)
	if err != nil {
		return err
	}
	repairer, err := f.newRepairer(ctx, a, r)
	if err != nil {
		return err
	}
	var loss *float64 // of the merged network on training data
	switch {
	case f.search && f.own.active():
		loss, err = a.searchByCommand(ctx, f, plan, r, repairer)
	case f.search:
		loss, err = a.searchLambda(ctx, f, plan, r, repairer)
	}
	if err != nil {
		return err
	}
	repaired, err := a.repairMerge(ctx, f, plan, r, repairer)
	if err != nil {
		return err
	}
	meta, err := f.metadata(plan, r)
	if err != nil {
		return err
	}
	if err := plan.Execute(ctx, f.output, meta, func(done, total int) { a.report("merging", done, total, "") }); err != nil {
		return err
	}
	a.finish()
	a.warnLeftOut(r.a, f.output)
	return a.reportMerge(f, plan, r, loss, repaired)
}

// newPlan plans the merge of A with B, aligned where it was.
func (f *mergeFlags) newPlan(r *matching) (*merge.Plan, error) {
	hash, err := hashes(r.a, r.b)
	if err != nil {
		return nil, err
	}
	plan, err := merge.NewPlan(merge.Source{Name: r.a.Path, Hash: hash[0], Infos: r.a.Infos(), Load: r.a.Tensor},
		merge.Source{Name: r.b.Path, Hash: hash[1], Infos: r.b.Infos(), Load: r.loadB}, merge.Method(f.combine), f.weights)
	if err != nil {
		return nil, err
	}
	plan.Form = r.a.Form().Sparing(r.b.Form())
	return plan, nil
}

func (f *mergeFlags) metadata(plan *merge.Plan, r *matching) (map[string]string, error) {
	meta := outputMetadata(r.a, "merge "+f.combine+" after align "+f.method, f.seed, plan.A.Hash, plan.B.Hash)
	meta["rebasin.lambda"] = strconv.FormatFloat(plan.Lambda, 'g', -1, 64)
	if f.repair.active() {
		meta["rebasin.repair"] = f.repair.method + " on " + f.data.name
		if f.repair.augmented() {
			meta["rebasin.repair"] += " augmented " + f.repair.augment
		}
	}
	if r.a.Config == nil {
		return meta, nil
	}
	var err error
	meta[zoo.MetadataKey], err = r.a.Config.Encode()
	return meta, err
}

// searchLambda puts the plan at the λ with the lowest loss on training data, and returns that.
func (a *app) searchLambda(ctx context.Context, f *mergeFlags, plan *merge.Plan, r *matching, repairer *merge.Repairer) (*float64, error) {
	runner, err := eval.NewRunner(r.a.Graph, a.threads)
	if err != nil {
		return nil, err
	}
	defer runner.Close()
	mix, err := f.mixer(ctx, r)
	if err != nil {
		return nil, err
	}
	data, done := subset(r.data, f.data.samples), 0
	lambda, loss, err := merge.SearchLambda(func(l float64) (float64, error) {
		params, err := mix(l)
		if err != nil {
			return 0, err
		}
		if repairer != nil {
			out, err := repairer.Apply(ctx, params, []float64{1 - l, l}, nil)
			if err != nil {
				return 0, err
			}
			params = out.Params
		}
		if err := runner.SetParams(params); err != nil {
			return 0, err
		}
		metrics, err := runner.Evaluate(ctx, data)
		done++
		a.report("searching λ", done, merge.SearchSteps, fmt.Sprintf("λ %.3f, loss %.4f", l, metrics.Loss))
		return metrics.Loss, err
	})
	plan.Lambda = lambda
	return &loss, err
}

// searchByCommand is searchLambda by the user's own evaluation of the files that would be written.
func (a *app) searchByCommand(ctx context.Context, f *mergeFlags, plan *merge.Plan, r *matching, repairer *merge.Repairer) (*float64, error) {
	done := 0
	lambda, best, err := merge.SearchLambda(func(l float64) (float64, error) {
		plan.Lambda = l
		if _, err := a.repairMerge(ctx, f, plan, r, repairer); err != nil {
			return 0, err
		}
		meta, err := f.metadata(plan, r)
		if err != nil {
			return 0, err
		}
		m, err := f.own.measure(ctx, r.a.Path, func(path string) error { return plan.Execute(ctx, path, meta, nil) })
		if err != nil {
			return 0, err
		}
		done++
		a.report("searching λ", done, merge.SearchSteps, fmt.Sprintf("λ %.3f, %.4f", l, m.criterion()))
		return m.criterion(), nil
	})
	plan.Lambda = lambda
	return &best, err
}

// mixer returns what computes the network at λ.
func (f *mergeFlags) mixer(ctx context.Context, r *matching) (func(lambda float64) (map[string]*tensor.Tensor, error), error) {
	pa, pb, err := f.ends(ctx, r)
	if err != nil {
		return nil, err
	}
	return func(lambda float64) (map[string]*tensor.Tensor, error) {
		return merge.Params(merge.Method(f.combine), pa, pb, lambda)
	}, nil
}

// ends are the parameters of A, and of B as it is to be merged.
func (f *mergeFlags) ends(ctx context.Context, r *matching) (pa, pb map[string]*tensor.Tensor, err error) {
	if pa, err = r.a.GraphParams(ctx); err != nil {
		return nil, nil, err
	}
	if pb, err = r.b.GraphParams(ctx); err != nil {
		return nil, nil, err
	}
	if r.aligned != nil {
		for name := range pb {
			pb[name] = r.aligned[name]
		}
	}
	return pa, pb, nil
}

func (a *app) reportMerge(f *mergeFlags, plan *merge.Plan, r *matching, loss *float64, repaired *merge.Repaired) error {
	a.finish()
	var o *objective
	if r.result != nil {
		o = &objective{r.before, r.after}
	}
	if a.json {
		return writeJSON(a.stdout, struct {
			Output    string        `json:"output"`
			Align     string        `json:"align"`
			Method    string        `json:"method"`
			Weights   []float64     `json:"weights"`
			Objective *objective    `json:"objective"`
			TrainLoss *float64      `json:"train_loss,omitempty"`
			Verified  *verification `json:"verified"`
			Why       string        `json:"why,omitempty"`
			Repair    *repairJSON   `json:"repair,omitempty"`
		}{
			Output: f.output, Align: f.method, Method: f.combine, Weights: []float64{1 - plan.Lambda, plan.Lambda}, Objective: o, TrainLoss: loss,
			Verified: r.verified, Why: r.why, Repair: newRepairJSON(&f.repair, repaired),
		})
	}
	a.printf("%s: %.4g A + %.4g B (%s)", f.output, 1-plan.Lambda, plan.Lambda, f.combine)
	if o != nil {
		a.printf(", aligned by %s: <A, B> %.6g -> %.6g", r.result.Method, o.Before, o.After)
	}
	if loss != nil {
		a.printf(", training loss %.4f", *loss)
	}
	a.printf("\n")
	a.printRepair(&f.repair, repaired)
	a.printVerified(r)
	return nil
}
