package graph_test

import (
	"strings"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

func valid(tb testing.TB) *graph.Graph {
	tb.Helper()
	b := graph.NewBuilder("mlp")
	x := b.Flatten("x.flat", b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(28), graph.Fixed(28)), 1)
	h := b.Relu("h1", b.Linear("z1", x, "fc1", 32, 784, true))
	b.Output(b.Linear("logits", h, "fc2", 10, 32, false))
	g, err := b.Graph()
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

func TestBuilder(tt *testing.T) {
	g := valid(tt)
	values, err := g.InferShapes()
	if err != nil {
		tt.Fatal(err)
	}
	if got := values["logits"].Shape.String(); got != "[N 10]" {
		tt.Fatalf("logits are %s", got)
	}
	if p, ok := g.Param("fc1.weight"); !ok || p.Shape.String() != "[32 784]" {
		tt.Fatalf("fc1.weight is %v", p)
	}
}

func TestBuilderReportsMistakes(tt *testing.T) {
	b := graph.NewBuilder("bad")
	b.Param("w", 2, 3)
	b.Param("w", 3, 2)
	if _, err := b.Graph(); err == nil || !strings.Contains(err.Error(), `"w"`) {
		tt.Errorf("two shapes of a parameter: %v", err)
	}
	b = graph.NewBuilder("bad")
	b.Output(b.Gemm("y", b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(3)), b.Param("w", 4, 5), ""))
	if _, err := b.Graph(); err == nil || !strings.Contains(err.Error(), `node "y" (Gemm)`) {
		tt.Errorf("shapes that do not multiply: %v", err)
	}
}

func TestValidateRefuses(tt *testing.T) {
	for _, c := range []struct {
		name, want string
		spoil      func(*graph.Graph)
	}{
		{"duplicate parameter", `"fc1.weight" is defined twice`, func(g *graph.Graph) { g.Params = append(g.Params, g.Params[0]) }},
		{"duplicate output", `"h1" is defined twice`, func(g *graph.Graph) { g.Nodes[3].Outputs[0] = "h1" }},
		{"nameless parameter", "no name", func(g *graph.Graph) { g.Params[0].Name = "" }},
		{"symbolic parameter", "has symbols", func(g *graph.Graph) { g.Params[0].Shape[0] = graph.Sym("N") }},
		{"order", `"h1" is not defined before`, func(g *graph.Graph) { g.Nodes[2], g.Nodes[3] = g.Nodes[3], g.Nodes[2] }},
		{"undefined output", `"nowhere" is not defined`, func(g *graph.Graph) { g.Outputs[0] = "nowhere" }},
		{"output twice", "listed twice", func(g *graph.Graph) { g.Outputs = append(g.Outputs, g.Outputs[0]) }},
		{"no output", "no outputs", func(g *graph.Graph) { g.Outputs = nil }},
		{"too few inputs", "1 inputs, not 2 to 3", func(g *graph.Graph) { g.Nodes[1].Inputs = g.Nodes[1].Inputs[:1] }},
		{"absent input", "input 1 is absent", func(g *graph.Graph) { g.Nodes[1].Inputs[1] = "" }},
		{"too many outputs", "2 outputs, not 1", func(g *graph.Graph) { g.Nodes[1].Outputs = []string{"z1", "z2"} }},
		{"nameless outputs", "no name", func(g *graph.Graph) { g.Nodes[1].Outputs = []string{""} }},
		{"unknown attribute", "unknown attribute beta", func(g *graph.Graph) { g.Nodes[2].Attrs = graph.Attrs{"beta": 1.0} }},
		{"attribute type", "axis is FLOAT, not INT", func(g *graph.Graph) { g.Nodes[0].Attrs["axis"] = 1.0 }},
		{"attribute of Go", "cannot be a int", func(g *graph.Graph) { g.Nodes[0].Attrs["axis"] = 1 }},
		{"symbols out of order", "not sorted", func(g *graph.Graph) { g.Inputs[0].Shape[0] = graph.Dim{Size: 1, Sym: "T*N"} }},
		{"symbol", "is no symbol", func(g *graph.Graph) { g.Inputs[0].Shape[0] = graph.Dim{Size: 1, Sym: "*N"} }},
		{"declaration", `"nowhere" is not defined`, func(g *graph.Graph) { g.Declared = map[string]graph.Value{"nowhere": {Name: "nowhere"}} }},
	} {
		tt.Run(c.name, func(tt *testing.T) {
			g := valid(tt)
			c.spoil(g)
			if err := g.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
				tt.Fatalf("error %v, want one with %q", err, c.want)
			}
		})
	}
}
