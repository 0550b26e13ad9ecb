package nn

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// floatOutputs lists the values of a graph's nodes that are floats.
func floatOutputs(t *testing.T, g *graph.Graph) []string {
	t.Helper()
	shapes, err := g.InferShapes()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, n := range g.Nodes {
		for _, out := range n.Outputs {
			if n.Op != "Constant" && out != "" && shapes[out].DType.IsFloat() {
				all = append(all, out)
			}
		}
	}
	return all
}

func list(b *graph.Builder, name string, v ...int64) string {
	return b.Constant(name, tensor.FromSlice(tensor.Shape{len(v)}, v))
}

// indexCases are about operators that choose, compare, reduce and make.
func indexCases() []testCase {
	type shape = []int
	var cases []testCase
	add := func(name string, build func(b *graph.Builder)) {
		cases = append(cases, testCase{name: name, batch: 3, build: build})
	}
	for _, op := range []string{"Exp", "Erf", "Neg", "Abs", "Sin", "Cos", "Reciprocal", "Softplus", "Mish", "Elu", "Sign", "Floor", "Ceil"} {
		add(op, operands(op, nil, shape{3, 5}))
	}
	add("Elu/alpha", operands("Elu", graph.Attrs{"alpha": .3}, shape{11}))
	for _, op := range []string{"Sqrt", "Log"} {
		add(op, func(b *graph.Builder) {
			b.Input("x", tensor.F32, graph.Sym("N"))
			b.Output(b.Op(op, "y", nil, b.Op("Abs", "a", nil, b.Param("p", 4, 3))))
		})
	}
	add("Pow", func(b *graph.Builder) {
		b.Input("x", tensor.F32, graph.Sym("N"))
		b.Output(b.Op("Pow", "y", nil, b.Op("Abs", "a", nil, b.Param("p", 4, 3)), b.Param("e", 3)))
	})
	add("Pow/integer exponent", func(b *graph.Builder) {
		b.Input("x", tensor.F32, graph.Sym("N"))
		b.Output(b.Op("Pow", "y", nil, b.Param("p", 4, 3), b.Constant("e", tensor.FromSlice(tensor.Shape{}, []int64{3}))))
	})
	for _, op := range []string{"Min", "Max", "Sum"} {
		add(op+"/one", operands(op, nil, shape{3, 4}))
		add(op+"/broadcast", operands(op, nil, shape{3, 4}, shape{4}, shape{3, 1}))
		add(op+"/self", func(b *graph.Builder) {
			b.Input("x", tensor.F32, graph.Sym("N"))
			p := b.Param("p", 5)
			b.Output(b.Op(op, "y", nil, p, b.Op("Neg", "n", nil, p)))
		})
	}
	for _, op := range []string{"ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2"} {
		add(op+"/all", operands(op, nil, shape{3, 4}))
		add(op+"/without keepdims", operands(op, graph.Attrs{"keepdims": int64(0)}, shape{3, 4}))
		for _, axes := range [][]int64{{0}, {1}, {-1}, {0, 2}, {1, 2}, {0, 1, 2}} {
			add(op+"/axes", func(b *graph.Builder) {
				b.Input("x", tensor.F32, graph.Sym("N"))
				b.Output(b.Op(op, "y", graph.Attrs{"keepdims": axes[0] % 2 & 1}, b.Param("p", 2, 3, 4), list(b, "axes", axes...)))
			})
		}
	}
	for axis, indices := range [][]int64{{1, 0, 1, -1}, {2, -3, 2}, {3}} {
		add("Gather/axis", func(b *graph.Builder) {
			b.Input("x", tensor.F32, graph.Sym("N"))
			i := b.Constant("i", tensor.FromSlice(tensor.Shape{1, len(indices)}, indices))
			b.Output(b.Op("Gather", "y", graph.Attrs{"axis": int64(axis)}, b.Param("p", 2, 3, 4), i))
		})
	}
	add("Gather/scalar", func(b *graph.Builder) {
		b.Input("x", tensor.F32, graph.Sym("N"))
		b.Output(b.Op("Gather", "y", graph.Attrs{"axis": int64(1)}, b.Param("p", 2, 3, 4), b.Constant("i", tensor.FromSlice(tensor.Shape{}, []int64{1}))))
	})
	add("GatherElements", func(b *graph.Builder) {
		b.Input("x", tensor.F32, graph.Sym("N"))
		i := b.Constant("i", tensor.FromSlice(tensor.Shape{2, 4}, []int64{0, 2, 2, -1, 1, 0, 0, 0}))
		b.Output(b.Op("GatherElements", "y", graph.Attrs{"axis": int64(1)}, b.Param("p", 2, 3), i))
	})
	add("Split", func(b *graph.Builder) {
		b.Input("x", tensor.F32, graph.Sym("N"))
		parts := b.OpN("Split", []string{"s0", "", "s2"}, graph.Attrs{"axis": int64(1)}, b.Param("p", 2, 6, 3), list(b, "sizes", 2, 3, 1))
		b.Output(b.Mul("y", parts[0], parts[2]))
	})
	add("Split/uneven", func(b *graph.Builder) {
		b.Input("x", tensor.F32, graph.Sym("N"))
		parts := b.OpN("Split", []string{"s0", "s1", "s2"}, graph.Attrs{"axis": int64(-1), "num_outputs": int64(3)}, b.Param("p", 2, 7))
		b.Output(b.Mul("y", b.Add("z", parts[0], parts[1]), parts[2]))
	})
	add("Expand", func(b *graph.Builder) {
		b.Input("x", tensor.F32, graph.Sym("N"))
		b.Output(b.Op("Expand", "y", nil, b.Param("p", 3, 1, 2), list(b, "to", 4, 1, 5, 1)))
	})
	add("Tile", func(b *graph.Builder) {
		b.Input("x", tensor.F32, graph.Sym("N"))
		b.Output(b.Op("Tile", "y", nil, b.Param("p", 3, 1, 2), list(b, "times", 2, 3, 2)))
	})
	for _, upper := range []int64{0, 1} {
		for _, k := range []int64{-1, 0, 2} {
			add("Trilu", func(b *graph.Builder) {
				b.Input("x", tensor.F32, graph.Sym("N"))
				d := b.Constant("k", tensor.FromSlice(tensor.Shape{}, []int64{k}))
				b.Output(b.Op("Trilu", "y", graph.Attrs{"upper": upper}, b.Param("p", 2, 3, 4), d))
			})
		}
	}
	add("Squeeze", func(b *graph.Builder) {
		b.Input("x", tensor.F32, graph.Sym("N"))
		h := b.Op("Unsqueeze", "u", nil, b.Param("p", 3, 1), list(b, "at", 0, -1))
		b.Output(b.Op("Tanh", "y", nil, b.Op("Squeeze", "s", nil, h, list(b, "gone", 2))))
	})
	add("Where", func(b *graph.Builder) {
		x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(4))
		h := b.Mul("h", x, b.Param("a", 4))
		c := b.Op("And", "c", nil, b.Op("Greater", "g", nil, h, scalar(b, "zero", 0)), b.Op("Not", "n", nil, b.Op("Less", "l", nil, x, h)))
		b.Output(b.Op("Where", "y", nil, c, h, b.Param("b", 1)))
	})
	add("comparisons", func(b *graph.Builder) {
		x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(4))
		f := b.Op("Cast", "i", graph.Attrs{"to": int64(7)}, b.Mul("wide", x, scalar(b, "two", 2)))
		one := b.Constant("one", tensor.FromSlice(tensor.Shape{}, []int64{1}))
		a := b.Op("Xor", "a", nil, b.Op("Equal", "e", nil, f, one), b.Op("LessOrEqual", "le", nil, f, one))
		c := b.Op("Or", "c", nil, a, b.Op("GreaterOrEqual", "ge", nil, f, b.Op("Neg", "m", nil, one)))
		half := b.Op("Div", "half", nil, f, b.Constant("i2", tensor.FromSlice(tensor.Shape{}, []int64{2})))
		float := func(name, v string) string { return b.Op("Cast", name, graph.Attrs{"to": int64(1)}, v) }
		b.Output(b.Mul("y", b.Mul("p", float("cf", c), b.Param("w", 4)), float("hf", half)))
	})
	add("shapes that depend on the batch", func(b *graph.Builder) {
		x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(4))
		zero := b.Constant("zero", tensor.FromSlice(tensor.Shape{}, []int64{0}))
		n := b.Op("Gather", "n", nil, b.Op("Shape", "s", nil, x), zero)
		count := b.Op("Range", "r", nil, zero, n, b.Constant("one", tensor.FromSlice(tensor.Shape{}, []int64{1})))
		rows := b.Op("Concat", "rows", graph.Attrs{"axis": int64(0)}, b.Op("Unsqueeze", "u", nil, n, list(b, "at", 0)), list(b, "c", 1))
		twos := b.Op("ConstantOfShape", "twos", graph.Attrs{"value": tensor.FromSlice(tensor.Shape{1}, []float32{2})}, rows)
		h := b.Mul("h", b.Op("Expand", "e", nil, b.Param("p", 4), b.Op("Shape", "s2", nil, x)), twos)
		f := b.Op("Cast", "f", graph.Attrs{"to": int64(1)}, b.Reshape("col", count, -1, 1))
		first := b.Op("Cast", "sf", graph.Attrs{"to": int64(1)}, b.Op("Shape", "s3", graph.Attrs{"end": int64(1)}, x))
		b.Output(b.Mul("y", b.Add("g", h, f), first))
	})
	return cases
}

// referenceIndex evaluates operators that choose, compare, reduce and make.
func referenceIndex(n *graph.Node, in []array, shape []int) (array, bool) {
	if f, ok := referenceMore[n.Op]; ok {
		return generate(shape, func(i []int) float64 { return f(in[0].at(i)) }), true
	}
	if f, ok := referenceFold[n.Op]; ok {
		return generate(shape, func(i []int) float64 {
			v := in[0].at(i)
			for _, a := range in[1:] {
				v = f(v, a.at(i))
			}
			return v
		}), true
	}
	if f, ok := referenceReduction[n.Op]; ok {
		return referenceReduce(n, in, shape, f), true
	}
	if n.Op == "Div" && n.Name == "half" { // of integers
		return generate(shape, func(i []int) float64 { return math.Trunc(in[0].at(i) / in[1].at(i)) }), true
	}
	axis := int(n.Attrs.Int("axis", 0))
	if len(in) > 0 && axis < 0 {
		axis += len(in[0].shape)
	}
	at := func(v float64, extent int) int { return (int(v) + extent) % extent }
	switch n.Op {
	case "Elu":
		return generate(shape, func(i []int) float64 {
			if v := in[0].at(i); v > 0 {
				return v
			}
			return n.Attrs.Float("alpha", 1) * (math.Exp(in[0].at(i)) - 1)
		}), true
	case "Squeeze", "Unsqueeze":
		return array{shape, in[0].data}, true
	case "Expand":
		return generate(shape, in[0].at), true
	case "Cast":
		return generate(shape, func(i []int) float64 {
			if n.Attrs.Int("to", 0) == 7 {
				return math.Trunc(in[0].at(i))
			}
			return in[0].at(i)
		}), true
	case "Where":
		return generate(shape, func(i []int) float64 {
			if in[0].at(i) != 0 {
				return in[1].at(i)
			}
			return in[2].at(i)
		}), true
	case "Gather":
		return generate(shape, func(i []int) float64 {
			rank := len(in[1].shape)
			k := at(in[1].at(i[axis:axis+rank]), in[0].shape[axis])
			return in[0].at(slices.Concat(i[:axis], []int{k}, i[axis+rank:]))
		}), true
	case "GatherElements":
		return generate(shape, func(i []int) float64 { return in[0].at(with(i, axis, at(in[1].at(i), in[0].shape[axis]))) }), true
	case "Tile":
		return generate(shape, func(i []int) float64 {
			j := slices.Clone(i)
			for k := range j {
				j[k] %= in[0].shape[k]
			}
			return in[0].at(j)
		}), true
	case "Trilu":
		return generate(shape, func(i []int) float64 {
			d := i[len(i)-1] - i[len(i)-2] - int(in[1].data[0])
			if n.Attrs.Int("upper", 1) == 1 && d < 0 || n.Attrs.Int("upper", 1) == 0 && d > 0 {
				return 0
			}
			return in[0].at(i)
		}), true
	case "Range":
		return generate(shape, func(i []int) float64 { return float64(i[0]) }), true
	case "ConstantOfShape":
		return generate(shape, func([]int) float64 { return 2 }), true
	case "Shape":
		return generate(shape, func(i []int) float64 { return float64(in[0].shape[i[0]]) }), true
	}
	return array{}, false
}

var referenceMore = map[string]func(float64) float64{
	"Exp": math.Exp, "Erf": math.Erf, "Neg": func(v float64) float64 { return -v }, "Abs": math.Abs, "Sin": math.Sin, "Cos": math.Cos,
	"Reciprocal": func(v float64) float64 { return 1 / v }, "Sqrt": math.Sqrt, "Log": math.Log, "Floor": math.Floor, "Ceil": math.Ceil,
	"Softplus": func(v float64) float64 { return math.Log(1 + math.Exp(v)) },
	"Mish":     func(v float64) float64 { return v * math.Tanh(math.Log(1+math.Exp(v))) },
	"Sign":     func(v float64) float64 { return math.Copysign(1, v) },
	"Not":      func(v float64) float64 { return 1 - v },
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var referenceFold = map[string]func(a, b float64) float64{
	"Min": math.Min, "Max": math.Max, "Pow": math.Pow, "Sum": func(a, b float64) float64 { return a + b },
	"Equal":          func(a, b float64) float64 { return one(a == b) },
	"Less":           func(a, b float64) float64 { return one(a < b) },
	"LessOrEqual":    func(a, b float64) float64 { return one(a <= b) },
	"Greater":        func(a, b float64) float64 { return one(a > b) },
	"GreaterOrEqual": func(a, b float64) float64 { return one(a >= b) },
	"And":            func(a, b float64) float64 { return a * b },
	"Or":             math.Max,
	"Xor":            func(a, b float64) float64 { return math.Abs(a - b) },
}

var referenceReduction = map[string]func(list []float64) float64{
	"ReduceSum": func(l []float64) float64 { return sum(l, func(v float64) float64 { return v }) },
	"ReduceL2":  func(l []float64) float64 { return math.Sqrt(sum(l, func(v float64) float64 { return v * v })) },
	"ReduceMax": slices.Max[[]float64],
	"ReduceMin": slices.Min[[]float64],
	"ReduceProd": func(l []float64) float64 {
		p := 1.0
		for _, v := range l {
			p *= v
		}
		return p
	},
}

func sum(l []float64, f func(float64) float64) float64 {
	s := 0.0
	for _, v := range l {
		s += f(v)
	}
	return s
}

// referenceReduce goes through all elements for each of the result.
func referenceReduce(n *graph.Node, in []array, shape []int, f func([]float64) float64) array {
	x := in[0]
	var axes []int
	if len(in) > 1 {
		for _, v := range in[1].data {
			axes = append(axes, (int(v)+len(x.shape))%len(x.shape))
		}
	} else {
		for i := range x.shape {
			axes = append(axes, i)
		}
	}
	return generate(shape, func(at []int) float64 {
		var list []float64
		generate(x.shape, func(i []int) float64 {
			k, same := 0, true
			for axis := range x.shape {
				switch gone := slices.Contains(axes, axis); {
				case gone && n.Attrs.Int("keepdims", 1) != 0:
					k++
				case !gone:
					same = same && at[k] == i[axis]
					k++
				}
			}
			if same {
				list = append(list, x.at(i))
			}
			return 0
		})
		return f(list)
	})
}

// referenceSplit cuts along an axis.
func referenceSplit(n *graph.Node, x array, bound func(string) []int, values map[string]array) {
	axis, from := (int(n.Attrs.Int("axis", 0))+len(x.shape))%len(x.shape), 0
	sizes := values[n.Input(1)].data
	if len(sizes) == 0 { // as "Split/uneven" has it
		sizes = []float64{3, 3, 1}
	}
	for k, out := range n.Outputs {
		if out != "" {
			values[out] = generate(bound(out), func(i []int) float64 { return x.at(with(i, axis, from+i[axis])) })
		}
		from += int(sizes[k])
	}
}

// Token numbers come in as T and choose rows; one that does not exist gives NaN and no panic.
func TestGatherByInput(t *testing.T) {
	g := graphOf(t, func(b *graph.Builder) {
		ids := b.Input("ids", tensor.I64, graph.Sym("N"), graph.Fixed(2))
		b.Output(b.Op("Gather", "y", nil, b.Param("table", 3, 2), ids))
	})
	e := newEngine[float32](t, g, Options{Training: true, Threads: 2})
	copy(e.Params(), []float32{1, 2, 3, 4, 5, 6})
	if got, want := forward(t, e, []float32{2, 0, -1, 2}, 2), []float32{5, 6, 1, 2, 5, 6, 5, 6}; !slices.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
	if err := e.Backward([]float32{1, 2, 3, 4, 5, 6, 7, 8}); err != nil {
		t.Fatal(err)
	}
	if got, want := e.Grads()[:6], []float32{3, 4, 0, 0, 13, 16}; !slices.Equal(got, want) {
		t.Errorf("gradient %v, want %v", got, want)
	}
	for _, v := range forward(t, e, []float32{3, -4}, 1) {
		if v == v {
			t.Errorf("a row that does not exist gives %v", v)
		}
	}
}

// Gradients of products with zeros, of ties and at the origin of a norm, worked out by hand.
func TestGradientsAtKinks(t *testing.T) {
	for _, c := range []struct {
		op       string
		in, want []float32
		value    float32
	}{
		{op: "ReduceProd", in: []float32{2, 0, 3}, want: []float32{0, 6, 0}},
		{op: "ReduceProd", in: []float32{0, 0, 3}, want: []float32{0, 0, 0}},
		{op: "ReduceMax", in: []float32{4, 1, 4}, want: []float32{.5, 0, .5}, value: 4},
		{op: "ReduceMin", in: []float32{4, 1, 1}, want: []float32{0, .5, .5}, value: 1},
		{op: "ReduceL2", in: []float32{0, 0, 0}, want: []float32{0, 0, 0}},
		{op: "ReduceL2", in: []float32{3, 0, 4}, want: []float32{.6, 0, .8}, value: 5},
	} {
		g := graphOf(t, operands(c.op, nil, []int{3}))
		e := newEngine[float32](t, g, Options{Training: true, Threads: 1})
		copy(e.Params(), c.in)
		if y := forward(t, e, make([]float32, 2), 1); y[0] != c.value {
			t.Errorf("%s of %v: %v, want %v", c.op, c.in, y[0], c.value)
		}
		if err := e.Backward([]float32{1}); err != nil {
			t.Fatal(err)
		}
		if d := deviation(e.Grads()[:3], c.want); d > 1e-7 {
			t.Errorf("%s of %v: gradient %v, want %v", c.op, c.in, e.Grads()[:3], c.want)
		}
	}
}

// An integer that float32 would round is refused rather than changed.
func TestIntegersStayExact(t *testing.T) {
	build := func(b *graph.Builder) {
		x := b.Input("x", tensor.I64, graph.Sym("N"))
		big := b.Constant("big", tensor.FromSlice(tensor.Shape{}, []int64{1<<24 + 1}))
		b.Output(b.Op("Cast", "y", graph.Attrs{"to": int64(1)}, b.Op("Equal", "e", nil, x, big)))
	}
	g := graphOf(t, build)
	if _, err := New[float32](g, Options{Threads: 1}); err == nil || !strings.Contains(err.Error(), `constant "big": F32 cannot hold the integer 16777217`) {
		t.Errorf("error %v", err)
	}
	e := newEngine[float64](t, g, Options{Threads: 1})
	if got := forward(t, e, []float64{1 << 24, 1<<24 + 1}, 2); got[0] != 0 || got[1] != 1 {
		t.Errorf("%v", got)
	}
}

// Several inputs come one after the other, example by example.
func TestSeveralInputs(t *testing.T) {
	g := graphOf(t, func(b *graph.Builder) {
		ids := b.Input("ids", tensor.I64, graph.Sym("N"))
		x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(2))
		b.Output(b.Mul("y", x, b.Op("Gather", "row", nil, b.Param("table", 3, 2), ids)))
	})
	e := newEngine[float64](t, g, Options{Training: true, Threads: 1})
	copy(e.Params(), []float64{1, 2, 3, 4, 5, 6})
	for range 2 {
		if got, want := forward(t, e, []float64{2, 10, 20, 0, 30, 40}, 2), []float64{50, 120, 30, 80}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	if err := e.Backward([]float64{1, 1, 1, 1}); err != nil {
		t.Fatal(err)
	}
	if got, want := e.Grads()[:6], []float64{30, 40, 0, 0, 10, 20}; !slices.Equal(got, want) {
		t.Errorf("gradient %v, want %v", got, want)
	}
	if _, err := e.Forward(make([]float64, 5), 2); err == nil || !strings.Contains(err.Error(), `input "ids", "x" has 5 elements, a batch of 2 needs 6`) {
		t.Errorf("error %v", err)
	}
}
