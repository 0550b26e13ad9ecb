package zoo_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

// trained counts the elements of all parameters but the running statistics.
func trained(g *graph.Graph) int {
	sum, stats := 0, graph.Statistics(g)
	for name, shape := range shapesOf(g) {
		n, _ := shape.Elements()
		if !stats[name] {
			sum += n
		}
	}
	return sum
}

// The numbers of parameters are those that torchvision prints, and for the forms for CIFAR those of He et al., which have no projections.
func TestParameterCounts(t *testing.T) {
	image := []int{3, 224, 224}
	for _, c := range []struct {
		cfg  zoo.Config
		want int
	}{
		{zoo.Config{Arch: "vgg11", Input: image, Norm: "none", Classifier: 4096, Classes: 1000}, 132863336},
		{zoo.Config{Arch: "vgg13", Input: image, Norm: "none", Classifier: 4096, Classes: 1000}, 133047848},
		{zoo.Config{Arch: "vgg16", Input: image, Norm: "none", Classifier: 4096, Classes: 1000}, 138357544},
		{zoo.Config{Arch: "vgg16", Input: image, Norm: "batch", Classifier: 4096, Classes: 1000}, 138365992},
		{zoo.Config{Arch: "vgg19", Input: image, Norm: "none", Classifier: 4096, Classes: 1000}, 143667240},
		{zoo.Config{Arch: "resnet18", Classes: 1000}, 11689512},
		{zoo.Config{Arch: "resnet34", Classes: 1000}, 21797672},
		{zoo.Config{Arch: "resnet50", Classes: 1000}, 25557032},
		{zoo.Config{Arch: "resnet101", Classes: 1000}, 44549160},
		{zoo.Config{Arch: "resnet20", Shortcut: "pad", Classes: 10}, 269722},
		{zoo.Config{Arch: "resnet32", Shortcut: "pad", Classes: 10}, 464154},
		{zoo.Config{Arch: "resnet44", Shortcut: "pad", Classes: 10}, 658586},
		{zoo.Config{Arch: "resnet56", Shortcut: "pad", Classes: 10}, 853018},
		{zoo.Config{Arch: "resnet110", Shortcut: "pad", Classes: 10}, 1727962},
	} {
		if got := trained(build(t, c.cfg)); got != c.want {
			t.Errorf("%+v: %d parameters, want %d", c.cfg, got, c.want)
		}
	}
}

// ResNet20 at width 32 has the 297 million parameters that weight matching is measured on.
func TestWidths(t *testing.T) {
	wide := build(t, zoo.Config{Arch: "resnet20", Width: 32, Norm: "layer", Classes: 10})
	if n := trained(wide); n < 296e6 || n > 298e6 {
		t.Errorf("%d parameters", n)
	}
	for width, want := range map[float64]string{.25: "[16 3 3 3]", 1: "[64 3 3 3]", 1.5: "[96 3 3 3]", .3: "[19 3 3 3]"} {
		g := build(t, zoo.Config{Arch: "vgg16", Width: width, Classes: 10})
		p, _ := g.Param("features.0.weight")
		last, _ := g.Param("features.40.weight")
		if m := p.Shape[0].Size; p.Shape.String() != want || last.Shape[0].Size != 8*m {
			t.Errorf("width %v: first %s, want %s; last %s", width, p.Shape, want, last.Shape)
		}
	}
}

// channelConfigs are small networks of every architecture, norm and shortcut.
func channelConfigs() (list []zoo.Config) {
	for _, norm := range []string{"none", "batch", "layer", "group"} {
		for _, arch := range zoo.Architectures()[1:] {
			shortcuts := []string{""}
			if strings.HasPrefix(arch, "resnet") && !slices.Contains([]string{"resnet18", "resnet34", "resnet50", "resnet101"}, arch) {
				shortcuts = []string{"conv3", "conv1", "pad"}
			}
			for _, s := range shortcuts {
				list = append(list, zoo.Config{Arch: arch, Width: 4.0 / 64, Norm: norm, Shortcut: s, Classes: 10})
				if strings.HasPrefix(arch, "resnet") && s != "" {
					list[len(list)-1].Width = 4.0 / 16
				}
			}
		}
	}
	return list
}

func TestChannelNetworksHaveShapes(t *testing.T) {
	for _, cfg := range channelConfigs() {
		values, err := build(t, cfg).InferShapes()
		if err != nil {
			t.Errorf("%+v: %v", cfg, err)
		} else if got := values[zoo.Output].Shape.String(); got != "[N 10]" {
			t.Errorf("%+v: logits are %s", cfg, got)
		}
	}
}

// MNIST's images pass the forms for CIFAR as they are.
func TestOtherImages(t *testing.T) {
	for _, cfg := range []zoo.Config{
		{Arch: "resnet8", Input: []int{1, 28, 28}, Classes: 10, Shortcut: "pad"},
		{Arch: "resnet8", Input: []int{1, 28, 28}, Classes: 10},
		{Arch: "resnet18", Input: []int{1, 33, 65}, Classes: 10},
		{Arch: "vgg11", Input: []int{1, 64, 96}, Classes: 10},
	} {
		if values, err := build(t, cfg).InferShapes(); err != nil || values[zoo.Output].Shape.String() != "[N 10]" {
			t.Errorf("%+v: %v %v", cfg, values[zoo.Output], err)
		}
	}
}

func TestChannelNames(t *testing.T) {
	for _, c := range []struct {
		cfg  zoo.Config
		want string
	}{
		{zoo.Config{Arch: "resnet8", Norm: "layer", Classes: 3}, "conv1.weight ln1.weight ln1.bias layer1.0.conv1.weight layer1.0.ln1.weight layer1.0.ln1.bias"},
		{zoo.Config{Arch: "resnet8", Norm: "none", Classes: 3}, "conv1.weight conv1.bias layer1.0.conv1.weight layer1.0.conv1.bias"},
		{zoo.Config{Arch: "resnet8", Norm: "none", NoBias: true, Classes: 3}, "conv1.weight layer1.0.conv1.weight layer1.0.conv2.weight"},
		{zoo.Config{Arch: "resnet18", Classes: 3}, "conv1.weight bn1.weight bn1.bias bn1.running_mean bn1.running_var layer1.0.conv1.weight"},
		{zoo.Config{Arch: "vgg11", Norm: "group", Classes: 3}, "features.0.weight features.0.bias features.1.weight features.1.bias features.4.weight"},
		{zoo.Config{Arch: "vgg11", Norm: "none", Classes: 3}, "features.0.weight features.0.bias features.3.weight"},
	} {
		var names []string
		for _, p := range build(t, c.cfg).Params {
			names = append(names, p.Name)
		}
		if got := strings.Join(names, " "); !strings.HasPrefix(got, c.want) {
			t.Errorf("%+v: parameters %s", c.cfg, got)
		}
	}
}

func TestChannelNetworksRefuse(t *testing.T) {
	for _, c := range []struct {
		want string
		cfg  zoo.Config
	}{
		{"width 0.01 makes zero channels of 64", zoo.Config{Arch: "vgg16", Width: .01}},
		{"width 0.0625 makes zero channels of 16", zoo.Config{Arch: "resnet20", Width: 1. / 17}},
		{"width -1 is not possible", zoo.Config{Arch: "resnet20", Width: -1}},
		{"width NaN is not possible", zoo.Config{Arch: "resnet20", Width: math.NaN()}},
		{"width 1e+300 is not possible", zoo.Config{Arch: "resnet20", Width: 1e300}},
		{"unknown architecture", zoo.Config{Arch: "resnet21"}},
		{"unknown architecture", zoo.Config{Arch: "resnet2"}},
		{"unknown architecture", zoo.Config{Arch: "resnet1208"}},
		{"too small: it needs 32 by 32", zoo.Config{Arch: "vgg11", Input: []int{1, 28, 28}}},
		{"is no image", zoo.Config{Arch: "resnet20", Input: []int{784}}},
		{`unknown shortcut "conv5"`, zoo.Config{Arch: "resnet20", Shortcut: "conv5"}},
		{`unknown shortcut "pad"`, zoo.Config{Arch: "resnet18", Shortcut: "pad"}},
		{"no shortcut", zoo.Config{Arch: "vgg11", Shortcut: "conv1"}},
		{"no hidden", zoo.Config{Arch: "vgg11", Hidden: []int{3}}},
		{"no classifier", zoo.Config{Arch: "resnet20", Classifier: 3}},
		{"no dropout", zoo.Config{Arch: "resnet20", Dropout: .5}},
		{"unknown norm", zoo.Config{Arch: "resnet20", Norm: "instance"}},
		{"groups are for norm group", zoo.Config{Arch: "resnet20", Groups: 2}},
		{"16 channels do not make 3 groups", zoo.Config{Arch: "resnet20", Norm: "group", Groups: 3}},
		{"classifier of width -1", zoo.Config{Arch: "vgg11", Classifier: -1}},
		{"prelu", zoo.Config{Arch: "vgg11", Activation: "prelu"}},
		{"no groups", zoo.Config{Arch: "mlp", Input: []int{4}, Groups: 2}},
	} {
		c.cfg.Classes = 10
		if c.cfg.Width == 1./17 {
			c.want = fmt.Sprintf("width %v makes zero channels of 16", c.cfg.Width)
		}
		if _, err := zoo.Build(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one with %q", c.cfg, err, c.want)
		}
	}
}

// What Build makes, Detect finds, but for what has no trace in names and shapes.
func TestDetectChannelNetworks(t *testing.T) {
	for _, cfg := range channelConfigs() {
		shapes := shapesOf(build(t, cfg))
		for name := range shapes {
			if norm, ok := strings.CutSuffix(name, ".running_mean"); ok {
				shapes[norm+".num_batches_tracked"] = tensor.Shape{}
			}
		}
		got, err := zoo.Detect(cfg.Arch, shapes)
		if err != nil {
			t.Errorf("%+v: %v", cfg, err)
			continue
		}
		if strings.HasPrefix(cfg.Arch, "vgg") && cfg.Norm == "group" {
			cfg.Norm = "layer" // the names are the same
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

func TestDetectTraces(t *testing.T) {
	for _, cfg := range []zoo.Config{
		{Arch: "vgg16", Input: []int{3, 224, 224}, Classifier: 4096, Norm: "none", NoBias: true, Classes: 1000},
		{Arch: "resnet20", Input: []int{1, 32, 32}, Width: 3, Norm: "none", NoBias: true, Classes: 100},
	} {
		got, err := zoo.Detect(cfg.Arch, shapesOf(build(t, cfg)))
		if err != nil {
			t.Fatal(err)
		}
		want, err := cfg.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
}

func TestDetectRefusesChannelNetworks(t *testing.T) {
	for _, c := range []struct {
		arch, want string
		spoil      func(map[string]tensor.Shape)
	}{
		{"resnet20", `"layer2.0.conv2.weight" is missing`, func(s map[string]tensor.Shape) { delete(s, "layer2.0.conv2.weight") }},
		{"resnet20", `"bn1.running_var" is missing`, func(s map[string]tensor.Shape) { delete(s, "bn1.running_var") }},
		{"resnet20", `"fc.weight" is missing`, func(s map[string]tensor.Shape) { delete(s, "fc.weight") }},
		{"resnet20", `"conv1.weight" has shape [0 3 3 3]`, func(s map[string]tensor.Shape) { s["conv1.weight"] = tensor.Shape{0, 3, 3, 3} }},
		{"resnet20", `"layer1.0.conv1.weight" has shape [17 16 3 3]`, func(s map[string]tensor.Shape) { s["layer1.0.conv1.weight"] = tensor.Shape{17, 16, 3, 3} }},
		{"resnet20", `"layer4.0.conv1.weight"`, func(s map[string]tensor.Shape) { s["layer4.0.conv1.weight"] = tensor.Shape{1} }},
		{"resnet20", `"fc.num_batches_tracked"`, func(s map[string]tensor.Shape) { s["fc.num_batches_tracked"] = tensor.Shape{} }},
		{"vgg11", `"classifier.0.weight" of shape [512 513]`, func(s map[string]tensor.Shape) { s["classifier.0.weight"] = tensor.Shape{512, 513} }},
		{"vgg11", `"features.0.weight" has shape [64]`, func(s map[string]tensor.Shape) { s["features.0.weight"] = tensor.Shape{64} }},
	} {
		shapes := shapesOf(build(t, zoo.Config{Arch: c.arch, Classes: 10}))
		c.spoil(shapes)
		if _, err := zoo.Detect(c.arch, shapes); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.arch, err, c.want)
		}
	}
}

// The deviations are those that the sources have: of a convolution from 64 to 128 channels of 3 by 3.
func TestInitOfConvolutions(t *testing.T) {
	for _, c := range []struct {
		arch, init, tensor string
		deviation          float64
	}{
		{"vgg11", "lecun", "features.3.weight", 1 / math.Sqrt(64*9)},
		{"vgg11", "torch", "features.3.weight", math.Sqrt(2. / (128 * 9))},
		{"vgg11", "lecun", "features.3.bias", 0},
		{"vgg11", "torch", "features.3.bias", 0},
		{"vgg11", "lecun", "classifier.3.weight", 1 / math.Sqrt(512)},
		{"vgg11", "torch", "classifier.3.weight", .01},
		{"vgg11", "torch", "classifier.3.bias", 0},
		{"resnet18", "torch", "layer2.0.conv1.weight", math.Sqrt(2. / (128 * 9))},
		{"resnet18", "lecun", "layer2.0.conv1.weight", 1 / math.Sqrt(64*9)},
		{"resnet18", "torch", "fc.weight", 1 / math.Sqrt(3*512)},
		{"resnet18", "lecun", "fc.weight", 1 / math.Sqrt(512)},
	} {
		norm := "none"
		if c.arch == "resnet18" {
			norm = "batch"
		}
		cfg := zoo.Config{Arch: c.arch, Init: c.init, Norm: norm, Classes: 10}
		params, err := zoo.Init(build(t, cfg), cfg, 1)
		if err != nil {
			t.Fatal(err)
		}
		m, n := moments(params[c.tensor]), float64(len(params[c.tensor].Bytes())/4)
		// Within five standard errors of mean and deviation.
		if math.Abs(m.mean) > 5*c.deviation/math.Sqrt(n) || math.Abs(m.deviation-c.deviation) > 5*c.deviation/math.Sqrt(2*n) {
			t.Errorf("%s, %s: %s has mean %g and deviation %g, want 0 and %g", c.arch, c.init, c.tensor, m.mean, m.deviation, c.deviation)
		}
		if v, ok := params["bn1.running_var"]; ok {
			if s, mean := moments(v), moments(params["bn1.running_mean"]); s.mean != 1 || s.deviation != 0 || mean.most != 0 {
				t.Errorf("%s: running statistics do not start at 0 and 1", c.init)
			}
		}
	}
}
