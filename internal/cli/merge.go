package cli

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/match"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

// mergeFlags are the flags of merge.
type mergeFlags struct {
	matchFlags
	repair         repairFlags
	combine        string
	weightTexts    []string
	weights        []float64
	search, dryRun bool
	writing        writeFlags
}

func (a *app) merge() *cobra.Command {
	var f mergeFlags
	c := &cobra.Command{
		Use:   "merge A B [C ...] -o OUT",
		Short: "Align models with each other and merge them",
		Long: `Aligns B, and every further model, with A and writes the network between them.
--dry-run prints what would be done, with the memory and the time it takes, and
does nothing. By default weights are matched; where --data is given, auto chooses.

More than two models can be aligned together: many goes round and aligns each
with the mean of the others, cycle (the default) finds one common order by
Frank-Wolfe over all models at once, pairwise merges pairs, then pairs of merges;
the other ways align every model with the first.
--search-lambda looks for the best place on the way from A to B by the loss on
training data, or by --eval-command, your own evaluation in any framework. --repair gives the channels of the merged network the statistics
that averaging took from them: reset computes the running ones of
BatchNormalization anew, rescale and repair match all channels to A and B.

The output names its inputs by their SHA-256, and is on the disk when the command
ends. Of large models both take longer than the merging itself: --no-hash and
--no-sync do without.`,
		Example: `  rebasin merge a.safetensors b.safetensors -o merged.safetensors
  rebasin merge a.safetensors b.safetensors -o merged.safetensors --align ste --data mnist
  rebasin merge a.safetensors b.safetensors -o merged.safetensors --search-lambda --data mnist
  rebasin merge a.safetensors b.safetensors -o merged.safetensors --repair repair --data mnist
  rebasin merge a.safetensors b.safetensors -o merged.safetensors --search-lambda --eval-command './evaluate.sh {}'
  rebasin merge a.safetensors b.safetensors c.safetensors -o merged.safetensors --align cycle
  rebasin merge a.safetensors b-aligned.safetensors -o merged.safetensors --align none --method slerp --weights .7,.3 --dry-run`,
		Args: arguments(2, math.MaxInt, "two or more models are"),
		RunE: func(c *cobra.Command, args []string) error {
			if f.search && c.Flags().Changed("weights") {
				return usagef("--weights and --search-lambda exclude each other")
			}
			return a.runMerge(c.Context(), &f, args)
		},
	}
	f.register(c)
	f.repair.register(c, "; by default reset for networks with BatchNormalization where --data is given, else none")
	s := c.Flags()
	s.StringVar(&f.method, "align", "", "how to align first: weight, activation, ste, frank-wolfe, auto, none, and of more than two models together many, cycle, pairwise; "+
		"by default auto where --data is given, else weight, or cycle")
	s.StringVar(&f.combine, "method", "lerp", "how to combine: lerp, the straight line, or slerp, the great circle of each tensor")
	s.StringSliceVar(&f.weightTexts, "weights", nil, "weights of the models, one for each; they are divided by their sum; by default all are equal")
	s.BoolVar(&f.search, "search-lambda", false, "choose the weights of two models by the loss on the training part of --data, or by --eval-command")
	s.BoolVar(&f.dryRun, "dry-run", false, "print the plan and do nothing")
	s.StringVarP(&f.output, "output", "o", "", "`FILE` to write")
	f.writing.register(c)
	choices(c, "align", slices.Concat(matchMethods, jointMethods, []string{notAligned})...)
	choices(c, "method", string(merge.Lerp), string(merge.Slerp))
	return c
}

// check finds mistakes in the flags before anything is opened, parses the weights, and chooses how to align where nothing was said.
func (f *mergeFlags) check(models int) error {
	if !slices.Contains(merge.Methods(), merge.Method(f.combine)) {
		return usagef("--method %q: there are %v (how to align is said by --align)", f.combine, merge.Methods())
	}
	if err := f.parseWeights(models); err != nil {
		return err
	}
	if models > 2 {
		if err := f.checkMany(); err != nil {
			return err
		}
	}
	f.together = true
	f.chooseMethod(models)
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
	f.unread = f.method == notAligned && !f.search && f.data.name == "" && !f.repair.active()
	f.losses = f.search && !f.own.active()
	if f.later = f.losses || f.repair.active(); f.method == notAligned {
		return f.data.check()
	}
	return f.matchFlags.check()
}

// checkMany finds what only two models can be asked for.
func (f *mergeFlags) checkMany() error {
	_, known := matchStarts[f.init]
	switch {
	case f.search:
		return usagef("--search-lambda is for two models")
	case f.combine != string(merge.Lerp):
		return usagef("--method %s is for two models", f.combine)
	case len(f.recorded) > 0:
		return usagef("--activations is for two models")
	case !known:
		return usagef("--init FILE is for two models")
	}
	return nil
}

// chooseMethod decides how to align where nothing was said.
func (f *mergeFlags) chooseMethod(models int) {
	switch {
	case f.method != "":
	case f.data.name != "":
		f.method = "auto"
	case models > 2 && f.blend == 0 && f.init != "activation":
		f.method = alignCycle
	default:
		f.method = "weight"
	}
}

func (f *mergeFlags) parseWeights(models int) error {
	f.weights = make([]float64, models)
	if f.weightTexts == nil {
		for i := range f.weights {
			f.weights[i] = 1
		}
		return nil
	}
	if len(f.weightTexts) != models {
		return usagef("--weights: %d numbers are needed, one for each model, not %d", models, len(f.weightTexts))
	}
	var sum float64
	for i, text := range f.weightTexts {
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || !(x >= 0) || math.IsInf(x, 0) {
			return usagef("--weights: %q is not a number of at least 0", text)
		}
		f.weights[i] = x
		sum += x
	}
	if sum == 0 {
		return usagef("--weights: not all can be zero")
	}
	return nil
}

func (a *app) runMerge(ctx context.Context, f *mergeFlags, paths []string) error {
	if err := f.check(len(paths)); err != nil {
		return err
	}
	if err := checkOutput(f.output, append(slices.Clone(paths), f.models.symmetry, f.models.graph, f.init)...); err != nil {
		return err
	}
	if f.dryRun {
		return a.planMerge(ctx, f, paths)
	}
	r, err := f.align(ctx, a, paths...)
	if err != nil {
		return err
	}
	defer r.close()
	if err := f.repair.choose(a, f.data.name, r.models()...); err != nil {
		return err
	}
	plan, err := f.newPlan(r, a.threads)
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
	sums := f.writing.hash(ctx, r.models()...)
	defer sums.stop()
	meta, err := f.metadata(plan, r, sums)
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

// newPlan plans the merge of A with the other models, aligned where they were.
func (f *mergeFlags) newPlan(r *matching, threads int) (*merge.Plan, error) {
	sources := []merge.Source{{Name: r.a.Path, Infos: r.a.Infos(), Load: r.a.Tensor, OpenSection: r.a.OpenSection}}
	form := r.a.Form()
	for _, p := range r.pairs() {
		sources = append(sources, merge.Source{Name: p.b.Path, Infos: p.b.Infos(), Load: p.loadB, OpenSection: p.openB})
		form = form.Sparing(p.b.Form())
	}
	plan, err := merge.NewPlan(sources, merge.Method(f.combine), f.weights)
	if err != nil {
		return nil, err
	}
	plan.Form, plan.Threads, plan.NoSync = form, threads, f.writing.noSync
	return plan, nil
}

// metadata is that of the output, in which the hashes of the inputs are filled in when they are known.
func (f *mergeFlags) metadata(plan *merge.Plan, r *matching, sums *hashing) (checkpoint.Metadata, error) {
	first, err := f.metadataWith(plan, r, slices.Repeat([]string{unknownHash}, len(sums.sums)))
	return checkpoint.Metadata{First: first, Late: func() (map[string]string, error) {
		hashes, err := sums.wait()
		if err != nil {
			return nil, err
		}
		return f.metadataWith(plan, r, hashes)
	}}, err
}

func (f *mergeFlags) metadataWith(plan *merge.Plan, r *matching, hashes []string) (map[string]string, error) {
	meta := outputMetadata(r.a, "merge "+f.combine+" after align "+f.alignedBy(r), f.seed, hashes...)
	if len(plan.Weights) == 2 {
		meta["rebasin.lambda"] = strconv.FormatFloat(plan.Weights[1], 'g', -1, 64)
	} else {
		meta["rebasin.weights"] = joinNumbers(plan.Weights, -1)
	}
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

// alignedBy names how the models were aligned: for auto what it chose, too.
func (f *mergeFlags) alignedBy(r *matching) string {
	if f.method == "auto" && r.result != nil {
		return f.method + " (" + r.result.Method + ")"
	}
	return f.method
}

// joinNumbers writes numbers with a comma between.
func joinNumbers(x []float64, digits int) string {
	texts := make([]string, len(x))
	for i, v := range x {
		texts[i] = strconv.FormatFloat(v, 'g', digits, 64)
	}
	return strings.Join(texts, ",")
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
	data, done := r.data.Sample(f.data.samples), 0
	lambda, loss, err := merge.SearchLambda(func(l float64) (float64, error) {
		params, err := mix([]float64{1 - l, l})
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
	plan.SetLambda(lambda)
	return &loss, err
}

// searchByCommand is searchLambda by the user's own evaluation of the files that would be written.
func (a *app) searchByCommand(ctx context.Context, f *mergeFlags, plan *merge.Plan, r *matching, repairer *merge.Repairer) (*float64, error) {
	sums := f.writing.hash(ctx, r.models()...)
	defer sums.stop()
	done := 0
	lambda, best, err := merge.SearchLambda(func(l float64) (float64, error) {
		plan.SetLambda(l)
		if _, err := a.repairMerge(ctx, f, plan, r, repairer); err != nil {
			return 0, err
		}
		meta, err := f.metadata(plan, r, sums)
		if err != nil {
			return 0, err
		}
		trial := *plan
		trial.NoSync = true // it is measured and removed
		m, err := f.own.measure(ctx, r.a.Path, func(path string) error { return trial.Execute(ctx, path, meta, nil) })
		if err != nil {
			return 0, err
		}
		done++
		a.report("searching λ", done, merge.SearchSteps, fmt.Sprintf("λ %.3f, %.4f", l, m.criterion()))
		return m.criterion(), nil
	})
	plan.SetLambda(lambda)
	return &best, err
}

// mixer returns what computes the network of given weights.
func (f *mergeFlags) mixer(ctx context.Context, r *matching) (func(weights []float64) (map[string]*tensor.Tensor, error), error) {
	ends, err := f.ends(ctx, r)
	if err != nil {
		return nil, err
	}
	return func(weights []float64) (map[string]*tensor.Tensor, error) {
		if len(ends) == 2 {
			return merge.Params(merge.Method(f.combine), ends[0], ends[1], weights[1])
		}
		return merge.MeanParams(ends, weights)
	}, nil
}

// ends are the parameters of A, and of the other models as they are to be merged.
func (f *mergeFlags) ends(ctx context.Context, r *matching) ([]map[string]*tensor.Tensor, error) {
	first, err := r.a.GraphParams(ctx)
	if err != nil {
		return nil, err
	}
	out := []map[string]*tensor.Tensor{first}
	for _, p := range r.pairs() {
		params, err := p.b.GraphParams(ctx)
		if err != nil {
			return nil, err
		}
		if p.aligned != nil {
			for name := range params {
				params[name] = p.aligned[name]
			}
		}
		out = append(out, params)
	}
	return out, nil
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
			AlignedBy string        `json:"aligned_by,omitempty"`
			Status    match.Status  `json:"status,omitempty"`
			Sweeps    int           `json:"sweeps,omitempty"`
			Notes     []string      `json:"notes,omitempty"`
			// Candidates are those of auto.
			Candidates []candidateJSON `json:"candidates,omitempty"`
			Criterion  string          `json:"criterion,omitempty"`
		}{
			Output: f.output, Align: f.method, Method: f.combine, Weights: plan.Weights, Objective: o, TrainLoss: loss,
			Verified: r.verified, Why: r.why, Repair: newRepairJSON(&f.repair, repaired), AlignedBy: r.outcome().Method, Status: r.outcome().Status,
			Sweeps: r.outcome().Sweeps, Notes: r.outcome().Notes, Candidates: newCandidatesJSON(r.candidates), Criterion: r.criterion,
		})
	}
	a.printf("%s:", f.output)
	for i, w := range plan.Weights {
		if i > 0 {
			a.printf(" +")
		}
		a.printf(" %.4g %s", w, letter(i))
	}
	a.printf(" (%s)", f.combine)
	if o != nil {
		what := "<A, B>"
		if len(plan.Sources) > 2 {
			what = "sum of all pairs' inner products"
		}
		a.printf(", aligned by %s: %s %.6g -> %.6g", r.result.Method, what, o.Before, o.After)
	}
	if loss != nil {
		a.printf(", training loss %.4f", *loss)
	}
	a.printf("\n")
	a.printCandidates(r)
	for _, n := range r.outcome().Notes {
		a.printf("note: %s\n", n)
	}
	a.printRepair(&f.repair, repaired)
	a.printVerified(r)
	return nil
}
