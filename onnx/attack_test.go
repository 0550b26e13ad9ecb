package onnx_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/onnx"
	pb "github.com/rebasin/rebasin/onnx/internal/onnxpb"
)

// update makes TestAttacks write its files anew, and the seeds of the fuzzer.
var update = os.Getenv("UPDATE_CORPUS") != ""

// linear is y = x·wᵀ with w of shape [2, 4].
func linear(change func(m *pb.ModelProto, w *pb.TensorProto)) *pb.ModelProto {
	w := floats("w", []int64{2, 4}, 1, 2, 3, 4, 5, 6, 7, 8)
	m := modelOf(13, []*pb.NodeProto{node("Gemm", list("x", "w"), list("y"), attr("transB", 1))}, w)
	change(m, w)
	return m
}

// located puts the data of w beside the model.
func located(pairs ...string) *pb.ModelProto {
	return linear(func(_ *pb.ModelProto, w *pb.TensorProto) {
		w.RawData, w.DataLocation = nil, pb.TensorProto_EXTERNAL
		for i := 0; i < len(pairs); i += 2 {
			w.ExternalData = append(w.ExternalData, &pb.StringStringEntryProto{Key: pairs[i], Value: pairs[i+1]})
		}
	})
}

// field is a field of a message on the wire.
func field(number protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), content)
}

// claim is a field that says it has so many bytes.
func claim(number protowire.Number, length uint64, content []byte) []byte {
	return append(protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.BytesType), length), content...)
}

// nested is a graph in an attribute of a node in a graph, and so on.
func nested(depth int) []byte {
	var graph []byte
	for range depth {
		graph = field(1, append(field(4, []byte("If")), field(5, append(field(6, graph), 20<<3&0x7f|0x80, 20>>4, 5))...))
	}
	return append(field(7, graph), field(8, []byte{2 << 3, 13})...)
}

// deepType is a sequence of sequences as the type of an input: a field that is not declared here.
func deepType(depth int) []byte {
	var b []byte
	for range depth {
		b = field(4, field(1, b))
	}
	return field(7, field(11, append(field(1, []byte("x")), field(2, b)...)))
}

// attack is a file that is wrong in one way, and what must be said about it.
type attack struct {
	name, want string
	file       []byte
	valid      bool // ONNX, but not supported
}

func attacks(t testing.TB) []attack {
	of := func(name, want string, m *pb.ModelProto) attack {
		return attack{name: name, want: want, file: encode(t, m)}
	}
	weight := func(name, want string, change func(w *pb.TensorProto)) attack {
		return of(name, want, linear(func(_ *pb.ModelProto, w *pb.TensorProto) { change(w) }))
	}
	model := func(name, want string, change func(m *pb.ModelProto)) attack {
		return of(name, want, linear(func(m *pb.ModelProto, _ *pb.TensorProto) { change(m) }))
	}
	body := func(name, want string, opset int64, nodes ...*pb.NodeProto) attack {
		return of(name, want, modelOf(opset, nodes, floats("w", []int64{2, 4}, 1, 2, 3, 4, 5, 6, 7, 8), integers("k", 1, 2)))
	}
	valid := func(a attack) attack {
		a.valid = true
		return a
	}
	raw := func(name, want string, b []byte) attack { return attack{name: name, want: want, file: b} }
	whole := encode(t, linear(func(*pb.ModelProto, *pb.TensorProto) {}))
	y := list("y")
	return []attack{
		raw("empty", "it has no graph", nil),
		raw("zeros", "field number 0", make([]byte, 64)),
		raw("text", "not an ONNX model", []byte("PK\x03\x04 this is something else altogether")),
		raw("group_wire_type", "wire type 3", []byte{0x3b, 0x3c}),
		raw("truncated", "bytes follow", whole[:len(whole)/2]),
		raw("length_huge", "a field of 9223372036854775807 bytes, but only 0 bytes follow", claim(7, 1<<63-1, nil)),
		raw("length_negative", "a field of 18446744073709551615 bytes", claim(7, 1<<64-1, nil)),
		raw("varint_endless", "not an ONNX model", bytes.Repeat([]byte{0xff}, 64)),
		raw("two_graphs", "the model has two graphs", append(field(7, nil), field(7, nil)...)),
		raw("field_beyond_message", "a field reaches beyond its message", field(7, protowire.AppendTag(nil, 9, protowire.Fixed64Type))),
		raw("name_not_utf8", "invalid UTF-8", field(7, field(2, []byte("\xff\xfe")))),
		raw("deep_subgraphs", "nested more than 32 deep", nested(1000)),
		valid(raw("deep_subgraphs_few", "(If): attribute \"\": control flow", nested(5))),
		raw("deep_types", "names no operator set", deepType(5000)),
		raw("many_messages", "more than 2097152 messages", field(7, bytes.Repeat(field(1, nil), 1<<21+1))),
		raw("data_unpacked", "its data is not packed", field(7, field(5, protowire.AppendFixed32(protowire.AppendTag(nil, 4, protowire.Fixed32Type), 0)))),
		raw("data_twice", "it has data twice", field(7, field(5, append(field(9, []byte("abcd")), field(9, []byte("efgh"))...)))),

		model("no_opset", "names no operator set", func(m *pb.ModelProto) { m.OpsetImport = nil }),
		model("two_opsets", "two operator sets", func(m *pb.ModelProto) {
			m.OpsetImport = append(m.OpsetImport, &pb.OperatorSetIdProto{Domain: "ai.onnx", Version: 9})
		}),
		valid(model("opset_old", "operator set 8 is not supported; 9 to 23 are", func(m *pb.ModelProto) { m.OpsetImport[0].Version = 8 })),
		valid(model("opset_new", "operator set 99 is not supported", func(m *pb.ModelProto) { m.OpsetImport[0].Version = 99 })),
		model("no_outputs", "the graph has no outputs", func(m *pb.ModelProto) { m.Graph.Output = nil }),
		model("output_undefined", `output "z" is not defined`, func(m *pb.ModelProto) { m.Graph.Output[0].Name = "z" }),
		model("output_twice", "listed twice", func(m *pb.ModelProto) { m.Graph.Output = append(m.Graph.Output, m.Graph.Output[0]) }),
		valid(model("input_without_type", `input "x": its type is not that of a tensor`, func(m *pb.ModelProto) { m.Graph.Input[0].Type = nil })),
		valid(model("input_of_strings", "elements of type STRING", func(m *pb.ModelProto) {
			m.Graph.Input[0] = valueInfo("x", pb.TensorProto_STRING, "N", 4)
		})),
		model("input_of_rank_1000", "rank 1000 exceeds", func(m *pb.ModelProto) {
			m.Graph.Input[0] = valueInfo("x", pb.TensorProto_FLOAT, make([]any, 1000)...)
		}),
		valid(model("sparse", `tensor "s": sparse initializers`, func(m *pb.ModelProto) {
			m.Graph.SparseInitializer = []*pb.SparseTensorProto{{Values: floats("s", []int64{1}, 1)}}
		})),

		weight("name_missing", "initializer 0 has no name", func(w *pb.TensorProto) { w.Name = "" }),
		model("name_twice", `tensor "w": two initializers have this name`, func(m *pb.ModelProto) {
			m.Graph.Initializer = append(m.Graph.Initializer, m.Graph.Initializer[0])
		}),
		weight("type_unknown", `tensor "w": elements of the unknown type 77`, func(w *pb.TensorProto) { w.DataType = 77 }),
		weight("type_missing", "unknown type 0", func(w *pb.TensorProto) { w.DataType = 0 }),
		valid(weight("type_string", "elements of type STRING", func(w *pb.TensorProto) { w.DataType = int32(pb.TensorProto_STRING) })),
		valid(weight("type_int4", "elements of type INT4", func(w *pb.TensorProto) { w.DataType = int32(pb.TensorProto_INT4) })),
		weight("type_confused", "differ in type", func(w *pb.TensorProto) { w.DataType = int32(pb.TensorProto_INT32) }),
		weight("type_confused_size", "needs 64 bytes, file has 32", func(w *pb.TensorProto) { w.DataType = int32(pb.TensorProto_DOUBLE) }),
		weight("field_confused", "stand in the field of another type", func(w *pb.TensorProto) { w.RawData, w.DoubleData = nil, make([]float64, 8) }),
		weight("extent_negative", "extent -2 is not possible", func(w *pb.TensorProto) { w.Dims[0] = -2 }),
		weight("extent_huge", "needs 4611686018427387904 bytes, file has 32", func(w *pb.TensorProto) { w.Dims = []int64{1 << 60} }),
		weight("extents_overflow", "overflows", func(w *pb.TensorProto) { w.Dims = []int64{1 << 32, 1 << 32} }),
		weight("extents_overflow_zero", "overflows", func(w *pb.TensorProto) { w.Dims = []int64{1 << 32, 1 << 32, 0} }),
		weight("rank_huge", "more than 16 extents", func(w *pb.TensorProto) { w.Dims = make([]int64, 1000) }),
		weight("data_missing", "the file has no data for it", func(w *pb.TensorProto) { w.RawData = nil }),
		weight("data_short", "needs 32 bytes, file has 31", func(w *pb.TensorProto) { w.RawData = w.RawData[:31] }),
		weight("data_long", "needs 32 bytes, file has 33", func(w *pb.TensorProto) { w.RawData = append(w.RawData, 0) }),
		weight("numbers_few", "needs 8 numbers", func(w *pb.TensorProto) {
			w.RawData, w.DataType, w.Int32Data = nil, int32(pb.TensorProto_FLOAT16), make([]int32, 7)
		}),
		valid(weight("segment", "stored in segments", func(w *pb.TensorProto) { w.Segment = &pb.TensorProto_Segment{End: 1} })),
		weight("location_unknown", "unknown location 7", func(w *pb.TensorProto) { w.DataLocation = 7 }),

		of("external_absolute", "does not lie in the folder of the model", located("location", "/etc/passwd")),
		of("external_above", "does not lie in the folder of the model", located("location", "../secret")),
		of("external_above_inside", "does not lie in the folder of the model", located("location", "a/../../secret")),
		of("external_backslash", "does not lie in the folder of the model", located("location", `..\secret`)),
		of("external_drive", "does not lie in the folder of the model", located("location", `C:secret`)),
		of("external_nul", "does not lie in the folder of the model", located("location", "a\x00b")),
		of("external_nowhere", "external data has no location", located()),
		of("external_absent", `external data "absent.data"`, located("location", "absent.data")),
		of("external_folder", "is not a regular file", located("location", ".")),
		of("external_key_twice", "has the key", located("location", "a", "location", "b")),
		of("external_offset_negative", `the offset "-1"`, located("location", "d", "offset", "-1")),
		of("external_offset_overflow", `the offset "9223372036854775808"`, located("location", "d", "offset", "9223372036854775808")),
		of("external_length", "needs 32 bytes, external data has 33", located("location", "d", "length", "33")),
		of("external_length_text", `the length "0x20"`, located("location", "d", "length", "0x20")),
		of("external_and_inline", "both in the model and beside it", linear(func(_ *pb.ModelProto, w *pb.TensorProto) {
			w.DataLocation = pb.TensorProto_EXTERNAL
		})),

		body("operator_missing", "has no operator", 13, node("", list("x"), y)),
		body("node_without_output", "no output has a name", 13, node("Relu", list("x"), list(""))),
		body("input_undefined", `node "Relu_y" (Relu): input "nothing" is not defined`, 13, node("Relu", list("nothing"), y)),
		body("value_twice", `value "y" is defined twice`, 13, node("Relu", list("x"), y), node("Tanh", list("x"), y)),
		body("value_is_input", `value "x" is defined twice`, 13, node("Relu", list("w"), list("x")), node("Relu", list("x"), y)),
		body("cycle_of_one", "the graph has a cycle", 13, node("Relu", list("y"), y)),
		body("cycle", `node "Tanh_h" (Tanh): input "y" depends on the node's own output: the graph has a cycle`, 13,
			node("Add", list("x", "h"), y), node("Tanh", list("y"), list("h"))),
		valid(body("if", `node "If_y" (If): attribute "then_branch": control flow`, 13, node("If", list("x"), y, attr("then_branch", &pb.GraphProto{})))),
		valid(body("loop", `node "Loop_y" (Loop): control flow is not supported`, 13, node("Loop", list("x"), y))),
		valid(body("scan", `node "Scan_y" (Scan): attribute "body": control flow`, 13, node("Scan", list("x"), y, attr("body", &pb.GraphProto{})))),
		body("attribute_twice", `attribute "alpha" stands there twice`, 13, node("LeakyRelu", list("x"), y, attr("alpha", .1), attr("alpha", .2))),
		body("attribute_type", "attribute alpha is INT, not FLOAT", 13, node("LeakyRelu", list("x"), y, attr("alpha", 1))),
		body("attribute_type_unknown", "unknown type 0", 13, node("LeakyRelu", list("x"), y, &pb.AttributeProto{Name: "alpha", F: 1})),
		body("attribute_unknown", "unknown attribute beta", 13, node("LeakyRelu", list("x"), y, attr("beta", .1))),
		body("attribute_reference", "outside of a function", 13, node("LeakyRelu", list("x"), y, &pb.AttributeProto{Name: "alpha", RefAttrName: "a"})),
		body("constant_empty", "it has no tensor", 13, node("Constant", nil, y, &pb.AttributeProto{Name: "value", Type: pb.AttributeProto_TENSOR})),
		body("constant_short", "needs 16 bytes, file has 4", 13, node("Constant", nil, y, attr("value", floats("", []int64{4}, 1)))),
		body("constant_huge", "overflows", 13, node("Constant", nil, y, attr("value", floats("", []int64{1 << 40, 1 << 40}, 1)))),
		body("shapes_do_not_fit", `node "MatMul_y" (MatMul)`, 13, node("MatMul", list("x", "w"), y)),
		body("too_few_inputs", "1 inputs, not 2 to 3", 13, node("Gemm", list("x"), y)),
		body("reshape_impossible", "do not fill target", 13,
			node("Constant", nil, list("s"), attr("value", integers("", 7, 7))), node("Reshape", list("x", "s"), y)),
		body("weight_is_integer", "differ in type", 13, node("Add", list("x", "k"), y)),
		body("transpose_wrong", "attribute perm", 13, node("Transpose", list("x"), y, attr("perm", []int64{0, 0}))),
		body("softmax_axis", "axis 9 is outside", 11, node("Softmax", list("x"), y, attr("axis", 9))),
		body("name_on_two_lines", `node "a?b" (Gemm)`, 13, &pb.NodeProto{Name: "a\nb", OpType: "Gemm", Input: list("x"), Output: y}),
	}
}

// openAttack opens a file and converts its graph.
func openAttack(path string) error {
	f, err := onnx.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Graph()
	return err
}

// Every attack is refused with one line that names the file and says what is wrong. The files are kept, so that they survive a change of what makes
// them.
func TestAttacks(t *testing.T) {
	for _, a := range attacks(t) {
		t.Run(a.name, func(t *testing.T) {
			path := filepath.Join("testdata", "attacks", a.name+".onnx")
			if len(a.file) > 1<<16 {
				path = filepath.Join(t.TempDir(), "a.onnx") // a few megabytes of the same bytes
				if err := os.WriteFile(path, a.file, 0o600); err != nil {
					t.Fatal(err)
				}
			} else if update {
				if err := os.WriteFile(path, a.file, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			err := openAttack(path)
			if err == nil {
				t.Fatal("opened")
			}
			text := err.Error()
			if !strings.HasPrefix(text, fmt.Sprintf("onnx: reading %q: ", path)) || !strings.Contains(text, a.want) {
				t.Errorf("error is\n%s\nwant %q", text, a.want)
			}
			if errors.Is(err, checkpoint.ErrFormat) == a.valid || errors.Is(err, onnx.ErrUnsupported) != a.valid {
				t.Errorf("ErrFormat %v, ErrUnsupported %v", errors.Is(err, checkpoint.ErrFormat), errors.Is(err, onnx.ErrUnsupported))
			}
			if strings.ContainsAny(text, "\n\x00") || len(text) > 700 {
				t.Errorf("not one short line: %q", text)
			}
		})
	}
}

// The folder holds nothing that the table does not know.
func TestAttackFiles(t *testing.T) {
	known := map[string]bool{}
	for _, a := range attacks(t) {
		known[a.name+".onnx"] = true
	}
	files, err := os.ReadDir(filepath.Join("testdata", "attacks"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[f.Name()] {
			t.Errorf("%s is in no table", f.Name())
		}
	}
}

// Opening a small file takes little memory, whatever sizes it declares.
func TestDeclaredSizesAllocateNothing(t *testing.T) {
	const limit = 4 << 20
	for _, a := range attacks(t) {
		if len(a.file) > 1<<16 {
			continue
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := readAttack(a.file)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; err == nil || took > limit {
			t.Errorf("%s: %d bytes allocated, error %v", a.name, took, err)
		}
	}
}

func readAttack(b []byte) error {
	f, err := onnx.NewFile("testdata/a.onnx", bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	_, err = f.Graph()
	return err
}

// No proper beginning of PyTorch's files is a model: the operator set stands last.
func TestEveryTruncation(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join("testdata", "mlp.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if err := readAttack(whole); err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := readAttack(whole[:n]); !errors.Is(err, checkpoint.ErrFormat) {
			t.Fatalf("the first %d of %d bytes: error %v", n, len(whole), err)
		}
	}
}

// External data does not leave the folder through a link, and no pipe is opened.
func TestExternalLinks(t *testing.T) {
	folder := t.TempDir()
	inner := filepath.Join(folder, "models")
	for path, content := range map[string]string{"secret": strings.Repeat("s", 64), "models/inside": strings.Repeat("i", 64)} {
		if err := os.MkdirAll(inner, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, path), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"out": filepath.Join(folder, "secret"), "up": "../secret", "in": "inside"} {
		if err := os.Symlink(target, filepath.Join(inner, link)); err != nil {
			t.Skip(err)
		}
		path := filepath.Join(inner, link+".onnx")
		if err := os.WriteFile(path, encode(t, located("location", link)), 0o600); err != nil {
			t.Fatal(err)
		}
		err := openAttack(path)
		if outside := link != "in"; outside != (err != nil) {
			t.Errorf("data behind the link %s: error %v", link, err)
		}
	}
}

// In the cache of huggingface_hub a snapshot's files are links to blobs in one folder. Data is read there, and not what else a link leads to.
func TestExternalLinksOfACache(t *testing.T) {
	cache := t.TempDir()
	snapshot, blobs := filepath.Join(cache, "snapshots", "1a2b", "onnx"), filepath.Join(cache, "blobs")
	for _, dir := range []string{snapshot, blobs} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for path, content := range map[string][]byte{
		"blobs/aaaa": encode(t, located("location", "model.onnx_data")), "blobs/bbbb": []byte(strings.Repeat("b", 64)), "secret": []byte(strings.Repeat("s", 64)),
	} {
		if err := os.WriteFile(filepath.Join(cache, path), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	model, data := filepath.Join(snapshot, "model.onnx"), filepath.Join(snapshot, "model.onnx_data")
	if err := os.Symlink("../../../blobs/aaaa", model); err != nil {
		t.Skip(err)
	}
	for target, want := range map[string]string{"../../../blobs/bbbb": "", "../../../secret": "path escapes", "../../../blobs/gone": "path escapes", "../../../blobs": "path escapes"} {
		if err := os.Symlink(target, data); err != nil {
			t.Fatal(err)
		}
		err := openAttack(model)
		if good := err == nil; good != (want == "") || !good && !strings.Contains(err.Error(), want) {
			t.Errorf("data behind a link to %s: error %v, want %q", target, err, want)
		}
		if err := os.Remove(data); err != nil {
			t.Fatal(err)
		}
	}
}

// Tensors cannot share the bytes of a small file of external data.
func TestExternalShared(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "d"), make([]byte, 48), 0o600); err != nil {
		t.Fatal(err)
	}
	m := located("location", "d")
	second := located("location", "d").Graph.Initializer[0]
	second.Name = "v"
	m.Graph.Initializer = append(m.Graph.Initializer, second)
	path := filepath.Join(folder, "a.onnx")
	if err := os.WriteFile(path, encode(t, m), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := openAttack(path); err == nil || !strings.Contains(err.Error(), `tensor "v": external data "d" has less bytes than its tensors together`) {
		t.Errorf("error %v", err)
	}
}
