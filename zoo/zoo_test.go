package zoo_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

func build(tb testing.TB, cfg zoo.Config) *graph.Graph {
	tb.Helper()
	g, err := zoo.Build(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

func shapesOf(g *graph.Graph) map[string]tensor.Shape {
	shapes := map[string]tensor.Shape{}
	for _, p := range g.Params {
		shapes[p.Name], _ = p.Shape.Fixed()
	}
	return shapes
}

func ops(g *graph.Graph) string {
	var names []string
	for _, n := range g.Nodes {
		names = append(names, n.Op)
	}
	return strings.Join(names, " ")
}

func TestBuildMLP(t *testing.T) {
	for _, c := range []struct {
		cfg    zoo.Config
		ops    string
		params string
	}{
		{
			zoo.Config{Arch: "mlp", Input: []int{784}, Classes: 10},
			"Gemm Relu Gemm Relu Gemm Relu Gemm",
			"fc1.weight[512 784] fc1.bias[512] fc2.weight[512 512] fc2.bias[512] fc3.weight[512 512] fc3.bias[512] fc4.weight[10 512] fc4.bias[10]",
		},
		{
			zoo.Config{Arch: "mlp", Input: []int{4}, Classes: 3, Width: 2, NoBias: true},
			"Gemm Relu Gemm Relu Gemm Relu Gemm",
			"fc1.weight[1024 4] fc2.weight[1024 1024] fc3.weight[1024 1024] fc4.weight[3 1024]",
		},
		{
			zoo.Config{Arch: "mlp", Input: []int{1, 28, 28}, Hidden: []int{32}, Classes: 10, Norm: "layer", Activation: "prelu", Dropout: .5},
			"Flatten Gemm LayerNormalization PRelu Constant Dropout Gemm",
			"fc1.weight[32 784] fc1.bias[32] norm1.weight[32] norm1.bias[32] prelu1.weight[1] fc2.weight[10 32] fc2.bias[10]",
		},
		{
			zoo.Config{Arch: "mlp", Input: []int{4}, Hidden: []int{5}, Classes: 3, Layers: []string{"net.0", "net.2"}, NoBias: true, Activation: "gelu"},
			"Gemm Gelu Gemm",
			"net.0.weight[5 4] net.2.weight[3 5]",
		},
	} {
		g := build(t, c.cfg)
		if got := ops(g); got != c.ops {
			t.Errorf("operators %s, want %s", got, c.ops)
		}
		var params []string
		for _, p := range g.Params {
			params = append(params, p.Name+p.Shape.String())
		}
		if got := strings.Join(params, " "); got != c.params {
			t.Errorf("parameters %s, want %s", got, c.params)
		}
		values, err := g.InferShapes()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := values[zoo.Output].Shape.String(), fmt.Sprintf("[N %d]", c.cfg.Classes); got != want {
			t.Errorf("logits are %s, want %s", got, want)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	good := zoo.Config{Arch: "mlp", Input: []int{784}, Classes: 10}
	for want, spoil := range map[string]func(*zoo.Config){
		"unknown architecture":   func(c *zoo.Config) { c.Arch = "vgg17" },
		"no input shape":         func(c *zoo.Config) { c.Input = nil },
		"extent 0":               func(c *zoo.Config) { c.Classes = 0 },
		"extent -1":              func(c *zoo.Config) { c.Hidden = []int{4, -1} },
		"width -3":               func(c *zoo.Config) { c.Width = -3 },
		"both hidden and width":  func(c *zoo.Config) { c.Width, c.Hidden = 2, []int{4} },
		"unknown activation":     func(c *zoo.Config) { c.Activation = "swish" },
		"unknown norm":           func(c *zoo.Config) { c.Norm = "batch" },
		"unknown initialisation": func(c *zoo.Config) { c.Init = "zero" },
		"dropout":                func(c *zoo.Config) { c.Dropout = math.NaN() },
		"2 names for 4 layers":   func(c *zoo.Config) { c.Layers = []string{"a", "b"} },
		"not unique":             func(c *zoo.Config) { c.Hidden, c.Layers = []int{4}, []string{"a", "a"} },
		"overflow":               func(c *zoo.Config) { c.Input = []int{1 << 31, 1 << 31, 1 << 31} },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := zoo.Build(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestConfigRoundTrip(t *testing.T) {
	cfg := zoo.Config{Arch: "mlp", Input: []int{1, 28, 28}, Width: 2, Classes: 10, Norm: "layer"}
	text, err := cfg.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := zoo.ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	want, err := cfg.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, back); d != "" {
		t.Fatal(d)
	}
	if d := cmp.Diff(build(t, cfg).Params, build(t, back).Params); d != "" {
		t.Fatal(d)
	}
	for _, bad := range []string{"", "{", `{"arch":"mlp","input":[4],"classes":2,"swizzle":1}`, text + "{}", `{"arch":"mlp","input":[4],"classes":-2}`} {
		if _, err := zoo.ParseConfig(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// What Build makes, Detect finds.
func TestDetectFindsWhatBuildMakes(t *testing.T) {
	for _, cfg := range []zoo.Config{
		{Arch: "mlp", Input: []int{784}, Classes: 10},
		{Arch: "mlp", Input: []int{6}, Hidden: []int{5}, Classes: 3, NoBias: true},
		{Arch: "mlp", Input: []int{6}, Hidden: []int{5, 4}, Classes: 3, Norm: "layer"},
		{Arch: "mlp", Input: []int{6}, Hidden: []int{5, 4}, Classes: 3, Layers: []string{"0", "2", "10"}},
		{Arch: "mlp", Input: []int{6}, Hidden: []int{5}, Classes: 3, Layers: []string{"model.layers.0", "model.layers.3"}},
		{Arch: "mlp", Input: []int{6}, Hidden: []int{5}, Classes: 3, Layers: []string{"linear0", "linear1"}},
	} {
		got, err := zoo.Detect("mlp", shapesOf(build(t, cfg)))
		if err != nil {
			t.Errorf("%+v: %v", cfg, err)
			continue
		}
		want, err := cfg.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%+v: %s", cfg, d)
		}
	}
}

func TestDetectedInputMayBeAnImage(t *testing.T) {
	cfg, err := zoo.Detect("mlp", shapesOf(build(t, zoo.Config{Arch: "mlp", Input: []int{784}, Classes: 10})))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Input = []int{1, 28, 28}
	if got := ops(build(t, cfg)); !strings.HasPrefix(got, "Flatten Gemm") {
		t.Fatalf("operators %s", got)
	}
}

func TestDetectRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		wants []string
		spoil func(map[string]tensor.Shape)
	}{
		{"gap", []string{`"fc2.weight" is missing`}, func(s map[string]tensor.Shape) { delete(s, "fc2.weight") }},
		{"first", []string{`"fc1.weight" is missing`}, func(s map[string]tensor.Shape) { delete(s, "fc1.weight") }},
		{"chain", []string{"fc2.weight", "fc3.weight", "5 outputs, 4 inputs"}, func(s map[string]tensor.Shape) { s["fc3.weight"] = tensor.Shape{4, 4} }},
		{"bias missing", []string{`"fc2.bias" is missing`}, func(s map[string]tensor.Shape) { delete(s, "fc2.bias") }},
		{"bias extra", []string{`"fc2.bias" is there`}, func(s map[string]tensor.Shape) { delete(s, "fc1.bias") }},
		{"bias shape", []string{"fc2.bias", "fc2.weight", "5 outputs"}, func(s map[string]tensor.Shape) { s["fc2.bias"] = tensor.Shape{6} }},
		{"norm shape", []string{"norm1.bias", "fc1.weight"}, func(s map[string]tensor.Shape) {
			s["norm1.weight"], s["norm1.bias"] = tensor.Shape{6}, tensor.Shape{7}
		}},
		{"norm missing", []string{`"norm2.weight" is missing`}, func(s map[string]tensor.Shape) {
			s["norm1.weight"], s["norm1.bias"] = tensor.Shape{6}, tensor.Shape{6}
		}},
		{"stranger", []string{"bn1.running_mean"}, func(s map[string]tensor.Shape) { s["bn1.running_mean"] = tensor.Shape{6} }},
		{"two series", []string{"fc1.weight", "head0.weight"}, func(s map[string]tensor.Shape) { s["head0.weight"] = tensor.Shape{6, 6} }},
		{"not a matrix", []string{"fc2.weight", "not a matrix"}, func(s map[string]tensor.Shape) { s["fc2.weight"] = tensor.Shape{5, 6, 1} }},
		{"nothing", []string{"no matrices"}, func(s map[string]tensor.Shape) { clear(s) }},
	} {
		shapes := shapesOf(build(t, zoo.Config{Arch: "mlp", Input: []int{8}, Hidden: []int{6, 5}, Classes: 4}))
		c.spoil(shapes)
		_, err := zoo.Detect("mlp", shapes)
		for _, want := range c.wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want one with %q", c.name, err, want)
			}
		}
	}
	if _, err := zoo.Detect("vgg16", nil); err == nil {
		t.Error("an unknown architecture is detected")
	}
}

// The distributions have the variances and bounds that their references give.
func TestInitDistributions(t *testing.T) {
	const fanIn, width = 400, 2000
	bound := 1 / math.Sqrt(fanIn)
	for _, c := range []struct {
		init              string
		deviation, extent float64 // of the weights
		biasDeviation     float64
	}{
		{"lecun", bound, 2 * bound / 0.8796, 0},
		{"torch", bound / math.Sqrt(3), bound, bound / math.Sqrt(3)},
	} {
		cfg := zoo.Config{Arch: "mlp", Input: []int{fanIn}, Hidden: []int{width}, Classes: 2, Norm: "layer", Init: c.init}
		params, err := zoo.Init(build(t, cfg), cfg, 1)
		if err != nil {
			t.Fatal(err)
		}
		w := moments(params["fc1.weight"])
		// 800,000 draws: the mean lies within 5 standard errors, the deviation within 1 %.
		if math.Abs(w.mean) > 5*c.deviation/math.Sqrt(fanIn*width) || math.Abs(w.deviation/c.deviation-1) > .01 {
			t.Errorf("%s: weights have mean %g and deviation %g, want 0 and %g", c.init, w.mean, w.deviation, c.deviation)
		}
		if w.most > c.extent*1.0001 || w.most < .99*c.extent {
			t.Errorf("%s: weights reach %g, want %g", c.init, w.most, c.extent)
		}
		if b := moments(params["fc1.bias"]); math.Abs(b.deviation-c.biasDeviation) > .1*bound {
			t.Errorf("%s: biases have deviation %g, want %g", c.init, b.deviation, c.biasDeviation)
		}
		if s := moments(params["norm1.weight"]); s.mean != 1 || s.deviation != 0 {
			t.Errorf("%s: scales are not 1", c.init)
		}
		if s := moments(params["norm1.bias"]); s.most != 0 {
			t.Errorf("%s: shifts are not 0", c.init)
		}
	}
}

type moment struct{ mean, deviation, most float64 }

func moments(t *tensor.Tensor) moment {
	var m moment
	data := tensor.Of[float32](t)
	for _, v := range data {
		m.mean += float64(v)
		m.most = max(m.most, math.Abs(float64(v)))
	}
	m.mean /= float64(len(data))
	for _, v := range data {
		m.deviation += (float64(v) - m.mean) * (float64(v) - m.mean) / float64(len(data))
	}
	m.deviation = math.Sqrt(m.deviation)
	return m
}

func TestInitIsDeterministicPerTensor(t *testing.T) {
	cfg := zoo.Config{Arch: "mlp", Input: []int{8}, Hidden: []int{6, 6}, Classes: 4, NoBias: true}
	g := build(t, cfg)
	a, err := zoo.Init(g, cfg, 7)
	if err != nil {
		t.Fatal(err)
	}
	g.Params[0], g.Params[2] = g.Params[2], g.Params[0]
	b, err := zoo.Init(g, cfg, 7)
	if err != nil {
		t.Fatal(err)
	}
	other, err := zoo.Init(g, cfg, 8)
	if err != nil {
		t.Fatal(err)
	}
	for name := range a {
		if !a[name].Equal(b[name]) {
			t.Errorf("%s depends on the order of the parameters", name)
		}
		if a[name].Equal(other[name]) {
			t.Errorf("%s does not depend on the seed", name)
		}
	}
	if len(a) != 3 {
		t.Errorf("%d tensors, want 3", len(a))
	}
}

func TestInitNamesWhatItCannot(t *testing.T) {
	b := graph.NewBuilder("g")
	b.Output(b.Mul("y", b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(3)), b.Param("gain", 3)))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := zoo.Init(g, zoo.Config{Arch: "mlp", Input: []int{3}, Classes: 3}, 1); err == nil || !strings.Contains(err.Error(), `"gain"`) {
		t.Fatalf("error %v", err)
	}
}
