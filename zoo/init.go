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

// Init draws the parameters of a graph of fully connected layers.
//
// With Config.Init "lecun", the default, as flax's Dense and therefore the code of Git Re-Basin have it: weights from a normal distribution
// of variance 1/fan_in truncated at two deviations (LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998), biases zero. With "torch", as
// PyTorch's Linear: weights and biases uniform in ±1/sqrt(fan_in), which is kaiming_uniform with a = sqrt(5) (He, Zhang, Ren, Sun, 2015,
// arXiv:1502.01852). Scales of normalisations start at 1, their shifts at 0, slopes of PRelu at 0.25.
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
		draw = drawTorch
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
	bias     bool
	constant float32
}

// rolesOf reads the use of each parameter off the first node that it enters.
func rolesOf(g *graph.Graph) map[string]role {
	roles := map[string]role{}
	set := func(name string, r role) {
		if _, ok := roles[name]; !ok && name != "" {
			roles[name] = r
		}
	}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		switch n.Op {
		case "Gemm":
			w, ok := g.Param(n.Input(1))
			if !ok {
				continue
			}
			fanIn := w.Shape[0].Size
			if n.Attrs.Int("transB", 0) != 0 {
				fanIn = w.Shape[1].Size
			}
			set(n.Input(1), role{fanIn: fanIn})
			set(n.Input(2), role{fanIn: fanIn, bias: true})
		case "LayerNormalization":
			set(n.Input(1), role{constant: 1})
			set(n.Input(2), role{})
		case "PRelu":
			set(n.Input(1), role{constant: preluSlope})
		}
	}
	return roles
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

func drawTorch(data []float32, r role, rng *rand.Rand) {
	if r.fanIn == 0 {
		fill(data, r.constant)
		return
	}
	bound := 1 / math.Sqrt(float64(r.fanIn))
	for i := range data {
		data[i] = float32(bound * (2*rng.Float64() - 1))
	}
}

func fill(data []float32, v float32) {
	for i := range data {
		data[i] = v
	}
}
