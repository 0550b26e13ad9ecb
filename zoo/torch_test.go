package zoo_test

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

// Tolerances relative to the largest magnitude of a tensor (at least 1 for logits and losses). PyTorch computed in float64. Float32 loses about three
// digits on the way through twenty layers and back; the fixtures keep their distance from kinks, so that both types take the same branches.
const (
	torchTolerance64 = 1e-10
	torchTolerance32 = 1e-4
)

// Gradients of more elements than torchWhole are stored as every torchStride-th of them, as scripts/torch_fixtures.py has it.
const torchWhole, torchStride = 64, 11

type torchFixture struct {
	file   *checkpoint.Safetensors
	graph  *graph.Graph
	params map[string]*tensor.Tensor
	names  map[string]bool
	labels []int32
	config zoo.Config
}

func openTorchFixture(t *testing.T, path string) *torchFixture {
	t.Helper()
	s, err := checkpoint.OpenSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	f := &torchFixture{file: s, params: map[string]*tensor.Tensor{}, names: map[string]bool{}}
	if f.config, err = zoo.ParseConfig(s.Metadata()["config"]); err != nil {
		t.Fatal(err)
	}
	if f.config.Norm == "none" && strings.HasPrefix(f.config.Arch, "resnet") {
		f.config.NoBias = true // as the script's
	}
	if f.graph, err = zoo.Build(f.config); err != nil {
		t.Fatal(err)
	}
	for _, i := range s.Infos() {
		f.names[i.Name] = true
		if name, ok := strings.CutPrefix(i.Name, "weights/"); ok {
			f.params[name] = f.wide(t, i.Name)
		}
	}
	for _, l := range tensor.Of[int64](f.read(t, "labels")) {
		f.labels = append(f.labels, int32(l))
	}
	return f
}

func (f *torchFixture) read(t *testing.T, name string) *tensor.Tensor {
	t.Helper()
	x, err := f.file.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func (f *torchFixture) wide(t *testing.T, name string) *tensor.Tensor {
	t.Helper()
	x, err := f.read(t, name).Convert(tensor.F64)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func (f *torchFixture) floats(t *testing.T, name string) []float64 {
	t.Helper()
	return tensor.Of[float64](f.wide(t, name))
}

// TestNetworksOfPyTorch compares logits, loss, gradients and running statistics with PyTorch's, in inference and with the statistics of the batch.
func TestNetworksOfPyTorch(t *testing.T) {
	paths, err := filepath.Glob("testdata/torch/*.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	const files = 18 // three kinds of shortcuts by four norms, three of ResNet-18, three of VGG-11
	if len(paths) != files {
		t.Fatalf("%d fixtures, want %d", len(paths), files)
	}
	for _, path := range paths {
		f := openTorchFixture(t, path)
		modes := []string{"inference"}
		if f.config.Norm == "batch" {
			modes = append(modes, "training")
		}
		for _, mode := range modes {
			t.Run(strings.TrimSuffix(filepath.Base(path), ".safetensors")+"/"+mode, func(t *testing.T) {
				t.Run("float64", func(t *testing.T) { checkTorchNetwork[float64](t, f, mode, torchTolerance64) })
				t.Run("float32", func(t *testing.T) { checkTorchNetwork[float32](t, f, mode, torchTolerance32) })
			})
		}
	}
}

func checkTorchNetwork[T nn.Float](t *testing.T, f *torchFixture, mode string, tolerance float64) {
	e, err := nn.New[T](f.graph, nn.Options{Training: true, BatchStatistics: mode == "training", Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.SetParams(f.params); err != nil {
		t.Fatal(err)
	}
	pixels := tensor.Of[uint8](f.read(t, "input"))
	x := make([]T, len(pixels))
	for i, p := range pixels {
		x[i] = (T(p) - 128) / 64
	}
	logits, err := e.Forward(x, len(f.labels))
	if err != nil {
		t.Fatal(err)
	}
	nearTorch(t, "logits", logits, f.floats(t, mode+"/logits"), 1, tolerance)
	dlogits := make([]T, len(logits))
	sum, _ := nn.CrossEntropy(logits, f.labels, f.config.Classes, dlogits)
	nearTorch(t, "loss", []float64{sum / float64(len(f.labels))}, f.floats(t, mode+"/loss"), 1, tolerance)
	if err := e.Backward(dlogits); err != nil {
		t.Fatal(err)
	}
	f.checkGradients(t, mode, tolerance, func(name string) []float64 { return widened(tensor.Of[T](e.GradTensors()[name])) })
	if mode != "training" {
		return
	}
	e.UpdateStatistics(.1)
	after := e.ParamTensors()
	for name := range graph.Statistics(f.graph) {
		nearTorch(t, name, tensor.Of[T](after[name]), f.floats(t, mode+"/after/"+name), 0, tolerance)
	}
}

func widened[T nn.Float](x []T) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// checkGradients demands one for each trained tensor.
func (f *torchFixture) checkGradients(t *testing.T, mode string, tolerance float64, gradient func(name string) []float64) {
	t.Helper()
	statistics := graph.Statistics(f.graph)
	for _, p := range f.graph.Params {
		if statistics[p.Name] {
			continue
		}
		got := gradient(p.Name)
		if len(got) > torchWhole {
			var some []float64
			for i := 0; i < len(got); i += torchStride {
				some = append(some, got[i])
			}
			got = some
		}
		// A bias before a batch normalisation has gradient zero, so that there is a least magnitude, too.
		nearTorch(t, "gradient of "+p.Name, got, f.floats(t, mode+"/gradient/"+p.Name), .01, tolerance)
	}
}

// nearTorch allows errors relative to the largest magnitude, or to least.
func nearTorch[T nn.Float](t *testing.T, what string, got []T, want []float64, least, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	largest := least
	for _, w := range want {
		largest = max(largest, math.Abs(w))
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= tolerance*largest) {
			t.Fatalf("%s: element %d is %v, want %v, which is off by %.2g of the largest", what, i, got[i], w, d/largest)
		}
	}
}
