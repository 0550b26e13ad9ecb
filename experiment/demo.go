package experiment

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/landscape"
	"github.com/rebasin/rebasin/match"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/train"
	"github.com/rebasin/rebasin/zoo"
)

// Progress hears of the work: done of total steps of a stage, with a note such as the loss. Total is 0 when it is not known.
type Progress func(stage string, done, total int, note string)

func (p Progress) report(stage string, done, total int, note string) {
	if p != nil {
		p(stage, done, total, note)
	}
}

// DemoOptions are the options of [Demo]; the zero value is the demonstration as the README shows it.
type DemoOptions struct {
	// Dir is where the files go; it is made when it is missing.
	Dir  string
	Seed uint64
	// Hidden are the widths of the hidden layers. Nil means 512, 512, 512.
	Hidden []int
	// Epochs of training. 0 means 10.
	Epochs int
	// Points of the curves. 0 means 11.
	Points int
	// Subset is the number of training images, the same for everything, on which losses are measured. 0 means 10,000.
	Subset int
	// Steps of the straight-through estimator. 0 means 40.
	Steps int
	// Data says where MNIST is looked for. Train and Test, if given, take its place.
	Data        dataset.Options
	Train, Test *dataset.Set
	Threads     int
	Progress    Progress
	// Version is written into reports and files.
	Version string
}

// Ends are the measurements of one model on the fixed part of the training data and on the test data.
type Ends struct {
	Train eval.Metrics `json:"train"`
	Test  eval.Metrics `json:"test"`
}

// SplitBarrier is a barrier on both parts of the data.
type SplitBarrier struct {
	Train landscape.Barrier `json:"train"`
	Test  landscape.Barrier `json:"test"`
}

// Method is what one way of aligning came to.
type Method struct {
	Midpoint Ends         `json:"midpoint"`
	Barrier  SplitBarrier `json:"barrier"`
	// MaxDeviation is the largest difference between the outputs of model B and of the aligned model B on a part of the test set, relative to the
	// largest output, in float64. Rounding is the same on all of the test set in float32, where sums in another order round otherwise.
	MaxDeviation float64 `json:"max_deviation"`
	Rounding     float64 `json:"rounding"`
	Sweeps       int     `json:"sweeps"`
	Status       string  `json:"status"`
	Seconds      float64 `json:"seconds"`
}

// DemoFiles are the files the demonstration writes.
type DemoFiles struct {
	Report  string   `json:"report"`
	Curve   string   `json:"curve"`
	Merged  string   `json:"merged"`
	Aligned string   `json:"aligned"`
	Models  []string `json:"models"`
}

// DemoResult is what the demonstration found.
type DemoResult struct {
	Endpoints []Ends             `json:"endpoints"`
	Methods   map[string]*Method `json:"methods"`
	Files     DemoFiles          `json:"files"`
	// Best is the method whose midpoint has the lowest training loss; its model is the merged one.
	Best    string  `json:"best"`
	Log10   float64 `json:"log10_symmetries"`
	Seed    uint64  `json:"seed"`
	Seconds float64 `json:"seconds"`
}

// DemoMethods are the names of the methods, in the order of the table.
var DemoMethods = []string{"naive", "activation", "weight", "ste"}

// Demo trains two fully connected networks on MNIST from different seeds and in different orders of the data, aligns the second with the first by
// all three algorithms of the paper, merges them, and compares the merges with the naive average: figure 2 of Ainsworth, Hayase, Srinivasa 2022
// (arXiv:2209.04836) in small. Figures, report, merged and aligned model are written to Dir, each whole or not at all; the same seed gives the same
// bytes. Test data only measures: every choice is made by training loss.
func Demo(ctx context.Context, opt DemoOptions) (*DemoResult, error) {
	opt = opt.withDefaults()
	if err := opt.check(); err != nil {
		return nil, err
	}
	d := &demo{opt: opt, start: time.Now(), curves: map[string]landscape.Curve{}, aligned: map[string]map[string]*tensor.Tensor{}}
	d.result = &DemoResult{Methods: map[string]*Method{}, Seed: opt.Seed}
	defer d.close()
	for _, step := range []func(context.Context) error{d.load, d.train, d.align, d.measure, d.write} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return d.result, nil
}

func (o DemoOptions) withDefaults() DemoOptions {
	if len(o.Hidden) == 0 {
		o.Hidden = []int{512, 512, 512}
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&o.Epochs, 10}, {&o.Points, 11}, {&o.Subset, 10000}, {&o.Steps, 40}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return o
}

func (o *DemoOptions) check() error {
	if o.Epochs < 1 || o.Points < 2 || o.Subset < 1 || o.Steps < 1 {
		return fmt.Errorf("experiment: %d epochs, %d points, a subset of %d, %d steps: at least one of each and two points are needed",
			o.Epochs, o.Points, o.Subset, o.Steps)
	}
	return nil
}

// demo is the state of a demonstration on its way.
type demo struct {
	opt    DemoOptions
	start  time.Time
	result *DemoResult

	full, subset, test *dataset.Set
	cfg                zoo.Config
	graph              *graph.Graph
	sym                *symmetry.Symmetry
	runner             *eval.Runner

	models    [2]map[string]*tensor.Tensor
	histories [2][]train.Epoch
	outputs   []float32 // of model B on the test set
	traces    map[string][]float64
	aligned   map[string]map[string]*tensor.Tensor
	curves    map[string]landscape.Curve
}

func (d *demo) close() {
	if d.runner != nil {
		d.runner.Close()
	}
}

// set opens a part of MNIST, unless one was given.
func (d *demo) set(ctx context.Context, split dataset.Split, given *dataset.Set) (*dataset.Set, error) {
	if given != nil {
		return given, nil
	}
	return dataset.Open(ctx, "mnist", split, d.opt.Data)
}

// load opens the data and builds the network.
func (d *demo) load(ctx context.Context) (err error) {
	if d.full, err = d.set(ctx, dataset.Train, d.opt.Train); err != nil {
		return err
	}
	if d.test, err = d.set(ctx, dataset.Test, d.opt.Test); err != nil {
		return err
	}
	if d.full.Len() == 0 || d.test.Len() == 0 {
		return fmt.Errorf("experiment: data sets of %d and %d samples: one is empty", d.full.Len(), d.test.Len())
	}
	// Losses are measured on the part of the training data that is everybody's sample.
	order := dataset.Order(d.full.Len(), dataset.SampleSeed, 0)
	d.subset = d.full.Subset(order[:min(d.opt.Subset, len(order))])
	d.cfg = zoo.Config{Arch: "mlp", Input: d.full.Shape(), Hidden: d.opt.Hidden, Classes: d.full.Classes(), Init: "lecun"}
	if d.graph, err = zoo.Build(d.cfg); err != nil {
		return err
	}
	d.runner, err = eval.NewRunner(d.graph, d.opt.Threads)
	return err
}

// train fits both models. Model B's seed gives it another initialisation and another order of the data.
func (d *demo) train(ctx context.Context) error {
	for i, name := range []string{"A", "B"} {
		seed := 2*d.opt.Seed + uint64(i)
		params, err := zoo.Init(d.graph, d.cfg, seed)
		if err != nil {
			return err
		}
		cfg := train.Config{Epochs: d.opt.Epochs, Batch: 500, Seed: seed, Optimizer: train.Optimizer{Name: "adam", LearningRate: 1e-3}}
		r, err := train.Run(ctx, d.graph, params, d.full, cfg, train.Options{Threads: d.opt.Threads, Progress: func(e train.Event) {
			d.opt.Progress.report("training model "+name, e.Step, e.Steps, fmt.Sprintf("epoch %d, loss %.4f", e.Epoch, e.Loss))
		}})
		if err != nil {
			return fmt.Errorf("model %s: %w", name, err)
		}
		d.models[i], d.histories[i] = r.Params, r.History
	}
	var err error
	d.sym, err = symmetry.Infer(d.graph, d.models[0], d.models[1])
	if err != nil {
		return err
	}
	d.result.Log10 = d.sym.Log10()
	_, err = symmetry.Verify(ctx, d.graph, d.sym, d.models[0], symmetry.VerifyOptions{Seed: d.opt.Seed})
	return err
}

// align runs the three matchers and checks that each result computes what model B did.
func (d *demo) align(ctx context.Context) error {
	d.traces = map[string][]float64{}
	d.aligned["naive"] = d.models[1]
	d.result.Methods["naive"] = &Method{Status: string(match.Solved)}
	obj, err := train.NewObjective(d.graph, d.full, d.subset, 500, d.opt.Seed, d.opt.Threads)
	if err != nil {
		return err
	}
	defer obj.Close()
	a, b := d.models[0], d.models[1]
	observe := func(e match.Event) {
		note := ""
		if e.Objective != 0 { // it is known
			note = fmt.Sprintf("%.4g", e.Objective)
		}
		d.opt.Progress.report(e.Stage, e.Done, e.Total, note)
	}
	weights := match.WeightsOptions{Seed: d.opt.Seed, Threads: d.opt.Threads, Observer: observe}
	for _, m := range []struct {
		name string
		run  func() (*match.Result, error)
	}{
		{"activation", func() (*match.Result, error) {
			src := &eval.Activations{Graph: d.graph, A: a, B: b, Data: d.subset, Threads: d.opt.Threads}
			return match.Activations(ctx, d.sym, a, b, src, match.ActivationsOptions{Threads: d.opt.Threads, Observer: observe})
		}},
		{"weight", func() (*match.Result, error) { return match.Weights(ctx, d.sym, a, b, weights) }},
		{"ste", func() (*match.Result, error) {
			return match.StraightThrough(ctx, d.sym, a, b, obj, match.StraightThroughOptions{
				Steps: d.opt.Steps, Weights: weights, Seed: d.opt.Seed, Threads: d.opt.Threads, Observer: observe,
			})
		}},
	} {
		begin := time.Now()
		r, err := m.run()
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		d.traces[m.name] = r.Trace
		method := &Method{Sweeps: r.Sweeps, Status: string(r.Status), Seconds: time.Since(begin).Seconds()}
		d.result.Methods[m.name] = method
		if err := d.apply(ctx, m.name, r.Alignment, method); err != nil {
			return err
		}
	}
	return nil
}

// What an aligned model is compared with model B on: float64 tells a mistake from rounding, and is slow; float32 is what the network runs in.
const (
	exactSamples = 1000
	// maxRounding allows for the sums of a few layers of some hundred terms, each of which float32 knows to 6e-8.
	maxRounding = 1e-4
)

// apply permutes model B and proves that it still computes the same.
func (d *demo) apply(ctx context.Context, name string, p *symmetry.Alignment, m *Method) error {
	permuted, err := d.sym.Apply(p, d.models[1])
	if err != nil {
		return err
	}
	d.aligned[name] = permuted
	x, n := d.firstImages(exactSamples)
	if m.MaxDeviation, _, err = symmetry.Equivalent(ctx, d.graph, d.models[1], permuted, x, n); err != nil {
		return err
	}
	if m.Rounding, err = d.rounding(ctx, permuted); err != nil {
		return err
	}
	if !(m.MaxDeviation <= symmetry.Tolerance && m.Rounding <= maxRounding) {
		return fmt.Errorf("%s: the aligned model differs from model B by %g in float64, by %g in float32", name, m.MaxDeviation, m.Rounding)
	}
	return nil
}

// firstImages are up to n images of the test set.
func (d *demo) firstImages(n int) (x []float32, count int) {
	count = min(n, d.test.Len())
	indices := make([]int, count)
	for i := range indices {
		indices[i] = i
	}
	x = make([]float32, count*eval.SampleSize(d.test))
	d.test.Fill(indices, x, nil)
	return x, count
}

// rounding is max|Δ| / max(1, max|y|) of the outputs y of model B, and what the permuted model differs from them, on all of the test set.
func (d *demo) rounding(ctx context.Context, permuted map[string]*tensor.Tensor) (float64, error) {
	if d.outputs == nil {
		var err error
		if d.outputs, err = d.logits(ctx, d.models[1]); err != nil {
			return 0, err
		}
	}
	got, err := d.logits(ctx, permuted)
	if err != nil {
		return 0, err
	}
	difference, largest := 0.0, 1.0
	for i, y := range d.outputs {
		difference = max(difference, math.Abs(float64(got[i])-float64(y))) // NaN stays NaN
		largest = max(largest, math.Abs(float64(y)))
	}
	return difference / largest, nil
}

// logits are the outputs on the test set.
func (d *demo) logits(ctx context.Context, params map[string]*tensor.Tensor) ([]float32, error) {
	if err := d.runner.SetParams(params); err != nil {
		return nil, err
	}
	var out []float32
	err := d.runner.Logits(ctx, d.test, func(logits []float32, _ int) error {
		out = append(out, logits...)
		return nil
	})
	return out, err
}

// theta lays parameters out as the runner's arena.
func (d *demo) theta(p map[string]*tensor.Tensor) ([]float32, error) {
	if err := d.runner.SetParams(p); err != nil {
		return nil, err
	}
	return slices.Clone(d.runner.Theta()), nil
}

// measure evaluates the way from model A to each aligned model B.
func (d *demo) measure(ctx context.Context) error {
	a, err := d.theta(d.models[0])
	if err != nil {
		return err
	}
	split := &eval.Split{Runner: d.runner, Train: d.subset, Test: d.test}
	lambdas := landscape.Lambdas(d.opt.Points)
	for i, name := range DemoMethods {
		b, err := d.theta(d.aligned[name])
		if err != nil {
			return err
		}
		c, err := landscape.Interpolate(ctx, name, a, b, lambdas, nil, split, func(done, _ int) {
			d.opt.Progress.report("measuring the ways", i*len(lambdas)+done, len(DemoMethods)*len(lambdas), name)
		})
		if err != nil {
			return err
		}
		d.curves[name] = c
		m := d.result.Methods[name]
		m.Barrier.Train, m.Barrier.Test = c.Barriers()
		if m.Midpoint, err = d.midpoint(ctx, split, c, a, b); err != nil {
			return err
		}
	}
	naive := d.curves["naive"].Points
	first, last := naive[0], naive[len(naive)-1]
	d.result.Endpoints = []Ends{{first.Train, first.Test}, {last.Train, last.Test}}
	d.result.Best = d.best()
	return nil
}

// midpoint takes the middle of the curve, or measures it where the curve has an even number of points.
func (d *demo) midpoint(ctx context.Context, split *eval.Split, c landscape.Curve, a, b []float32) (Ends, error) {
	if i := len(c.Points) / 2; c.Points[i].Lambda == .5 {
		return Ends{c.Points[i].Train, c.Points[i].Test}, nil
	}
	mid := make([]float32, len(a))
	if err := landscape.Lerp(mid, a, b, .5); err != nil {
		return Ends{}, err
	}
	tr, te, err := split.Evaluate(ctx, mid)
	return Ends{tr, te}, err
}

// best is the method with the lowest training loss at the midpoint, the first of equals; test data has no say.
func (d *demo) best() string {
	best, lowest := DemoMethods[0], math.Inf(1)
	for _, name := range DemoMethods {
		if l := d.result.Methods[name].Midpoint.Train.Loss; l < lowest {
			best, lowest = name, l
		}
	}
	return best
}

// write puts the files in place.
func (d *demo) write(ctx context.Context) error {
	path := func(name string) string { return filepath.Join(d.opt.Dir, name) }
	f := &d.result.Files
	f.Models = []string{path("a.safetensors"), path("b.safetensors")}
	f.Aligned, f.Merged = path("b-aligned.safetensors"), path("merged.safetensors")
	f.Curve, f.Report = path("curve.svg"), path("report.html")
	merged, err := merge.Params(merge.Lerp, d.models[0], d.aligned[d.result.Best], .5)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.opt.Dir, 0o755); err != nil {
		return fmt.Errorf("experiment: %w", err)
	}
	meta := map[string]string{"rebasin.version": d.opt.Version, "rebasin.seed": fmt.Sprint(d.opt.Seed)}
	withMethod := map[string]string{"rebasin.version": d.opt.Version, "rebasin.seed": fmt.Sprint(d.opt.Seed), "rebasin.method": d.result.Best}
	for _, file := range []struct {
		path   string
		params map[string]*tensor.Tensor
		meta   map[string]string
	}{
		{f.Models[0], d.models[0], meta},
		{f.Models[1], d.models[1], meta},
		{f.Aligned, d.aligned[d.result.Best], withMethod},
		{f.Merged, merged, withMethod},
	} {
		if err := model.Save(ctx, file.path, file.params, &d.cfg, file.meta); err != nil {
			return err
		}
	}
	d.result.Seconds = time.Since(d.start).Seconds()
	return d.writeReport()
}
