package symmetry_test

import (
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// The numbers of types that Cast takes.
const (
	onnxFloat = 1
	onnxInt64 = 7
	onnxBool  = 9
)

// operatorCases have one operator each, between layers that give it units to carry, with the symmetries that were derived for it by hand.
var operatorCases = append([]inferCase{
	{
		name:   "RNN: what units receive, keep and add moves with them",
		build:  func(b *graph.Builder) { overTime(b, "RNN", nil, 1, 5, nil) },
		groups: "r:5",
		layouts: `
			r.weight: 1 r 3
			r.again: 1 r r
			r.bias: 1 (2 r)
			out.weight: 2 r`,
	},
	{
		name:   "GRU: in each of three gates alike",
		build:  func(b *graph.Builder) { overTime(b, "GRU", nil, 3, 5, nil) },
		groups: "r:5",
		layouts: `
			r.weight: 1 (3 r) 3
			r.again: 1 (3 r) r
			r.bias: 1 (2 3 r)
			out.weight: 2 r`,
	},
	{
		name: "GRU with the reset behind the product",
		build: func(b *graph.Builder) {
			overTime(b, "GRU", graph.Attrs{"linear_before_reset": int64(1)}, 3, 5, nil)
		},
		groups: "r:5",
	},
	{
		name:   "LSTM: in each of four gates alike",
		build:  func(b *graph.Builder) { overTime(b, "LSTM", nil, 4, 5, nil) },
		groups: "r:5",
	},
	{
		name: "RNN that reads units of a layer",
		build: func(b *graph.Builder) {
			overTime(b, "RNN", nil, 1, 4, func(x string) string { return b.Tanh("h", b.MatMul("hz", x, b.Param("in.weight", 3, 6))) })
		},
		groups: "in:6 r:4",
		layouts: `
			in.weight: 3 in
			r.weight: 1 r in
			r.again: 1 r r
			r.bias: 1 (2 r)
			out.weight: 2 r`,
	},
	{
		name: "RotaryEmbedding: heads move, and dimensions in them, being turned in pairs by places, keep their order",
		build: func(b *graph.Builder) {
			rotated(b, func(x string) string { return b.MatMul("angles", x, b.Param("angle.weight", 3, 2)) })
		},
		groups: "q:3",
		layouts: `
			angle.weight: 3 2
			q.weight: 3 (q 4)
			k.weight: 3 (q 4)
			out.weight: 2 16`,
	},
	{
		name: "DepthToSpace: channels behind it, each with its places",
		build: func(b *graph.Builder) {
			h := b.Relu("h", conv(b, "in", image(b), 12, 3, 3, 1, true))
			head(b, conv(b, "next", b.Op("DepthToSpace", "d", graph.Attrs{"blocksize": int64(2)}, h), 4, 3, 3, 1, false), 4)
		},
		groups: "in:3 next:4",
	},
	{
		name: "DepthToSpace of columns and rows: channels stand before their places",
		build: func(b *graph.Builder) {
			h := b.Relu("h", conv(b, "in", image(b), 12, 3, 3, 1, true))
			d := b.Op("DepthToSpace", "d", graph.Attrs{"blocksize": int64(2), "mode": "CRD"}, h)
			head(b, conv(b, "next", d, 4, 3, 3, 1, false), 4)
		},
		groups: "in:3 next:4",
	},
	{
		name: "SpaceToDepth: places before channels",
		build: func(b *graph.Builder) {
			h := b.Relu("h", conv(b, "in", input(b, 3, 6, 6), 4, 3, 3, 1, true))
			s := b.Op("SpaceToDepth", "s", graph.Attrs{"blocksize": int64(2)}, h)
			head(b, conv(b, "next", s, 5, 16, 1, 1, false), 5)
		},
		groups: "in:4 next:5",
	},
	{
		name: "GatherElements: what is chosen along keeps its order, the rest moves with the choice",
		build: func(b *graph.Builder) {
			x := input(b, 7)
			rows := func(name string) string {
				return b.Reshape(name+".r", b.Linear(name+".z", x, name, 8, 7, true), 0, 2, 4)
			}
			u, v := rows("a"), rows("b")
			index := b.Op("Cast", "index", graph.Attrs{"to": int64(onnxInt64)}, b.Op("Less", "l", nil, u, v))
			g := b.Op("GatherElements", "g", graph.Attrs{"axis": int64(1)}, u, index)
			b.Output(b.Linear("y", b.Flatten("f", g, 1), "out", 2, 8, false))
		},
		groups: "a:4",
		layouts: `
			a.weight: (2 a) 7
			a.bias: (2 a)
			b.weight: (2 a) 7
			b.bias: (2 a)
			out.weight: 2 (2 a)`,
	},
}, append(elementwiseCases(), reductionCases()...)...)

// overTime is a recurrent operator in one direction over four steps of three numbers, or of what before makes of them, whose last state is read.
func overTime(b *graph.Builder, op string, attrs graph.Attrs, gates, units int, before func(x string) string) {
	x, width := input(b, 4, 3), 3
	if before != nil {
		x, width = before(x), 6
	}
	merged := graph.Attrs{"hidden_size": int64(units)}
	for name, v := range attrs {
		merged[name] = v
	}
	outs := b.OpN(op, []string{"all", "last"}, merged, b.Op("Transpose", "t", graph.Attrs{"perm": []int64{1, 0, 2}}, x),
		b.Param("r.weight", 1, gates*units, width), b.Param("r.again", 1, gates*units, units), b.Param("r.bias", 1, 2*gates*units))
	b.Output(b.Linear("y", b.Op("Squeeze", "s", nil, outs[1], constants(b, "axes", 0)), "out", 2, units, false))
}

// rotated multiplies queries and keys of three heads of four, turned by angles, and reads the products.
func rotated(b *graph.Builder, angles func(x string) string) {
	x := input(b, 4, 3)
	a := angles(x)
	cos, sin := b.Op("Cos", "cos", nil, a), b.Op("Sin", "sin", nil, a)
	turned := func(name string) string {
		h := b.Reshape(name+".r", b.MatMul(name+".z", x, b.Param(name+".weight", 3, 12)), 0, 4, 3, 4)
		h = b.Op("Transpose", name+".t", graph.Attrs{"perm": []int64{0, 2, 1, 3}}, h)
		return b.Op("RotaryEmbedding", name, nil, h, cos, sin)
	}
	q, k := turned("q"), turned("k")
	scores := b.MatMul("scores", q, b.Op("Transpose", "kt", graph.Attrs{"perm": []int64{0, 1, 3, 2}}, k))
	sum := b.Op("ReduceSum", "sum", graph.Attrs{"keepdims": int64(0)}, b.Tanh("th", scores), constants(b, "heads", 1))
	b.Output(b.Linear("y", b.Flatten("f", sum, 1), "out", 2, 16, false))
}

// elementwiseCases are operators that do the same to each unit: its group goes through, and joins what meets.
func elementwiseCases() []inferCase {
	var list []inferCase
	add := func(name string, apply func(b *graph.Builder, u, v string) string) {
		list = append(list, inferCase{
			name: name + " does the same to each unit",
			build: func(b *graph.Builder) {
				x := input(b, 7)
				b.Output(b.Linear("y", apply(b, b.Linear("u", x, "a", 5, 7, true), b.Linear("v", x, "b", 5, 7, false)), "out", 2, 5, false))
			},
			groups: "a:5",
			layouts: `
				a.weight: a 7
				a.bias: a
				b.weight: a 7
				out.weight: 2 a`,
		})
	}
	float := func(b *graph.Builder, v string) string {
		return b.Op("Cast", v+".f", graph.Attrs{"to": int64(onnxFloat)}, v)
	}
	scalar := func(b *graph.Builder, name string, v float32) string {
		return b.Constant(name, tensor.FromSlice(tensor.Shape{}, []float32{v}))
	}
	for _, op := range []string{"Ceil", "Floor", "Elu", "Mish", "Softplus", "Sign", "Neg", "Abs", "HardSwish", "HardSigmoid", "LeakyRelu", "Sin", "Cos", "Erf"} {
		add(op, func(b *graph.Builder, u, v string) string { return b.Mul("m", b.Op(op, "o", nil, u), v) })
	}
	for _, op := range []string{"Log", "Reciprocal", "Sqrt"} { // of what is positive
		add(op, func(b *graph.Builder, u, v string) string {
			return b.Mul("m", b.Op(op, "o", nil, b.Op("Softplus", "p", nil, u)), v)
		})
	}
	for _, op := range []string{"Sum", "Min", "Max", "Sub", "Div"} {
		add(op, func(b *graph.Builder, u, v string) string { return b.Op(op, "o", nil, u, v) })
	}
	for _, op := range []string{"Less", "LessOrEqual", "Greater", "GreaterOrEqual"} {
		add(op, func(b *graph.Builder, u, v string) string { return b.Mul("m", float(b, b.Op(op, "o", nil, u, v)), v) })
	}
	for _, op := range []string{"And", "Or", "Xor"} {
		add(op, func(b *graph.Builder, u, v string) string {
			zero := scalar(b, "zero", 0)
			both := b.Op(op, "o", nil, b.Op("Greater", "gu", nil, u, zero), b.Op("Less", "lv", nil, v, zero))
			return b.Mul("m", float(b, both), v)
		})
	}
	add("Not", func(b *graph.Builder, u, v string) string {
		return b.Mul("m", float(b, b.Op("Not", "o", nil, b.Op("Cast", "c", graph.Attrs{"to": int64(onnxBool)}, b.Relu("r", u)))), v)
	})
	add("Clip", func(b *graph.Builder, u, v string) string {
		return b.Mul("m", b.Op("Clip", "o", nil, u, scalar(b, "low", -.5), scalar(b, "high", 1)), v)
	})
	add("LogSoftmax", func(b *graph.Builder, u, v string) string {
		return b.Mul("m", b.Op("LogSoftmax", "o", graph.Attrs{"axis": int64(-1)}, u), v)
	})
	return list
}

// reductionCases are operators that forget the units of a, whose order is then nobody's, beside the units of b.
func reductionCases() []inferCase {
	var list []inferCase
	for _, op := range []string{"ReduceProd", "ReduceMin", "ReduceMax", "ReduceL2"} {
		list = append(list, inferCase{
			name: op + " forgets the units",
			build: func(b *graph.Builder) {
				x := input(b, 7)
				o := b.Op(op, "o", graph.Attrs{"keepdims": int64(1)}, b.Linear("u", x, "a", 5, 7, true), constants(b, "axes", 1))
				b.Output(b.Linear("y", b.Mul("m", o, b.Linear("v", x, "b", 5, 7, false)), "out", 2, 5, false))
			},
			groups: "a:5 b:5",
			layouts: `
				a.weight: a 7
				a.bias: a
				b.weight: b 7
				out.weight: 2 b`,
		})
	}
	return list
}
