package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// The values of a random network have this shape, behind the batch.
const (
	randomChannels = 4
	randomSide     = 3
	randomPixels   = randomSide * randomSide
)

// randomNetwork draws a network in which values have many readers, parameters are shared, and views, what works in place, what is fused and
// what adds gradients meet in any order.
type randomNetwork struct {
	*graph.Builder
	t      *rapid.T
	values []string
}

// step adds one value.
type randomStep func(n *randomNetwork, out string) string

// smoothSteps have derivatives everywhere.
var smoothSteps = map[string]randomStep{
	"add": func(n *randomNetwork, out string) string { return n.Add(out, n.value(), n.value()) },
	"sub": func(n *randomNetwork, out string) string { return n.Op("Sub", out, nil, n.value(), n.value()) },
	"gate": func(n *randomNetwork, out string) string {
		return n.Mul(out, n.value(), n.Op("Sigmoid", out+".gate", nil, n.value()))
	},
	"tanh":     func(n *randomNetwork, out string) string { return n.Tanh(out, n.value()) },
	"gelu":     func(n *randomNetwork, out string) string { return n.Op("Gelu", out, nil, n.value()) },
	"identity": func(n *randomNetwork, out string) string { return n.Op("Identity", out, nil, n.value()) },
	"softmax":  func(n *randomNetwork, out string) string { return n.Softmax(out, n.value(), 1) },
	"bias": func(n *randomNetwork, out string) string {
		return n.Add(out, n.value(), n.Param(n.shared("plane.bias"), randomSide, randomSide))
	},
	"scale": func(n *randomNetwork, out string) string {
		return n.Mul(out, n.value(), n.Param(n.shared("channel.scale"), randomChannels, 1, 1))
	},
	"reshape": func(n *randomNetwork, out string) string {
		return n.Reshape(out, n.Tanh(out+".flat", n.Flatten(out+".view", n.value(), 1)), -1, randomChannels, randomSide, randomSide)
	},
	"views": func(n *randomNetwork, out string) string {
		v := n.value()
		flat, again := n.Flatten(out+".1", v, 1), n.Op("Identity", out+".3", nil, n.Reshape(out+".2", v, 0, -1))
		return n.Reshape(out, n.Add(out+".sum", flat, again), -1, randomChannels, randomSide, randomSide)
	},
	"gemm": func(n *randomNetwork, out string) string {
		const width = randomChannels * randomPixels
		z := n.Linear(out+".z", n.Flatten(out+".view", n.value(), 1), n.shared("linear"), width, width, true)
		return n.Reshape(out, z, -1, randomChannels, randomSide, randomSide)
	},
	"transpose": func(n *randomNetwork, out string) string { return n.Transpose(out, n.value(), 0, 1, 3, 2) },
	"layer norm": func(n *randomNetwork, out string) string {
		back := n.Transpose(out+".last", n.value(), 0, 2, 3, 1)
		y := n.Op("LayerNormalization", out+".norm", graph.Attrs{"axis": int64(-1), "epsilon": randomEpsilon}, back,
			n.Param(n.shared("layer.scale"), randomChannels), n.Param(n.shared("layer.bias"), randomChannels))
		return n.Transpose(out, y, 0, 3, 1, 2)
	},
	"batch norm": func(n *randomNetwork, out string) string { return n.batchNorm(out, n.value()) },
	"batch norm and residual": func(n *randomNetwork, out string) string {
		return n.Add(out, n.value(), n.batchNorm(out+".norm", n.value()))
	},
	"group norm": func(n *randomNetwork, out string) string {
		return n.Op("GroupNormalization", out, graph.Attrs{"num_groups": int64(2), "epsilon": randomEpsilon}, n.value(),
			n.Param(n.shared("layer.scale"), randomChannels), n.Param(n.shared("layer.bias"), randomChannels))
	},
	"average pool": func(n *randomNetwork, out string) string {
		return n.Op("AveragePool", out, graph.Attrs{"kernel_shape": []int64{3, 3}, "pads": []int64{1, 1, 1, 1}}, n.value())
	},
	"parts": func(n *randomNetwork, out string) string {
		head := n.Slice(out+".head", n.value(), []int64{1}, []int64{0}, []int64{2}, []int64{1})
		tail := n.Slice(out+".tail", n.value(), []int64{1}, []int64{-1}, []int64{1}, []int64{-1})
		return n.Concat(out, 1, head, tail)
	},
}

// batchNorm normalises by statistics of its own.
func (n *randomNetwork) batchNorm(out, x string) string {
	return n.Op("BatchNormalization", out, graph.Attrs{"epsilon": randomEpsilon}, x,
		n.Param(n.shared("layer.scale"), randomChannels), n.Param(n.shared("layer.bias"), randomChannels),
		n.Param(n.shared("running.mean"), randomChannels), n.Param(n.shared("running.variance"), randomChannels))
}

// kinkedSteps have points without a derivative.
var kinkedSteps = map[string]randomStep{
	"relu": func(n *randomNetwork, out string) string { return n.Relu(out, n.value()) },
	"gemm relu": func(n *randomNetwork, out string) string {
		const width = randomChannels * randomPixels
		z := n.Linear(out+".z", n.Flatten(out+".view", n.value(), 1), n.shared("linear"), width, width, true)
		h := n.Relu(out+".h", z)
		if rapid.Bool().Draw(n.t, "read twice") {
			h = n.Add(out+".sum", h, z)
		}
		return n.Reshape(out, h, -1, randomChannels, randomSide, randomSide)
	},
	"norm, residual, relu": func(n *randomNetwork, out string) string {
		return n.Relu(out, n.Add(out+".sum", n.batchNorm(out+".norm", n.value()), n.value()))
	},
	"max pool": func(n *randomNetwork, out string) string { return n.MaxPool2D(out, n.value(), 3, 1, 1) },
	"residual": func(n *randomNetwork, out string) string { return n.Relu(out, n.Add(out+".sum", n.value(), n.value())) },
}

// randomEpsilon is far above that of real norms: their curvature would spoil differences.
const randomEpsilon = 0.1

// value is one of the last few values, mostly.
func (n *randomNetwork) value() string {
	last := len(n.values) - 1
	if rapid.IntRange(0, 3).Draw(n.t, "far") == 0 {
		return n.values[rapid.IntRange(0, last).Draw(n.t, "value")]
	}
	return n.values[max(0, last-rapid.IntRange(0, 2).Draw(n.t, "back"))]
}

// shared names one of two parameters.
func (n *randomNetwork) shared(name string) string {
	return fmt.Sprintf("%d.%s", rapid.IntRange(0, 1).Draw(n.t, "parameter"), name)
}

// drawNetwork makes a network of up to twenty steps.
func drawNetwork(t *rapid.T, steps map[string]randomStep) *graph.Graph {
	n := &randomNetwork{Builder: graph.NewBuilder("random"), t: t}
	n.values = []string{n.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(randomChannels), graph.Fixed(randomSide), graph.Fixed(randomSide))}
	kinds := sortedKeys(steps)
	for i := range rapid.IntRange(1, 20).Draw(t, "steps") {
		out := fmt.Sprintf("v%d", i)
		steps[rapid.SampledFrom(kinds).Draw(t, out)](n, out)
		n.values = append(n.values, out)
	}
	last := n.values[len(n.values)-1]
	if rapid.Bool().Draw(t, "head") {
		last = n.Linear("logits", n.Flatten("features", last, 1), "head", 3, randomChannels*randomPixels, true)
	}
	n.Output(last)
	if other := n.value(); rapid.Bool().Draw(t, "second output") && other != last && other != "x" {
		n.Output(other)
	}
	g, err := n.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// randomWeights keeps values near one through many layers, and variances positive.
func randomWeights(g *graph.Graph) map[string]*tensor.Tensor {
	rng := rand.New(rand.NewPCG(9, 0))
	params := map[string]*tensor.Tensor{}
	for _, p := range g.Params {
		shape, _ := p.Shape.Fixed()
		t := tensor.New(tensor.F64, shape)
		for i := range tensor.Of[float64](t) {
			v := rng.NormFloat64() * 0.3
			switch {
			case strings.HasSuffix(p.Name, ".weight"):
				v /= math.Sqrt(float64(elements(shape[1:])))
			case strings.HasSuffix(p.Name, ".variance"):
				v = 0.5 + rng.Float64()
			case strings.HasSuffix(p.Name, ".scale"):
				v++
			}
			tensor.Of[float64](t)[i] = v
		}
		params[p.Name] = t
	}
	return params
}

// stepper runs steps of one engine.
type stepper struct {
	*Engine[float64]
	x, form []float64
	batch   int
}

func newStepper(t *rapid.T, g *graph.Graph, batch int, opt Options) *stepper {
	opt.Training = true
	e, err := New[float64](g, opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.SetParams(randomWeights(g)); err != nil {
		t.Fatal(err)
	}
	s := &stepper{Engine: e, x: random[float64](batch*randomChannels*randomPixels, 2), batch: batch}
	s.form = random[float64](len(s.forward(t)), 3)
	return s
}

func (s *stepper) forward(t *rapid.T) []float64 {
	y, err := s.Forward(s.x, s.batch)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

// step returns copies of the output and the gradients.
func (s *stepper) step(t *rapid.T) (output, gradients []float64) {
	output = slices.Clone(s.forward(t))
	if err := s.Backward(s.form); err != nil {
		t.Fatal(err)
	}
	return output, slices.Clone(s.Grads())
}

// along is the loss at parameters moved by a multiple of a direction.
func (s *stepper) along(t *rapid.T, direction []float64, by float64) float64 {
	from := slices.Clone(s.Params())
	defer copy(s.Params(), from)
	for i, d := range direction {
		s.Params()[i] += by * d
	}
	loss := 0.0
	for i, y := range s.forward(t) {
		loss += s.form[i] * y
	}
	return loss
}

// TestRandomNetworksAgreeWithReference compares all values of random networks with the formulas.
func TestRandomNetworksAgreeWithReference(t *testing.T) {
	const tolerance = 1e-10 // a dozen layers of sums of some dozen numbers, in float64
	all := mergedSteps()
	rapid.Check(t, func(rt *rapid.T) {
		g := drawNetwork(rt, all)
		s := newStepper(rt, g, 2, Options{Threads: 1})
		defer s.Close()
		want := interpret(t, g, randomWeights(g), s.x, testCase{batch: 2})
		s.forward(rt)
		for _, name := range g.Outputs {
			if got, _ := s.Value(name); deviation(got, want[name].data) > tolerance {
				rt.Fatalf("output %q deviates by %g", name, deviation(got, want[name].data))
			}
		}
	})
}

// TestRandomNetworksHaveTheirGradients compares the derivative along a random direction of length one with differences of losses.
func TestRandomNetworksHaveTheirGradients(t *testing.T) {
	// Differences over four points of step h are off by h⁴/30 times the fifth derivative along the direction, and by rounding of the loss, some
	// 1e-13, over h. A single wrong gradient of average size changes the derivative by 1e-2 or so of the gradients' length or more.
	const step, tolerance = 3e-4, 1e-7
	rapid.Check(t, func(t *rapid.T) {
		s := newStepper(t, drawNetwork(t, smoothSteps), 2, drawOptions(t))
		defer s.Close()
		_, gradients := s.step(t)
		direction := directionOf(s.Engine)
		got, length := 0.0, 1.0
		for i, g := range gradients {
			got += g * direction[i]
			length += g * g
		}
		near := s.along(t, direction, step) - s.along(t, direction, -step)
		far := s.along(t, direction, 2*step) - s.along(t, direction, -2*step)
		if want := (8*near - far) / (12 * step); !(math.Abs(got-want) <= tolerance*math.Sqrt(length)) {
			t.Fatalf("the derivative is %v, differences say %v", got, want)
		}
	})
}

// directionOf draws a direction along which what lies between parameters does not change.
func directionOf(e *Engine[float64]) []float64 {
	direction, square := make([]float64, len(e.Params())), 0.0
	for i, s := range e.Specs() {
		if s.Statistic {
			continue
		}
		for j, v := range random[float64](s.Len, uint64(i)) {
			direction[s.Offset+j] = v
			square += v * v
		}
	}
	for i := range direction {
		direction[i] /= math.Sqrt(square)
	}
	return direction
}

// TestSharedMemoryDoesNotMatter runs random networks with all values kept, so that nothing works in place, nothing is fused, and no memory is
// used twice. Outputs and gradients agree, and a second step gives the same bytes.
func TestSharedMemoryDoesNotMatter(t *testing.T) {
	// Fusion moves norms behind other nodes, which changes the order in which gradients are added, and normalises over channels in another
	// order: rounding through some dozen layers.
	const tolerance = 1e-11
	all := mergedSteps()
	rapid.Check(t, func(t *rapid.T) {
		g, opt := drawNetwork(t, all), drawOptions(t)
		s := newStepper(t, g, 3, opt)
		defer s.Close()
		opt.Keep = nil
		for _, n := range g.Nodes {
			if n.Op != "Constant" {
				opt.Keep = append(opt.Keep, n.Outputs[0])
			}
		}
		apart := newStepper(t, g, 3, opt)
		defer apart.Close()
		output, gradients := apart.step(t)
		first, firstGradients := s.step(t)
		if d, dp := deviation(first, output), deviation(firstGradients, gradients); d > tolerance || dp > tolerance {
			t.Fatalf("outputs deviate by %g, gradients by %g", d, dp)
		}
		if y, dp := s.step(t); !slices.Equal(y, first) || !slices.Equal(dp, firstGradients) {
			t.Fatalf("in the second step outputs deviate by %g, gradients by %g", deviation(y, first), deviation(dp, firstGradients))
		}
	})
}

// drawOptions draws how a network runs.
func drawOptions(t *rapid.T) Options {
	return Options{Threads: rapid.IntRange(1, 3).Draw(t, "threads"), BatchStatistics: rapid.Bool().Draw(t, "batch statistics")}
}

func mergedSteps() map[string]randomStep {
	all := map[string]randomStep{}
	for _, steps := range []map[string]randomStep{smoothSteps, kinkedSteps} {
		for kind, step := range steps {
			all[kind] = step
		}
	}
	return all
}
