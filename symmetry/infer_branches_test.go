package symmetry_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// weight takes the column of an expert out of the router's outputs [N, experts], as [N, 1].
func (e *exported) weight(p string, i int64) string {
	return e.do("Unsqueeze", e.op("Gather", graph.Attrs{"axis": int64(1)}, p, e.index(i)), e.ints(1))
}

// expert is an MLP of one hidden layer.
func (e *exported) expert(x, name string, in, hidden, out int) string {
	return e.linear(e.Relu(e.name(), e.linear(x, name+".up", in, hidden)), name+".down", hidden, out)
}

// stream is a hidden layer of 6 units over inputs of 4.
func (e *exported) stream() string {
	return e.Tanh(e.name(), e.linear(e.Input("x", tensor.F32, batch, graph.Fixed(4)), "embed", 4, 6))
}

func (e *exported) concat(axis int64, parts ...string) string {
	return e.op("Concat", graph.Attrs{"axis": axis}, parts...)
}

func (e *exported) sum(terms ...string) string {
	sum := terms[0]
	for _, t := range terms[1:] {
		sum = e.do("Add", sum, t)
	}
	return sum
}

// branched are networks of branches with tensors of their own; layouts are those of virtual stacks, too.
var branched = []architecture{
	{
		name: "experts weighted by columns of a softmax, added to the stream one by one",
		build: func(e *exported) {
			h := e.stream()
			p := e.Softmax(e.name(), e.linear(h, "router", 6, 3), -1)
			sum := h
			for i := range int64(3) {
				sum = e.do("Add", sum, e.do("Mul", e.expert(h, fmt.Sprintf("experts.%d", i), 6, 5, 6), e.weight(p, i)))
			}
			e.Output(e.linear(sum, "head", 6, 2))
		},
		groups: "embed:6 router:3 experts.up[router]:5",
		log10:  []symmetricGroups{{1, 6}, {1, 3}, {3, 5}},
		layouts: `
			router.weight: embed router
			experts.{router}.up.weight: embed experts.up[router]
			experts.{router}.up.bias: experts.up[router]
			experts.{router}.down.weight: experts.up[router] embed
			experts.{router}.down.bias: embed`,
	},
	{
		name: "Mixtral: gated experts over tokens, weights by Slice, two layers, a sum that begins with zeros",
		build: func(e *exported) {
			const tokens, d, width, experts = 3, 6, 4, 2
			h := e.Tanh(e.name(), e.linear(e.Input("x", tensor.F32, batch, graph.Fixed(tokens), graph.Fixed(4)), "embed", 4, d))
			project := func(x, name string, in, out int) string { return e.do("MatMul", x, e.Param(name+".weight", in, out)) }
			for layer := range 2 {
				name := fmt.Sprintf("layers.%d.", layer)
				p := e.Softmax(e.name(), project(h, name+"gate", d, experts), -1)
				sum := e.op("ConstantOfShape", graph.Attrs{"value": filled(0, 1)}, e.do("Shape", h))
				for i := range int64(experts) {
					one := fmt.Sprintf("%sexperts.%d.", name, i)
					z := project(h, one+"w1", d, width)
					y := project(e.do("Mul", e.do("Mul", z, e.do("Sigmoid", z)), project(h, one+"w3", d, width)), one+"w2", width, d)
					sum = e.do("Add", sum, e.do("Mul", y, e.do("Slice", p, e.ints(i), e.ints(i+1), e.ints(2))))
				}
				h = e.do("Add", h, sum)
			}
			e.Output(project(h, "head", d, 2))
		},
		groups: "embed:6 layers.0.gate:2 layers.0.experts.w1[layers.0.gate]:4 layers.1.gate:2 layers.1.experts.w1[layers.1.gate]:4",
		log10:  []symmetricGroups{{1, 6}, {2, 2}, {4, 4}},
		layouts: `
			layers.0.experts.{layers.0.gate}.w1.weight: embed layers.0.experts.w1[layers.0.gate]
			layers.1.experts.{layers.1.gate}.w2.weight: layers.1.experts.w1[layers.1.gate] embed`,
	},
	{
		name: "eleven experts by Split, added in another order than that of their numbers",
		build: func(e *exported) {
			const experts = 11
			h := e.stream()
			var columns, terms []string
			for range experts {
				columns = append(columns, e.name())
			}
			e.OpN("Split", columns, graph.Attrs{"axis": int64(1)}, e.Softmax(e.name(), e.linear(h, "router", 6, experts), 1), e.ints(slices.Repeat([]int64{1}, experts)...))
			for i := range experts {
				i = (3*i + 2) % experts
				terms = append(terms, e.do("Mul", columns[i], e.expert(h, fmt.Sprintf("expert%d", i), 6, 2, 3)))
			}
			e.Output(e.linear(e.op("Sum", nil, terms...), "head", 3, 2))
		},
		groups:  "embed:6 router:11 expert.up[router]:2 expert.down:3",
		log10:   []symmetricGroups{{1, 6}, {1, 11}, {11, 2}, {1, 3}},
		layouts: "expert{router}.down.weight: expert.up[router] expert.down",
	},
	{
		name: "experts side by side on an axis of their own, weighted and summed at once",
		build: func(e *exported) {
			h := e.stream()
			p := e.Softmax(e.name(), e.linear(h, "router", 6, 3), -1)
			var all []string
			for i := range 3 {
				all = append(all, e.do("Unsqueeze", e.expert(h, fmt.Sprintf("experts.%d", i), 6, 5, 6), e.ints(1)))
			}
			y := e.do("Mul", e.concat(1, all...), e.do("Unsqueeze", p, e.ints(2)))
			e.Output(e.linear(e.op("ReduceSum", graph.Attrs{"keepdims": int64(0)}, y, e.ints(1)), "head", 6, 2))
		},
		groups:  "embed:6 router:3 experts.up[router]:5 experts.down:6",
		log10:   []symmetricGroups{{2, 6}, {1, 3}, {3, 5}},
		layouts: "experts.{router}.down.weight: experts.up[router] experts.down",
	},
	{
		name: "experts without a router: the mean of three networks",
		build: func(e *exported) {
			x := e.Input("x", tensor.F32, batch, graph.Fixed(4))
			e.Output(e.do("Div", e.sum(e.expert(x, "net.0", 4, 5, 2), e.expert(x, "net.1", 4, 5, 2), e.expert(x, "net.2", 4, 5, 2)), e.float(3)))
		},
		groups:  "net:3 net.up[net]:5",
		log10:   []symmetricGroups{{1, 3}, {3, 5}},
		layouts: "net.{net}.up.weight: 4 net.up[net]\nnet.{net}.down.bias: 2",
		inert:   []string{"net: axis -1 of net.{net}.down.bias"}, // which are only summed
	},
	{
		name: "heads with projections of their own, side by side before the last",
		build: func(e *exported) {
			const tokens, d, size = 4, 6, 3
			x := e.Input("x", tensor.F32, batch, graph.Fixed(tokens), graph.Fixed(d))
			var heads []string
			for i := range 2 {
				part := func(what string) string {
					return e.do("MatMul", x, e.Param(fmt.Sprintf("heads.%d.%s", i, what), d, size))
				}
				p := e.Softmax(e.name(), e.do("MatMul", part("q"), e.transpose(part("k"), 0, 2, 1)), -1)
				heads = append(heads, e.do("MatMul", p, part("v")))
			}
			e.Output(e.linear(e.concat(2, heads...), "out", 2*size, 2))
		},
		groups: "heads:2 heads.q[heads]:3 heads.v[heads]:3",
		log10:  []symmetricGroups{{1, 2}, {2, 3}, {2, 3}},
		layouts: `
			heads.{heads}.k: 6 heads.q[heads]
			heads.{heads}.v: 6 heads.v[heads]
			out.weight: (heads heads.v[heads]) 2`,
	},
	{
		name: "each branch reads its run of the stream; beside them goes what is no branch",
		build: func(e *exported) {
			h := e.stream() // 3 runs of 2
			var all []string
			for i := range int64(3) {
				run := e.do("Slice", h, e.ints(2*i), e.ints(2*i+2), e.ints(1))
				all = append(all, e.Relu(e.name(), e.linear(run, fmt.Sprintf("b.%d", i), 2, 4)))
			}
			e.Output(e.linear(e.concat(1, append([]string{h}, all...)...), "head", 6+12, 2))
		},
		groups: "embed.0:3 embed.1[embed.0]:2 b[embed.0]:4",
		log10:  []symmetricGroups{{1, 3}, {3, 2}, {3, 4}},
		layouts: `
			embed.weight: 4 (embed.0 embed.1[embed.0])
			b.{embed.0}.weight: embed.1[embed.0] b[embed.0]
			head.weight: ((embed.0 embed.1[embed.0]) + (embed.0 b[embed.0])) 2`,
	},
}

// entries are the layouts of tensors and virtual stacks, one a line.
func entries(sym *symmetry.Symmetry) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(sym.Layouts)) {
		out = append(out, key+": "+sym.Format(sym.Layouts[key]))
	}
	return strings.Join(out, "\n")
}

func TestBranches(t *testing.T) {
	for _, a := range branched {
		t.Run(a.name, func(t *testing.T) {
			g := a.graph(t)
			sym := infer(t, g)
			if got := groupsText(sym); got != a.groups {
				t.Errorf("groups\n%s\nwant\n%s\nlayouts\n%s\npinned\n%s", got, a.groups, entries(sym), pinnedText(sym))
			}
			if got, want := sym.Log10(), a.sum(); math.Abs(got-want) > 1e-9*want {
				t.Errorf("10^%.6f alignments, want 10^%.6f", got, want)
			}
			for _, line := range strings.Split(lines(a.layouts), "\n") {
				if !strings.Contains(entries(sym)+"\n", line+"\n") {
					t.Errorf("no layout %q in\n%s", line, entries(sym))
				}
			}
			if got := otherPins(sym); len(got) > 0 {
				t.Errorf("pinned %v", got)
			}
			a.proveEverywhere(t, g, sym)
		})
	}
}

// proveEverywhere holds the symmetry to the network, and shows for each group and each entry of layouts that the proof fails where the group is forgotten.
func (a architecture) proveEverywhere(t *testing.T, g *graph.Graph, sym *symmetry.Symmetry) {
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
	if len(proof.Unproven) > 0 || proof.Untried > 0 || !slices.Equal(inert, a.inert) {
		t.Errorf("proof %+v", proof)
	}
	for _, group := range sym.Groups {
		for key := range sym.Layouts {
			forgotten := forget(sym, group.Name, key)
			if forgotten == nil {
				continue
			}
			_, err := symmetry.Verify(t.Context(), g, forgotten, params, symmetry.VerifyOptions{Threads: 1, Samples: 2})
			var wrong *symmetry.GroupError
			if !errors.As(err, &wrong) {
				t.Errorf("group %s, forgotten in %s, is proven: %v", group.Name, key, err)
			}
		}
	}
	for key := range sym.Layouts { // the numbers of a virtual stack, which then is none
		if !strings.Contains(key, "{") || slices.ContainsFunc(a.inert, func(s string) bool { return strings.HasSuffix(s, " of "+key) }) {
			continue
		}
		forgotten := apartIn(sym, key)
		_, err := symmetry.Verify(t.Context(), g, forgotten, params, symmetry.VerifyOptions{Threads: 1, Samples: 2})
		var wrong *symmetry.GroupError
		if !errors.As(err, &wrong) {
			t.Errorf("the numbers of %s, forgotten, are proven: %v", key, err)
		}
	}
}

// apartIn is a symmetry that does not know of a virtual stack: its tensors stay as they are.
func apartIn(sym *symmetry.Symmetry, key string) *symmetry.Symmetry {
	other := *sym
	other.Layouts = maps.Clone(sym.Layouts)
	delete(other.Layouts, key)
	return &other
}

// TestBranchesThatDiffer have no group of branches: what is found is that of each, and it is said why.
func TestBranchesThatDiffer(t *testing.T) {
	expert := func(e *exported, h string, i int) string { return e.expert(h, fmt.Sprintf("experts.%d", i), 6, 5, 6) }
	for _, c := range []struct {
		name    string
		expert  func(e *exported, h string, i int) string
		columns []int64
		output  bool // the router's weights leave the network
		groups  string
		why     string
	}{
		{
			name: "another width", groups: "embed:6 experts.0.up:5 experts.1.up:4", why: "differ in shape",
			expert: func(e *exported, h string, i int) string { return e.expert(h, fmt.Sprintf("experts.%d", i), 6, 5-i, 6) },
		},
		{
			name: "another activation", groups: "embed:6 experts.0.up:5 experts.1.up:5", why: "differ",
			expert: func(e *exported, h string, i int) string {
				z := e.op([]string{"Relu", "Tanh"}[i], nil, e.linear(h, fmt.Sprintf("experts.%d.up", i), 6, 5))
				return e.linear(z, fmt.Sprintf("experts.%d.down", i), 5, 6)
			},
		},
		{
			name: "another constant", groups: "embed:6 experts.0.up:5 experts.1.up:5", why: "constants",
			expert: func(e *exported, h string, i int) string { return e.do("Mul", expert(e, h, i), e.float(float32(1+i))) },
		},
		{
			name: "names without numbers", groups: "embed:6 left.up:5 right.up:5", why: "do not number them",
			expert: func(e *exported, h string, i int) string { return e.expert(h, []string{"left", "right"}[i], 6, 5, 6) },
		},
		{
			name: "numbers from 1", groups: "embed:6 experts.1.up:5 experts.2.up:5", why: "counted from 0",
			expert: func(e *exported, h string, i int) string { return expert(e, h, i+1) },
		},
		{
			name: "the columns in another order", groups: "embed:6 experts.0.up:5 experts.1.up:5", why: "not of the branch of its number",
			expert: expert, columns: []int64{1, 0},
		},
		{
			name: "weights that leave the network", groups: "embed:6 experts.0.up:5 experts.1.up:5", why: "network output",
			expert: expert, output: true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &exported{Builder: graph.NewBuilder("x")}
			h := e.stream()
			p := e.Softmax(e.name(), e.linear(h, "router", 6, 2), -1)
			var terms []string
			for i := range 2 {
				column := int64(i)
				if c.columns != nil {
					column = c.columns[i]
				}
				terms = append(terms, e.do("Mul", c.expert(e, h, i), e.weight(p, column)))
			}
			e.Output(e.linear(e.do("Add", h, e.sum(terms...)), "head", 6, 2))
			if c.output {
				e.Output(p)
			}
			g, err := e.Graph()
			if err != nil {
				t.Fatal(err)
			}
			sym := infer(t, g)
			if got := groupsText(sym); got != c.groups {
				t.Errorf("groups %s, want %s", got, c.groups)
			}
			if got := pinnedText(sym); !strings.Contains(got, c.why) {
				t.Errorf("pinned\n%s\nwithout %q", got, c.why)
			}
			if _, err := symmetry.Verify(t.Context(), g, sym, randomParams(g, 3), symmetry.VerifyOptions{Threads: 1}); err != nil {
				t.Error(err)
			}
		})
	}
}
