package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/match"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/train"
)

// matchFlags say how to find an alignment; align and merge share them.
type matchFlags struct {
	models modelFlags
	data   dataFlags
	method string
	blend  float64
	init   string

	restarts, samples, steps, batch int
	lr                              float64
	seed                            uint64
}

// matchMethods are the values of --method (align) and, with none, of --align (merge).
var matchMethods = []string{"weight", "activation", "ste", "auto"}

func (m *matchFlags) register(c *cobra.Command) {
	m.models.registerSymmetry(c)
	m.data.register(c, "whose training part activation, ste, auto and --blend use")
	f := c.Flags()
	f.Float64Var(&m.blend, "blend", 0, "share of the activations' similarity in weight matching, at least 0 and below 1")
	f.StringVar(&m.init, "init", "identity", "where weight matching begins: identity, activation, greedy, random, or an alignment FILE")
	f.IntVar(&m.restarts, "restarts", 1, "descents of weight matching; the best objective is kept")
	f.IntVar(&m.samples, "samples", 10000, "training samples to observe activations on and to score candidates on; 0 is all")
	f.IntVar(&m.steps, "steps", 100, "steps of the straight-through estimator")
	f.IntVar(&m.batch, "batch", 500, "batch size of the straight-through estimator")
	f.Float64Var(&m.lr, "lr", 1e-3, "learning rate of the straight-through estimator")
	f.Uint64Var(&m.seed, "seed", 0, "seed of orders, restarts and batches")
}

func (m *matchFlags) check() error {
	if !slices.Contains(matchMethods, m.method) {
		return usagef("unknown method %q; there are %v", m.method, matchMethods)
	}
	if !(m.blend >= 0 && m.blend < 1) {
		return usagef("--blend %v: it must be at least 0 and below 1", m.blend)
	}
	if m.restarts < 1 || m.steps < 1 || m.batch < 1 {
		return usagef("--restarts, --steps and --batch must be at least 1")
	}
	if m.needsData() && m.data.name == "" {
		return usagef("this needs training data: --data NAME")
	}
	return nil
}

func (m *matchFlags) needsData() bool {
	return m.method != "weight" || m.blend > 0 || m.init == "activation"
}

// matching is an alignment with what was learnt on the way.
type matching struct {
	a, b          *model.Model
	sym           *symmetry.Symmetry
	result        *match.Result
	candidates    []match.Candidate
	before, after float64 // <A, B> and <A, P·B>
	seconds       float64
	why           string // why nothing was proven, or empty
}

func (m *matching) close() {
	m.a.Close()
	m.b.Close()
}

// run opens both models, proves the symmetry and finds the alignment.
func (m *matchFlags) run(ctx context.Context, a *app, pathA, pathB string) (*matching, error) {
	ma, mb, err := m.models.openPair(ctx, pathA, pathB)
	if err != nil {
		return nil, err
	}
	r := &matching{a: ma, b: mb}
	if err := m.find(ctx, a, r); err != nil {
		r.close()
		return nil, err
	}
	a.settle()
	return r, nil
}

func (m *matchFlags) find(ctx context.Context, a *app, r *matching) (err error) {
	if r.sym, err = m.models.symmetryOf(ctx, r.a, r.b); err != nil {
		return err
	}
	proof, err := m.models.prove(ctx, a, r.sym, r.b, m.seed)
	if err != nil {
		return err
	}
	if proof == nil {
		r.why = "--no-verify was given"
		if r.a.Graph == nil {
			r.why = "the network's graph is not known, so nothing can be run; shapes and sizes were checked"
		}
	}
	pa, err := r.a.Params(ctx)
	if err != nil {
		return err
	}
	pb, err := r.b.Params(ctx)
	if err != nil {
		return err
	}
	if r.before, err = match.InnerProduct(r.sym, pa, pb, r.sym.Identity()); err != nil {
		return err
	}
	begin := time.Now()
	if r.result, r.candidates, err = m.match(ctx, a, r, pa, pb); err != nil {
		return err
	}
	r.seconds = time.Since(begin).Seconds()
	r.after, err = match.InnerProduct(r.sym, pa, pb, r.result.Alignment)
	return err
}

// match runs the method asked for.
func (m *matchFlags) match(ctx context.Context, a *app, r *matching, pa, pb match.Params) (*match.Result, []match.Candidate, error) {
	observe := func(e match.Event) {
		stage := e.Stage
		if m.restarts > 1 && e.Total == 0 {
			stage = fmt.Sprintf("%s, restart %d of %d", stage, e.Restart+1, m.restarts)
		}
		a.report(stage, e.Done, e.Total, fmt.Sprintf("%.6g", e.Objective))
	}
	w := match.WeightsOptions{Restarts: m.restarts, Seed: m.seed, Threads: a.threads, Observer: observe}
	act := match.ActivationsOptions{Threads: a.threads, Observer: observe, Weights: w}
	var set *dataset.Set
	var src *eval.Activations
	if m.needsData() {
		var err error
		if set, err = m.data.open(ctx, a, dataset.Train, r.a); err != nil {
			return nil, nil, err
		}
		src = &eval.Activations{Graph: r.a.Graph, A: pa, B: pb, Data: subset(set, m.samples), Threads: a.threads}
	}
	if err := m.start(ctx, r, pa, pb, src, act, &w); err != nil {
		return nil, nil, err
	}
	if m.blend > 0 {
		s, err := match.ActivationSimilarity(ctx, r.sym, src, act)
		if err != nil {
			return nil, nil, err
		}
		w.Blend = &match.Blend{Mu: m.blend, Similarity: s}
	}
	switch m.method {
	case "weight":
		res, err := match.Weights(ctx, r.sym, pa, pb, w)
		return res, nil, err
	case "activation":
		res, err := match.Activations(ctx, r.sym, pa, pb, src, act)
		return res, nil, err
	}
	return m.descend(ctx, a, r, pa, pb, set, src, w, act, observe)
}

// descend runs the methods that need gradients or losses.
func (m *matchFlags) descend(ctx context.Context, a *app, r *matching, pa, pb match.Params, set *dataset.Set, src *eval.Activations,
	w match.WeightsOptions, act match.ActivationsOptions, observe match.Observer,
) (*match.Result, []match.Candidate, error) {
	data, scored := set, subset(set, m.samples)
	if m.method == "auto" {
		data, scored = heldOut(set, m.samples)
	}
	obj, err := train.NewObjective(r.a.Graph, data, subset(data, m.samples), m.batch, m.seed, a.threads)
	if err != nil {
		return nil, nil, err
	}
	defer obj.Close()
	ste := match.StraightThroughOptions{Steps: m.steps, LearningRate: m.lr, Weights: w, Seed: m.seed, Threads: a.threads, Observer: observe}
	if m.method == "ste" {
		res, err := match.StraightThrough(ctx, r.sym, pa, pb, obj, ste)
		return res, nil, err
	}
	held, err := train.NewObjective(r.a.Graph, data, scored, m.batch, m.seed, a.threads)
	if err != nil {
		return nil, nil, err
	}
	defer held.Close()
	src.Data = subset(data, m.samples)
	return match.Auto(ctx, r.sym, pa, pb, src, obj, held, match.AutoOptions{
		Weights: w, Activations: act, StraightThrough: ste, BlendMu: m.blend, Observer: observe,
	})
}

// heldOut cuts the training data in two: what candidates are found on, and at most a third, n samples if there are that many, to choose between them.
func heldOut(set *dataset.Set, n int) (rest, held *dataset.Set) {
	order := dataset.Order(set.Len(), subsetSeed, 0)
	if n <= 0 || n > len(order)/3 {
		n = len(order) / 3
	}
	return set.Subset(order[n:]), set.Subset(order[:n])
}

// start sets where weight matching begins.
func (m *matchFlags) start(ctx context.Context, r *matching, pa, pb match.Params, src *eval.Activations, act match.ActivationsOptions, w *match.WeightsOptions) error {
	switch m.init {
	case "identity", "":
	case "greedy":
		w.Start = match.StartGreedy
	case "random":
		w.Start = match.StartRandom
	case "activation":
		first, err := match.Activations(ctx, r.sym, pa, pb, src, act)
		if err != nil {
			return err
		}
		w.Start, w.Init = match.StartGiven, first.Alignment
	default:
		text, err := readSmall(m.init)
		if err != nil {
			return fmt.Errorf("--init: %w", err)
		}
		p, err := symmetry.ReadAlignment(bytes.NewReader(text), r.sym)
		if err != nil {
			return fmt.Errorf("--init %q: %w", m.init, err)
		}
		w.Start, w.Init = match.StartGiven, p
	}
	return nil
}

// verification is the proof that the aligned network computes what the original did.
type verification struct {
	MaxDeviation float64 `json:"max_deviation"`
	Samples      int     `json:"samples"`
}

// permuted applies the alignment to B and proves the result, when that can be done.
func (m *matching) permuted(ctx context.Context) (map[string]*tensor.Tensor, *verification, error) {
	pb, err := m.b.Params(ctx)
	if err != nil {
		return nil, nil, err
	}
	out, err := m.sym.Apply(m.result.Alignment, pb)
	if err != nil || m.why != "" {
		return out, nil, err
	}
	was, err := m.b.GraphParams(ctx)
	if err != nil {
		return nil, nil, err
	}
	is := map[string]*tensor.Tensor{}
	for name := range was {
		is[name] = out[name]
	}
	deviation, samples, err := symmetry.Equivalent(ctx, m.b.Graph, was, is, nil, 0)
	if err != nil {
		return nil, nil, err
	}
	if !(deviation <= symmetry.Tolerance) {
		return nil, nil, fmt.Errorf("the aligned network differs from %q: the outputs deviate by %g", m.b.Path, deviation)
	}
	return out, &verification{deviation, samples}, nil
}

func (a *app) align() *cobra.Command {
	var m matchFlags
	var output, alignmentOut string
	c := &cobra.Command{
		Use:   "align A B -o OUT",
		Short: "Write B with its units in A's order",
		Long: `Finds the order of B's hidden units that fits A best and writes B in that order: the same function, but now it can be averaged with A.
That it is the same function is proven by running both in float64.`,
		Example: `  rebasin align a.safetensors b.safetensors -o b-aligned.safetensors
  rebasin align a.safetensors b.safetensors -o b-aligned.safetensors --method activation --data mnist
  rebasin align a.safetensors b.safetensors -o b-aligned.safetensors --symmetry net.yaml --restarts 10 --seed 3`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if err := m.check(); err != nil {
				return err
			}
			for _, out := range []string{output, alignmentOut} {
				if out == "" && out != output {
					continue
				}
				if err := checkOutput(out, args[0], args[1], m.models.symmetry, m.init); err != nil {
					return err
				}
			}
			return a.runAlign(c.Context(), &m, args[0], args[1], output, alignmentOut)
		},
	}
	m.register(c)
	c.Flags().StringVar(&m.method, "method", "weight", "weight, activation, ste, or auto: the best by loss on held-out training data")
	c.Flags().StringVarP(&output, "output", "o", "", "file to write")
	c.Flags().StringVar(&alignmentOut, "alignment-out", "", "also write the alignment to this file, to be read by --init")
	return c
}

func (a *app) runAlign(ctx context.Context, m *matchFlags, pathA, pathB, output, alignmentOut string) error {
	r, err := m.run(ctx, a, pathA, pathB)
	if err != nil {
		return err
	}
	defer r.close()
	params, verified, err := r.permuted(ctx)
	if err != nil {
		return err
	}
	meta, err := provenance("align "+r.result.Method, m.seed, pathA, pathB)
	if err != nil {
		return err
	}
	if alignmentOut != "" {
		err := checkpoint.WriteFile(alignmentOut, func(w io.Writer) error { return symmetry.WriteAlignment(w, r.sym, r.result.Alignment) })
		if err != nil {
			return err
		}
	}
	if err := saveLike(ctx, output, params, r.b, meta); err != nil {
		if alignmentOut != "" {
			os.Remove(alignmentOut)
		}
		return err
	}
	return a.reportAlign(r, output, verified)
}

// saveLike writes tensors with the metadata the model came with, and ours on top.
func saveLike(ctx context.Context, path string, params map[string]*tensor.Tensor, like *model.Model, meta map[string]string) error {
	all := like.Metadata()
	if all == nil {
		all = map[string]string{}
	}
	for k, v := range meta {
		all[k] = v
	}
	return model.Save(ctx, path, params, like.Config, all)
}

func (a *app) reportAlign(r *matching, output string, verified *verification) error {
	a.finish()
	if a.json {
		type objective struct {
			Before float64 `json:"before"`
			After  float64 `json:"after"`
		}
		return writeJSON(a.stdout, struct {
			Output     string            `json:"output"`
			Method     string            `json:"method"`
			Objective  objective         `json:"objective"`
			Sweeps     int               `json:"sweeps"`
			Status     match.Status      `json:"status"`
			Seconds    float64           `json:"seconds"`
			Verified   *verification     `json:"verified"`
			Why        string            `json:"why,omitempty"`
			Notes      []string          `json:"notes,omitempty"`
			Candidates []match.Candidate `json:"candidates,omitempty"`
		}{output, r.result.Method, objective{r.before, r.after}, r.result.Sweeps, r.result.Status, r.seconds, verified, r.why, r.result.Notes, r.candidates})
	}
	rounds := "sweeps"
	if r.result.Method == "ste" {
		rounds = "steps"
	}
	fmt.Fprintf(a.stdout, "%s: <A, B> %.6g -> %.6g by %s in %d %s (%s), %.2f s\n",
		output, r.before, r.after, r.result.Method, r.result.Sweeps, rounds, r.result.Status, r.seconds)
	for _, c := range r.candidates {
		fmt.Fprintf(a.stdout, "candidate %-24s loss at the midpoint %.4f\n", c.Method, c.Loss)
	}
	for _, n := range r.result.Notes {
		fmt.Fprintln(a.stdout, "note:", n)
	}
	if verified == nil {
		fmt.Fprintln(a.stdout, "not verified:", r.why)
	} else {
		fmt.Fprintf(a.stdout, "verified: the outputs deviate by at most %.1e over %d samples\n", verified.MaxDeviation, verified.Samples)
	}
	return nil
}
