package onnx_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/onnx"
)

// seeds are the attacks that are small, and models that are right.
func seeds(t testing.TB) map[string][]byte {
	all := map[string][]byte{}
	for _, a := range attacks(t) {
		if len(a.file) <= 1<<12 {
			all[a.name] = a.file
		}
	}
	for _, name := range []string{"mlp", "sequence", "cnn-9", "cnn-17", "cnn-folded"} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".onnx"))
		if err != nil {
			t.Fatal(err)
		}
		all["valid_"+name] = b
	}
	return all
}

// The seeds are kept as files so that they survive a change of what makes them.
func TestCorpus(t *testing.T) {
	for name, content := range seeds(t) {
		path := filepath.Join("testdata", "fuzz", "FuzzOpen", name)
		want := fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\n", content)
		if update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("seed %s is not what the table says (UPDATE_CORPUS=1 writes it anew): %v", name, err)
		}
	}
}

// FuzzOpen reads any bytes as a model: what is opened can be read whole, and its graph is valid; errors are of one line.
func FuzzOpen(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := onnx.NewFile("testdata/absent/a.onnx", bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("not one line: %q", err)
			}
			return
		}
		for _, info := range file.Infos() {
			x, err := file.Read(info.Name)
			if err == nil && (x.DType() != info.DType || !x.Shape().Equal(info.Shape)) {
				t.Errorf("tensor %q: %v, declared as %v%v", info.Name, x, info.DType, info.Shape)
			}
		}
		g, err := file.Graph()
		if err != nil {
			return
		}
		if err := g.Validate(); err != nil {
			t.Error(err)
		}
		if _, err := g.PartialShapes(); err != nil {
			t.Error(err)
		}
	})
}
