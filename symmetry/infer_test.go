package symmetry_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

var batch = graph.Sym("N")

// input adds an input of shape [N, extents...].
func input(b *graph.Builder, extents ...int) string {
	return b.Input("x", tensor.F32, append(graph.Shape{batch}, graph.ShapeOf(extents...)...)...)
}

// inferCase is a network with the symmetry that was derived for it by hand.
type inferCase struct {
	name    string
	build   func(b *graph.Builder)
	groups  string // "name:size", families "name[parent,...]:size"
	layouts string // "tensor: layout" lines, in the order of the graph's parameters
	pinned  string // "tensor axis part: why" lines, when not empty
	sites   string // "group: value value ..." lines, when not empty
	inert   string // tensors that, moved alone, change nothing
	noRun   bool   // the network cannot be run
}

func mlp(cfg zoo.Config) func(*graph.Builder) {
	return func(b *graph.Builder) {
		g, err := zoo.Build(cfg)
		if err != nil {
			panic(err)
		}
		for _, v := range g.Inputs {
			b.Input(v.Name, v.DType, v.Shape...)
		}
		for _, p := range g.Params {
			shape, _ := p.Shape.Fixed()
			b.Param(p.Name, shape...)
		}
		for _, n := range g.Nodes {
			b.Op(n.Op, n.Outputs[0], n.Attrs, n.Inputs...)
		}
		b.Output(g.Outputs[0])
	}
}

var inferCases = append([]inferCase{
	{
		name:   "mlp",
		build:  mlp(zoo.Config{Arch: "mlp", Input: []int{7}, Hidden: []int{5, 4}, Classes: 3}),
		groups: "fc1:5 fc2:4",
		layouts: `
			fc1.weight: fc1 7
			fc1.bias: fc1
			fc2.weight: fc2 fc1
			fc2.bias: fc2
			fc3.weight: 3 fc2
			fc3.bias: 3`,
		pinned: `
			fc1.weight 1: network input "input"
			fc3.weight 0: network output "logits"
			fc3.bias 0: network output "logits"`,
		sites: `
			fc1: h1(_ fc1)
			fc2: h2(_ fc2)`,
	},
	{
		name: "mlp with norms, slopes, dropout, without biases",
		build: mlp(zoo.Config{
			Arch: "mlp", Input: []int{7}, Hidden: []int{5}, Classes: 3,
			Norm: "layer", Activation: "prelu", Dropout: .5, NoBias: true,
		}),
		groups: "fc1:5",
		layouts: `
			fc1.weight: fc1 7
			norm1.weight: fc1
			norm1.bias: fc1
			prelu1.weight: 1
			fc2.weight: 3 fc1`,
		sites: `fc1: h1(_ fc1)`,
	},
	{
		name:   "images are flattened",
		build:  mlp(zoo.Config{Arch: "mlp", Input: []int{1, 4, 4}, Hidden: []int{5}, Classes: 3, NoBias: true, Activation: "gelu"}),
		groups: "fc1:5",
		layouts: `
			fc1.weight: fc1 16
			fc2.weight: 3 fc1`,
		pinned: `
			fc1.weight 1: network input "input"
			fc2.weight 0: network output "logits"`,
	},
	{
		name: "layers of an nn.Sequential",
		build: mlp(zoo.Config{
			Arch: "mlp", Input: []int{7}, Hidden: []int{5, 1}, Classes: 3, NoBias: true,
			Activation: "tanh", Layers: []string{"0", "2", "4"},
		}),
		groups: "g0:5",
		layouts: `
			0.weight: g0 7
			2.weight: 1 g0
			4.weight: 3 1`,
	},
	{
		name: "residual addition joins",
		build: func(b *graph.Builder) {
			h := b.Linear("h", input(b, 7), "stem", 5, 7, true)
			z := b.Relu("z", b.Linear("a", h, "up", 6, 5, true))
			r := b.Add("r", h, b.Linear("c", z, "down", 5, 6, false))
			b.Output(b.Linear("y", r, "head", 2, 5, true))
		},
		groups: "stem:5 up:6",
		layouts: `
			stem.weight: stem 7
			stem.bias: stem
			up.weight: up stem
			up.bias: up
			down.weight: stem up
			head.weight: 2 stem
			head.bias: 2`,
		sites: `
			stem: h(_ stem) c(_ stem) r(_ stem)
			up: z(_ up)`,
	},
	{
		name: "a weight used twice is joined twice",
		build: func(b *graph.Builder) {
			h := b.Relu("h0", b.Linear("z0", input(b, 7), "in", 5, 7, true))
			h = b.Relu("h1", b.Linear("z1", h, "again", 5, 5, true))
			h = b.Relu("h2", b.Linear("z2", h, "again", 5, 5, true))
			b.Output(b.Linear("y", h, "out", 2, 5, false))
		},
		groups: "in:5",
		layouts: `
			in.weight: in 7
			in.bias: in
			again.weight: in in
			again.bias: in
			out.weight: 2 in`,
		sites: `in: h0(_ in) h1(_ in) h2(_ in)`,
	},
	{
		name: "a weight tied to its transpose",
		build: func(b *graph.Builder) {
			w := b.Param("w", 5, 7)
			h := b.Tanh("h", b.Gemm("z", input(b, 7), w, b.Param("b", 5)))
			b.Output(b.Op("Gemm", "y", nil, h, w))
		},
		groups: "w:5",
		layouts: `
			w: w 7
			b: w`,
		pinned: `w 1: network input "x"`,
	},
	{
		name: "two axes of one tensor meet",
		build: func(b *graph.Builder) {
			h := b.Relu("h", b.Linear("z", input(b, 7), "in", 5, 7, false))
			w := b.Param("w", 5, 5)
			s := b.Op("Sub", "s", nil, w, b.Transpose("wt", w, 1, 0))
			b.Output(b.Linear("y", b.MatMul("m", h, s), "out", 2, 5, false))
		},
		groups: "in:5",
		layouts: `
			in.weight: in 7
			w: in in
			out.weight: 2 in`,
	},
	{
		name: "weights on the left, transposed and of vectors",
		build: func(b *graph.Builder) {
			x := b.Transpose("xt", input(b, 7), 1, 0)
			h := b.Op("LeakyRelu", "h", graph.Attrs{"alpha": .1}, b.MatMul("z", b.Param("a.weight", 5, 7), x))
			g := b.Op("Gemm", "g", graph.Attrs{"transA": int64(1), "alpha": .5}, h, b.Param("b.kernel", 5, 6), b.Param("b.bias", 1, 6))
			b.Output(b.MatMul("y", b.Op("Sigmoid", "s", nil, g), b.Param("v", 6)))
		},
		groups: "a:5 b:6",
		layouts: `
			a.weight: a 7
			b.kernel: a b
			b.bias: 1 b
			v: b`,
	},
	{
		name: "a split that nothing mixes keeps a family",
		build: func(b *graph.Builder) {
			h := b.Relu("h", b.Linear("z", input(b, 7), "in", 12, 7, true))
			s := b.Softmax("s", b.Reshape("r", h, 0, 3, 4), -1)
			b.Output(b.Linear("y", b.Flatten("f", s, 1), "out", 2, 12, false))
		},
		groups: "in.0:3 in.1[in.0]:4",
		layouts: `
			in.weight: (in.0 in.1[in.0]) 7
			in.bias: (in.0 in.1[in.0])
			out.weight: 2 (in.0 in.1[in.0])`,
		sites: `
			in.0: h(_ (in.0 in.1[in.0])) s(_ in.0 in.1[in.0])
			in.1: h(_ (in.0 in.1[in.0])) s(_ in.0 in.1[in.0])`,
	},
	{
		name: "a Softmax across the outer factor makes the inner one the parent",
		build: func(b *graph.Builder) {
			h := b.Linear("z", input(b, 7), "in", 12, 7, true)
			s := b.Softmax("s", b.Reshape("r", h, 0, 3, 4), 1)
			b.Output(b.Linear("y", b.Flatten("f", s, 1), "out", 2, 12, false))
		},
		groups: "in.1:4 in.0[in.1]:3",
		layouts: `
			in.weight: (in.0[in.1] in.1) 7
			in.bias: (in.0[in.1] in.1)
			out.weight: 2 (in.0[in.1] in.1)`,
	},
	{
		name: "Softmaxes across both factors leave two groups",
		build: func(b *graph.Builder) {
			h := b.Reshape("r", b.Linear("z", input(b, 7), "in", 12, 7, true), 0, 3, 4)
			s := b.Softmax("t", b.Softmax("s", h, 1), 2)
			b.Output(b.Linear("y", b.Flatten("f", s, 1), "out", 2, 12, false))
		},
		groups: "in.0:3 in.1:4",
		layouts: `
			in.weight: (in.0 in.1) 7
			in.bias: (in.0 in.1)
			out.weight: 2 (in.0 in.1)`,
	},
	{
		name: "a weight shared over the parent shares the permutation",
		build: func(b *graph.Builder) {
			h := b.Relu("h", b.Linear("z", input(b, 7), "in", 12, 7, true))
			m := b.Relu("g", b.MatMul("m", b.Reshape("r", h, 0, 3, 4), b.Param("mix", 4, 5)))
			b.Output(b.Linear("y", b.Reshape("f", m, -1, 15), "out", 2, 15, false))
		},
		groups: "in.0:3 in.1:4 mix:5",
		layouts: `
			in.weight: (in.0 in.1) 7
			in.bias: (in.0 in.1)
			mix: in.1 mix
			out.weight: 2 (in.0 mix)`,
	},
	{
		name: "a scale broadcast over the parent shares the permutation",
		build: func(b *graph.Builder) {
			h := b.Reshape("r", b.Linear("z", input(b, 7), "in", 12, 7, true), 0, 3, 4)
			p := b.Op("PRelu", "p", nil, h, b.Param("slope", 4))
			q := b.Op("Div", "q", nil, p, b.Param("gain", 3, 1))
			b.Output(b.Linear("y", b.Flatten("f", q, 1), "out", 2, 12, false))
		},
		groups: "in.0:3 in.1:4",
		layouts: `
			in.weight: (in.0 in.1) 7
			in.bias: (in.0 in.1)
			slope: in.1
			gain: in.0 1
			out.weight: 2 (in.0 in.1)`,
	},
	{
		name: "a norm over several axes",
		build: func(b *graph.Builder) {
			h := b.Reshape("r", b.Linear("z", input(b, 7), "in", 12, 7, true), 0, 3, 4)
			l := b.LayerNorm("l", h, b.Param("n.weight", 3, 4), b.Param("n.bias", 3, 4), 1)
			b.Output(b.Linear("y", b.Flatten("f", l, 1), "out", 2, 12, false))
		},
		groups: "in.0:3 in.1[in.0]:4",
		layouts: `
			in.weight: (in.0 in.1[in.0]) 7
			in.bias: (in.0 in.1[in.0])
			n.weight: in.0 in.1[in.0]
			n.bias: in.0 in.1[in.0]
			out.weight: 2 (in.0 in.1[in.0])`,
	},
	{
		name: "splits are refined",
		build: func(b *graph.Builder) {
			h := b.Relu("h", b.Linear("z", input(b, 7), "in", 12, 7, true))
			u := b.Softmax("u", b.Reshape("p", h, 0, 2, 6), 2)
			v := b.Softmax("v", b.Reshape("q", h, 0, 4, 3), 2)
			s := b.Add("s", b.Flatten("fu", u, 1), b.Flatten("fv", v, 1))
			b.Output(b.Linear("y", s, "out", 2, 12, false))
		},
		groups: "in.0:2 in.1[in.0]:2 in.2[in.0,in.1]:3",
		layouts: `
			in.weight: (in.0 in.1[in.0] in.2[in.0,in.1]) 7
			in.bias: (in.0 in.1[in.0] in.2[in.0,in.1])
			out.weight: 2 (in.0 in.1[in.0] in.2[in.0,in.1])`,
	},
	{
		name: "strides that do not divide pin",
		build: func(b *graph.Builder) {
			h := b.Relu("h", b.Linear("z", input(b, 7), "in", 60, 7, false))
			u := b.Softmax("u", b.Reshape("p", h, 0, 3, 4, 5), 2)
			v := b.Softmax("v", b.Reshape("q", h, 0, 4, 3, 5), 1)
			s := b.Add("s", b.Flatten("fu", u, 1), b.Flatten("fv", v, 1))
			b.Output(b.Linear("y", s, "out", 2, 60, false))
		},
		groups: "in:5",
		layouts: `
			in.weight: (3 4 in) 7
			out.weight: 2 (3 4 in)`,
		pinned: `
			in.weight 0 (3 4): node "q" (Reshape): strides do not divide
			in.weight 1: network input "x"
			out.weight 0: network output "y"
			out.weight 1 (3 4): node "q" (Reshape): strides do not divide`,
	},
	{
		name: "what two factorisations pin is no parent",
		build: func(b *graph.Builder) {
			h := b.Reshape("r", b.Relu("h", b.Linear("z", input(b, 7), "in", 12, 7, true)), 0, 2, 2, 3)
			w := b.Param("w", 6, 12)
			u := b.Gemm("u", b.Flatten("fu", h, 1), w, "")
			v := b.Gemm("v", b.Flatten("fv", b.Transpose("t", h, 0, 1, 3, 2), 1), w, "")
			b.Output(b.Linear("y", b.Relu("uv", b.Add("s", u, v)), "out", 2, 6, false))
		},
		groups: "in:2 w:6",
		layouts: `
			in.weight: (in 2 3) 7
			in.bias: (in 2 3)
			w: w (in 2 3)
			out.weight: 2 w`,
	},
	{
		name:   "attention",
		build:  attention,
		groups: "emb:6 q.0:2 q.1[q.0]:4 v.1[q.0]:5 up:7",
		layouts: `
			emb.weight: 5 emb
			pos: 3 emb
			q.weight: emb (q.0 q.1[q.0])
			q.bias: (q.0 q.1[q.0])
			k.weight: emb (q.0 q.1[q.0])
			k.bias: (q.0 q.1[q.0])
			v.weight: emb (q.0 v.1[q.0])
			v.bias: (q.0 v.1[q.0])
			o.weight: (q.0 v.1[q.0]) emb
			o.bias: emb
			norm.weight: emb
			norm.bias: emb
			up.weight: emb up
			down.weight: up emb
			head.weight: emb 2`,
		pinned: `
			emb.weight 0: network input "x"
			pos 0: network input "x"
			head.weight 1: network output "y"`,
		sites: `
			emb: tokens(_ 3 emb) o(_ 3 emb) r1(_ 3 emb) r2(_ 3 emb)
			q.0: p(_ q.0 3 3)
			q.1: q(_ 3 (q.0 q.1[q.0])) k(_ 3 (q.0 q.1[q.0]))
			v.1: v(_ 3 (q.0 v.1[q.0]))
			up: g(_ 3 up)`,
		inert: "k.bias", // adds the same to all scores of a query
	},
	{
		name: "a pinned parent",
		build: func(b *graph.Builder) {
			h := b.Relu("h", b.MatMul("z", input(b, 3, 1, 4), b.Param("w1", 3, 4, 5)))
			b.Output(b.MatMul("y", h, b.Param("w2", 3, 5, 2)))
		},
		groups: "w1[w1.fixed]:5",
		layouts: `
			w1: w1.fixed 4 w1[w1.fixed]
			w2: w1.fixed w1[w1.fixed] 2`,
	},
	{
		name: "experts",
		build: func(b *graph.Builder) {
			x := input(b, 4)
			gate := b.Softmax("p", b.Linear("s", x, "gate", 3, 4, true), -1)
			h := b.Relu("h", b.MatMul("z", b.Reshape("xr", x, 0, 1, 1, 4), b.Param("w1", 3, 4, 5)))
			y := b.Reshape("e", b.MatMul("m", h, b.Param("w2", 3, 5, 2)), 0, 3, 2)
			b.Output(b.MatMul("y", b.Reshape("gr", gate, 0, 1, 3), y))
		},
		groups: "gate:3 w1[gate]:5",
		layouts: `
			gate.weight: gate 4
			gate.bias: gate
			w1: gate 4 w1[gate]
			w2: gate w1[gate] 2`,
		sites: `
			gate: p(_ gate) h(_ gate 1 w1[gate])
			w1: h(_ gate 1 w1[gate])`,
	},
	{
		name: "constants pin where they vary",
		build: func(b *graph.Builder) {
			mask := b.Constant("mask", tensor.FromSlice(tensor.Shape{3, 4}, []float32{1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3}))
			half := b.Constant("half", tensor.FromSlice(tensor.Shape{1, 4}, []float32{.5, .5, .5, .5}))
			h := b.Reshape("r", b.Relu("h", b.Linear("z", input(b, 7), "in", 12, 7, false)), 0, 3, 4)
			m := b.Mul("m2", b.Mul("m1", h, b.Op("Identity", "id", nil, mask)), half)
			b.Output(b.Linear("y", b.Flatten("f", m, 1), "out", 2, 12, false))
		},
		groups: "in[in.fixed]:4",
		layouts: `
			in.weight: (in.fixed in[in.fixed]) 7
			out.weight: 2 (in.fixed in[in.fixed])`,
		pinned: `
			in.weight 0 in.fixed: constant "mask"
			in.weight 1: network input "x"
			out.weight 0: network output "y"
			out.weight 1 in.fixed: constant "mask"`,
	},
	{
		name: "an unknown operator pins what it touches",
		build: func(b *graph.Builder) {
			h := b.Relu("h1", b.Linear("z1", input(b, 7), "a", 5, 7, false))
			g := b.Relu("h2", b.Linear("z2", h, "b", 5, 5, false))
			m := b.Op("Mystery", "m", nil, g, b.Param("secret", 5))
			b.Declare("m", tensor.F32, batch, graph.Fixed(6))
			n := b.Relu("h3", b.Linear("z3", m, "c", 4, 6, false))
			b.Output(b.Linear("y", n, "d", 2, 4, false))
		},
		groups: "a:5 c:4",
		layouts: `
			a.weight: a 7
			b.weight: 5 a
			secret: 5
			c.weight: c 6
			d.weight: 2 c`,
		pinned: `
			a.weight 1: network input "x"
			b.weight 0: operator Mystery of node "m" has no rule
			secret 0: operator Mystery of node "m" has no rule
			c.weight 1: operator Mystery of node "m" has no rule
			d.weight 0: network output "y"`,
		noRun: true,
	},
	{
		name: "an unknown shape pins what follows",
		build: func(b *graph.Builder) {
			h := b.Relu("h1", b.Linear("z1", input(b, 7), "a", 5, 7, false))
			g := b.Relu("h2", b.Linear("z2", h, "b", 5, 5, false))
			m := b.Op("Identity", "id", nil, b.Op("Mystery", "m", nil, g))
			n := b.Relu("h3", b.Linear("z3", m, "c", 4, 6, false))
			b.Output(b.Linear("y", n, "d", 2, 4, false))
		},
		groups: "a:5",
		layouts: `
			a.weight: a 7
			b.weight: 5 a
			c.weight: 4 6
			d.weight: 2 4`,
		pinned: `
			a.weight 1: network input "x"
			b.weight 0: operator Mystery of node "m": the shape of "m" is unknown
			c.weight 0: operator Gemm of node "z3": the shape of "id" is unknown
			c.weight 1: operator Gemm of node "z3": the shape of "id" is unknown
			d.weight 0: operator Gemm of node "y": the shape of "h3" is unknown
			d.weight 1: operator Gemm of node "y": the shape of "h3" is unknown`,
		noRun: true,
	},
	{
		name: "a parameter that nobody uses",
		build: func(b *graph.Builder) {
			b.Param("spare", 3, 1)
			b.Output(b.Linear("y", input(b, 7), "a", 5, 7, false))
		},
		layouts: `
			spare: 3 1
			a.weight: 5 7`,
		pinned: `
			spare 0: no operator uses it
			a.weight 0: network output "y"
			a.weight 1: network input "x"`,
	},
	{
		name: "a network without a nonlinearity is seen after its operators",
		build: func(b *graph.Builder) {
			h := b.Mul("m", b.MatMul("z", input(b, 7), b.Param("a", 7, 5)), b.Param("scale", 5))
			b.Output(b.MatMul("y", b.Flatten("f", h, 1), b.Param("b", 5, 2)))
		},
		groups: "a:5",
		layouts: `
			a: 7 a
			scale: a
			b: a 2`,
		sites: `a: z(_ a) m(_ a)`,
	},
}, slices.Concat(channelCases, indexInferCases, operatorCases)...)

// attention is a pre-norm block of two heads on three tokens, then a two-layer perceptron.
func attention(b *graph.Builder) {
	h := b.Add("tokens", b.MatMul("e", input(b, 3, 5), b.Param("emb.weight", 5, 6)), b.Param("pos", 3, 6))
	project := func(name string, per int) string {
		z := b.Add(name, b.MatMul(name+".z", h, b.Param(name+".weight", 6, 2*per)), b.Param(name+".bias", 2*per))
		return b.Reshape(name+".heads", z, 0, 0, 2, -1)
	}
	q := b.Transpose("qt", project("q", 4), 0, 2, 1, 3)
	k := b.Transpose("kt", project("k", 4), 0, 2, 3, 1)
	v := b.Transpose("vt", project("v", 5), 0, 2, 1, 3)
	half := b.Constant("half", tensor.FromSlice(tensor.Shape{}, []float32{.5}))
	p := b.Softmax("p", b.Mul("scaled", b.MatMul("scores", q, k), half), -1)
	c := b.Reshape("joined", b.Transpose("ct", b.MatMul("c", p, v), 0, 2, 1, 3), 0, 0, -1)
	o := b.Add("o", b.MatMul("o.z", c, b.Param("o.weight", 10, 6)), b.Param("o.bias", 6))
	r := b.Add("r1", h, o)
	l := b.LayerNorm("l", r, b.Param("norm.weight", 6), b.Param("norm.bias", 6), -1)
	g := b.Op("Gelu", "g", nil, b.MatMul("u", l, b.Param("up.weight", 6, 7)))
	r = b.Add("r2", r, b.MatMul("d", g, b.Param("down.weight", 7, 6)))
	b.Output(b.MatMul("y", r, b.Param("head.weight", 6, 2)))
}

func buildCase(t *testing.T, build func(*graph.Builder)) *graph.Graph {
	t.Helper()
	b := graph.NewBuilder("g")
	build(b)
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func infer(t *testing.T, g *graph.Graph, models ...map[string]*tensor.Tensor) *symmetry.Symmetry {
	t.Helper()
	sym, err := symmetry.Infer(g, models...)
	if err != nil {
		t.Fatal(err)
	}
	if err := sym.Validate(); err != nil {
		t.Fatalf("the symmetry is not valid: %v", err)
	}
	return sym
}

// lines strips the indentation of a literal.
func lines(text string) string {
	var out []string
	for _, l := range strings.Split(text, "\n") {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

func groupsText(sym *symmetry.Symmetry) string {
	var out []string
	for _, g := range sym.Groups {
		out = append(out, fmt.Sprintf("%s:%d", sym.Format(symmetry.Layout{symmetry.GroupAxis(g.Name, g.Size)}), g.Size))
	}
	return strings.Join(out, " ")
}

func layoutsText(g *graph.Graph, sym *symmetry.Symmetry) string {
	var out []string
	for _, p := range g.Params {
		out = append(out, p.Name+": "+sym.Format(sym.Layouts[p.Name]))
	}
	return strings.Join(out, "\n")
}

func pinnedText(sym *symmetry.Symmetry) string {
	var out []string
	for _, p := range sym.Pinned {
		part := p.Part
		if part != "" {
			part = " " + part
		}
		out = append(out, fmt.Sprintf("%s %d%s: %s", p.Tensor, p.Axis, part, p.Why))
	}
	return strings.Join(out, "\n")
}

func sitesText(sym *symmetry.Symmetry) string {
	var out []string
	for _, g := range sym.Groups {
		line := g.Name + ":"
		for _, s := range sym.Sites[g.Name] {
			line += fmt.Sprintf(" %s(%s)", s.Value, sym.Format(s.Layout))
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestInfer(t *testing.T) {
	for _, c := range inferCases {
		t.Run(c.name, func(t *testing.T) {
			g := buildCase(t, c.build)
			sym := infer(t, g)
			for _, part := range []struct{ what, got, want string }{
				{"groups", groupsText(sym), c.groups},
				{"layouts", layoutsText(g, sym), lines(c.layouts)},
				{"pinned", pinnedText(sym), lines(c.pinned)},
				{"sites", sitesText(sym), lines(c.sites)},
			} {
				if part.got != part.want && (part.want != "" || part.what == "groups") {
					t.Errorf("%s:\n%s\nwant\n%s", part.what, part.got, part.want)
				}
			}
		})
	}
}

// deviationLimit is what float64 leaves of a reordered sum of these few terms.
const deviationLimit = 1e-10

// A random alignment leaves the outputs alone, and moving one axis of one tensor without the others changes them: the symmetry is one, and each
// axis of it is needed.
func TestInferredSymmetriesHold(t *testing.T) {
	for _, c := range inferCases {
		if c.noRun {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			g := buildCase(t, c.build)
			sym := infer(t, g)
			run := runner(t, g)
			params := randomParams(g, 1)
			want := run(params)
			rng := rand.New(rand.NewPCG(2, 3))
			for range 5 {
				moved, err := sym.Apply(sym.Random(rng), params)
				if err != nil {
					t.Fatal(err)
				}
				if d := deviation(want, run(moved)); d > deviationLimit {
					t.Fatalf("an alignment changes the outputs by %g", d)
				}
			}
			for _, group := range sym.Groups {
				for _, p := range g.Params {
					for axis := range sym.Layouts[p.Name] {
						moved, ok := moveAlone(t, sym, group.Name, p.Name, axis, params, rng)
						if ok && p.Name != c.inert && deviation(want, run(moved)) < 1e3*deviationLimit {
							t.Errorf("group %s, moved on axis %d of %s alone, changes nothing", group.Name, axis, p.Name)
						}
					}
				}
			}
		})
	}
}

// moveAlone permutes one group on one axis of one tensor, where it stands there.
func moveAlone(t *testing.T, sym *symmetry.Symmetry, group, name string, axis int, params map[string]*tensor.Tensor, rng *rand.Rand,
) (map[string]*tensor.Tensor, bool) {
	t.Helper()
	carries := func(a symmetry.Axis) bool {
		return slices.ContainsFunc(slices.Concat(a...), func(f symmetry.Factor) bool { return f.Name == group })
	}
	layout := slices.Clone(sym.Layouts[name])
	if !carries(layout[axis]) {
		return nil, false
	}
	for i, a := range layout {
		if i != axis && carries(a) {
			layout[i] = symmetry.FixedAxis(a.Len())
		}
	}
	alone := *sym
	alone.Layouts = maps.Clone(sym.Layouts)
	alone.Layouts[name] = layout
	move := sym.Identity()
	for sym.IsIdentity(move) {
		move.Perms[group] = sym.Random(rng).Perms[group]
	}
	moved := maps.Clone(params)
	var err error
	if moved[name], err = alone.ApplyTensor(move, name, params[name]); err != nil {
		t.Fatal(err)
	}
	return moved, true
}

// runner runs the graph in float64 on four random inputs.
func runner(t *testing.T, g *graph.Graph) func(map[string]*tensor.Tensor) []float64 {
	t.Helper()
	engine, err := nn.New[float64](g, nn.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engine.Close)
	const examples = 4
	shape, err := g.Inputs[0].Shape.Bind(map[string]int{"N": examples})
	if err != nil {
		t.Fatal(err)
	}
	n, err := shape.Elements()
	if err != nil {
		t.Fatal(err)
	}
	x, rng := make([]float64, n), rand.New(rand.NewPCG(4, 5))
	for i := range x {
		x[i] = rng.NormFloat64()
	}
	return func(params map[string]*tensor.Tensor) []float64 {
		if err := engine.SetParams(params); err != nil {
			t.Fatal(err)
		}
		y, err := engine.Forward(x, examples)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(y)
	}
}

func randomParams(g *graph.Graph, seed uint64) map[string]*tensor.Tensor {
	rng := rand.New(rand.NewPCG(seed, 7))
	params := map[string]*tensor.Tensor{}
	for _, p := range g.Params {
		shape, _ := p.Shape.Fixed()
		n, _ := shape.Elements()
		data := make([]float32, n)
		for i := range data {
			data[i] = float32(rng.NormFloat64())
		}
		params[p.Name] = tensor.FromSlice(shape, data)
	}
	return params
}

func deviation(want, got []float64) float64 {
	most := 0.0
	for i := range want {
		most = math.Max(most, math.Abs(want[i]-got[i]))
	}
	return most
}

// Every operator that has a shape has a rule here, so that none pins by accident.
func TestEveryOperatorHasARule(t *testing.T) {
	for _, op := range graph.Operators() {
		if !symmetry.HasRule(op) {
			t.Errorf("operator %s has no rule", op)
		}
	}
}

// MLP 784-512-512-512-10: three times log10 512!. The paper prints 3498, flooring each layer.
func TestCountOfThePapersMLP(t *testing.T) {
	g, err := zoo.Build(zoo.Config{Arch: "mlp", Input: []int{784}, Classes: 10})
	if err != nil {
		t.Fatal(err)
	}
	if got := infer(t, g).Log10(); math.Abs(got-3499.62) > .005 {
		t.Fatalf("10^%.2f symmetries, want 10^3499.62", got)
	}
}

func filled(v float32, shape ...int) *tensor.Tensor {
	t := tensor.New(tensor.F32, shape)
	data := tensor.Of[float32](t)
	for i := range data {
		data[i] = v
	}
	return t
}

// Exporters merge equal tensors, as the scales of two fresh norms; that must not tie the layers.
func TestMergedConstantsTieNothing(t *testing.T) {
	g := buildCase(t, func(b *graph.Builder) {
		ones, zeros := b.Param("ones", 5), b.Param("zeros", 5)
		same := b.Op("Identity", "same", nil, ones)
		h := b.Relu("h1", b.LayerNorm("n1", b.Linear("z1", input(b, 7), "a", 5, 7, false), ones, zeros, -1))
		h = b.Relu("h2", b.LayerNorm("n2", b.Linear("z2", h, "b", 5, 5, false), same, zeros, -1))
		b.Output(b.Linear("y", h, "c", 2, 5, false))
	})
	if got, want := groupsText(infer(t, g)), "a:5"; got != want {
		t.Errorf("without values: groups %s, want %s", got, want)
	}
	params := randomParams(g, 1)
	params["ones"], params["zeros"] = filled(1, 5), filled(0, 5)
	sym := infer(t, g, params)
	if got, want := groupsText(sym), "a:5 b:5"; got != want {
		t.Errorf("groups %s, want %s", got, want)
	}
	want := lines(`
		ones: 5
		zeros: 5
		a.weight: a 7
		b.weight: b a
		c.weight: 2 b`)
	if got := layoutsText(g, sym); got != want {
		t.Errorf("layouts\n%s\nwant\n%s", got, want)
	}
	if !sym.Constant["ones"] || !sym.Constant["zeros"] || len(sym.Constant) != 2 {
		t.Errorf("constant: %v", sym.Constant)
	}
	if got := pinnedText(sym); !strings.Contains(got, "ones -1: all its elements are equal, so that its order does not matter to its 2 uses") {
		t.Errorf("pinned:\n%s", got)
	}
	run := runner(t, g)
	moved, err := sym.Apply(sym.Random(rand.New(rand.NewPCG(1, 1))), params)
	if err != nil {
		t.Fatal(err)
	}
	if d := deviation(run(params), run(moved)); d > deviationLimit {
		t.Errorf("an alignment changes the outputs by %g", d)
	}
	params["ones"] = randomParams(g, 2)["ones"]
	if got, want := groupsText(infer(t, g, params)), "a:5"; got != want {
		t.Errorf("with a scale that is not constant: groups %s, want %s", got, want)
	}
}

// A tensor that is the same in two models that differ was not trained: it pins the axes along which it varies.
func TestFrozenTensorsPin(t *testing.T) {
	g := buildCase(t, func(b *graph.Builder) {
		h := b.Relu("h1", b.Linear("z1", input(b, 7), "a", 5, 7, true))
		h = b.Relu("h2", b.Linear("z2", h, "b", 6, 5, true))
		b.Output(b.Linear("y", h, "c", 2, 6, false))
	})
	one, two := randomParams(g, 1), randomParams(g, 2)
	for _, m := range []map[string]*tensor.Tensor{one, two} {
		m["a.bias"] = filled(0, 5) // constant: pins nothing
		w := filled(0, 6, 5)
		for i := range 30 {
			tensor.Of[float32](w)[i] = float32(i / 5) // varies along axis 0 only
		}
		m["b.weight"] = w
	}
	sym := infer(t, g, one, two)
	if got, want := groupsText(sym), "a:5"; got != want {
		t.Errorf("groups %s, want %s", got, want)
	}
	want := lines(`
		a.weight 1: network input "x"
		b.weight 0: the same in all models
		b.bias 0: the same in all models
		c.weight 0: network output "y"
		c.weight 1: the same in all models`)
	if got := pinnedText(sym); got != want {
		t.Errorf("pinned\n%s\nwant\n%s", got, want)
	}
	if !sym.Constant["b.weight"] || len(sym.Constant) != 1 {
		t.Errorf("constant: %v", sym.Constant)
	}
	if got, want := groupsText(infer(t, g, one, maps.Clone(one))), "a:5 b:6"; got != want {
		t.Errorf("the same model twice: groups %s, want %s", got, want)
	}
}

func TestInferRefuses(t *testing.T) {
	g := buildCase(t, inferCases[0].build)
	short, wrong := randomParams(g, 1), randomParams(g, 1)
	delete(short, "fc2.bias")
	wrong["fc2.bias"] = filled(0, 9)
	for want, m := range map[string]map[string]*tensor.Tensor{
		`model 2: tensor "fc2.bias" is missing`:                        short,
		`model 2: tensor "fc2.bias" has shape [9], the graph says [4]`: wrong,
	} {
		if _, err := symmetry.Infer(g, randomParams(g, 1), m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	g.Nodes = g.Nodes[1:]
	if _, err := symmetry.Infer(g); err == nil {
		t.Error("an invalid graph has a symmetry")
	}
}

// The result does not depend on the order of maps.
func TestInferIsDeterministic(t *testing.T) {
	g := buildCase(t, attention)
	first := fmt.Sprintf("%+v", infer(t, g))
	for range 20 {
		if again := fmt.Sprintf("%+v", infer(t, g)); again != first {
			t.Fatalf("two results:\n%s\n%s", first, again)
		}
	}
}

// Running means and variances are statistics, sorted by name; nothing else is.
func TestInferStatistics(t *testing.T) {
	g, err := zoo.Build(zoo.Config{Arch: "resnet8", Norm: "batch", Shortcut: "conv1", Classes: 10, Width: .25})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, bn := range []string{
		"bn1", "layer1.0.bn1", "layer1.0.bn2", "layer2.0.bn1", "layer2.0.bn2", "layer2.0.downsample.1",
		"layer3.0.bn1", "layer3.0.bn2", "layer3.0.downsample.1",
	} {
		want = append(want, bn+".running_mean", bn+".running_var")
	}
	if got := infer(t, g).Statistics; !slices.Equal(got, want) {
		t.Errorf("statistics %q, want %q", got, want)
	}
}
