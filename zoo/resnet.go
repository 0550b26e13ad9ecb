package zoo

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// resnet is the family of residual networks: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015, arXiv:1512.03385.
//
// The forms for CIFAR have depth 6n+2: a 3x3 convolution and three stages of n blocks with 16, 32 and 64 channels times the width. The forms for
// ImageNet begin with a 7x7 convolution of stride 2 and a maximum over 3x3, and have four stages of 64, 128, 256 and 512 channels times the width;
// from 50 layers on blocks are bottlenecks, the stride standing in the 3x3 convolution, as in torchvision.
//
// A stage after the first begins with stride 2, and its first shortcut is a projection: a 3x3 convolution ("conv3", as the code of Git Re-Basin has
// it) or a 1x1 one ("conv1"), with norm; or none ("pad": every second pixel, and zeros for the channels that are new, half of them before and half
// behind). Convolutions have no bias, unless there is no norm that would have one.
//
// Tensors have the names of torchvision's resnet: conv1, bn1, layerS.B.conv1, layerS.B.bn1, ..., layerS.B.downsample.0 and .1, fc. With layer norm
// bn1 is ln1, with group norm it is gn1.
type resnet struct {
	blocks     []int // of each stage
	imagenet   bool
	bottleneck bool
}

// bottleneckExpansion is how many more channels a bottleneck has outside than inside.
const bottleneckExpansion = 4

// cifarWidth and imagenetWidth are the channels of the first convolution at width 1.
const (
	cifarWidth    = 16
	imagenetWidth = 64
)

// maxDepth is that of the deepest network of the paper.
const maxDepth = 1202

var resnetName = regexp.MustCompile(`^resnet([1-9]\d{0,3})$`)

// resnetOf finds the form of a name. ResNet-50 is the one for ImageNet, though 50 = 6*8+2.
func resnetOf(arch string) (resnet, bool) {
	switch arch {
	case "resnet18":
		return resnet{blocks: []int{2, 2, 2, 2}, imagenet: true}, true
	case "resnet34":
		return resnet{blocks: []int{3, 4, 6, 3}, imagenet: true}, true
	case "resnet50":
		return resnet{blocks: []int{3, 4, 6, 3}, imagenet: true, bottleneck: true}, true
	case "resnet101":
		return resnet{blocks: []int{3, 4, 23, 3}, imagenet: true, bottleneck: true}, true
	}
	m := resnetName.FindStringSubmatch(arch)
	if m == nil {
		return resnet{}, false
	}
	depth, err := strconv.Atoi(m[1])
	if n := (depth - 2) / 6; err == nil && n > 0 && 6*n+2 == depth && depth <= maxDepth {
		return resnet{blocks: []int{n, n, n}}, true
	}
	return resnet{}, false
}

func (r resnet) unit() int {
	if r.imagenet {
		return imagenetWidth
	}
	return cifarWidth
}

// shortcuts lists the kinds of projections that the form has, the default first.
func (r resnet) shortcuts() []string {
	if r.imagenet {
		return []string{"conv1"}
	}
	return []string{"conv3", "conv1", "pad"}
}

func (r resnet) pixels() int {
	if r.imagenet {
		return 224
	}
	return 32
}

func (r resnet) resolve(c *Config) error {
	if err := c.foreign(map[string]bool{"classifier": c.Classifier != 0, "dropout": c.Dropout != 0}); err != nil {
		return err
	}
	if err := c.resolveChannels(r.unit(), r.pixels(), 1); err != nil {
		return err
	}
	c.NoBias = c.NoBias && c.Norm == "none"
	known := r.shortcuts()
	setDefault(&c.Shortcut, known[0])
	if !slices.Contains(known, c.Shortcut) {
		return fmt.Errorf("unknown shortcut %q; known: %s", c.Shortcut, strings.Join(known, ", "))
	}
	return nil
}

// normPrefix begins the names of norms.
var normPrefix = map[string]string{"batch": "bn", "layer": "ln", "group": "gn"}

// residual is a resnet being built.
type residual struct {
	*networkBuilder
	resnet
}

func (r resnet) build(cfg Config) (*networkBuilder, string) {
	b := residual{newNetworkBuilder(cfg), r}
	unit, err := cfg.scale(r.unit())
	if err != nil {
		b.err = err
		return b.networkBuilder, ""
	}
	x, in := b.stem(unit), unit
	for stage, blocks := range r.blocks {
		width := unit << stage
		for block := range blocks {
			stride := 1
			if stage > 0 && block == 0 {
				stride = 2
			}
			x, in = b.block(fmt.Sprintf("layer%d.%d", stage+1, block), x, in, width, stride)
		}
	}
	x = b.Flatten("flat", b.GlobalAveragePool("avgpool", x), 1)
	return b.networkBuilder, b.Linear(Output, x, "fc", cfg.Classes, in, true)
}

// stem makes the channels of the first stage.
func (b residual) stem(width int) string {
	if !b.imagenet {
		return b.activation("relu", b.normed("", 1, b.image, width, b.cfg.Input[0], 3, 1))
	}
	x := b.activation("relu", b.normed("", 1, b.image, width, b.cfg.Input[0], 7, 2))
	return b.MaxPool2D("maxpool", x, 3, 2, 1)
}

// normed is the n-th convolution and norm of a block.
func (b residual) normed(block string, n int, x string, out, in, kernel, stride int) string {
	x = b.conv(fmt.Sprintf("%sconv%d", block, n), x, out, in, kernel, stride, kernel/2, b.biased())
	return b.norm(fmt.Sprintf("%s%s%d", block, normPrefix[b.cfg.Norm], n), x, out)
}

func (b residual) biased() bool { return b.cfg.Norm == "none" && !b.cfg.NoBias }

// block adds to its input, or a projection of it, what two or three convolutions make of it, and returns its output and their number.
func (b residual) block(name, x string, in, width, stride int) (out string, channels int) {
	type layer struct{ kernel, out, stride int }
	layers := []layer{{3, width, stride}, {3, width, 1}}
	if b.bottleneck {
		layers = []layer{{1, width, 1}, {3, width, stride}, {1, bottleneckExpansion * width, 1}}
	}
	y, channels := x, in
	for i, l := range layers {
		if i > 0 {
			y = b.activation(fmt.Sprintf("%s.relu%d", name, i), y)
		}
		y = b.normed(name+".", i+1, y, l.out, channels, l.kernel, l.stride)
		channels = l.out
	}
	sum := b.Add(name+".add", y, b.shortcut(name+".downsample", x, in, channels, stride))
	return b.activation(name, sum), channels
}

// shortcut is x itself where nothing changes.
func (b residual) shortcut(name, x string, in, out, stride int) string {
	if in == out && stride == 1 {
		return x
	}
	if b.cfg.Shortcut == "pad" {
		const whole = math.MaxInt64
		s, before := int64(stride), int64(out-in)/2
		x = b.Slice(name+".0", x, []int64{2, 3}, []int64{0, 0}, []int64{whole, whole}, []int64{s, s})
		return b.Pad(name+".1", x, []int64{0, before, 0, 0}, []int64{0, int64(out-in) - before, 0, 0})
	}
	kernel := 1
	if b.cfg.Shortcut == "conv3" {
		kernel = 3
	}
	x = b.conv(name+".0", x, out, in, kernel, stride, kernel/2, b.biased())
	return b.norm(name+".1", x, out)
}

// detect reads a resnet: width and channels of the first convolution, the norm from the name of the first one, the shortcut from the first
// projection that changes the size. The image's side leaves no trace: the usual one is assumed.
func (r resnet) detect(d *detector) (Config, error) {
	cfg := Config{Norm: "none", NoBias: !d.has("conv1.bias")}
	for _, norm := range []string{"batch", "layer", "group"} {
		if d.has(normPrefix[norm] + "1.weight") {
			cfg.Norm = norm
		}
	}
	first, err := d.need("conv1.weight", 4)
	if err != nil {
		return Config{}, err
	}
	last, err := d.need("fc.weight", 2)
	if err != nil {
		return Config{}, err
	}
	cfg.Input = []int{first[1], r.pixels(), r.pixels()}
	cfg.Width, cfg.Classes = float64(first[0])/float64(r.unit()), last[0]
	if !r.imagenet {
		cfg.Shortcut = "pad"
		if w := d.shapes["layer2.0.downsample.0.weight"]; len(w) == 4 && w[3] == 3 {
			cfg.Shortcut = "conv3"
		} else if w != nil {
			cfg.Shortcut = "conv1"
		}
	}
	return cfg, nil
}
