package zoo

import (
	"fmt"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// activations gives the operator of each activation's name.
var activations = map[string]string{
	"relu": "Relu", "leaky_relu": "LeakyRelu", "prelu": "PRelu", "tanh": "Tanh", "sigmoid": "Sigmoid", "gelu": "Gelu",
}

// channelEpsilon is that of flax's LayerNorm, which the networks of Git Re-Basin have.
const channelEpsilon = 1e-6

// Build makes the graph of an architecture: one input, [Input], of shape [N, Config.Input...], and one output, [Output].
func Build(cfg Config) (*graph.Graph, error) {
	cfg, err := cfg.Resolve()
	if err != nil {
		return nil, err
	}
	f, err := familyOf(cfg.Arch)
	if err != nil {
		return nil, fmt.Errorf("zoo: %w", err)
	}
	b, logits := f.build(cfg)
	if b.err != nil {
		return nil, fmt.Errorf("zoo: %w", b.err)
	}
	b.Output(logits)
	g, err := b.Graph()
	if err != nil {
		return nil, fmt.Errorf("zoo: %w", err)
	}
	return g, nil
}

// networkBuilder writes the layers that a description has.
type networkBuilder struct {
	*graph.Builder
	cfg   Config
	image string // the network's input
	err   error
}

func newNetworkBuilder(cfg Config) *networkBuilder {
	b := &networkBuilder{Builder: graph.NewBuilder(cfg.Arch), cfg: cfg}
	dims := []graph.Dim{graph.Sym("N")}
	for _, n := range cfg.Input {
		dims = append(dims, graph.Fixed(n))
	}
	b.image = b.Input(Input, tensor.F32, dims...)
	return b
}

// elements is the product of extents.
func (b *networkBuilder) elements(extents []int) int {
	n, err := graph.ShapeOf(extents...).Elements()
	if err != nil {
		b.err = fmt.Errorf("input %v: %w", b.cfg.Input, err)
	}
	return n.Size
}

func (b *networkBuilder) activation(out, x string) string {
	return b.Op(activations[b.cfg.Activation], out, nil, x)
}

// conv is a convolution without dilation and groups over the parameters out.weight and, if bias is true, out.bias.
func (b *networkBuilder) conv(out, x string, channels, in, kernel, stride, pad int, bias bool) string {
	w, c := b.Param(out+".weight", channels, in, kernel, kernel), ""
	if bias {
		c = b.Param(out+".bias", channels)
	}
	return b.Conv2D(out, x, w, c, graph.ConvOptions{Stride: stride, Pad: pad})
}

// norm normalises channels as the description says; with norm none it returns x.
func (b *networkBuilder) norm(out, x string, channels int) string {
	switch b.cfg.Norm {
	case "batch":
		return b.BatchNorm(out, x, out, channels)
	case "layer":
		return b.ChannelNorm(out, x, out, channels, channelEpsilon)
	case "group":
		return b.GroupNorm(out, x, out, channels, b.cfg.Groups)
	}
	return x
}
