package zoo_test

import (
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

// Tolerances relative to the largest magnitude of a tensor (at least 1 for logits and losses). PyTorch computed in float64. Float32 loses about three
// digits on the way through twenty layers and back; the fixtures keep their distance from kinks, so that both types take the same branches.
const (
	torchTolerance64 = 1e-11
	torchTolerance32 = 1e-4
)

// Gradients of more elements than torchWhole are stored as every torchStride-th of them, as scripts/torch_fixtures.py has it.
const torchWhole, torchStride = 64, 11

// torchNetworks are the files of testdata/torch, and what their configurations have to say.
var torchNetworks = map[string]zoo.Config{
	"resnet20-conv3-none":  {Arch: "resnet20", Norm: "none", Shortcut: "conv3"},
	"resnet20-conv3-batch": {Arch: "resnet20", Norm: "batch", Shortcut: "conv3"},
	"resnet20-conv3-layer": {Arch: "resnet20", Norm: "layer", Shortcut: "conv3"},
	"resnet20-conv3-group": {Arch: "resnet20", Norm: "group", Shortcut: "conv3"},
	"resnet20-conv1-none":  {Arch: "resnet20", Norm: "none", Shortcut: "conv1"},
	"resnet20-conv1-batch": {Arch: "resnet20", Norm: "batch", Shortcut: "conv1"},
	"resnet20-conv1-layer": {Arch: "resnet20", Norm: "layer", Shortcut: "conv1"},
	"resnet20-conv1-group": {Arch: "resnet20", Norm: "group", Shortcut: "conv1"},
	"resnet20-pad-none":    {Arch: "resnet20", Norm: "none", Shortcut: "pad"},
	"resnet20-pad-batch":   {Arch: "resnet20", Norm: "batch", Shortcut: "pad"},
	"resnet20-pad-layer":   {Arch: "resnet20", Norm: "layer", Shortcut: "pad"},
	"resnet20-pad-group":   {Arch: "resnet20", Norm: "group", Shortcut: "pad"},
	"resnet18-none":        {Arch: "resnet18", Norm: "none"},
	"resnet18-batch":       {Arch: "resnet18", Norm: "batch"},
	"resnet18-group":       {Arch: "resnet18", Norm: "group"},
	"vgg11-none":           {Arch: "vgg11", Norm: "none"},
	"vgg11-batch":          {Arch: "vgg11", Norm: "batch"},
	"vgg11-layer":          {Arch: "vgg11", Norm: "layer"},
}

func torchPath(name string) string { return filepath.Join("testdata", "torch", name+".safetensors") }

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

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

// modes are the ways in which the network was run.
func (f *torchFixture) modes() []string {
	if f.config.Norm == "batch" {
		return []string{"inference", "training"}
	}
	return []string{"inference"}
}

// shapes are those of all tensors that scripts/torch_fixtures.py describes for the network.
func (f *torchFixture) shapes() map[string]tensor.Shape {
	batch := len(f.labels)
	want := map[string]tensor.Shape{"input": append(tensor.Shape{batch}, f.config.Input...), "labels": {batch}}
	statistics := graph.Statistics(f.graph)
	for name, shape := range shapesOf(f.graph) {
		want["weights/"+name] = shape
		for _, mode := range f.modes() {
			switch {
			case !statistics[name]:
				want[mode+"/gradient/"+name] = storedShape(shape)
			case mode == "training":
				want[mode+"/after/"+name] = shape
			}
		}
	}
	for _, mode := range f.modes() {
		want[mode+"/loss"], want[mode+"/logits"] = tensor.Shape{}, tensor.Shape{batch, f.config.Classes}
	}
	return want
}

// storedShape is what the files hold of a gradient.
func storedShape(shape tensor.Shape) tensor.Shape {
	n, _ := shape.Elements()
	if n <= torchWhole {
		return shape
	}
	return tensor.Shape{(n + torchStride - 1) / torchStride}
}

// TestTorchFixtures compares the files with what is to be there: names, networks, tensors and shapes, none missing and none more.
func TestTorchFixtures(t *testing.T) {
	paths, err := filepath.Glob(torchPath("*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) != len(torchNetworks) {
		t.Errorf("%d fixtures, want %d", len(paths), len(torchNetworks))
	}
	for _, name := range sortedNames(torchNetworks) {
		f, want := openTorchFixture(t, torchPath(name)), torchNetworks[name]
		if c := f.config; c.Arch != want.Arch || c.Norm != want.Norm || want.Shortcut != "" && c.Shortcut != want.Shortcut {
			t.Errorf("%s: the network is %+v", name, c)
		}
		got := map[string]tensor.Shape{}
		for _, i := range f.file.Infos() {
			got[i.Name] = i.Shape
		}
		if d := cmp.Diff(f.shapes(), got); d != "" {
			t.Errorf("%s: tensors (-want +got):\n%s", name, d)
		}
	}
}

// TestNetworksOfPyTorch compares logits, loss, gradients and running statistics with PyTorch's, in inference and with the statistics of the batch.
func TestNetworksOfPyTorch(t *testing.T) {
	for _, name := range sortedNames(torchNetworks) {
		f := openTorchFixture(t, torchPath(name))
		for _, mode := range f.modes() {
			t.Run(name+"/"+mode, func(t *testing.T) {
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
