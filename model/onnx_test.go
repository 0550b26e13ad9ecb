package model_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// exported is a fixture of package onnx: a network that PyTorch has exported, or its state dict.
func exported(name string) string { return filepath.Join("..", "onnx", "testdata", name) }

func names(t testing.TB, graph, file string) *model.Names {
	t.Helper()
	n, err := model.OpenNames(exported(graph))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	if file != "" {
		if err := n.Bind(exported(file), model.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// TestONNX opens a model by its name or its content; its graph is its own.
func TestONNX(t *testing.T) {
	content, err := os.ReadFile(exported("cnn.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "model")
	if err := os.WriteFile(other, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{exported("cnn.onnx"), other} {
		m := open(t, path, model.Options{})
		if m.Graph == nil || m.Config != nil || m.ONNX() == nil || m.Form().Format != checkpoint.FormatONNX {
			t.Fatalf("%s: graph %v, form %v", path, m.Graph, m.Form())
		}
		shape, classes, ok := m.Input()
		if !ok || classes != 5 || !slices.Equal(shape, []int{3, 8, 8}) {
			t.Errorf("reads %v, %d classes, %v", shape, classes, ok)
		}
		if _, err := m.GraphParams(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for _, opt := range []model.Options{{Arch: "mlp"}, {Names: names(t, "mlp.onnx", "")}} {
		if _, err := model.Open(other, opt); err == nil || !strings.Contains(err.Error(), "a graph of its own") {
			t.Errorf("error %v", err)
		}
	}
}

// TestONNXWithoutGraph lists the tensors of a model whose graph cannot be converted where they alone are wanted.
func TestONNXWithoutGraph(t *testing.T) {
	path := exported("attacks/loop.onnx")
	if _, err := model.Open(path, model.Options{}); err == nil || !strings.Contains(err.Error(), "control flow") {
		t.Errorf("error %v", err)
	}
	m := open(t, path, model.Options{Tensors: true})
	if m.Graph != nil || len(m.Infos()) != 2 {
		t.Errorf("graph %v, tensors %v", m.Graph, m.Infos())
	}
}

// TestSaveONNX writes an aligned model in the form it came in, and as safetensors where the name says so.
func TestSaveONNX(t *testing.T) {
	m := open(t, exported("resnet20-folded.onnx"), model.Options{})
	s, err := model.Symmetry(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	was, err := m.Params(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	moved := s.Identity()
	for _, g := range s.Groups {
		slices.Reverse(moved.Perms[g.Name])
	}
	is, err := s.Apply(moved, was)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"out.onnx", "out.safetensors", "out"} {
		path := filepath.Join(t.TempDir(), name)
		if err := model.SaveAs(t.Context(), path, is, nil, map[string]string{"rebasin.method": "test"}, m.Form()); err != nil {
			t.Fatal(err)
		}
		again := open(t, path, model.Options{})
		if err := model.SameTensors(m, again); err != nil {
			t.Error(err)
		}
		if again.Metadata()["rebasin.method"] != "test" || (again.ONNX() == nil) != (name == "out.safetensors") {
			t.Errorf("%s: metadata %v, ONNX %v", name, again.Metadata(), again.ONNX() != nil)
		}
		got, err := again.Params(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if deviation, _, err := symmetry.Equivalent(t.Context(), m.Graph, was, got, nil, 2); err != nil || !(deviation <= symmetry.Tolerance) {
			t.Errorf("%s: the outputs deviate by %g, error %v", name, deviation, err)
		}
		if got["onnx::Conv_254"].Equal(was["onnx::Conv_254"]) {
			t.Error("nothing was permuted")
		}
	}
	err = model.Save(t.Context(), filepath.Join(t.TempDir(), "new.onnx"), is, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "only an ONNX model can be written as one") {
		t.Errorf("error %v", err)
	}
}

// TestNames runs a state dict through graphs of each kind of export: what it computes is what the model with the values in it does.
func TestNames(t *testing.T) {
	for network, graphs := range map[string][]string{
		"mlp":      {"mlp.onnx", "mlp-folded.onnx", "mlp-fixed.onnx"},
		"sequence": {"sequence.onnx", "sequence-folded.onnx", "sequence-11.onnx"}, // transposed weights under names like onnx::MatMul_17
		"cnn":      {"cnn.onnx", "cnn-9.onnx", "cnn-17.onnx"},
		"resnet20": {"resnet20.onnx"},
	} {
		for _, graph := range graphs {
			state := network + ".safetensors"
			m := open(t, exported(state), model.Options{Names: names(t, graph, state)})
			whole := open(t, exported(graph), model.Options{})
			p, err := m.GraphParams(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for name := range p {
				if strings.Contains(name, "onnx::") {
					t.Errorf("%s: parameter %q bears the exporter's name", graph, name)
				}
			}
			q, err := whole.GraphParams(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			x := make([]float32, 2*elements(t, m))
			for i := range x {
				x[i] = float32(i%13)/6 - 1
			}
			y, z := forward(t, m, p, x, 2), forward(t, whole, q, x, 2)
			if !slices.Equal(y, z) {
				t.Errorf("%s: outputs %v, want %v", graph, y, z)
			}
			s, err := model.Symmetry(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			own, err := model.Symmetry(t.Context(), whole)
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Groups) != len(own.Groups) {
				t.Errorf("%s: groups %v, in the model %v", graph, s.Groups, own.Groups)
			}
		}
	}
}

// TestNamesOfAnother binds a graph to the checkpoint that it holds, and gives it to another of the same network.
func TestNamesOfAnother(t *testing.T) {
	n := names(t, "sequence-folded.onnx", "sequence.safetensors")
	p := state(t, "sequence.safetensors")
	for _, x := range p {
		for i := range tensor.Of[float32](x) {
			tensor.Of[float32](x)[i] *= -1.5
		}
	}
	path := save(t, p, nil, nil)
	m := open(t, path, model.Options{Names: n})
	if _, err := m.GraphParams(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := model.Open(path, model.Options{Names: names(t, "sequence-folded.onnx", "")}); err == nil ||
		!strings.Contains(err.Error(), `no tensor has the name or the values of initializer "onnx::MatMul_17" of shape [8 20]`) {
		t.Errorf("error %v", err)
	}
}

// TestNamesOfMergedInitializers: the exporter has merged equal initializers of a fresh network; each tensor of a checkpoint counts for itself again.
func TestNamesOfMergedInitializers(t *testing.T) {
	p := state(t, "fresh.safetensors")
	m := open(t, save(t, p, nil, nil), model.Options{Names: names(t, "fresh.onnx", "")})
	floats := 0
	for _, info := range m.Infos() {
		if info.DType.IsFloat() {
			floats++
		}
	}
	if got := len(m.Graph.Params); got != floats {
		t.Errorf("the graph has %d parameters, the file %d tensors of floats", got, floats)
	}
	x := make([]float32, elements(t, m))
	for i := range x {
		x[i] = float32(i%7) / 3
	}
	own, err := m.GraphParams(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := forward(t, m, own, x, 1)
	for _, name := range []string{"a.1.weight", "a.1.running_mean", "a.4.bias", "a.4.running_var"} {
		changed := maps.Clone(own)
		changed[name] = tensor.FromSlice(tensor.Shape{4}, []float32{3, 2, 4, 5})
		if slices.Equal(forward(t, m, changed, x, 1), before) {
			t.Errorf("%q has no effect", name)
		}
	}
}

// state reads the tensors of a fixture, to be changed.
func state(t testing.TB, file string) params {
	t.Helper()
	all, err := open(t, exported(file), model.Options{}).Params(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := params{}
	for name, x := range all {
		out[name] = x.Clone()
	}
	return out
}

// TestNamesErrors never guesses.
func TestNamesErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		graph, file string
		change      func(p params)
		want        []string
	}{
		"folded": {"resnet20-folded.onnx", "resnet20.safetensors", nil, []string{
			`no tensor has the name or the values of initializer "onnx::Conv_254" of shape [4 3 3 3]`, "and 30 more", "do_constant_folding=False",
		}},
		"another network": {"mlp.onnx", "sequence.safetensors", nil, []string{`initializer "fc1.weight"`}},
		"shape": {"mlp.onnx", "mlp.safetensors", func(p params) { p["fc1.bias"] = tensor.New(tensor.F32, tensor.Shape{17}) }, []string{
			`initializer "fc1.bias" of shape [16]`,
		}},
		"two alike": {"sequence-folded.onnx", "sequence.safetensors", func(p params) { p["copy"] = p["up.weight"] }, []string{
			`initializer "onnx::MatMul_17" has the values of both "`,
		}},
		// The normalisations that the exporter has merged stand under other names here: nobody can tell which is which.
		"merged": {"fresh.onnx", "fresh.safetensors", func(p params) {
			for _, name := range []string{"a.4.bias", "a.4.running_mean"} {
				p["other."+name] = p[name]
				delete(p, name)
			}
		}, []string{`initializer "a.4.`, `has the values of both "other.a.4.bias" and "other.a.4.running_mean"`}},
	} {
		t.Run(name, func(t *testing.T) {
			p := state(t, tt.file)
			if tt.change != nil {
				tt.change(p)
			}
			_, err := model.Open(save(t, p, nil, nil), model.Options{Names: names(t, tt.graph, "")})
			for _, w := range append(tt.want, "net.safetensors", tt.graph) {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("error %v, want %q", err, w)
				}
			}
		})
	}
}

// TestSameNetworkOfGraphs compares graphs where no architecture is known.
func TestSameNetworkOfGraphs(t *testing.T) {
	a := open(t, exported("mlp.onnx"), model.Options{})
	if err := model.SameNetwork(a, open(t, exported("mlp-folded.onnx"), model.Options{})); err != nil {
		t.Error(err)
	}
	content, err := os.ReadFile(exported("mlp.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"\x22\x04Relu": "\x22\x04Tanh", "\x22\x04Tanh": "\x22\x04Relu"} {
		path := filepath.Join(t.TempDir(), "other.onnx")
		changed := strings.Replace(string(content), from, to, 1)
		if changed == string(content) {
			t.Fatalf("no %q in the model", from)
		}
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		b := open(t, path, model.Options{})
		if err := model.SameNetwork(a, b); err == nil || !strings.Contains(err.Error(), "different networks") {
			t.Errorf("error %v", err)
		}
	}
}

// elements is the number of values in one sample.
func elements(t testing.TB, m *model.Model) int {
	t.Helper()
	shape, _, ok := m.Input()
	n := 1
	for _, e := range shape {
		n *= e
	}
	if !ok {
		t.Fatal("the input is not known")
	}
	return n
}

// forward runs a network.
func forward(t testing.TB, m *model.Model, p params, x []float32, batch int) []float32 {
	t.Helper()
	e, err := nn.New[float32](m.Graph, nn.Options{Threads: 1})
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

// Weights that an exporter has frozen into constants are no parameters, and are not merged in silence.
func TestSameNetworkOfConstants(t *testing.T) {
	of := func(v float32) *model.Model {
		b := graph.NewBuilder("frozen")
		x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(2))
		b.Output(b.MatMul("y", x, b.Constant("w", tensor.FromSlice(tensor.Shape{2, 1}, []float32{1, v}))))
		g, err := b.Graph()
		if err != nil {
			t.Fatal(err)
		}
		return &model.Model{Graph: g}
	}
	if err := model.SameNetwork(of(1), of(1)); err != nil {
		t.Error(err)
	}
	if err := model.SameNetwork(of(1), of(2)); err == nil || !strings.Contains(err.Error(), "must be an initializer") {
		t.Errorf("error %v", err)
	}
}
