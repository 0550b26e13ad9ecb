package nn

import (
	"encoding/json"
	"math"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// A torchCase is one of the operators of testdata/torch/ops.safetensors; scripts/torch_fixtures.py says what its tensors are.
type torchCase struct {
	Name, Op string
	Attrs    map[string]json.RawMessage
	Inputs   int
	Training bool
}

// Tolerances relative to the largest magnitude of a tensor. PyTorch computed in float64, in other orders of summation than ours; in float32 some hundred
// products are summed, each within 6e-8.
const (
	torchTolerance64 = 1e-13
	torchTolerance32 = 2e-5
)

// torchOps reads the cases.
func torchOps(t *testing.T) ([]torchCase, *checkpoint.Safetensors) {
	t.Helper()
	s, err := checkpoint.OpenSafetensors("testdata/torch/ops.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	var cases []torchCase
	if err := json.Unmarshal([]byte(s.Metadata()["cases"]), &cases); err != nil {
		t.Fatal(err)
	}
	return cases, s
}

// torchAttr is a number, whole or not, or a list of whole numbers.
func torchAttr(t *testing.T, text string) any {
	t.Helper()
	var list []int64
	if json.Unmarshal([]byte(text), &list) == nil {
		return list
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func wideTensor(t *testing.T, s *checkpoint.Safetensors, name string) *tensor.Tensor {
	t.Helper()
	x, err := s.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	wide, err := x.Convert(tensor.F64)
	if err != nil {
		t.Fatal(err)
	}
	return wide
}

// TestOperatorsOfPyTorch compares outputs, gradients and running statistics with PyTorch's.
func TestOperatorsOfPyTorch(t *testing.T) {
	cases, s := torchOps(t)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Run("float64", func(t *testing.T) { checkTorchOp[float64](t, c, s, torchTolerance64) })
			t.Run("float32", func(t *testing.T) { checkTorchOp[float32](t, c, s, torchTolerance32) })
		})
	}
}

func checkTorchOp[T Float](t *testing.T, c torchCase, s *checkpoint.Safetensors, tolerance float64) {
	params := map[string]*tensor.Tensor{}
	g := graphOf(t, func(b *graph.Builder) {
		b.Input("unused", tensor.F32, graph.Sym("N"), graph.Fixed(1))
		attrs := graph.Attrs{}
		for name, text := range c.Attrs {
			attrs[name] = torchAttr(t, string(text))
		}
		var in []string
		for i := range c.Inputs {
			name := "in/" + strconv.Itoa(i)
			params[name] = wideTensor(t, s, c.Name+"/"+name)
			in = append(in, b.Param(name, params[name].Shape()...))
		}
		b.Output(b.Op(c.Op, "y", attrs, in...))
	})
	e, err := New[T](g, Options{Training: true, BatchStatistics: c.Training, Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.SetParams(params); err != nil {
		t.Fatal(err)
	}
	y, err := e.Forward(make([]T, 1), 1)
	if err != nil {
		t.Fatal(err)
	}
	want := func(what string) []float64 { return tensor.Of[float64](wideTensor(t, s, c.Name+"/"+what)) }
	compareWithTorch(t, "output", y, want("out"), tolerance)
	form := make([]T, len(y))
	for i, v := range want("form") {
		form[i] = T(v)
	}
	if err := e.Backward(form); err != nil {
		t.Fatal(err)
	}
	grads := e.GradTensors()
	for i := range c.Inputs {
		if n := strconv.Itoa(i); hasTensor(s, c.Name+"/gradient/"+n) {
			compareWithTorch(t, "gradient "+n, tensor.Of[T](grads["in/"+n]), want("gradient/"+n), tolerance)
		} else if c.Op != "BatchNormalization" || i < 3 {
			t.Errorf("there is no gradient of input %d to compare with", i)
		}
	}
	if !c.Training {
		return
	}
	e.UpdateStatistics(.1)
	after := e.ParamTensors()
	for _, n := range []string{"3", "4"} {
		compareWithTorch(t, "running statistic "+n, tensor.Of[T](after["in/"+n]), want("after/"+n), tolerance)
	}
}

func hasTensor(s *checkpoint.Safetensors, name string) bool {
	for _, i := range s.Infos() {
		if i.Name == name {
			return true
		}
	}
	return false
}

func compareWithTorch[T Float](t *testing.T, what string, got []T, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	largest := 1.0
	for _, w := range want {
		largest = max(largest, math.Abs(w))
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= tolerance*largest) {
			t.Fatalf("%s: element %d is %v, want %v (largest %v)", what, i, got[i], w, largest)
		}
	}
}

// torchCases is how many cases scripts/torch_fixtures.py makes of each operator.
var torchCases = map[string]int{
	"Conv": 16, "MaxPool": 9, "AveragePool": 10, "GlobalAveragePool": 1, "BatchNormalization": 8, "GroupNormalization": 4, "HardSwish": 1,
}

// TestTorchOperatorsAreAll: every case that the script makes is there with every tensor that its header describes, and nothing else.
func TestTorchOperatorsAreAll(t *testing.T) {
	cases, s := torchOps(t)
	counts, want, got := map[string]int{}, map[string]tensor.Shape{}, map[string]tensor.Shape{}
	for _, i := range s.Infos() {
		got[i.Name] = i.Shape
	}
	for _, c := range cases {
		counts[c.Op]++
		want[c.Name+"/form"], want[c.Name+"/out"] = got[c.Name+"/out"], got[c.Name+"/out"]
		for i := range c.Inputs {
			n := strconv.Itoa(i)
			shape := got[c.Name+"/in/"+n]
			want[c.Name+"/in/"+n] = shape
			if c.Op != "BatchNormalization" || i < 3 {
				want[c.Name+"/gradient/"+n] = shape
			} else if c.Training {
				want[c.Name+"/after/"+n] = shape
			}
		}
	}
	if d := cmp.Diff(torchCases, counts); d != "" {
		t.Errorf("cases (-want +got):\n%s", d)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("tensors (-want +got):\n%s", d)
	}
}
