package onnx_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/onnx"
	pb "github.com/rebasin/rebasin/onnx/internal/onnxpb"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// ramp is n numbers around zero, without ties.
func ramp(n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(math.Mod(float64(i)*.37, 2)) - 1
	}
	return out
}

func softmax(x []float32) []float32 {
	sum := 0.
	for _, v := range x {
		sum += math.Exp(float64(v))
	}
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(math.Exp(float64(v)) / sum)
	}
	return out
}

func each(x []float32, f func(float32) float32) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = f(v)
	}
	return out
}

// rows applies f to runs of n numbers.
func rows(x []float32, n int, f func([]float32) []float32) []float32 {
	var out []float32
	for i := 0; i < len(x); i += n {
		out = append(out, f(x[i:i+n])...)
	}
	return out
}

// TestOldForms computes with old forms of operators what the documents of their operator sets say. The input has the shape [2, 2, 3].
func TestOldForms(t *testing.T) {
	out := list("y")
	for name, tt := range map[string]struct {
		opset int64
		nodes []*pb.NodeProto
		inits []*pb.TensorProto
		want  func(x []float32) []float32
		note  string
	}{
		"softmax 11, all axes from 1 on": {
			11,
			[]*pb.NodeProto{node("Softmax", list("x"), out)},
			nil,
			func(x []float32) []float32 { return rows(x, 6, softmax) }, "",
		},
		"softmax 11, last axis": {
			11,
			[]*pb.NodeProto{node("Softmax", list("x"), out, attr("axis", 2))},
			nil,
			func(x []float32) []float32 { return rows(x, 3, softmax) }, "",
		},
		"softmax 13, last axis by default": {
			13,
			[]*pb.NodeProto{node("Softmax", list("x"), out)},
			nil,
			func(x []float32) []float32 { return rows(x, 3, softmax) }, "",
		},
		"log-softmax 9": {
			9,
			[]*pb.NodeProto{node("LogSoftmax", list("x"), out)},
			nil,
			func(x []float32) []float32 {
				return each(rows(x, 6, softmax), func(v float32) float32 { return float32(math.Log(float64(v))) })
			}, "",
		},
		"clip 10": {
			10,
			[]*pb.NodeProto{node("Clip", list("x"), out, attr("min", -.5), attr("max", .25))},
			nil,
			func(x []float32) []float32 { return each(x, func(v float32) float32 { return min(max(v, -.5), .25) }) }, "",
		},
		"clip 10, above alone": {
			10,
			[]*pb.NodeProto{node("Clip", list("x"), out, attr("max", .25))},
			nil,
			func(x []float32) []float32 { return each(x, func(v float32) float32 { return min(v, .25) }) }, "",
		},
		"clip 13, bounds as initializers": {
			13,
			[]*pb.NodeProto{node("Clip", list("x", "lo", "hi"), out)},
			[]*pb.TensorProto{floats("lo", nil, -.5), floats("hi", nil, .25)},
			func(x []float32) []float32 { return each(x, func(v float32) float32 { return min(max(v, -.5), .25) }) }, "",
		},
		"dropout 10": {
			10,
			[]*pb.NodeProto{node("Dropout", list("x"), list("y", "mask"), attr("ratio", .3))},
			nil,
			slices.Clone[[]float32], "",
		},
		"dropout 13, in training": {
			13,
			[]*pb.NodeProto{
				node("Constant", nil, list("t"), attr("value", &pb.TensorProto{DataType: int32(pb.TensorProto_BOOL), RawData: []byte{1}})),
				node("Dropout", list("x", "r", "t"), out),
			},
			[]*pb.TensorProto{floats("r", nil, .3)},
			slices.Clone[[]float32], "",
		},
		"pad 10": {
			10,
			[]*pb.NodeProto{node("Pad", list("x"), out, attr("pads", []int64{0, 0, 1, 0, 0, 0}), attr("value", .5))},
			nil,
			func(x []float32) []float32 {
				return rows(x, 3, func(r []float32) []float32 { return append([]float32{.5}, r...) })
			}, "",
		},
		"slice 9": {
			9,
			[]*pb.NodeProto{node("Slice", list("x"), out, attr("starts", []int64{1}), attr("ends", []int64{3}), attr("axes", []int64{2}))},
			nil,
			func(x []float32) []float32 { return rows(x, 3, func(r []float32) []float32 { return r[1:3] }) }, "",
		},
		"mean 9": {
			9,
			[]*pb.NodeProto{node("ReduceMean", list("x"), out, attr("axes", []int64{2}), attr("keepdims", 0))},
			nil,
			func(x []float32) []float32 {
				return rows(x, 3, func(r []float32) []float32 { return []float32{(r[0] + r[1] + r[2]) / 3} })
			}, "",
		},
		"batch normalisation 9, in training": {
			9,
			[]*pb.NodeProto{node("BatchNormalization", list("x", "s", "b", "m", "v"), list("y", "m2", "v2", "sm", "sv"), attr("epsilon", 0.))},
			[]*pb.TensorProto{floats("s", []int64{2}, 2, 3), floats("b", []int64{2}, 1, 0), floats("m", []int64{2}, .5, .25), floats("v", []int64{2}, 4, 9)},
			func(x []float32) []float32 {
				i := 0
				return rows(x, 3, func(r []float32) []float32 {
					c := i % 2
					i++
					return each(r, func(v float32) float32 { return []float32{(v-.5)/2*2 + 1, (v - .25) / 3 * 3}[c] })
				})
			}, "in the mode of training",
		},
		"batch normalisation 15, in training": {
			15,
			[]*pb.NodeProto{node("BatchNormalization", list("x", "s", "s", "m", "s"), out, attr("epsilon", 0.), attr("training_mode", 1))},
			[]*pb.TensorProto{floats("s", []int64{2}, 1, 1), floats("m", []int64{2}, 0, 0)},
			func(x []float32) []float32 { return each(x, func(v float32) float32 { return v + 1 }) }, "in the mode of training",
		},
		"float16 weights, a cast": {
			13,
			[]*pb.NodeProto{node("Cast", list("x"), list("h"), attr("to", 10)), node("Mul", list("h", "w"), list("z")), node("Cast", list("z"), out, attr("to", 1))},
			[]*pb.TensorProto{{Name: "w", DataType: int32(pb.TensorProto_FLOAT16), Dims: []int64{1}, Int32Data: []int32{0x4200}}}, // 3
			func(x []float32) []float32 { return each(x, func(v float32) float32 { return 3 * v }) }, "",
		},
		"nodes out of order": {
			13,
			[]*pb.NodeProto{node("Mul", list("h", "h"), out), node("Neg", list("one"), list("minus")), node("Mul", list("x", "minus"), list("h"))},
			[]*pb.TensorProto{floats("one", []int64{1}, 1)},
			nil, "",
		},
		"arithmetic of constants": {
			13,
			[]*pb.NodeProto{
				node("Constant", nil, list("c"), attr("value", floats("", nil, 16))), node("Sqrt", list("c"), list("r")),
				node("Constant", nil, list("d"), attr("value_float", .5)), node("Div", list("r", "d"), list("f")), node("Mul", list("x", "f"), out),
			},
			nil,
			func(x []float32) []float32 { return each(x, func(v float32) float32 { return 8 * v }) }, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := modelOf(tt.opset, tt.nodes, tt.inits...)
			m.Graph.Input[0] = valueInfo("x", pb.TensorProto_FLOAT, "N", 2, 3)
			f := read(t, m)
			g, err := f.Graph()
			if err != nil {
				t.Fatal(err)
			}
			if notes := strings.Join(f.Notes(), "; "); (tt.note == "") != (notes == "") || !strings.Contains(notes, tt.note) {
				t.Errorf("notes %q, want %q", notes, tt.note)
			}
			if tt.want == nil {
				return
			}
			x := ramp(12)
			if d := deviation(t, run(t, g, params(t, f, g), x, 2), tt.want(x)); !(d <= 1e-6) {
				t.Errorf("the outputs deviate by %g", d)
			}
		})
	}
}

// ops lists the operators of a graph without its constants.
func ops(g *graph.Graph) []string {
	var out []string
	for _, n := range g.Nodes {
		if n.Op != "Constant" {
			out = append(out, n.Op)
		}
	}
	return out
}

// constants are the integers in the inputs of the last node, from input i on.
func constants(t testing.TB, g *graph.Graph, i int) [][]int64 {
	t.Helper()
	var out [][]int64
	for _, name := range g.Nodes[len(g.Nodes)-1].Inputs[i:] {
		if c := g.Constants()[name]; c != nil && c.DType() == tensor.I64 {
			out = append(out, tensor.Of[int64](c))
		} else {
			out = append(out, nil)
		}
	}
	return out
}

// TestCarriedForms brings forms of operators that only symmetries look at up to date.
func TestCarriedForms(t *testing.T) {
	for name, tt := range map[string]struct {
		opset int64
		node  *pb.NodeProto
		op    string
		want  [][]int64 // of inputs from 1 on; nil is none, or a float
		attrs graph.Attrs
	}{
		"squeeze":   {11, node("Squeeze", list("o"), list("y"), attr("axes", []int64{1})), "Squeeze", [][]int64{{1}}, graph.Attrs{}},
		"unsqueeze": {11, node("Unsqueeze", list("x"), list("y"), attr("axes", []int64{1, 2})), "Unsqueeze", [][]int64{{1, 2}}, graph.Attrs{}},
		"sum":       {12, node("ReduceSum", list("x"), list("y"), attr("axes", []int64{1})), "ReduceSum", [][]int64{{1}}, graph.Attrs{}},
		"max":       {17, node("ReduceMax", list("x"), list("y"), attr("axes", []int64{1})), "ReduceMax", [][]int64{{1}}, graph.Attrs{}},
		"split":     {11, node("Split", list("x"), list("y"), attr("split", []int64{4}), attr("axis", 1)), "Split", [][]int64{{4}}, graph.Attrs{"axis": int64(1)}},
		"parts":     {13, node("Split", list("x"), list("y"), attr("axis", 1)), "Split", nil, graph.Attrs{"axis": int64(1), "num_outputs": int64(1)}},
		"top":       {9, node("TopK", list("x"), list("y"), attr("k", 3)), "TopK", [][]int64{{3}}, graph.Attrs{}},
		"upsample": {
			9, node("Upsample", list("x", "s"), list("y"), attr("mode", "nearest")), "Resize",
			[][]int64{nil, nil},
			graph.Attrs{"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
		},
		"hardmax": {11, node("Hardmax", list("x"), list("y")), "Hardmax", nil, graph.Attrs{"axis": int64(1)}},
		"other domain": {
			13, &pb.NodeProto{OpType: "Gelu", Domain: "com.microsoft", Input: list("x"), Output: list("y")}, "com.microsoft.Gelu", nil, graph.Attrs{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := graphOf(t, modelOf(tt.opset, []*pb.NodeProto{tt.node}, floats("s", []int64{2}, 1, 2), floats("o", []int64{2, 1}, 1, 2)))
			last := g.Nodes[len(g.Nodes)-1]
			if last.Op != tt.op {
				t.Errorf("operator %s, want %s", last.Op, tt.op)
			}
			if d := cmp.Diff(tt.want, constants(t, g, 1)); d != "" {
				t.Errorf("inputs (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.attrs, last.Attrs); d != "" {
				t.Errorf("attributes (-want +got):\n%s", d)
			}
		})
	}
}

// TestUnknownOperator is carried: symmetries pin what it touches and name it, an engine refuses it.
func TestUnknownOperator(t *testing.T) {
	m := modelOf(13, []*pb.NodeProto{
		node("Gemm", list("x", "w1"), list("h")),
		{Name: "mystery", OpType: "Rune", Domain: "org.example", Input: list("h"), Output: list("r")},
		node("Gemm", list("r", "w2"), list("y")),
	}, floats("w1", []int64{4, 3}, ramp(12)...), floats("w2", []int64{3, 2}, ramp(6)...))
	m.Graph.ValueInfo = []*pb.ValueInfoProto{valueInfo("r", pb.TensorProto_FLOAT, "N", 3)}
	f := read(t, m)
	g, err := f.Graph()
	if err != nil {
		t.Fatal(err)
	}
	s, err := symmetry.Infer(g, params(t, f, g))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Groups) != 0 {
		t.Errorf("groups %v beside an operator that nobody knows", s.Groups)
	}
	if !slices.ContainsFunc(s.Pinned, func(p symmetry.Pin) bool {
		return p.Tensor == "w2" && strings.Contains(p.Why, "org.example.Rune")
	}) {
		t.Errorf("pinned %v", s.Pinned)
	}
	if _, err := nn.New[float32](g, nn.Options{}); !errors.Is(err, nn.ErrUnknownOperator) || !strings.Contains(err.Error(), `"mystery" (org.example.Rune)`) {
		t.Errorf("error %v", err)
	}
}

// TestShapesOfReshape turns computed targets into constants: an extent that stays is 0, another symbolic one -1.
func TestShapesOfReshape(t *testing.T) {
	shape := func(of, i string) []*pb.NodeProto {
		return []*pb.NodeProto{node("Shape", list(of), list("s"+i)), node("Gather", list("s"+i, i), list("d"+i))}
	}
	index := []*pb.TensorProto{
		{Name: "0", DataType: int32(pb.TensorProto_INT64), Int64Data: []int64{0}},
		{Name: "1", DataType: int32(pb.TensorProto_INT64), Int64Data: []int64{1}},
		integers("first", 0), integers("minus", -1), integers("six", 6), integers("two", 2),
		integers("one", 1), integers("seven", 7), integers("numbers", 13, -5), integers("row", 1, 2), integers("places", 2, 1), integers("data", 0, 9, 9),
	}
	for name, tt := range map[string]struct {
		nodes []*pb.NodeProto
		want  []int64
	}{
		"x.view(x.size(0), -1)": {append(shape("x", "0"), node("Unsqueeze", list("d0", "first"), list("u")),
			node("Concat", list("u", "minus"), list("t"), attr("axis", 0))), []int64{0, -1}},
		"x.view(x.size(0) * x.size(1), 6)": {append(append(shape("x", "0"), shape("x", "1")...), node("Mul", list("d0", "d1"), list("p")),
			node("Unsqueeze", list("p", "first"), list("u")), node("Concat", list("u", "six"), list("t"), attr("axis", 0))), []int64{-1, 6}},
		"shape[:1] + [2, 6] by Slice": {[]*pb.NodeProto{
			node("Shape", list("x"), list("s")), node("Slice", list("s", "first", "two"), list("u")),
			node("ReduceProd", list("u"), list("p"), attr("keepdims", 1)), node("Concat", list("p", "six"), list("t"), attr("axis", 0)),
		}, []int64{-1, 6}},
		"Shape with start and end": {[]*pb.NodeProto{
			node("Shape", list("x"), list("u"), attr("start", 0), attr("end", 1)),
			node("Concat", list("u", "two", "six"), list("t"), attr("axis", 0)),
		}, []int64{0, 2, 6}},
		"Mod, Expand, Concat and ScatterND, as in shifted windows": {[]*pb.NodeProto{
			node("Mod", list("numbers", "seven"), list("m")), node("Expand", list("m", "row"), list("e")),
			node("Concat", list("e", "e"), list("both"), attr("axis", 0)), node("Slice", list("both", "first", "one"), list("r")),
			node("Reshape", list("r", "two"), list("updates")), node("Unsqueeze", list("places", "one"), list("at")),
			node("ScatterND", list("data", "at", "updates"), list("t")),
		}, []int64{0, 2, 6}},
	} {
		t.Run(name, func(t *testing.T) {
			m := modelOf(17, append(tt.nodes, node("Reshape", list("x", "t"), list("y"))), index...)
			m.Graph.Input[0] = valueInfo("x", pb.TensorProto_FLOAT, "batch size", 2, 6)
			g := graphOf(t, m)
			if d := cmp.Diff([][]int64{tt.want}, constants(t, g, 1)); d != "" {
				t.Errorf("target (-want +got):\n%s", d)
			}
			if got := ops(g); !slices.Equal(got, []string{"Reshape"}) {
				t.Errorf("operators %v", got)
			}
			if _, err := g.InferShapes(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFixedBatch: a batch of fixed size is freed where samples are computed one by one, and nowhere else.
func TestFixedBatch(t *testing.T) {
	w := floats("w", []int64{4, 4}, ramp(16)...)
	for name, tt := range map[string]struct {
		freed bool
		nodes []*pb.NodeProto
		out   []any
	}{
		"linear":            {true, []*pb.NodeProto{node("MatMul", list("x", "w"), list("y"))}, []any{3, 4}},
		"reshape":           {true, []*pb.NodeProto{node("Constant", nil, list("s"), attr("value_ints", []int64{3, 2, 2})), node("Reshape", list("x", "s"), list("y"))}, nil},
		"softmax along":     {true, []*pb.NodeProto{node("Softmax", list("x"), list("y"))}, nil},
		"softmax across":    {false, []*pb.NodeProto{node("Softmax", list("x"), list("y"), attr("axis", 0))}, nil},
		"transpose":         {false, []*pb.NodeProto{node("Transpose", list("x"), list("y"))}, nil},
		"twice the batch":   {false, []*pb.NodeProto{node("Concat", list("x", "x"), list("y"), attr("axis", 0))}, nil},
		"batches mixed":     {false, []*pb.NodeProto{node("Gemm", list("x", "x"), list("y"), attr("transB", 1))}, nil},
		"unknown operator":  {false, []*pb.NodeProto{node("CumSum", list("x", "axis"), list("y"))}, nil},
		"mean of the batch": {false, []*pb.NodeProto{node("ReduceMean", list("x"), list("m"), attr("axes", []int64{0})), node("Sub", list("x", "m"), list("y"))}, nil},
		"constant of batch": {false, []*pb.NodeProto{node("Add", list("x", "c"), list("y"))}, nil},
		"parts of a sample": {true, []*pb.NodeProto{node("Gather", list("x", "axis"), list("y"), attr("axis", 1))}, nil},
		"one sample":        {false, []*pb.NodeProto{node("Gather", list("x", "axis"), list("y"), attr("axis", 0))}, nil},
		"rows of a table": {true, []*pb.NodeProto{
			node("Cast", list("x"), list("i"), attr("to", int(pb.TensorProto_INT64))), node("Gather", list("w", "i"), list("y")),
		}, nil},
		"samples by number": {false, []*pb.NodeProto{
			node("Cast", list("x"), list("i"), attr("to", int(pb.TensorProto_INT64))), node("Gather", list("x", "i"), list("y")),
		}, nil},
		"elements": {true, []*pb.NodeProto{
			node("Cast", list("x"), list("i"), attr("to", int(pb.TensorProto_INT64))), node("GatherElements", list("x", "i"), list("y"), attr("axis", 1)),
		}, nil},
		"elements of samples": {false, []*pb.NodeProto{
			node("Cast", list("x"), list("i"), attr("to", int(pb.TensorProto_INT64))), node("GatherElements", list("x", "i"), list("y"), attr("axis", 0)),
		}, nil},
		"a choice":            {true, []*pb.NodeProto{node("Less", list("x", "row"), list("l")), node("Where", list("l", "x", "row"), list("y"))}, nil},
		"a choice by sample":  {false, []*pb.NodeProto{node("Less", list("x", "c"), list("l")), node("Where", list("l", "x", "row"), list("y"))}, nil},
		"triangle of samples": {false, []*pb.NodeProto{node("Trilu", list("x"), list("y"))}, nil},
		"greatest":            {true, []*pb.NodeProto{node("ReduceMax", list("x"), list("m"), attr("axes", []int64{1})), node("Sub", list("x", "m"), list("y"))}, nil},
		"greatest of all":     {false, []*pb.NodeProto{node("ReduceMax", list("x"), list("m"), attr("axes", []int64{0})), node("Sub", list("x", "m"), list("y"))}, nil},
	} {
		m := modelOf(13, tt.nodes, w, floats("c", []int64{3, 4}, ramp(12)...), floats("row", []int64{1, 4}, ramp(4)...),
			&pb.TensorProto{Name: "axis", DataType: int32(pb.TensorProto_INT64), Dims: []int64{1}, Int64Data: []int64{0}})
		m.Graph.Input[0] = valueInfo("x", pb.TensorProto_FLOAT, 3, 4)
		g := graphOf(t, m)
		if freed := !g.Inputs[0].Shape[0].IsFixed(); freed != tt.freed {
			t.Errorf("%s: the input has the shape %s", name, g.Inputs[0].Shape)
		}
	}
}

// TestEncodings reads the same numbers from every field that may hold them.
func TestEncodings(t *testing.T) {
	half, brain := []int32{0x3c00, 0xc000, 0x3800}, []int32{0x3f80, 0xc000, 0x3f00} // 1, -2, 0.5
	raw16 := func(bits []int32) []byte {
		var b []byte
		for _, v := range bits {
			b = binary.LittleEndian.AppendUint16(b, uint16(v))
		}
		return b
	}
	numbers := []float64{1, -2, .5}
	for name, p := range map[string]*pb.TensorProto{
		"float_data":          {DataType: int32(pb.TensorProto_FLOAT), FloatData: []float32{1, -2, .5}},
		"raw float":           floats("", nil, 1, -2, .5),
		"double_data":         {DataType: int32(pb.TensorProto_DOUBLE), DoubleData: numbers},
		"float16 as int32":    {DataType: int32(pb.TensorProto_FLOAT16), Int32Data: half},
		"float16 raw":         {DataType: int32(pb.TensorProto_FLOAT16), RawData: raw16(half)},
		"bfloat16 as int32":   {DataType: int32(pb.TensorProto_BFLOAT16), Int32Data: brain},
		"bfloat16 raw":        {DataType: int32(pb.TensorProto_BFLOAT16), RawData: raw16(brain)},
		"int64_data":          {DataType: int32(pb.TensorProto_INT64), Int64Data: []int64{1, -2, 0}},
		"int32_data":          {DataType: int32(pb.TensorProto_INT32), Int32Data: []int32{1, -2, 0}},
		"int16 as int32":      {DataType: int32(pb.TensorProto_INT16), Int32Data: []int32{1, -2, 0}},
		"int8 as int32":       {DataType: int32(pb.TensorProto_INT8), Int32Data: []int32{1, -2, 0}},
		"int8 raw":            {DataType: int32(pb.TensorProto_INT8), RawData: []byte{1, 0xfe, 0}},
		"uint8 as int32":      {DataType: int32(pb.TensorProto_UINT8), Int32Data: []int32{1, 254, 0}},
		"uint64_data":         {DataType: int32(pb.TensorProto_UINT64), Uint64Data: []uint64{1, 1<<64 - 2, 0}},
		"uint32 as uint64":    {DataType: int32(pb.TensorProto_UINT32), Uint64Data: []uint64{1, 1<<32 - 2, 0}},
		"bool as int32":       {DataType: int32(pb.TensorProto_BOOL), Int32Data: []int32{1, 1, 0}},
		"bool raw":            {DataType: int32(pb.TensorProto_BOOL), RawData: []byte{1, 1, 0}},
		"float8e5m2 as int32": {DataType: int32(pb.TensorProto_FLOAT8E5M2), Int32Data: []int32{0x3c, 0xc0, 0x38}},
	} {
		p.Name, p.Dims = "t", []int64{3}
		m := modelOf(13, []*pb.NodeProto{node("Relu", list("x"), list("y"))}, p)
		got, err := read(t, m).Read("t")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var want []byte
		for i, v := range numbers {
			width := got.DType().Size()
			switch b := make([]byte, 8); {
			case got.DType() == tensor.F64:
				want = binary.LittleEndian.AppendUint64(want, math.Float64bits(v))
			case got.DType() == tensor.F32:
				want = binary.LittleEndian.AppendUint32(want, math.Float32bits(float32(v)))
			case got.DType() == tensor.F16:
				want = append(want, raw16(half[i:i+1])...)
			case got.DType() == tensor.BF16:
				want = append(want, raw16(brain[i:i+1])...)
			case got.DType() == tensor.F8E5M2:
				want = append(want, []byte{0x3c, 0xc0, 0x38}[i])
			case got.DType() == tensor.Bool:
				want = append(want, []byte{1, 1, 0}[i])
			default:
				binary.LittleEndian.PutUint64(b, uint64(int64(v)))
				want = append(want, b[:width]...)
			}
		}
		if !slices.Equal(got.Bytes(), want) {
			t.Errorf("%s: %v is % x, want % x", name, got, got.Bytes(), want)
		}
	}
}

// TestWrongNumbers refuses numbers that are none of their type, when they are read.
func TestWrongNumbers(t *testing.T) {
	for want, p := range map[string]*pb.TensorProto{
		"element 1 is 256, which is no U8":    {DataType: int32(pb.TensorProto_UINT8), Int32Data: []int32{1, 256}},
		"element 0 is 2, which is no BOOL":    {DataType: int32(pb.TensorProto_BOOL), Int32Data: []int32{2, 0}},
		"element 1 is 65536, which is no F16": {DataType: int32(pb.TensorProto_FLOAT16), Int32Data: []int32{0, 65536}},
		"data has 3 numbers, not 2":           {DataType: int32(pb.TensorProto_INT64), Int64Data: []int64{1, 2, 3}},
		"neither 0 nor 1":                     {DataType: int32(pb.TensorProto_BOOL), RawData: []byte{1, 7}},
	} {
		p.Name, p.Dims = "t", []int64{2}
		_, err := read(t, modelOf(13, []*pb.NodeProto{node("Relu", list("x"), list("y"))}, p)).Read("t")
		if want = strings.Replace(want, "data has 3 numbers, not 2", "data is not 2 numbers", 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestExternalData reads tensors from a file beside the model.
func TestExternalData(t *testing.T) {
	folder := t.TempDir()
	data := make([]byte, 100)
	for i, v := range []float32{1, 2, 3, 4, 5, 6, 7, 8} {
		binary.LittleEndian.PutUint32(data[40+4*i:], math.Float32bits(v))
	}
	if err := os.Mkdir(filepath.Join(folder, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "sub", "w.bin"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "m.onnx")
	if err := os.WriteFile(path, encode(t, located("location", "sub/w.bin", "offset", "40", "length", "32", "checksum", "00")), 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	w, err := f.Read("w")
	if err != nil {
		t.Fatal(err)
	}
	if got := tensor.Of[float32](w); !slices.Equal(got, []float32{1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("read %v", got)
	}
	if got := f.DataFiles(); !slices.Equal(got, []string{filepath.Join(folder, "sub", "w.bin")}) {
		t.Errorf("files %v", got)
	}
}

// TestSymmetryOfExports finds, in each form of one network, the groups that its architecture has, and proves them.
func TestSymmetryOfExports(t *testing.T) {
	for network, want := range map[string]int{
		"mlp": 2, "cnn": 2, "sequence": 1,
		"resnet20": 9 + 1 + 2 + 2, // the inside of each block, the first stage, and what each later stage adds before and behind it
	} {
		for _, path := range fixtures(t, network+"*.onnx") {
			f := open(t, path)
			g, err := f.Graph()
			if err != nil {
				t.Fatal(err)
			}
			p := params(t, f, g)
			s, err := symmetry.Infer(g, p)
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Groups) != want {
				t.Errorf("%s: %d groups, want %d: %v", path, len(s.Groups), want, s.Groups)
			}
			if strings.HasSuffix(path, "resnet20-11.onnx") || strings.HasSuffix(path, "resnet20-17.onnx") || strings.HasSuffix(path, "-fixed.onnx") {
				continue // the same graphs as others
			}
			proof, err := symmetry.Verify(t.Context(), g, s, p, symmetry.VerifyOptions{Threads: 1, Samples: 2})
			if err != nil {
				t.Errorf("%s: %v", path, err)
			} else if len(proof.Unproven) > 0 {
				t.Errorf("%s: unproven %v", path, proof.Unproven)
			}
		}
	}
}

// ExampleOpen shows a network that PyTorch has exported.
func ExampleOpen() {
	f, err := onnx.Open("testdata/mlp.onnx")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	g, err := f.Graph()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(g.Inputs[0].Name, g.Inputs[0].Shape, ops(g))
	for _, p := range g.Params[:2] {
		fmt.Println(p.Name, p.Shape)
	}
	// Output:
	// x [batch 12] [Gemm Relu Gemm Tanh Gemm]
	// fc1.weight [16 12]
	// fc1.bias [16]
}
