package zoo

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rebasin/rebasin/tensor"
)

// Detect reads the sizes of an architecture off the shapes of a checkpoint's tensors, PyTorch's names being assumed.
//
// For "mlp" the layers are the matrices named prefix, number, ".weight", of shape [out, in]: fc1.weight, fc2.weight, ..., numbered without
// gaps from 0 or 1, or those of an nn.Sequential, where the prefix is empty or ends in a dot and the numbers between belong to activations:
// 0.weight, 2.weight or net.0.weight, net.3.weight. All layers have a bias, or none has. Tensors norm1.weight and norm1.bias, ... make layer
// normalisations. The input is a vector; callers that know better may give Config.Input another shape with as many elements.
//
// For the convolutional architectures the names are torchvision's; num_batches_tracked may be among them. See there what cannot be told from shapes:
// the side of images, the groups of group norm, and in a vgg whether a norm is layer or group.
//
// Activations leave no trace in shapes: relu is assumed.
func Detect(arch string, shapes map[string]tensor.Shape) (Config, error) {
	f, err := familyOf(arch)
	if err != nil {
		return Config{}, fmt.Errorf("zoo: %w", err)
	}
	d := detector{shapes: shapes, seen: map[string]bool{}}
	cfg, err := f.detect(&d)
	if err == nil {
		cfg.Arch = arch
		cfg, err = d.confirm(cfg)
	}
	if err != nil {
		return Config{}, fmt.Errorf("zoo: as %s: %w", arch, err)
	}
	return cfg, nil
}

// detector ticks off the tensors it understands.
type detector struct {
	shapes map[string]tensor.Shape
	seen   map[string]bool
}

// need is the shape of a tensor that must be there with this many axes, none of them empty.
func (d *detector) need(name string, rank int) (tensor.Shape, error) {
	s, ok := d.shapes[name]
	switch {
	case !ok:
		return nil, fmt.Errorf("tensor %q is missing", name)
	case len(s) != rank || slices.Contains(s, 0):
		return nil, fmt.Errorf("tensor %q has shape %v, which is not possible", name, s)
	}
	return s, nil
}

// confirm compares the tensors with those of the network that is described, and demands that every one has its place there.
func (d *detector) confirm(cfg Config) (Config, error) {
	cfg, err := cfg.Resolve()
	if err != nil {
		return Config{}, err
	}
	g, err := Build(cfg)
	if err != nil {
		return Config{}, err
	}
	for _, p := range g.Params {
		have, ok := d.shapes[p.Name]
		if !ok {
			return Config{}, fmt.Errorf("tensor %q is missing", p.Name)
		}
		if want, _ := p.Shape.Fixed(); !have.Equal(want) {
			return Config{}, fmt.Errorf("tensor %q has shape %v, not %v", p.Name, have, want)
		}
		d.seen[p.Name] = true
		if norm, ok := strings.CutSuffix(p.Name, ".running_mean"); ok {
			d.seen[norm+".num_batches_tracked"] = true // PyTorch counts batches; nothing depends on it
		}
	}
	return cfg, d.rest()
}

func (mlp) detect(d *detector) (Config, error) {
	layers, err := d.layers()
	if err != nil {
		return Config{}, err
	}
	cfg := Config{NoBias: !d.has(layers[0] + ".bias")}
	for i, layer := range layers {
		w := d.take(layer + ".weight")
		if i > 0 {
			if before := d.shapes[layers[i-1]+".weight"]; before[0] != w[1] {
				return Config{}, fmt.Errorf("tensors %q of shape %v and %q of shape %v do not chain: %d outputs, %d inputs",
					layers[i-1]+".weight", before, layer+".weight", w, before[0], w[1])
			}
		}
		if err := d.bias(layer, w[0], cfg.NoBias); err != nil {
			return Config{}, err
		}
		cfg.Hidden = append(cfg.Hidden, w[0])
	}
	last := len(layers) - 1
	cfg.Input = []int{d.shapes[layers[0]+".weight"][1]}
	cfg.Hidden, cfg.Classes, cfg.Layers = cfg.Hidden[:last], cfg.Hidden[last], layers
	if last == 0 {
		return Config{}, fmt.Errorf("tensor %q is the only layer: there are no hidden units", layers[0]+".weight")
	}
	return cfg, d.norms(&cfg)
}

func (d *detector) has(name string) bool {
	_, ok := d.shapes[name]
	return ok
}

func (d *detector) take(name string) tensor.Shape {
	d.seen[name] = true
	return d.shapes[name]
}

var weightName = regexp.MustCompile(`^(.*?)(\d{1,6})\.weight$`)

// layers finds the names of the layers, in order.
func (d *detector) layers() ([]string, error) {
	var prefixes []string
	numbers := map[string][]int{}
	for _, name := range d.names() {
		m := weightName.FindStringSubmatch(name)
		if m == nil || len(d.shapes[name]) != 2 {
			continue
		}
		n, err := strconv.Atoi(m[2])
		if err != nil || strconv.Itoa(n) != m[2] {
			return nil, fmt.Errorf("tensor %q: %s is not a plain number", name, m[2])
		}
		if !slices.Contains(prefixes, m[1]) {
			prefixes = append(prefixes, m[1])
		}
		numbers[m[1]] = append(numbers[m[1]], n)
	}
	switch len(prefixes) {
	case 0:
		return nil, fmt.Errorf("no matrices named like fc1.weight or 0.weight among %d tensors", len(d.shapes))
	case 1:
		return d.series(prefixes[0], numbers[prefixes[0]])
	}
	return nil, fmt.Errorf("matrices of more than one series: %q and %q",
		fmt.Sprintf("%s%d.weight", prefixes[0], numbers[prefixes[0]][0]), fmt.Sprintf("%s%d.weight", prefixes[1], numbers[prefixes[1]][0]))
}

// series orders layers by number. Only the modules of an nn.Sequential may leave numbers out.
func (d *detector) series(prefix string, numbers []int) ([]string, error) {
	slices.Sort(numbers)
	sequential := prefix == "" || strings.HasSuffix(prefix, ".")
	layers := make([]string, len(numbers))
	first := min(numbers[0], 1)
	for i, n := range numbers {
		if !sequential && n != first+i {
			missing := fmt.Sprintf("%s%d.weight", prefix, first+i)
			if s, ok := d.shapes[missing]; ok {
				return nil, fmt.Errorf("tensor %q has shape %v, which is not a matrix", missing, s)
			}
			return nil, fmt.Errorf("tensor %q is missing", missing)
		}
		layers[i] = prefix + strconv.Itoa(n)
	}
	return layers, nil
}

func (d *detector) bias(layer string, width int, none bool) error {
	name := layer + ".bias"
	if d.has(name) == none {
		if none {
			return fmt.Errorf("tensor %q is there, but the first layer has no bias", name)
		}
		return fmt.Errorf("tensor %q is missing, though the first layer has a bias", name)
	}
	if none {
		return nil
	}
	return d.vector(name, width, layer+".weight")
}

// vector takes a tensor that must have one element per output of the layer whose weight is named.
func (d *detector) vector(name string, width int, weight string) error {
	if !d.has(name) {
		return fmt.Errorf("tensor %q is missing", name)
	}
	if s := d.take(name); len(s) != 1 || s[0] != width {
		return fmt.Errorf("tensor %q has shape %v, %q has %d outputs", name, s, weight, width)
	}
	return nil
}

// norms looks for layer normalisations after each hidden layer.
func (d *detector) norms(cfg *Config) error {
	if !d.has("norm1.weight") {
		return nil
	}
	cfg.Norm = "layer"
	for i, width := range cfg.Hidden {
		for _, part := range []string{"weight", "bias"} {
			if err := d.vector(fmt.Sprintf("norm%d.%s", i+1, part), width, cfg.Layers[i]+".weight"); err != nil {
				return err
			}
		}
	}
	return nil
}

// rest demands that every tensor has found its place: one left over would be left out of the network.
func (d *detector) rest() error {
	for _, name := range d.names() {
		if !d.seen[name] {
			return fmt.Errorf("tensor %q of shape %v has no place in it", name, d.shapes[name])
		}
	}
	return nil
}

func (d *detector) names() []string {
	names := make([]string, 0, len(d.shapes))
	for name := range d.shapes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
