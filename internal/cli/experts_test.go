package cli

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/tensor"
)

// expertsONNX is a network of two mixtures of experts that PyTorch has exported, each expert with tensors of its own.
const expertsONNX = "../../symmetry/testdata/torch/experts.onnx"

func openModel(t *testing.T, path string) (*model.Model, map[string]*tensor.Tensor) {
	t.Helper()
	m, err := model.Open(path, model.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	params, err := m.Params(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m, params
}

// shuffled writes the network with its units, experts among them, in another order.
func shuffled(t *testing.T, from, to string) {
	t.Helper()
	m, params := openModel(t, from)
	sym, err := model.Symmetry(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := sym.Apply(sym.Random(rand.New(rand.NewPCG(5, 5))), params)
	if err != nil {
		t.Fatal(err)
	}
	if sameTensors(params, moved) {
		t.Fatal("nothing moved")
	}
	if err := model.SaveAs(t.Context(), to, moved, m.Config, nil, m.Form()); err != nil {
		t.Fatal(err)
	}
}

func sameTensors(a, b map[string]*tensor.Tensor) bool {
	return maps.EqualFunc(a, b, func(x, y *tensor.Tensor) bool { return x.Equal(y) })
}

// TestExpertsOfNumberedTensors: experts are put back across the tensors that number them, in a file with the same tensors.
func TestExpertsOfNumberedTensors(t *testing.T) {
	dir := t.TempDir()
	b := filepath.Join(dir, "b.onnx")
	shuffled(t, expertsONNX, b)
	_, want := openModel(t, expertsONNX)
	for name, args := range map[string][]string{
		"align": {"align", "-q", expertsONNX, b, "-o"},
		"merge": {"merge", "-q", expertsONNX, b, "-o"}, // half of each of two equal networks
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(dir, name+".onnx")
			var stdout, stderr bytes.Buffer
			if code := Main(append(slices.Clone(args), out), &stdout, &stderr); code != 0 {
				t.Fatalf("exit code %d: %s", code, stderr.String())
			}
			if _, got := openModel(t, out); !sameTensors(got, want) {
				t.Errorf("the tensors are not those of %s; the command said %s", expertsONNX, stdout.String())
			}
		})
	}
}

// TestSymmetriesOfVirtualStacks: the command shows them under their names with a hole.
func TestSymmetriesOfVirtualStacks(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"symmetries", "-q", "--json", "--prove", expertsONNX}, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	var found struct{ Layouts map[string]string }
	if err := json.Unmarshal(stdout.Bytes(), &found); err != nil {
		t.Fatal(err)
	}
	const key, want = "layers.0.experts.{gates.0}.w1.weight", "layers.0.experts.w1[gates.0] embed"
	if got := found.Layouts[key]; got != want {
		t.Errorf("layout of %s: %q, want %q in %v", key, got, want, found.Layouts)
	}
}
