package symmetry_test

import (
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// image adds an input of 3 channels of 5 by 5 pixels.
func image(b *graph.Builder) string { return input(b, 3, 5, 5) }

// conv is a convolution of kernel 3 with padding 1, or of kernel 1.
func conv(b *graph.Builder, name, x string, out, in, kernel, groups int, bias bool) string {
	w, c := b.Param(name+".weight", out, in/groups, kernel, kernel), ""
	if bias {
		c = b.Param(name+".bias", out)
	}
	return b.Conv2D(name, x, w, c, graph.ConvOptions{Pad: kernel / 2, Groups: groups})
}

// head is the mean over space and a linear layer.
func head(b *graph.Builder, x string, in int) {
	b.Output(b.Linear("y", b.Flatten("flat", b.GlobalAveragePool("mean", x), 1), "out", 2, in, false))
}

// channelCases are networks of convolutions with the symmetries that were derived for them by hand.
var channelCases = []inferCase{
	{
		name: "space keeps its order, channels are flattened with it",
		build: func(b *graph.Builder) {
			x := b.Relu("h", conv(b, "c1", image(b), 4, 3, 3, 1, true))
			b.Output(b.Linear("y", b.Flatten("flat", b.MaxPool2D("pool", x, 2, 2, 0), 1), "out", 2, 16, false))
		},
		groups: "c1:4",
		layouts: `
			c1.weight: c1 3 3 3
			c1.bias: c1
			out.weight: 2 (c1 2 2)`,
	},
	{
		name: "groups of a convolution move, and their channels within them",
		build: func(b *graph.Builder) {
			x := b.Tanh("h1", conv(b, "c1", image(b), 6, 3, 3, 1, true))
			x = b.Tanh("h2", conv(b, "c2", x, 4, 6, 3, 2, true))
			head(b, b.Tanh("h3", conv(b, "c3", x, 5, 4, 1, 1, false)), 5)
		},
		groups: "c1.0:2 c1.1[c1.0]:3 c2[c1.0]:2 c3:5",
		layouts: `
			c1.weight: (c1.0 c1.1[c1.0]) 3 3 3
			c1.bias: (c1.0 c1.1[c1.0])
			c2.weight: (c1.0 c2[c1.0]) c1.1[c1.0] 3 3
			c2.bias: (c1.0 c2[c1.0])
			c3.weight: c3 (c1.0 c2[c1.0]) 1 1
			out.weight: 2 c3`,
	},
	{
		name: "a depthwise convolution passes channels on, with a family where it multiplies them",
		build: func(b *graph.Builder) {
			x := b.Tanh("h1", conv(b, "c1", image(b), 4, 3, 3, 1, true))
			x = b.Tanh("h2", conv(b, "d1", x, 4, 4, 3, 4, false))
			x = b.Tanh("h3", conv(b, "d2", x, 8, 4, 3, 4, true))
			head(b, x, 8)
		},
		groups: "c1:4 d2[c1]:2",
		layouts: `
			c1.weight: c1 3 3 3
			c1.bias: c1
			d1.weight: c1 1 3 3
			d2.weight: (c1 d2[c1]) 1 3 3
			d2.bias: (c1 d2[c1])
			out.weight: 2 (c1 d2[c1])`,
	},
	{
		name: "group norm with a scale for each channel",
		build: func(b *graph.Builder) {
			x := conv(b, "c1", image(b), 6, 3, 3, 1, true)
			head(b, b.Tanh("h", b.GroupNorm("n", x, "n", 6, 2)), 6)
		},
		groups: "c1.0:2 c1.1[c1.0]:3",
		layouts: `
			c1.weight: (c1.0 c1.1[c1.0]) 3 3 3
			c1.bias: (c1.0 c1.1[c1.0])
			n.weight: (c1.0 c1.1[c1.0])
			n.bias: (c1.0 c1.1[c1.0])
			out.weight: 2 (c1.0 c1.1[c1.0])`,
	},
	{
		name: "group norm with a scale for each group",
		build: func(b *graph.Builder) {
			x := conv(b, "c1", image(b), 6, 3, 3, 1, true)
			n := b.Op("GroupNormalization", "n", graph.Attrs{"num_groups": int64(2)}, x, b.Param("n.weight", 2), b.Param("n.bias", 2))
			head(b, b.Tanh("h", n), 6)
		},
		groups: "c1.0:2 c1.1[c1.0]:3",
		layouts: `
			c1.weight: (c1.0 c1.1[c1.0]) 3 3 3
			c1.bias: (c1.0 c1.1[c1.0])
			n.weight: c1.0
			n.bias: c1.0
			out.weight: 2 (c1.0 c1.1[c1.0])`,
	},
	{
		name: "group norm as PyTorch exports it",
		build: func(b *graph.Builder) {
			x := conv(b, "c1", image(b), 6, 3, 3, 1, true)
			ones := b.Constant("ones", tensor.FromSlice(tensor.Shape{2}, []float32{1, 1}))
			zeros := b.Constant("zeros", tensor.FromSlice(tensor.Shape{2}, []float32{0, 0}))
			n := b.Op("InstanceNormalization", "n", nil, b.Reshape("in", x, 0, 2, -1), ones, zeros)
			n = b.Mul("scaled", b.Reshape("back", n, 0, 6, 5, 5), b.Param("n.weight", 6, 1, 1))
			head(b, b.Tanh("h", b.Add("shifted", n, b.Param("n.bias", 6, 1, 1))), 6)
		},
		groups: "c1.0:2 c1.1[c1.0]:3",
		layouts: `
			c1.weight: (c1.0 c1.1[c1.0]) 3 3 3
			c1.bias: (c1.0 c1.1[c1.0])
			n.weight: (c1.0 c1.1[c1.0]) 1 1
			n.bias: (c1.0 c1.1[c1.0]) 1 1
			out.weight: 2 (c1.0 c1.1[c1.0])`,
	},
	{
		name: "a concatenation",
		build: func(b *graph.Builder) {
			x := image(b)
			p, q := b.Tanh("hp", conv(b, "p", x, 3, 3, 3, 1, true)), b.Tanh("hq", conv(b, "q", x, 5, 3, 1, 1, true))
			x = b.Concat("cat", 1, p, q)
			n := b.Tanh("hn", b.BatchNorm("n", x, "n", 8))
			head(b, b.Tanh("hr", conv(b, "r", n, 4, 8, 1, 1, false)), 4)
		},
		groups: "p:3 q:5 r:4",
		layouts: `
			p.weight: p 3 3 3
			p.bias: p
			q.weight: q 3 1 1
			q.bias: q
			n.weight: (p + q)
			n.bias: (p + q)
			n.running_mean: (p + q)
			n.running_var: (p + q)
			r.weight: r (p + q) 1 1
			out.weight: 2 r`,
	},
	{
		name: "concatenations of concatenations, flattened, with the input among them",
		build: func(b *graph.Builder) {
			x := image(b)
			p := b.Tanh("hp", conv(b, "p", x, 3, 3, 3, 1, false))
			first := b.Concat("first", 1, x, p)
			q := b.Tanh("hq", conv(b, "q", first, 2, 6, 1, 1, false))
			all := b.Concat("all", 1, q, first, q)
			b.Output(b.Linear("y", b.Flatten("flat", all, 1), "out", 2, 250, false))
		},
		groups: "p:3 q:2",
		layouts: `
			p.weight: p 3 3 3
			q.weight: q (3 + p) 1 1
			out.weight: 2 ((q 5 5) + (3 5 5) + (p 5 5) + (q 5 5))`,
	},
	{
		name: "sums over other borders cut the parts",
		build: func(b *graph.Builder) {
			x := image(b)
			parts := func(name string, sizes ...int) string {
				var list []string
				for _, n := range sizes {
					c := name + string(rune('0'+n))
					list = append(list, b.Tanh("h"+c, conv(b, c, x, n, 3, 1, 1, false)))
				}
				return b.Concat(name, 1, list...)
			}
			head(b, b.Tanh("h", b.Add("s", parts("p", 3, 5), parts("q", 6, 2))), 8)
		},
		groups: "p3:3 p5.0:3 p5.1:2",
		layouts: `
			p3.weight: p3 3 1 1
			p5.weight: (p5.0 + p5.1) 3 1 1
			q6.weight: (p3 + p5.0) 3 1 1
			q2.weight: p5.1 3 1 1
			out.weight: 2 (p3 + p5.0 + p5.1)`,
	},
	{
		name: "padded channels and slices",
		build: func(b *graph.Builder) {
			x := b.Tanh("h1", conv(b, "c1", image(b), 4, 3, 3, 1, false))
			y := b.Pad("wide", x, []int64{0, 0, 0, 0}, []int64{0, 2, 0, 0})
			y = b.Tanh("h2", b.Add("s", y, conv(b, "c2", x, 6, 4, 3, 1, false)))
			z := b.Slice("part", y, []int64{1}, []int64{3}, []int64{6}, []int64{1})
			head(b, b.Tanh("h3", conv(b, "c3", z, 3, 3, 3, 1, false)), 3)
		},
		groups: "c1:3 c2.1:2 c3:3",
		layouts: `
			c1.weight: (c1 + 1) 3 3 3
			c2.weight: (c1 + 1 + c2.1) (c1 + 1) 3 3
			c3.weight: c3 (1 + c2.1) 3 3
			out.weight: 2 c3`,
		inert: "c2.weight", // the slice leaves c1's part of its outputs behind
	},
}
