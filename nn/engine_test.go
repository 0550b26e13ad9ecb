package nn

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// wideNetwork has every family of operators and is wide enough that steps are cut into several pieces.
func wideNetwork(t testing.TB) *graph.Graph {
	return graphOf(t, func(b *graph.Builder) {
		x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(300))
		h := b.Relu("h1", b.Linear("z1", x, "fc1", 310, 300, true))
		h = b.LayerNorm("norm", h, b.Param("norm.weight", 310), b.Param("norm.bias", 310), -1)
		h = b.Op("Dropout", "drop", nil, h)
		h = b.Add("residual", b.Op("Gelu", "gelu", nil, h), h)
		h = b.Op("PRelu", "prelu", nil, h, b.Param("slope", 310))
		h = b.Mul("gate", b.Op("Tanh", "tanh", nil, h), b.Op("Sigmoid", "sigmoid", nil, h))
		h = b.Flatten("joined", b.Softmax("soft", b.Reshape("split", h, 0, 10, 31), 1), 1)
		h = b.Add("shifted", h, b.Param("shift", 310))
		b.Output(b.Linear("logits", h, "head", 10, 310, true))
	})
}

func labelsFor(n, classes int) []int32 {
	rng := rand.New(rand.NewPCG(4, 4))
	labels := make([]int32, n)
	for i := range labels {
		labels[i] = int32(rng.IntN(classes))
	}
	return labels
}

// trainingStep is forward, loss and backward.
func trainingStep[T Float](t testing.TB, e *Engine[T], x []T, labels []int32, dlogits []T) float64 {
	logits, err := e.Forward(x, len(labels))
	if err != nil {
		t.Fatal(err)
	}
	sum, _ := CrossEntropy(logits, labels, len(logits)/len(labels), dlogits)
	if err := e.Backward(dlogits); err != nil {
		t.Fatal(err)
	}
	return sum / float64(len(labels))
}

// TestThreadsDoNotMatter demands the same bytes for any number of threads.
func TestThreadsDoNotMatter(t *testing.T) {
	for name, g := range map[string]*graph.Graph{"wide": wideNetwork(t), "planes": planeNetwork(t)} {
		t.Run(name, func(t *testing.T) { threadsDoNotMatter(t, g) })
	}
}

func threadsDoNotMatter(t *testing.T, g *graph.Graph) {
	const batch = 131
	x, labels := inputFor[float32](t, g, batch), labelsFor(batch, 10)
	var logits, grads []float32
	for _, threads := range []int{1, 2, 3} {
		e := newEngine[float32](t, g, Options{Threads: threads, Training: true, BatchStatistics: true, Seed: 7})
		dlogits := make([]float32, batch*10)
		for range 2 {
			trainingStep(t, e, x, labels, dlogits)
		}
		out, _ := e.Value("logits")
		if threads == 1 {
			logits, grads = slices.Clone(out), slices.Clone(e.Grads())
		}
		if !slices.Equal(out, logits) || !slices.Equal(e.Grads(), grads) {
			t.Errorf("%d threads give other bytes than one", threads)
		}
	}
}

// TestSteadyStateAllocatesNothing counts allocations of a training step after the first.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes sync.Pool allocate")
	}
	for name, g := range map[string]*graph.Graph{"wide": wideNetwork(t), "planes": planeNetwork(t)} {
		t.Run(name, func(t *testing.T) { steadyStateAllocatesNothing(t, g) })
	}
}

func steadyStateAllocatesNothing(t *testing.T, g *graph.Graph) {
	const batch = 131
	x, labels, dlogits := inputFor[float32](t, g, batch), labelsFor(batch, 10), make([]float32, batch*10)
	for _, threads := range []int{1, 2} {
		e := newEngine[float32](t, g, Options{Threads: threads, Training: true, BatchStatistics: true})
		trainingStep(t, e, x, labels, dlogits)
		if n := testing.AllocsPerRun(10, func() { trainingStep(t, e, x, labels, dlogits) }); n != 0 {
			t.Errorf("%d threads: a training step allocates %v times", threads, n)
		}
	}
}

// TestBatchSizes runs more batch sizes than stay planned, in turns: each must give what an engine of its own gives.
func TestBatchSizes(t *testing.T) {
	g := graphOf(t, attention)
	e := newEngine[float64](t, g, Options{Training: true, Threads: 1})
	for _, batch := range []int{4, 1, 4, 7, 2, 3, 5, 6, 4, 1} {
		x := inputFor[float64](t, g, batch)
		labels, dlogits := labelsFor(batch, 3), make([]float64, 3*batch)
		trainingStep(t, e, x, labels, dlogits)
		fresh := newEngine[float64](t, g, Options{Training: true, Threads: 1})
		trainingStep(t, fresh, x, labels, make([]float64, 3*batch))
		got, _ := e.Value("logits")
		want, _ := fresh.Value("logits")
		if !slices.Equal(got, want) || !slices.Equal(e.Grads(), fresh.Grads()) {
			t.Errorf("batch %d: results depend on what ran before", batch)
		}
	}
	if len(e.plans) != maxPlans {
		t.Errorf("%d plans are kept, not %d", len(e.plans), maxPlans)
	}
}

func TestPlansAreEvictedOldestFirst(t *testing.T) {
	g := graphOf(t, attention)
	e := newEngine[float64](t, g, Options{Threads: 1})
	for _, batch := range []int{1, 2, 3, 4, 1, 5} {
		forward(t, e, inputFor[float64](t, g, batch), batch)
	}
	var kept []int
	for _, p := range e.plans {
		kept = append(kept, p.batch)
	}
	if want := []int{3, 4, 1, 5}; !slices.Equal(kept, want) {
		t.Errorf("plans of the batch sizes %v are kept, not %v", kept, want)
	}
}

// TestInputIsNotTouched runs operators that work in place on views of the input.
func TestInputIsNotTouched(t *testing.T) {
	g := graphOf(t, func(b *graph.Builder) {
		x := b.Flatten("f", b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(9)), 1)
		b.Output(b.Relu("y", b.Op("Tanh", "t", nil, b.Relu("r", x))))
	})
	for _, training := range []bool{false, true} {
		e := newEngine[float64](t, g, Options{Training: training, Threads: 1})
		x := random[float64](45, 1)
		before := slices.Clone(x)
		y := forward(t, e, x, 5)
		if training {
			if err := e.Backward(y); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(x, before) {
			t.Error("the input was overwritten")
		}
	}
}

func TestValue(t *testing.T) {
	g := graphOf(t, func(b *graph.Builder) {
		x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(4))
		h := b.Relu("h", b.Linear("z", x, "fc1", 6, 4, true))
		b.Output(b.Linear("y", b.Relu("h2", b.Linear("z2", h, "fc2", 6, 6, true)), "fc3", 2, 6, true))
	})
	e := newEngine[float64](t, g, Options{Keep: []string{"h", "x", "fc1.bias"}, Threads: 1})
	if v, _ := e.Value("h"); v != nil {
		t.Error("a value is there before Forward")
	}
	x := inputFor[float64](t, g, 3)
	forward(t, e, x, 3)
	for name, want := range map[string]tensor.Shape{"h": {3, 6}, "x": {3, 4}, "y": {3, 2}, "fc1.bias": {6}} {
		if v, shape := e.Value(name); !shape.Equal(want) || len(v) != elements(want) {
			t.Errorf("%q has shape %v and %d elements, not shape %v", name, shape, len(v), want)
		}
	}
	if v, shape := e.Value("h2"); v != nil || shape != nil {
		t.Error("a value that was not kept is there")
	}
}

// TestInferenceNeedsLittleMemory runs forty layers of one width in the memory of two, and training in no more than it must keep.
func TestInferenceNeedsLittleMemory(t *testing.T) {
	const layers, width, batch = 40, 32, 8
	g := graphOf(t, func(b *graph.Builder) {
		h := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(width))
		for i := range layers {
			h = b.Op("Tanh", fmt.Sprint("h", i), nil, b.Linear(fmt.Sprint("z", i), h, "fc", width, width, true))
		}
		b.Output(h)
	})
	for _, c := range []struct {
		training bool
		most     int // activations of one layer
	}{{false, 2}, {true, layers + 3}} {
		e := newEngine[float32](t, g, Options{Training: c.training, Threads: 1})
		forward(t, e, inputFor[float32](t, g, batch), batch)
		arena := len(e.plans[0].arena) - sumRowsScratch(c.training, width)
		if have := float64(arena) / (batch * width); have > float64(c.most) {
			t.Errorf("training %v: the plan has memory for %v layers, not %d", c.training, have, c.most)
		}
	}
}

// sumRowsScratch is what the gradient of a bias needs: a block's sum, and a place before it is added.
func sumRowsScratch(training bool, width int) int {
	if training {
		return 2 * align(width)
	}
	return 0
}

func TestUnknownOperator(t *testing.T) {
	b := graph.NewBuilder("odd")
	x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(4))
	b.Output(b.Op("Erfinv", "strange", nil, x))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	_, err = New[float32](g, Options{})
	if !errors.Is(err, ErrUnknownOperator) || !strings.Contains(err.Error(), `"strange"`) || !strings.Contains(err.Error(), "Erfinv") {
		t.Errorf("error %v does not name node and operator", err)
	}
}

func TestNewErrors(t *testing.T) {
	for name, c := range map[string]struct {
		build func(b *graph.Builder)
		keep  string
		want  string
	}{
		"two batch axes": {
			build: func(b *graph.Builder) {
				b.Output(b.Add("y", b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(1)), b.Input("z", tensor.F32, graph.Sym("M"))))
			},
			want: `inputs "x" of shape [N 1] and "z" of shape [M] have no common batch axis`,
		},
		"second symbol": {
			build: func(b *graph.Builder) {
				b.Output(b.Relu("y", b.Input("x", tensor.F32, graph.Sym("N"), graph.Sym("T"))))
			},
			want: `input "x"`,
		},
		"scalar": {build: func(b *graph.Builder) { b.Output(b.Relu("y", b.Input("x", tensor.F32))) }, want: "scalar"},
		"integers": {
			build: func(b *graph.Builder) { b.Output(b.Relu("y", b.Input("x", tensor.I64, graph.Sym("N")))) },
			want:  "I64",
		},
		"kept": {
			build: func(b *graph.Builder) { b.Output(b.Relu("y", b.Input("x", tensor.F32, graph.Sym("N")))) },
			keep:  "nothing",
			want:  `"nothing"`,
		},
		"dropout ratio": {
			build: func(b *graph.Builder) {
				b.Output(b.Op("Dropout", "y", nil, b.Input("x", tensor.F32, graph.Sym("N")), scalar(b, "ratio", 1)))
			},
			want: `node "y" (Dropout): the ratio 1`,
		},
		"computed statistics": {
			build: func(b *graph.Builder) {
				x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(2), graph.Fixed(3))
				mean := b.Op("Tanh", "mean", nil, b.Param("p", 2))
				b.Output(b.Op("BatchNormalization", "y", nil, x, b.Param("s", 2), b.Param("b", 2), mean, b.Param("v", 2)))
			},
			want: `node "y" (BatchNormalization): its running statistics are computed`,
		},
		"integer arithmetic": {
			build: func(b *graph.Builder) {
				b.Output(b.Mul("y", b.Input("x", tensor.F32, graph.Sym("N")), b.Param("a", 1)))
				n := b.Constant("n", tensor.FromSlice(tensor.Shape{1}, []int64{3}))
				b.Output(b.Op("Add", "sum", nil, n, n))
			},
			want: "I64",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := graphOf(t, c.build)
			opt := Options{Training: true}
			if c.keep != "" {
				opt.Keep = []string{c.keep}
			}
			e, err := New[float32](g, opt)
			if err == nil {
				e.Close()
				t.Fatal("no error")
			}
			if !strings.HasPrefix(err.Error(), "nn: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
		})
	}
}

func TestRunErrors(t *testing.T) {
	g := graphOf(t, attention)
	e := newEngine[float32](t, g, Options{Training: true, Threads: 1})
	x := inputFor[float32](t, g, 2)
	wantError := func(err error, part string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not say %q", err, part)
		}
	}
	wantError(e.Backward(make([]float32, 6)), "no Forward")
	_, err := e.Forward(x, 3)
	wantError(err, `input "x" has 60 elements, a batch of 3 needs 90`)
	_, err = e.Forward(nil, 0)
	wantError(err, "batch size 0")
	_, err = e.Forward(x, math.MaxInt)
	wantError(err, "overflow")
	_, err = e.Forward(x, 1<<40)
	wantError(err, "elements")
	forward(t, e, x, 2)
	wantError(e.Backward(make([]float32, 5)), "5 elements")
	if err := e.Backward(make([]float32, 6)); err != nil {
		t.Error(err)
	}
	wantError(e.Backward(make([]float32, 6)), "no Forward")
	inference := newEngine[float32](t, g, Options{Threads: 1})
	forward(t, inference, x, 2)
	wantError(inference.Backward(make([]float32, 6)), "inference")
}

func TestFixedBatch(t *testing.T) {
	g := graphOf(t, func(b *graph.Builder) {
		b.Output(b.Relu("y", b.Input("x", tensor.F32, graph.Fixed(3), graph.Fixed(2))))
	})
	e := newEngine[float32](t, g, Options{Threads: 1})
	forward(t, e, random[float32](6, 1), 3)
	if _, err := e.Forward(random[float32](4, 1), 2); err == nil {
		t.Error("a batch that the graph does not allow is no error")
	}
	for batch, want := range map[int]string{0: "batch size 0 is not positive", 2: `batch size 2, but input "x" has shape [3 2]`} {
		if n, err := e.PlanElements(batch); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a batch of %d needs %d elements, error %v, want %q", batch, n, err, want)
		}
	}
	if n, err := e.PlanElements(3); err != nil || n < 6 {
		t.Errorf("a batch of 3 needs %d elements, error %v", n, err)
	}
}

func TestSetParams(t *testing.T) {
	g := graphOf(t, func(b *graph.Builder) {
		x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(4))
		b.Output(b.Linear("y", x, "fc", 3, 4, true))
	})
	e := newEngine[float32](t, g, Options{Threads: 1})
	before := slices.Clone(e.Params())
	good := func() map[string]*tensor.Tensor { return randomParams(g, 9) }
	for name, change := range map[string]func(map[string]*tensor.Tensor){
		`tensor "fc.bias" is missing`: func(p map[string]*tensor.Tensor) { delete(p, "fc.bias") },
		`tensor "fc.weight" has shape [4 3], not [3 4]`: func(p map[string]*tensor.Tensor) {
			p["fc.weight"] = tensor.New(tensor.F32, tensor.Shape{4, 3})
		},
		`tensor "extra" is not a parameter`: func(p map[string]*tensor.Tensor) { p["extra"] = p["fc.bias"] },
		`tensor "fc.bias" is of I64`:        func(p map[string]*tensor.Tensor) { p["fc.bias"] = tensor.New(tensor.I64, tensor.Shape{3}) },
	} {
		p := good()
		change(p)
		if err := e.SetParams(p); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v does not say %q", err, name)
		}
		if !slices.Equal(before, e.Params()) {
			t.Errorf("%s: parameters changed", name)
		}
	}
	for _, dtype := range []tensor.DType{tensor.F64, tensor.F32, tensor.F16, tensor.BF16} {
		p := good()
		for _, s := range e.Specs() {
			p[s.Name], _ = p[s.Name].Convert(dtype)
		}
		if err := e.SetParams(p); err != nil {
			t.Fatal(err)
		}
		for name, got := range e.ParamTensors() {
			want, _ := p[name].Convert(tensor.F32)
			if !got.Equal(want) {
				t.Errorf("%v: tensor %q is not what was set", dtype, name)
			}
		}
	}
}

// TestSpecs sees that tensors lie in the order of the graph, aligned, with zeros between.
func TestSpecs(t *testing.T) {
	g := graphOf(t, attention)
	e := newEngine[float32](t, g, Options{Training: true, Threads: 1})
	end := 0
	for i, s := range e.Specs() {
		if s.Name != g.Params[i].Name || s.Offset%alignment != 0 || s.Offset < end || s.Len != elements(s.Shape) {
			t.Errorf("tensor %d: %+v after offset %d", i, s, end)
		}
		for _, v := range e.Params()[end:s.Offset] {
			if v != 0 {
				t.Error("padding is not zero")
			}
		}
		end = s.Offset + s.Len
	}
	if len(e.Grads()) != len(e.Params()) {
		t.Errorf("%d gradients for %d parameters", len(e.Grads()), len(e.Params()))
	}
	trainingStep(t, e, inputFor[float32](t, g, 2), labelsFor(2, 3), make([]float32, 6))
	grads := e.GradTensors()
	for _, s := range e.Specs() {
		if want := tensor.FromSlice(s.Shape, e.Grads()[s.Offset:s.Offset+s.Len]); !want.Equal(grads[s.Name]) {
			t.Errorf("the gradient of %q is not that of the arena", s.Name)
		}
	}
}

func TestParamsThatAreNotFloats(t *testing.T) {
	g := graphOf(t, func(b *graph.Builder) { b.Output(b.Relu("y", b.Input("x", tensor.F32, graph.Sym("N")))) })
	g.Params = append(g.Params, graph.Value{Name: "count", DType: tensor.I64, Shape: graph.Shape{}})
	e, err := New[float32](g, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, params := range []map[string]*tensor.Tensor{{}, {"count": tensor.New(tensor.I64, tensor.Shape{})}} {
		if err := e.SetParams(params); err != nil || len(e.Specs()) != 0 {
			t.Errorf("%v, specs %v", err, e.Specs())
		}
	}
}

// TestDropout checks mean, scale, gradient and reproducibility of masks.
func TestDropout(t *testing.T) {
	const n = 40000
	build := func(b *graph.Builder) {
		h := b.Mul("h", b.Input("x", tensor.F32, graph.Sym("N")), b.Param("a", 1))
		b.Output(b.Op("Dropout", "y", nil, h, scalar(b, "ratio", 0.2)))
	}
	g := graphOf(t, build)
	ones := make([]float64, n)
	fill(ones, 1)
	start := func(seed uint64, training bool) *Engine[float64] {
		e := newEngine[float64](t, g, Options{Training: training, Seed: seed, Threads: 2})
		e.Params()[0] = 1
		return e
	}
	e := start(5, true)
	y := slices.Clone(forward(t, e, ones, n))
	kept := 0
	for _, v := range y {
		if v != 0 {
			kept++
			if math.Abs(v-1.25) > 1e-7 { // the ratio is a float32
				t.Fatalf("an element became %v, not 0 or 1.25", v)
			}
		}
	}
	if sigma := math.Sqrt(n * 0.2 * 0.8); math.Abs(float64(kept)-0.8*n) > 5*sigma {
		t.Errorf("%d of %d elements are kept with ratio .2", kept, n)
	}
	if err := e.Backward(ones); err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, v := range y {
		sum += v
	}
	if math.Abs(e.Grads()[0]-sum) > 1e-6*sum {
		t.Errorf("the gradient is %v: not the mask of forward, %v", e.Grads()[0], sum)
	}
	second := slices.Clone(forward(t, e, ones, n))
	if slices.Equal(y, second) {
		t.Error("two steps have the same mask")
	}
	e.SetStep(0)
	if !slices.Equal(y, forward(t, e, ones, n)) || !slices.Equal(second, forward(t, e, ones, n)) {
		t.Error("steps of the same number have other masks")
	}
	if slices.Equal(y, forward(t, start(6, true), ones, n)) {
		t.Error("two seeds have the same mask")
	}
	if !slices.Equal(ones, forward(t, start(5, false), ones, n)) {
		t.Error("dropout is not the identity in inference")
	}
}

// TestTraining fits two spirals, which no linear classifier can, with gradient descent written out.
func TestTraining(t *testing.T) {
	const n, rate, steps, goal = 200, 0.5, 1500, 0.05
	g := graphOf(t, func(b *graph.Builder) {
		x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(2))
		h := b.Op("Tanh", "h1", nil, b.Linear("z1", x, "fc1", 24, 2, true))
		h = b.Relu("h2", b.Linear("z2", h, "fc2", 24, 24, true))
		b.Output(b.Linear("logits", h, "fc3", 2, 24, true))
	})
	e := newEngine[float32](t, g, Options{Training: true})
	rng := rand.New(rand.NewPCG(1, 2))
	for _, s := range e.Specs() {
		for i := range s.Len {
			e.Params()[s.Offset+i] = float32(rng.NormFloat64() / math.Sqrt(float64(s.Shape[len(s.Shape)-1])))
		}
	}
	x, labels := make([]float32, 2*n), make([]int32, n)
	for i := range n {
		labels[i] = int32(i % 2)
		angle := float64(i) / n * 2 * math.Pi
		radius := (angle/(2*math.Pi) + 0.2) * (1 - 2*float64(i%2))
		x[2*i], x[2*i+1] = float32(2*radius*math.Cos(angle)), float32(2*radius*math.Sin(angle))
	}
	dlogits := make([]float32, 2*n)
	loss := 0.0
	for range steps {
		loss = trainingStep(t, e, x, labels, dlogits)
		for i, g := range e.Grads() {
			e.Params()[i] -= rate * g
		}
	}
	if !(loss < goal) {
		t.Errorf("loss %v after %d steps, not below %v", loss, steps, goal)
	}
}

// TestForwardThrough: values come by as Keep would leave them, and what visit does to them and to parameters is what the rest of the run sees.
func TestForwardThrough(t *testing.T) {
	build := func(b *graph.Builder) {
		h := b.Relu("h1", b.Linear("z1", b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(4)), "fc1", 5, 4, true))
		b.Output(b.Linear("y", b.Relu("h2", b.Linear("z2", h, "fc2", 5, 5, true)), "fc3", 3, 5, true))
	}
	g := graphOf(t, build)
	names := []string{"x", "z1", "h1", "z2", "y"}
	kept := newEngine[float64](t, g, Options{Threads: 1, Keep: names})
	through := newEngine[float64](t, g, Options{Threads: 1, Visit: names})
	x := inputFor[float64](t, g, 3)
	forward(t, kept, x, 3)
	var seen []string
	if _, err := through.ForwardThrough(x, 3, func(name string, _ tensor.Shape, v []float64) error {
		seen = append(seen, name)
		if want, _ := kept.Value(name); deviation(v, want) > 1e-12 {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seen, names) {
		t.Errorf("%v came by, want %v", seen, names)
	}
	// Without hidden values and without a bias nothing is left.
	y, err := through.ForwardThrough(x, 3, func(name string, _ tensor.Shape, v []float64) error {
		if name == "z2" {
			clear(v)
			for _, s := range through.Specs() {
				if s.Name == "fc3.bias" {
					clear(through.Params()[s.Offset : s.Offset+s.Len])
				}
			}
		}
		return nil
	})
	if err != nil || slices.ContainsFunc(y, func(v float64) bool { return v != 0 }) {
		t.Errorf("the output is %v, error %v", y, err)
	}
	stop := errors.New("stop")
	if _, err := through.ForwardThrough(x, 3, func(string, tensor.Shape, []float64) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the error is %v", err)
	}
}
