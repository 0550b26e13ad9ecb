package zoo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// MetadataKey is the key under which a checkpoint's metadata holds the JSON form of its Config.
const MetadataKey = "rebasin.arch"

// Input and Output are the names of the values that networks of the zoo read and compute.
const (
	Input  = "input"  // [N, Config.Input...]
	Output = "logits" // [N, Config.Classes]
)

// maxLayers bounds the depth of a described network, since descriptions come from files.
const maxLayers = 4096

// maxExtent bounds every extent of a description, far above any real layer and far below overflow.
const maxExtent = 1 << 31

// Config describes a network. The zero value of an optional field is its default; [Config.Resolve] writes the defaults out.
type Config struct {
	Arch       string   `json:"arch"`                 // "mlp"
	Input      []int    `json:"input"`                // shape of one example: [784], [1 28 28]
	Hidden     []int    `json:"hidden,omitempty"`     // widths of the hidden layers; default 3 of 512*Width
	Width      int      `json:"width,omitempty"`      // multiplies the architecture's own widths; default 1; excludes Hidden
	Classes    int      `json:"classes"`              // number of logits
	NoBias     bool     `json:"no_bias,omitempty"`    // fully connected layers have no bias
	Activation string   `json:"activation,omitempty"` // relu (default), leaky_relu, prelu, tanh, sigmoid, gelu
	Norm       string   `json:"norm,omitempty"`       // none (default), layer
	Dropout    float64  `json:"dropout,omitempty"`    // probability of dropping a hidden unit in training, in [0, 1)
	Init       string   `json:"init,omitempty"`       // lecun (default) or torch, see [Init]
	Layers     []string `json:"layers,omitempty"`     // names of the layers, one more than Hidden; default fc1, fc2, ...
}

// ParseConfig reads the JSON form. Fields it does not know are errors: they would describe another network than the one built.
func ParseConfig(text string) (Config, error) {
	var c Config
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("zoo: architecture %.200q: %w", text, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Config{}, fmt.Errorf("zoo: architecture %.200q: text after the end", text)
	}
	return c.Resolve()
}

// Encode writes the JSON form, defaults written out.
func (c Config) Encode() (string, error) {
	c, err := c.Resolve()
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("zoo: %w", err)
	}
	return string(text), nil
}

// Resolve fills in the defaults and checks the description. It does not change c.
func (c Config) Resolve() (Config, error) {
	if c.Arch != "mlp" {
		return Config{}, fmt.Errorf("zoo: unknown architecture %q; known: mlp", c.Arch)
	}
	if len(c.Hidden) > 0 && c.Width != 0 {
		return Config{}, fmt.Errorf("zoo: %s: both hidden and width are given", c.Arch)
	}
	setDefault(&c.Width, 1)
	setDefault(&c.Activation, "relu")
	setDefault(&c.Norm, "none")
	setDefault(&c.Init, "lecun")
	if len(c.Hidden) == 0 {
		if c.Width < 1 || c.Width > maxExtent/mlpWidth {
			return Config{}, fmt.Errorf("zoo: %s: width %d is not possible", c.Arch, c.Width)
		}
		c.Hidden = slices.Repeat([]int{mlpWidth * c.Width}, mlpDepth)
	}
	c.Width = 0
	if len(c.Layers) == 0 {
		for i := range len(c.Hidden) + 1 {
			c.Layers = append(c.Layers, fmt.Sprintf("fc%d", i+1))
		}
	}
	if err := c.check(); err != nil {
		return Config{}, fmt.Errorf("zoo: %s: %w", c.Arch, err)
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c Config) check() error {
	if len(c.Hidden) > maxLayers {
		return fmt.Errorf("%d hidden layers exceed %d", len(c.Hidden), maxLayers)
	}
	if len(c.Input) == 0 {
		return fmt.Errorf("no input shape")
	}
	for _, list := range [][]int{c.Input, c.Hidden, {c.Classes}} {
		for _, n := range list {
			if n < 1 || n > maxExtent {
				return fmt.Errorf("extent %d of input %v, hidden %v, classes %d is not possible", n, c.Input, c.Hidden, c.Classes)
			}
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
	if _, ok := activations[c.Activation]; !ok {
		return fmt.Errorf("unknown activation %q; known: relu, leaky_relu, prelu, tanh, sigmoid, gelu", c.Activation)
	}
	if c.Norm != "none" && c.Norm != "layer" {
		return fmt.Errorf("unknown norm %q; known: none, layer", c.Norm)
	}
	if c.Init != "lecun" && c.Init != "torch" {
		return fmt.Errorf("unknown initialisation %q; known: lecun, torch", c.Init)
	}
	if !(c.Dropout >= 0 && c.Dropout < 1) {
		return fmt.Errorf("dropout %v is outside [0, 1)", c.Dropout)
	}
	return nil
}
