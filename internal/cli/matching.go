package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
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
	output string // what is written
	models modelFlags
	data   dataFlags
	method string
	// together says that methods of more than two models are among the choices.
	together bool
	own      evalCommand
	later    bool // data is needed after aligning
	unread   bool // values are looked at when they are merged, and not before
	losses   bool // and losses on it
	blend    float64
	init     string
	// recorded are files of activations, of A and of B, to be used in place of running the networks.
	recorded []string

	restarts, steps, batch int
	lr                     float64
	seed                   uint64
}

// matchMethods are the values of --method (align) and, with none, of --align (merge).
var matchMethods = []string{"weight", "activation", "ste", alignFrankWolfe, "auto"}

// notAligned is the value of merge's --align that takes B as it is.
const notAligned = "none"

// startVaried is the value of --init where none is given.
const startVaried = string(match.StartVaried)

// matchStarts are the values of --init, next to the name of a file.
var matchStarts = map[string]match.Start{
	startVaried: match.StartVaried, "identity": match.StartIdentity, "greedy": match.StartGreedy, "random": match.StartRandom, "activation": match.StartGiven,
}

func (m *matchFlags) register(c *cobra.Command) {
	m.models.registerSymmetry(c)
	m.data.register(c, "whose training part activation, ste, auto and --blend use")
	m.data.registerSamples(c, "samples", 10000, "training samples to observe activations on and to score candidates on; 0 is all")
	m.own.register(c, "by which auto and --search-lambda choose")
	f := c.Flags()
	f.BoolVar(&m.models.noVerify, "no-verify", false, "do not prove the symmetry and the result by running the network")
	f.Float64Var(&m.blend, "blend", 0, "share of the activations' similarity in weight matching, at least 0 and below 1")
	f.StringSliceVar(&m.recorded, "activations", nil, "`FILES` of activations recorded elsewhere, of A and of B with a comma between or in two flags, in place of --data for "+
		"activation matching, --blend and --init activation: arrays [samples, ...] named after sites (see rebasin symmetries) or groups")
	f.StringVar(&m.init, "init", startVaried, "where weight matching begins: varied (as identity, and the second of --restarts greedily), identity, activation, greedy, random, or an alignment `FILE`")
	f.IntVar(&m.restarts, "restarts", 1, "descents of weight matching, the second with a greedy start unless --init says otherwise; the best objective is kept")
	f.IntVar(&m.steps, "steps", 100, "steps of the straight-through estimator")
	f.IntVar(&m.batch, "batch", 500, "batch size of the straight-through estimator")
	f.Float64Var(&m.lr, "lr", 1e-2, "learning rate of the straight-through estimator")
	f.Uint64Var(&m.seed, "seed", 0, "seed of orders, restarts and batches")
}

// check finds mistakes in the flags before anything is opened.
func (m *matchFlags) check() error {
	if err := m.data.check(); err != nil {
		return err
	}
	if _, known := matchStarts[m.init]; !known {
		if _, err := os.Stat(m.init); err != nil {
			return usagef("--init %q is neither varied, identity, activation, greedy, random nor a file: %w", m.init, err)
		}
	}
	if err := m.own.check(); err != nil {
		return err
	}
	if len(m.recorded) != 0 && len(m.recorded) != 2 {
		return usagef("--activations: two files are needed, those of A and of B, not %d", len(m.recorded))
	}
	methods := matchMethods
	if m.together {
		methods = slices.Concat(matchMethods, jointMethods)
	}
	switch {
	case !slices.Contains(methods, m.method):
		return usagef("unknown method %q; there are %s", m.method, strings.Join(methods, ", "))
	case !(m.blend >= 0 && m.blend < 1):
		return usagef("--blend %v: it must be at least 0 and below 1", m.blend)
	case m.blend > 0 && (m.method == "activation" || m.method == alignFrankWolfe || m.joint()):
		return usagef("--blend is for matching weights, not for %s", m.method)
	case m.method == alignFrankWolfe && (m.init == "greedy" || m.init == "random"):
		return usagef("--init %s is for matching weights: frank-wolfe begins between all orders, or at activation or a FILE", m.init)
	case (m.method == alignMany || m.method == alignCycle) && !slices.Contains([]string{startVaried, "identity"}, m.init), m.method == alignPairwise && !slices.Contains(freeStarts, m.init):
		return usagef("--init %s does not go with --align %s", m.init, m.method)
	case m.restarts < 1 || m.steps < 1 || m.batch < 1:
		return usagef("--restarts, --steps and --batch must be at least 1")
	case !(m.lr > 0):
		return usagef("--lr %v: it must be above 0", m.lr)
	case m.needsData() && m.data.name == "":
		return usagef("this needs training data: --data NAME")
	}
	return nil
}

// needsData says that matching runs the networks.
func (m *matchFlags) needsData() bool {
	return m.needsLosses() || m.needsActivations() && len(m.recorded) == 0
}

// needsLosses says that matching measures losses on the data.
func (m *matchFlags) needsLosses() bool {
	return m.method == "ste" || m.method == "auto" && !m.judgedByCommand()
}

func (m *matchFlags) needsActivations() bool {
	return m.method == "activation" || m.blend > 0 || m.init == "activation"
}

// judgedByCommand says that auto chooses by the user's own evaluation, for which it needs no data. With data it has more to choose from.
func (m *matchFlags) judgedByCommand() bool {
	return m.method == "auto" && m.own.active() && m.data.name == ""
}

// matching is a pair of models with an alignment, and what was learnt on the way to it.
type matching struct {
	a, b *model.Model
	// more are the pairs of A with the further models. What concerns all models stands in the first pair.
	more          []*matching
	data          *dataset.Set // the training part, nil where none is needed
	sym           *symmetry.Symmetry
	result        *match.Result // nil where nothing was to be aligned
	candidates    []match.Candidate
	criterion     string  // what the candidates are judged by: one of the constants
	before, after float64 // <A, B> and <A, P·B>, summed over all pairs of models
	seconds       float64
	aligned       map[string]*tensor.Tensor // P·B; nil where nothing was to be aligned
	verified      *verification
	why           string // why nothing was verified
}

// What auto judges candidates by.
const (
	byLoss    = "loss"
	byOutputs = "outputs"
	byCommand = "command"
)

// criterionOf is what auto judges by.
func (m *matchFlags) criterionOf(data *dataset.Set) string {
	switch {
	case m.own.active():
		return byCommand
	case !data.Labelled():
		return byOutputs
	}
	return byLoss
}

// verification is the proof that the aligned network computes what the original did.
type verification struct {
	MaxDeviation float64 `json:"max_deviation"`
	Samples      int     `json:"samples"`
}

// objective is the inner product over all tensors of the symmetry, before and after aligning.
type objective struct {
	Before float64 `json:"before"`
	After  float64 `json:"after"`
}

func (r *matching) close() { modelSet(r.models()).close() }

// newMatching pairs the first model with every other.
func newMatching(models modelSet) *matching {
	const why = "nothing was aligned"
	r := &matching{a: models[0], b: models[1], why: why}
	for _, m := range models[2:] {
		r.more = append(r.more, &matching{a: models[0], b: m, why: why})
	}
	return r
}

// pairs are those of A with every other model, in their order.
func (r *matching) pairs() []*matching { return append([]*matching{r}, r.more...) }

// models are all of them.
func (r *matching) models() []*model.Model {
	out := []*model.Model{r.a}
	for _, p := range r.pairs() {
		out = append(out, p.b)
	}
	return out
}

// outcome is what the matcher said of all models; empty where nothing was aligned.
func (r *matching) outcome() match.Result {
	if r.result == nil {
		return match.Result{}
	}
	return *r.result
}

// loadB reads a tensor of B as it is to be merged.
func (r *matching) loadB(name string) (*tensor.Tensor, error) {
	if r.aligned != nil {
		return r.aligned[name], nil
	}
	return r.b.Tensor(name)
}

// openB gives a tensor of B as it is to be merged in parts.
func (r *matching) openB(name string) (checkpoint.Section, error) {
	if r.aligned != nil {
		return checkpoint.SectionOf(r.aligned[name]), nil
	}
	return r.b.OpenSection(name)
}

// align opens the models, proves the symmetry, finds the alignment, applies it to all but the first and proves the result.
func (m *matchFlags) align(ctx context.Context, a *app, paths ...string) (*matching, error) {
	open := m.models.openAll
	if m.unread {
		open = m.models.openUnread
	}
	models, err := open(ctx, paths...)
	if err != nil {
		return nil, err
	}
	if err := checkApart(m.output, models...); err != nil {
		models.close()
		return nil, err
	}
	a.noteModels(models...)
	r := newMatching(models)
	steps := []func(context.Context, *app, *matching) error{m.openData}
	switch {
	case m.method == notAligned:
	case len(r.more) > 0 || m.joint():
		steps = append(steps, m.findSymmetry, m.findAlignments, m.applyAll)
	default:
		steps = append(steps, m.findSymmetry, m.findAlignment, m.apply)
	}
	for _, step := range steps {
		if err := step(ctx, a, r); err != nil {
			r.close()
			return nil, err
		}
	}
	return r, nil
}

// openData comes first: data that does not fit the network should not cost a proof.
func (m *matchFlags) openData(ctx context.Context, a *app, r *matching) (err error) {
	if !m.later && (m.method == notAligned || !m.needsData()) {
		return nil
	}
	// auto judges by outputs where there are no labels.
	if r.data, err = m.data.open(ctx, a, dataset.Train, r.a); err == nil && (m.losses || m.method == "ste") {
		err = labelled(r.data)
	}
	return err
}

func (m *matchFlags) findSymmetry(ctx context.Context, a *app, r *matching) (err error) {
	if r.sym, err = m.models.symmetryOf(ctx, r.models()...); err != nil {
		return err
	}
	proof, err := m.models.prove(ctx, a, r.sym, r.b, m.seed)
	r.why = ""
	if proof == nil {
		r.why = m.models.whyUnproven(r.b)
		if left := leftOut(r.sym); len(left) > 0 {
			r.why += "; the specification leaves out " + strings.Join(left, ", ") + ", which stay as they are"
			a.warn("the specification leaves out %s; if units it permutes stand there, the result is another function", strings.Join(left, ", "))
		}
	}
	return err
}

// leftOut are the tensors that a specification file says nothing about, the first few of many.
func leftOut(s *symmetry.Symmetry) []string {
	const most = 8
	var names []string
	for _, p := range s.Pinned {
		if _, _, ok := s.LayoutOf(p.Tensor); !ok && p.Axis == -1 {
			names = append(names, p.Tensor)
		}
	}
	if len(names) > most {
		names = append(names[:most:most], fmt.Sprintf("and %d more", len(names)-most))
	}
	return names
}

func (m *matchFlags) findAlignment(ctx context.Context, a *app, r *matching) error {
	s, err := m.newSearch(ctx, a, r)
	if err != nil {
		return err
	}
	if r.before, err = match.InnerProduct(r.sym, s.pa, s.pb, r.sym.Identity()); err != nil {
		return err
	}
	begin := time.Now()
	if r.result, r.candidates, err = s.run(ctx); err != nil {
		return err
	}
	r.seconds = time.Since(begin).Seconds()
	if len(r.candidates) > 0 {
		r.criterion = m.criterionOf(r.data)
	}
	a.settle()
	r.after, err = match.InnerProduct(r.sym, s.pa, s.pb, r.result.Alignment)
	return err
}

// apply permutes B and proves that it still computes the same, where that can be done.
func (m *matchFlags) apply(ctx context.Context, _ *app, r *matching) error {
	params, err := r.b.Params(ctx)
	if err != nil {
		return err
	}
	if r.aligned, err = r.sym.Apply(r.result.Alignment, params); err != nil || r.why != "" {
		return err
	}
	was, err := r.b.GraphParams(ctx)
	if err != nil {
		return err
	}
	is := map[string]*tensor.Tensor{}
	for name := range was {
		is[name] = r.aligned[name]
	}
	deviation, samples, err := symmetry.Equivalent(ctx, r.b.Graph, was, is, nil, 0)
	if err != nil {
		return err
	}
	if !(deviation <= symmetry.Tolerance) {
		return fmt.Errorf("the aligned network differs from %q: the outputs deviate by %g", r.b.Path, deviation)
	}
	r.verified = &verification{deviation, samples}
	return nil
}

// printVerified says what is proven of the aligned B.
func (a *app) printVerified(r *matching) {
	if r.verified == nil {
		a.printf("not verified: %s\n", r.why)
		return
	}
	what := "the aligned B"
	if len(r.more) > 0 {
		what = "the aligned models"
	}
	a.printf("verified: the outputs of "+what+" deviate by at most %.1e over %d samples\n", r.verified.MaxDeviation, r.verified.Samples)
}

// search is one run of a matcher with all that it needs.
type search struct {
	*matchFlags
	net         *model.Model
	sym         *symmetry.Symmetry
	pa, pb      match.Params
	data        *dataset.Set           // the training part, nil where none is needed
	source      match.ActivationSource // on a part of data, or recorded elsewhere; nil where none is needed
	observed    *symmetry.Symmetry     // with the sites that source has
	weights     match.WeightsOptions
	activations match.ActivationsOptions
	observe     match.Observer
	threads     int
}

func (m *matchFlags) newSearch(ctx context.Context, a *app, r *matching) (s *search, err error) {
	s = &search{matchFlags: m, net: r.a, sym: r.sym, observe: m.observer(a), threads: a.threads, observed: r.sym}
	if s.pa, err = r.a.Params(ctx); err != nil {
		return nil, err
	}
	if s.pb, err = r.b.Params(ctx); err != nil {
		return nil, err
	}
	s.weights = match.WeightsOptions{Restarts: m.restarts, Seed: m.seed, Threads: a.threads, Observer: s.observe}
	s.activations = match.ActivationsOptions{Threads: a.threads, Observer: s.observe, Weights: s.weights}
	if m.needsData() {
		s.data = r.data
		s.source = s.live(s.data.Sample(m.data.samples))
	}
	if len(m.recorded) > 0 {
		if err := s.openRecorded(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// live is the source of activations that runs both networks on data.
func (s *search) live(data *dataset.Set) match.ActivationSource {
	return &eval.Activations{Graph: s.net.Graph, A: s.pa, B: s.pb, Data: data, Threads: s.threads}
}

// openRecorded reads the activations that were recorded elsewhere.
func (s *search) openRecorded(ctx context.Context) error {
	a, err := readArrays(ctx, s.recorded[0])
	if err != nil {
		return fmt.Errorf("--activations: %w", err)
	}
	b, err := readArrays(ctx, s.recorded[1])
	if err != nil {
		return fmt.Errorf("--activations: %w", err)
	}
	shapes := map[string]tensor.Shape{}
	for name, t := range a {
		shapes[name] = t.Shape()
	}
	if s.observed, err = match.Observed(s.sym, shapes); err != nil {
		return fmt.Errorf("--activations: %q: %w", s.recorded[0], err)
	}
	s.source = &match.Recorded{A: a, B: b}
	return nil
}

// readArrays reads all arrays of a file.
func readArrays(ctx context.Context, path string) (map[string]*tensor.Tensor, error) {
	r, err := checkpoint.Open(path, checkpoint.OpenOptions{})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	out := map[string]*tensor.Tensor{}
	for _, info := range r.Infos() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if out[info.Name], err = r.Read(info.Name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// observer shows the matchers' progress.
func (m *matchFlags) observer(a *app) match.Observer {
	return func(e match.Event) {
		stage := e.Stage
		if m.restarts > 1 && e.Stage == match.StageWeights {
			stage = fmt.Sprintf("%s, restart %d of %d", stage, e.Restart+1, m.restarts)
		}
		note := ""
		if e.Objective != 0 {
			note = fmt.Sprintf("%.6g", e.Objective)
		}
		if e.Group != "" {
			note = fmt.Sprintf("%s, group %s", note, e.Group)
		}
		a.report(stage, e.Done, e.Total, note)
	}
}

// run runs the method asked for, from where it is to begin.
func (s *search) run(ctx context.Context) (*match.Result, []match.Candidate, error) {
	if err := s.begin(ctx); err != nil {
		return nil, nil, err
	}
	var r *match.Result
	var err error
	switch s.method {
	case "weight":
		r, err = match.Weights(ctx, s.sym, s.pa, s.pb, s.weights)
	case "activation":
		r, err = match.Activations(ctx, s.observed, s.pa, s.pb, s.source, s.activations)
	case "ste":
		r, err = s.straightThrough(ctx)
	case alignFrankWolfe:
		r, err = match.FrankWolfe(ctx, s.sym, s.pa, s.pb, s.frankWolfeOptions())
	default:
		return s.auto(ctx)
	}
	return r, nil, err
}

// begin sets where weight matching begins, and the blend.
func (s *search) begin(ctx context.Context) error {
	start, known := matchStarts[s.init]
	switch {
	case !known:
		p, err := readAlignment(s.init, s.sym)
		if err != nil {
			return fmt.Errorf("--init %q: %w", s.init, err)
		}
		s.weights.Start, s.weights.Init = match.StartGiven, p
	case start == match.StartGiven:
		first, err := match.Activations(ctx, s.observed, s.pa, s.pb, s.source, s.activations)
		if err != nil {
			return err
		}
		s.weights.Start, s.weights.Init = start, first.Alignment
	default:
		s.weights.Start = start
	}
	if s.blend > 0 && s.method != "auto" {
		similarity, err := match.ActivationSimilarity(ctx, s.observed, s.source, s.activations)
		if err != nil {
			return err
		}
		s.weights.Blend = &match.Blend{Mu: s.blend, Similarity: similarity}
	}
	return nil
}

func readAlignment(path string, sym *symmetry.Symmetry) (*symmetry.Alignment, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	return symmetry.ReadAlignment(bytes.NewReader(text), sym)
}

func (s *search) straightThroughOptions() match.StraightThroughOptions {
	return match.StraightThroughOptions{
		Steps: s.steps, LearningRate: s.lr, Weights: s.weights, Seed: s.seed, Threads: s.threads, Observer: s.observe,
	}
}

// newObjective descends on data and scores on scored.
func (s *search) newObjective(data, scored *dataset.Set) (*train.Objective, error) {
	return train.NewObjective(s.net.Graph, data, scored, s.batch, s.seed, s.threads)
}

func (s *search) straightThrough(ctx context.Context) (*match.Result, error) {
	obj, err := s.newObjective(s.data, s.data.Sample(s.matchFlags.data.samples))
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	return match.StraightThrough(ctx, s.sym, s.pa, s.pb, obj, s.straightThroughOptions())
}

// auto chooses between candidates by their loss on training data that none of them was found on.
func (s *search) auto(ctx context.Context) (*match.Result, []match.Candidate, error) {
	opt := match.AutoOptions{
		Weights: s.weights, Activations: s.activations, StraightThrough: s.straightThroughOptions(), BlendMu: s.blend, Observer: s.observe,
	}
	if s.judgedByCommand() {
		return match.Auto(ctx, s.observed, s.pa, s.pb, s.source, nil, &commandJudge{&s.own, s.net}, opt)
	}
	samples := s.matchFlags.data.samples
	rest, held := s.data.HeldOut(samples, dataset.SampleSeed)
	if !s.data.Labelled() {
		return s.autoUnlabelled(ctx, rest, held, opt)
	}
	obj, err := s.newObjective(rest, rest.Sample(samples))
	if err != nil {
		return nil, nil, err
	}
	defer obj.Close()
	if len(s.recorded) == 0 {
		s.source = s.live(rest.Sample(samples))
	}
	if s.own.active() {
		return match.Auto(ctx, s.observed, s.pa, s.pb, s.source, obj, &commandJudge{&s.own, s.net}, opt)
	}
	judge, err := s.newObjective(rest, held)
	if err != nil {
		return nil, nil, err
	}
	defer judge.Close()
	return match.Auto(ctx, s.observed, s.pa, s.pb, s.source, obj, judge, opt)
}

// unlabelledNote says how auto chose.
const unlabelledNote = "the data has no labels: candidates are judged by how far the outputs of their midpoint are from the mean of the models' own, as a part of the variance of that mean; ste is none of them"

// autoUnlabelled is auto without a loss to choose by and to descend on.
func (s *search) autoUnlabelled(ctx context.Context, rest, held *dataset.Set, opt match.AutoOptions) (*match.Result, []match.Candidate, error) {
	if len(s.recorded) == 0 {
		s.source = s.live(rest.Sample(s.matchFlags.data.samples))
	}
	if s.own.active() {
		return match.Auto(ctx, s.observed, s.pa, s.pb, s.source, nil, &commandJudge{&s.own, s.net}, opt)
	}
	judge, err := eval.NewOutputs(ctx, s.net.Graph, []map[string]*tensor.Tensor{s.pa, s.pb}, held, s.threads)
	if err != nil {
		return nil, nil, err
	}
	defer judge.Close()
	r, candidates, err := match.Auto(ctx, s.observed, s.pa, s.pb, s.source, nil, judge, opt)
	if err == nil {
		r.Notes = append(r.Notes, unlabelledNote)
	}
	return r, candidates, err
}
