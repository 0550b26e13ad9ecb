package checkpoint_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	oracle "github.com/nlpodyssey/safetensors"
	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/tensor"
)

// entriesOf returns what is to be written for tensors by name, in no particular order.
func entriesOf(tensors map[string]*tensor.Tensor) []checkpoint.Entry {
	var entries []checkpoint.Entry
	for name, x := range tensors {
		entries = append(entries, entryOf(name, x))
	}
	return entries
}

func entryOf(name string, x *tensor.Tensor) checkpoint.Entry {
	return checkpoint.Entry{
		Info: checkpoint.Info{Name: name, DType: x.DType(), Shape: x.Shape()},
		Load: func() (*tensor.Tensor, error) { return x, nil },
	}
}

// randomTensor returns a tensor of random bits that are valid for its dtype.
func randomTensor(r *rand.Rand, dtype tensor.DType, shape tensor.Shape) *tensor.Tensor {
	x := tensor.New(dtype, shape)
	for i := range x.Bytes() {
		x.Bytes()[i] = byte(r.Uint32())
		if dtype == tensor.Bool {
			x.Bytes()[i] &= 1
		}
	}
	return x
}

// allKinds has a tensor of every dtype in several shapes, scalars and empty ones among them.
func allKinds() map[string]*tensor.Tensor {
	r := rand.New(rand.NewPCG(1, 2))
	tensors := map[string]*tensor.Tensor{}
	for _, dtype := range tensor.DTypes() {
		for _, shape := range []tensor.Shape{{}, {0}, {3, 0, 2}, {5}, {2, 3}} {
			tensors[fmt.Sprintf("%v%v", dtype, shape)] = randomTensor(r, dtype, shape)
		}
	}
	return tensors
}

// write writes a file and returns its path and its bytes.
func write(t testing.TB, tensors map[string]*tensor.Tensor, metadata map[string]string) (string, []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.safetensors")
	if err := checkpoint.WriteSafetensors(t.Context(), path, entriesOf(tensors), metadata); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, content
}

func open(t testing.TB, path string) *checkpoint.Safetensors {
	t.Helper()
	s, err := checkpoint.OpenSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// readAll returns all tensors of a file by name.
func readAll(t testing.TB, r checkpoint.Reader) map[string]*tensor.Tensor {
	t.Helper()
	tensors := map[string]*tensor.Tensor{}
	for _, info := range r.Infos() {
		x, err := r.Read(info.Name)
		if err != nil {
			t.Fatal(err)
		}
		if x.DType() != info.DType || !x.Shape().Equal(info.Shape) {
			t.Fatalf("%s is listed as %v%v and read as %v", info.Name, info.DType, info.Shape, x)
		}
		tensors[info.Name] = x
	}
	return tensors
}

func equalTensors(t testing.TB, got, want map[string]*tensor.Tensor) {
	t.Helper()
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Fatal(diff)
	}
	for name, x := range want {
		if !got[name].Equal(x) {
			t.Errorf("%s: %v %x, want %v %x", name, got[name], got[name].Bytes(), x, x.Bytes())
		}
	}
}

func TestRoundTripOfAllKinds(t *testing.T) {
	want := allKinds()
	metadata := map[string]string{"format": "pt", "": "empty key", "quo\"te\n": "<b>&\u2028 \x01 ünïcode 🙂\\"}
	path, content := write(t, want, metadata)
	s := open(t, path)
	equalTensors(t, readAll(t, s), want)
	if diff := cmp.Diff(metadata, s.Metadata()); diff != "" {
		t.Error(diff)
	}
	if got := bytes.IndexByte(content, '{'); got != 8 {
		t.Errorf("the header begins at %d", got)
	}
	if length := int(content[0]) | int(content[1])<<8; length%8 != 0 {
		t.Errorf("a header of %d bytes does not align the data", length)
	}
}

// What is written is read again, for any names, dtypes and shapes; the order in which entries are given changes no byte.
func TestRoundTripProperty(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		names := rapid.SliceOfNDistinct(rapid.String().Filter(func(s string) bool { return s != "__metadata__" }), 0, 6, rapid.ID[string]).
			Draw(rt, "names")
		want := map[string]*tensor.Tensor{}
		for _, name := range names {
			dtype := rapid.SampledFrom(tensor.DTypes()).Draw(rt, "dtype")
			want[name] = randomTensor(r, dtype, rapid.SliceOfN(rapid.IntRange(0, 4), 0, 4).Draw(rt, "shape"))
		}
		metadata := rapid.MapOfN(rapid.String(), rapid.String(), 0, 4).Draw(rt, "metadata")
		entries := entriesOf(want)
		var contents [2][]byte
		for i := range contents {
			r.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
			path := filepath.Join(dir, fmt.Sprint(i))
			if err := checkpoint.WriteSafetensors(t.Context(), path, entries, metadata); err != nil {
				rt.Fatal(err)
			}
			contents[i], _ = os.ReadFile(path)
		}
		if !bytes.Equal(contents[0], contents[1]) {
			rt.Fatalf("two orders, two files:\n%q\n%q", contents[0], contents[1])
		}
		s, err := checkpoint.NewSafetensors("a", bytes.NewReader(contents[0]), int64(len(contents[0])))
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(metadata, s.Metadata()); diff != "" {
			rt.Fatal(diff)
		}
		if len(s.Infos()) != len(want) {
			rt.Fatalf("%d tensors, want %d", len(s.Infos()), len(want))
		}
		for name, x := range want {
			if got, err := s.Read(name); err != nil || !got.Equal(x) {
				rt.Fatalf("%q: %v (%v), want %v", name, got, err, x)
			}
		}
	})
}

// The layout of a small file, byte for byte: large elements first, then by name, metadata sorted and in front.
func TestExactBytes(t *testing.T) {
	_, got := write(t, map[string]*tensor.Tensor{
		"b":    tensor.FromSlice(tensor.Shape{2}, []int16{1, -1}),
		"a":    tensor.FromSlice(tensor.Shape{}, []int16{2}),
		"mask": tensor.FromSlice(tensor.Shape{1, 3}, []bool{true, false, true}),
		"n":    tensor.FromSlice(tensor.Shape{1}, []int64{-2}),
		"none": tensor.New(tensor.F32, tensor.Shape{0, 7}),
	}, map[string]string{"z": "1", "a": "<&>\u2028\x7f\x1f\"\\/\b\f\n\r\t"})
	header := `{"__metadata__":{"a":"<&>` + "\u2028\x7f" + `\u001f\"\\/\b\f\n\r\t","z":"1"},` +
		`"n":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},` +
		`"none":{"dtype":"F32","shape":[0,7],"data_offsets":[8,8]},` +
		`"a":{"dtype":"I16","shape":[],"data_offsets":[8,10]},` +
		`"b":{"dtype":"I16","shape":[2],"data_offsets":[10,14]},` +
		`"mask":{"dtype":"BOOL","shape":[1,3],"data_offsets":[14,17]}}`
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	want := file(header, 0)
	want = append(want, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 1, 0, 0xff, 0xff, 1, 0, 1)
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

// The order of dtypes in a file is that of the reference implementation (enum Dtype in safetensors/src/tensor.rs, the last first).
func TestDTypeOrder(t *testing.T) {
	tensors := map[string]*tensor.Tensor{}
	for _, dtype := range tensor.DTypes() {
		tensors[dtype.String()] = tensor.New(dtype, tensor.Shape{1})
	}
	path, _ := write(t, tensors, nil)
	var order []string
	for _, info := range open(t, path).Infos() {
		order = append(order, info.Name)
	}
	want := "U64 I64 F64 F32 U32 I32 BF16 F16 U16 I16 F8_E4M3 F8_E5M2 I8 U8 BOOL"
	if got := strings.Join(order, " "); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// view makes a tensor one of the other implementation.
type view struct{ *tensor.Tensor }

func (v view) DType() oracle.DType {
	d, err := oracle.ParseDType(v.Tensor.DType().String())
	if err != nil {
		panic(err)
	}
	return d
}

func (v view) Shape() []uint64 {
	shape := []uint64{}
	for _, n := range v.Tensor.Shape() {
		shape = append(shape, uint64(n))
	}
	return shape
}

func (v view) Data() []byte    { return v.Bytes() }
func (v view) DataLen() uint64 { return uint64(len(v.Bytes())) }

// known drops the dtypes that the other implementation does not have.
func known(tensors map[string]*tensor.Tensor) map[string]view {
	views := map[string]view{}
	for name, x := range tensors {
		if _, err := oracle.ParseDType(x.DType().String()); err == nil {
			views[name] = view{x}
		}
	}
	return views
}

// split returns the header of a file, decoded, and its data.
func split(t *testing.T, content []byte) (header map[string]any, data []byte) {
	t.Helper()
	end := 8 + binary.LittleEndian.Uint64(content)
	if err := json.Unmarshal(content[8:end], &header); err != nil {
		t.Fatal(err)
	}
	return header, content[end:]
}

// Another implementation in Go lays out the data in the same way, and each reads what the other writes.
func TestOtherImplementation(t *testing.T) {
	tensors := allKinds()
	views := known(tensors)
	maps.DeleteFunc(tensors, func(name string, _ *tensor.Tensor) bool { _, ok := views[name]; return !ok })
	if len(tensors) != 13*5 {
		t.Fatalf("%d tensors are left to compare", len(tensors))
	}
	metadata := map[string]string{"format": "pt", "b": "2", "a": "1"}
	_, got := write(t, tensors, metadata)
	want, err := oracle.Serialize(views, metadata)
	if err != nil {
		t.Fatal(err)
	}
	// The other one lists tensors by name in its header; sizes, meaning and data are the same.
	gotHeader, gotData := split(t, got)
	wantHeader, wantData := split(t, want)
	if diff := cmp.Diff(wantHeader, gotHeader); diff != "" {
		t.Error(diff)
	}
	if len(got) != len(want) || !bytes.Equal(gotData, wantData) {
		t.Errorf("the data of %d and %d bytes differs", len(gotData), len(wantData))
	}
	parsed, err := oracle.Deserialize(got)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range tensors {
		v, ok := parsed.Tensor(name)
		if !ok || v.DType() != (view{x}).DType() || !slices.Equal(v.Shape(), view{x}.Shape()) || !bytes.Equal(v.Data(), x.Bytes()) {
			t.Errorf("%s is read as %v of shape %v", name, v.DType(), v.Shape())
		}
	}
	s, err := checkpoint.NewSafetensors("oracle", bytes.NewReader(want), int64(len(want)))
	if err != nil {
		t.Fatal(err)
	}
	equalTensors(t, readAll(t, s), tensors)
}

// A header may list tensors in any order and be padded with any JSON space.
func TestReadsOtherLayouts(t *testing.T) {
	content := file("{\n\t\"b\" : {\"data_offsets\":[2,3] , \"shape\":[1], \"dtype\":\"U8\"},\r\n"+
		`"\u0061\ud83d\ude42":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},"0":{"dtype":"F64","shape":[0],"data_offsets":[2,2]}}`+" \n\t ", 0)
	content = append(content, 1, 0xff, 7)
	s, err := checkpoint.NewSafetensors("a", bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	want := []checkpoint.Info{
		{Name: "a🙂", DType: tensor.I8, Shape: tensor.Shape{2}},
		{Name: "0", DType: tensor.F64, Shape: tensor.Shape{0}},
		{Name: "b", DType: tensor.U8, Shape: tensor.Shape{1}},
	}
	if diff := cmp.Diff(want, s.Infos()); diff != "" {
		t.Error(diff)
	}
	equalTensors(t, readAll(t, s), map[string]*tensor.Tensor{
		"a🙂": tensor.FromSlice(tensor.Shape{2}, []int8{1, -1}),
		"0":  tensor.New(tensor.F64, tensor.Shape{0}),
		"b":  tensor.FromSlice(tensor.Shape{1}, []uint8{7}),
	})
	if s.Metadata() == nil || len(s.Metadata()) != 0 {
		t.Errorf("metadata %v", s.Metadata())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Callers may do with lists, metadata and tensors what they like.
func TestResultsAreCopies(t *testing.T) {
	path, _ := write(t, map[string]*tensor.Tensor{"w": tensor.FromSlice(tensor.Shape{2}, []float32{1, 2})}, map[string]string{"k": "v"})
	s := open(t, path)
	s.Infos()[0].Shape[0] = 9
	s.Metadata()["k"] = "changed"
	x, err := s.Read("w")
	if err != nil {
		t.Fatal(err)
	}
	tensor.Of[float32](x)[0] = 9
	again, err := s.Read("w")
	if err != nil {
		t.Fatal(err)
	}
	if s.Infos()[0].Shape[0] != 2 || s.Metadata()["k"] != "v" || tensor.Of[float32](again)[0] != 1 {
		t.Error("a result shares memory with the file")
	}
}

func TestReadsFromManyGoroutines(t *testing.T) {
	want := allKinds()
	path, _ := write(t, want, nil)
	s := open(t, path)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for name, x := range want {
				if got, err := s.Read(name); err != nil || !got.Equal(x) {
					t.Errorf("%s: %v, error %v", name, got, err)
				}
			}
		})
	}
	group.Wait()
}

func TestReadErrors(t *testing.T) {
	path, content := write(t, map[string]*tensor.Tensor{
		"first": tensor.New(tensor.F32, tensor.Shape{4}),
		"last":  tensor.New(tensor.U8, tensor.Shape{10}),
	}, nil)
	s := open(t, path)
	expect := func(name, want string) error {
		t.Helper()
		_, err := s.Read(name)
		if full := fmt.Sprintf("checkpoint: reading %q: tensor %q: %s", path, name, want); err == nil || err.Error() != full {
			t.Errorf("error %v, want %s", err, full)
		}
		return err
	}
	_ = expect("other", "not in the file")
	if err := os.Truncate(path, int64(len(content)-3)); err != nil {
		t.Fatal(err)
	}
	if err := expect("last", "file ends 3 bytes early: it was cut off after it was opened"); !errors.Is(err, checkpoint.ErrFormat) {
		t.Errorf("%v does not match ErrFormat", err)
	}
	if _, err := s.Read("first"); err != nil {
		t.Errorf("what is left of the file cannot be read: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := expect("first", "file already closed"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("%v does not match fs.ErrClosed", err)
	}
	if err := s.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
}

func TestBadBool(t *testing.T) {
	content := append(file(entry(`"dtype":"BOOL","shape":[2],"data_offsets":[0,2]`), 0), 1, 2)
	s, err := checkpoint.NewSafetensors("a", bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read("w"); !errors.Is(err, checkpoint.ErrFormat) || !strings.Contains(err.Error(), `tensor "w": `) {
		t.Errorf("error %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ path, want string }{
		{filepath.Join(dir, "none"), "no such file or directory"},
		{dir, "is a directory"},
		{os.DevNull, "is not a regular file"},
	} {
		_, err := checkpoint.OpenSafetensors(c.path)
		if full := fmt.Sprintf("checkpoint: reading %q: %s", c.path, c.want); err == nil || err.Error() != full {
			t.Errorf("error %v, want %s", err, full)
		}
		if errors.Is(err, checkpoint.ErrFormat) {
			t.Errorf("%v blames the content", err)
		}
		_, err = checkpoint.Hash(c.path)
		if full := fmt.Sprintf("checkpoint: hashing %q: %s", c.path, c.want); err == nil || err.Error() != full {
			t.Errorf("error %v, want %s", err, full)
		}
	}
	if _, err := checkpoint.OpenSafetensors(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v does not match fs.ErrNotExist", err)
	}
}

func TestHash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "abc")
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	// FIPS 180-2, appendix B.1.
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got, err := checkpoint.Hash(path); got != want || err != nil {
		t.Errorf("%s (%v), want %s", got, err, want)
	}
}

// seeds are files to start fuzzing from.
func seeds(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, a := range attacks {
		all[a.name] = a.file
	}
	_, all["valid_all"] = write(t, allKinds(), map[string]string{"format": "pt", "a": "ü\n"})
	_, all["valid_empty"] = write(t, nil, nil)
	return all
}

// Whatever the bytes, opening ends in an error that matches ErrFormat or in a file of which the other implementation says the same, and which
// is the same after writing and reading it.
func FuzzSafetensors(f *testing.F) {
	f.Fuzz(func(t *testing.T, content []byte) {
		s, err := checkpoint.NewSafetensors("a", bytes.NewReader(content), int64(len(content)))
		if err != nil {
			if !errors.Is(err, checkpoint.ErrFormat) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %q", err)
			}
			return
		}
		tensors := map[string]*tensor.Tensor{}
		for _, info := range s.Infos() {
			x, err := s.Read(info.Name)
			if err != nil && info.DType == tensor.Bool && errors.Is(err, checkpoint.ErrFormat) {
				return // a byte that is no bool
			}
			if err != nil {
				t.Fatal(err)
			}
			tensors[info.Name] = x
		}
		compareWithOracle(t, content, tensors)
		path, _ := write(t, tensors, s.Metadata())
		again := open(t, path)
		equalTensors(t, readAll(t, again), tensors)
		if diff := cmp.Diff(s.Metadata(), again.Metadata()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func compareWithOracle(t *testing.T, content []byte, tensors map[string]*tensor.Tensor) {
	t.Helper()
	if len(known(tensors)) != len(tensors) {
		return
	}
	parsed, err := oracle.Deserialize(content)
	if err != nil {
		t.Fatalf("refused by the other implementation: %v", err)
	}
	if parsed.Len() != len(tensors) {
		t.Fatalf("%d tensors, the other implementation has %d", len(tensors), parsed.Len())
	}
	for name, x := range tensors {
		v, ok := parsed.Tensor(name)
		if !ok || v.DType() != (view{x}).DType() || !slices.Equal(v.Shape(), view{x}.Shape()) || !bytes.Equal(v.Data(), x.Bytes()) {
			t.Fatalf("%q: %v, the other implementation has %v of %v", name, x, v.Shape(), v.DType())
		}
	}
}
