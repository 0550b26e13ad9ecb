package symmetry

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// verifyGraph builds a network and draws float32 parameters, as a checkpoint has them.
func verifyGraph(t *testing.T, build func(b *graph.Builder)) (*graph.Graph, map[string]*tensor.Tensor) {
	t.Helper()
	b := graph.NewBuilder("test")
	build(b)
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	params := map[string]*tensor.Tensor{}
	for _, p := range g.Params {
		shape, _ := p.Shape.Fixed()
		params[p.Name] = tensor.New(tensor.F32, shape)
		for i := range tensor.Of[float32](params[p.Name]) {
			tensor.Of[float32](params[p.Name])[i] = float32(rng.NormFloat64())
		}
	}
	return g, params
}

func verifyInput(b *graph.Builder, extents ...int) string {
	return b.Input("x", tensor.F32, append([]graph.Dim{graph.Sym("N")}, graph.ShapeOf(extents...)...)...)
}

func verifyMLP(b *graph.Builder) {
	h := b.Relu("a1", b.Linear("z1", verifyInput(b, 5), "fc1", 7, 5, true))
	h = b.Relu("a2", b.Linear("z2", h, "fc2", 6, 7, true))
	h = b.Op("Tanh", "a3", nil, b.Linear("z3", h, "fc3", 8, 6, true))
	b.Output(b.Linear("y", h, "fc4", 3, 8, true))
}

// verifyAttention has two heads of four units over five places, with a bias on keys that softmax cancels.
func verifyAttention(b *graph.Builder) {
	x := verifyInput(b, 5, 6)
	heads := func(name string, perm ...int64) string {
		z := b.Add(name+".b", b.MatMul(name+".z", x, b.Param(name+".weight", 6, 8)), b.Param(name+".bias", 8))
		return b.Transpose(name+".t", b.Reshape(name+".r", z, 0, 5, 2, 4), perm...)
	}
	q, k, v := heads("q", 0, 2, 1, 3), heads("k", 0, 2, 3, 1), heads("v", 0, 2, 1, 3)
	mixed := b.MatMul("mix", b.Softmax("scores", b.MatMul("qk", q, k), -1), v)
	joined := b.Reshape("joined", b.Transpose("back", mixed, 0, 2, 1, 3), 0, 5, 8)
	b.Output(b.MatMul("y", joined, b.Param("o.weight", 8, 6)))
}

// verifyExperts adds up three experts, which may change places, as may the units of each.
func verifyExperts(b *graph.Builder) {
	x := verifyInput(b, 4)
	sum := ""
	for _, e := range []string{"0", "1", "2"} {
		h := b.Relu("h"+e, b.Gemm("z"+e, x, b.Param("experts."+e+".w1", 5, 4), ""))
		y := b.Gemm("y"+e, h, b.Param("experts."+e+".w2", 2, 5), "")
		if sum != "" {
			y = b.Add("sum"+e, sum, y)
		}
		sum = y
	}
	b.Output(sum)
}

func mustInfer(t *testing.T, g *graph.Graph) *Symmetry {
	t.Helper()
	s, err := Infer(g)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustSpec(t *testing.T, g *graph.Graph, spec string) *Symmetry {
	t.Helper()
	shapes := map[string]tensor.Shape{}
	for _, p := range g.Params {
		shapes[p.Name], _ = p.Shape.Fixed()
	}
	s, err := ParseSpec([]byte(spec), shapes)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	mlpSpec = `{"fc1.weight": ["h1", null], "fc1.bias": ["h1"], "fc2.weight": ["h2", "h1"], "fc2.bias": ["h2"],
		"fc3.weight": ["h3", "h2"], "fc3.bias": ["h3"], "fc4.weight": [null, "h3"], "fc4.bias": [null]}`
	expertsSpec = "layouts:\n  experts.{e}.w1: f[e] _\n  experts.{e}.w2: _ f[e]\n"
)

func TestVerify(t *testing.T) {
	for name, c := range map[string]struct {
		build func(b *graph.Builder)
		spec  string // else inferred
		inert []AxisRef
	}{
		"mlp":          {build: verifyMLP},
		"mlp, spec":    {build: verifyMLP, spec: mlpSpec},
		"experts":      {build: verifyExperts, spec: expertsSpec},
		"fixed extent": {build: verifyFixedBatch},
		"two outputs":  {build: func(b *graph.Builder) { verifyMLP(b); b.Output(b.Softmax("p", "a1", -1)) }},
	} {
		t.Run(name, func(t *testing.T) {
			g, params := verifyGraph(t, c.build)
			s := mustInferOrSpec(t, g, c.spec)
			p, err := Verify(t.Context(), g, s, params, VerifyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Groups) == 0 || p.Samples != 2*defaultSamples || p.MaxDeviation > 1e-12 || len(p.Unproven) > 0 {
				t.Errorf("%d groups, proof %+v", len(s.Groups), p)
			}
			if d := cmp.Diff(c.inert, p.Inert); d != "" {
				t.Errorf("inert axes: %s", d)
			}
		})
	}
}

func mustInferOrSpec(t *testing.T, g *graph.Graph, spec string) *Symmetry {
	t.Helper()
	if spec == "" {
		return mustInfer(t, g)
	}
	return mustSpec(t, g, spec)
}

// verifyFixedBatch is for one input at a time, as some exporters write it.
func verifyFixedBatch(b *graph.Builder) {
	x := b.Input("x", tensor.F32, graph.Fixed(3), graph.Fixed(4))
	b.Output(b.Linear("y", b.Relu("h", b.Linear("z", x, "fc1", 6, 4, true)), "fc2", 2, 6, true))
}

// TestVerifyListsInertAxes: softmax cancels what the bias of keys adds to all scores of a query alike, though the heads
// and their units are proven by the other axes.
func TestVerifyListsInertAxes(t *testing.T) {
	g, params := verifyGraph(t, verifyAttention)
	s := mustInfer(t, g)
	p, err := Verify(t.Context(), g, s, params, VerifyOptions{Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Groups) < 3 || len(p.Unproven) > 0 || len(p.Inert) == 0 {
		t.Fatalf("%d groups, proof %+v", len(s.Groups), p)
	}
	for _, ref := range p.Inert {
		if ref.Tensor != "k.bias" || ref.Axis != 0 {
			t.Errorf("%v is inert", ref)
		}
	}
}

// TestVerifyRefutes gives symmetries that are none: each must fail, and name a group that is wrong.
func TestVerifyRefutes(t *testing.T) {
	replace := strings.NewReplacer
	for name, c := range map[string]struct {
		build  func(b *graph.Builder)
		spec   string
		groups []string // any of which is at fault
		random bool     // it shows with random parameters only
	}{
		"input axis forgotten": {
			verifyMLP, replace(`"fc2.weight": ["h2", "h1"]`, `"fc2.weight": ["h2", null]`).Replace(mlpSpec), []string{"h1"}, false,
		},
		"output axis forgotten": {
			verifyMLP, replace(`"fc3.weight": ["h3", "h2"]`, `"fc3.weight": [null, "h2"]`).Replace(mlpSpec), []string{"h3"}, false,
		},
		"bias forgotten": {verifyMLP, replace(`"fc2.bias": ["h2"]`, `"fc2.bias": [null]`).Replace(mlpSpec), []string{"h2"}, false},
		"bias that is still zero": {
			verifyMLP, replace(`"fc1.bias": ["h1"]`, `"fc1.bias": [null]`).Replace(mlpSpec), []string{"h1"}, true,
		},
		"outputs": {verifyMLP, replace(`[null, "h3"]`, `["y", "h3"]`, `[null]`, `["y"]`).Replace(mlpSpec), []string{"y"}, false},
		"inputs":  {verifyMLP, replace(`["h1", null]`, `["h1", "x"]`).Replace(mlpSpec), []string{"x"}, false},
		"experts' units of one order": {
			verifyExperts, "layouts:\n  experts.{e}.w1: f[e] _\n  experts.0.w2: _ _\n", []string{"e", "f"}, false,
		},
		"dimensions across queries and values": {
			verifyAttention, `layouts:
  q.weight: _ (heads d[heads])
  q.bias: (heads d[heads])
  k.weight: _ (heads d2[heads])
  k.bias: (heads d2[heads])
  v.weight: _ (heads d3[heads])
  v.bias: (heads d3[heads])
  o.weight: (heads d3[heads]) _
sizes: {heads: 2}
`, []string{"d", "d2"}, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, params := verifyGraph(t, c.build)
			if c.random {
				params["fc1.bias"] = tensor.New(tensor.F32, params["fc1.bias"].Shape())
			}
			_, err := Verify(t.Context(), g, mustSpec(t, g, c.spec), params, VerifyOptions{})
			var refuted *GroupError
			if !errors.As(err, &refuted) {
				t.Fatalf("error %v is not a *GroupError", err)
			}
			named := false
			for _, group := range c.groups {
				named = named || refuted.Group == group
			}
			if !named || refuted.Random != c.random || refuted.Deviation <= Tolerance {
				t.Errorf("%+v, want one of the groups %v", refuted, c.groups)
			}
			if !strings.Contains(err.Error(), refuted.Group) {
				t.Errorf("error %q does not name the group", err)
			}
		})
	}
}

// TestVerifySeesThroughSoftmax saturates a final Softmax, so that its output is the same whatever the hidden units do.
func TestVerifySeesThroughSoftmax(t *testing.T) {
	g, params := verifyGraph(t, func(b *graph.Builder) {
		h := b.Relu("h", b.Linear("z", verifyInput(b, 4), "fc1", 6, 4, true))
		far := b.Constant("far", tensor.FromSlice(tensor.Shape{2}, []float32{1e4, 0}))
		b.Output(b.Softmax("p", b.Add("shifted", b.Linear("y", h, "fc2", 2, 6, true), far), 1))
	})
	s := mustSpec(t, g, `{"fc1.weight": ["h", null], "fc1.bias": ["h"], "fc2.weight": [null, null], "fc2.bias": [null]}`)
	_, err := Verify(t.Context(), g, s, params, VerifyOptions{})
	var refuted *GroupError
	if !errors.As(err, &refuted) {
		t.Errorf("error %v is not a *GroupError", err)
	}
}

// TestVerifyBlamesEachGroup breaks a chain of layers at one place after the other.
func TestVerifyBlamesEachGroup(t *testing.T) {
	g, params := verifyGraph(t, verifyMLP)
	for _, group := range []string{"h1", "h2", "h3"} {
		spec := strings.Replace(mlpSpec, `["`+group+`"]`, `[null]`, 1)
		_, err := Verify(t.Context(), g, mustSpec(t, g, spec), params, VerifyOptions{Seed: 5})
		var refuted *GroupError
		if !errors.As(err, &refuted) || refuted.Group != group {
			t.Errorf("without the bias of %s: %v", group, err)
		}
	}
}

// TestVerifyReportsUnproven multiplies hidden units by zero: whatever is claimed of them holds.
func TestVerifyReportsUnproven(t *testing.T) {
	g, params := verifyGraph(t, func(b *graph.Builder) {
		h := b.Relu("h", b.Linear("z", verifyInput(b, 4), "fc1", 6, 4, true))
		zero := b.Constant("zero", tensor.New(tensor.F32, tensor.Shape{}))
		b.Output(b.Linear("y", b.Mul("m", h, zero), "fc2", 2, 6, true))
	})
	s := mustInfer(t, g)
	p, err := Verify(t.Context(), g, s, params, VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{s.Groups[0].Name}, p.Unproven); d != "" || len(p.Inert) != 3 {
		t.Errorf("unproven: %s, inert %v", d, p.Inert)
	}
}

// TestVerifyIgnoresSingleUnits: a group of one unit has nothing to prove.
func TestVerifyIgnoresSingleUnits(t *testing.T) {
	g, params := verifyGraph(t, func(b *graph.Builder) {
		b.Output(b.Linear("y", b.Relu("h", b.Linear("z", verifyInput(b, 4), "fc1", 1, 4, true)), "fc2", 2, 1, true))
	})
	s := mustSpec(t, g, `{"fc1.weight": ["h", null], "fc1.bias": ["h"], "fc2.weight": [null, "h"], "fc2.bias": [null]}`)
	p, err := Verify(t.Context(), g, s, params, VerifyOptions{})
	if err != nil || len(p.Unproven) > 0 || len(p.Inert) > 0 {
		t.Errorf("%v, proof %+v", err, p)
	}
}

// TestVerifyDependsOnTheSeedAlone runs with other numbers of threads.
func TestVerifyDependsOnTheSeedAlone(t *testing.T) {
	g, params := verifyGraph(t, verifyAttention)
	s := mustInfer(t, g)
	var first *Proof
	for _, threads := range []int{1, 2, 3} {
		p, err := Verify(t.Context(), g, s, params, VerifyOptions{Seed: 9, Threads: threads})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = p
		}
		if d := cmp.Diff(first, p); d != "" {
			t.Errorf("%d threads: %s", threads, d)
		}
	}
}

func TestVerifyErrors(t *testing.T) {
	g, good := verifyGraph(t, verifyMLP)
	s := mustInfer(t, g)
	with := func(name string, value *tensor.Tensor) map[string]*tensor.Tensor {
		params := map[string]*tensor.Tensor{name: value}
		for k, v := range good {
			if k != name {
				params[k] = v
			}
		}
		return params
	}
	nan := good["fc1.bias"].Clone()
	tensor.Of[float32](nan)[0] = float32(math.NaN())
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		params map[string]*tensor.Tensor
		opt    VerifyOptions
		want   string
	}{
		"not finite": {t.Context(), with("fc1.bias", nan), VerifyOptions{}, `output "y" is not finite`},
		"not finite input": {
			t.Context(), good, VerifyOptions{Inputs: []float32{1, 2, 3, 4, float32(math.Inf(1))}}, `output "y" is not finite`,
		},
		"shape":     {t.Context(), with("fc1.bias", tensor.New(tensor.F32, tensor.Shape{8})), VerifyOptions{}, `"fc1.bias"`},
		"extra":     {t.Context(), with("other", nan), VerifyOptions{}, `"other"`},
		"inputs":    {t.Context(), good, VerifyOptions{Inputs: make([]float32, 7)}, "5 elements each"},
		"cancelled": {cancelled, good, VerifyOptions{}, "canceled"},
	} {
		if _, err := Verify(c.ctx, g, s, c.params, c.opt); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v does not say %q", name, err, c.want)
		}
	}
	p, err := Verify(t.Context(), g, s, good, VerifyOptions{Samples: 4, Inputs: make([]float32, 10)})
	if err != nil || p.Samples != 12 {
		t.Errorf("%v, %+v: want 6 samples twice", err, p)
	}
}

func TestEquivalent(t *testing.T) {
	g, a := verifyGraph(t, verifyMLP)
	s := mustInfer(t, g)
	b, err := s.Apply(s.Random(rand.New(rand.NewPCG(2, 2))), a)
	if err != nil {
		t.Fatal(err)
	}
	other := map[string]*tensor.Tensor{}
	for name, v := range a {
		other[name] = v.Clone()
	}
	tensor.Of[float32](other["fc4.bias"])[1] += 0.5
	x := widenedBack((&verifyRun{parts: []inputPart{{n: 5}}}).randomInputs(rand.New(rand.NewPCG(3, 3)), 300))
	for _, c := range []struct {
		x    []float32
		n    int
		want int
	}{{x, 300, 300}, {nil, 7, 7}, {nil, 0, defaultSamples}} {
		d, samples, err := Equivalent(t.Context(), g, a, b, c.x, c.n)
		if err != nil || samples != c.want || d > 1e-12 {
			t.Errorf("permuted: %v, deviation %g on %d samples", err, d, samples)
		}
		d, _, err = Equivalent(t.Context(), g, a, other, c.x, c.n)
		if err != nil || !(d > 1e-3 && d <= 0.5) {
			t.Errorf("shifted by .5: %v, deviation %g", err, d)
		}
	}
	for _, n := range []int{299, 0, -1} {
		if _, _, err := Equivalent(t.Context(), g, a, b, x, n); err == nil {
			t.Errorf("1500 elements for %d inputs are no error", n)
		}
	}
	delete(other, "fc1.bias")
	if _, _, err := Equivalent(t.Context(), g, a, other, nil, 0); err == nil || !strings.Contains(err.Error(), "second network") {
		t.Errorf("error %v does not say which network", err)
	}
}

func widenedBack(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}

// TestEquivalentPadsFixedBatches compares four inputs on a graph for three at a time: the deviation is that of the four.
func TestEquivalentPadsFixedBatches(t *testing.T) {
	g, a := verifyGraph(t, verifyFixedBatch)
	d, samples, err := Equivalent(t.Context(), g, a, a, make([]float32, 16), 4)
	if err != nil || samples != 4 || d != 0 {
		t.Errorf("%v, deviation %g on %d samples", err, d, samples)
	}
}
