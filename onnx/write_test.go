package onnx_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/onnx"
	pb "github.com/rebasin/rebasin/onnx/internal/onnxpb"
	"github.com/rebasin/rebasin/tensor"
)

// entries are tensors of a file, changed where change says so.
func entries(t testing.TB, f *onnx.File, change func(name string, x *tensor.Tensor) *tensor.Tensor) []checkpoint.Entry {
	t.Helper()
	var out []checkpoint.Entry
	for _, info := range f.Infos() {
		out = append(out, checkpoint.Entry{Info: info, Load: func() (*tensor.Tensor, error) {
			x, err := f.Read(info.Name)
			if err != nil {
				return nil, err
			}
			return change(info.Name, x), nil
		}})
	}
	return out
}

func unchanged(_ string, x *tensor.Tensor) *tensor.Tensor { return x }

// twice doubles float32.
func twice(_ string, x *tensor.Tensor) *tensor.Tensor {
	if x.DType() != tensor.F32 {
		return x
	}
	y := x.Clone()
	for i := range tensor.Of[float32](y) {
		tensor.Of[float32](y)[i] *= 2
	}
	return y
}

// TestWriteSame writes PyTorch's files with their own values: not one byte changes.
func TestWriteSame(t *testing.T) {
	for _, path := range fixtures(t, "*.onnx") {
		f := open(t, path)
		out := filepath.Join(t.TempDir(), "out.onnx")
		if err := f.Write(t.Context(), out, entries(t, f, unchanged), f.Metadata()); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: other bytes, error %v", path, err)
		}
	}
}

// mixed is a model with data in every field, with unknown fields in the model, the graph and a tensor, and metadata.
func mixed(t testing.TB) []byte {
	t.Helper()
	m := linear(func(m *pb.ModelProto, w *pb.TensorProto) {
		w.DocString = "a weight"
		m.DocString, m.Graph.DocString = "a model", "a graph"
		m.MetadataProps = []*pb.StringStringEntryProto{{Key: "author", Value: "somebody"}, {Key: "rebasin.seed", Value: "1"}, {Key: "z", Value: ""}}
		m.Graph.Initializer = append(m.Graph.Initializer,
			&pb.TensorProto{Name: "f", DataType: int32(pb.TensorProto_FLOAT), Dims: []int64{2}, FloatData: []float32{1, 2}},
			&pb.TensorProto{Name: "h", DataType: int32(pb.TensorProto_FLOAT16), Dims: []int64{3}, Int32Data: []int32{0x3c00, 0xbc00, 0}},
			&pb.TensorProto{Name: "d", DataType: int32(pb.TensorProto_DOUBLE), Dims: []int64{1}, DoubleData: []float64{.5}},
			integers("k", 1, -2, 3), &pb.TensorProto{Name: "e", DataType: int32(pb.TensorProto_FLOAT), Dims: []int64{0}},
		)
		unknown := protowire.AppendString(protowire.AppendTag(nil, 1000, protowire.BytesType), "from the future")
		for _, message := range []proto.Message{m, m.Graph, w, m.Graph.Initializer[2]} {
			message.ProtoReflect().SetUnknown(unknown)
		}
	})
	return encode(t, m)
}

// parse reads a model whole, apart from how this package does.
func parse(t testing.TB, path string) *pb.ModelProto {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m := &pb.ModelProto{}
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestWritePatches changes values in every field that can hold them, and metadata; everything else stays.
func TestWritePatches(t *testing.T) {
	b := mixed(t)
	path := filepath.Join(t.TempDir(), "in.onnx")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	values := map[string]*tensor.Tensor{
		"w": tensor.FromSlice(tensor.Shape{2, 4}, []float32{8, 7, 6, 5, 4, 3, 2, 1}),
		"f": tensor.FromSlice(tensor.Shape{2}, []float32{-1, -2}),
		"d": tensor.FromSlice(tensor.Shape{1}, []float64{.25}),
		"k": tensor.FromSlice(tensor.Shape{3}, []int64{1 << 40, 0, -1}),
	}
	var err error
	if values["h"], err = tensor.FromSlice(tensor.Shape{3}, []float32{2, 4, 8}).Convert(tensor.F16); err != nil {
		t.Fatal(err)
	}
	changed := entries(t, f, func(name string, x *tensor.Tensor) *tensor.Tensor {
		if y := values[name]; y != nil {
			return y
		}
		return x
	})
	out := filepath.Join(t.TempDir(), "out.onnx")
	if err := f.Write(t.Context(), out, changed, map[string]string{"author": "somebody", "z": "new", "rebasin.method": "merge"}); err != nil {
		t.Fatal(err)
	}
	g := open(t, out)
	for name, want := range values {
		if got, err := g.Read(name); err != nil || !got.Equal(want) {
			t.Errorf("tensor %q: %v, error %v", name, got, err)
		}
	}
	want := parse(t, path)
	want.MetadataProps = []*pb.StringStringEntryProto{{Key: "author", Value: "somebody"}, {Key: "rebasin.method", Value: "merge"}, {Key: "z", Value: "new"}}
	init := want.Graph.Initializer
	init[0].RawData = values["w"].Bytes()
	init[1].FloatData = []float32{-1, -2}
	init[2].Int32Data, init[2].RawData = nil, values["h"].Bytes()
	init[3].DoubleData = []float64{.25}
	init[4].Int64Data, init[4].RawData = nil, values["k"].Bytes()
	if d := cmp.Diff(want, parse(t, out), protocmp.Transform()); d != "" {
		t.Errorf("the model (-want +got):\n%s", d)
	}
	if got := g.Metadata(); got["author"] != "somebody" || got["z"] != "new" || got["rebasin.seed"] != "" || len(got) != 3 {
		t.Errorf("metadata %v", got)
	}
}

// TestWriteSome leaves the initializers alone that it is not given.
func TestWriteSome(t *testing.T) {
	f := open(t, filepath.Join("testdata", "mlp.onnx"))
	some := slices.DeleteFunc(entries(t, f, twice), func(e checkpoint.Entry) bool { return e.Name != "fc2.bias" })
	out := filepath.Join(t.TempDir(), "out.onnx")
	if err := f.Write(t.Context(), out, some, nil); err != nil {
		t.Fatal(err)
	}
	g := open(t, out)
	for _, info := range f.Infos() {
		x, err := f.Read(info.Name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Name == "fc2.bias" {
			x = twice("", x)
		}
		if y, err := g.Read(info.Name); err != nil || !y.Equal(x) {
			t.Errorf("tensor %q: %v, error %v", info.Name, y, err)
		}
	}
}

// externalModel writes a model with two tensors in two files beside it, one within.
func externalModel(t testing.TB) string {
	t.Helper()
	folder := t.TempDir()
	for name, n := range map[string]int{"w.bin": 32, "v.bin": 24} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i%7 + 60)
		}
		if err := os.WriteFile(filepath.Join(folder, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := located("location", "w.bin", "checksum", "of old data")
	v := located("location", "v.bin", "offset", "8", "length", "16").Graph.Initializer[0]
	v.Name, v.Dims, v.DocString = "v", []int64{4}, "kept"
	v.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 1000, protowire.VarintType), 7))
	m.Graph.Initializer = append(m.Graph.Initializer, v, floats("in", []int64{1}, 3))
	path := filepath.Join(folder, "m.onnx")
	if err := os.WriteFile(path, encode(t, m), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUnchanged: a model, or a file of its external data, that was changed after it was opened is found out.
func TestUnchanged(t *testing.T) {
	path := externalModel(t)
	for _, changed := range append(open(t, path).DataFiles(), path) {
		path := externalModel(t)
		f := open(t, path)
		if err := f.Unchanged(); err != nil {
			t.Errorf("error %v", err)
		}
		name := filepath.Join(filepath.Dir(path), filepath.Base(changed))
		if err := os.Chtimes(name, time.Time{}, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := f.Unchanged(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestWriteExternal puts external data into one file beside the new model, also what does not change.
func TestWriteExternal(t *testing.T) {
	f := open(t, externalModel(t))
	some := slices.DeleteFunc(entries(t, f, twice), func(e checkpoint.Entry) bool { return e.Name == "v" })
	folder := t.TempDir()
	out := filepath.Join(folder, "out.onnx")
	if err := f.Write(t.Context(), out, some, nil); err != nil {
		t.Fatal(err)
	}
	g := open(t, out)
	for name, change := range map[string]func(string, *tensor.Tensor) *tensor.Tensor{"w": twice, "in": twice, "v": unchanged} {
		x, err := f.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		if y, err := g.Read(name); err != nil || !y.Equal(change(name, x)) {
			t.Errorf("tensor %q: %v, error %v", name, y, err)
		}
	}
	if got := g.DataFiles(); !slices.Equal(got, []string{out + onnx.DataSuffix}) {
		t.Errorf("data lies in %v", got)
	}
	v := parse(t, out).Graph.Initializer[1]
	if v.DocString != "kept" || len(v.ProtoReflect().GetUnknown()) == 0 {
		t.Errorf("the message of v lost something: %v", v)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 2 {
		t.Errorf("files %v, error %v", left, err)
	}
}

// TestWriteErrors leaves nothing behind, and what was there before as it was.
func TestWriteErrors(t *testing.T) {
	f := open(t, externalModel(t))
	failing := errors.New("the disk is gone")
	with := func(change func(e *checkpoint.Entry)) []checkpoint.Entry {
		list := entries(t, f, unchanged)
		change(&list[0])
		return list
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, tt := range map[string]struct {
		ctx     context.Context
		entries []checkpoint.Entry
		meta    map[string]string
		want    string
	}{
		"unknown":   {nil, with(func(e *checkpoint.Entry) { e.Name = "x" }), nil, `tensor "x": the model has no initializer of this name`},
		"shape":     {nil, with(func(e *checkpoint.Entry) { e.Shape = tensor.Shape{4, 2} }), nil, `tensor "w": it is F32[4 2], the model's is F32[2 4]`},
		"type":      {nil, with(func(e *checkpoint.Entry) { e.DType = tensor.F64 }), nil, "it is F64[2 4]"},
		"no load":   {nil, with(func(e *checkpoint.Entry) { e.Load = nil }), nil, "no way to load it"},
		"twice":     {nil, append(entries(t, f, unchanged), entries(t, f, unchanged)...), nil, "given twice"},
		"metadata":  {nil, nil, map[string]string{"a": "\xff"}, "not valid UTF-8"},
		"cancelled": {cancelled, entries(t, f, unchanged), nil, "canceled"},
		"failing": {nil, with(func(e *checkpoint.Entry) {
			e.Load = func() (*tensor.Tensor, error) { return nil, failing }
		}), nil, `tensor "w": the disk is gone`},
		"nothing": {nil, with(func(e *checkpoint.Entry) { e.Load = func() (*tensor.Tensor, error) { return nil, nil } }), nil, "nothing was loaded"},
		"other": {nil, with(func(e *checkpoint.Entry) {
			e.Load = func() (*tensor.Tensor, error) { return tensor.New(tensor.F32, tensor.Shape{8}), nil }
		}), nil, "declared as F32[2 4], loaded as F32[8]"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := tt.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			folder := t.TempDir()
			out := filepath.Join(folder, "out.onnx")
			err := f.Write(ctx, out, tt.entries, tt.meta)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), fmt.Sprintf("writing %q", out)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, error %v", left, err)
			}
		})
	}
}

// TestWriteOverOwnData refuses to destroy the data that it reads.
func TestWriteOverOwnData(t *testing.T) {
	first := open(t, externalModel(t))
	path := filepath.Join(t.TempDir(), "a.onnx")
	if err := first.Write(t.Context(), path, nil, nil); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	if err := f.Write(t.Context(), path, nil, nil); err == nil || !strings.Contains(err.Error(), "would be overwritten") {
		t.Errorf("error %v", err)
	}
	if _, err := f.Read("w"); err != nil {
		t.Error(err)
	}
}

// TestWriteIsDeterministic writes one model twice.
func TestWriteIsDeterministic(t *testing.T) {
	f := open(t, externalModel(t))
	var models, data [2][]byte
	for i := range models {
		out := filepath.Join(t.TempDir(), "out.onnx")
		if err := f.Write(t.Context(), out, entries(t, f, twice), map[string]string{"b": "1", "a": "2"}); err != nil {
			t.Fatal(err)
		}
		var err error
		if models[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
		if data[i], err = os.ReadFile(out + onnx.DataSuffix); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(models[0], models[1]) || !bytes.Equal(data[0], data[1]) {
		t.Error("two files differ")
	}
}

// TestWriteOver replaces a model and its data again and again. Whenever somebody looks, and so whenever the process might have been killed, the model that
// is there reads its own data. In the end there is what would have been written into an empty folder.
func TestWriteOver(t *testing.T) {
	f := open(t, externalModel(t))
	folder := t.TempDir()
	path := filepath.Join(folder, "out.onnx")
	write := func(path string, k int) {
		t.Helper()
		filled := func(_ string, x *tensor.Tensor) *tensor.Tensor {
			if x.DType() != tensor.F32 {
				return x
			}
			values := make([]float32, x.Len())
			for i := range values {
				values[i] = float32(k)
			}
			return tensor.FromSlice(x.Shape(), values)
		}
		if err := f.Write(t.Context(), path, entries(t, f, filled), map[string]string{"k": strconv.Itoa(k)}); err != nil {
			t.Fatal(err)
		}
	}
	write(path, 0)
	const times = 30
	done, looked := make(chan struct{}), make(chan string)
	go func() {
		defer close(looked)
		for {
			select {
			case <-done:
				return
			default:
			}
			if wrong := mismatch(path); wrong != "" {
				looked <- wrong
				return
			}
		}
	}()
	for k := range times {
		write(path, k+1)
	}
	close(done)
	if wrong := <-looked; wrong != "" {
		t.Error(wrong)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 2 {
		t.Errorf("left behind: %v, error %v", left, err)
	}
	fresh := filepath.Join(t.TempDir(), "out.onnx")
	write(fresh, times)
	for _, suffix := range []string{"", onnx.DataSuffix} {
		over, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := os.ReadFile(fresh + suffix); err != nil || !bytes.Equal(over, want) {
			t.Errorf("out.onnx%s is another file than in an empty folder, error %v", suffix, err)
		}
	}
}

// mismatch says how a model of TestWriteOver that is there before and after a tensor is read differs from its data.
func mismatch(path string) string {
	before, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	f, failed := onnx.NewFile(path, bytes.NewReader(before), int64(len(before)))
	var got *tensor.Tensor
	if failed == nil {
		got, failed = f.Read("w")
	}
	after, err := os.ReadFile(path)
	switch {
	case err != nil:
		return err.Error()
	case !bytes.Equal(before, after):
		return "" // replaced meanwhile
	case failed != nil:
		return failed.Error()
	}
	if k := f.Metadata()["k"]; fmt.Sprint(tensor.Of[float32](got)[0]) != k {
		return fmt.Sprintf("the model is number %s, its data %v", k, tensor.Of[float32](got)[0])
	}
	return ""
}
