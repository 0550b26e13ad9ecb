package zoo

import (
	"errors"
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// The multilayer perceptron of Ainsworth, Hayase, Srinivasa, "Git Re-Basin: Merging Models modulo Permutation Symmetries", 2022,
// arXiv:2209.04836, appendix A.6: three hidden layers of 512 units.
const (
	mlpWidth = 512
	mlpDepth = 3
)

// mlp is the family of multilayer perceptrons.
type mlp struct{}

func (mlp) resolve(c *Config) error {
	if err := c.foreign(map[string]bool{"shortcut": c.Shortcut != "", "groups": c.Groups != 0, "classifier": c.Classifier != 0}); err != nil {
		return err
	}
	if len(c.Hidden) > 0 && c.Width != 0 {
		return errors.New("both hidden and width are given")
	}
	setDefault(&c.Width, 1)
	setDefault(&c.Norm, "none")
	if len(c.Hidden) == 0 {
		width, err := c.scale(mlpWidth)
		if err != nil {
			return err
		}
		c.Hidden = slices.Repeat([]int{width}, mlpDepth)
	}
	c.Width = 0
	if len(c.Hidden) > maxLayers {
		return fmt.Errorf("%d hidden layers exceed %d", len(c.Hidden), maxLayers)
	}
	if c.Norm != "none" && c.Norm != "layer" {
		return fmt.Errorf("unknown norm %q; known: none, layer", c.Norm)
	}
	return c.nameLayers()
}

func (c *Config) nameLayers() error {
	if len(c.Layers) == 0 {
		for i := range len(c.Hidden) + 1 {
			c.Layers = append(c.Layers, fmt.Sprintf("fc%d", i+1))
		}
	}
	if len(c.Layers) != len(c.Hidden)+1 {
		return fmt.Errorf("%d names for %d layers", len(c.Layers), len(c.Hidden)+1)
	}
	for i, name := range c.Layers {
		if name == "" || slices.Contains(c.Layers[:i], name) {
			return fmt.Errorf("layer name %q is empty or not unique", name)
		}
	}
	return nil
}

func (mlp) build(cfg Config) (*networkBuilder, string) {
	b := newNetworkBuilder(cfg)
	x, in := b.image, b.elements(cfg.Input)
	if len(cfg.Input) > 1 {
		x = b.Flatten("flat", x, 1)
	}
	for i, out := range cfg.Hidden {
		x = b.hiddenLayer(i, x, in, out)
		in = out
	}
	return b, b.Linear(Output, x, cfg.Layers[len(cfg.Hidden)], cfg.Classes, in, !cfg.NoBias)
}

// hiddenLayer is linear, norm, activation, dropout. Layer i counts from 0, names from 1.
func (b *networkBuilder) hiddenLayer(i int, x string, in, out int) string {
	x = b.Linear(fmt.Sprintf("z%d", i+1), x, b.cfg.Layers[i], out, in, !b.cfg.NoBias)
	if b.cfg.Norm == "layer" {
		norm := fmt.Sprintf("norm%d", i+1)
		x = b.LayerNorm(norm, x, b.Param(norm+".weight", out), b.Param(norm+".bias", out), -1)
	}
	name := fmt.Sprintf("h%d", i+1)
	if b.cfg.Activation == "prelu" {
		x = b.Op("PRelu", name, nil, x, b.Param(fmt.Sprintf("prelu%d.weight", i+1), 1))
	} else {
		x = b.activation(name, x)
	}
	return b.dropout(name, x)
}

// dropout drops units of the value of that name, if the description says so.
func (b *networkBuilder) dropout(name, x string) string {
	if b.cfg.Dropout == 0 {
		return x
	}
	ratio := b.Constant(name+".ratio", tensor.FromSlice(tensor.Shape{}, []float32{float32(b.cfg.Dropout)}))
	return b.Op("Dropout", name+".drop", graph.Attrs(nil), x, ratio)
}
