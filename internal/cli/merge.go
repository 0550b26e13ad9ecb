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
	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/internal/ui"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/tensor"
)

// mergeFlags are the flags of merge.
type mergeFlags struct {
	matchFlags
	output, combine string
	weights         []string
	search, dryRun  bool
}

func (a *app) merge() *cobra.Command {
	var m mergeFlags
	c := &cobra.Command{
		Use:   "merge A B -o OUT",
		Short: "Align B with A and merge the two",
		Long: `Aligns B with A and writes the network between them. --dry-run prints what would be done, with the memory it takes, and does nothing.
--search-lambda looks for the best place on the way from A to B by the loss on training data.`,
		Example: `  rebasin merge a.safetensors b.safetensors -o merged.safetensors
  rebasin merge a.safetensors b.safetensors -o merged.safetensors --align ste --data mnist
  rebasin merge a.safetensors b.safetensors -o merged.safetensors --search-lambda --data mnist
  rebasin merge a.safetensors b-aligned.safetensors -o merged.safetensors --align none --method slerp --weights .7,.3 --dry-run`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error { return a.runMerge(c.Context(), &m, args[0], args[1]) },
	}
	m.register(c)
	f := c.Flags()
	f.StringVar(&m.method, "align", "weight", "how to align B with A first: weight, activation, ste, auto, none")
	f.StringVar(&m.combine, "method", "lerp", "how to combine: lerp, the straight line, or slerp, the great circle of each tensor")
	f.StringSliceVar(&m.weights, "weights", []string{".5", ".5"}, "weights of the two models; they are divided by their sum")
	f.BoolVar(&m.search, "search-lambda", false, "choose the weights by the loss on the training part of --data")
	f.BoolVar(&m.dryRun, "dry-run", false, "print the plan and do nothing")
	f.StringVarP(&m.output, "output", "o", "", "file to write")
	return c
}

func (m *mergeFlags) checkMerge() ([2]float64, error) {
	var w [2]float64
	if !slices.Contains(merge.Methods(), merge.Method(m.combine)) {
		return w, usagef("unknown method %q; there are %v", m.combine, merge.Methods())
	}
	if len(m.weights) != 2 {
		return w, usagef("--weights: two are needed, there are %d", len(m.weights))
	}
	for i, text := range m.weights {
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || !(x >= 0) || math.IsInf(x, 0) {
			return w, usagef("--weights: %q is not a non-negative number", text)
		}
		w[i] = x
	}
	if w[0]+w[1] == 0 {
		return w, usagef("--weights: not all can be zero")
	}
	if m.search && m.data.name == "" {
		return w, usagef("--search-lambda needs training data: --data NAME")
	}
	if m.method == "none" {
		return w, nil
	}
	return w, m.check()
}

func (a *app) runMerge(ctx context.Context, m *mergeFlags, pathA, pathB string) error {
	weights, err := m.checkMerge()
	if err != nil {
		return err
	}
	if err := checkOutput(m.output, pathA, pathB, m.models.symmetry, m.init); err != nil {
		return err
	}
	if m.dryRun {
		return a.planMerge(ctx, m, pathA, pathB, weights)
	}
	ma, params, out, err := m.align(ctx, a, pathA, pathB)
	if err != nil {
		return err
	}
	defer out.close()
	plan, err := newPlan(m, ma, out.b, pathA, pathB, weights, params)
	if err != nil {
		return err
	}
	if m.search {
		if err := a.searchLambda(ctx, m, plan, ma, params, out); err != nil {
			return err
		}
	}
	meta := ma.Metadata()
	if meta == nil {
		meta = map[string]string{}
	}
	own, err := provenance("merge "+m.combine+" after align "+m.method, m.seed, pathA, pathB)
	if err != nil {
		return err
	}
	for k, v := range own {
		meta[k] = v
	}
	meta["rebasin.lambda"] = strconv.FormatFloat(plan.Lambda, 'g', -1, 64)
	if ma.Config != nil {
		if meta["rebasin.arch"], err = ma.Config.Encode(); err != nil {
			return err
		}
	}
	err = plan.Execute(ctx, m.output, meta, func(done, total int) { a.report("merging", done, total, "") })
	if err != nil {
		return err
	}
	return a.reportMerge(m, plan, out)
}

// merged is what merge found on the way to its output.
type merged struct {
	matching
	verified *verification
	loss     *float64 // of the merged network on training data, when searched for
}

// align brings B into A's order, unless it was told not to. The parameters are nil when B is taken as it is.
func (m *mergeFlags) align(ctx context.Context, a *app, pathA, pathB string) (*model.Model, map[string]*tensor.Tensor, *merged, error) {
	if m.method == "none" {
		ma, mb, err := m.models.openPair(ctx, pathA, pathB)
		if err != nil {
			return nil, nil, nil, err
		}
		return ma, nil, &merged{matching: matching{a: ma, b: mb, why: "nothing was aligned"}}, nil
	}
	r, err := m.run(ctx, a, pathA, pathB)
	if err != nil {
		return nil, nil, nil, err
	}
	params, verified, err := r.permuted(ctx)
	if err != nil {
		r.close()
		return nil, nil, nil, err
	}
	return r.a, params, &merged{matching: *r, verified: verified}, nil
}

// newPlan plans the merge of A with B, whose tensors are params where it was aligned.
func newPlan(m *mergeFlags, ma, mb *model.Model, pathA, pathB string, weights [2]float64, params map[string]*tensor.Tensor) (*merge.Plan, error) {
	load := mb.Tensor
	if params != nil {
		load = func(name string) (*tensor.Tensor, error) { return params[name], nil }
	}
	hashA, err := checkpoint.Hash(pathA)
	if err != nil {
		return nil, err
	}
	hashB, err := checkpoint.Hash(pathB)
	if err != nil {
		return nil, err
	}
	return merge.NewPlan(merge.Source{Name: pathA, Hash: hashA, Infos: ma.Infos(), Load: ma.Tensor},
		merge.Source{Name: pathB, Hash: hashB, Infos: mb.Infos(), Load: load}, merge.Method(m.combine), weights)
}

// searchLambda puts the plan at the λ with the lowest loss on training data: first on a grid of 11 points, then by golden section around the best.
func (a *app) searchLambda(ctx context.Context, m *mergeFlags, plan *merge.Plan, ma *model.Model, params map[string]*tensor.Tensor, out *merged) error {
	set, err := m.data.open(ctx, a, dataset.Train, ma)
	if err != nil {
		return err
	}
	data := subset(set, m.samples)
	runner, err := eval.NewRunner(ma.Graph, a.threads)
	if err != nil {
		return err
	}
	defer runner.Close()
	pa, err := ma.Params(ctx)
	if err != nil {
		return err
	}
	if params == nil {
		if params, err = out.b.Params(ctx); err != nil {
			return err
		}
	}
	done := 0
	lambda, loss, err := merge.SearchLambda(func(l float64) (float64, error) {
		mixed, err := merge.Params(plan.Method, pa, params, l)
		if err != nil {
			return 0, err
		}
		own := map[string]*tensor.Tensor{}
		for _, p := range ma.Graph.Params {
			own[p.Name] = mixed[p.Name]
		}
		if err := runner.SetParams(own); err != nil {
			return 0, err
		}
		metrics, err := runner.Evaluate(ctx, data)
		done++
		a.report("searching λ", done, merge.SearchSteps, fmt.Sprintf("λ %.3f, loss %.4f", l, metrics.Loss))
		return metrics.Loss, err
	})
	if err != nil {
		return err
	}
	plan.Lambda, out.loss = lambda, &loss
	return nil
}

// planMerge prints the plan of a merge without doing it.
func (a *app) planMerge(ctx context.Context, m *mergeFlags, pathA, pathB string, weights [2]float64) error {
	ma, mb, err := m.models.openPair(ctx, pathA, pathB)
	if err != nil {
		return err
	}
	defer ma.Close()
	defer mb.Close()
	if m.method != "none" {
		if _, err := m.models.symmetryOf(ctx, ma, mb); err != nil {
			return err
		}
	}
	plan, err := newPlan(m, ma, mb, pathA, pathB, weights, nil)
	if err != nil {
		return err
	}
	a.finish()
	if a.json {
		type step struct {
			Name, DType, Action string
			Shape               []int
		}
		var steps []step
		for _, s := range plan.Tensors {
			steps = append(steps, step{s.Name, s.DType.String(), s.Action, s.Shape})
		}
		return writeJSON(a.stdout, struct {
			DryRun  bool      `json:"dry_run"`
			Output  string    `json:"output"`
			Inputs  []string  `json:"inputs"`
			Hashes  []string  `json:"hashes"`
			Align   string    `json:"align"`
			Method  string    `json:"method"`
			Weights []float64 `json:"weights"`
			Bytes   int64     `json:"bytes"`
			Memory  int64     `json:"memory"`
			Seconds float64   `json:"seconds"`
			Tensors []step    `json:"tensors"`
		}{true, m.output, []string{pathA, pathB}, []string{plan.A.Hash, plan.B.Hash}, m.method, m.combine,
			[]float64{1 - plan.Lambda, plan.Lambda}, plan.Bytes, m.memory(plan), plan.Seconds(), steps})
	}
	fmt.Fprintf(a.stdout, "A       %s  sha256 %s\nB       %s  sha256 %s\nalign   %s\nmethod  %s, weights %.4g and %.4g\noutput  %s, %s in %d tensors\nmemory  about %s\ntime    about %.2g s to merge and write%s\n\n",
		pathA, plan.A.Hash, pathB, plan.B.Hash, m.method, m.combine, 1-plan.Lambda, plan.Lambda, m.output, size(plan.Bytes), len(plan.Tensors),
		size(m.memory(plan)), plan.Seconds(), map[bool]string{true: "", false: ", and the alignment before"}[m.method == "none"])
	var rows [][]string
	for _, s := range plan.Tensors {
		rows = append(rows, []string{s.Name, s.DType.String(), fmt.Sprint(s.Shape), s.Action})
	}
	return ui.Table(a.stdout, []string{"tensor", "dtype", "shape", "action"}, rows, ui.TableOptions{})
}

// memory foresees the bytes held: alone, the largest few tensors; with an alignment, A, B, the permuted copy and the result of applying it.
func (m *mergeFlags) memory(p *merge.Plan) int64 {
	if m.method == "none" {
		return p.Memory
	}
	return 5*p.Bytes + p.Memory
}

// size is a number of bytes for people.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	x, i := float64(n), 0
	for x >= 1024 && i < len(units)-1 {
		x, i = x/1024, i+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", x), ".0") + " " + units[i]
}

func (a *app) reportMerge(m *mergeFlags, plan *merge.Plan, out *merged) error {
	a.finish()
	if a.json {
		type objective struct {
			Before float64 `json:"before"`
			After  float64 `json:"after"`
		}
		var o *objective
		if out.result != nil {
			o = &objective{out.before, out.after}
		}
		return writeJSON(a.stdout, struct {
			Output    string        `json:"output"`
			Align     string        `json:"align"`
			Method    string        `json:"method"`
			Weights   []float64     `json:"weights"`
			Objective *objective    `json:"objective"`
			TrainLoss *float64      `json:"train_loss,omitempty"`
			Verified  *verification `json:"verified"`
			Why       string        `json:"why,omitempty"`
		}{m.output, m.method, m.combine, []float64{1 - plan.Lambda, plan.Lambda}, o, out.loss, out.verified, out.why})
	}
	fmt.Fprintf(a.stdout, "%s: %.4g A + %.4g B (%s)", m.output, 1-plan.Lambda, plan.Lambda, m.combine)
	if out.result != nil {
		fmt.Fprintf(a.stdout, ", aligned by %s: <A, B> %.6g -> %.6g", out.result.Method, out.before, out.after)
	}
	if out.loss != nil {
		fmt.Fprintf(a.stdout, ", training loss %.4f", *out.loss)
	}
	fmt.Fprintln(a.stdout)
	if out.verified != nil {
		fmt.Fprintf(a.stdout, "verified: the outputs of the aligned B deviate by at most %.1e over %d samples\n", out.verified.MaxDeviation, out.verified.Samples)
	} else {
		fmt.Fprintln(a.stdout, "not verified:", out.why)
	}
	return nil
}
