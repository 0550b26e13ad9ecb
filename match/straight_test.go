package match

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

// task is a small classification problem with a network for it: an Objective and an ActivationSource.
type task struct {
	t      testing.TB
	graph  *graph.Graph
	sym    *symmetry.Symmetry
	x      []float32
	labels []int32
	engine *nn.Engine[float32]
	a, b   Params // trained apart

	gradients, scores int
	spoil             func(step int) float64 // replaces the loss of a step
	scored            []float64
}

const (
	taskInputs  = 6
	taskClasses = 4
	taskSamples = 128
)

var taskConfig = zoo.Config{Arch: "mlp", Input: []int{taskInputs}, Hidden: []int{8, 8, 8}, Classes: taskClasses}

// newTask trains two networks with other seeds on data that a random network has labelled.
func newTask(t testing.TB) *task {
	t.Helper()
	g, err := zoo.Build(taskConfig)
	if err != nil {
		t.Fatal(err)
	}
	e, err := nn.New[float32](g, nn.Options{Threads: 1, Training: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	k := &task{t: t, graph: g, engine: e, x: make([]float32, taskSamples*taskInputs), labels: make([]int32, taskSamples)}
	rng := newRand(1)
	for i := range k.x {
		k.x[i] = float32(rng.NormFloat64())
	}
	k.label(k.initial(77))
	k.a, k.b = k.trained(1), k.trained(2)
	if k.sym, err = symmetry.Infer(g, k.a, k.b); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *task) initial(seed uint64) Params {
	p, err := zoo.Init(k.graph, taskConfig, seed)
	if err != nil {
		k.t.Fatal(err)
	}
	return p
}

func (k *task) label(teacher Params) {
	if err := k.engine.SetParams(teacher); err != nil {
		k.t.Fatal(err)
	}
	logits, err := k.engine.Forward(k.x, taskSamples)
	if err != nil {
		k.t.Fatal(err)
	}
	for i := range k.labels {
		row := logits[i*taskClasses : (i+1)*taskClasses]
		k.labels[i] = int32(slices.Index(row, slices.Max(row)))
	}
}

func (k *task) trained(seed uint64) Params {
	p := k.initial(seed)
	grad, m, v := Params{}, map[string][]float32{}, map[string][]float32{}
	for name, x := range p {
		grad[name] = tensor.New(tensor.F32, x.Shape())
		m[name], v[name] = make([]float32, x.Len()), make([]float32, x.Len())
	}
	for step := range 150 {
		if _, err := k.Gradient(k.t.Context(), step, p, grad); err != nil {
			k.t.Fatal(err)
		}
		s := float64(step + 1)
		adam := kernel.AdamParams{LR: .01, Beta1: .9, Beta2: .999, Epsilon: 1e-8, Correction1: 1 - math.Pow(.9, s), Correction2: 1 - math.Pow(.999, s)}
		for name, x := range p {
			kernel.AdamStep(tensor.Of[float32](x), tensor.Of[float32](grad[name]), m[name], v[name], adam)
		}
	}
	k.gradients = 0
	return p
}

func (k *task) loss(p Params, dlogits []float32) float64 {
	if err := k.engine.SetParams(p); err != nil {
		k.t.Fatal(err)
	}
	logits, err := k.engine.Forward(k.x, taskSamples)
	if err != nil {
		k.t.Fatal(err)
	}
	sum, _ := nn.CrossEntropy(logits, k.labels, taskClasses, dlogits)
	return sum / taskSamples
}

func (k *task) Gradient(_ context.Context, step int, params, grad Params) (float64, error) {
	k.gradients++
	if k.spoil != nil {
		return k.spoil(step), nil
	}
	dlogits := make([]float32, taskSamples*taskClasses)
	loss := k.loss(params, dlogits)
	if err := k.engine.Backward(dlogits); err != nil {
		return 0, err
	}
	for name, g := range k.engine.GradTensors() {
		copy(tensor.Of[float32](grad[name]), tensor.Of[float32](g))
	}
	return loss, nil
}

func (k *task) Score(_ context.Context, params Params) (float64, error) {
	k.scores++
	loss := k.loss(params, nil)
	k.scored = append(k.scored, loss)
	return loss, nil
}

// midpoint is the loss of ½(A + P·B) by its definition.
func (k *task) midpoint(p *symmetry.Alignment) float64 {
	m := cloneParams(k.a)
	for name, b := range apply(k.t, k.sym, p, k.b) {
		for i, x := range tensor.Of[float32](b) {
			tensor.Of[float32](m[name])[i] = (tensor.Of[float32](m[name])[i] + x) / 2
		}
	}
	return k.loss(m, nil)
}

// Batches and Each make the task a source of activations, in one batch.
func (k *task) Batches() int { return 1 }

func (k *task) Each(_ context.Context, sites []string, visit func(shapes []tensor.Shape, a, b [][]float32) error) error {
	e, err := nn.New[float32](k.graph, nn.Options{Threads: 1, Keep: sites})
	if err != nil {
		return err
	}
	defer e.Close()
	shapes := make([]tensor.Shape, len(sites))
	var both [2][][]float32
	for n, p := range []Params{k.a, k.b} {
		if err := e.SetParams(p); err != nil {
			return err
		}
		if _, err := e.Forward(k.x, taskSamples); err != nil {
			return err
		}
		for i, s := range sites {
			v, shape := e.Value(s)
			both[n] = append(both[n], slices.Clone(v))
			shapes[i] = shape
		}
	}
	return visit(shapes, both[0], both[1])
}

func (k *task) straight(opt StraightThroughOptions) *Result {
	k.t.Helper()
	r, err := StraightThrough(k.t.Context(), k.sym, k.a, k.b, k, opt)
	if err != nil {
		k.t.Fatal(err)
	}
	return r
}

// The best candidate is returned, as it was: it is worth what the result says, no candidate was better, and weight matching was one.
func TestStraightThroughReturnsTheBest(t *testing.T) {
	k := newTask(t)
	keepA, keepB := cloneParams(k.a), cloneParams(k.b)
	// A rate at which the surrogate runs away: the last candidate is not the best.
	r := k.straight(StraightThroughOptions{Steps: 60, ScoreEvery: 4, LearningRate: .03, Threads: 1})
	if r.Status != StepLimit || r.Sweeps != 60 || k.gradients != 60 || len(r.Trace) != 16 || k.scores != 16 {
		t.Fatalf("%q after %d steps, %d gradients, %d of %d scores", r.Status, r.Sweeps, k.gradients, len(r.Trace), k.scores)
	}
	if !slices.Equal(r.Trace, k.scored) || r.Objective != slices.Min(r.Trace) {
		t.Errorf("objective %v, trace %v, scored %v", r.Objective, r.Trace, k.scored)
	}
	if last := r.Trace[len(r.Trace)-1]; last == r.Objective {
		t.Errorf("the last of %v is the best, so the test shows nothing", r.Trace)
	}
	if got := k.midpoint(r.Alignment); math.Abs(got-r.Objective) > 1e-6 {
		t.Errorf("the alignment returned has loss %v at its midpoint, the result says %v", got, r.Objective)
	}
	w := mustWeights(t, k.sym, k.a, k.b, WeightsOptions{})
	if got := k.midpoint(w.Alignment); math.Abs(got-r.Trace[0]) > 1e-6 || !(r.Objective < got-.01) {
		t.Errorf("weight matching has loss %v, the first candidate %v, the best %v", got, r.Trace[0], r.Objective)
	}
	for name := range k.a {
		if !k.a[name].Equal(keepA[name]) || !k.b[name].Equal(keepB[name]) {
			t.Errorf("tensor %q was written to", name)
		}
	}
}

func TestStraightThroughIsDeterministic(t *testing.T) {
	k := newTask(t)
	opt := StraightThroughOptions{Steps: 20, ScoreEvery: 5, Seed: 3, Threads: 1, Weights: WeightsOptions{Restarts: 2}}
	first := k.straight(opt)
	for threads := 1; threads <= 3; threads++ {
		opt.Threads = threads
		if r := k.straight(opt); !slices.Equal(r.Trace, first.Trace) || !r.Alignment.Equal(first.Alignment) {
			t.Errorf("trace %v with %d threads, before %v", r.Trace, threads, first.Trace)
		}
	}
}

// The last step is scored whether it is its turn or not, and reported as the last.
func TestStraightThroughScoresTheLastStep(t *testing.T) {
	k := newTask(t)
	var done []int
	r := k.straight(StraightThroughOptions{Steps: 7, ScoreEvery: 5, Threads: 1, Observer: func(e Event) {
		if e.Stage != "straight-through" || e.Total != 7 || e.Objective == 0 {
			t.Errorf("report %+v", e)
		}
		done = append(done, e.Done)
	}})
	if !slices.Equal(done, []int{0, 5, 7}) || len(r.Trace) != 3 {
		t.Errorf("reports at %v, trace %v", done, r.Trace)
	}
}

// A virtual stack, a family, a tensor without arithmetic and one without a layout: the midpoint is what it should be.
func TestStraightThroughMidpoints(t *testing.T) {
	sym := network{"f=4 e=3", "experts.{e}.up: f[e] 5", "gate: e 2", "count: e"}.symmetry(t)
	rng := newRand(2)
	a, b := gaussian(sym, rng), gaussian(sym, rng)
	for _, p := range []Params{a, b} {
		p["count"] = tensor.FromSlice(tensor.Shape{3}, []int64{1, 2, 3})
	}
	delete(sym.Shapes, "gate")
	delete(sym.Layouts, "gate")
	fa, fb := mustFloats(t, a), mustFloats(t, b)
	s, err := newStraight(sym, a, fa, fb, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := sym.Random(rng)
	s.d.setAlignment(p, fb)
	s.setMidpoint()
	want := apply(t, sym, p, b)
	for name, m := range s.midpoint {
		if name == "count" {
			if !m.Equal(a[name]) {
				t.Errorf("%s: %v", name, tensor.Of[int64](m))
			}
			continue
		}
		for i, x := range tensor.Of[float32](m) {
			if y := (tensor.Of[float32](a[name])[i] + tensor.Of[float32](want[name])[i]) / 2; math.Abs(float64(x-y)) > 1e-6 {
				t.Fatalf("%s: element %d of the midpoint is %v, want %v", name, i, x, y)
			}
		}
	}
}

func TestStraightThroughErrors(t *testing.T) {
	k := newTask(t)
	k.spoil = func(step int) float64 { return map[int]float64{2: math.NaN()}[step] }
	if _, err := StraightThrough(t.Context(), k.sym, k.a, k.b, k, StraightThroughOptions{}); err == nil || !strings.Contains(err.Error(), "step 2: the loss at the midpoint is NaN") {
		t.Errorf("NaN: %v", err)
	}
	k.spoil = nil
	ctx, cancel := context.WithCancel(t.Context())
	k.gradients = 0
	_, err := StraightThrough(ctx, k.sym, k.a, k.b, k, StraightThroughOptions{Steps: 50, ScoreEvery: 5, Observer: func(e Event) {
		if e.Done == 10 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || k.gradients > 11 {
		t.Errorf("cancelled: %v after %d steps", err, k.gradients)
	}
	for _, opt := range []StraightThroughOptions{{Steps: -1}, {ScoreEvery: -1}, {LearningRate: -1}, {LearningRate: math.NaN()}, {MaxSweeps: -1}, {Weights: WeightsOptions{Start: "x"}}} {
		if _, err := StraightThrough(t.Context(), k.sym, k.a, k.b, k, opt); err == nil {
			t.Errorf("%+v: no error", opt)
		}
	}
	broken := cloneParams(k.b)
	tensor.Of[float32](broken["fc1.bias"])[0] = float32(math.NaN())
	if _, err := StraightThrough(t.Context(), k.sym, k.a, broken, k, StraightThroughOptions{}); err == nil || !strings.Contains(err.Error(), `"fc1.bias" of B`) {
		t.Errorf("NaN weights: %v", err)
	}
	if _, err := StraightThrough(t.Context(), k.sym, k.a, k.b, worthless{k}, StraightThroughOptions{Steps: 2}); err == nil || !strings.Contains(err.Error(), "no candidate") {
		t.Errorf("scores of infinity: %v", err)
	}
}

// worthless scores every candidate with an infinite loss.
type worthless struct{ *task }

func (worthless) Score(context.Context, Params) (float64, error) { return math.Inf(1), nil }

func BenchmarkStraightThroughStep(b *testing.B) {
	g, err := zoo.Build(zoo.Config{Arch: "mlp", Input: []int{784}, Hidden: []int{512, 512, 512}, Classes: 10})
	if err != nil {
		b.Fatal(err)
	}
	sym, err := symmetry.Infer(g)
	if err != nil {
		b.Fatal(err)
	}
	rng := newRand(1)
	pa, pb, start := planted(b, sym, .5, rng)
	steps := 0
	opt := StraightThroughOptions{Steps: 10, ScoreEvery: 1000, Weights: WeightsOptions{Start: StartGiven, Init: start, MaxSweeps: 1}}
	for b.Loop() {
		if _, err := StraightThrough(b.Context(), sym, pa, pb, pull{}, opt); err != nil {
			b.Fatal(err)
		}
		steps += opt.Steps
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(steps), "ms/step")
}

// pull is an objective that costs nothing: ½‖θ‖².
type pull struct{}

func (pull) Gradient(_ context.Context, _ int, params, grad Params) (float64, error) {
	for name, g := range grad {
		copy(tensor.Of[float32](g), tensor.Of[float32](params[name]))
	}
	return 1, nil
}

func (pull) Score(context.Context, Params) (float64, error) { return 1, nil }
