package symmetry_test

import (
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// conv2d is a convolution with a bias that keeps the size of an image.
func (e *exported) conv2d(x, name string, out, in, kernel, groups int) string {
	return e.Conv2D(e.name(), x, e.Param(name+".weight", out, in/groups, kernel, kernel), e.Param(name+".bias", out),
		graph.ConvOptions{Pad: kernel / 2, Groups: groups})
}

func (e *exported) picture(channels int) string {
	return e.Input("x", tensor.F32, batch, graph.Fixed(channels), graph.Fixed(4), graph.Fixed(4))
}

func (e *exported) classify(x string, channels int) {
	e.Output(e.Linear(e.name(), e.Flatten(e.name(), e.GlobalAveragePool(e.name(), x), 1), "head", 2, channels, true))
}

var convolutionals = []architecture{
	{
		name: "MobileNetV3: depthwise convolution, squeeze and excite, HardSwish",
		build: func(e *exported) {
			h := e.do("HardSwish", e.conv2d(e.picture(3), "stem", 5, 3, 3, 1))
			u := e.do("HardSwish", e.conv2d(h, "expand", 8, 5, 1, 1))
			u = e.do("HardSwish", e.conv2d(u, "depthwise", 8, 8, 3, 8))
			s := e.Relu(e.name(), e.conv2d(e.GlobalAveragePool(e.name(), u), "squeeze", 4, 8, 1, 1))
			s = e.do("HardSigmoid", e.conv2d(s, "excite", 8, 4, 1, 1))
			h = e.do("Add", h, e.conv2d(e.do("Mul", u, s), "project", 5, 8, 1, 1))
			e.classify(h, 5)
		},
		groups:  "stem:5 expand:8 squeeze:4",
		log10:   []symmetricGroups{{1, 5}, {1, 8}, {1, 4}},
		layouts: "excite.weight: expand squeeze 1 1\ndepthwise.weight: expand 1 3 3",
	},
	{
		name: "DenseNet: every layer reads all before it",
		build: func(e *exported) {
			h := e.Relu(e.name(), e.conv2d(e.picture(3), "stem", 4, 3, 3, 1))
			one := e.Relu(e.name(), e.conv2d(h, "one", 3, 4, 3, 1))
			both := e.op("Concat", graph.Attrs{"axis": int64(1)}, h, one)
			two := e.Relu(e.name(), e.conv2d(both, "two", 3, 7, 3, 1))
			e.classify(e.op("Concat", graph.Attrs{"axis": int64(1)}, h, one, two), 10)
		},
		groups:  "stem:4 one:3 two:3",
		log10:   []symmetricGroups{{1, 4}, {2, 3}},
		layouts: "two.weight: two (stem + one) 3 3\nhead.weight: 2 (stem + one + two)",
	},
	{
		name: "U-Net: strides down, ConvTranspose and Resize up, Concat of what was before",
		build: func(e *exported) {
			h := e.Relu(e.name(), e.conv2d(e.picture(3), "down", 4, 3, 3, 1))
			deep := e.Relu(e.name(), e.conv2d(e.MaxPool2D(e.name(), h, 2, 2, 0), "deep", 6, 4, 3, 1))
			up := e.op("ConvTranspose", graph.Attrs{"strides": []int64{2, 2}}, deep, e.Param("up.weight", 6, 5, 2, 2), e.Param("up.bias", 5))
			scales := e.Constant(e.name(), tensor.FromSlice(tensor.Shape{4}, []float32{1, 1, 2, 2}))
			wide := e.op("Resize", graph.Attrs{"mode": "linear"}, deep, "", scales)
			h = e.Relu(e.name(), e.conv2d(e.op("Concat", graph.Attrs{"axis": int64(1)}, h, up, wide), "merge", 7, 15, 3, 1))
			e.Output(e.conv2d(h, "head", 2, 7, 1, 1))
		},
		groups:  "down:4 deep:6 up:5 merge:7",
		log10:   []symmetricGroups{{1, 4}, {1, 6}, {1, 5}, {1, 7}},
		layouts: "up.weight: deep up 2 2\nmerge.weight: merge (down + up + deep) 3 3",
	},
	{
		name: "ConvNeXt: depthwise convolution, LayerNorm between Transposes, layer scale",
		build: func(e *exported) {
			h := e.conv2d(e.picture(3), "stem", 5, 3, 3, 1)
			u := e.norm(e.transpose(e.conv2d(h, "depthwise", 5, 5, 3, 5), 0, 2, 3, 1), "norm", 5)
			u = e.linear(e.gelu(e.linear(u, "fc1", 5, 8)), "fc2", 8, 5)
			u = e.transpose(e.do("Mul", e.Param("gamma", 5), u), 0, 3, 1, 2)
			e.classify(e.do("Add", u, h), 5)
		},
		groups:  "stem:5 fc1:8",
		log10:   []symmetricGroups{{1, 5}, {1, 8}},
		layouts: "gamma: stem\nfc1.weight: stem fc1",
	},
	{
		name: "LSTM in both directions: units are a family of the direction",
		build: func(e *exported) {
			x := e.transpose(e.Input("x", tensor.F32, batch, graph.Fixed(3), graph.Fixed(4)), 1, 0, 2)
			h := e.Tanh(e.name(), e.linear(x, "embed", 4, 6))
			y := e.op("LSTM", graph.Attrs{"direction": "bidirectional", "hidden_size": int64(5)}, h,
				e.Param("W", 2, 20, 6), e.Param("R", 2, 20, 5), e.Param("B", 2, 40))
			y = e.reshape(e.transpose(y, 0, 2, 1, 3), 0, 0, -1)
			mean := e.op("ReduceMean", graph.Attrs{"keepdims": int64(0)}, y, e.ints(0))
			e.Output(e.Linear(e.name(), mean, "head", 2, 10, true))
		},
		groups:  "embed:6 W[W.fixed]:5",
		log10:   []symmetricGroups{{1, 6}, {2, 5}},
		layouts: "R: W.fixed (4 W[W.fixed]) W[W.fixed]\nB: W.fixed (2 4 W[W.fixed])\nhead.weight: 2 (W.fixed W[W.fixed])",
		pinned: []string{
			"W 0: gates and directions", "W 1: gates and directions", "R 0: gates and directions", "R 1: gates and directions",
			"B 0: gates and directions", "B 1: gates and directions", "head.weight 1: gates and directions",
		},
	},
	{
		name: "ShuffleNet: halves by Split, Concat, channels shuffled by Reshape and Transpose, which ties the halves",
		build: func(e *exported) {
			h := e.Relu(e.name(), e.conv2d(e.picture(3), "stem", 8, 3, 3, 1))
			parts := e.OpN("Split", []string{e.name(), e.name()}, graph.Attrs{"axis": int64(1)}, h, e.ints(4, 4))
			u := e.Relu(e.name(), e.conv2d(parts[1], "in", 6, 4, 1, 1))
			u = e.Relu(e.name(), e.conv2d(e.conv2d(u, "depthwise", 6, 6, 3, 6), "out", 4, 6, 1, 1))
			h = e.op("Concat", graph.Attrs{"axis": int64(1)}, parts[0], u)
			h = e.reshape(e.transpose(e.reshape(h, -1, 2, 4, 4, 4), 0, 2, 1, 3, 4), -1, 8, 4, 4)
			e.classify(e.Relu(e.name(), e.conv2d(h, "last", 5, 8, 1, 1)), 5)
		},
		groups:  "stem.0:4 stem.1:4 in:6 last:5",
		log10:   []symmetricGroups{{2, 4}, {1, 6}, {1, 5}},
		layouts: "stem.weight: (stem.0 + stem.1) 3 3 3\nout.weight: stem.0 in 1 1\nlast.weight: last (stem.0 2) 1 1",
		pinned:  []string{"last.weight 1: a single unit of a concatenation"},
	},
	{
		name: "Attention as one operator, RMSNormalization, and Einsum",
		build: func(e *exported) {
			x := e.Input("x", tensor.F32, batch, graph.Fixed(3), graph.Fixed(4))
			h := e.Tanh(e.name(), e.linear(x, "embed", 4, 6))
			n := e.do("RMSNormalization", h, e.Param("norm.weight", 6))
			project := func(name string, out int) string { return e.do("MatMul", n, e.Param(name+".weight", 6, out)) }
			a := e.op("Attention", graph.Attrs{"q_num_heads": int64(4), "kv_num_heads": int64(2), "is_causal": int64(1)},
				project("q", 12), project("k", 6), project("v", 6))
			o := e.op("Einsum", graph.Attrs{"equation": "bti,io->bto"}, a, e.Param("o.weight", 12, 6))
			h = e.do("Add", h, o)
			e.Output(e.do("MatMul", h, e.Param("head.weight", 6, 2)))
		},
		groups:  "embed:6 q.0:2 q.1[q.0]:2 q.2[q.0]:3 v.1[q.0]:3",
		log10:   []symmetricGroups{{1, 6}, {1, 2}, {2, 2}, {2, 3}, {2, 3}},
		layouts: "o.weight: (q.0 q.1[q.0] v.1[q.0]) embed\nk.weight: embed (q.0 q.2[q.0])",
	},
}
