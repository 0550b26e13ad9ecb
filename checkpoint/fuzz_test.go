package checkpoint_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
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

// maxFuzzed bounds the files that are tried: what is to be found is found in small ones.
const maxFuzzed = 1 << 17

// Whatever the bytes, opening a file ends in an error of one line or in tensors that can be read, or that say what is wrong with them, and that
// are the same after writing and reading the file in its own form.
func FuzzContainer(f *testing.F) {
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > maxFuzzed {
			return
		}
		r, err := newReader(content, "")
		if err != nil {
			if strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), `checkpoint: reading "a": `) {
				t.Fatalf("error %q", err)
			}
			return
		}
		tensors, size := map[string]*tensor.Tensor{}, 0
		for _, info := range r.Infos() {
			n, err := info.DType.Bytes(info.Shape)
			if err != nil {
				t.Fatal(err)
			}
			if size += n; size > 1<<22 {
				return
			}
			x, err := r.Read(info.Name)
			if errors.Is(err, checkpoint.ErrFormat) {
				return // a bool that is none, or a wrong sum
			}
			if err != nil || x.DType() != info.DType || !x.Shape().Equal(info.Shape) {
				t.Fatalf("%v: %v, %v", info, x, err)
			}
			tensors[info.Name] = x
		}
		form, path := checkpoint.FormOf(r), filepath.Join(t.TempDir(), "a")
		if err := checkpoint.Write(t.Context(), path, entriesOf(tensors), r.Metadata(), form); err != nil {
			if !strings.Contains(err.Error(), "the format has no ") && !strings.Contains(err.Error(), "the name is reserved") {
				t.Fatal(err) // of PyTorch's newer dtypes, which are not written
			}
			return
		}
		again, err := checkpoint.Open(path, checkpoint.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		equalTensors(t, readAll(t, again), tensors)
		if diff := cmp.Diff(r.Metadata(), again.Metadata()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A pickle of n bytes takes at most n opcodes, and what it makes can be written and read again.
func FuzzPickle(f *testing.F) {
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > maxFuzzed {
			return
		}
		_, err := checkpoint.LoadPickle(content)
		if err != nil && (!errors.Is(err, checkpoint.ErrFormat) || strings.Contains(err.Error(), "\n")) {
			t.Fatalf("error %q", err)
		}
	})
}

func FuzzNpy(f *testing.F) {
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > maxFuzzed {
			return
		}
		data, info, err := checkpoint.ReadNpy(content)
		if err != nil {
			if !errors.Is(err, checkpoint.ErrFormat) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %q", err)
			}
			return
		}
		again, same, err := checkpoint.ReadNpy(checkpoint.FormatNpy(info, data))
		if err != nil || !bytes.Equal(again, data) || cmp.Diff(info, same) != "" {
			t.Fatalf("%v %x, again %v %x, %v", info, data, same, again, err)
		}
	})
}

func FuzzIndex(f *testing.F) {
	f.Fuzz(func(t *testing.T, content []byte) {
		shards, metadata, err := checkpoint.ReadIndex(content)
		if err != nil {
			if !errors.Is(err, checkpoint.ErrFormat) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %q", err)
			}
			return
		}
		for _, name := range shards {
			if name != filepath.Base(name) || name == ".." || strings.ContainsAny(name, `/\`) {
				t.Fatalf("shard %q", name)
			}
		}
		text, err := checkpoint.FormatIndex(shards, metadata)
		if err != nil {
			t.Fatal(err)
		}
		delete(metadata, "total_size")
		again, same, err := checkpoint.ReadIndex(text)
		if err != nil || !maps.Equal(again, shards) || !maps.Equal(same, metadata) {
			t.Fatalf("%v %v, again %v %v, %v", shards, metadata, again, same, err)
		}
	})
}

// entriesEnding are the contents of a zip's entries whose names end so.
func entriesEnding(content []byte, ending string) (all [][]byte) {
	z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return nil
	}
	for _, e := range z.File {
		if !strings.HasSuffix(e.Name, ending) {
			continue
		}
		r, err := e.Open()
		if err != nil {
			continue
		}
		if text, err := io.ReadAll(r); err == nil {
			all = append(all, text)
		}
	}
	return all
}

// The attacks and the fixtures are the seeds of the fuzzers. They are kept as files so that they survive a change of the table.
func TestContainerCorpora(t *testing.T) {
	corpora := map[string]map[string][]byte{"FuzzContainer": containerSeeds(t), "FuzzPickle": {}, "FuzzNpy": {}, "FuzzIndex": indexSeeds()}
	for name, content := range corpora["FuzzContainer"] {
		for i, pickle := range entriesEnding(content, "data.pkl") {
			corpora["FuzzPickle"][fmt.Sprintf("%s_%d", name, i)] = pickle
		}
		for i, array := range entriesEnding(content, ".npy") {
			if i < 8 && len(array) < 4096 {
				corpora["FuzzNpy"][fmt.Sprintf("%s_%d", name, i)] = array
			}
		}
	}
	for _, target := range slices.Sorted(maps.Keys(corpora)) {
		dir := filepath.Join("testdata", "fuzz", target)
		if update {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(corpora[target])) {
			path := filepath.Join(dir, name)
			want := fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\n", corpora[target][name])
			if update {
				if err := os.WriteFile(path, want, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("seed %s of %s is not what the table says (UPDATE_CORPUS=1 writes it anew): %v", name, target, err)
			}
		}
	}
}

// indexSeeds are indices, right and wrong.
func indexSeeds() map[string][]byte {
	all := map[string][]byte{
		"valid": []byte(`{"metadata": {"total_size": 12, "format": "pt"}, "weight_map": {"a": "m-00001-of-00002.safetensors", "b": "m-00002-of-00002.safetensors"}}`),
		"empty": []byte(`{"weight_map": {}}`),
	}
	for _, a := range indexAttacks {
		all[a.name] = []byte(a.index)
	}
	return all
}
