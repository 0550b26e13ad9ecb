package symmetry_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/onnx"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// What the engine may differ from PyTorch's float64, rounded to float32, over max(1, the greatest |y|): in float64 that rounding, of half a unit in 2^24; in
// float32 some hundred roundings of sums of up to a few hundred terms, a few layers deep.
const (
	torchTolerance64 = 2e-7
	torchTolerance32 = 2e-5
)

// units are count families, or groups where there are no parents, of size units that do what is said.
type units struct {
	what    string
	count   int
	size    int
	parents []int // their extents
}

// log10 is of the number of alignments: for each joint index of the parents, size! permutations.
func log10(list []units) float64 {
	sum := 0.0
	for _, u := range list {
		families := u.count
		for _, n := range u.parents {
			families *= n
		}
		for k := 2; k <= u.size; k++ {
			sum += float64(families) * math.Log10(float64(k))
		}
	}
	return sum
}

// text lists sizes and, in brackets, the extents of parents, sorted: it does not depend on names.
func text(list []units) string {
	var out []string
	for _, u := range list {
		one := fmt.Sprint(u.size)
		if len(u.parents) > 0 {
			one += fmt.Sprint(u.parents)
		}
		for range u.count {
			out = append(out, one)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// found is what inference says, in the same words.
func found(sym *symmetry.Symmetry) []units {
	var list []units
	for _, g := range sym.Groups {
		u := units{what: g.Name, count: 1, size: g.Size}
		for _, name := range g.Parents {
			n, fixed := sym.Fixed[name]
			if p, ok := sym.Group(name); ok && !fixed {
				n = p.Size
			}
			u.parents = append(u.parents, n)
		}
		list = append(list, u)
	}
	return list
}

// torchNetwork is a network of testdata/torch, where export.py says how it is made.
type torchNetwork struct {
	name string
	// derived are the units that may be permuted, derived by hand from the architecture.
	derived []units
	// missed are what inference finds in place of derived where it knows too few rules; see docs/symmetries.md.
	missed []units
	// same are axes, "tensor axis = tensor axis ...", that must have one layout, with groups in it.
	same []string
	// pinned are patterns of "tensor axis: why", other than the network's inputs and outputs and the kernels' space.
	pinned []string
	// inert are patterns of "tensor axis" of axes that change nothing when permuted alone, and why.
	inert []string
}

func (n torchNetwork) found() []units {
	if n.missed != nil {
		return n.missed
	}
	return n.derived
}

// each makes groups of sizes.
func each(what string, sizes ...int) []units {
	var list []units
	for _, n := range sizes {
		list = append(list, units{what: what, count: 1, size: n})
	}
	return list
}

func join(lists ...[]units) []units { return slices.Concat(lists...) }

// attends is for attention of some layers: heads, and in each of them the dimensions of queries and keys, and those of values.
func attends(layers, heads, size int) []units {
	return []units{
		{"heads", layers, heads, nil},
		{"dimensions of queries and keys", layers, size, []int{heads}},
		{"dimensions of values", layers, size, []int{heads}},
	}
}

// narrowed divides widths as export.py's narrow does.
func narrowed(by float64, least int, widths ...int) []int {
	out := make([]int, len(widths))
	for i, n := range widths {
		out[i] = max(least, int(math.RoundToEven(float64(n)/by)))
	}
	return out
}

// The widths of torchvision's networks, before they are made narrow.
var (
	resnetWidths = []int{64, 128, 256, 512}
	// Of each Inception module: 1x1; 3x3, reduced and full; 5x5, reduced and full; behind the pooling.
	googlenetModules = [][]int{
		{64, 96, 128, 16, 32, 32},
		{128, 128, 192, 32, 96, 64},
		{192, 96, 208, 16, 48, 64},
		{160, 112, 224, 24, 64, 64},
		{128, 128, 256, 24, 64, 64},
		{112, 144, 288, 32, 64, 64},
		{256, 160, 320, 32, 128, 128},
		{256, 160, 320, 32, 128, 128},
		{384, 192, 384, 48, 128, 128},
	}
	inceptionModules = [][]int{
		{32, 32, 64, 80, 192},                              // the stem
		{64, 48, 64, 64, 96, 96, 32},                       // 5b: 1x1; 5x5; double 3x3; pooling
		{64, 48, 64, 64, 96, 96, 64},                       // 5c
		{64, 48, 64, 64, 96, 96, 64},                       // 5d
		{384, 64, 96, 96},                                  // 6a: 3x3; double 3x3; the pooling has no weights
		{192, 128, 128, 192, 128, 128, 128, 128, 192, 192}, // 6b: 1x1; 7x7 in two; in four; pooling
		{192, 160, 160, 192, 160, 160, 160, 160, 192, 192}, // 6c
		{192, 160, 160, 192, 160, 160, 160, 160, 192, 192}, // 6d
		{192, 192, 192, 192, 192, 192, 192, 192, 192, 192}, // 6e
		{192, 320, 192, 192, 192, 192},                     // 7a: 3x3; 7x7 and 3x3
		{320, 384, 384, 384, 448, 384, 384, 384, 192},      // 7b: 1x1; 3x3 and its two ends; double 3x3 and its two ends; pooling
		{320, 384, 384, 384, 448, 384, 384, 384, 192},      // 7c
	}
)

// resnet has a stream for each stage: where a stage projects what it gets, its stream is new. Behind the stem (w units) and in each block are inner channels.
func resnet(blocks []int, stream func(stage, width int) []units, inner func(width int) []units) []units {
	list := each("stem", narrowed(16, 2, resnetWidths[0])...)
	for s, w := range narrowed(16, 2, resnetWidths...) {
		list = append(list, stream(s, w)...)
		for range blocks[s] {
			list = append(list, inner(w)...)
		}
	}
	return list
}

const byNumber = "units are chosen by their number"

var torchNetworks = []torchNetwork{
	{
		name:    "mlp",
		derived: each("hidden", 16, 14),
		same:    []string{"0.weight 0 = 0.bias 0 = 2.weight 1", "2.weight 0 = 4.weight 1"},
	},
	{
		name:    "vgg",
		derived: join(each("channels", 4, 6, 8, 10, 10), each("classifier", 12, 14)),
		same:    []string{"features.0.weight 0 = features.1.weight 0 = features.1.running_var 0 = features.4.weight 1", "classifier.0.weight 0 = classifier.3.weight 1"},
		pinned:  []string{"classifier.0.weight 1: spatial axis"}, // what the channels were flattened with
	},
	{
		name: "resnet",
		// The first stage projects nothing: the stem is its stream.
		derived: resnet([]int{2, 1, 1, 1}, func(stage, w int) []units {
			if stage == 0 {
				return nil
			}
			return each("stream", w)
		}, func(w int) []units { return each("inside a block", w) }),
		same: []string{
			"conv1.weight 0 = bn1.weight 0 = layer1.0.conv1.weight 1 = layer1.0.conv2.weight 0 = layer1.1.conv2.weight 0 = layer2.0.conv1.weight 1 = layer2.0.downsample.0.weight 1",
			"layer2.0.conv2.weight 0 = layer2.0.downsample.0.weight 0 = layer2.0.downsample.1.bias 0",
			"layer4.0.conv2.weight 0 = fc.weight 1",
		},
	},
	{
		name: "resnet-bottleneck",
		derived: resnet([]int{2, 1, 1, 1}, func(_, w int) []units { return each("stream", 4*w) },
			func(w int) []units { return each("inside a block", w, w) }),
		same: []string{
			"layer1.0.conv3.weight 0 = layer1.0.downsample.0.weight 0 = layer1.1.conv1.weight 1 = layer1.1.conv3.weight 0 = layer2.0.conv1.weight 1",
			"layer1.0.conv1.weight 0 = layer1.0.conv2.weight 1",
		},
	},
	{
		name: "resnext",
		// The middle of a block is twice as wide as that of a ResNet and has two groups, which permute with what is in them.
		derived: resnet([]int{1, 1, 1, 1}, func(_, w int) []units { return each("stream", 4*w) },
			func(w int) []units {
				return append(each("groups of channels", 2), units{"before and behind the grouped convolution", 2, w, []int{2}})
			}),
		same: []string{"layer1.0.conv1.weight 0 = layer1.0.bn1.weight 0", "layer1.0.conv2.weight 0 = layer1.0.bn2.weight 0 = layer1.0.conv3.weight 1"},
	},
	{
		name: "mobilenet-v2",
		// 32 channels; a block that expands nothing, to 16; two of 24 channels and two of 32, each expanded six times; 1280 channels.
		derived: join(each("streams", narrowed(8, 2, 32, 16, 24, 32)...), each("expanded", narrowed(8, 2, 6*16, 6*24, 6*24, 6*32)...),
			each("last", narrowed(8, 2, 1280)...)),
		same: []string{
			"features.2.conv.0.0.weight 0 = features.2.conv.1.0.weight 0 = features.2.conv.2.weight 1", // depthwise
			"features.2.conv.2.weight 0 = features.3.conv.2.weight 0 = features.4.conv.0.0.weight 1",
		},
	},
	{
		name: "mobilenet-v3",
		// The first block expands nothing, and its residual makes the stem its stream. Squeezed are multiples of 8 near a quarter.
		derived: join(each("streams", 8, 16), each("squeezed", 8, 8), each("expanded", 24, 32), each("last", 6*16), each("classifier", 16)),
		same: []string{
			"features.1.block.1.fc1.weight 0 = features.1.block.1.fc2.weight 1",
			"features.0.0.weight 0 = features.1.block.0.0.weight 0 = features.1.block.1.fc1.weight 1 = features.1.block.1.fc2.weight 0 = features.1.block.2.0.weight 0",
		},
	},
	{
		name: "densenet",
		// A layer makes 2·3 channels, then 3 new ones; two such blocks with a transition to half of 6 + 2·3 between them.
		derived: join(each("stem", 6), each("narrow", 6, 6, 6, 6), each("new", 3, 3, 3, 3), each("transition", 6)),
		same: []string{
			"features.denseblock1.denselayer2.norm1.weight 0 = features.denseblock1.denselayer2.conv1.weight 1",
			"features.transition1.norm.weight 0 = features.transition1.conv.weight 1",
			"features.norm5.running_mean 0 = classifier.weight 1",
		},
	},
	{
		name:    "googlenet",
		derived: join(each("stem", narrowed(16, 4, 64, 64, 192)...), each("branches", narrowed(16, 4, slices.Concat(googlenetModules...)...)...)),
		same: []string{
			"inception3b.branch1.conv.weight 1 = inception3b.branch2.0.conv.weight 1 = inception3b.branch4.1.conv.weight 1",
			"inception5b.branch1.conv.weight 1 = inception5b.branch3.0.conv.weight 1",
		},
	},
	{
		name:    "inception-v3",
		derived: each("branches", narrowed(32, 4, slices.Concat(inceptionModules...)...)...),
		same: []string{
			"Mixed_7c.branch3x3_1.conv.weight 0 = Mixed_7c.branch3x3_2a.conv.weight 1 = Mixed_7c.branch3x3_2b.conv.weight 1",
			"Mixed_6a.branch3x3.conv.weight 1 = Mixed_6a.branch3x3dbl_1.conv.weight 1",
		},
	},
	{
		name: "shufflenet",
		// Each unit ends with a shuffle of two halves, a1 b1 a2 b2 ..., of which the next unit takes the first half as it is and works on the second. So
		// each half is of two parts, that which the next unit passes on, and the other; of the last unit of a stage both halves are read whole.
		derived: join(each("stem", 6), each("quarters", 2, 2, 2, 2, 3, 3, 3, 3), each("halves", 4, 6, 8, 8), each("inside units", 4, 4, 6, 6, 8), each("last", 10)),
		missed:  join(each("stem", 6), each("inside units", 4, 4, 6, 6, 8), each("halves, tied", 8), each("last", 10)),
		same:    []string{"stage2.0.branch2.0.weight 0 = stage2.0.branch2.3.weight 0 = stage2.0.branch2.5.weight 1"},
		pinned: []string{
			"stage[23].[01].branch[12].[1-6].* 0: a concatenation inside a product", "stage[234].[01].branch[12].[0-6].* [01]: a concatenation inside a product",
			"stage[234].[01].branch[12].[0-6].* [01]: a single unit of a concatenation", "conv5.0.weight 1: a single unit of a concatenation",
		},
	},
	{
		name: "efficientnet",
		// The first block expands nothing, and its residual makes the stem its stream. Squeezed is a quarter of what comes in.
		derived: join(each("streams", 8, 16), each("squeezed", 8/4, 8/4, 16/4), each("expanded", 3*8, 3*16), each("last", 4*16)),
		same: []string{
			"features.2.0.block.0.0.weight 0 = features.2.0.block.1.0.weight 0 = features.2.0.block.2.fc1.weight 1 = features.2.0.block.2.fc2.weight 0 = features.2.0.block.3.0.weight 1",
			"features.2.0.block.3.0.weight 0 = features.2.1.block.3.0.weight 0 = features.3.0.weight 1",
		},
	},
	{
		name:    "convnext",
		derived: join(each("streams", 8, 12), each("inside blocks", 4*8, 4*8, 4*12)),
		same: []string{
			"features.0.0.weight 0 = features.1.0.layer_scale 0 = features.1.0.block.0.weight 0 = features.1.1.block.5.weight 0 = features.2.0.weight 0 = features.2.1.weight 1",
			"features.3.0.block.3.weight 0 = features.3.0.block.5.weight 1",
		},
	},
	{
		name:    "vit",
		derived: join(each("stream", 12), attends(2, 3, 4), each("inside MLPs", 20, 20)),
		same: []string{
			"conv_proj.weight 0 = class_token 2 = encoder.pos_embedding 2 = encoder.layers.encoder_layer_1.self_attention.in_proj_weight 1 = heads.head.weight 1",
			"encoder.layers.encoder_layer_0.self_attention.in_proj_weight 0 = encoder.layers.encoder_layer_0.self_attention.in_proj_bias 0",
		},
		pinned: []string{"encoder.pos_embedding 1: spatial axis", "encoder.pos_embedding 1: a single unit of a concatenation"}, // places
	},
	{
		name: "swin",
		// Merging puts four neighbours side by side and projects 4·8 to 16.
		derived: join(each("streams", 8, 16), attends(2, 2, 4), attends(1, 4, 4), each("inside MLPs", 2*8, 2*8, 2*16)),
		same: []string{
			"features.0.0.weight 0 = features.1.0.attn.proj.weight 0 = features.1.1.mlp.3.weight 0",
			"features.2.reduction.weight 0 = features.3.0.attn.qkv.weight 1 = head.weight 1",
			"features.2.norm.weight 0 = features.2.reduction.weight 1",
		},
		pinned: []string{"features.*.attn.relative_position_bias_table 0: " + byNumber},
	},
	{
		name: "unet",
		// Each pair of convolutions has a GroupNorm of two groups behind the second one.
		derived: join(each("first of pairs", 4, 6, 8, 6, 4), each("brought up", 6, 5), []units{{"groups of norms", 5, 2, nil}},
			[]units{{"second of pairs", 2, 4 / 2, []int{2}}, {"second of pairs", 2, 6 / 2, []int{2}}, {"second of pairs", 1, 8 / 2, []int{2}}}),
		same: []string{"middle.3.weight 0 = middle.4.weight 0 = up2.weight 0", "join1.3.weight 0 = head.weight 1"},
	},
	{
		name:    "gpt",
		derived: join(each("stream", 12), attends(2, 3, 4), each("inside MLPs", 20, 20)),
		same: []string{
			"wte.weight 1 = wpe.weight 1 = h.0.ln_1.weight 0 = h.0.c_attn.weight 1 = h.1.c_proj.weight 0 = h.1.c_out.weight 0 = ln_f.bias 0",
			"h.0.c_attn.weight 0 = h.0.c_attn.bias 0", "h.1.c_fc.weight 0 = h.1.c_out.weight 1",
		},
		pinned: []string{"w[tp]e.weight 0: " + byNumber, "h.0.mask [23]: no operator uses it"},
	},
	{
		name:    "bert",
		derived: join(each("stream", 8), attends(2, 2, 4), each("inside MLPs", 10, 10), each("pooler", 8)),
		same: []string{
			"word.weight 1 = place.weight 1 = kind.weight 1 = norm.weight 0 = layers.1.dense.weight 0 = pooler.weight 1",
			"layers.0.query.weight 0 = layers.0.key.weight 0 = layers.0.query.bias 0", "layers.0.value.weight 0 = layers.0.dense.weight 1",
		},
		pinned: []string{"word.weight 0: " + byNumber, "place.weight 0: " + byNumber, "kind.weight 0: " + byNumber},
		inert:  []string{"layers.?.key.bias 0"}, // softmax cancels what is added to all scores of a query
	},
	{
		name: "llama",
		// No two pairs of dimensions of queries and keys turn alike. Each of two key heads has two query heads.
		derived: join(each("stream", 12), each("inside MLPs", 10, 10),
			[]units{{"key heads", 2, 2, nil}, {"query heads", 2, 2, []int{2}}, {"dimensions of values", 2, 4, []int{2}}}),
		same: []string{
			"embed_tokens.weight 1 = layers.0.input_norm.weight 0 = layers.0.q_proj.weight 1 = layers.1.down_proj.weight 0 = norm.weight 0",
			"layers.0.gate_proj.weight 0 = layers.0.up_proj.weight 0 = layers.0.down_proj.weight 1",
		},
		pinned: []string{"embed_tokens.weight 0: " + byNumber, "layers.?.[qk]_proj.weight 0: a concatenation inside a product", "inv_freq 0: a concatenation inside a product"},
	},
	{
		name: "lstm",
		// In each layer the units of one direction have nothing to do with those of the other.
		derived: join(each("embedding", 6), []units{{"units of a direction of a layer", 2 * 2, 5, nil}}),
		same: []string{
			"lstm.weight_ih_l0 0 = lstm.weight_hh_l0 0 = lstm.bias_ih_l0 0 = lstm.bias_hh_l0 0",
			"embed.weight 1 = lstm.weight_ih_l0 1 = lstm.weight_ih_l0_reverse 1", "lstm.weight_ih_l1 1 = lstm.weight_ih_l1_reverse 1",
		},
		pinned: []string{"embed.weight 0: " + byNumber, "lstm.* 0: gates and directions"},
		inert:  []string{"lstm.weight_hh_l1_reverse [01]"}, // only the last place is read, the first one that this direction sees
	},
	{
		name:    "gru",
		derived: each("units", 6),
		same:    []string{"gru.weight_ih_l0 0 = gru.weight_hh_l0 0 = gru.bias_ih_l0 0", "gru.weight_hh_l0 1 = head.weight 1"},
	},
	{
		name: "experts",
		// Tensors of each expert by themselves: experts change places with their outputs of the router, and in each of them its units.
		derived: join(each("stream", 8), each("experts", 4, 3),
			[]units{{"inside experts", 1, 6, []int{4}}, {"inside experts", 1, 6, []int{3}}}),
		same: []string{
			"embed.weight 0 = norms.1.weight 0 = gates.0.weight 1 = layers.0.experts.{gates.0}.w1.weight 1 = layers.1.experts.{gates.1}.w2.weight 0 = head.weight 1",
			"layers.0.experts.{gates.0}.w1.weight 0 = layers.0.experts.{gates.0}.w3.weight 0 = layers.0.experts.{gates.0}.w2.weight 1",
		},
	},
}

// openTorch opens a network and reads its parameters.
func openTorch(t *testing.T, name string) (*graph.Graph, map[string]*tensor.Tensor) {
	t.Helper()
	path := filepath.Join("testdata", "torch", name+".onnx")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		path = decompressed(t, path+".gz")
	}
	f, err := onnx.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g, err := f.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g, readAll(t, f, g.Params)
}

// decompressed is a file in a folder of the test, of at most a megabyte.
func decompressed(t *testing.T, path string) string {
	t.Helper()
	packed, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	const most = 1 << 20
	raw, err := io.ReadAll(io.LimitReader(z, most+1))
	if err != nil || len(raw) > most {
		t.Fatalf("%s: %d bytes, %v", path, len(raw), err)
	}
	out := filepath.Join(t.TempDir(), "network.onnx")
	if err := os.WriteFile(out, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

func readAll(t *testing.T, r checkpoint.Reader, list []graph.Value) map[string]*tensor.Tensor {
	t.Helper()
	out := map[string]*tensor.Tensor{}
	for _, v := range list {
		x, err := r.Read(v.Name)
		if err != nil {
			t.Fatal(err)
		}
		out[v.Name] = x
	}
	return out
}

// TestTorchNetworks holds inference to what was derived by hand for networks that PyTorch has exported, and proves it.
func TestTorchNetworks(t *testing.T) {
	for _, n := range torchNetworks {
		t.Run(n.name, func(t *testing.T) {
			g, params := openTorch(t, n.name)
			sym := infer(t, g, params)
			if got, want := text(found(sym)), text(n.found()); got != want {
				t.Errorf("groups\n%s\nwant\n%s\nlayouts\n%s\npinned\n%s", got, want, layoutsText(g, sym), pinnedText(sym))
			}
			if got, want := sym.Log10(), log10(n.found()); math.Abs(got-want) > 1e-9*want {
				t.Errorf("10^%.6f alignments, want 10^%.6f", got, want)
			}
			for _, same := range n.same {
				n.checkSame(t, sym, same)
			}
			matchAll(t, "pinned", otherPins(sym), n.pinned)
			n.prove(t, g, sym, params)
		})
	}
}

// checkSame compares the layouts of axes.
func (n torchNetwork) checkSame(t *testing.T, sym *symmetry.Symmetry, same string) {
	t.Helper()
	first := ""
	for _, place := range strings.Split(same, " = ") {
		var name string
		var axis int
		if _, err := fmt.Sscan(place, &name, &axis); err != nil || axis >= len(sym.Layouts[name]) {
			t.Fatalf("no axis %q: %v", place, err)
		}
		layout := sym.Format(sym.Layouts[name][axis : axis+1])
		if first == "" {
			first = layout
		}
		if layout != first || !strings.ContainsFunc(layout, func(r rune) bool { return r >= 'A' }) {
			t.Errorf("%s: layout %s, want groups and %s", place, layout, first)
		}
	}
}

// matchAll wants a pattern for each line, and a line for each pattern.
func matchAll(t *testing.T, what string, got, patterns []string) {
	t.Helper()
	used := map[string]bool{}
	for _, line := range got {
		i := slices.IndexFunc(patterns, func(p string) bool { ok, err := path.Match(p, line); return ok && err == nil })
		if i < 0 {
			t.Errorf("%s, but nothing explains it: %s", what, line)
			continue
		}
		used[patterns[i]] = true
	}
	for _, p := range patterns {
		if !used[p] {
			t.Errorf("not %s: %s", what, p)
		}
	}
}

// mostForgotten bounds how many groups of a network are forgotten somewhere, to see the proof fail: its own permutations of single axes try all.
const mostForgotten = 4

// prove runs the proof, and shows that it fails where a group is forgotten on the axes of one tensor.
func (n torchNetwork) prove(t *testing.T, g *graph.Graph, sym *symmetry.Symmetry, params map[string]*tensor.Tensor) {
	t.Helper()
	proof, err := symmetry.Verify(t.Context(), g, sym, params, symmetry.VerifyOptions{Threads: 1, Samples: 4})
	if err != nil {
		t.Fatal(err)
	}
	var inert []string
	for _, ref := range proof.Inert {
		inert = append(inert, fmt.Sprintf("%s %d", ref.Tensor, ref.Axis))
	}
	matchAll(t, "inert", inert, n.inert)
	if len(proof.Unproven) > 0 {
		t.Errorf("unproven: %v", proof.Unproven)
	}
	tried := 0
	for i, group := range sym.Groups {
		if group.Size < 2 || i%(1+len(sym.Groups)/mostForgotten) != 0 {
			continue
		}
		for _, p := range g.Params {
			isInert := slices.ContainsFunc(inert, func(s string) bool { return strings.HasPrefix(s, p.Name+" ") })
			forgotten := forget(sym, group.Name, p.Name)
			if forgotten == nil || isInert {
				continue
			}
			_, err := symmetry.Verify(t.Context(), g, forgotten, params, symmetry.VerifyOptions{Threads: 1, Samples: 2})
			var wrong *symmetry.GroupError
			if !errors.As(err, &wrong) {
				t.Errorf("group %s, forgotten in %s, is proven: %v", group.Name, p.Name, err)
			}
			tried++
			break
		}
	}
	if tried == 0 {
		t.Error("no proof was seen to fail")
	}
}

// TestTorchOutputs compares the engine with PyTorch.
func TestTorchOutputs(t *testing.T) {
	for _, n := range torchNetworks {
		t.Run(n.name, func(t *testing.T) {
			g, params := openTorch(t, n.name)
			r, err := checkpoint.Open(filepath.Join("testdata", "torch", n.name+".safetensors"), checkpoint.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			inputs := readAll(t, r, g.Inputs)
			want := tensor.Of[float32](readAll(t, r, []graph.Value{{Name: "y"}})["y"])
			if d := engineDeviation[float64](t, g, params, inputs, want); !(d <= torchTolerance64) {
				t.Errorf("in float64 the outputs deviate by %g", d)
			}
			if d := engineDeviation[float32](t, g, params, inputs, want); !(d <= torchTolerance32) {
				t.Errorf("in float32 the outputs deviate by %g", d)
			}
		})
	}
}

// engineDeviation is max|Δ| / max(1, max|y|) of the engine's outputs.
func engineDeviation[T nn.Float](t *testing.T, g *graph.Graph, params, inputs map[string]*tensor.Tensor, want []float32) float64 {
	t.Helper()
	e, err := nn.New[T](g, nn.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.SetParams(params); err != nil {
		t.Fatal(err)
	}
	examples := inputs[g.Inputs[0].Name].Shape()[0]
	var x []T
	for i := range examples {
		for _, in := range g.Inputs {
			all, err := inputs[in.Name].Convert(tensor.F64)
			if err != nil {
				t.Fatal(err)
			}
			each := all.Len() / examples
			for _, v := range tensor.Of[float64](all)[i*each : (i+1)*each] {
				x = append(x, T(v))
			}
		}
	}
	y, err := e.Forward(x, examples)
	if err != nil {
		t.Fatal(err)
	}
	if len(y) != len(want) {
		t.Fatalf("%d outputs, want %d", len(y), len(want))
	}
	diff, size := 0.0, 1.0
	for i, v := range want {
		diff, size = max(diff, math.Abs(float64(y[i])-float64(v))), max(size, math.Abs(float64(v)))
		if y[i] != y[i] {
			return math.NaN()
		}
	}
	return diff / size
}
