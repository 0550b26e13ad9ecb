package merge_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/tensor"
)

// plain is a network that a test writes by hand, on images of shape [3, 4, 4].
func plain(t *testing.T, build func(b *graph.Builder, x string) string) *graph.Graph {
	t.Helper()
	b := graph.NewBuilder("g")
	b.Output(build(b, b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(3), graph.Fixed(4), graph.Fixed(4))))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// plainCase is two random networks of a graph and the mixture of them.
func plainCase(t *testing.T, g *graph.Graph, lambda float64) *repairCase {
	t.Helper()
	random := func(seed uint64) map[string]*tensor.Tensor {
		r, params := rand.New(rand.NewPCG(seed, 2)), map[string]*tensor.Tensor{}
		for _, p := range g.Params {
			shape, _ := p.Shape.Fixed()
			x := tensor.New(tensor.F32, shape)
			for i := range tensor.Of[float32](x) {
				v := r.NormFloat64() / 3
				if len(shape) == 1 {
					v = .2 + math.Abs(v) // it may be a variance
				}
				tensor.Of[float32](x)[i] = float32(v)
			}
			params[p.Name] = x
		}
		return params
	}
	c := &repairCase{graph: g, data: noise{shape: []int{3, 4, 4}, n: 40}, a: random(1), b: random(2)}
	var err error
	if c.merge, err = merge.Params(merge.Lerp, c.a, c.b, lambda); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestLogitsAreNoSite puts behind the last layer what may stand between logits and output, or does not: the layer counts as the output, or as hidden.
func TestLogitsAreNoSite(t *testing.T) {
	unary := func(op string) func(*graph.Builder, string) string {
		return func(b *graph.Builder, z string) string { return b.Op(op, op, nil, z) }
	}
	param := func(op string, first bool) func(*graph.Builder, string) string {
		return func(b *graph.Builder, z string) string {
			if first {
				return b.Op(op, op, nil, b.Param("p", 6), z)
			}
			return b.Op(op, op, nil, z, b.Param("p", 6))
		}
	}
	flat := map[string]func(*graph.Builder, string) string{
		"nothing": func(_ *graph.Builder, z string) string { return z },
		"Softmax": unary("Softmax"), "LogSoftmax": unary("LogSoftmax"), "Identity": unary("Identity"), "Sigmoid": unary("Sigmoid"),
		"Flatten": unary("Flatten"), "Dropout": unary("Dropout"),
		"a bias": param("Add", false), "a bias first": param("Add", true), "a temperature": param("Div", false),
		"Reshape and Transpose": func(b *graph.Builder, z string) string {
			return b.Transpose("y", b.Reshape("r", z, 0, 2, 3), 0, 2, 1)
		},
		"several": func(b *graph.Builder, z string) string {
			return b.Softmax("y", b.Op("Identity", "i", nil, b.Add("s", z, b.Param("p", 6))), 1)
		},
	}
	for name, tail := range flat {
		t.Run(name, func(t *testing.T) {
			sitesAre(t, plain(t, func(b *graph.Builder, x string) string {
				h := b.Relu("h", b.Linear("z1", b.Flatten("flat", x, 1), "fc1", 5, 48, true))
				return tail(b, b.Linear("z2", h, "fc2", 6, 5, true))
			}), 1)
		})
	}
	t.Run("GlobalAveragePool", func(t *testing.T) {
		sitesAre(t, plain(t, func(b *graph.Builder, x string) string {
			h := b.Relu("h", b.Conv2D("z1", x, b.Param("c1", 4, 3, 3, 3), b.Param("b1", 4), graph.ConvOptions{Pad: 1}))
			z := b.Conv2D("z2", h, b.Param("c2", 6, 4, 1, 1), b.Param("b2", 6), graph.ConvOptions{})
			return b.Op("LogSoftmax", "y", nil, b.Flatten("f", b.GlobalAveragePool("p", z), 1))
		}), 1)
	})
	t.Run("a layer behind Softmax", func(t *testing.T) {
		sitesAre(t, plain(t, func(b *graph.Builder, x string) string {
			h := b.Softmax("h", b.Linear("z1", b.Flatten("flat", x, 1), "fc1", 5, 48, true), 1)
			return b.Linear("z2", h, "fc2", 6, 5, true)
		}), 1)
	})
	t.Run("a residual", func(t *testing.T) {
		sitesAre(t, plain(t, func(b *graph.Builder, x string) string {
			h := b.Relu("h", b.Linear("z1", b.Flatten("flat", x, 1), "fc1", 5, 48, true))
			return b.Add("y", h, b.Linear("z2", h, "fc2", 5, 5, true))
		}), 2)
	})
}

func sitesAre(t *testing.T, g *graph.Graph, want int) {
	t.Helper()
	if sites, _, err := merge.RepairCost(g, merge.RepairFull); err != nil || sites != want {
		t.Errorf("%d sites, error %v, want %d", sites, err, want)
	}
}

// writtenOut is a normalisation of groups as PyTorch exports it before opset 18.
func writtenOut(b *graph.Builder, x string, channels, groups int) string {
	constant := func(name string, v float32) string {
		return b.Constant(name, tensor.FromSlice(tensor.Shape{groups}, slices.Repeat([]float32{v}, groups)))
	}
	n := b.Op("InstanceNormalization", "in", graph.Attrs{"epsilon": 1e-5},
		b.Reshape("to", x, 0, int64(groups), -1), constant("one", 1), constant("zero", 0))
	n = b.Mul("scaled", b.Reshape("back", n, 0, int64(channels), 4, 4), b.Param("gn.weight", channels, 1, 1))
	return b.Add("gn", n, b.Param("gn.bias", channels, 1, 1))
}

// TestRepairOfGroupNormWrittenOut repairs the Mul and Add of the channels, not the convolution whose scale the groups take away.
func TestRepairOfGroupNormWrittenOut(t *testing.T) {
	const lambda = .4
	g := plain(t, func(b *graph.Builder, x string) string {
		z := b.Conv2D("z1", x, b.Param("c1", 6, 3, 3, 3), b.Param("b1", 6), graph.ConvOptions{Pad: 1})
		h := b.Relu("h", writtenOut(b, z, 6, 2))
		return b.Linear("y", b.Flatten("f", h, 1), "fc", 2, 96, true)
	})
	c := plainCase(t, g, lambda)
	meanA, devA := c.channelMoments(t, c.a, []string{"gn"}, false)
	meanB, devB := c.channelMoments(t, c.b, []string{"gn"}, false)
	r := c.repair(t, merge.RepairFull, lambda, 1, 7)
	if r.Sites != 1 || len(r.Notes) > 0 {
		t.Errorf("%d sites, notes %q", r.Sites, r.Notes)
	}
	means, devs := c.channelMoments(t, r.Params, []string{"gn"}, false)
	near(t, "mean", means[0], between(meanA[0], meanB[0], lambda))
	near(t, "deviation", devs[0], between(devA[0], devB[0], lambda))
	for _, p := range g.Params {
		if repaired := strings.HasPrefix(p.Name, "gn."); r.Params[p.Name].Equal(c.merge[p.Name]) == repaired {
			t.Errorf("%q changed, or did not", p.Name)
		}
	}
}

// TestRepairOfGroupNormByGroups has a scale for each group, as in opset 18, or none at all: nothing scales the channels one by one, which is said.
func TestRepairOfGroupNormByGroups(t *testing.T) {
	for name, norm := range map[string]func(b *graph.Builder, z string) string{
		"opset 18": func(b *graph.Builder, z string) string {
			return b.Op("GroupNormalization", "gn", graph.Attrs{"num_groups": int64(2)}, z, b.Param("gn.weight", 2), b.Param("gn.bias", 2))
		},
		"no scale": func(b *graph.Builder, z string) string {
			writtenOut(b, z, 6, 2)
			return "back"
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := plain(t, func(b *graph.Builder, x string) string {
				z := b.Conv2D("z1", x, b.Param("c1", 6, 3, 3, 3), b.Param("b1", 6), graph.ConvOptions{Pad: 1})
				h := b.Relu("h", norm(b, z))
				return b.Linear("y", b.Flatten("f", h, 1), "fc", 2, 96, true)
			})
			c := plainCase(t, g, .5)
			r := c.repairWithin(t, merge.RepairFull, .5, &eval.Values{Data: c.data, Threads: 1})
			if r.Sites != 0 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "was left alone") {
				t.Errorf("%d sites, notes %q", r.Sites, r.Notes)
			}
			for name, p := range c.merge {
				if !r.Params[name].Equal(p) {
					t.Errorf("%q has changed", name)
				}
			}
		})
	}
}

// TestRepairOfViews measures and corrects values that share their memory with others: a normalisation reads what Flatten makes, and what a linear layer
// makes is read through Reshape.
func TestRepairOfViews(t *testing.T) {
	const lambda = .3
	g := plain(t, func(b *graph.Builder, x string) string {
		h := b.Relu("h1", b.Conv2D("z1", x, b.Param("c1", 4, 3, 3, 3), b.Param("b1", 4), graph.ConvOptions{Pad: 1}))
		h = b.BatchNorm("bn", b.Flatten("f", h, 1), "bn", 64)
		h = b.Reshape("r", b.Linear("z2", h, "fc2", 6, 64, true), 0, 2, 3)
		return b.Linear("y", b.Reshape("s", b.Relu("h2", h), 0, 6), "fc3", 2, 6, true)
	})
	c := plainCase(t, g, lambda)
	values := []string{"z1", "bn", "z2"}
	meanA, devA := c.channelMoments(t, c.a, values, false)
	meanB, devB := c.channelMoments(t, c.b, values, false)
	r := c.repair(t, merge.RepairFull, lambda, 2, 7)
	if r.Sites != 3 || len(r.Notes) > 0 {
		t.Errorf("%d sites, notes %q", r.Sites, r.Notes)
	}
	means, devs := c.channelMoments(t, r.Params, values, false)
	for i, v := range values {
		near(t, "mean at "+v, means[i], between(meanA[i], meanB[i], lambda))
		near(t, "deviation at "+v, devs[i], between(devA[i], devB[i], lambda))
	}
	stats, _ := c.channelMoments(t, r.Params, []string{"f"}, false)
	near(t, "running mean", wide(r.Params["bn.running_mean"]), stats[0])
}

// TestRepairOfASharedScale has two normalisations read one scale and one bias: statistics of both are reset, and no correction is folded.
func TestRepairOfASharedScale(t *testing.T) {
	g := plain(t, func(b *graph.Builder, x string) string {
		norm := func(out, x, stats string) string {
			return b.Op("BatchNormalization", out, nil, x, b.Param("w", 4), b.Param("b", 4), b.Param(stats+".mean", 4), b.Param(stats+".var", 4))
		}
		h := b.Relu("h1", norm("n1", b.Conv2D("z1", x, b.Param("c1", 4, 3, 3, 3), "", graph.ConvOptions{}), "s1"))
		h = b.Relu("h2", norm("n2", b.Conv2D("z2", h, b.Param("c2", 4, 4, 1, 1), "", graph.ConvOptions{}), "s2"))
		return b.Linear("y", b.Flatten("f", h, 1), "fc", 2, 16, true)
	})
	for _, method := range []merge.RepairMethod{merge.RepairReset, merge.RepairRescale, merge.RepairFull} {
		t.Run(string(method), func(t *testing.T) {
			c := plainCase(t, g, .5)
			r := c.repair(t, method, .5, 1, 7)
			notes := map[bool]int{true: 0, false: 2}[method == merge.RepairReset]
			if r.Sites != 2 || len(r.Notes) != notes || notes > 0 && !strings.Contains(r.Notes[0], "was reset only") {
				t.Errorf("%d sites, notes %q", r.Sites, r.Notes)
			}
			for i, stats := range []string{"s1", "s2"} {
				means, devs := c.channelMoments(t, r.Params, []string{fmt.Sprintf("z%d", i+1)}, false)
				near(t, "mean", wide(r.Params[stats+".mean"]), means[0])
				n := float64(c.valuesPerChannel(t, fmt.Sprintf("z%d", i+1)))
				for k, d := range devs[0] {
					devs[0][k] = d * d * n / (n - 1)
				}
				near(t, "variance", wide(r.Params[stats+".var"]), devs[0])
			}
			for _, name := range []string{"w", "b"} {
				if !r.Params[name].Equal(c.merge[name]) {
					t.Errorf("%q has changed", name)
				}
			}
		})
	}
}

// TestRepairErrors: a weight beyond the models, statistics that are not finite, and such as the file's type cannot hold.
func TestRepairErrors(t *testing.T) {
	apply := func(t *testing.T, method merge.RepairMethod, weights []float64, change func(c *repairCase)) error {
		t.Helper()
		c := newRepairCase(t, repaired["resnet batch"], .5)
		change(c)
		for _, memory := range []int{0, 1} {
			r, err := merge.NewRepairer(context.Background(), method, c.graph, []map[string]*tensor.Tensor{c.a, c.b},
				&eval.Values{Data: c.data, Threads: 1, Batch: 32, Memory: memory})
			if err != nil {
				t.Fatal(err)
			}
			if _, err = r.Apply(context.Background(), c.merge, weights, nil); memory == 1 || err == nil {
				return err
			}
		}
		return nil
	}
	same := func(*repairCase) {}
	set := func(v float32) func(c *repairCase) {
		return func(c *repairCase) {
			w := tensor.FromSlice(c.merge["conv1.weight"].Shape(), slices.Clone(tensor.Of[float32](c.merge["conv1.weight"])))
			tensor.Of[float32](w)[0] = v
			c.merge["conv1.weight"] = w
		}
	}
	half := func(c *repairCase) {
		set(3e4)(c)
		for name, p := range c.merge {
			var err error
			if c.merge[name], err = p.Convert(tensor.F16); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		method  merge.RepairMethod
		weights []float64
		change  func(c *repairCase)
		want    string
	}{
		"negative weight": {merge.RepairFull, []float64{1.5, -.5}, same, "weight 1 is -0.5: it must be finite and not negative"},
		"weight NaN":      {merge.RepairRescale, []float64{1, math.NaN()}, same, "weight 1 is NaN"},
		"no weight":       {merge.RepairFull, []float64{0, 0}, same, "the sum of the weights is 0"},
		"mean NaN":        {merge.RepairReset, []float64{.5, .5}, set(float32(math.NaN())), `tensor "bn1.running_mean": what repair makes of it is not finite: element 0`},
		"variance Inf":    {merge.RepairReset, []float64{.5, .5}, set(3e30), `tensor "bn1.running_var": what repair makes of it is not finite: element 0`},
		"beyond F16":      {merge.RepairReset, []float64{.5, .5}, half, `tensor "bn1.running_var": element 0 is too large for F16`},
	} {
		t.Run(name, func(t *testing.T) {
			if err := apply(t, c.method, c.weights, c.change); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
