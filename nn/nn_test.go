package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testCase is a small network with float64 parameters of which every gradient is checked.
type testCase struct {
	name  string
	batch int
	build func(b *graph.Builder)
	// batchStatistics is the option of the engine.
	batchStatistics bool
}

func (c *testCase) options(training bool) Options {
	return Options{Training: training, BatchStatistics: c.batchStatistics, Threads: 1}
}

// scalar adds a constant of one element.
func scalar(b *graph.Builder, name string, v float64) string {
	return b.Constant(name, tensor.FromSlice(tensor.Shape{}, []float32{float32(v)}))
}

// operands makes a case of one operator whose operands are parameters.
func operands(op string, attrs graph.Attrs, shapes ...[]int) func(*graph.Builder) {
	return func(b *graph.Builder) {
		b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(2))
		var in []string
		for i, s := range shapes {
			in = append(in, b.Param(string(rune('a'+i)), s...))
		}
		b.Output(b.Op(op, "y", attrs, in...))
	}
}

func testCases() []testCase {
	type shape = []int
	attrs := func(kv ...any) graph.Attrs {
		a := graph.Attrs{}
		for i := 0; i < len(kv); i += 2 {
			a[kv[i].(string)] = kv[i+1]
		}
		return a
	}
	var cases []testCase
	add := func(name string, build func(b *graph.Builder)) {
		cases = append(cases, testCase{name: name, batch: 3, build: build})
	}
	for _, op := range []string{"Add", "Sub", "Mul", "Div"} {
		add(op+"/same", operands(op, nil, shape{3, 5}, shape{3, 5}))
		add(op+"/row", operands(op, nil, shape{3, 5}, shape{5}))
		add(op+"/row left", operands(op, nil, shape{5}, shape{3, 5}))
		add(op+"/column", operands(op, nil, shape{3, 5}, shape{3, 1}))
		add(op+"/both", operands(op, nil, shape{3, 1, 2, 1}, shape{5, 1, 4}))
		add(op+"/middle", operands(op, nil, shape{2, 3, 4}, shape{2, 1, 4}))
		add(op+"/scalar", operands(op, nil, shape{}, shape{3, 2}))
		add(op+"/scalars", operands(op, nil, shape{}, shape{}))
		add(op+"/self", func(b *graph.Builder) {
			b.Input("x", tensor.F32, graph.Sym("N"))
			a := b.Param("a", 7)
			b.Output(b.Op(op, "y", nil, a, a))
		})
	}
	for _, slope := range []shape{{4, 5}, {5}, {1}, {4, 1}, {}} {
		add("PRelu", operands("PRelu", nil, shape{4, 5}, slope))
	}
	for _, op := range []string{
		"Relu", "LeakyRelu", "Tanh", "Sigmoid", "Gelu", "Identity", "Flatten", "Transpose", "Softmax", "LogSoftmax",
	} {
		add(op, operands(op, nil, shape{2, 3, 4}))
	}
	add("LeakyRelu/alpha", operands("LeakyRelu", attrs("alpha", -0.5), shape{11}))
	add("Gelu/tanh", operands("Gelu", attrs("approximate", "tanh"), shape{11}))
	for axis := int64(-2); axis < 3; axis++ {
		add("Softmax/axis", operands("Softmax", attrs("axis", axis), shape{2, 3, 4}))
		add("LogSoftmax/axis", operands("LogSoftmax", attrs("axis", axis), shape{2, 3, 4}))
	}
	for _, perm := range [][]int64{{0, 2, 1}, {1, 0, 2}, {2, 0, 1}, {1, 2, 0}, {0, 1, 2}} {
		add("Transpose/perm", operands("Transpose", attrs("perm", perm), shape{3, 4, 5}))
	}
	add("Transpose/ones", operands("Transpose", attrs("perm", []int64{3, 1, 0, 2}), shape{1, 4, 1, 5}))
	for _, axis := range []int64{-1, 0, 1} {
		normalised := shape{3, 4, 5}[(axis+3)%3:]
		at := attrs("axis", axis, "epsilon", 0.01)
		add("LayerNormalization", operands("LayerNormalization", at, shape{3, 4, 5}, normalised, normalised))
		add("LayerNormalization/no bias", operands("LayerNormalization", attrs("axis", axis), shape{3, 4, 5}, normalised))
	}
	add("LayerNormalization/self", func(b *graph.Builder) {
		b.Input("x", tensor.F32, graph.Sym("N"))
		a := b.Op("Tanh", "t", nil, b.Param("a", 6))
		b.Output(b.LayerNorm("y", a, a, a, 0))
	})
	for flags := range int64(4) {
		a, w := shape{5, 3}, shape{3, 4}
		if flags&1 != 0 {
			a = shape{3, 5}
		}
		if flags&2 != 0 {
			w = shape{4, 3}
		}
		at := attrs("transA", flags&1, "transB", flags>>1)
		add("Gemm", operands("Gemm", at, a, w))
		for _, c := range []shape{{4}, {5, 4}, {5, 1}, {1}, {}, {1, 4}} {
			add("Gemm/C", operands("Gemm", at, a, w, c))
		}
		scaled := attrs("transA", flags&1, "transB", flags>>1, "alpha", 0.3, "beta", -1.7)
		add("Gemm/scaled", operands("Gemm", scaled, a, w, shape{4}))
		add("Gemm/beta 0", operands("Gemm", attrs("transA", flags&1, "transB", flags>>1, "beta", 0.0), a, w, shape{4}))
	}
	add("Gemm/self", func(b *graph.Builder) {
		b.Input("x", tensor.F32, graph.Sym("N"))
		a := b.Param("a", 4, 4)
		b.Output(b.Op("Gemm", "y", nil, a, a, a))
	})
	for _, s := range [][2]shape{
		{{5, 3}, {3, 4}},
		{{3}, {3}},
		{{3}, {3, 4}},
		{{5, 3}, {3}},
		{{2, 5, 3}, {3, 4}},
		{{2, 5, 3}, {1, 3, 4}},
		{{5, 3}, {2, 3, 4}},
		{{2, 1, 5, 3}, {3, 3, 4}},
		{{2, 3, 5, 3}, {2, 3, 3, 4}},
		{{2, 5, 3}, {3}},
		{{3}, {2, 3, 4}},
	} {
		add("MatMul", operands("MatMul", nil, s[0], s[1]))
	}
	add("Reshape", func(b *graph.Builder) {
		b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(2), graph.Fixed(6))
		h := b.Mul("h", "x", b.Param("a", 2, 6))
		b.Output(b.Op("Tanh", "y", nil, b.Reshape("r", h, 0, 4, -1)))
	})
	ints := func(list ...int64) []int64 { return list }
	add("Conv", operands("Conv", nil, shape{2, 3, 5, 4}, shape{4, 3, 3, 2}))
	add("Conv/bias", operands("Conv", attrs("pads", ints(1, 0, 2, 1)), shape{2, 2, 3, 4}, shape{3, 2, 3, 3}, shape{3}))
	add("Conv/strides", operands("Conv", attrs("pads", ints(1, 1, 1, 1), "strides", ints(2, 3)), shape{2, 2, 6, 7}, shape{3, 2, 3, 3}, shape{3}))
	add("Conv/dilations", operands("Conv", attrs("dilations", ints(2, 3), "pads", ints(2, 0, 1, 3)), shape{1, 2, 5, 6}, shape{3, 2, 2, 3}))
	add("Conv/groups", operands("Conv", attrs("group", int64(2), "pads", ints(1, 1, 1, 1)), shape{2, 4, 3, 3}, shape{6, 2, 3, 3}, shape{6}))
	add("Conv/depthwise", operands("Conv", attrs("group", int64(3), "strides", ints(2, 2)), shape{2, 3, 5, 5}, shape{3, 1, 3, 3}))
	add("Conv/one axis", operands("Conv", attrs("pads", ints(1, 2), "strides", ints(2)), shape{2, 3, 7}, shape{4, 3, 3}, shape{4}))
	for _, stride := range []int64{1, 2} {
		name := fmt.Sprintf("Conv/computed weight and bias, stride %d", stride)
		add(name, func(b *graph.Builder) {
			computedWeight(b, attrs("strides", ints(stride, stride), "pads", ints(1, 1, 1, 1)))
		})
	}
	return slices.Concat(cases, networkCases(), planeCases(), indexCases(), spatialCases(), functionCases(), recurrentCases())
}

// networkCases are about how steps meet: several consumers, shared parameters, views, fusion, dead ends.
func networkCases() []testCase {
	input := func(b *graph.Builder, extents ...int) string {
		return b.Input("x", tensor.F32, append([]graph.Dim{graph.Sym("N")}, graph.ShapeOf(extents...)...)...)
	}
	return []testCase{
		{name: "mlp", batch: 5, build: func(b *graph.Builder) {
			h := b.Relu("h", b.Linear("z", input(b, 7), "fc1", 6, 7, true))
			b.Output(b.Op("LogSoftmax", "y", nil, b.Linear("logits", h, "fc2", 3, 6, true)))
		}},
		{name: "fusion without bias", batch: 4, build: func(b *graph.Builder) {
			b.Output(b.Relu("h", b.Linear("z", input(b, 3), "fc1", 6, 3, false)))
		}},
		{name: "fusion of a scaled product", batch: 4, build: func(b *graph.Builder) {
			z := b.Op("Gemm", "z", graph.Attrs{"alpha": 0.5, "beta": 2.0}, input(b, 3), b.Param("w", 3, 5), b.Param("c", 5))
			b.Output(b.Relu("h", z))
		}},
		{name: "no fusion where others read", batch: 4, build: func(b *graph.Builder) {
			z := b.Linear("z", input(b, 3), "fc1", 6, 3, true)
			b.Output(b.Mul("y", b.Relu("h", z), z))
		}},
		{name: "residual", batch: 4, build: func(b *graph.Builder) {
			h := b.Relu("h", b.Linear("z", input(b, 6), "fc1", 6, 6, true))
			g := b.Op("Tanh", "g", nil, b.Linear("z2", h, "fc2", 6, 6, true))
			b.Output(b.Add("y", g, h))
		}},
		{name: "three consumers", batch: 4, build: func(b *graph.Builder) {
			h := b.Op("Sigmoid", "h", nil, b.Linear("z", input(b, 6), "fc1", 5, 6, true))
			p := b.Mul("p", b.Op("Tanh", "t", nil, h), b.Op("Gelu", "u", nil, h))
			b.Output(b.Op("Sub", "y", nil, p, b.Softmax("s", h, -1)))
		}},
		{name: "shared parameter", batch: 4, build: func(b *graph.Builder) {
			h := b.Op("Tanh", "h", nil, b.Linear("z", input(b, 4), "fc", 4, 4, true))
			b.Output(b.Linear("y", h, "fc", 4, 4, true))
		}},
		{name: "views of one value", batch: 2, build: func(b *graph.Builder) {
			h := b.Op("Tanh", "h", nil, b.MatMul("z", input(b, 2, 6), b.Param("w", 6, 6)))
			flat := b.Flatten("f", h, 1)
			again := b.Reshape("r", b.Op("Identity", "i", nil, h), -1, 12)
			b.Output(b.Mul("y", b.Relu("q", flat), again))
		}},
		{name: "output read again", batch: 3, build: func(b *graph.Builder) {
			y := b.Op("Tanh", "y", nil, b.Linear("z", input(b, 4), "fc", 4, 4, true))
			b.Output(y)
			b.Output(b.Op("Sigmoid", "other", nil, y))
		}},
		{name: "output is a view of a parameter", batch: 3, build: func(b *graph.Builder) {
			input(b, 4)
			b.Output(b.Flatten("y", b.Param("a", 2, 3), 1))
		}},
		{name: "unused parameter", batch: 3, build: func(b *graph.Builder) {
			x := input(b, 4)
			b.Output(b.Linear("y", x, "fc", 2, 4, true))
			b.Relu("dead", b.Linear("z", x, "other", 2, 4, true))
		}},
		{name: "constants", batch: 3, build: func(b *graph.Builder) {
			h := b.Mul("h", b.Linear("z", input(b, 4), "fc", 2, 4, true), scalar(b, "half", 0.5))
			b.Output(b.Op("Sub", "y", nil, scalar(b, "one", 1), h))
		}},
		{name: "attention", batch: 2, build: attention},
		{name: "convolutions", batch: 2, build: convolutions},
	}
}

// computedWeight is two convolutions of one weight that is itself computed, the second through a view of it; so is the first's bias.
func computedWeight(b *graph.Builder, attrs graph.Attrs) {
	x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(2), graph.Fixed(5), graph.Fixed(4))
	w := b.Mul("w", b.Op("Tanh", "t", nil, b.Param("v", 2, 2, 3, 3)), b.Param("g", 2, 1, 1, 1))
	h := b.Op("Conv", "h", attrs, b.Op("Tanh", "in", nil, b.Mul("scaled", x, b.Param("s", 2, 1, 1))), w, b.Op("Sigmoid", "bias", nil, b.Param("c", 2)))
	view := b.Reshape("view", w, 2, 2, 3, 3)
	b.Output(b.Op("Conv", "y", graph.Attrs{"pads": []int64{1, 1, 1, 1}}, b.Relu("r", h), view))
}

// convolutions are a residual block with a fused Relu and a flattened classifier.
func convolutions(b *graph.Builder) {
	x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(2), graph.Fixed(5), graph.Fixed(4))
	conv := func(name, in string, from, to int) string {
		attrs := graph.Attrs{"pads": []int64{1, 1, 1, 1}}
		return b.Op("Conv", name, attrs, in, b.Param(name+".weight", to, from, 3, 3), b.Param(name+".bias", to))
	}
	h := b.Relu("h1", conv("c1", x, 2, 3))
	h = b.Add("sum", b.Op("Tanh", "h2", nil, conv("c2", h, 3, 3)), h)
	b.Output(b.Linear("y", b.Flatten("f", h, 1), "fc", 3, 60, true))
}

// attention is a block of a transformer: two heads of three units over five places, and a residual network behind it.
func attention(b *graph.Builder) {
	x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(5), graph.Fixed(6))
	heads := func(name string, perm ...int64) string {
		z := b.Add(name+".b", b.MatMul(name+".z", x, b.Param(name+".weight", 6, 6)), b.Param(name+".bias", 6))
		return b.Transpose(name, b.Reshape(name+".r", z, 0, 5, 2, 3), perm...)
	}
	q, k, v := heads("q", 0, 2, 1, 3), heads("k", 0, 2, 3, 1), heads("v", 0, 2, 1, 3)
	scores := b.Softmax("scores", b.Mul("scaled", b.MatMul("qk", q, k), scalar(b, "scale", 1/math.Sqrt(3))), -1)
	mixed := b.Reshape("mixed", b.Transpose("back", b.MatMul("qkv", scores, v), 0, 2, 1, 3), 0, 5, 6)
	h := b.Add("h", x, b.MatMul("proj", mixed, b.Param("proj.weight", 6, 6)))
	n := b.LayerNorm("norm", h, b.Param("norm.weight", 6), b.Param("norm.bias", 6), -1)
	m := b.Op("Gelu", "gelu", nil, b.MatMul("up", n, b.Param("up.weight", 6, 8)))
	out := b.Add("out", h, b.MatMul("down", m, b.Param("down.weight", 8, 6)))
	b.Output(b.Linear("logits", b.Flatten("flat", out, 1), "head", 3, 30, true))
}

// graphOf builds a case, with parameters of float64.
func graphOf(t testing.TB, build func(*graph.Builder)) *graph.Graph {
	t.Helper()
	b := graph.NewBuilder("test")
	build(b)
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// newEngine makes an engine that the test closes, with random parameters.
func newEngine[T Float](t testing.TB, g *graph.Graph, opt Options) *Engine[T] {
	t.Helper()
	e, err := New[T](g, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	if err := e.SetParams(randomParams(g, 1)); err != nil {
		t.Fatal(err)
	}
	return e
}

// randomParams draws parameters of float64 away from 0, so that Div behaves and the kinks of Relu and its like are not met.
func randomParams(g *graph.Graph, seed uint64) map[string]*tensor.Tensor {
	rng := rand.New(rand.NewPCG(seed, 0))
	params := map[string]*tensor.Tensor{}
	for _, p := range g.Params {
		shape, _ := p.Shape.Fixed()
		t := tensor.New(tensor.F64, shape)
		for i := range tensor.Of[float64](t) {
			tensor.Of[float64](t)[i] = math.Copysign(0.3+rng.Float64(), rng.Float64()-0.5)
			if strings.HasSuffix(p.Name, "running_var") {
				tensor.Of[float64](t)[i] = math.Abs(tensor.Of[float64](t)[i])
			}
		}
		params[p.Name] = t
	}
	return params
}

func random[T Float](n int, seed uint64) []T {
	rng := rand.New(rand.NewPCG(seed, 1))
	x := make([]T, n)
	for i := range x {
		x[i] = T(rng.NormFloat64())
	}
	return x
}

// inputFor draws a batch for the graph's input.
func inputFor[T Float](t testing.TB, g *graph.Graph, batch int) []T {
	t.Helper()
	shape, err := g.Inputs[0].Shape.Bind(map[string]int{"N": batch})
	if err != nil {
		t.Fatal(err)
	}
	return random[T](elements(shape), 2)
}

func forward[T Float](t testing.TB, e *Engine[T], x []T, batch int) []T {
	t.Helper()
	y, err := e.Forward(x, batch)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

// deviation is the greatest difference over the greatest magnitude, at least 1.
func deviation[T, U Float](a []T, b []U) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	diff, size := 0.0, 1.0
	for i := range a {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		diff, size = math.Max(diff, d), math.Max(size, math.Abs(float64(b[i])))
	}
	return diff / size
}
