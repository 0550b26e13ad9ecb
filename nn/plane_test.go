package nn

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// planeCases are about values [N, C, ...]: normalisation, pooling, and what puts values together and takes them apart.
func planeCases() []testCase {
	return slices.Concat(normCases(), fusionCases(), poolCases(), partCases())
}

// batchNormOperands are the names and shapes of a BatchNormalization's inputs after the first.
func batchNormOf(b *graph.Builder, out, x string, channels int) string {
	return b.BatchNorm(out, x, out, channels)
}

// leaf is a parameter that stands for the value [2, 3, ...] which is normalised.
func normCases() []testCase {
	var cases []testCase
	for _, shape := range [][]int{{4, 3}, {3, 2, 5}, {2, 3, 4, 5}, {1, 2, 3, 7}} {
		for _, relu := range []bool{false, true} {
			norm := func(name string, build func(b *graph.Builder, x string) string) {
				for _, batch := range []bool{false, true} {
					if batch && !strings.HasPrefix(name, "Batch") {
						continue
					}
					cases = append(cases, testCase{
						name: fmt.Sprintf("%s/%v relu %v batch %v", name, shape, relu, batch), batch: 2, batchStatistics: batch,
						build: func(b *graph.Builder) {
							b.Input("x", tensor.F32, graph.Sym("N"))
							y := build(b, b.Param("a", shape...))
							if relu {
								y = b.Relu("relu", y)
							}
							b.Output(y)
						},
					})
				}
			}
			norm("BatchNormalization", func(b *graph.Builder, x string) string { return batchNormOf(b, "y", x, shape[1]) })
			if len(shape) < 3 {
				continue
			}
			norm("InstanceNormalization", func(b *graph.Builder, x string) string {
				return b.Op("InstanceNormalization", "y", graph.Attrs{"epsilon": 0.01}, x, b.Param("scale", shape[1]), b.Param("bias", shape[1]))
			})
			if len(shape) == 4 {
				norm("LayerNormalization over channels", func(b *graph.Builder, x string) string {
					return b.ChannelNorm("y", x, "norm", shape[1], 1e-6)
				})
			}
		}
	}
	for _, groups := range []int{1, 2, 4} {
		for _, scales := range []int{groups, 4} {
			attrs := graph.Attrs{"num_groups": int64(groups)}
			cases = append(cases, testCase{
				name: fmt.Sprintf("GroupNormalization/%d groups, %d scales", groups, scales), batch: 2,
				build: operands("GroupNormalization", attrs, []int{3, 4, 2, 3}, []int{scales}, []int{scales}),
			})
		}
	}
	return cases
}

// fusionCases are normalisations with residuals in all places.
func fusionCases() []testCase {
	var cases []testCase
	add := func(name string, build func(b *graph.Builder, norm func(out, x string) string)) {
		for kind, norm := range map[string]func(b *graph.Builder, out, x string) string{
			"batch": func(b *graph.Builder, out, x string) string { return batchNormOf(b, out, x, 3) },
			"layer": func(b *graph.Builder, out, x string) string { return b.ChannelNorm(out, x, out, 3, 1e-6) },
			"group": func(b *graph.Builder, out, x string) string { return b.GroupNorm(out, x, out, 3, 1) },
		} {
			for _, statistics := range []bool{false, true} {
				if statistics && kind != "batch" {
					continue
				}
				cases = append(cases, testCase{
					name: fmt.Sprintf("fusion of %s norm %v: %s", kind, statistics, name), batch: 2, batchStatistics: statistics,
					build: func(b *graph.Builder) { build(b, func(out, x string) string { return norm(b, out, x) }) },
				})
			}
		}
	}
	stem := func(b *graph.Builder) string {
		x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(3), graph.Fixed(3), graph.Fixed(2))
		return b.Op("Tanh", "stem", nil, b.Mul("scaled", x, b.Param("a", 3, 3, 2)))
	}
	add("identity shortcut", func(b *graph.Builder, norm func(out, x string) string) {
		h := stem(b)
		n := norm("n", b.Mul("m", h, b.Param("c", 3, 1, 1)))
		b.Output(b.Op("Tanh", "y", nil, b.Relu("r", b.Add("s", n, h))))
	})
	add("residual on the left, no Relu", func(b *graph.Builder, norm func(out, x string) string) {
		h := stem(b)
		b.Output(b.Op("Tanh", "y", nil, b.Add("s", h, norm("n", b.Mul("m", h, b.Param("c", 3, 1, 1))))))
	})
	add("residual is the norm's input", func(b *graph.Builder, norm func(out, x string) string) {
		h := stem(b)
		b.Output(b.Relu("r", b.Add("s", norm("n", h), h)))
	})
	add("both operands are norms", func(b *graph.Builder, norm func(out, x string) string) {
		h := stem(b)
		left := norm("n", b.Mul("m", h, b.Param("c", 3, 1, 1)))
		right := norm("p", b.Mul("q", h, b.Param("d", 3, 1, 1)))
		b.Output(b.Relu("r", b.Add("s", left, right)))
	})
	add("residual comes later", func(b *graph.Builder, norm func(out, x string) string) {
		h := stem(b)
		n := norm("n", h)
		b.Output(b.Relu("r", b.Add("s", n, b.Op("Sigmoid", "late", nil, h))))
	})
	add("norm is read twice", func(b *graph.Builder, norm func(out, x string) string) {
		n := norm("n", stem(b))
		b.Output(b.Mul("y", b.Relu("r", b.Add("s", n, "stem")), n))
	})
	add("Relu before the Add", func(b *graph.Builder, norm func(out, x string) string) {
		h := stem(b)
		b.Output(b.Relu("y", b.Add("s", b.Relu("r", norm("n", h)), h)))
	})
	add("two residuals", func(b *graph.Builder, norm func(out, x string) string) {
		h := stem(b)
		b.Output(b.Relu("y", b.Add("t", b.Add("s", norm("n", h), b.Op("Tanh", "u", nil, h)), h)))
	})
	add("residual is a parameter", func(b *graph.Builder, norm func(out, x string) string) {
		n := norm("n", b.Mul("m", b.Param("e", 2, 3, 3, 2), b.Param("f", 3, 1, 1)))
		stem(b)
		b.Output(b.Relu("y", b.Add("s", n, b.Param("g", 2, 3, 3, 2))))
	})
	add("residual of another shape", func(b *graph.Builder, norm func(out, x string) string) {
		h := stem(b)
		b.Output(b.Relu("y", b.Add("s", norm("n", h), b.Param("c", 3, 1, 1))))
	})
	slices.SortFunc(cases, func(a, b testCase) int { return strings.Compare(a.name, b.name) })
	return append(cases, testCase{name: "fusion of Add and Relu", batch: 3, build: func(b *graph.Builder) {
		h := stem(b)
		b.Output(b.Mul("y", b.Relu("r", b.Add("s", h, b.Op("Sigmoid", "u", nil, h))), h))
	}}, testCase{name: "no fusion of a broadcast Add and Relu", batch: 3, build: func(b *graph.Builder) {
		b.Output(b.Relu("r", b.Add("s", stem(b), b.Param("row", 2))))
	}})
}

func poolCases() []testCase {
	var cases []testCase
	for _, op := range []string{"MaxPool", "AveragePool"} {
		for i, attrs := range []graph.Attrs{
			{"kernel_shape": []int64{2, 2}, "strides": []int64{2, 2}},
			{"kernel_shape": []int64{3, 3}, "strides": []int64{2, 2}, "pads": []int64{1, 1, 1, 1}},
			{"kernel_shape": []int64{3, 2}, "strides": []int64{2, 1}, "pads": []int64{0, 1, 1, 0}, "ceil_mode": int64(1)},
			{"kernel_shape": []int64{2, 3}, "dilations": []int64{2, 2}, "pads": []int64{2, 1, 0, 3}},
			{"kernel_shape": []int64{3, 3}, "auto_pad": "SAME_UPPER", "strides": []int64{2, 3}},
			{"kernel_shape": []int64{2, 2}, "auto_pad": "SAME_LOWER"},
			{"kernel_shape": []int64{3, 3}, "strides": []int64{4, 4}, "ceil_mode": int64(1)},
		} {
			for _, with := range []int64{0, 1} {
				if op == "MaxPool" && with == 1 {
					continue
				}
				at := graph.Attrs{}
				for k, v := range attrs {
					at[k] = v
				}
				if op == "AveragePool" {
					at["count_include_pad"] = with
				}
				cases = append(cases, testCase{name: fmt.Sprintf("%s/%d pad %d", op, i, with), batch: 2, build: operands(op, at, []int{2, 2, 7, 6})})
			}
		}
		line := graph.Attrs{"kernel_shape": []int64{3}, "strides": []int64{2}, "pads": []int64{1, 0}}
		cases = append(cases, testCase{name: op + "/line", batch: 2, build: operands(op, line, []int{2, 3, 8})})
	}
	return append(cases,
		testCase{name: "GlobalAveragePool", batch: 2, build: operands("GlobalAveragePool", nil, []int{2, 3, 4, 5})},
		testCase{name: "GlobalAveragePool/line", batch: 2, build: operands("GlobalAveragePool", nil, []int{2, 3, 4})})
}

// perChannelCases are planes with an element for each channel, on either side, and a residual of it.
func perChannelCases() []testCase {
	var cases []testCase
	for _, op := range []string{"Add", "Mul", "Sub", "Div"} {
		for _, channel := range [][]int{{3, 1, 1}, {1, 3, 1, 1}, {2, 3, 1, 1}} {
			name := fmt.Sprintf("%s/channels %v", op, channel)
			cases = append(cases,
				testCase{name: name, batch: 2, build: operands(op, nil, []int{2, 3, 4, 5}, channel)},
				testCase{name: name + " left", batch: 2, build: operands(op, nil, channel, []int{2, 3, 4, 5})},
				testCase{name: name + " and read again", batch: 2, build: func(b *graph.Builder) {
					b.Input("x", tensor.F32, graph.Sym("N"))
					a, k := b.Op("Tanh", "t", nil, b.Param("a", 2, 3, 4, 5)), b.Op("Tanh", "u", nil, b.Param("k", channel...))
					b.Output(b.Mul("y", b.Mul("z", b.Relu("r", b.Op(op, "s", nil, a, k)), a), k))
				}})
		}
	}
	return cases
}

func partCases() []testCase {
	cases := perChannelCases()
	add := func(name string, build func(b *graph.Builder)) {
		cases = append(cases, testCase{name: name, batch: 2, build: func(b *graph.Builder) {
			b.Input("x", tensor.F32, graph.Sym("N"))
			build(b)
		}})
	}
	for axis := -1; axis < 3; axis++ {
		add(fmt.Sprint("Concat/", axis), func(b *graph.Builder) {
			shapes := [3][]int{{2, 3, 4}, {2, 3, 4}, {2, 3, 4}}
			shapes[0][(axis+3)%3], shapes[2][(axis+3)%3] = 5, 1
			b.Output(b.Concat("y", axis, b.Param("a", shapes[0]...), b.Param("b", shapes[1]...), b.Param("c", shapes[2]...)))
		})
	}
	add("Concat/self", func(b *graph.Builder) {
		a := b.Op("Tanh", "t", nil, b.Param("a", 2, 3))
		b.Output(b.Concat("y", 0, a, a))
	})
	add("Concat/one", func(b *graph.Builder) { b.Output(b.Concat("y", 1, b.Param("a", 2, 3))) })
	for i, pads := range [][2][]int64{
		{{0, 1, 2}, {3, 0, 1}}, {{0, 0, 0}, {0, 0, 0}}, {{-1, 2, -1}, {0, -1, 1}}, {{0, 2, 0}, {0, 2, 0}},
	} {
		add(fmt.Sprint("Pad/", i), func(b *graph.Builder) { b.Output(b.Pad("y", b.Param("a", 3, 4, 5), pads[0], pads[1])) })
	}
	add("Pad/value and axes", func(b *graph.Builder) {
		ints := func(name string, v ...int64) string {
			return b.Constant(name, tensor.FromSlice(tensor.Shape{len(v)}, v))
		}
		b.Output(b.Op("Pad", "y", nil, b.Param("a", 2, 3), ints("pads", 2, 1), scalar(b, "value", 1.5), ints("axes", -1)))
	})
	for i, s := range [][4][]int64{
		{{2}, {1}, {4}, {1}},
		{{0, 2}, {2, 4}, {0, 0}, {-1, -2}},
		{{1}, {-1}, {math.MinInt64}, {-1}},
		{{2, 1}, {0, 0}, {math.MaxInt64, math.MaxInt64}, {2, 3}},
		{{0, 1, 2}, {0, 0, 0}, {3, 4, 5}, {1, 1, 1}},
	} {
		add(fmt.Sprint("Slice/", i), func(b *graph.Builder) { b.Output(b.Slice("y", b.Param("a", 3, 4, 5), s[0], s[1], s[2], s[3])) })
	}
	for i, axes := range [][]int64{{1, 2}, {-1}, {0}, {1}, {0, 2}, {}} {
		for _, keep := range []int64{0, 1} {
			add(fmt.Sprintf("ReduceMean/%d keep %d", i, keep), func(b *graph.Builder) {
				a := b.Constant("axes", tensor.FromSlice(tensor.Shape{len(axes)}, axes))
				b.Output(b.Op("ReduceMean", "y", graph.Attrs{"keepdims": keep}, b.Param("a", 3, 4, 5), a))
			})
		}
	}
	add("ReduceMean/nothing", func(b *graph.Builder) {
		b.Output(b.Op("ReduceMean", "y", graph.Attrs{"noop_with_empty_axes": int64(1)}, b.Param("a", 3, 4)))
	})
	for name, bounds := range map[string][2]string{"both": {"lo", "hi"}, "least": {"lo", ""}, "greatest": {"", "hi"}, "none": {}} {
		add("Clip/"+name, func(b *graph.Builder) {
			in := []string{b.Param("a", 21)}
			for i, bound := range bounds {
				if bound != "" {
					bound = scalar(b, bound, []float64{-0.6, 0.7}[i])
				}
				in = append(in, bound)
			}
			b.Output(b.Op("Clip", "y", nil, in...))
		})
	}
	wide := func(b *graph.Builder) string { return b.Mul("wide", b.Param("a", 41), scalar(b, "five", 5)) }
	add("HardSwish", func(b *graph.Builder) { b.Output(b.Op("HardSwish", "y", nil, wide(b))) })
	add("HardSigmoid", func(b *graph.Builder) { b.Output(b.Op("HardSigmoid", "y", nil, wide(b))) })
	add("HardSigmoid/attributes", func(b *graph.Builder) {
		b.Output(b.Op("HardSigmoid", "y", graph.Attrs{"alpha": -0.1, "beta": 0.3}, wide(b)))
	})
	slices.SortFunc(cases, func(a, b testCase) int { return strings.Compare(a.name, b.name) })
	return cases
}

// evaluateOnPlanes applies one of the operators of planeCases.
func evaluateOnPlanes(t *testing.T, n *graph.Node, in []array, shape []int, batchStatistics bool) array {
	t.Helper()
	switch n.Op {
	case "BatchNormalization", "InstanceNormalization", "GroupNormalization":
		return referenceNorm(n, in, batchStatistics)
	case "MaxPool", "AveragePool":
		return referencePool(n, in[0], shape)
	case "GlobalAveragePool", "ReduceMean":
		return referenceMean(n, in, shape)
	case "Concat":
		axis := (int(n.Attrs.Int("axis", 0)) + len(shape)) % len(shape)
		return generate(shape, func(i []int) float64 {
			at := i[axis]
			for _, a := range in {
				if at < a.shape[axis] {
					return a.at(with(i, axis, at))
				}
				at -= a.shape[axis]
			}
			panic("behind the last input")
		})
	case "Pad", "Slice":
		return referencePart(n, in, shape)
	case "Clip":
		return generate(shape, func(i []int) float64 {
			v := in[0].at(i)
			for k, choose := range []func(a, b float64) float64{math.Max, math.Min} {
				if n.Input(1+k) != "" {
					v = choose(v, in[1+k].data[0])
				}
			}
			return v
		})
	}
	t.Fatalf("no reference for %s", n.Op)
	return array{}
}

// referenceNorm takes moments over all elements that share them with the one asked for.
func referenceNorm(n *graph.Node, in []array, batchStatistics bool) array {
	x := in[0]
	channels := x.shape[1]
	groups := channels
	if n.Op == "GroupNormalization" {
		groups = int(n.Attrs.Int("num_groups", 0))
	}
	shares := func(i, j []int) bool {
		sameGroup := i[1]/(channels/groups) == j[1]/(channels/groups)
		return sameGroup && (n.Op == "BatchNormalization" || i[0] == j[0])
	}
	moment := func(i []int, f func(v float64) float64) float64 {
		sum, count := 0.0, 0.0
		generate(x.shape, func(j []int) float64 {
			if shares(i, j) {
				sum += f(x.at(j))
				count++
			}
			return 0
		})
		return sum / count
	}
	return generate(x.shape, func(i []int) float64 {
		var mean, variance float64
		if n.Op == "BatchNormalization" && !batchStatistics {
			mean, variance = in[3].data[i[1]], in[4].data[i[1]]
		} else {
			mean = moment(i, func(v float64) float64 { return v })
			variance = moment(i, func(v float64) float64 { return (v - mean) * (v - mean) })
		}
		at := i[1] * len(in[1].data) / channels
		return (x.at(i)-mean)/math.Sqrt(variance+n.Attrs.Float("epsilon", 1e-5))*in[1].data[at] + in[2].data[at]
	})
}

// referencePool visits every place of a window by its coordinates.
func referencePool(n *graph.Node, x array, shape []int) array {
	axes := len(shape) - 2
	w, err := graph.WindowOf(n, x.shape[2:], nil)
	if err != nil {
		panic(err)
	}
	return generate(shape, func(i []int) float64 {
		greatest, sum, inside, padded := math.Inf(-1), 0.0, 0.0, 0.0
		generate(w.Kernel, func(k []int) float64 {
			source, within, withinPadding := append([]int(nil), i...), true, true
			for axis := range axes {
				at := i[2+axis]*w.Stride[axis] - w.Before[axis] + k[axis]*w.Dilation[axis]
				source[2+axis] = at
				within = within && at >= 0 && at < x.shape[2+axis]
				withinPadding = withinPadding && at < x.shape[2+axis]+w.After[axis]
			}
			if within {
				greatest = math.Max(greatest, x.at(source))
				sum += x.at(source)
				inside++
			}
			if withinPadding {
				padded++
			}
			return 0
		})
		switch {
		case n.Op == "MaxPool":
			return greatest
		case n.Attrs.Int("count_include_pad", 0) != 0:
			return sum / padded
		}
		return sum / math.Max(inside, 1)
	})
}

// referenceMean adds each element to the result it belongs to.
func referenceMean(n *graph.Node, in []array, shape []int) array {
	x := in[0]
	over := make([]bool, len(x.shape))
	switch {
	case n.Op == "GlobalAveragePool":
		for axis := 2; axis < len(over); axis++ {
			over[axis] = true
		}
	case len(in) > 1 && len(in[1].data) > 0:
		for _, axis := range in[1].data {
			over[(int(axis)+len(over))%len(over)] = true
		}
	case n.Attrs.Int("noop_with_empty_axes", 0) == 0:
		for axis := range over {
			over[axis] = true
		}
	}
	out := array{shape: shape, data: make([]float64, elements(shape))}
	count := float64(len(x.data)) / float64(len(out.data))
	generate(x.shape, func(i []int) float64 {
		offset := 0
		for axis, extent := range x.shape {
			if !over[axis] {
				offset = offset*extent + i[axis]
			}
		}
		out.data[offset] += x.at(i) / count
		return 0
	})
	return out
}

// referencePart asks for each element where it comes from.
func referencePart(n *graph.Node, in []array, shape []int) array {
	x := in[0]
	list := func(i int, absent []float64) []float64 {
		if n.Input(i) == "" {
			return absent
		}
		return in[i].data
	}
	all := make([]float64, len(shape))
	for i := range all {
		all[i] = float64(i)
	}
	axes := list(3, all)
	axisOf := func(k int) int { return (int(axes[k]) + len(shape)) % len(shape) }
	if n.Op == "Pad" {
		value := list(2, []float64{0})[0]
		return generate(shape, func(i []int) float64 {
			source := append([]int(nil), i...)
			for k := range axes {
				source[axisOf(k)] -= int(in[1].data[k])
			}
			for axis, at := range source {
				if at < 0 || at >= x.shape[axis] {
					return value
				}
			}
			return x.at(source)
		})
	}
	steps := in[4].data
	return generate(shape, func(i []int) float64 {
		source := append([]int(nil), i...)
		for k := range axes {
			axis := axisOf(k)
			start, extent := in[1].data[k], float64(x.shape[axis])
			if start < 0 {
				start += extent
			}
			start = math.Max(0, math.Min(start, extent-1))
			source[axis] = int(start) + i[axis]*int(steps[k])
		}
		return x.at(source)
	})
}

// TestRandomPools draws windows and compares with the reference, forward and, for the gradient, with the transpose of the forward map.
func TestRandomPools(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := func(name string, lo, hi int) int64 { return int64(rapid.IntRange(lo, hi).Draw(rt, name)) }
		op := rapid.SampledFrom([]string{"MaxPool", "AveragePool"}).Draw(rt, "op")
		attrs := graph.Attrs{
			"kernel_shape": []int64{n("kh", 1, 4), n("kw", 1, 4)}, "strides": []int64{n("sh", 1, 4), n("sw", 1, 4)},
			"dilations": []int64{n("dh", 1, 3), n("dw", 1, 3)}, "ceil_mode": n("ceil", 0, 1),
			"pads": []int64{n("p0", 0, 3), n("p1", 0, 3), n("p2", 0, 3), n("p3", 0, 3)},
		}
		if op == "AveragePool" {
			attrs["count_include_pad"] = n("with", 0, 1)
		}
		c := testCase{batch: 2, build: operands(op, attrs, []int{1, 2, int(n("h", 1, 9)), int(n("w", 1, 9))})}
		b := graph.NewBuilder("test")
		c.build(b)
		g, err := b.Graph()
		if err != nil {
			rt.Skip(err)
		}
		if _, err := g.InferShapes(); err != nil {
			rt.Skip(err)
		}
		e := newEngine[float64](t, g, c.options(true))
		x := inputFor[float64](t, g, c.batch)
		want := interpret(t, g, randomParams(g, 1), x, c)["y"].data
		y := slices.Clone(forward(t, e, x, c.batch))
		for i := range want {
			if math.IsNaN(want[i]) != math.IsNaN(y[i]) || math.Abs(want[i]-y[i]) > 1e-12 {
				rt.Fatalf("element %d is %v, want %v", i, y[i], want[i])
			}
		}
		// Poolings are linear where they are smooth: the gradient of a form times x is the form itself.
		form := random[float64](len(y), 3)
		sum := 0.0
		for i, v := range y {
			if math.IsInf(v, 0) {
				form[i] = 0
				continue
			}
			sum += form[i] * v
		}
		if err := e.Backward(form); err != nil {
			rt.Fatal(err)
		}
		got := 0.0
		for i, g := range e.Grads() {
			got += g * e.Params()[i]
		}
		if math.Abs(got-sum) > 1e-10 {
			rt.Fatalf("the gradient times the input is %v, the form %v", got, sum)
		}
	})
}

// TestLargeMeans normalises values of mean 1000 and deviation .01 in float32: what float32 can say of the input decides, no sum.
func TestLargeMeans(t *testing.T) {
	const tolerance = 2e-3 // deviations of .01 stand 160 units in the last place of 1000 apart, but the inputs are given exactly
	for name, build := range map[string]func(b *graph.Builder, x string) string{
		"batch":    func(b *graph.Builder, x string) string { return b.BatchNorm("y", x, "n", 4) },
		"layer":    func(b *graph.Builder, x string) string { return b.ChannelNorm("y", x, "n", 4, 1e-6) },
		"group":    func(b *graph.Builder, x string) string { return b.GroupNorm("y", x, "n", 4, 2) },
		"instance": func(b *graph.Builder, x string) string { return b.GroupNorm("y", x, "n", 4, 4) },
	} {
		g := graphOf(t, func(b *graph.Builder) {
			b.Output(build(b, b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(4), graph.Fixed(9), graph.Fixed(7))))
		})
		opt := Options{Training: true, BatchStatistics: true, Threads: 1}
		narrow, wide := newEngine[float32](t, g, opt), newEngine[float64](t, g, opt)
		x := inputFor[float32](t, g, 5)
		x64 := make([]float64, len(x))
		for i := range x {
			x[i] = 1000 + 0.01*x[i]
			x64[i] = float64(x[i])
		}
		y, y64 := forward(t, narrow, x, 5), forward(t, wide, x64, 5)
		if d := deviation(y, y64); d > tolerance {
			t.Errorf("%s: outputs deviate by %g", name, d)
		}
		form := random[float32](len(y), 3)
		form64 := make([]float64, len(form))
		for i, v := range form {
			form64[i] = float64(v)
		}
		if err := errors.Join(narrow.Backward(form), wide.Backward(form64)); err != nil {
			t.Fatal(err)
		}
		if d := deviation(narrow.Grads(), wide.Grads()); d > tolerance {
			t.Errorf("%s: gradients deviate by %g", name, d)
		}
	}
}

// TestUpdateStatistics follows PyTorch's rule over three batches.
func TestUpdateStatistics(t *testing.T) {
	const momentum = 0.1
	g := graphOf(t, func(b *graph.Builder) {
		b.Output(b.BatchNorm("y", b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(2), graph.Fixed(3)), "bn", 2))
	})
	e := newEngine[float64](t, g, Options{Training: true, BatchStatistics: true, Threads: 1})
	want := e.ParamTensors()
	mean, variance := tensor.Of[float64](want["bn.running_mean"]), tensor.Of[float64](want["bn.running_var"])
	rng := rand.New(rand.NewPCG(5, 6))
	for batch := 2; batch < 5; batch++ {
		x := make([]float64, batch*6)
		for i := range x {
			x[i] = rng.NormFloat64()*3 + 2
		}
		for c := range 2 {
			var values []float64
			for i, v := range x {
				if i/3%2 == c {
					values = append(values, v)
				}
			}
			m, spread := 0.0, 0.0
			for _, v := range values {
				m += v / float64(len(values))
			}
			for _, v := range values {
				spread += (v - m) * (v - m) / float64(len(values)-1)
			}
			mean[c] = (1-momentum)*mean[c] + momentum*m
			variance[c] = (1-momentum)*variance[c] + momentum*spread
		}
		forward(t, e, x, batch)
		e.UpdateStatistics(momentum)
	}
	for name, got := range e.ParamTensors() {
		if d := deviation(tensor.Of[float64](got), tensor.Of[float64](want[name])); d > 1e-12 {
			t.Errorf("%s deviates by %g", name, d)
		}
	}
}

// TestStatisticsAreNotTrained demands that running statistics lie behind what is trained, and have no gradient.
func TestStatisticsAreNotTrained(t *testing.T) {
	g := graphOf(t, func(b *graph.Builder) {
		x := b.BatchNorm("n", b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(5)), "bn", 5)
		b.Output(b.Linear("y", x, "fc", 3, 5, true))
	})
	e := newEngine[float32](t, g, Options{Training: true})
	trained := 0
	for _, s := range e.Specs() {
		if s.Statistic != strings.Contains(s.Name, "running") || s.Statistic != (s.Offset >= e.Trained()) {
			t.Errorf("%q at %d is a statistic: %v; trained are %d", s.Name, s.Offset, s.Statistic, e.Trained())
		}
		if !s.Statistic {
			trained = max(trained, s.Offset+s.Len)
		}
	}
	if trained > e.Trained() || len(e.Params()) <= e.Trained() {
		t.Errorf("trained are %d of %d, up to %d", e.Trained(), len(e.Params()), trained)
	}
	fill(e.Grads(), 7)
	forward(t, e, inputFor[float32](t, g, 4), 4)
	if err := e.Backward(random[float32](12, 1)); err != nil {
		t.Fatal(err)
	}
	for _, s := range e.Specs() {
		if s.Statistic && slices.ContainsFunc(e.Grads()[s.Offset:s.Offset+s.Len], func(v float32) bool { return v != 0 }) {
			t.Errorf("%q has a gradient", s.Name)
		}
	}
}

func TestBatchOfOneValue(t *testing.T) {
	g := graphOf(t, func(b *graph.Builder) {
		b.Output(b.BatchNorm("y", b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(5)), "bn", 5))
	})
	e := newEngine[float32](t, g, Options{Training: true, BatchStatistics: true})
	if _, err := e.Forward(make([]float32, 5), 1); !errors.Is(err, errOneValue) {
		t.Errorf("error %v, want %v", err, errOneValue)
	}
	forward(t, e, make([]float32, 10), 2)
}

// planeNetwork has all that planeCases are about, large enough that steps are cut into several pieces.
func planeNetwork(t testing.TB) *graph.Graph {
	return graphOf(t, func(b *graph.Builder) {
		x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(6), graph.Fixed(19), graph.Fixed(17))
		h := b.Mul("scaled", x, b.Param("scale", 6, 1, 1))
		n := b.Relu("r1", b.BatchNorm("n1", h, "bn1", 6))
		n = b.Relu("r2", b.Add("s2", b.ChannelNorm("n2", n, "ln2", 6, 1e-6), h))
		n = b.Relu("r3", b.Add("s3", b.GroupNorm("n3", n, "gn3", 6, 2), n))
		n = b.Relu("r4", b.Add("s4", n, b.Add("s5", b.BatchNorm("n5", n, "bn5", 6), h)))
		n = b.Concat("c", 1, b.Slice("sl", n, []int64{1}, []int64{1}, []int64{4}, []int64{2}), n)
		n = b.MaxPool2D("mp", b.Pad("p", n, []int64{0, 0, 1, 0}, []int64{0, 0, 0, 2}), 3, 2, 1)
		n = b.Op("AveragePool", "ap", graph.Attrs{"kernel_shape": []int64{2, 2}}, b.Op("HardSwish", "hs", nil, n))
		b.Output(b.Linear("logits", b.Flatten("f", b.GlobalAveragePool("gap", n), 1), "fc", 10, 8, true))
	})
}

// TestFusedSteps counts what is left of a network.
func TestFusedSteps(t *testing.T) {
	for _, c := range []struct {
		keep []string
		want int
	}{{nil, 15}, {[]string{"n2.norm"}, 18}, {[]string{"n1", "s3"}, 17}} {
		e := newEngine[float32](t, planeNetwork(t), Options{Keep: c.keep})
		var ops []string
		for _, n := range e.net.nodes {
			ops = append(ops, n.Op)
		}
		if len(ops) != c.want {
			t.Errorf("keeping %v there are %d steps, not %d: %v", c.keep, len(ops), c.want, ops)
		}
	}
}
