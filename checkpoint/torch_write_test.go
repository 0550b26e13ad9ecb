package checkpoint_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/tensor"
)

// entriesFrom are the tensors of an open file, to be written; change, which may be nil, gets each.
func entriesFrom(r checkpoint.Reader, change func(name string, x *tensor.Tensor)) []checkpoint.Entry {
	var entries []checkpoint.Entry
	for _, info := range r.Infos() {
		entries = append(entries, checkpoint.Entry{Info: info, Load: func() (*tensor.Tensor, error) {
			x, err := r.Read(info.Name)
			if err == nil && change != nil {
				change(info.Name, x)
			}
			return x, err
		}})
	}
	return entries
}

// rewrite writes what r holds into a new file, in the form of another if the name's ending says so.
func rewrite(t testing.TB, r checkpoint.Reader, name string, metadata map[string]string, change func(string, *tensor.Tensor)) (path string, content []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := checkpoint.Write(t.Context(), path, entriesFrom(r, change), metadata, checkpoint.FormOf(r)); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, content
}

// What is written in the form of a file holds the same; written once more, in the form of what was written, it is the same bytes: nothing gets
// lost that could be carried, however often a file is rewritten.
func TestTorchRewrite(t *testing.T) {
	metadata := map[string]string{"rebasin.method": "none", "quo\"te": "<&>\u2028"}
	for _, path := range fixtures(t, "torch/*.pt") {
		name := strings.TrimSuffix(filepath.Base(path), ".pt")
		t.Run(name, func(t *testing.T) {
			key := torchKeys[name]
			was := openAny(t, path, key)
			again, first := rewrite(t, was, "a.pt", metadata, nil)
			is := openAny(t, again, key)
			equalTensors(t, readAll(t, is), expected(t, path))
			if diff := cmp.Diff(was.Infos(), is.Infos()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(metadata, is.Metadata()); diff != "" {
				t.Error(diff)
			}
			if left := checkpoint.FormOf(is).LeftOut("b.pt"); len(left) > 0 {
				t.Errorf("%v are left out of what was written without them", left)
			}
			if _, second := rewrite(t, is, "c", metadata, nil); !bytes.Equal(first, second) {
				t.Error("written once more it has other bytes")
			}
		})
	}
}

// What stands beside a state dict is carried, but for what is not plain values; another format has room for nothing.
func TestTorchLeftOut(t *testing.T) {
	form := checkpoint.FormOf(openAny(t, filepath.Join("testdata", "torch", "training.pt"), ""))
	never := []string{
		`"set"`, `"frozen"`, `"device"`, `"dtype"`, `"bytes"`, `"score"`, `"array"`, `"tensors"`, `"tensor_table"`, `"complex"`,
	}
	if diff := cmp.Diff(never, form.LeftOut("a.pt")); diff != "" {
		t.Error(diff)
	}
	all := form.LeftOut("a.safetensors")
	for _, name := range append([]string{`"epoch"`, `"table"`, `"counter"`, `"state"`}, never...) {
		if !slices.Contains(all, name) {
			t.Errorf("%s is not said to be left out: %v", name, all)
		}
	}
	if len(all) != 30 { // 20 values are carried
		t.Errorf("%d are left out", len(all))
	}
	if left := checkpoint.FormOf(openAny(t, filepath.Join("testdata", "torch", "plain.pt"), "")).LeftOut("a.npz"); left != nil {
		t.Errorf("%v are left out of a file with nothing but tensors", left)
	}
}

// entryNames are those of a zip, in their order.
func entryNames(t testing.TB, content []byte) (names []string) {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range z.File {
		names = append(names, e.Name)
	}
	return names
}

// Tensors that were tied are written tied where they are still equal, else each for itself. A part of another tensor is not tied with it.
func TestTorchTies(t *testing.T) {
	for _, name := range []string{"tied", "tied-legacy"} {
		r := openAny(t, filepath.Join("testdata", "torch", name+".pt"), "")
		_, together := rewrite(t, r, "a.pt", nil, nil)
		want := []string{"archive/version", "archive/byteorder", "archive/data/0", "archive/data/1", "archive/data/2", "archive/data.pkl"}
		if diff := cmp.Diff(want, entryNames(t, together)); diff != "" {
			t.Error(diff)
		}
		path, _ := rewrite(t, r, "b.pt", nil, func(name string, x *tensor.Tensor) {
			if name == "head.weight" {
				tensor.Of[float32](x)[3]++
			}
		})
		is, wanted := readAll(t, openAny(t, path, "")), readAll(t, r)
		tensor.Of[float32](wanted["head.weight"])[3]++
		equalTensors(t, is, wanted)
	}
}

// The elements of every tensor begin at a multiple of 64 bytes, as torch.save has it, in entries that are not compressed.
func TestTorchAlignment(t *testing.T) {
	_, content := rewrite(t, openAny(t, filepath.Join("testdata", "torch", "dtypes.pt"), ""), "a.pt", nil, nil)
	z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range z.File {
		at, err := e.DataOffset()
		if err != nil || at%64 != 0 || e.Method != zip.Store {
			t.Errorf("%s begins at %d, method %d, %v", e.Name, at, e.Method, err)
		}
		r, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil { // checks the sum
			t.Errorf("%s: %v", e.Name, err)
		}
	}
}

// Without a form to follow, the state dict is sorted by name, whatever the order of the entries.
func TestTorchOfSafetensors(t *testing.T) {
	want := map[string]*tensor.Tensor{}
	for name, x := range allKinds() {
		switch x.DType() {
		case tensor.U16, tensor.U32, tensor.U64, tensor.F8E4M3, tensor.F8E5M2:
		default:
			want[name] = x
		}
	}
	dir := t.TempDir()
	var contents [2][]byte
	for i := range contents {
		path := filepath.Join(dir, "a.pth")
		if err := checkpoint.Write(t.Context(), path, entriesOf(want), nil, checkpoint.Form{}); err != nil { // in the order of a map
			t.Fatal(err)
		}
		r := openAny(t, path, "")
		equalTensors(t, readAll(t, r), want)
		var names []string
		for _, info := range r.Infos() {
			names = append(names, info.Name)
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), names); diff != "" {
			t.Error(diff)
		}
		var err error
		if contents[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(contents[0], contents[1]) {
		t.Error("the order of the entries shows")
	}
}

func TestTorchWriteRefuses(t *testing.T) {
	x := tensor.FromSlice(tensor.Shape{2}, []float32{1, 2})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name    string
		ctx     context.Context
		entries []checkpoint.Entry
		meta    map[string]string
		want    string
	}{
		{"dtype", t.Context(), []checkpoint.Entry{entryOf("w", tensor.New(tensor.F8E4M3, tensor.Shape{1}))}, nil, `tensor "w": the format has no F8_E4M3`},
		{"twice", t.Context(), []checkpoint.Entry{entryOf("w", x), entryOf("w", x)}, nil, `tensor "w": given twice`},
		{"name", t.Context(), []checkpoint.Entry{entryOf("\xff", x)}, nil, `tensor "\xff": the name is not valid UTF-8`},
		{"metadata", t.Context(), nil, map[string]string{"a": "\xff"}, `metadata "a" is not valid UTF-8`},
		{"cancelled", cancelled, []checkpoint.Entry{entryOf("w", x)}, nil, context.Canceled.Error()},
		{"load", t.Context(), []checkpoint.Entry{{Info: entryOf("w", x).Info, Load: func() (*tensor.Tensor, error) { return nil, io.ErrNoProgress }}}, nil, `tensor "w": ` + io.ErrNoProgress.Error()},
		{"other", t.Context(), []checkpoint.Entry{{Info: entryOf("w", x).Info, Load: func() (*tensor.Tensor, error) { return tensor.New(tensor.F64, tensor.Shape{2}), nil }}}, nil, `declared as F32[2], loaded as F64[2]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.pt")
			err := checkpoint.Write(tt.ctx, path, tt.entries, tt.meta, checkpoint.Form{})
			if err == nil || !strings.HasPrefix(err.Error(), "checkpoint: writing ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if list, _ := os.ReadDir(filepath.Dir(path)); len(list) > 0 {
				t.Errorf("left %v", list)
			}
		})
	}
	if err := checkpoint.Write(t.Context(), filepath.Join(t.TempDir(), "a"), nil, nil, checkpoint.Form{Format: "tar"}); err == nil || errors.Is(err, checkpoint.ErrFormat) {
		t.Errorf("unknown format: %v", err)
	}
}
