package zoo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
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

// Config describes a network. The zero value of an optional field is its default; [Config.Resolve] writes the defaults out. A field that an
// architecture has no use for is an error.
type Config struct {
	Arch       string   `json:"arch"`                 // one of [Architectures], or a resnet of another depth 6n+2
	Input      []int    `json:"input"`                // shape of one example: [784], [1 28 28]; default of all but mlp [3 32 32] or, for the ImageNet forms, [3 224 224]
	Hidden     []int    `json:"hidden,omitempty"`     // mlp: widths of the hidden layers; default 3 of 512*Width
	Width      float64  `json:"width,omitempty"`      // multiplies the architecture's own widths; default 1; excludes Hidden
	Classes    int      `json:"classes"`              // number of logits
	NoBias     bool     `json:"no_bias,omitempty"`    // mlp: no layer has a bias; else no convolution has one
	Activation string   `json:"activation,omitempty"` // relu (default), leaky_relu, tanh, sigmoid, gelu; mlp: also prelu
	Norm       string   `json:"norm,omitempty"`       // none (default of mlp), layer; all but mlp: also batch (default), group
	Groups     int      `json:"groups,omitempty"`     // of norm group; default 32, or as many of two or more channels as divide every width, or 1
	Shortcut   string   `json:"shortcut,omitempty"`   // resnet: conv3 (default), conv1 or pad; the ImageNet forms have conv1
	Classifier int      `json:"classifier,omitempty"` // vgg: width of the two hidden layers of the classifier; default that of the last convolution
	Dropout    float64  `json:"dropout,omitempty"`    // mlp, vgg: probability of dropping a hidden unit of a fully connected layer in training, in [0, 1)
	Init       string   `json:"init,omitempty"`       // lecun (default) or torch, see [Init]
	Layers     []string `json:"layers,omitempty"`     // mlp: names of the layers, one more than Hidden; default fc1, fc2, ...
}

// Architectures lists the names of the usual architectures.
func Architectures() []string {
	return []string{
		"mlp", "vgg11", "vgg13", "vgg16", "vgg19",
		"resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", // for CIFAR
		"resnet18", "resnet34", "resnet50", "resnet101", // for ImageNet
	}
}

// Known says that there is an architecture of that name.
func Known(arch string) bool {
	_, err := familyOf(arch)
	return err == nil
}

// family is what architectures of one kind have in common.
type family interface {
	// resolve fills in the defaults of the family and checks what is its own.
	resolve(*Config) error
	build(Config) (*networkBuilder, string)
	detect(*detector) (Config, error)
}

// familyOf finds the family of an architecture.
func familyOf(arch string) (family, error) {
	if arch == "mlp" {
		return mlp{}, nil
	}
	if plan, ok := vggPlans[arch]; ok {
		return vgg{plan}, nil
	}
	if r, ok := resnetOf(arch); ok {
		return r, nil
	}
	return nil, fmt.Errorf("unknown architecture %q; known: %s", arch, strings.Join(Architectures(), ", "))
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
	f, err := familyOf(c.Arch)
	if err != nil {
		return Config{}, fmt.Errorf("zoo: %w", err)
	}
	setDefault(&c.Activation, "relu")
	setDefault(&c.Init, "lecun")
	if err := f.resolve(&c); err != nil {
		return Config{}, fmt.Errorf("zoo: %s: %w", c.Arch, err)
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

// check is what all families have in common.
func (c Config) check() error {
	if len(c.Input) == 0 {
		return errors.New("no input shape")
	}
	for _, list := range [][]int{c.Input, c.Hidden, {c.Classes}} {
		for _, n := range list {
			if n < 1 || n > maxExtent {
				return fmt.Errorf("extent %d of input %v, hidden %v, classes %d is not possible", n, c.Input, c.Hidden, c.Classes)
			}
		}
	}
	if _, ok := activations[c.Activation]; !ok {
		return fmt.Errorf("unknown activation %q; known: relu, leaky_relu, prelu, tanh, sigmoid, gelu", c.Activation)
	}
	if c.Init != "lecun" && c.Init != "torch" {
		return fmt.Errorf("unknown initialisation %q; known: lecun, torch", c.Init)
	}
	if !(c.Dropout >= 0 && c.Dropout < 1) {
		return fmt.Errorf("dropout %v is outside [0, 1)", c.Dropout)
	}
	return nil
}

// scale is unit times the width, rounded down.
func (c Config) scale(unit int) (int, error) {
	n := float64(unit) * c.Width
	switch {
	case !(c.Width > 0) || n > maxExtent:
		return 0, fmt.Errorf("width %v is not possible", c.Width)
	case n < 1:
		return 0, fmt.Errorf("width %v makes zero channels of %d", c.Width, unit)
	}
	return int(n), nil
}

// foreign reports fields that the family has no use for.
func (c Config) foreign(fields map[string]bool) error {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if fields[name] {
			return fmt.Errorf("it has no %s", name)
		}
	}
	return nil
}
