package symmetry_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/zoo"
)

// byHand writes the layouts of a network of the zoo from its tensors' names and what is known of such networks. It knows nothing of graphs.
type byHand struct {
	cfg   zoo.Config
	lines map[string]string
}

// axis is how a group stands on an axis of channels that some norm normalises: under group norm channels move within their group.
func (h *byHand) axis(name string) string {
	if h.cfg.Norm != "group" {
		return name
	}
	return fmt.Sprintf("(%[1]s.0 %[1]s.1[%[1]s.0])", name)
}

// set gives tensors of a layer their layout, as far as the network has them.
func (h *byHand) set(layer, out, rest string) {
	h.lines[layer+".weight"] = strings.TrimSpace(out + " " + rest)
	h.lines[layer+".bias"] = out
	for _, stat := range []string{"running_mean", "running_var"} {
		h.lines[layer+"."+stat] = out
	}
}

// vgg is a chain: each convolution has a group, and the classifier reads the last one's.
func (h *byHand) vgg(g *graph.Graph) {
	in := "3"
	for _, p := range g.Params {
		layer, part, _ := cutLast(p.Name)
		if part != "weight" || !strings.HasPrefix(layer, "features") {
			continue
		}
		if len(p.Shape) == 1 {
			h.set(layer, in, "")
			continue
		}
		out := h.axis(layer)
		h.set(layer, out, in+" 3 3")
		in = out
	}
	if h.cfg.Input[1] == 64 {
		in = "(" + strings.Trim(in, "()") + " 2 2)"
	}
	h.set("classifier.0", "classifier.0", in)
	h.set("classifier.3", "classifier.3", "classifier.0")
	h.set("classifier.6", fmt.Sprint(h.cfg.Classes), "classifier.3")
}

func cutLast(name string) (before, after string, found bool) {
	i := strings.LastIndex(name, ".")
	return name[:i], name[i+1:], i >= 0
}

// resnet has a group in each block's interior, two in a bottleneck's, and one for each stage, named after the last convolution of its first block; the
// first convolution's is that of the first stage, unless a projection lies between.
func (h *byHand) resnet(blocks []int, bottleneck bool) {
	prefix := map[string]string{"batch": "bn", "layer": "ln", "group": "gn"}[h.cfg.Norm]
	kernel := "3 3"
	if len(blocks) == 4 {
		kernel = "7 7"
	}
	last := 2
	if bottleneck {
		last = 3
	}
	stage := h.axis("conv1")
	h.set("conv1", stage, "3 "+kernel)
	h.set(prefix+"1", stage, "")
	for s, count := range blocks {
		for b := range count {
			block := fmt.Sprintf("layer%d.%d", s+1, b)
			in, out := stage, stage
			if b == 0 && (s > 0 || bottleneck) {
				out = h.stage(block+fmt.Sprintf(".conv%d", last), stage)
				h.projection(block+".downsample", in, out)
			}
			for i := 1; i <= last; i++ {
				inner := h.axis(fmt.Sprintf("%s.conv%d", block, i))
				size := "3 3"
				if i == last {
					inner = out
				}
				if bottleneck && i != 2 {
					size = "1 1"
				}
				h.set(fmt.Sprintf("%s.conv%d", block, i), inner, in+" "+size)
				h.set(fmt.Sprintf("%s.%s%d", block, prefix, i), inner, "")
				in = inner
			}
			stage = out
		}
	}
	h.set("fc", fmt.Sprint(h.cfg.Classes), stage)
}

// stage is the group of a new stage. With padding the channels of the stage before stand in the middle of it.
func (h *byHand) stage(name, before string) string {
	if h.cfg.Shortcut != "pad" {
		return h.axis(name)
	}
	carried := strings.Trim(before, "()")
	return fmt.Sprintf("(%s.0 + %s + %s.%d)", name, carried, name, strings.Count(carried, "+")+2)
}

func (h *byHand) projection(name, in, out string) {
	size := " 3 3"
	if h.cfg.Shortcut == "conv1" {
		size = " 1 1"
	}
	h.set(name+".0", out, in+size)
	h.set(name+".1", out, "")
}

// zooCases are small networks of every architecture, norm and shortcut, on images as small as they go.
func zooCases() (list []zoo.Config) {
	cifar := []int{3, 6, 6}
	for _, norm := range []string{"none", "batch", "layer", "group"} {
		for _, arch := range []string{"vgg11", "vgg13", "vgg16", "vgg19"} {
			list = append(list, zoo.Config{Arch: arch, Norm: norm, Width: 4. / 64, Classifier: 5})
		}
		for _, shortcut := range []string{"conv3", "conv1", "pad"} {
			list = append(list, zoo.Config{Arch: "resnet8", Norm: norm, Shortcut: shortcut, Input: cifar, Width: 8. / 16})
			list = append(list, zoo.Config{Arch: "resnet20", Norm: norm, Shortcut: shortcut, Input: cifar, Width: 8. / 16})
		}
		for _, arch := range []string{"resnet18", "resnet34", "resnet50", "resnet101"} {
			list = append(list, zoo.Config{Arch: arch, Norm: norm, Input: []int{3, 24, 24}, Width: 4. / 64})
		}
	}
	list = append(list, zoo.Config{Arch: "vgg11", Norm: "batch", Width: 4. / 64, Input: []int{3, 64, 64}})
	for i := range list {
		list[i].Classes = 3
		var err error
		if list[i], err = list[i].Resolve(); err != nil {
			panic(err)
		}
	}
	return list
}

var imagenetBlocks = map[string][]int{"resnet18": {2, 2, 2, 2}, "resnet34": {3, 4, 6, 3}, "resnet50": {3, 4, 6, 3}, "resnet101": {3, 4, 23, 3}}

func layoutsByHand(cfg zoo.Config, g *graph.Graph) map[string]string {
	h := &byHand{cfg: cfg, lines: map[string]string{}}
	switch blocks := imagenetBlocks[cfg.Arch]; {
	case strings.HasPrefix(cfg.Arch, "vgg"):
		h.vgg(g)
	case blocks != nil:
		h.resnet(blocks, cfg.Arch == "resnet50" || cfg.Arch == "resnet101")
	case cfg.Arch == "resnet8":
		h.resnet([]int{1, 1, 1}, false)
	default:
		h.resnet([]int{3, 3, 3}, false)
	}
	return h.lines
}

func buildZoo(tb testing.TB, cfg zoo.Config) *graph.Graph {
	tb.Helper()
	g, err := zoo.Build(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// Inference finds the layouts that are derived by hand: block interiors, one group for each stage, flattened inputs of the classifier.
func TestSymmetriesOfTheZoo(t *testing.T) {
	for _, cfg := range zooCases() {
		if cfg.Norm == "group" && cfg.Shortcut == "pad" {
			continue // see TestPaddingUnderGroupNorm
		}
		g := buildZoo(t, cfg)
		sym, want := infer(t, g), layoutsByHand(cfg, g)
		for _, p := range g.Params {
			if got := sym.Format(sym.Layouts[p.Name]); got != want[p.Name] {
				t.Errorf("%s, %s, %s: %s: %s, want %s", cfg.Arch, cfg.Norm, cfg.Shortcut, p.Name, got, want[p.Name])
			}
		}
	}
}

// The 16 channels of the second stage are 4 of zeros, the 8 of the first stage and 4 of zeros, in groups of 4; those of the first stage are in groups
// of 2. So the pieces are of pairs: a run of 4 is 2 pairs. In the third stage groups have 8 channels, and the border between two of them cuts the
// channels of the first stage in halves, whose order stays.
func TestPaddingUnderGroupNorm(t *testing.T) {
	g := buildZoo(t, zoo.Config{Arch: "resnet8", Norm: "group", Shortcut: "pad", Width: .5, Groups: 4, Input: []int{3, 6, 6}, Classes: 3})
	sym := infer(t, g)
	for name, want := range map[string]string{
		"conv1.weight":          "(2 conv1.0 conv1.1[conv1.0]) 3 3 3",
		"layer2.0.conv1.weight": "(layer2.0.conv1.0 layer2.0.conv1.1[layer2.0.conv1.0]) (2 conv1.0 conv1.1[conv1.0]) 3 3",
		"layer2.0.conv2.weight": "((conv1.0 conv1.1[conv1.0]) + (2 conv1.0 conv1.1[conv1.0]) + (conv1.0 conv1.1[conv1.0]))" +
			" (layer2.0.conv1.0 layer2.0.conv1.1[layer2.0.conv1.0]) 3 3",
	} {
		if got := sym.Format(sym.Layouts[name]); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// A random alignment of every network leaves its outputs alone, and every axis moved alone changes them. The deepest have channels so few that a
// norm's may be dead on two images.
func TestSymmetriesOfTheZooAreProven(t *testing.T) {
	for _, cfg := range zooCases() {
		if (testing.Short() || raceDetector) && !slices.Contains([]string{"vgg11", "resnet8", "resnet18"}, cfg.Arch) {
			continue
		}
		t.Run(fmt.Sprint(cfg.Arch, " ", cfg.Norm, " ", cfg.Shortcut), func(t *testing.T) {
			g := buildZoo(t, cfg)
			params, err := zoo.Init(g, cfg, 1)
			if err != nil {
				t.Fatal(err)
			}
			proof, err := symmetry.Verify(t.Context(), g, infer(t, g), params, symmetry.VerifyOptions{Samples: 2})
			if err != nil {
				t.Fatal(err)
			}
			inert := slices.DeleteFunc(proof.Inert, func(ref symmetry.AxisRef) bool {
				p, _ := g.Param(ref.Tensor)
				return (cfg.Arch == "resnet50" || cfg.Arch == "resnet101") && len(p.Shape) == 1
			})
			if proof.MaxDeviation > 1e-10 || len(proof.Unproven) > 0 || len(inert) > 0 {
				t.Errorf("deviation %g, unproven %v, inert %v", proof.MaxDeviation, proof.Unproven, inert)
			}
		})
	}
}

func log10Factorial(n int) float64 {
	sum := 0.0
	for i := 2; i <= n; i++ {
		sum += math.Log10(float64(i))
	}
	return sum
}

// The number of symmetries, exactly, and as Table 1 of Git Re-Basin prints it: the paper rounds the logarithm of each layer down before it adds, and
// for ResNet50 counts every convolution, as if the outputs of the blocks of a stage were not tied to one another.
func TestCountsOfThePaper(t *testing.T) {
	const classifier, classes = 4096, 1000
	vgg := buildZoo(t, zoo.Config{Arch: "vgg16", Input: []int{3, 224, 224}, Norm: "none", Classifier: classifier, Classes: classes})
	if got := infer(t, vgg).Log10(); math.Abs(got-35168.55) > .005 {
		t.Errorf("VGG16: 10^%.2f symmetries, want 10^35168.55", got)
	}
	if got := floored(vgg); got != 35160 {
		t.Errorf("VGG16, each layer rounded down: 10^%d, the paper prints 10^35160", got)
	}
	resnet := buildZoo(t, zoo.Config{Arch: "resnet50", Classes: classes})
	if got := infer(t, resnet).Log10(); math.Abs(got-25638.29) > .005 {
		t.Errorf("ResNet50: 10^%.2f symmetries, want 10^25638.29", got)
	}
	if got := floored(resnet); got != 55109 {
		t.Errorf("ResNet50, each layer for itself and rounded down: 10^%d, the paper prints 10^55109", got)
	}
}

// floored adds the logarithms of all layers but the last and the projections, each rounded down.
func floored(g *graph.Graph) int {
	sum := 0
	for _, p := range g.Params {
		if len(p.Shape) > 1 && p.Shape[0].Size != 1000 && !strings.Contains(p.Name, "downsample") {
			sum += int(log10Factorial(p.Shape[0].Size))
		}
	}
	return sum
}
