package onnx_test

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/onnx"
	"github.com/rebasin/rebasin/tensor"
)

// torchTolerance is what the engine's float32 may differ from PyTorch's float64, rounded to float32, over max(1, |y|): some hundred roundings of
// sums of up to a few hundred terms.
const torchTolerance = 2e-5

// fixtures are the networks that PyTorch has exported; export.py in testdata makes them.
func fixtures(t testing.TB, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no fixtures %s: %v", pattern, err)
	}
	return paths
}

func open(t testing.TB, path string) *onnx.File {
	t.Helper()
	f, err := onnx.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// values reads the three inputs and the three outputs that belong to a network.
func values(t testing.TB, network string) (x, y []float32) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", network+".values"))
	if err != nil {
		t.Fatal(err)
	}
	all := make([]float32, len(raw)/4)
	for i := range all {
		all[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	const outputs = 3 * 5
	return all[:len(all)-outputs], all[len(all)-outputs:]
}

// params are the tensors that a graph runs on.
func params(t testing.TB, r checkpoint.Reader, g *graph.Graph) map[string]*tensor.Tensor {
	t.Helper()
	out := map[string]*tensor.Tensor{}
	for _, p := range g.Params {
		x, err := r.Read(p.Name)
		if err != nil {
			t.Fatal(err)
		}
		out[p.Name] = x
	}
	return out
}

// run computes a network on inputs.
func run(t testing.TB, g *graph.Graph, p map[string]*tensor.Tensor, x []float32, batch int) []float32 {
	t.Helper()
	e, err := nn.New[float32](g, nn.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.SetParams(p); err != nil {
		t.Fatal(err)
	}
	y, err := e.Forward(x, batch)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(y)
}

func deviation(t testing.TB, got, want []float32) float64 {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d outputs, want %d", len(got), len(want))
	}
	worst := 0.
	for i := range want {
		d := math.Abs(float64(got[i])-float64(want[i])) / max(1, math.Abs(float64(want[i])))
		if !(d <= worst) {
			worst = d
		}
	}
	return worst
}

// TestPyTorch runs every exported network, of every operator set and in every form, and compares the outputs with PyTorch's.
func TestPyTorch(t *testing.T) {
	for _, path := range fixtures(t, "*.onnx") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f := open(t, path)
			g, err := f.Graph()
			if err != nil {
				t.Fatal(err)
			}
			network, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".onnx"), "-")
			x, want := values(t, network)
			if d := deviation(t, run(t, g, params(t, f, g), x, 3), want); !(d <= torchTolerance) {
				t.Errorf("the outputs deviate by %g", d)
			}
			for _, n := range g.Nodes {
				if slices.Contains([]string{"Shape", "Gather", "Cast", "Unsqueeze"}, n.Op) {
					t.Errorf("%s is left over from the computation of a shape", &n)
				}
			}
		})
	}
}
