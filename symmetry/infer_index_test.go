package symmetry_test

import (
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

func constants(b *graph.Builder, name string, v ...int64) string {
	return b.Constant(name, tensor.FromSlice(tensor.Shape{len(v)}, v))
}

// indexInferCases are networks that choose, repeat, compare and reduce, with the symmetries that were derived for them by hand.
var indexInferCases = []inferCase{
	{
		name: "units that are chosen by number keep their order, and those beside them move",
		build: func(b *graph.Builder) {
			h := b.Reshape("r", b.Tanh("h", b.Linear("z", input(b, 7), "in", 12, 7, true)), 0, 3, 4)
			g := b.Op("Gather", "g", graph.Attrs{"axis": int64(1)}, h, constants(b, "rows", 2, 0))
			b.Output(b.Linear("y", b.Flatten("f", g, 1), "out", 2, 8, false))
		},
		groups: "in:4", // for all rows alike: what reads them does not know any more which they were
		layouts: `
			in.weight: (3 in) 7
			in.bias: (3 in)
			out.weight: 2 (2 in)`,
	},
	{
		name: "parts of a Split move by themselves",
		build: func(b *graph.Builder) {
			h := b.Tanh("h", b.Linear("z", input(b, 7), "in", 9, 7, true))
			parts := b.OpN("Split", []string{"p", "q"}, graph.Attrs{"axis": int64(1)}, h, constants(b, "sizes", 4, 5))
			u := b.Relu("u", b.Linear("uz", parts[0], "a", 6, 4, false))
			v := b.Relu("v", b.Linear("vz", parts[1], "b", 6, 5, false))
			b.Output(b.Linear("y", b.Mul("m", u, v), "out", 2, 6, false))
		},
		groups: "in.0:4 in.1:5 a:6",
		layouts: `
			in.weight: (in.0 + in.1) 7
			in.bias: (in.0 + in.1)
			a.weight: a in.0
			b.weight: a in.1
			out.weight: 2 a`,
	},
	{
		name: "a choice between two values joins them, and the condition with them",
		build: func(b *graph.Builder) {
			x := input(b, 7)
			u, v := b.Linear("u", x, "a", 5, 7, true), b.Linear("v", x, "b", 5, 7, false)
			b.Output(b.Linear("y", b.Op("Where", "w", nil, b.Op("Less", "l", nil, u, v), u, b.Op("Exp", "e", nil, v)), "out", 2, 5, false))
		},
		groups: "a:5",
		layouts: `
			a.weight: a 7
			a.bias: a
			b.weight: a 7
			out.weight: 2 a`,
	},
	{
		name: "a maximum over an axis forgets it",
		build: func(b *graph.Builder) {
			h := b.Reshape("r", b.Tanh("h", b.Linear("z", input(b, 7), "in", 12, 7, true)), 0, 3, 4)
			m := b.Op("ReduceMax", "m", graph.Attrs{"keepdims": int64(0)}, h, constants(b, "axes", 1))
			b.Output(b.Linear("y", m, "out", 2, 4, false))
		},
		groups: "in.1:4 in.0[in.1]:3",
		layouts: `
			in.weight: (in.0[in.1] in.1) 7
			in.bias: (in.0[in.1] in.1)
			out.weight: 2 in.1`,
	},
	{
		name: "heads that share what Expand repeats are a family of it",
		build: func(b *graph.Builder) {
			x := input(b, 7)
			q := b.Reshape("q", b.Linear("qz", x, "q", 24, 7, false), 0, 2, 3, 4)
			k := b.Reshape("k", b.Linear("kz", x, "k", 8, 7, false), 0, 2, 1, 4)
			m := b.Mul("m", q, b.Op("Expand", "e", nil, k, constants(b, "to", 1, 2, 3, 4)))
			b.Output(b.Linear("y", b.Flatten("f", b.Op("ReduceSum", "s", graph.Attrs{"keepdims": int64(0)}, m, constants(b, "axes", -1)), 1), "out", 2, 6, false))
		},
		groups: "q.0:2 q.1[q.0]:3 q.2[q.0]:4",
		layouts: `
			q.weight: (q.0 q.1[q.0] q.2[q.0]) 7
			k.weight: (q.0 q.2[q.0]) 7
			out.weight: 2 (q.0 q.1[q.0])`,
	},
	{
		name: "a tiled axis is repetitions times units",
		build: func(b *graph.Builder) {
			h := b.Tanh("h", b.Linear("z", input(b, 7), "in", 4, 7, true))
			b.Output(b.Linear("y", b.Op("Tile", "t", nil, h, constants(b, "times", 1, 3)), "out", 2, 12, false))
		},
		groups: "in:4 out.0[in]:3",
		layouts: `
			in.weight: in 7
			in.bias: in
			out.weight: 2 (out.0[in] in)`,
		inert: "out.weight", // what it multiplies is the same in each repetition
	},
}
