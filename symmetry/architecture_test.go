package symmetry_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// exported writes a graph as exporters do: values have numbers for names.
type exported struct {
	*graph.Builder
	count int
}

func (e *exported) name() string {
	e.count++
	return fmt.Sprintf("v%d", e.count)
}

func (e *exported) op(op string, attrs graph.Attrs, in ...string) string {
	return e.Op(op, e.name(), attrs, in...)
}

// do is an operator without attributes.
func (e *exported) do(op string, in ...string) string { return e.op(op, nil, in...) }

func (e *exported) ints(v ...int64) string { return constants(e.Builder, e.name(), v...) }

func (e *exported) index(v int64) string {
	return e.Constant(e.name(), tensor.FromSlice(tensor.Shape{}, []int64{v}))
}

func (e *exported) float(v float32) string {
	return e.Constant(e.name(), tensor.FromSlice(tensor.Shape{}, []float32{v}))
}

// table is a constant of floats.
func (e *exported) table(shape tensor.Shape, f func(i int) float32) string {
	n, _ := shape.Elements()
	v := make([]float32, n)
	for i := range v {
		v[i] = f(i)
	}
	return e.Constant(e.name(), tensor.FromSlice(shape, v))
}

func (e *exported) transpose(x string, perm ...int64) string {
	return e.Transpose(e.name(), x, perm...)
}

func (e *exported) reshape(x string, target ...int64) string {
	return e.Reshape(e.name(), x, target...)
}

// linear is nn.Linear on a value of three axes: MatMul with the transposed weight, which exporters store transposed, then Add.
func (e *exported) linear(x, name string, in, out int) string {
	return e.do("Add", e.Param(name+".bias", out), e.do("MatMul", x, e.Param(name+".weight", in, out)))
}

func (e *exported) norm(x, name string, d int) string {
	return e.LayerNorm(e.name(), x, e.Param(name+".weight", d), e.Param(name+".bias", d), -1)
}

// gelu is spelled out.
func (e *exported) gelu(x string) string {
	half := e.do("Mul", x, e.float(.5))
	return e.do("Mul", half, e.do("Add", e.do("Erf", e.do("Div", x, e.float(math.Sqrt2))), e.float(1)))
}

// architecture is a network as exporters write it, with what was derived for it by hand.
type architecture struct {
	name   string
	build  func(e *exported)
	groups string
	// log10 is of the number of alignments, as a sum of count·log10 size!.
	log10 []symmetricGroups
	// layouts of some tensors.
	layouts string
	// pinned are the reasons, other than inputs and outputs of the network, for which axes keep their order.
	pinned []string
	// inert are axes that change nothing when permuted alone.
	inert []string
}

type symmetricGroups struct{ count, size int }

func (a architecture) sum() float64 {
	sum := 0.0
	for _, g := range a.log10 {
		for k := 2; k <= g.size; k++ {
			sum += float64(g.count) * math.Log10(float64(k))
		}
	}
	return sum
}

func (a architecture) graph(t *testing.T) *graph.Graph {
	t.Helper()
	e := &exported{Builder: graph.NewBuilder(a.name)}
	a.build(e)
	g, err := e.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestArchitectures(t *testing.T) {
	for _, a := range slices.Concat(transformers, convolutionals) {
		t.Run(a.name, func(t *testing.T) {
			g := a.graph(t)
			sym := infer(t, g)
			if got := groupsText(sym); got != a.groups {
				t.Errorf("groups\n%s\nwant\n%s\nlayouts\n%s\npinned\n%s", got, a.groups, layoutsText(g, sym), pinnedText(sym))
			}
			if got, want := sym.Log10(), a.sum(); math.Abs(got-want) > 1e-9*want {
				t.Errorf("10^%.6f alignments, want 10^%.6f", got, want)
			}
			all := layoutsText(g, sym)
			for _, line := range strings.Split(lines(a.layouts), "\n") {
				if !strings.Contains(all+"\n", line+"\n") {
					t.Errorf("no layout %q in\n%s", line, all)
				}
			}
			if got := otherPins(sym); !slices.Equal(got, a.pinned) {
				t.Errorf("pinned\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(a.pinned, "\n"))
			}
			a.prove(t, g, sym)
		})
	}
}

// otherPins lists what is pinned for other reasons than that the network's inputs and outputs are: "tensor axis: why".
func otherPins(sym *symmetry.Symmetry) []string {
	var out []string
	for _, p := range sym.Pinned {
		if !strings.HasPrefix(p.Why, "network ") && !(strings.HasSuffix(p.Why, "spatial axis") && p.Axis > 1) {
			why := p.Why
			if i := strings.LastIndex(why, "): "); i >= 0 {
				why = why[i+3:]
			}
			if strings.HasPrefix(why, "constant ") {
				why = "a constant"
			}
			out = append(out, fmt.Sprintf("%s %d: %s", p.Tensor, p.Axis, why))
		}
	}
	return out
}

// prove holds the symmetry to the network, and then shows of every group that the proof fails where one of its axes is forgotten.
func (a architecture) prove(t *testing.T, g *graph.Graph, sym *symmetry.Symmetry) {
	t.Helper()
	params := randomParams(g, 3)
	proof, err := symmetry.Verify(t.Context(), g, sym, params, symmetry.VerifyOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	var inert []string
	for _, ref := range proof.Inert {
		inert = append(inert, ref.String())
	}
	if len(proof.Unproven) > 0 || !slices.Equal(inert, a.inert) {
		t.Errorf("unproven %v, inert\n%s", proof.Unproven, strings.Join(inert, "\n"))
	}
	for _, group := range sym.Groups {
		for _, p := range g.Params {
			forgotten := forget(sym, group.Name, p.Name)
			if forgotten == nil || slices.ContainsFunc(a.inert, func(s string) bool { return strings.HasSuffix(s, " of "+p.Name) }) {
				continue
			}
			_, err := symmetry.Verify(t.Context(), g, forgotten, params, symmetry.VerifyOptions{Threads: 1, Samples: 2})
			var wrong *symmetry.GroupError
			if !errors.As(err, &wrong) {
				t.Errorf("group %s, forgotten in %s, is proven: %v", group.Name, p.Name, err)
			}
			break
		}
	}
}

// forget is a symmetry that does not know that a group, which is nobody's parent there, stands in a tensor; nil where it does not.
func forget(sym *symmetry.Symmetry, group, tensor string) *symmetry.Symmetry {
	layout, found := make(symmetry.Layout, len(sym.Layouts[tensor])), false
	for i, axis := range sym.Layouts[tensor] {
		for _, segment := range axis {
			segment = slices.Clone(segment)
			for k, f := range segment {
				g, _ := sym.Group(f.Name)
				if f.Name == group || slices.Contains(g.Parents, group) {
					segment[k].Name, found = "", true
				}
			}
			layout[i] = append(layout[i], segment)
		}
	}
	if !found {
		return nil
	}
	other := *sym
	other.Layouts = map[string]symmetry.Layout{}
	for name, l := range sym.Layouts {
		other.Layouts[name] = l
	}
	other.Layouts[tensor] = layout
	return &other
}

var transformers = []architecture{
	{
		name: "GPT-2: fused projection split in three, causal mask by Where, GELU by Erf, tied embeddings",
		build: func(e *exported) {
			const tokens, vocabulary, d, heads, width = 5, 11, 12, 3, 20
			ids := e.Input("ids", tensor.I64, batch, graph.Fixed(tokens))
			wte := e.Param("wte.weight", vocabulary, d)
			places := e.do("Unsqueeze", e.do("Range", e.index(0), e.index(tokens), e.index(1)), e.ints(0))
			h := e.do("Add", e.do("Gather", wte, ids), e.do("Gather", e.Param("wpe.weight", tokens, d), places))
			// The mask is a buffer of ones for a longer context, cut to the tokens.
			ones := e.op("ConstantOfShape", graph.Attrs{"value": tensor.FromSlice(tensor.Shape{1}, []float32{1})}, e.ints(1, 1, 8, 8))
			buffer := e.op("Cast", graph.Attrs{"to": int64(9)}, e.op("Trilu", graph.Attrs{"upper": int64(0)}, ones))
			mask := e.do("Slice", e.do("Slice", buffer, e.ints(0), e.ints(tokens), e.ints(2)), e.ints(0), e.ints(tokens), e.ints(3))
			for _, layer := range []string{"h0", "h1"} {
				conv1d := func(x, name string, in, out int) string { // of the transformers package: Gemm between two Reshapes
					flat := e.op("Gemm", nil, e.reshape(x, -1, int64(in)), e.Param(name+".weight", in, out), e.Param(name+".bias", out))
					return e.reshape(flat, -1, tokens, int64(out))
				}
				qkv := conv1d(e.norm(h, layer+".ln_1", d), layer+".attn.c_attn", d, 3*d)
				parts := e.OpN("Split", []string{e.name(), e.name(), e.name()}, graph.Attrs{"axis": int64(2)}, qkv, e.ints(d, d, d))
				for i, perm := range [][]int64{{0, 2, 1, 3}, {0, 2, 3, 1}, {0, 2, 1, 3}} {
					parts[i] = e.transpose(e.reshape(parts[i], 0, 0, heads, d/heads), perm...)
				}
				scores := e.do("Div", e.do("MatMul", parts[0], parts[1]), e.float(2))
				p := e.Softmax(e.name(), e.do("Where", mask, scores, e.float(-1e4)), -1)
				c := e.reshape(e.transpose(e.do("MatMul", p, parts[2]), 0, 2, 1, 3), 0, 0, d)
				h = e.do("Add", conv1d(c, layer+".attn.c_proj", d, d), h)
				m := e.gelu(conv1d(e.norm(h, layer+".ln_2", d), layer+".mlp.c_fc", d, width))
				h = e.do("Add", h, conv1d(m, layer+".mlp.c_proj", width, d))
			}
			e.Output(e.do("MatMul", e.norm(h, "ln_f", d), e.transpose(wte, 1, 0)))
		},
		groups: "wte:12 " +
			"h0.attn.c_attn.0:3 h0.attn.c_attn.1[h0.attn.c_attn.0]:4 h0.attn.c_attn.2[h0.attn.c_attn.0]:4 h0.mlp.c_fc:20 " +
			"h1.attn.c_attn.0:3 h1.attn.c_attn.1[h1.attn.c_attn.0]:4 h1.attn.c_attn.2[h1.attn.c_attn.0]:4 h1.mlp.c_fc:20",
		log10: []symmetricGroups{{1, 12}, {2, 3}, {2 * 3 * 2, 4}, {2, 20}},
		layouts: `
			wte.weight: 11 wte
			wpe.weight: 5 wte
			h0.attn.c_attn.weight: wte ((h0.attn.c_attn.0 h0.attn.c_attn.1[h0.attn.c_attn.0]) + (h0.attn.c_attn.0 h0.attn.c_attn.1[h0.attn.c_attn.0]) + (h0.attn.c_attn.0 h0.attn.c_attn.2[h0.attn.c_attn.0]))
			h0.attn.c_proj.weight: (h0.attn.c_attn.0 h0.attn.c_attn.2[h0.attn.c_attn.0]) wte
			h1.mlp.c_proj.weight: h1.mlp.c_fc wte`,
		pinned: []string{"wte.weight 0: units are chosen by their number", "wpe.weight 0: units are chosen by their number"},
	},
	{
		name: "BERT: separate projections, a mask from the input, token types, pooler",
		build: func(e *exported) {
			const tokens, vocabulary, d, heads, width = 4, 9, 8, 2, 10
			ids := e.Input("input_ids", tensor.I64, batch, graph.Fixed(tokens))
			attention := e.Input("attention_mask", tensor.I64, batch, graph.Fixed(tokens))
			types := e.Input("token_type_ids", tensor.I64, batch, graph.Fixed(tokens))
			float := e.op("Cast", graph.Attrs{"to": int64(1)}, e.do("Unsqueeze", e.do("Unsqueeze", attention, e.ints(1)), e.ints(2)))
			mask := e.do("Mul", e.do("Sub", e.float(1), float), e.float(-10000))
			h := e.do("Add", e.do("Gather", e.Param("embeddings.word.weight", vocabulary, d), ids),
				e.do("Gather", e.Param("embeddings.type.weight", 2, d), types))
			places := e.do("Slice", e.Constant(e.name(), tensor.FromSlice(tensor.Shape{1, 6}, []int64{0, 1, 2, 3, 4, 5})), e.ints(0), e.ints(tokens), e.ints(1))
			h = e.norm(e.do("Add", h, e.do("Gather", e.Param("embeddings.place.weight", 6, d), places)), "embeddings.norm", d)
			shape := e.do("Shape", h) // view(x.size()[:-1] + (heads, d / heads))
			target := func(last ...int64) string {
				n := e.do("Unsqueeze", e.do("Gather", shape, e.index(0)), e.ints(0))
				t := e.do("Unsqueeze", e.do("Gather", shape, e.index(1)), e.ints(0))
				return e.op("Concat", graph.Attrs{"axis": int64(0)}, n, t, e.ints(last...))
			}
			project := func(name string, perm ...int64) string {
				return e.transpose(e.do("Reshape", e.linear(h, name, d, d), target(heads, d/heads)), perm...)
			}
			q, k, v := project("self.query", 0, 2, 1, 3), project("self.key", 0, 2, 3, 1), project("self.value", 0, 2, 1, 3)
			p := e.Softmax(e.name(), e.do("Add", e.do("Div", e.do("MatMul", q, k), e.float(2)), mask), -1)
			c := e.do("Reshape", e.transpose(e.do("MatMul", p, v), 0, 2, 1, 3), target(d))
			h = e.norm(e.do("Add", e.linear(c, "output.dense", d, d), h), "output.norm", d)
			m := e.linear(e.gelu(e.linear(h, "intermediate", d, width)), "down", width, d)
			h = e.norm(e.do("Add", m, h), "down.norm", d)
			first := e.op("Gather", graph.Attrs{"axis": int64(1)}, h, e.index(0))
			pooled := e.Tanh(e.name(), e.Gemm(e.name(), first, e.Param("pooler.weight", d, d), e.Param("pooler.bias", d)))
			e.Output(e.Linear(e.name(), pooled, "classifier", 2, d, true))
		},
		groups: "embeddings.word:8 self.query.0:2 self.query.1[self.query.0]:4 self.value.1[self.query.0]:4 intermediate:10 pooler:8",
		log10:  []symmetricGroups{{2, 8}, {1, 2}, {2 * 2, 4}, {1, 10}},
		layouts: `
			self.query.weight: embeddings.word (self.query.0 self.query.1[self.query.0])
			self.key.weight: embeddings.word (self.query.0 self.query.1[self.query.0])
			self.value.weight: embeddings.word (self.query.0 self.value.1[self.query.0])
			output.dense.weight: (self.query.0 self.value.1[self.query.0]) embeddings.word
			pooler.weight: pooler embeddings.word`,
		pinned: []string{
			"embeddings.word.weight 0: units are chosen by their number",
			"embeddings.type.weight 0: units are chosen by their number",
			"embeddings.place.weight 0: units are chosen by their number",
		},
		inert: []string{ // softmax cancels what is added to all scores of a query
			"self.query.0: axis 0 of self.key.bias", "self.query.1: axis 0 of self.key.bias",
		},
	},
	{
		name: "Llama: RMS norms written out, rotary positions, two query heads for each key head, gated SiLU, untied head",
		build: func(e *exported) {
			const tokens, vocabulary, d, heads, shared, size, width = 4, 9, 12, 4, 2, 4, 10
			ids := e.Input("ids", tensor.I64, batch, graph.Fixed(tokens))
			h := e.do("Gather", e.Param("embed.weight", vocabulary, d), ids)
			norm := func(x, name string) string {
				mean := e.op("ReduceMean", nil, e.do("Pow", x, e.float(2)), e.ints(-1))
				root := e.do("Sqrt", e.do("Add", mean, e.float(1e-6)))
				return e.do("Mul", e.Param(name+".weight", d), e.do("Mul", x, e.do("Div", e.float(1), root)))
			}
			// Tables of cos and sin: places times inverse frequencies, twice.
			place := e.op("Cast", graph.Attrs{"to": int64(1)}, e.do("Unsqueeze", e.do("Range", e.index(0), e.index(tokens), e.index(1)), e.ints(1)))
			angle := e.do("MatMul", place, e.table(tensor.Shape{1, size / 2}, func(i int) float32 { return float32(math.Pow(10, -float64(i))) }))
			angles := e.op("Concat", graph.Attrs{"axis": int64(-1)}, angle, angle)
			cos, sin := e.do("Cos", angles), e.do("Sin", angles)
			rotary := func(x string) string {
				right := e.do("Slice", x, e.ints(size/2), e.ints(math.MaxInt64), e.ints(3))
				left := e.do("Slice", x, e.ints(0), e.ints(size/2), e.ints(3))
				turned := e.op("Concat", graph.Attrs{"axis": int64(-1)}, e.do("Neg", right), left)
				return e.do("Add", e.do("Mul", x, cos), e.do("Mul", turned, sin))
			}
			repeat := func(x string) string { // repeat_kv: expand and reshape
				wide := e.do("Expand", e.do("Unsqueeze", x, e.ints(2)), e.ints(1, shared, heads/shared, tokens, size))
				return e.reshape(wide, -1, heads, tokens, size)
			}
			x := norm(h, "input_norm")
			project := func(name string, n int) string {
				return e.transpose(e.reshape(e.do("MatMul", x, e.Param(name+".weight", d, n*size)), -1, tokens, int64(n), size), 0, 2, 1, 3)
			}
			q, k := rotary(project("q_proj", heads)), rotary(project("k_proj", shared))
			v := repeat(project("v_proj", shared))
			mask := e.table(tensor.Shape{1, 1, tokens, tokens}, func(i int) float32 {
				if i%tokens > i/tokens {
					return -1e9
				}
				return 0
			})
			scores := e.do("Div", e.do("MatMul", q, e.transpose(repeat(k), 0, 1, 3, 2)), e.float(2))
			p := e.Softmax(e.name(), e.do("Add", scores, mask), -1)
			c := e.reshape(e.transpose(e.do("MatMul", p, v), 0, 2, 1, 3), -1, tokens, heads*size)
			h = e.do("Add", h, e.do("MatMul", c, e.Param("o_proj.weight", heads*size, d)))
			x = norm(h, "post_norm")
			gate := e.do("MatMul", x, e.Param("gate_proj.weight", d, width))
			m := e.do("Mul", e.do("Mul", gate, e.do("Sigmoid", gate)), e.do("MatMul", x, e.Param("up_proj.weight", d, width)))
			h = norm(e.do("Add", h, e.do("MatMul", m, e.Param("down_proj.weight", width, d))), "norm")
			e.Output(e.do("MatMul", h, e.Param("lm_head.weight", d, vocabulary)))
		},
		groups: "embed:12 q_proj.0:2 q_proj.1[q_proj.0]:2 v_proj.1[q_proj.0]:4 gate_proj:10",
		log10:  []symmetricGroups{{1, 12}, {1, 2}, {2, 2}, {2, 4}, {1, 10}},
		layouts: `
			q_proj.weight: embed (q_proj.0 q_proj.1[q_proj.0] 4)
			k_proj.weight: embed (q_proj.0 4)
			v_proj.weight: embed (q_proj.0 v_proj.1[q_proj.0])
			o_proj.weight: (q_proj.0 q_proj.1[q_proj.0] v_proj.1[q_proj.0]) embed
			up_proj.weight: embed gate_proj
			lm_head.weight: embed 9`,
		pinned: []string{
			"embed.weight 0: units are chosen by their number",
			"q_proj.weight 1: a constant", "k_proj.weight 1: a constant",
		},
	},
	{
		name: "grouped-query attention without rotation: the dimensions of queries are those of their key's head",
		build: func(e *exported) {
			const tokens, d, heads, shared, size = 3, 5, 6, 2, 4
			x := e.Input("x", tensor.F32, batch, graph.Fixed(tokens), graph.Fixed(d))
			project := func(name string, n int) string {
				return e.transpose(e.reshape(e.do("MatMul", x, e.Param(name+".weight", d, n*size)), -1, tokens, int64(n), size), 0, 2, 1, 3)
			}
			repeat := func(x string) string { // repeat_interleave: Tile of a new axis
				wide := e.do("Tile", e.do("Unsqueeze", x, e.ints(2)), e.ints(1, 1, heads/shared, 1, 1))
				return e.reshape(wide, -1, heads, tokens, size)
			}
			scores := e.do("MatMul", project("q", heads), e.transpose(repeat(project("k", shared)), 0, 1, 3, 2))
			c := e.do("MatMul", e.Softmax(e.name(), scores, -1), repeat(project("v", shared)))
			e.Output(e.do("MatMul", e.reshape(e.transpose(c, 0, 2, 1, 3), -1, tokens, heads*size), e.Param("o.weight", heads*size, 2)))
		},
		groups: "q.0:2 q.1[q.0]:3 q.2[q.0]:4 v.1[q.0]:4",
		log10:  []symmetricGroups{{1, 2}, {2, 3}, {2, 4}, {2, 4}},
		layouts: `
			q.weight: 5 (q.0 q.1[q.0] q.2[q.0])
			k.weight: 5 (q.0 q.2[q.0])
			v.weight: 5 (q.0 v.1[q.0])
			o.weight: (q.0 q.1[q.0] v.1[q.0]) 2`,
	},
	{
		name: "ViT: one projection reshaped to (3, heads, d) and taken apart by Gather, class token, image patches",
		build: func(e *exported) {
			const d, heads, size, width, patches = 12, 3, 4, 10, 4
			x := e.Input("x", tensor.F32, batch, graph.Fixed(3), graph.Fixed(4), graph.Fixed(4))
			c := e.op("Conv", graph.Attrs{"strides": []int64{2, 2}}, x, e.Param("patch.weight", d, 3, 2, 2), e.Param("patch.bias", d))
			h := e.transpose(e.reshape(c, 0, d, -1), 0, 2, 1)
			n := e.do("Unsqueeze", e.do("Gather", e.do("Shape", h), e.index(0)), e.ints(0))
			target := e.op("Concat", graph.Attrs{"axis": int64(0)}, n, e.ints(1, 1))
			h = e.op("Concat", graph.Attrs{"axis": int64(1)}, e.do("Expand", e.Param("cls_token", 1, 1, d), target), h)
			h = e.do("Add", h, e.Param("pos_embed", 1, patches+1, d))
			qkv := e.transpose(e.reshape(e.linear(e.norm(h, "norm1", d), "attn.qkv", d, 3*d), -1, patches+1, 3, heads, size), 2, 0, 3, 1, 4)
			part := func(i int64) string { return e.op("Gather", graph.Attrs{"axis": int64(0)}, qkv, e.index(i)) }
			q := e.do("Mul", part(0), e.float(.5))
			p := e.Softmax(e.name(), e.do("MatMul", q, e.transpose(part(1), 0, 1, 3, 2)), -1)
			a := e.reshape(e.transpose(e.do("MatMul", p, part(2)), 0, 2, 1, 3), -1, patches+1, d)
			h = e.do("Add", h, e.linear(a, "attn.proj", d, d))
			h = e.do("Add", h, e.linear(e.gelu(e.linear(e.norm(h, "norm2", d), "fc1", d, width)), "fc2", width, d))
			first := e.op("Gather", graph.Attrs{"axis": int64(1)}, e.norm(h, "norm", d), e.index(0))
			e.Output(e.Linear(e.name(), first, "head", 2, d, true))
		},
		groups: "patch:12 attn.qkv.0:3 attn.qkv.1[attn.qkv.0]:4 attn.qkv.2[attn.qkv.0]:4 fc1:10",
		log10:  []symmetricGroups{{1, 12}, {1, 3}, {2 * 3, 4}, {1, 10}},
		layouts: `
			attn.qkv.bias: ((attn.qkv.0 attn.qkv.1[attn.qkv.0]) + (attn.qkv.0 attn.qkv.1[attn.qkv.0]) + (attn.qkv.0 attn.qkv.2[attn.qkv.0]))
			attn.proj.weight: (attn.qkv.0 attn.qkv.2[attn.qkv.0]) patch
			pos_embed: 1 5 patch
			cls_token: 1 1 patch`,
		pinned: []string{
			"pos_embed 1: a single unit of a concatenation", "pos_embed 1: spatial axis",
		},
	},
	{
		name: "nn.MultiheadAttention: the projection is unflattened, transposed and taken apart, heads stand beside the batch",
		build: func(e *exported) {
			const tokens, d, heads, size = 4, 6, 2, 3
			x := e.transpose(e.Input("x", tensor.F32, batch, graph.Fixed(tokens), graph.Fixed(d)), 1, 0, 2)
			h := e.Tanh(e.name(), e.linear(x, "embed", d, d))
			qkv := e.reshape(e.linear(h, "in_proj", d, 3*d), 0, 0, 3, d)
			all := e.do("Squeeze", e.transpose(e.do("Unsqueeze", qkv, e.ints(0)), 3, 1, 2, 0, 4), e.ints(3))
			part := func(i int64, perm ...int64) string {
				one := e.op("Gather", graph.Attrs{"axis": int64(0)}, all, e.index(i))
				return e.transpose(e.reshape(one, tokens, -1, size), perm...)
			}
			p := e.Softmax(e.name(), e.do("MatMul", e.do("Div", part(0, 1, 0, 2), e.float(2)), part(1, 1, 2, 0)), -1)
			a := e.reshape(e.transpose(e.do("MatMul", p, part(2, 1, 0, 2)), 1, 0, 2), -1, d)
			o := e.Gemm(e.name(), a, e.Param("out_proj.weight", d, d), e.Param("out_proj.bias", d))
			h = e.norm(e.do("Add", h, e.reshape(o, tokens, -1, d)), "norm", d)
			e.Output(e.Linear(e.name(), e.reshape(e.op("ReduceMean", graph.Attrs{"keepdims": int64(0)}, h, e.ints(0)), -1, d), "head", 2, d, true))
		},
		groups: "embed:6 in_proj.0:2 in_proj.1[in_proj.0]:3 in_proj.2[in_proj.0]:3",
		log10:  []symmetricGroups{{1, 6}, {1, 2}, {2 * 2, 3}},
		layouts: `
			in_proj.weight: embed ((in_proj.0 in_proj.1[in_proj.0]) + (in_proj.0 in_proj.1[in_proj.0]) + (in_proj.0 in_proj.2[in_proj.0]))
			out_proj.weight: embed (in_proj.0 in_proj.2[in_proj.0])`,
	},
	{
		name: "BLOOM and NeoX: one projection reshaped to (heads, 3, d), whose dimensions are tied",
		build: func(e *exported) {
			const tokens, d, heads, size = 4, 6, 2, 3
			x := e.Input("x", tensor.F32, batch, graph.Fixed(tokens), graph.Fixed(d))
			qkv := e.reshape(e.linear(x, "qkv", d, 3*d), -1, tokens, heads, 3, size)
			part := func(i int64, perm ...int64) string {
				return e.transpose(e.op("Gather", graph.Attrs{"axis": int64(3)}, qkv, e.index(i)), perm...)
			}
			p := e.Softmax(e.name(), e.do("MatMul", part(0, 0, 2, 1, 3), part(1, 0, 2, 3, 1)), -1)
			e.Output(e.linear(e.reshape(e.transpose(e.do("MatMul", p, part(2, 0, 2, 1, 3)), 0, 2, 1, 3), -1, tokens, d), "dense", d, 2))
		},
		groups:  "qkv.0:2 qkv.1[qkv.0]:3",
		log10:   []symmetricGroups{{1, 2}, {2, 3}},
		layouts: "qkv.weight: 6 (qkv.0 3 qkv.1[qkv.0])",
		pinned:  []string{"qkv.bias 0: units are chosen by their number", "qkv.weight 1: units are chosen by their number"},
	},
	{
		name: "Swin: windows by Reshape and Transpose, a table of relative positions, a mask of shifted windows, channels halved by Concat",
		build: func(e *exported) {
			const side, window, d, heads, size = 4, 2, 8, 2, 4
			x := e.Input("x", tensor.F32, batch, graph.Fixed(side), graph.Fixed(side), graph.Fixed(3))
			h := e.norm(e.linear(x, "embed", 3, d), "embed.norm", d)
			roll := func(x string, by int64) string { // torch.roll by -by along both axes
				for _, axis := range []int64{1, 2} {
					head := e.do("Slice", x, e.ints(0), e.ints(by), e.ints(axis))
					tail := e.do("Slice", x, e.ints(by), e.ints(math.MaxInt64), e.ints(axis))
					x = e.op("Concat", graph.Attrs{"axis": axis}, tail, head)
				}
				return x
			}
			s := roll(e.norm(h, "norm1", d), 1)
			w := e.transpose(e.reshape(s, -1, side/window, window, side/window, window, d), 0, 1, 3, 2, 4, 5)
			qkv := e.transpose(e.reshape(e.linear(e.reshape(w, -1, window*window, d), "qkv", d, 3*d), -1, window*window, 3, heads, size), 2, 0, 3, 1, 4)
			part := func(i int64) string { return e.op("Gather", graph.Attrs{"axis": int64(0)}, qkv, e.index(i)) }
			scores := e.do("MatMul", e.do("Mul", part(0), e.float(.5)), e.transpose(part(1), 0, 1, 3, 2))
			index := make([]int64, 16) // of each pair of places in a window, which row of the table is theirs
			for i := range index {
				a, b := i/4, i%4
				index[i] = int64((a/2-b/2+1)*3 + a%2 - b%2 + 1)
			}
			rows := e.do("Gather", e.Param("relative_position_bias_table", 9, heads), e.ints(index...))
			bias := e.transpose(e.reshape(rows, 4, 4, heads), 2, 0, 1)
			scores = e.do("Add", scores, e.do("Unsqueeze", bias, e.ints(0)))
			mask := e.table(tensor.Shape{1, 4, 1, 4, 4}, func(i int) float32 { return -100 * float32(i/16*(i/4+i)%2) })
			scores = e.reshape(e.do("Add", e.reshape(scores, -1, 4, heads, 4, 4), mask), -1, heads, 4, 4)
			a := e.reshape(e.transpose(e.do("MatMul", e.Softmax(e.name(), scores, -1), part(2)), 0, 2, 1, 3), -1, 4, d)
			back := e.transpose(e.reshape(e.linear(a, "proj", d, d), -1, side/window, side/window, window, window, d), 0, 1, 3, 2, 4, 5)
			h = e.do("Add", h, roll(e.reshape(back, -1, side, side, d), side-1))
			var quarters []string // patch merging: every second row and column
			for _, from := range [][]int64{{0, 0}, {1, 0}, {0, 1}, {1, 1}} {
				quarters = append(quarters, e.do("Slice", h, e.ints(from...), e.ints(side, side), e.ints(1, 2), e.ints(2, 2)))
			}
			h = e.reshape(e.op("Concat", graph.Attrs{"axis": int64(-1)}, quarters...), -1, 4, 4*d)
			h = e.do("MatMul", e.norm(h, "merge.norm", 4*d), e.Param("merge.weight", 4*d, 2*d))
			e.Output(e.Linear(e.name(), e.op("ReduceMean", graph.Attrs{"keepdims": int64(0)}, e.norm(h, "norm", 2*d), e.ints(1)), "head", 2, 2*d, true))
		},
		groups: "embed:8 qkv.0:2 qkv.1[qkv.0]:4 qkv.2[qkv.0]:4 merge:16",
		log10:  []symmetricGroups{{1, 8}, {1, 2}, {2 * 2, 4}, {1, 16}},
		layouts: `
			relative_position_bias_table: 9 qkv.0
			merge.weight: (embed + embed + embed + embed) merge
			merge.norm.weight: (embed + embed + embed + embed)`,
		pinned: []string{"relative_position_bias_table 0: units are chosen by their number"},
	},
}
