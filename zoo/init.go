package zoo

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// preluSlope is PyTorch's initial slope of PReLU.
const preluSlope = 0.25

// truncatedDeviation is the standard deviation of a standard normal variable that is truncated to [-2, 2]; dividing by it gives the
// truncated variable the variance that was asked for, as jax.nn.initializers.variance_scaling does.
const truncatedDeviation = 0.87962566103423978

// Init draws the parameters of a graph of convolutions, fully connected layers and normalisations.
//
// With Config.Init "lecun", the default, as flax's Dense and Conv and therefore the code of Git Re-Basin have it: weights from a normal distribution
// of variance 1/fan_in truncated at two deviations (LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998), biases zero.
//
// With "torch", as PyTorch and torchvision: weights and biases of fully connected layers uniform in ±1/sqrt(fan_in), which is kaiming_uniform with
// a = sqrt(5) (He, Zhang, Ren, Sun, 2015, arXiv:1502.01852), but in a vgg weights normal with deviation 0.01 and biases zero; weights of convolutions
// normal with variance 2/fan_out, biases zero.
//
// Scales of normalisations start at 1, their shifts at 0, running means at 0, running variances at 1, slopes of PRelu at 0.25.
//
// Each tensor has a generator of its own, seeded by seed and its name, so that neither the order of the tensors nor the presence of others
// matters.
func Init(g *graph.Graph, cfg Config, seed uint64) (map[string]*tensor.Tensor, error) {
	cfg, err := cfg.Resolve()
	if err != nil {
		return nil, err
	}
	draw := drawLecun
	if cfg.Init == "torch" {
		_, isVGG := vggPlans[cfg.Arch]
		draw = func(data []float32, r role, rng *rand.Rand) { drawTorch(data, r, isVGG, rng) }
	}
	roles := rolesOf(g)
	params := make(map[string]*tensor.Tensor, len(g.Params))
	for _, p := range g.Params {
		shape, fixed := p.Shape.Fixed()
		n, err := shape.Elements()
		if err != nil || !fixed || p.DType != tensor.F32 {
			return nil, fmt.Errorf("zoo: parameter %q: %v %s cannot be initialised", p.Name, p.DType, p.Shape)
		}
		role, ok := roles[p.Name]
		if !ok {
			return nil, fmt.Errorf("zoo: parameter %q: no initialisation is known for how it is used", p.Name)
		}
		data := make([]float32, n)
		draw(data, role, rand.New(rand.NewPCG(seed, nameSeed(p.Name))))
		params[p.Name] = tensor.FromSlice(shape, data)
	}
	return params, nil
}

// role says how a parameter is used: in a layer of fanIn inputs, or as a constant to start from.
type role struct {
	fanIn    int // of a weight or a bias; 0 for the rest
	fanOut   int // of a convolution: outputs times the size of the kernel
	bias     bool
	constant float32
}

// rolesOf reads the use of each parameter off the first node that it enters.
func rolesOf(g *graph.Graph) map[string]role {
	roles := map[string]role{}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		for i, r := range inputRoles(g, n) {
			name := n.Input(1 + i)
			if _, ok := roles[name]; !ok && name != "" {
				roles[name] = r
			}
		}
	}
	return roles
}

// inputRoles are the roles of the inputs of a node, from the second on.
func inputRoles(g *graph.Graph, n *graph.Node) []role {
	switch n.Op {
	case "Gemm", "Conv":
		w, ok := g.Param(n.Input(1))
		if !ok {
			return nil
		}
		fans := fansOf(n, w.Shape)
		bias := fans
		bias.bias = true
		return []role{fans, bias}
	case "LayerNormalization", "GroupNormalization", "InstanceNormalization":
		return []role{{constant: 1}, {}}
	case "BatchNormalization":
		return []role{{constant: 1}, {}, {}, {constant: 1}}
	case "PRelu":
		return []role{{constant: preluSlope}}
	}
	return nil
}

// fansOf counts how many inputs each output of a layer has and, for a convolution, how many outputs each input has, as PyTorch does.
func fansOf(n *graph.Node, w graph.Shape) role {
	if n.Op == "Gemm" {
		if n.Attrs.Int("transB", 0) != 0 {
			return role{fanIn: w[1].Size}
		}
		return role{fanIn: w[0].Size}
	}
	field := 1
	for _, d := range w[2:] {
		field *= d.Size
	}
	return role{fanIn: w[1].Size * field, fanOut: w[0].Size * field}
}

func nameSeed(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

func drawLecun(data []float32, r role, rng *rand.Rand) {
	if r.fanIn == 0 || r.bias {
		fill(data, r.constant)
		return
	}
	deviation := 1 / math.Sqrt(float64(r.fanIn)) / truncatedDeviation
	for i := range data {
		data[i] = float32(deviation * truncatedNormal(rng))
	}
}

// truncatedNormal draws from the standard normal distribution restricted to [-2, 2], by rejection: 95 of 100 draws are kept.
func truncatedNormal(rng *rand.Rand) float64 {
	for {
		if x := rng.NormFloat64(); math.Abs(x) <= 2 {
			return x
		}
	}
}

func drawTorch(data []float32, r role, isVGG bool, rng *rand.Rand) {
	switch {
	case r.fanIn == 0, r.bias && (r.fanOut > 0 || isVGG):
		fill(data, r.constant)
	case r.fanOut > 0:
		drawNormal(data, math.Sqrt(2/float64(r.fanOut)), rng)
	case isVGG:
		drawNormal(data, 0.01, rng)
	default:
		bound := 1 / math.Sqrt(float64(r.fanIn))
		for i := range data {
			data[i] = float32(bound * (2*rng.Float64() - 1))
		}
	}
}

func drawNormal(data []float32, deviation float64, rng *rand.Rand) {
	for i := range data {
		data[i] = float32(deviation * rng.NormFloat64())
	}
}

func fill(data []float32, v float32) {
	for i := range data {
		data[i] = v
	}
}
