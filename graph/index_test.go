package graph_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// indexGraph has an input x of this shape; the node's other inputs are constant lists of I64, a nil one being absent.
func indexGraph(op string, attrs graph.Attrs, outputs int, x graph.Shape, lists ...[]int64) *graph.Graph {
	b := graph.NewBuilder("g")
	in := []string{b.Input("x", tensor.F32, x...)}
	for i, l := range lists {
		name := ""
		if l != nil {
			name = b.Constant(string(rune('a'+i)), ints(l...))
		}
		in = append(in, name)
	}
	outs := []string{"y", "y2", "y3"}[:outputs]
	b.OpN(op, outs, attrs, in...)
	b.Output("y")
	g, _ := b.Graph()
	if g == nil { // to be found wrong by the test
		g = &graph.Graph{Name: "g", Inputs: []graph.Value{{Name: "x", DType: tensor.F32, Shape: x}}, Outputs: []string{"y"}}
		for i, l := range lists {
			if l != nil {
				g.Nodes = append(g.Nodes, graph.Node{Op: "Constant", Outputs: []string{string(rune('a' + i))}, Attrs: graph.Attrs{"value": ints(l...)}})
			}
		}
		g.Nodes = append(g.Nodes, graph.Node{Op: op, Inputs: in, Outputs: outs, Attrs: attrs})
	}
	return g
}

func TestShapesByIndex(tt *testing.T) {
	axis := func(a int64) graph.Attrs { return graph.Attrs{"axis": a} }
	for _, c := range []struct {
		name string
		g    *graph.Graph
		want []graph.Shape // nil: an error that says wrong
		says string
	}{
		{"gather", indexGraph("Gather", axis(1), 1, dims(n, 5, 7), []int64{4, -5}), []graph.Shape{dims(n, 2, 7)}, ""},
		{"gather outside", indexGraph("Gather", axis(1), 1, dims(n, 5), []int64{5}), nil, "index 5 of \"a\" is outside extent 5"},
		{"gather elements", indexGraph("GatherElements", axis(0), 1, dims(5), []int64{4, 0, 0, 1, 2, 3}), []graph.Shape{dims(6)}, ""},
		{"gather elements of another rank", indexGraph("GatherElements", axis(0), 1, dims(5, 2), []int64{4}), nil, "do not fit"},
		{"split", indexGraph("Split", axis(-1), 3, dims(n, 6), []int64{1, 2, 3}), []graph.Shape{dims(n, 1), dims(n, 2), dims(n, 3)}, ""},
		{"split evenly", indexGraph("Split", axis(1), 3, dims(n, 6)), []graph.Shape{dims(n, 2), dims(n, 2), dims(n, 2)}, ""},
		{"split with a smaller end", indexGraph("Split", graph.Attrs{"axis": int64(1), "num_outputs": int64(3)}, 3, dims(n, 7)), []graph.Shape{dims(n, 3), dims(n, 3), dims(n, 1)}, ""},
		{"split too much", indexGraph("Split", axis(1), 2, dims(n, 6), []int64{4, 3}), nil, "do not make extent 6"},
		{"split too little", indexGraph("Split", axis(1), 2, dims(n, 6), []int64{4, 1}), nil, "do not make extent 6"},
		{"split hugely", indexGraph("Split", axis(1), 2, dims(n, 6), []int64{1 << 62, 1 << 62}), nil, "do not make extent 6"},
		{"split in nothing", indexGraph("Split", axis(1), 3, dims(n, 4)), []graph.Shape{dims(n, 2), dims(n, 1), dims(n, 1)}, "do not make"},
		{"expand", indexGraph("Expand", nil, 1, dims(n, 1, 3), []int64{2, 1, 4, 1}), []graph.Shape{dims(2, n, 4, 3)}, ""},
		{"expand to nothing", indexGraph("Expand", nil, 1, dims(n, 1), []int64{1, 0}), nil, "less than 1"},
		{"expand what is not 1", indexGraph("Expand", nil, 1, dims(n, 2), []int64{1, 4}), nil, "do not broadcast"},
		{"tile", indexGraph("Tile", nil, 1, dims(n, 2), []int64{1, 4}), []graph.Shape{dims(n, 8)}, ""},
		{"tile hugely", indexGraph("Tile", nil, 1, dims(4, 4), []int64{1 << 40, 1 << 40}), nil, "overflow"},
		{"tile another rank", indexGraph("Tile", nil, 1, dims(n, 2), []int64{4}), nil, "do not fit"},
		{"squeeze", indexGraph("Squeeze", nil, 1, dims(n, 1, 2, 1), []int64{-1}), []graph.Shape{dims(n, 1, 2)}, ""},
		{"squeeze all", indexGraph("Squeeze", nil, 1, dims(n, 1, 2, 1)), []graph.Shape{dims(n, 2)}, ""},
		{"squeeze what is not 1", indexGraph("Squeeze", nil, 1, dims(n, 2), []int64{1}), nil, "not of extent 1"},
		{"unsqueeze", indexGraph("Unsqueeze", nil, 1, dims(n, 2), []int64{-1, 0}), []graph.Shape{dims(1, n, 2, 1)}, ""},
		{"unsqueeze outside", indexGraph("Unsqueeze", nil, 1, dims(n, 2), []int64{4}), nil, "axis 4"},
		{"unsqueeze twice", indexGraph("Unsqueeze", nil, 1, dims(n, 2), []int64{0, 0}), nil, "twice"},
		{"trilu", indexGraph("Trilu", nil, 1, dims(n, 3, 4)), []graph.Shape{dims(n, 3, 4)}, ""},
		{"trilu of a list", indexGraph("Trilu", nil, 1, dims(n)), nil, "no matrix"},
		{"reduce", indexGraph("ReduceL2", graph.Attrs{"keepdims": int64(0)}, 1, dims(n, 3, 4), []int64{1}), []graph.Shape{dims(n, 4)}, ""},
	} {
		tt.Run(c.name, func(tt *testing.T) {
			values, err := c.g.InferShapes()
			if c.want == nil || c.says != "" && err != nil {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					tt.Fatalf("error %v, want one that says %q", err, c.says)
				}
				return
			}
			if err != nil {
				tt.Fatal(err)
			}
			for i, want := range c.want {
				if got := values[[]string{"y", "y2", "y3"}[i]].Shape; !got.Equal(want) {
					tt.Errorf("output %d has shape %s, want %s", i, got, want)
				}
			}
		})
	}
}

func TestTypesOfComparisons(tt *testing.T) {
	b := graph.NewBuilder("g")
	x := b.Input("x", tensor.F32, n, graph.Fixed(3))
	less := b.Op("Less", "less", nil, x, b.Param("p", 3))
	b.Output(b.Op("Where", "y", nil, b.Op("Not", "not", nil, less), x, b.Op("Cast", "c", graph.Attrs{"to": int64(1)}, less)))
	g, err := b.Graph()
	if err != nil {
		tt.Fatal(err)
	}
	values, err := g.InferShapes()
	if err != nil {
		tt.Fatal(err)
	}
	for name, want := range map[string]tensor.DType{"less": tensor.Bool, "not": tensor.Bool, "c": tensor.F32, "y": tensor.F32} {
		if got := values[name]; got.DType != want || !got.Shape.Equal(dims(n, 3)) {
			tt.Errorf("%s is %v %s", name, got.DType, got.Shape)
		}
	}
	for op, says := range map[string]string{"Not": "not BOOL", "Where": "not BOOL", "Gather": "not I64"} {
		g := one(op, nil, slices.Repeat([]graph.Shape{dims(3)}, map[string]int{"Not": 1, "Where": 3, "Gather": 2}[op])...)
		if _, err := g.InferShapes(); err == nil || !strings.Contains(err.Error(), says) {
			tt.Errorf("%s of floats: error %v", op, err)
		}
	}
}

// chain writes nodes that compute with shapes, as PyTorch's exporter does.
type chain struct {
	*graph.Builder
	count int
}

func (c *chain) op(op string, attrs graph.Attrs, in ...string) string {
	c.count++
	return c.Op(op, "n"+string(rune('0'+c.count/10))+string(rune('0'+c.count%10)), attrs, in...)
}

func (c *chain) ints(v ...int64) string {
	c.count++
	return c.Constant("c"+string(rune('0'+c.count/10))+string(rune('0'+c.count%10)), ints(v...))
}

func (c *chain) number(v int64) string {
	c.count++
	return c.Constant("c"+string(rune('0'+c.count/10))+string(rune('0'+c.count%10)), tensor.FromSlice(tensor.Shape{}, []int64{v}))
}

// Targets that are computed from shapes are known, also where a symbol stands in them.
func TestShapesAreFolded(tt *testing.T) {
	c := &chain{Builder: graph.NewBuilder("g")}
	x := c.Input("x", tensor.F32, n, graph.Fixed(10), graph.Fixed(12))
	zero := graph.Attrs{"axis": int64(0)}
	s := c.op("Shape", nil, x)
	batch := c.op("Unsqueeze", nil, c.op("Gather", zero, s, c.number(0)), c.ints(0))
	tokens := c.op("Slice", nil, s, c.ints(1), c.ints(2))
	width := c.op("Div", nil, c.op("Gather", zero, s, c.number(-1)), c.number(4))
	target := c.op("Concat", zero, batch, tokens, c.ints(4), c.op("Unsqueeze", nil, width, c.ints(0)))
	heads := c.op("Reshape", nil, x, target)
	flat := c.op("Concat", zero, c.op("Mul", nil, batch, tokens), c.ints(-1))
	rows := c.op("Reshape", nil, x, flat)
	// expand(-1, ...) replaces -1 by what is there.
	wanted := c.op("Concat", zero, batch, c.ints(-1, 10, 12))
	open := c.op("Equal", nil, wanted, c.ints(-1, -1, -1, -1))
	filled := c.op("Where", nil, open, c.op("ConstantOfShape", graph.Attrs{"value": ints(1)}, c.ints(4)), wanted)
	wide := c.op("Expand", nil, c.op("Unsqueeze", nil, x, c.ints(1)), filled)
	mask := c.op("Trilu", graph.Attrs{"upper": int64(0)}, c.op("ConstantOfShape", nil, c.op("Concat", zero, tokens, tokens)))
	for _, v := range []string{heads, rows, wide, mask} {
		c.Output(v)
	}
	g, err := c.Graph()
	if err != nil {
		tt.Fatal(err)
	}
	values, err := g.InferShapes()
	if err != nil {
		tt.Fatal(err)
	}
	nt := product(tt, n, graph.Fixed(10))
	for name, want := range map[string]graph.Shape{heads: dims(n, 10, 4, 3), rows: dims(nt, 12), wide: dims(n, 1, 10, 12), mask: dims(10, 10)} {
		if got := values[name].Shape; !got.Equal(want) {
			tt.Errorf("shape %s, want %s", got, want)
		}
	}
	constants := g.Constants()
	if t := constants[width]; t == nil || !slices.Equal(tensor.Of[int64](t), []int64{3}) {
		tt.Errorf("the width is %v", t)
	}
	for _, name := range []string{batch, target, filled, heads} {
		if _, ok := constants[name]; ok {
			tt.Errorf("%s depends on the batch but is a constant", name)
		}
	}
}

// Constants that follow from constants, worked out by hand.
func TestConstantsAreFolded(tt *testing.T) {
	c := &chain{Builder: graph.NewBuilder("g")}
	c.Output(c.Relu("y", c.Input("x", tensor.F32, n)))
	count := c.op("Range", nil, c.number(1), c.number(8), c.number(3)) // 1 4 7
	two := c.number(2)
	matrix := c.op("Reshape", nil, c.ints(1, 2, 3, 4, 5, 6), c.ints(2, 3))
	float := c.op("Cast", graph.Attrs{"to": int64(1)}, count)
	axis1 := graph.Attrs{"axis": int64(1)}
	want := map[string][]int64{
		count:                                                   {1, 4, 7},
		c.op("Sub", nil, count, two):                            {-1, 2, 5},
		c.op("Div", nil, count, two):                            {0, 2, 3},
		c.op("Transpose", nil, matrix):                          {1, 4, 2, 5, 3, 6},
		c.op("Tile", nil, count, c.ints(2)):                     {1, 4, 7, 1, 4, 7},
		c.op("Expand", nil, count, c.ints(2, 1)):                {1, 4, 7, 1, 4, 7},
		c.op("Concat", axis1, matrix, c.op("Neg", nil, matrix)): {1, 2, 3, -1, -2, -3, 4, 5, 6, -4, -5, -6},
		c.op("Gather", axis1, matrix, c.ints(2, 0)):             {3, 1, 6, 4},
		c.op("Slice", nil, matrix, c.ints(-1), c.ints(-9), c.ints(1), c.ints(-2)):                                                          {3, 1, 6, 4},
		c.op("Trilu", graph.Attrs{"upper": int64(0)}, matrix):                                                                              {1, 0, 0, 4, 5, 0},
		c.op("Where", nil, c.op("Greater", nil, count, two), count, two):                                                                   {2, 4, 7},
		c.op("Cast", graph.Attrs{"to": int64(7)}, c.op("Floor", nil, c.op("Mul", nil, float, c.op("Reciprocal", nil, float)))):             {1, 1, 1},
		c.op("Cast", graph.Attrs{"to": int64(7)}, c.op("LessOrEqual", nil, float, c.op("Cast", graph.Attrs{"to": int64(1)}, c.number(4)))): {1, 1, 0},
		c.op("Max", nil, matrix, count): {1, 4, 7, 4, 5, 7},
	}
	g, err := c.Graph()
	if err != nil {
		tt.Fatal(err)
	}
	constants := g.Constants()
	for name, list := range want {
		if t := constants[name]; t == nil || t.DType() != tensor.I64 || !slices.Equal(tensor.Of[int64](t), list) {
			tt.Errorf("%s is %v, want %v", name, t, list)
		}
	}
}

// What would need more memory than networks do is left alone.
func TestFoldingIsBounded(tt *testing.T) {
	c := &chain{Builder: graph.NewBuilder("g")}
	c.Output(c.Relu("y", c.Input("x", tensor.F32, n)))
	huge := c.op("ConstantOfShape", nil, c.ints(1<<20, 1<<20))
	long := c.op("Range", nil, c.number(0), c.number(1<<20), c.number(1))
	g, err := c.Graph()
	if err != nil {
		tt.Fatal(err)
	}
	constants := g.Constants()
	if constants[huge] != nil || constants[long] == nil {
		tt.Errorf("huge: %v, long: %v", constants[huge] != nil, constants[long] != nil)
	}
	endless := c.op("Range", nil, c.number(0), c.number(1), c.number(0))
	if _, err := c.Graph(); err == nil || !strings.Contains(err.Error(), "a range without an end") {
		tt.Errorf("%s: error %v", endless, err)
	}
}
