package nn

import (
	"math"
	"slices"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// array is a tensor of the reference interpreter, which computes every element by the formula of the ONNX specification, from its index.
type array struct {
	shape []int
	data  []float64
}

func (a array) at(index []int) float64 {
	offset := 0
	lead := len(index) - len(a.shape)
	for i, extent := range a.shape {
		offset *= extent
		if extent != 1 { // broadcast
			offset += index[lead+i]
		}
	}
	return a.data[offset]
}

// generate makes an array from its elements' indices.
func generate(shape []int, f func(index []int) float64) array {
	out := array{shape: shape, data: make([]float64, elements(shape))}
	for i := range out.data {
		index := make([]int, len(shape))
		for axis, rest := len(shape)-1, i; axis >= 0; axis-- {
			index[axis], rest = rest%shape[axis], rest/shape[axis]
		}
		out.data[i] = f(index)
	}
	return out
}

func with(index []int, axis, value int) []int {
	out := append([]int(nil), index...)
	out[axis] = value
	return out
}

// interpret computes all values of a graph.
func interpret(t *testing.T, g *graph.Graph, params map[string]*tensor.Tensor, x []float64, c testCase) map[string]array {
	t.Helper()
	shapes, err := g.InferShapes()
	if err != nil {
		t.Fatal(err)
	}
	bound := func(name string) []int {
		s, err := shapes[name].Shape.Bind(map[string]int{"N": c.batch})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	values := map[string]array{g.Inputs[0].Name: {bound(g.Inputs[0].Name), x}}
	for name, p := range params {
		values[name] = array{p.Shape(), tensor.Of[float64](p)}
	}
	for name, k := range g.Constants() {
		if wide, err := k.Convert(tensor.F64); err == nil {
			values[name] = array{k.Shape(), tensor.Of[float64](wide)}
		}
	}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		in := make([]array, len(n.Inputs))
		for j, name := range n.Inputs {
			in[j] = values[name] // nothing where it is absent
		}
		if _, constant := values[n.Outputs[0]]; constant {
			continue
		}
		if n.Op == "Split" {
			referenceSplit(n, in[0], bound, values)
			continue
		}
		if referenceRecurrent(n, in, values) {
			continue
		}
		values[n.Outputs[0]] = evaluate(t, n, in, bound(n.Outputs[0]), c.batchStatistics)
	}
	return values
}

// evaluate applies one operator.
func evaluate(t *testing.T, n *graph.Node, in []array, shape []int, batchStatistics bool) array {
	t.Helper()
	if out, ok := referenceIndex(n, in, shape); ok {
		return out
	}
	if out, ok := referenceSpatial(n, in, shape); ok {
		return out
	}
	if out, ok := referenceFunction(n, in, shape); ok {
		return out
	}
	if f, ok := referenceUnary(n); ok {
		return generate(shape, func(i []int) float64 { return f(in[0].at(i)) })
	}
	if f, ok := referenceBinary[n.Op]; ok {
		return generate(shape, func(i []int) float64 { return f(in[0].at(i), in[1].at(i)) })
	}
	switch n.Op {
	case "Identity", "Dropout", "Reshape", "Flatten":
		return array{shape, in[0].data}
	case "Transpose":
		return generate(shape, func(i []int) float64 {
			source := make([]int, len(i))
			for axis := range i {
				source[referencePerm(n, axis, len(i))] = i[axis]
			}
			return in[0].at(source)
		})
	case "Softmax", "LogSoftmax":
		return referenceSoftmax(n, in[0])
	case "LayerNormalization":
		return referenceLayerNorm(n, in)
	case "Gemm":
		return referenceGemm(n, in, shape)
	case "MatMul":
		return referenceMatMul(in[0], in[1], shape)
	case "Conv":
		return referenceConv(n, in, shape)
	}
	return evaluateOnPlanes(t, n, in, shape, batchStatistics)
}

func referenceUnary(n *graph.Node) (func(float64) float64, bool) {
	switch n.Op {
	case "Relu":
		return func(v float64) float64 { return math.Max(v, 0) }, true
	case "LeakyRelu":
		alpha := n.Attrs.Float("alpha", 0.01)
		return func(v float64) float64 {
			if v < 0 {
				return alpha * v
			}
			return v
		}, true
	case "Tanh":
		return math.Tanh, true
	case "Sigmoid":
		return func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }, true
	case "HardSigmoid":
		return func(v float64) float64 {
			return math.Max(0, math.Min(1, n.Attrs.Float("alpha", 0.2)*v+n.Attrs.Float("beta", 0.5)))
		}, true
	case "HardSwish":
		return func(v float64) float64 { return v * math.Max(0, math.Min(1, v/6+0.5)) }, true
	case "Gelu":
		if n.Attrs.String("approximate", "") == "tanh" {
			return func(v float64) float64 {
				return 0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*math.Pow(v, 3))))
			}, true
		}
		return func(v float64) float64 { return 0.5 * v * (1 + math.Erf(v/math.Sqrt(2))) }, true
	}
	return nil, false
}

var referenceBinary = map[string]func(a, b float64) float64{
	"Add": func(a, b float64) float64 { return a + b },
	"Sub": func(a, b float64) float64 { return a - b },
	"Mul": func(a, b float64) float64 { return a * b },
	"Div": func(a, b float64) float64 { return a / b },
	"PRelu": func(a, b float64) float64 {
		if a < 0 {
			return a * b
		}
		return a
	},
}

func referencePerm(n *graph.Node, axis, rank int) int {
	if perm := n.Attrs.Ints("perm"); perm != nil {
		return int(perm[axis])
	}
	return rank - 1 - axis
}

func referenceSoftmax(n *graph.Node, x array) array {
	axis := (int(n.Attrs.Int("axis", -1)) + len(x.shape)) % len(x.shape)
	return generate(x.shape, func(i []int) float64 {
		sum := 0.0
		for k := range x.shape[axis] {
			sum += math.Exp(x.at(with(i, axis, k)))
		}
		if n.Op == "LogSoftmax" {
			return math.Log(math.Exp(x.at(i)) / sum)
		}
		return math.Exp(x.at(i)) / sum
	})
}

func referenceLayerNorm(n *graph.Node, in []array) array {
	x := in[0]
	axis := (int(n.Attrs.Int("axis", -1)) + len(x.shape)) % len(x.shape)
	moment := func(i []int, f func(v float64) float64) float64 {
		over := generate(x.shape[axis:], func(j []int) float64 { return f(x.at(append(append([]int(nil), i[:axis]...), j...))) })
		sum := 0.0
		for _, v := range over.data {
			sum += v
		}
		return sum / float64(len(over.data))
	}
	return generate(x.shape, func(i []int) float64 {
		mean := moment(i, func(v float64) float64 { return v })
		variance := moment(i, func(v float64) float64 { return (v - mean) * (v - mean) })
		y := (x.at(i) - mean) / math.Sqrt(variance+n.Attrs.Float("epsilon", 1e-5)) * in[1].at(i[axis:])
		if len(in) > 2 {
			y += in[2].at(i[axis:])
		}
		return y
	})
}

func referenceGemm(n *graph.Node, in []array, shape []int) array {
	transA, transB := n.Attrs.Int("transA", 0) != 0, n.Attrs.Int("transB", 0) != 0
	element := func(m array, trans bool, r, c int) float64 {
		if trans {
			r, c = c, r
		}
		return m.at([]int{r, c})
	}
	depth := in[0].shape[1]
	if transA {
		depth = in[0].shape[0]
	}
	return generate(shape, func(i []int) float64 {
		sum := 0.0
		for k := range depth {
			sum += element(in[0], transA, i[0], k) * element(in[1], transB, k, i[1])
		}
		sum *= n.Attrs.Float("alpha", 1)
		if len(in) > 2 {
			sum += n.Attrs.Float("beta", 1) * in[2].at(i)
		}
		return sum
	})
}

func referenceMatMul(a, b array, shape []int) array {
	depth := a.shape[len(a.shape)-1]
	row, column := len(a.shape) == 1, len(b.shape) == 1 // operands that are vectors, whose axis the result lacks
	if column {
		b.shape = []int{depth, 1}
	}
	return generate(shape, func(i []int) float64 {
		if column {
			i = append(slices.Clone(i), 0)
		}
		if row {
			i = slices.Insert(slices.Clone(i), len(i)-1, 0)
		}
		last := len(i) - 1
		sum := 0.0
		for k := range depth {
			sum += a.at(with(i, last, k)) * b.at(with(i, last-1, k))
		}
		return sum
	})
}

// TestForwardAgreesWithReference compares every value of every case, kept or not, with the formulas.
func TestForwardAgreesWithReference(t *testing.T) {
	const tolerance = 1e-12 // some hundred operations in float64
	for _, c := range testCases() {
		t.Run(c.name, func(t *testing.T) {
			g := graphOf(t, c.build)
			x := inputFor[float64](t, g, c.batch)
			want := interpret(t, g, randomParams(g, 1), x, c)
			all := floatOutputs(t, g)
			for _, keep := range [][]string{nil, all} {
				for _, training := range []bool{false, true} {
					e := newEngine[float64](t, g, Options{Keep: keep, Training: training, BatchStatistics: c.batchStatistics, Threads: 1})
					y := forward(t, e, x, c.batch)
					if d := deviation(y, want[g.Outputs[0]].data); d > tolerance {
						t.Errorf("output deviates by %g:\n got %v\nwant %v", d, y, want[g.Outputs[0]].data)
					}
					for _, name := range append(keep, g.Outputs...) {
						got, shape := e.Value(name)
						if d := deviation(got, want[name].data); d > tolerance {
							t.Errorf("value %q of shape %v deviates by %g", name, shape, d)
						}
					}
				}
			}
		})
	}
}

// referenceConv sums over the channels of the group and the kernel. Its pads are explicit.
func referenceConv(n *graph.Node, in []array, shape []int) array {
	x, w := in[0], in[1]
	attr := func(name string, i, otherwise int) int {
		if list := n.Attrs.Ints(name); list != nil {
			return int(list[i])
		}
		return otherwise
	}
	rows := shape[1] / int(n.Attrs.Int("group", 1))
	return generate(shape, func(at []int) float64 {
		sum := 0.0
		if len(in) > 2 {
			sum = in[2].data[at[1]]
		}
		taps := generate(w.shape[1:], func(tap []int) float64 {
			source := []int{at[0], at[1]/rows*w.shape[1] + tap[0]}
			for i := range tap[1:] {
				p := at[2+i]*attr("strides", i, 1) + tap[1+i]*attr("dilations", i, 1) - attr("pads", i, 0)
				if p < 0 || p >= x.shape[2+i] {
					return 0
				}
				source = append(source, p)
			}
			return x.at(source) * w.at(append([]int{at[1]}, tap...))
		})
		for _, v := range taps.data {
			sum += v
		}
		return sum
	})
}
