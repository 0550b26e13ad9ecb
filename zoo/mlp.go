package zoo

import (
	"fmt"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// The multilayer perceptron of Ainsworth, Hayase, Srinivasa, "Git Re-Basin: Merging Models modulo Permutation Symmetries", 2022,
// arXiv:2209.04836, appendix A.6: three hidden layers of 512 units.
const (
	mlpWidth = 512
	mlpDepth = 3
)

// activations gives the operator of each activation's name.
var activations = map[string]string{
	"relu": "Relu", "leaky_relu": "LeakyRelu", "prelu": "PRelu", "tanh": "Tanh", "sigmoid": "Sigmoid", "gelu": "Gelu",
}

// Build makes the graph of an architecture: one input, [Input], of shape [N, Config.Input...], and one output, [Output].
func Build(cfg Config) (*graph.Graph, error) {
	cfg, err := cfg.Resolve()
	if err != nil {
		return nil, err
	}
	g, err := buildMLP(cfg)
	if err != nil {
		return nil, fmt.Errorf("zoo: %w", err)
	}
	return g, nil
}

func buildMLP(cfg Config) (*graph.Graph, error) {
	b := graph.NewBuilder(cfg.Arch)
	dims, width := []graph.Dim{graph.Sym("N")}, graph.Fixed(1)
	for _, n := range cfg.Input {
		var err error
		if width, err = width.Mul(graph.Fixed(n)); err != nil {
			return nil, fmt.Errorf("input %v: %w", cfg.Input, err)
		}
		dims = append(dims, graph.Fixed(n))
	}
	x, in := b.Input(Input, tensor.F32, dims...), width.Size
	if len(cfg.Input) > 1 {
		x = b.Flatten("flat", x, 1)
	}
	for i, out := range cfg.Hidden {
		x = hiddenLayer(b, cfg, i, x, in, out)
		in = out
	}
	b.Output(b.Linear(Output, x, cfg.Layers[len(cfg.Hidden)], cfg.Classes, in, !cfg.NoBias))
	return b.Graph()
}

// hiddenLayer is linear, norm, activation, dropout. Layer i counts from 0, names from 1.
func hiddenLayer(b *graph.Builder, cfg Config, i int, x string, in, out int) string {
	x = b.Linear(fmt.Sprintf("z%d", i+1), x, cfg.Layers[i], out, in, !cfg.NoBias)
	if cfg.Norm == "layer" {
		norm := fmt.Sprintf("norm%d", i+1)
		x = b.LayerNorm(norm, x, b.Param(norm+".weight", out), b.Param(norm+".bias", out), -1)
	}
	name := fmt.Sprintf("h%d", i+1)
	inputs := []string{x}
	if cfg.Activation == "prelu" {
		inputs = append(inputs, b.Param(fmt.Sprintf("prelu%d.weight", i+1), 1))
	}
	x = b.Op(activations[cfg.Activation], name, nil, inputs...)
	if cfg.Dropout > 0 {
		ratio := b.Constant(name+".ratio", tensor.FromSlice(tensor.Shape{}, []float32{float32(cfg.Dropout)}))
		x = b.Op("Dropout", name+".drop", nil, x, ratio)
	}
	return x
}
