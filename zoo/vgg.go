package zoo

import (
	"fmt"
	"math"

	"github.com/rebasin/rebasin/tensor"
)

// vggWidth is the number of channels of the first convolution at width 1.
const vggWidth = 64

// vggPools is how often each plan halves the image.
const vggPools = 5

// vggPlans gives the channels of each convolution in units of the first one's, 0 being a maximum over 2 by 2 pixels: configurations A, B, D and
// E of Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014, arXiv:1409.1556.
var vggPlans = map[string][]int{
	"vgg11": {1, 0, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0},
	"vgg13": {1, 1, 0, 2, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0},
	"vgg16": {1, 1, 0, 2, 2, 0, 4, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8, 0},
	"vgg19": {1, 1, 0, 2, 2, 0, 4, 4, 4, 4, 0, 8, 8, 8, 8, 0, 8, 8, 8, 8, 0},
}

// vgg is the family of chains of 3x3 convolutions. What the last pooling leaves is flattened, without a pooling to a fixed size: 8m channels of one
// pixel for images of 32 by 32, as in Git Re-Basin, where the classifier has widths 8m, 8m, classes.
//
// Tensors have the names of torchvision's vgg and vgg_bn: features.N and classifier.N, where modules without parameters count, too.
type vgg struct{ plan []int }

func (v vgg) resolve(c *Config) error {
	if err := c.foreign(map[string]bool{"shortcut": c.Shortcut != ""}); err != nil {
		return err
	}
	if err := c.resolveChannels(vggWidth, 32, 1<<vggPools); err != nil {
		return err
	}
	width, err := c.scale(vggWidth)
	if err != nil {
		return err
	}
	setDefault(&c.Classifier, 8*width)
	if c.Classifier < 1 || c.Classifier > maxExtent {
		return fmt.Errorf("a classifier of width %d is not possible", c.Classifier)
	}
	return nil
}

func (v vgg) build(cfg Config) (*networkBuilder, string) {
	b := newNetworkBuilder(cfg)
	unit, err := cfg.scale(vggWidth)
	if err != nil {
		b.err = err
		return b, ""
	}
	number := 0 // of the next module
	module := func() string {
		number++
		return fmt.Sprintf("features.%d", number-1)
	}
	x, in := b.image, cfg.Input[0]
	for _, units := range v.plan {
		if units == 0 {
			x = b.MaxPool2D(module(), x, 2, 2, 0)
			continue
		}
		out := units * unit
		x = b.conv(module(), x, out, in, 3, 1, 1, !cfg.NoBias)
		if cfg.Norm != "none" {
			x = b.norm(module(), x, out)
		}
		x, in = b.activation(module(), x), out
	}
	flat := b.elements([]int{in, cfg.Input[1] >> vggPools, cfg.Input[2] >> vggPools})
	return b, b.classifier(b.Flatten("flat", x, 1), flat)
}

// classifier is two hidden layers and the logits. Dropouts have a number each, whether they are there or not.
func (b *networkBuilder) classifier(x string, in int) string {
	for _, number := range []int{0, 3} {
		layer := fmt.Sprintf("classifier.%d", number)
		x = b.Linear(layer, x, layer, b.cfg.Classifier, in, true)
		hidden := fmt.Sprintf("classifier.%d", number+1)
		x, in = b.dropout(hidden, b.activation(hidden, x)), b.cfg.Classifier
	}
	return b.Linear(Output, x, "classifier.6", b.cfg.Classes, in, true)
}

// detect reads a vgg: width and channels of the first convolution, the norm from what follows it, the image's side, a square one, from the
// classifier's inputs. Layer and group norm have the same names: layer norm is assumed.
func (v vgg) detect(d *detector) (Config, error) {
	cfg := Config{NoBias: !d.has("features.0.bias"), Norm: "none"}
	switch {
	case d.has("features.1.running_mean"):
		cfg.Norm = "batch"
	case len(d.shapes["features.1.weight"]) == 1:
		cfg.Norm = "layer"
	}
	first, err := d.need("features.0.weight", 4)
	if err != nil {
		return Config{}, err
	}
	hidden, err := d.need("classifier.0.weight", 2)
	if err != nil {
		return Config{}, err
	}
	last, err := d.need("classifier.6.weight", 2)
	if err != nil {
		return Config{}, err
	}
	side, err := squareSide(hidden, 8*first[0])
	if err != nil {
		return Config{}, err
	}
	cfg.Input = []int{first[1], side << vggPools, side << vggPools}
	cfg.Width, cfg.Classifier, cfg.Classes = float64(first[0])/vggWidth, hidden[0], last[0]
	return cfg, nil
}

// squareSide finds the side of the image that is flattened in the inputs of a layer of shape [out, channels*side*side].
func squareSide(layer tensor.Shape, channels int) (int, error) {
	if channels > 0 && layer[1]%channels == 0 {
		if side := int(math.Sqrt(float64(layer[1] / channels))); side > 0 && side*side*channels == layer[1] {
			return side, nil
		}
	}
	return 0, fmt.Errorf("tensor %q of shape %v does not read %d channels of a square image", "classifier.0.weight", layer, channels)
}
