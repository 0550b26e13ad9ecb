package experiment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stripes are small images of four classes: noise with one bright row.
func stripes(t testing.TB, n int, seed uint64) *dataset.Set {
	t.Helper()
	const side, classes = 6, 4
	rng := rand.New(rand.NewPCG(seed, 0))
	pixels, labels := make([]uint8, n*side*side), make([]uint8, n)
	for i := range labels {
		labels[i] = uint8(rng.IntN(classes))
		image := pixels[i*side*side : (i+1)*side*side]
		for k := range image {
			image[k] = uint8(rng.IntN(120))
			if k/side == int(labels[i]) {
				image[k] += uint8(rng.IntN(130))
			}
		}
	}
	set, err := dataset.New("stripes", 1, side, side, pixels, labels, []string{"a", "b", "c", "d"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// tiny is a demonstration of a moment.
func tiny(t testing.TB, dir string) DemoOptions {
	t.Helper()
	return DemoOptions{
		Dir: dir, Seed: 3, Hidden: []int{12, 9}, Epochs: 40, Points: 3, Subset: 600, Steps: 6, Threads: 1, Version: "test",
		Train: stripes(t, 2000, 1), Test: stripes(t, 700, 2),
	}
}

func mustDemo(t testing.TB, opt DemoOptions) *DemoResult {
	t.Helper()
	r, err := Demo(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var demoFiles = []string{"a.safetensors", "b-aligned.safetensors", "b.safetensors", "curve.png", "curve.svg", "merged.safetensors", "report.html"}

func folder(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// TestDemoIsDeterministic: the same seed writes the same bytes, on another number of threads and to another folder; another seed does not.
func TestDemoIsDeterministic(t *testing.T) {
	var runs []map[string][]byte
	for i, threads := range []int{1, 3, 1} {
		opt := tiny(t, filepath.Join(t.TempDir(), "made", fmt.Sprint(i)))
		opt.Threads = threads
		if i == 2 {
			opt.Seed++
		}
		mustDemo(t, opt)
		runs = append(runs, folder(t, opt.Dir))
	}
	for _, name := range demoFiles {
		if len(runs[0][name]) == 0 || !slices.Equal(runs[0][name], runs[1][name]) {
			t.Errorf("%s: %d and %d bytes, not the same", name, len(runs[0][name]), len(runs[1][name]))
		}
		if slices.Equal(runs[0][name], runs[2][name]) {
			t.Errorf("%s is the same for another seed", name)
		}
	}
	if len(runs[0]) != len(demoFiles) {
		t.Errorf("%d files, want %v", len(runs[0]), demoFiles)
	}
}

// TestDemoFiles holds the files to what the result says about them.
func TestDemoFiles(t *testing.T) {
	ctx := context.Background()
	opt := tiny(t, t.TempDir())
	r := mustDemo(t, opt)
	nets := map[string]*model.Model{}
	for name, path := range map[string]string{"a": r.Files.Models[0], "b": r.Files.Models[1], "aligned": r.Files.Aligned, "merged": r.Files.Merged} {
		m, err := model.Open(path, model.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if m.Graph == nil || m.Metadata()["rebasin.seed"] != "3" || m.Metadata()["rebasin.version"] != "test" {
			t.Errorf("%s: metadata %v", name, m.Metadata())
		}
		if got, written := m.Metadata()["rebasin.method"], name == "aligned" || name == "merged"; written && got != r.Best {
			t.Errorf("%s: method %q, best was %q", name, got, r.Best)
		}
		nets[name] = m
	}
	runner, err := eval.NewRunner(nets["a"].Graph, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer runner.Close()
	measure := func(name string) eval.Metrics {
		p, err := nets[name].Params(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := runner.SetParams(p); err != nil {
			t.Fatal(err)
		}
		m, err := runner.Evaluate(ctx, opt.Test)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if got := measure("a"); got != r.Endpoints[0].Test {
		t.Errorf("model A measures %+v, the result says %+v", got, r.Endpoints[0].Test)
	}
	if got := measure("merged"); math.Abs(got.Loss-r.Methods[r.Best].Midpoint.Test.Loss) > 1e-6 {
		t.Errorf("the merged model measures %+v, the result says %+v", got, r.Methods[r.Best].Midpoint.Test)
	}
	// What the aligned model computes is what model B did.
	b, err := nets["b"].Params(ctx)
	if err != nil {
		t.Fatal(err)
	}
	aligned, err := nets["aligned"].Params(ctx)
	if err != nil {
		t.Fatal(err)
	}
	deviation, _, err := symmetry.Equivalent(ctx, nets["b"].Graph, b, aligned, nil, 50)
	if err != nil || deviation > symmetry.Tolerance || b["fc1.weight"].Equal(aligned["fc1.weight"]) {
		t.Errorf("aligned deviates by %v, error %v", deviation, err)
	}
	a, err := nets["a"].Params(ctx)
	if err != nil {
		t.Fatal(err)
	}
	half, err := merge.Params(merge.Lerp, a, aligned, .5)
	if err != nil {
		t.Fatal(err)
	}
	merged, err := nets["merged"].Params(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range half {
		if !merged[name].Equal(want) {
			t.Errorf("tensor %q of the merged model is not the mean of A's and the aligned B's", name)
		}
	}
}

// TestDemoResult holds the numbers to each other.
func TestDemoResult(t *testing.T) {
	opt := tiny(t, t.TempDir())
	opt.Points = 4 // an even number: the midpoint is not on the curve
	r := mustDemo(t, opt)
	if len(r.Endpoints) != 2 || r.Endpoints[0] == r.Endpoints[1] {
		t.Fatalf("ends %+v", r.Endpoints)
	}
	for _, e := range r.Endpoints {
		if e.Train.Count != 600 || e.Test.Count != 700 || e.Test.Accuracy < .8 {
			t.Errorf("end %+v", e)
		}
	}
	if len(r.Methods) != len(DemoMethods) {
		t.Fatalf("methods %v", r.Methods)
	}
	best := r.Methods[r.Best].Midpoint.Train.Loss
	for _, name := range DemoMethods {
		m := r.Methods[name]
		if m.Midpoint.Train.Loss < best {
			t.Errorf("%s has training loss %v, the best, %s, has %v", name, m.Midpoint.Train.Loss, r.Best, best)
		}
		if m.MaxDeviation > symmetry.Tolerance || m.Rounding > maxRounding || m.Status == "" {
			t.Errorf("%s: %+v", name, m)
		}
		for _, barrier := range []struct{ chord, paper, ends float64 }{
			{m.Barrier.Train.Chord, m.Barrier.Train.Paper, r.Endpoints[0].Train.Loss - r.Endpoints[1].Train.Loss},
			{m.Barrier.Test.Chord, m.Barrier.Test.Paper, r.Endpoints[0].Test.Loss - r.Endpoints[1].Test.Loss},
		} {
			if barrier.chord < 0 || barrier.paper < math.Abs(barrier.ends)/2-1e-12 {
				t.Errorf("%s: barriers %+v", name, barrier)
			}
		}
	}
	if ste, weight := r.Methods["ste"].Midpoint.Train.Loss, r.Methods["weight"].Midpoint.Train.Loss; ste > weight+1e-6 {
		t.Errorf("straight-through has training loss %v, weight matching, its first candidate, %v", ste, weight)
	}
	// log10(12! 9!)
	if want := math.Log10(479001600) + math.Log10(362880); math.Abs(r.Log10-want) > 1e-9 {
		t.Errorf("10^%v symmetries, want 10^%v", r.Log10, want)
	}
	header, rows := r.Table()
	if len(rows) != 2+len(DemoMethods) {
		t.Errorf("rows %v", rows)
	}
	for _, row := range rows {
		if len(row) != len(header) {
			t.Errorf("row %v under header %v", row, header)
		}
	}
}

// TestDemoRefusesAnotherFunction: a model that computes something else than B must not pass as an alignment of it.
func TestDemoRefusesAnotherFunction(t *testing.T) {
	ctx := context.Background()
	d := &demo{opt: tiny(t, t.TempDir()).withDefaults(), result: &DemoResult{Methods: map[string]*Method{}}, aligned: map[string]map[string]*tensor.Tensor{}}
	defer d.close()
	if err := errors.Join(d.load(ctx), d.train(ctx)); err != nil {
		t.Fatal(err)
	}
	var m Method
	random := d.sym.Random(rand.New(rand.NewPCG(1, 1)))
	if err := d.apply(ctx, "random", random, &m); err != nil || m.Rounding == 0 || m.Rounding > 1e-5 {
		t.Errorf("a random alignment: %+v, error %v", m, err)
	}
	// The layout of the first layer's bias is lost, so that it stays where it is.
	delete(d.sym.Layouts, "fc1.bias")
	if err := d.apply(ctx, "wrong", random, &m); err == nil || !strings.Contains(err.Error(), "wrong: the aligned model differs") {
		t.Errorf("error %v of an alignment that changes the function", err)
	}
}

// TestDemoJSON names what other programs read.
func TestDemoJSON(t *testing.T) {
	text, err := json.Marshal(mustDemo(t, tiny(t, t.TempDir())))
	if err != nil {
		t.Fatal(err)
	}
	type ends struct {
		Train, Test struct{ Loss, Accuracy *float64 }
	}
	var got struct {
		Endpoints []ends
		Methods   map[string]struct {
			Midpoint ends
			Barrier  struct {
				Train, Test struct{ Chord, Paper *float64 }
			}
		}
		Files struct{ Report, Curve, Merged, Aligned string }
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	whole := func(what string, numbers ...*float64) {
		for _, n := range numbers {
			if n == nil {
				t.Errorf("%s lacks a number: %s", what, text)
			}
		}
	}
	for _, e := range got.Endpoints {
		whole("an endpoint", e.Train.Loss, e.Train.Accuracy, e.Test.Loss, e.Test.Accuracy)
	}
	for _, name := range []string{"naive", "activation", "weight", "ste"} {
		m, ok := got.Methods[name]
		if !ok {
			t.Errorf("no method %q: %s", name, text)
		}
		whole(name, m.Midpoint.Train.Loss, m.Midpoint.Train.Accuracy, m.Midpoint.Test.Loss, m.Midpoint.Test.Accuracy,
			m.Barrier.Train.Chord, m.Barrier.Train.Paper, m.Barrier.Test.Chord, m.Barrier.Test.Paper)
	}
	if len(got.Endpoints) != 2 || len(got.Methods) != 4 {
		t.Errorf("%s", text)
	}
	for _, path := range []string{got.Files.Report, got.Files.Curve, got.Files.Merged, got.Files.Aligned} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	// Names are matched without regard to case above; the fixed ones are in lower case.
	for _, key := range []string{
		`"endpoints":[{"train":{"loss":`, `"midpoint":{"train":{"loss":`, `"barrier":{"train":{"chord":`, `"paper":`, `"files":{"report":`,
	} {
		if !strings.Contains(string(text), key) {
			t.Errorf("no %s in %s", key, text)
		}
	}
}

// TestDemoReport looks for the numbers and figures that the page is about.
func TestDemoReport(t *testing.T) {
	opt := tiny(t, t.TempDir())
	r := mustDemo(t, opt)
	page := string(folder(t, opt.Dir)["report.html"])
	for _, want := range []string{
		"12, 9 units", "stripes", percent(r.Endpoints[1].Test.Accuracy), loss(r.Methods["ste"].Midpoint.Train.Loss),
		"all 700 test images in float32, and on 700 of them", "merged.safetensors", "<svg",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	if strings.Contains(page, opt.Dir) {
		t.Error("the page says where it was made")
	}
}

// TestDemoCancelled at the first sign of every stage, and before all: the error is the context's, and nothing is left.
func TestDemoCancelled(t *testing.T) {
	var stages []string
	opt := tiny(t, t.TempDir())
	opt.Progress = func(stage string, _, _ int, _ string) {
		if !slices.Contains(stages, stage) {
			stages = append(stages, stage)
		}
	}
	mustDemo(t, opt)
	if len(stages) < 6 || stages[0] != "training model A" || stages[1] != "training model B" {
		t.Fatalf("stages %v", stages)
	}
	for _, at := range append(stages, "") {
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if at == "" {
				cancel()
			}
			opt.Dir = t.TempDir()
			opt.Progress = func(stage string, _, _ int, _ string) {
				if stage == at {
					cancel()
				}
			}
			r, err := Demo(ctx, opt)
			if !errors.Is(err, context.Canceled) || r != nil {
				t.Errorf("result %v, error %v", r, err)
			}
			if files := folder(t, opt.Dir); len(files) != 0 {
				t.Errorf("%d files are left", len(files))
			}
		})
	}
}

func TestDemoErrors(t *testing.T) {
	taken := filepath.Join(t.TempDir(), "taken")
	if err := os.WriteFile(taken, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(o *DemoOptions)
		want   string
	}{
		"folder is a file": {func(o *DemoOptions) { o.Dir = taken }, "taken"},
		"one point":        {func(o *DemoOptions) { o.Points = 1 }, "point"},
		"empty test set":   {func(o *DemoOptions) { o.Test = o.Test.Subset(nil) }, "empty"},
		"empty training":   {func(o *DemoOptions) { o.Train = o.Train.Subset(nil) }, "empty"},
	} {
		t.Run(name, func(t *testing.T) {
			opt := tiny(t, t.TempDir())
			tt.change(&opt)
			if _, err := Demo(context.Background(), opt); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// TestDemoOnDigits runs the demonstration on MNIST, small: the data is found by itself.
func TestDemoOnDigits(t *testing.T) {
	r := mustDemo(t, DemoOptions{Dir: t.TempDir(), Hidden: []int{16, 16, 16}, Epochs: 1, Points: 3, Subset: 1000, Steps: 10})
	for _, e := range r.Endpoints {
		if e.Train.Count != 1000 || e.Test.Count != 10000 || e.Test.Accuracy < .6 {
			t.Errorf("end %+v", e)
		}
	}
	naive, ste := r.Methods["naive"].Midpoint.Train.Loss, r.Methods["ste"].Midpoint.Train.Loss
	if !(ste < naive) {
		t.Errorf("aligned, the midpoint has training loss %v, not aligned %v", ste, naive)
	}
}
