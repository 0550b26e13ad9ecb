package merge_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

// noise is samples of normal numbers about a mean.
type noise struct {
	shape []int
	n     int
}

func (d noise) Len() int     { return d.n }
func (d noise) Shape() []int { return d.shape }
func (d noise) Classes() int { return 10 }

func (d noise) Fill(indices []int, x []float32, labels []int32) {
	size := eval.SampleSize(d)
	for i, index := range indices {
		r := rand.New(rand.NewPCG(7, uint64(index)))
		for k := range size {
			x[i*size+k] = float32(r.NormFloat64() + .3)
		}
		labels[i] = int32(index % 10)
	}
}

// scrambled is a network of random parameters, none of which is at its usual first value.
func scrambled(t *testing.T, g *graph.Graph, cfg zoo.Config, seed uint64) map[string]*tensor.Tensor {
	t.Helper()
	params, err := zoo.Init(g, cfg, seed)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 1))
	for _, p := range g.Params {
		x := tensor.Of[float32](params[p.Name])
		if len(p.Shape) == 1 {
			for i := range x {
				x[i] += float32(.2 + r.Float64()/2)
			}
		}
	}
	return params
}

var repaired = map[string]zoo.Config{
	"mlp":          {Arch: "mlp", Input: []int{20}, Hidden: []int{12, 8}, Classes: 10},
	"mlp no bias":  {Arch: "mlp", Input: []int{20}, Hidden: []int{12, 8}, Classes: 10, NoBias: true},
	"mlp layer":    {Arch: "mlp", Input: []int{20}, Hidden: []int{12, 8}, Classes: 10, Norm: "layer"},
	"resnet batch": {Arch: "resnet8", Input: []int{3, 8, 8}, Width: .25, Classes: 10, Norm: "batch"},
	"resnet layer": {Arch: "resnet8", Input: []int{3, 8, 8}, Width: .25, Classes: 10, Norm: "layer"},
	"resnet group": {Arch: "resnet8", Input: []int{3, 8, 8}, Width: .25, Classes: 10, Norm: "group", Groups: 2},
	"resnet none":  {Arch: "resnet8", Input: []int{3, 8, 8}, Width: .25, Classes: 10, Norm: "none"},
}

// repairTolerance is relative to the largest value of a kind at a site: parameters and values are float32, and errors add up over a few layers.
const repairTolerance = 2e-5

type repairCase struct {
	graph *graph.Graph
	data  noise
	a, b  map[string]*tensor.Tensor
	merge map[string]*tensor.Tensor // at λ
}

func newRepairCase(t *testing.T, cfg zoo.Config, lambda float64) *repairCase {
	t.Helper()
	g, err := zoo.Build(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := &repairCase{graph: g, data: noise{cfg.Input, 90}, a: scrambled(t, g, cfg, 1), b: scrambled(t, g, cfg, 2)}
	if c.merge, err = merge.Params(merge.Lerp, c.a, c.b, lambda); err != nil {
		t.Fatal(err)
	}
	return c
}

// repair repairs in one pass and in levels, which must agree, and returns the first.
func (c *repairCase) repair(t *testing.T, method merge.RepairMethod, lambda float64, threads, batch int) *merge.Repaired {
	t.Helper()
	once := c.repairWithin(t, method, lambda, &eval.Values{Data: c.data, Threads: threads, Batch: batch})
	levels := c.repairWithin(t, method, lambda, &eval.Values{Data: c.data, Threads: threads, Batch: batch, Memory: 1})
	if once.Passes != 1 || levels.Passes < 2 && once.Sites > 1 {
		t.Errorf("%d and %d passes for %d sites", once.Passes, levels.Passes, once.Sites)
	}
	if once.Sites != levels.Sites || once.Channels != levels.Channels || once.Alone != levels.Alone {
		t.Errorf("one pass: %+v; levels: %+v", once, levels)
	}
	for name := range once.Params {
		near(t, "in one pass "+name, wide(once.Params[name]), wide(levels.Params[name]))
	}
	return once
}

func (c *repairCase) repairWithin(t *testing.T, method merge.RepairMethod, lambda float64, run *eval.Values) *merge.Repaired {
	t.Helper()
	r, err := merge.NewRepairer(context.Background(), method, c.graph, []map[string]*tensor.Tensor{c.a, c.b}, run)
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Apply(context.Background(), c.merge, []float64{1 - lambda, lambda}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// affineOutputs are the outputs of normalisations, or where there is none of the hidden linear layers.
func affineOutputs(g *graph.Graph) (values []string, last bool) {
	for _, ops := range [][]string{{"BatchNormalization", "LayerNormalization", "GroupNormalization"}, {"Conv", "Gemm"}} {
		for _, n := range g.Nodes {
			if slices.Contains(ops, n.Op) && !slices.Contains(g.Outputs, n.Outputs[0]) {
				values, last = append(values, n.Outputs[0]), n.Op == "LayerNormalization"
			}
		}
		if values != nil {
			break
		}
	}
	return values, last
}

// channelMoments are mean and deviation of each channel of values, computed in the plainest way.
func (c *repairCase) channelMoments(t *testing.T, params map[string]*tensor.Tensor, values []string, last bool) (means, deviations [][]float64) {
	t.Helper()
	e, err := nn.New[float64](c.graph, nn.Options{Threads: 1, Keep: values})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.SetParams(params); err != nil {
		t.Fatal(err)
	}
	x, labels, all := c.samples()
	c.data.Fill(all, x, labels)
	wide := make([]float64, len(x))
	for i, v := range x {
		wide[i] = float64(v)
	}
	if _, err := e.Forward(wide, c.data.n); err != nil {
		t.Fatal(err)
	}
	for _, name := range values {
		v, shape := e.Value(name)
		axis := 1
		if last {
			axis = len(shape) - 1
		}
		inner := 1
		for _, n := range shape[axis+1:] {
			inner *= n
		}
		mean, square, count := make([]float64, shape[axis]), make([]float64, shape[axis]), float64(len(v)/shape[axis])
		for i, y := range v {
			mean[i/inner%len(mean)] += y / count
		}
		for i, y := range v {
			d := y - mean[i/inner%len(mean)]
			square[i/inner%len(mean)] += d * d / count
		}
		for i := range square {
			square[i] = math.Sqrt(square[i])
		}
		means, deviations = append(means, mean), append(deviations, square)
	}
	return means, deviations
}

func near(t *testing.T, what string, got, want []float64) {
	t.Helper()
	largest := 0.0
	for _, w := range want {
		largest = max(largest, math.Abs(w))
	}
	for c := range want {
		if !(math.Abs(got[c]-want[c]) <= repairTolerance*largest) {
			t.Errorf("%s of channel %d is %g, want %g", what, c, got[c], want[c])
		}
	}
}

// between is the interpolation of what was measured of the ends.
func between(a, b []float64, lambda float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = (1-lambda)*a[i] + lambda*b[i]
	}
	return out
}

// TestRepairMatchesStatistics measures every site of repaired networks and of their ends.
func TestRepairMatchesStatistics(t *testing.T) {
	const lambda = .3
	for name, cfg := range repaired {
		t.Run(name, func(t *testing.T) {
			c := newRepairCase(t, cfg, lambda)
			values, last := affineOutputs(c.graph)
			meanA, devA := c.channelMoments(t, c.a, values, last)
			meanB, devB := c.channelMoments(t, c.b, values, last)
			_, devMerged := c.channelMoments(t, c.merge, values, last)
			noBias := cfg.NoBias
			for _, method := range []merge.RepairMethod{merge.RepairRescale, merge.RepairFull} {
				r := c.repair(t, method, lambda, 1, 32)
				if r.Sites != len(values) || (len(r.Notes) > 0) != noBias {
					t.Errorf("%s: %d sites of %d, notes %q", method, r.Sites, len(values), r.Notes)
				}
				means, devs := c.channelMoments(t, r.Params, values, last)
				for i := range values {
					wantDev := between(devA[i], devB[i], lambda)
					near(t, string(method)+": deviation at "+values[i], devs[i], wantDev)
					if method == merge.RepairFull && !noBias {
						near(t, "mean at "+values[i], means[i], between(meanA[i], meanB[i], lambda))
					}
				}
			}
			if math.Abs(devMerged[0][0]-between(devA[0], devB[0], lambda)[0]) < 10*repairTolerance {
				t.Error("there was nothing to repair")
			}
		})
	}
}

// TestRepairLeavesEnds repairs the models themselves.
func TestRepairLeavesEnds(t *testing.T) {
	for name, cfg := range repaired {
		for _, lambda := range []float64{0, 1} {
			t.Run(name, func(t *testing.T) {
				c := newRepairCase(t, cfg, lambda)
				r := c.repair(t, merge.RepairFull, lambda, 1, 32)
				logits, _ := c.channelMoments(t, r.Params, c.graph.Outputs, false)
				want, _ := c.channelMoments(t, c.merge, c.graph.Outputs, false)
				near(t, "mean output", logits[0], want[0])
				if len(graph.Statistics(c.graph)) > 0 {
					return // scales make up for the statistics
				}
				for _, p := range c.graph.Params {
					near(t, p.Name, wide(r.Params[p.Name]), wide(c.merge[p.Name]))
				}
			})
		}
	}
}

// TestResetIsTheStatisticsOfTheData computes the statistics of the reset network by hand: they must be those that it has. Those of the first site,
// before which nothing was reset, are also what an engine learns whose batch is all samples.
func TestResetIsTheStatisticsOfTheData(t *testing.T) {
	c := newRepairCase(t, repaired["resnet batch"], .5)
	r := c.repair(t, merge.RepairReset, .5, 2, 32)
	e, err := nn.New[float32](c.graph, nn.Options{BatchStatistics: true, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.SetParams(c.merge); err != nil {
		t.Fatal(err)
	}
	x, labels, all := c.samples()
	c.data.Fill(all, x, labels)
	if _, err := e.Forward(x, c.data.n); err != nil {
		t.Fatal(err)
	}
	e.UpdateStatistics(1)
	for _, name := range []string{"bn1.running_mean", "bn1.running_var"} {
		near(t, name, wide(r.Params[name]), wide(e.ParamTensors()[name]))
	}
	sites := 0
	for _, n := range c.graph.Nodes {
		if n.Op != "BatchNormalization" {
			continue
		}
		sites++
		means, deviations := c.channelMoments(t, r.Params, n.Inputs[:1], false)
		near(t, n.Inputs[3], wide(r.Params[n.Inputs[3]]), means[0])
		count := float64(c.valuesPerChannel(t, n.Inputs[0]))
		for i, d := range deviations[0] {
			deviations[0][i] = d * d * count / (count - 1)
		}
		near(t, n.Inputs[4], wide(r.Params[n.Inputs[4]]), deviations[0])
	}
	stats := graph.Statistics(c.graph)
	for name, w := range c.merge {
		if !stats[name] && !r.Params[name].Equal(w) {
			t.Errorf("%q has changed", name)
		}
	}
	if sites != len(stats)/2 || r.Sites != sites || len(r.Notes) > 0 {
		t.Errorf("%d normalisations, %d statistics, %d sites, notes %q", sites, len(stats), r.Sites, r.Notes)
	}
}

// TestResetOfTheInput: a normalisation may read what no node makes.
func TestResetOfTheInput(t *testing.T) {
	b := graph.NewBuilder("g")
	x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(3), graph.Fixed(4), graph.Fixed(4))
	h := b.Relu("h", b.BatchNorm("bn1", x, "bn1", 3))
	b.Output(b.BatchNorm("bn2", b.Conv2D("z", h, b.Param("w", 2, 3, 1, 1), "", graph.ConvOptions{Stride: 1}), "bn2", 2))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	c := &repairCase{graph: g, data: noise{shape: []int{3, 4, 4}, n: 30}}
	c.a = scrambled(t, g, zoo.Config{Arch: "resnet8", Classes: 2}, 1)
	c.b, c.merge = c.a, c.a
	r := c.repair(t, merge.RepairReset, .5, 1, 7)
	if r.Sites != 2 {
		t.Errorf("%d sites", r.Sites)
	}
	means, _ := c.channelMoments(t, r.Params, []string{"x"}, false)
	near(t, "mean of the input", wide(r.Params["bn1.running_mean"]), means[0])
}

// samples are memory for all samples, and their indices.
func (c *repairCase) samples() (x []float32, labels []int32, all []int) {
	x, labels, all = make([]float32, c.data.n*eval.SampleSize(c.data)), make([]int32, c.data.n), make([]int, c.data.n)
	for i := range all {
		all[i] = i
	}
	return x, labels, all
}

func (c *repairCase) valuesPerChannel(t *testing.T, value string) int {
	t.Helper()
	shapes, err := c.graph.InferShapes()
	if err != nil {
		t.Fatal(err)
	}
	n := c.data.n
	for _, d := range shapes[value].Shape[2:] {
		n *= d.Size
	}
	return n
}

func wide(t *tensor.Tensor) []float64 {
	out := make([]float64, 0, t.Len())
	for _, v := range tensor.Of[float32](t) {
		out = append(out, float64(v))
	}
	return out
}

// TestRepairIsDeterministic asks for the same bytes from any number of threads.
func TestRepairIsDeterministic(t *testing.T) {
	c := newRepairCase(t, repaired["resnet batch"], .5)
	want := c.repair(t, merge.RepairFull, .5, 1, 32)
	for _, threads := range []int{2, 3, 5} {
		got := c.repair(t, merge.RepairFull, .5, threads, 32)
		for name, w := range want.Params {
			if !got.Params[name].Equal(w) {
				t.Errorf("%d threads: %q differs", threads, name)
			}
		}
	}
}

// TestRepairLeavesDeadChannels gives a unit no input.
func TestRepairLeavesDeadChannels(t *testing.T) {
	c := newRepairCase(t, repaired["mlp"], .5)
	row := tensor.Of[float32](c.merge["fc1.weight"])[:20]
	clear(row)
	r := c.repair(t, merge.RepairFull, .5, 1, 0)
	if r.Alone != 1 || len(r.Notes) != 1 || r.Channels != 20 {
		t.Errorf("%d of %d channels left alone, notes %q", r.Alone, r.Channels, r.Notes)
	}
	if got, want := tensor.Of[float32](r.Params["fc1.bias"])[0], tensor.Of[float32](c.merge["fc1.bias"])[0]; got != want {
		t.Errorf("the bias of a dead channel was %g and is %g", want, got)
	}
}

func TestRepairStops(t *testing.T) {
	c := newRepairCase(t, repaired["resnet batch"], .5)
	run := &eval.Values{Data: c.data, Threads: 1, Batch: 32}
	r, err := merge.NewRepairer(context.Background(), merge.RepairReset, c.graph, nil, run)
	if err != nil {
		t.Fatal(err)
	}
	before := wide(c.merge["bn1.running_mean"])
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := r.Apply(ctx, c.merge, nil, func(int, int) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if !slices.Equal(before, wide(c.merge["bn1.running_mean"])) {
		t.Error("the mixture has changed")
	}
	if _, err := merge.NewRepairer(context.Background(), "mend", c.graph, nil, run); err == nil {
		t.Error("an unknown method is no error")
	}
}
