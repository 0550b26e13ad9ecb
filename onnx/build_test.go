package onnx_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/onnx"
	pb "github.com/rebasin/rebasin/onnx/internal/onnxpb"
)

// A description of a model, for tests: what is not said is that of a small valid one.

// extents are numbers, names of symbols (strings), or nil.
func valueInfo(name string, kind pb.TensorProto_DataType, extents ...any) *pb.ValueInfoProto {
	shape := &pb.TensorShapeProto{}
	for _, e := range extents {
		d := &pb.TensorShapeProto_Dimension{}
		switch e := e.(type) {
		case int:
			d.Value = &pb.TensorShapeProto_Dimension_DimValue{DimValue: int64(e)}
		case string:
			d.Value = &pb.TensorShapeProto_Dimension_DimParam{DimParam: e}
		}
		shape.Dim = append(shape.Dim, d)
	}
	return &pb.ValueInfoProto{Name: name, Type: &pb.TypeProto{Value: &pb.TypeProto_TensorType{
		TensorType: &pb.TypeProto_Tensor{ElemType: int32(kind), Shape: shape},
	}}}
}

// floats is an initializer with raw data.
func floats(name string, dims []int64, values ...float32) *pb.TensorProto {
	raw := []byte{}
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return &pb.TensorProto{Name: name, DataType: int32(pb.TensorProto_FLOAT), Dims: dims, RawData: raw}
}

func integers(name string, values ...int64) *pb.TensorProto {
	return &pb.TensorProto{Name: name, DataType: int32(pb.TensorProto_INT64), Dims: []int64{int64(len(values))}, Int64Data: values}
}

// attr makes an attribute of a value's type.
func attr(name string, value any) *pb.AttributeProto {
	a := &pb.AttributeProto{Name: name}
	switch v := value.(type) {
	case int:
		a.Type, a.I = pb.AttributeProto_INT, int64(v)
	case float64:
		a.Type, a.F = pb.AttributeProto_FLOAT, float32(v)
	case string:
		a.Type, a.S = pb.AttributeProto_STRING, []byte(v)
	case []int64:
		a.Type, a.Ints = pb.AttributeProto_INTS, v
	case []float32:
		a.Type, a.Floats = pb.AttributeProto_FLOATS, v
	case *pb.TensorProto:
		a.Type, a.T = pb.AttributeProto_TENSOR, v
	case *pb.GraphProto:
		a.Type, a.G = pb.AttributeProto_GRAPH, v
	default:
		panic("attr: unknown type")
	}
	return a
}

func node(op string, inputs, outputs []string, attrs ...*pb.AttributeProto) *pb.NodeProto {
	return &pb.NodeProto{Name: op + "_" + outputs[0], OpType: op, Input: inputs, Output: outputs, Attribute: attrs}
}

// modelOf is a network y(x) with x of shape [N, 4], unless the change says otherwise.
func modelOf(opset int64, nodes []*pb.NodeProto, initializers ...*pb.TensorProto) *pb.ModelProto {
	return &pb.ModelProto{
		IrVersion: 8, ProducerName: "test", OpsetImport: []*pb.OperatorSetIdProto{{Version: opset}},
		Graph: &pb.GraphProto{
			Name: "test", Node: nodes, Initializer: initializers,
			Input:  []*pb.ValueInfoProto{valueInfo("x", pb.TensorProto_FLOAT, "N", 4)},
			Output: []*pb.ValueInfoProto{{Name: "y"}},
		},
	}
}

func encode(t testing.TB, m *pb.ModelProto) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// read opens a model that lies in memory.
func read(t testing.TB, m *pb.ModelProto) *onnx.File {
	t.Helper()
	b := encode(t, m)
	f, err := onnx.NewFile("test.onnx", bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// graphOf converts a model that must convert.
func graphOf(t testing.TB, m *pb.ModelProto) *graph.Graph {
	t.Helper()
	g, err := read(t, m).Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// list is a shorthand.
func list(names ...string) []string { return names }
