package graph_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// with makes attributes of name, value pairs.
func with(pairs ...any) graph.Attrs {
	a := graph.Attrs{}
	for i := 0; i < len(pairs); i += 2 {
		switch v := pairs[i+1].(type) {
		case int:
			a[pairs[i].(string)] = int64(v)
		default:
			a[pairs[i].(string)] = v
		}
	}
	return a
}

func list(v ...int64) []int64 { return v }

// settings is one node whose inputs after the first are constants; nil is an absent one.
func settings(op string, attrs graph.Attrs, in graph.Shape, lists ...[]int64) *graph.Graph {
	g := one(op, attrs, in)
	node := g.Nodes[0]
	g.Nodes = nil
	for i, l := range lists {
		if l == nil {
			node.Inputs = append(node.Inputs, "")
			continue
		}
		name := string(rune('p' + i))
		g.Nodes = append(g.Nodes, graph.Node{Op: "Constant", Outputs: []string{name}, Attrs: graph.Attrs{"value": ints(l...)}})
		node.Inputs = append(node.Inputs, name)
	}
	g.Nodes = append(g.Nodes, node)
	return g
}

func TestConvolutionalShapes(tt *testing.T) {
	image, weight := dims(n, 3, 32, 32), dims(8, 3, 3, 3)
	for _, c := range []struct {
		name string
		g    *graph.Graph
		want graph.Shape // nil: an error
	}{
		{"conv", one("Conv", nil, image, weight), dims(n, 8, 30, 30)},
		{"conv pads", one("Conv", with("pads", list(1, 1, 1, 1)), image, weight, dims(8)), dims(n, 8, 32, 32)},
		{"conv uneven pads", one("Conv", with("pads", list(0, 1, 2, 3)), image, weight), dims(n, 8, 32, 34)},
		{"conv stride", one("Conv", with("pads", list(1, 1, 1, 1), "strides", list(2, 3)), image, weight), dims(n, 8, 16, 11)},
		{"conv dilation", one("Conv", with("dilations", list(2, 4)), image, weight), dims(n, 8, 28, 24)},
		{"conv same upper", one("Conv", with("auto_pad", "SAME_UPPER", "strides", list(3, 3)), image, weight), dims(n, 8, 11, 11)},
		{"conv same lower", one("Conv", with("auto_pad", "SAME_LOWER"), image, weight), dims(n, 8, 32, 32)},
		{"conv valid", one("Conv", with("auto_pad", "VALID"), image, weight), dims(n, 8, 30, 30)},
		{"conv unknown auto_pad", one("Conv", with("auto_pad", "SAME"), image, weight), nil},
		{"conv auto_pad and pads", one("Conv", with("auto_pad", "VALID", "pads", list(0, 0, 0, 0)), image, weight), nil},
		{"conv depthwise", one("Conv", with("group", 6), dims(n, 6, 8, 8), dims(12, 1, 3, 3)), dims(n, 12, 6, 6)},
		{"conv groups", one("Conv", with("group", 2), dims(n, 6, 8, 8), dims(4, 3, 1, 1)), dims(n, 4, 8, 8)},
		{"conv groups of outputs", one("Conv", with("group", 2), dims(n, 6, 8, 8), dims(3, 3, 1, 1)), nil},
		{"conv groups of inputs", one("Conv", with("group", 2), dims(n, 5, 8, 8), dims(4, 3, 1, 1)), nil},
		{"conv group zero", one("Conv", with("group", 0), image, weight), nil},
		{"conv channels", one("Conv", nil, image, dims(8, 4, 3, 3)), nil},
		{"conv bias", one("Conv", nil, image, weight, dims(3)), nil},
		{"conv rank", one("Conv", nil, image, dims(8, 3, 3)), nil},
		{"conv without space", one("Conv", nil, dims(n, 3), dims(8, 3)), nil},
		{"conv kernel_shape", one("Conv", with("kernel_shape", list(5, 3)), image, weight), nil},
		{"conv strides", one("Conv", with("strides", list(1)), image, weight), nil},
		{"conv stride zero", one("Conv", with("strides", list(0, 1)), image, weight), nil},
		{"conv negative pad", one("Conv", with("pads", list(-1, 0, 0, 0)), image, weight), nil},
		{"conv dilation beyond counting", one("Conv", with("dilations", list(math.MaxInt64, 1)), image, weight), nil},
		{"conv kernel too large", one("Conv", nil, dims(n, 3, 2, 2), weight), nil},
		{"conv of a signal", one("Conv", nil, dims(n, 3, 32), dims(8, 3, 5)), dims(n, 8, 28)},
		{"conv of a volume", one("Conv", nil, dims(n, 3, 8, 9, 10), dims(8, 3, 1, 2, 3)), dims(n, 8, 8, 8, 8)},
		{"conv symbolic image", one("Conv", nil, dims(n, 3, t, 32), weight), nil},

		{"max pool", one("MaxPool", with("kernel_shape", list(2, 2), "strides", list(2, 2)), dims(n, 8, 7, 8)), dims(n, 8, 3, 4)},
		{"max pool ceil", one("MaxPool", with("kernel_shape", list(2, 2), "strides", list(2, 2), "ceil_mode", 1), dims(n, 8, 7, 8)), dims(n, 8, 4, 4)},
		// The third window of each axis would begin in the padding behind.
		{
			"max pool ceil in padding",
			one("MaxPool", with("kernel_shape", list(3), "strides", list(3), "pads", list(1, 1), "ceil_mode", 1), dims(n, 8, 5)), dims(n, 8, 2),
		},
		{"max pool stem", one("MaxPool", with("kernel_shape", list(3, 3), "strides", list(2, 2), "pads", list(1, 1, 1, 1)), dims(n, 64, 112, 112)), dims(n, 64, 56, 56)},
		{"max pool without kernel", one("MaxPool", nil, dims(n, 8, 7, 8)), nil},
		{"max pool all padding", one("MaxPool", with("kernel_shape", list(2), "pads", list(2, 0)), dims(n, 8, 7)), nil},
		{"average pool", one("AveragePool", with("kernel_shape", list(3), "pads", list(1, 1), "count_include_pad", 1), dims(n, 8, 7)), dims(n, 8, 7)},
		{"average pool same", one("AveragePool", with("kernel_shape", list(2), "strides", list(2), "auto_pad", "SAME_UPPER"), dims(n, 8, 7)), dims(n, 8, 4)},
		{"global pool", one("GlobalAveragePool", nil, dims(n, 8, t, 7)), dims(n, 8, 1, 1)},
		{"global pool of a matrix", one("GlobalAveragePool", nil, dims(n, 8)), nil},

		{"batch norm", one("BatchNormalization", nil, image, dims(3), dims(3), dims(3), dims(3)), image},
		{"batch norm of a matrix", one("BatchNormalization", nil, dims(n, 3), dims(3), dims(3), dims(3), dims(3)), dims(n, 3)},
		{"batch norm channels", one("BatchNormalization", nil, image, dims(3), dims(3), dims(4), dims(3)), nil},
		{"batch norm training", one("BatchNormalization", with("training_mode", 1), image, dims(3), dims(3), dims(3), dims(3)), nil},
		{"instance norm", one("InstanceNormalization", nil, image, dims(3), dims(3)), image},
		{"instance norm channels", one("InstanceNormalization", nil, image, dims(3), dims(32)), nil},
		{"instance norm of a matrix", one("InstanceNormalization", nil, dims(n, 3), dims(3), dims(3)), nil},
		{"group norm", one("GroupNormalization", with("num_groups", 2), dims(n, 6, 4), dims(6), dims(6)), dims(n, 6, 4)},
		{"group norm of opset 18", one("GroupNormalization", with("num_groups", 2), dims(n, 6, 4), dims(2), dims(2)), dims(n, 6, 4)},
		{"group norm scale", one("GroupNormalization", with("num_groups", 2), dims(n, 6, 4), dims(3), dims(3)), nil},
		{"group norm groups", one("GroupNormalization", with("num_groups", 4), dims(n, 6, 4), dims(6), dims(6)), nil},
		{"group norm without groups", one("GroupNormalization", nil, dims(n, 6, 4), dims(6), dims(6)), nil},

		{"concat", one("Concat", with("axis", 1), image, dims(n, 5, 32, 32)), dims(n, 8, 32, 32)},
		{"concat of one", one("Concat", with("axis", 0), image), image},
		{"concat from the end", one("Concat", with("axis", -1), dims(2, 3), dims(2, 4), dims(2, 5)), dims(2, 12)},
		{"concat of symbols", one("Concat", with("axis", 0), dims(n, 2), dims(n, 2)), graph.Shape{{Size: 2, Sym: "N"}, graph.Fixed(2)}},
		{"concat of different symbols", one("Concat", with("axis", 0), dims(n, 2), dims(3, 2)), nil},
		{"concat without axis", one("Concat", nil, image, image), nil},
		{"concat elsewhere", one("Concat", with("axis", 1), image, dims(n, 5, 32, 31)), nil},
		{"concat rank", one("Concat", with("axis", 1), image, dims(n, 5)), nil},
		{"concat overflow", one("Concat", with("axis", 0), dims(math.MaxInt-1), dims(math.MaxInt-1)), nil},

		{"pad", settings("Pad", nil, dims(n, 4, 8), list(0, 1, 2, 0, 3, 4)), dims(n, 8, 14)},
		{"pad some axes", settings("Pad", nil, dims(n, 4, 8), list(1, 2), nil, list(1)), dims(n, 7, 8)},
		{"pad cuts", settings("Pad", nil, dims(n, 4, 8), list(-1, -2), nil, list(-1)), dims(n, 4, 5)},
		{"pad reflects", settings("Pad", with("mode", "reflect"), dims(4), list(1, 1)), dims(6)},
		{"pad unknown mode", settings("Pad", with("mode", "mirror"), dims(4), list(1, 1)), nil},
		{"pad cuts too much", settings("Pad", nil, dims(4), list(-3, -2)), nil},
		{"pad length", settings("Pad", nil, dims(n, 4), list(1, 1)), nil},
		{"pad axis twice", settings("Pad", nil, dims(n, 4), list(1, 1, 1, 1), nil, list(1, -1)), nil},
		{"pad batch", settings("Pad", nil, dims(n, 4), list(1, 0, 0, 0)), nil},
		{"pad computed", one("Pad", nil, dims(4), dims(2)), nil},
		{"pad overflow", settings("Pad", nil, dims(math.MaxInt), list(1, 1)), nil},
		{"pad far", settings("Pad", nil, dims(4), list(math.MaxInt64, 1)), nil},

		{"slice", settings("Slice", nil, dims(n, 10), list(2), list(8), list(1)), dims(n, 6)},
		{"slice from the end", settings("Slice", nil, dims(10), list(-3), list(math.MaxInt64)), dims(3)},
		{"slice steps", settings("Slice", nil, dims(9, 8), list(0, 0), list(9, 8), list(0, 1), list(2, 3)), dims(5, 3)},
		{"slice backwards", settings("Slice", nil, dims(10), list(-1), list(math.MinInt64), list(0), list(-3)), dims(4)},
		{"slice beyond", settings("Slice", nil, dims(10), list(-100), list(100)), dims(10)},
		{"slice batch whole", settings("Slice", nil, dims(n, 10), list(0, 5), list(math.MaxInt64, 6)), dims(n, 1)},
		{"slice batch", settings("Slice", nil, dims(n, 10), list(1), list(math.MaxInt64)), nil},
		{"slice of nothing", settings("Slice", nil, dims(10), list(4), list(4)), nil},
		{"slice step zero", settings("Slice", nil, dims(10), list(0), list(4), list(0), list(0)), nil},
		{"slice lengths", settings("Slice", nil, dims(10), list(0), list(4, 5)), nil},
		{"slice axis", settings("Slice", nil, dims(10), list(0), list(4), list(1)), nil},

		{"mean", settings("ReduceMean", nil, image, list(2, 3)), dims(n, 3, 1, 1)},
		{"mean without axes", settings("ReduceMean", with("keepdims", 0), image, list(-1, 2)), dims(n, 3)},
		{"mean of all", one("ReduceMean", nil, dims(2, 3)), dims(1, 1)},
		{"mean of none", one("ReduceMean", with("noop_with_empty_axes", 1), dims(2, 3)), dims(2, 3)},
		{"mean axis", settings("ReduceMean", nil, dims(2, 3), list(2)), nil},

		{"clip", one("Clip", nil, image, dims(), nil), image},
		{"clip bounds", one("Clip", nil, image, nil, dims(3)), nil},
		{"hard swish", one("HardSwish", nil, image), image},
		{"hard sigmoid", one("HardSigmoid", with("alpha", .25), image), image},
	} {
		tt.Run(c.name, func(tt *testing.T) { checkShape(tt, c.g, c.want) })
	}
}

// Padding of SAME goes behind in SAME_UPPER and before in SAME_LOWER where it is odd.
func TestWindowOfSame(tt *testing.T) {
	for auto, before := range map[string]int{"SAME_UPPER": 0, "SAME_LOWER": 1} {
		w, err := graph.WindowOf(&graph.Node{Op: "Conv", Attrs: with("auto_pad", auto, "strides", list(2))}, []int{8}, []int{3})
		if err != nil {
			tt.Fatal(err)
		}
		if w.Before[0] != before || w.After[0] != 1-before || w.Out[0] != 4 {
			tt.Errorf("%s: padding %v and %v, %v positions", auto, w.Before, w.After, w.Out)
		}
	}
}

// The number of positions is that of windows which begin, counted one by one.
func TestWindowPositions(tt *testing.T) {
	rapid.Check(tt, func(r *rapid.T) {
		draw := func(name string, least, most int) int { return rapid.IntRange(least, most).Draw(r, name) }
		extent, kernel, stride, dilation := draw("extent", 1, 20), draw("kernel", 1, 5), draw("stride", 1, 5), draw("dilation", 1, 3)
		before, after, ceil := draw("before", 0, 4), draw("after", 0, 4), draw("ceil", 0, 1)
		reach := (kernel-1)*dilation + 1
		want := 0
		for o := 0; reach <= extent+before+after; o++ {
			begin := o*stride - before
			whole := begin+reach <= extent+after
			if !whole && (ceil == 0 || begin >= extent || begin-stride+reach >= extent+after) {
				break
			}
			want++
		}
		n := &graph.Node{Op: "MaxPool", Attrs: with("strides", list(int64(stride)), "dilations", list(int64(dilation)),
			"pads", list(int64(before), int64(after)), "ceil_mode", ceil)}
		w, err := graph.WindowOf(n, []int{extent}, []int{kernel})
		if want == 0 {
			if err == nil {
				r.Fatalf("%v positions of a window that does not fit", w.Out)
			}
			return
		}
		if err != nil {
			r.Fatal(err)
		}
		if w.Out[0] != want {
			r.Fatalf("%d positions, want %d", w.Out[0], want)
		}
	})
}

// What a range takes is what a walk through the elements, as ONNX describes it, takes.
func TestSliceRanges(tt *testing.T) {
	place := rapid.OneOf(rapid.Int64Range(-15, 15), rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64, math.MinInt64 + 1}))
	rapid.Check(tt, func(r *rapid.T) {
		extent := rapid.IntRange(1, 10).Draw(r, "extent")
		start, end := place.Draw(r, "start"), place.Draw(r, "end")
		step := place.Filter(func(v int64) bool { return v != 0 }).Draw(r, "step")
		g := settings("Slice", nil, dims(extent), list(start), list(end), list(0), list(step))
		ranges, err := graph.SliceRanges(&g.Nodes[len(g.Nodes)-1], dims(extent), g.Constants())
		if err != nil {
			r.Fatal(err)
		}
		var got []int
		for i := range ranges[0].Len {
			got = append(got, ranges[0].First+i*ranges[0].Step)
		}
		if want := walk(start, end, step, extent); !slices.Equal(got, want) {
			r.Fatalf("elements %v, want %v", got, want)
		}
	})
}

func walk(start, end, step int64, extent int) (taken []int) {
	resolve := func(v int64, least, most int) int {
		if v < 0 {
			v += int64(extent)
		}
		return int(min(max(v, int64(least)), int64(most)))
	}
	if step > 0 {
		for i, last := resolve(start, 0, extent), resolve(end, 0, extent); i < last; i += int(min(step, 100)) {
			taken = append(taken, i)
		}
		return taken
	}
	for i, last := resolve(start, 0, extent-1), resolve(end, -1, extent-1); i > last; i += int(max(step, -100)) {
		taken = append(taken, i)
	}
	return taken
}

func TestStatistics(tt *testing.T) {
	b := graph.NewBuilder("g")
	x := b.Input("x", tensor.F32, n, graph.Fixed(3), graph.Fixed(8), graph.Fixed(8))
	x = b.BatchNorm("n1", x, "bn1", 3)
	b.Op("Identity", "shared", nil, b.Param("own.mean", 3))
	scale := b.Param("scale", 3)
	b.Output(b.Op("BatchNormalization", "n2", nil, x, scale, scale, "shared", b.Param("own.var", 3)))
	g, err := b.Graph()
	if err != nil {
		tt.Fatal(err)
	}
	stats := graph.Statistics(g)
	for _, p := range g.Params {
		want := strings.Contains(p.Name, "running") || strings.HasPrefix(p.Name, "own")
		if stats[p.Name] != want {
			tt.Errorf("%q is a statistic: %v", p.Name, stats[p.Name])
		}
	}
	if len(stats) != 4 {
		tt.Errorf("statistics %v", stats)
	}
}
