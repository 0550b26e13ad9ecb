package checkpoint_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/tensor"
)

// torchKeys are the keys that files of testdata/torch need, where they do.
var torchKeys = map[string]string{"ema": "model"}

// openAny opens a file of any format and closes it when the test ends.
func openAny(t testing.TB, path, key string) checkpoint.Reader {
	t.Helper()
	r, err := checkpoint.Open(path, checkpoint.OpenOptions{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// expected are the tensors of the file that stands beside a fixture.
func expected(t testing.TB, path string) map[string]*tensor.Tensor {
	t.Helper()
	return readAll(t, open(t, strings.TrimSuffix(path, filepath.Ext(path))+".safetensors"))
}

func fixtures(t testing.TB, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", filepath.FromSlash(pattern)))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no fixtures %s: %v", pattern, err)
	}
	return paths
}

// Every file of scripts/torch_checkpoints.py holds what stands beside it.
func TestTorchFixtures(t *testing.T) {
	paths := fixtures(t, "torch/*.pt")
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".pt")
		t.Run(name, func(t *testing.T) {
			r := openAny(t, path, torchKeys[name])
			equalTensors(t, readAll(t, r), expected(t, path))
			if form := checkpoint.FormOf(r); form.Format != checkpoint.FormatTorch {
				t.Errorf("the format is %q", form.Format)
			}
			if len(r.Metadata()) != 0 {
				t.Errorf("the metadata is %v", r.Metadata())
			}
			if _, err := r.Read("absent"); err == nil || !strings.Contains(err.Error(), `tensor "absent": not in the file`) {
				t.Errorf("error %v", err)
			}
		})
	}
	const written = 15
	if len(paths) < written {
		t.Errorf("only %d fixtures", len(paths))
	}
}

// Tensors come in the order of the state dict.
func TestTorchOrder(t *testing.T) {
	want := []string{
		"conv.weight", "conv.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked", "fc.weight", "fc.bias",
	}
	for i, info := range openAny(t, filepath.Join("testdata", "torch", "parallel.pt"), "").Infos() {
		if i >= len(want) || info.Name != want[i] {
			t.Errorf("tensor %d is %q", i, info.Name)
		}
	}
}

func TestTorchKeys(t *testing.T) {
	ema, training, plain := filepath.Join("testdata", "torch", "ema.pt"), filepath.Join("testdata", "torch", "training.pt"), filepath.Join("testdata", "torch", "plain.pt")
	for _, tt := range []struct {
		path, key string
		tensors   int
		want      string
	}{
		{ema, "", 0, `holds more than one dictionary of tensors: name one by its key (--key); there are "model" (9), "ema" (9), "model.v2" (1) with their numbers of tensors`},
		{ema, "ema", 9, ""},
		{ema, "model.v2", 1, ""}, // a key with a dot
		{ema, "model.v3", 0, `no dictionary is under the key "model.v3"; there are "model" (9), `},
		{ema, ".", 0, `the dictionary under the key "." holds no tensors`},
		{ema, "step", 0, `no dictionary is under the key "step"`},
		{training, "", 9, ""},
		{training, "model.state_dict", 9, ""},
		{training, "model", 0, `the dictionary under the key "model" holds no tensors`},
		{training, "table", 0, `the dictionary under the key "table" holds no tensors`},
		{plain, ".", 9, ""},
		{plain, "conv.weight", 0, `no dictionary is under the key "conv.weight"; there are "." (9) with`},
		{plain, "..", 0, `no dictionary is under the key ".."`},
	} {
		r, err := checkpoint.Open(tt.path, checkpoint.OpenOptions{Key: tt.key})
		if tt.want != "" {
			if err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("checkpoint: reading %q: ", tt.path)) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s, key %q: error %v, want %q", tt.path, tt.key, err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s, key %q: %v", tt.path, tt.key, err)
			continue
		}
		if n := len(r.Infos()); n != tt.tensors {
			t.Errorf("%s, key %q: %d tensors, want %d", tt.path, tt.key, n, tt.tensors)
		}
		r.Close()
	}
}

// rezip rewrites a zip: change gets every entry's header and content, and returns what is written in its place, or nil to leave it out.
func rezip(t testing.TB, path string, change func(h *zip.FileHeader, content []byte) []byte) []byte {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, e := range z.File {
		r, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		h := &zip.FileHeader{Name: e.Name}
		if content = change(h, content); content == nil {
			continue
		}
		to, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := to.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func newReader(content []byte, key string) (checkpoint.Reader, error) {
	return checkpoint.NewReader("a", bytes.NewReader(content), int64(len(content)), checkpoint.OpenOptions{Key: key})
}

// A file from a big-endian machine says so in an entry.
func TestTorchBigEndian(t *testing.T) {
	path := filepath.Join("testdata", "torch", "dtypes.pt")
	want := expected(t, path)
	sizes := map[string]int{} // of elements, by storage: one for each tensor, in their order
	i := 0
	for _, info := range openAny(t, path, "").Infos() {
		sizes[fmt.Sprintf("dtypes/data/%d", i)] = info.DType.Size()
		i++
	}
	content := rezip(t, path, func(h *zip.FileHeader, content []byte) []byte {
		if size, ok := sizes[h.Name]; ok {
			for at := 0; at < len(content); at += size {
				for a, b := at, at+size-1; a < b; a, b = a+1, b-1 {
					content[a], content[b] = content[b], content[a]
				}
			}
		}
		if h.Name == "dtypes/version" {
			h.Name, content = "dtypes/byteorder", []byte("big")
		}
		return content
	})
	r, err := newReader(content, "")
	if err != nil {
		t.Fatal(err)
	}
	equalTensors(t, readAll(t, r), want)
}

// No proper beginning of a file is a file.
func TestTorchTruncation(t *testing.T) {
	for _, name := range []string{"tied", "tied-legacy"} {
		whole, err := os.ReadFile(filepath.Join("testdata", "torch", name+".pt"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newReader(whole, ""); err != nil {
			t.Fatal(err)
		}
		for n := range whole {
			if _, err := newReader(whole[:n], ""); !errors.Is(err, checkpoint.ErrFormat) {
				t.Fatalf("%s, the first %d of %d bytes: error %v", name, n, len(whole), err)
			}
		}
	}
}
