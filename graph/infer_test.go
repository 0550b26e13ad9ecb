package graph_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

var (
	n = graph.Sym("N")
	t = graph.Sym("T")
)

func dims(extents ...any) graph.Shape {
	s := make(graph.Shape, len(extents))
	for i, e := range extents {
		switch e := e.(type) {
		case int:
			s[i] = graph.Fixed(e)
		case graph.Dim:
			s[i] = e
		}
	}
	return s
}

func product(tb testing.TB, d ...graph.Dim) graph.Dim {
	tb.Helper()
	p, err := graph.Shape(d).Elements()
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func ints(v ...int64) *tensor.Tensor { return tensor.FromSlice(tensor.Shape{len(v)}, v) }

// one is a graph of one node whose inputs have these shapes; a nil shape is an absent input.
func one(op string, attrs graph.Attrs, inputs ...graph.Shape) *graph.Graph {
	g := &graph.Graph{Name: "g", Outputs: []string{"y"}}
	node := graph.Node{Op: op, Outputs: []string{"y"}, Attrs: attrs}
	for i, s := range inputs {
		name := string(rune('a' + i))
		if s == nil {
			node.Inputs = append(node.Inputs, "")
			continue
		}
		g.Inputs = append(g.Inputs, graph.Value{Name: name, DType: tensor.F32, Shape: s})
		node.Inputs = append(node.Inputs, name)
	}
	g.Nodes = []graph.Node{node}
	return g
}

// reshape is a graph of one Reshape whose target is a constant.
func reshape(in graph.Shape, allowZero int64, target ...int64) *graph.Graph {
	g := one("Reshape", graph.Attrs{"allowzero": allowZero}, in)
	g.Nodes[0].Inputs = append(g.Nodes[0].Inputs, "target")
	g.Nodes = append([]graph.Node{
		{Op: "Constant", Outputs: []string{"c"}, Attrs: graph.Attrs{"value": ints(target...)}},
		{Op: "Identity", Inputs: []string{"c"}, Outputs: []string{"target"}},
	}, g.Nodes...)
	return g
}

func TestInferShapes(tt *testing.T) {
	transA := graph.Attrs{"transA": int64(1)}
	transB := graph.Attrs{"transB": int64(1)}
	axis := func(a int64) graph.Attrs { return graph.Attrs{"axis": a} }
	perm := func(p ...int64) graph.Attrs { return graph.Attrs{"perm": p} }
	for _, c := range []struct {
		name string
		g    *graph.Graph
		want graph.Shape // nil: an error
	}{
		{"gemm", one("Gemm", nil, dims(n, 3), dims(3, 4)), dims(n, 4)},
		{"gemm transB", one("Gemm", transB, dims(n, 3), dims(4, 3), dims(4)), dims(n, 4)},
		{"gemm transA", one("Gemm", transA, dims(3, 2), dims(3, 4), dims(2, 1)), dims(2, 4)},
		{"gemm scalar bias", one("Gemm", nil, dims(n, 3), dims(3, 4), dims()), dims(n, 4)},
		{"gemm contraction", one("Gemm", nil, dims(n, 3), dims(4, 3)), nil},
		{"gemm bias", one("Gemm", transB, dims(n, 3), dims(4, 3), dims(3)), nil},
		{"gemm bias does not widen", one("Gemm", nil, dims(1, 3), dims(3, 4), dims(2, 4)), nil},
		{"gemm rank", one("Gemm", nil, dims(n, 2, 3), dims(3, 4)), nil},

		{"matmul", one("MatMul", nil, dims(n, 3), dims(3, 4)), dims(n, 4)},
		{"matmul batch", one("MatMul", nil, dims(n, 8, t, 16), dims(n, 8, 16, t)), dims(n, 8, t, t)},
		{"matmul broadcast batch", one("MatMul", nil, dims(5, 1, 2, 3), dims(7, 3, 4)), dims(5, 7, 2, 4)},
		{"matmul shared right", one("MatMul", nil, dims(n, t, 3), dims(3, 4)), dims(n, t, 4)},
		{"matmul vectors", one("MatMul", nil, dims(3), dims(3)), dims()},
		{"matmul row", one("MatMul", nil, dims(3), dims(5, 3, 4)), dims(5, 4)},
		{"matmul column", one("MatMul", nil, dims(5, 4, 3), dims(3)), dims(5, 4)},
		{"matmul scalar", one("MatMul", nil, dims(), dims(3)), nil},
		{"matmul contraction", one("MatMul", nil, dims(2, 3), dims(2, 3)), nil},
		{"matmul batch mismatch", one("MatMul", nil, dims(2, 2, 3), dims(3, 3, 4)), nil},

		{"add", one("Add", nil, dims(n, 4), dims(4)), dims(n, 4)},
		{"sub", one("Sub", nil, dims(4, 1), dims(1, 5)), dims(4, 5)},
		{"mul scalar", one("Mul", nil, dims(), dims(n, 4)), dims(n, 4)},
		{"div", one("Div", nil, dims(3, n), dims(1, n)), dims(3, n)},
		{"add symbols differ", one("Add", nil, dims(n), dims(t)), nil},
		{"add symbol against number", one("Add", nil, dims(n), dims(2)), nil},
		{"add mismatch", one("Add", nil, dims(2), dims(3)), nil},

		{"relu", one("Relu", nil, dims(n, 4)), dims(n, 4)},
		{"leaky", one("LeakyRelu", graph.Attrs{"alpha": .1}, dims(n)), dims(n)},
		{"tanh", one("Tanh", nil, dims()), dims()},
		{"sigmoid", one("Sigmoid", nil, dims(2)), dims(2)},
		{"identity", one("Identity", nil, dims(2)), dims(2)},
		{"gelu", one("Gelu", graph.Attrs{"approximate": "tanh"}, dims(2)), dims(2)},
		{"gelu of another kind", one("Gelu", graph.Attrs{"approximate": "erf"}, dims(2)), nil},
		{"prelu", one("PRelu", nil, dims(n, 4, 5), dims(4, 1)), dims(n, 4, 5)},
		{"prelu does not widen", one("PRelu", nil, dims(4, 1), dims(4, 5)), nil},
		{"dropout", one("Dropout", nil, dims(n, 4), dims()), dims(n, 4)},
		{"dropout ratio", one("Dropout", nil, dims(n, 4), dims(2)), nil},

		{"softmax", one("Softmax", axis(1), dims(n, 4)), dims(n, 4)},
		{"softmax default axis", one("Softmax", nil, dims(n, 4)), dims(n, 4)},
		{"log softmax axis", one("LogSoftmax", axis(2), dims(n, 4)), nil},
		{"softmax scalar", one("Softmax", nil, dims()), nil},
		{"layer norm", one("LayerNormalization", nil, dims(n, 4), dims(4), dims(4)), dims(n, 4)},
		{"layer norm axes", one("LayerNormalization", axis(-2), dims(n, 4, 5), dims(4, 5)), dims(n, 4, 5)},
		{"layer norm scale", one("LayerNormalization", axis(1), dims(n, 4, 5), dims(5)), nil},

		{"flatten", one("Flatten", nil, dims(n, 1, 28, 28)), dims(n, 784)},
		{"flatten symbols", one("Flatten", axis(2), dims(n, t, 8)), dims(product(tt, n, t), 8)},
		{"flatten all", one("Flatten", axis(2), dims(2, 3)), dims(6, 1)},
		{"flatten none", one("Flatten", axis(0), dims(2, 3)), dims(1, 6)},
		{"flatten from the end", one("Flatten", axis(-1), dims(2, 3, 4)), dims(6, 4)},
		{"flatten axis", one("Flatten", axis(3), dims(2, 3)), nil},

		{"reshape", reshape(dims(n, 1, 28, 28), 0, -1, 784), dims(n, 784)},
		{"reshape copy", reshape(dims(n, 768), 0, 0, 12, 64), dims(n, 12, 64)},
		{"reshape copy and rest", reshape(dims(n, t, 768), 0, 0, 0, 12, -1), dims(n, t, 12, 64)},
		{"reshape folds symbols", reshape(dims(n, t, 8), 0, -1, 8), dims(product(tt, n, t), 8)},
		{"reshape scalar", reshape(dims(1, 1), 0), dims()},
		{"reshape elements", reshape(dims(n, 6), 0, -1, 4), nil},
		{"reshape too few", reshape(dims(6), 0, 4), nil},
		{"reshape symbol lost", reshape(dims(n, 6), 0, 6), nil},
		{"reshape two rests", reshape(dims(6), 0, -1, -1), nil},
		{"reshape negative", reshape(dims(6), 0, -2, 3), nil},
		{"reshape copy of nothing", reshape(dims(6), 0, 6, 0), nil},
		{"reshape zero", reshape(dims(6), 1, 0, 6), nil},
		{"reshape overflow", reshape(dims(6), 0, math.MaxInt64, 2, -1), nil},
		{"reshape unknown target", one("Reshape", nil, dims(6), dims(1)), nil},

		{"transpose", one("Transpose", nil, dims(n, 2, 3)), dims(3, 2, n)},
		{"transpose perm", one("Transpose", perm(0, 2, 1), dims(n, 2, 3)), dims(n, 3, 2)},
		{"transpose twice", one("Transpose", perm(0, 0, 1), dims(n, 2, 3)), nil},
		{"transpose rank", one("Transpose", perm(1, 0), dims(n, 2, 3)), nil},
		{"transpose range", one("Transpose", perm(0, 3, 1), dims(n, 2, 3)), nil},
	} {
		tt.Run(c.name, func(tt *testing.T) { checkShape(tt, c.g, c.want) })
	}
}

// checkShape compares the shape of value y; a shape nil is an error that names the node.
func checkShape(tt *testing.T, g *graph.Graph, want graph.Shape) {
	tt.Helper()
	if err := g.Validate(); err != nil {
		tt.Fatal(err)
	}
	values, err := g.InferShapes()
	switch {
	case want == nil && err == nil:
		tt.Fatalf("shape %s, want an error", values["y"].Shape)
	case want != nil && err != nil:
		tt.Fatal(err)
	case want == nil && !strings.Contains(err.Error(), `node "y" (`+g.Nodes[len(g.Nodes)-1].Op+`)`):
		tt.Fatalf("error %q does not name the node", err)
	case want != nil && !values["y"].Shape.Equal(want):
		tt.Fatalf("shape %s, want %s", values["y"].Shape, want)
	}
}

func TestConstants(tt *testing.T) {
	for _, c := range []struct {
		attrs graph.Attrs
		dtype tensor.DType
		shape graph.Shape
	}{
		{graph.Attrs{"value": tensor.New(tensor.F64, tensor.Shape{2, 3})}, tensor.F64, dims(2, 3)},
		{graph.Attrs{"value_int": int64(7)}, tensor.I64, dims()},
		{graph.Attrs{"value_ints": []int64{7, 8}}, tensor.I64, dims(2)},
		{graph.Attrs{"value_float": 7.5}, tensor.F32, dims()},
		{graph.Attrs{"value_floats": []float64{7.5}}, tensor.F32, dims(1)},
	} {
		values, err := one("Constant", c.attrs).InferShapes()
		if err != nil {
			tt.Errorf("%v: %v", c.attrs, err)
		} else if v := values["y"]; v.DType != c.dtype || !v.Shape.Equal(c.shape) {
			tt.Errorf("%v: %v %s, want %v %s", c.attrs, v.DType, v.Shape, c.dtype, c.shape)
		}
	}
	if _, err := one("Constant", nil).InferShapes(); err == nil {
		tt.Error("a Constant without a value has a shape")
	}
}

func TestUnknownOperator(tt *testing.T) {
	g := one("Mystery", nil, dims(n, 4))
	g.Nodes = append(g.Nodes, graph.Node{Op: "Relu", Inputs: []string{"y"}, Outputs: []string{"z"}})
	if err := g.Validate(); err != nil {
		tt.Fatal(err)
	}
	_, err := g.InferShapes()
	if !errors.Is(err, graph.ErrUnknownOperator) || !strings.Contains(err.Error(), `node "y" (Mystery)`) {
		tt.Fatalf("error %v does not name node and operator", err)
	}
	values, err := g.PartialShapes()
	if err != nil {
		tt.Fatal(err)
	}
	if _, ok := values["z"]; ok {
		tt.Fatal("a value after an unknown operator has a shape")
	}
	g.Declared = map[string]graph.Value{"y": {Name: "y", DType: tensor.F32, Shape: dims(n, 5)}}
	if values, err = g.PartialShapes(); err != nil {
		tt.Fatal(err)
	}
	if got := values["z"].Shape; !got.Equal(dims(n, 5)) {
		tt.Fatalf("shape %s after a declared one", got)
	}
}

// A Reshape whose target is computed leaves the shape open; the declaration fills the gap.
func TestComputedTarget(tt *testing.T) {
	g := one("Reshape", nil, dims(n, 6), dims(2))
	if _, err := g.InferShapes(); err == nil || !strings.Contains(err.Error(), "not a constant") {
		tt.Fatalf("error %v", err)
	}
	g.Declared = map[string]graph.Value{"y": {Name: "y", DType: tensor.F32, Shape: dims(n, 2, 3)}}
	values, err := g.PartialShapes()
	if err != nil {
		tt.Fatal(err)
	}
	if got := values["y"].Shape; !got.Equal(dims(n, 2, 3)) {
		tt.Fatalf("shape %s", got)
	}
}

func TestDeclaredMustAgree(tt *testing.T) {
	g := one("Relu", nil, dims(n, 4))
	g.Declared = map[string]graph.Value{"y": {Name: "y", DType: tensor.F32, Shape: dims(n, 5)}}
	if _, err := g.InferShapes(); err == nil || !strings.Contains(err.Error(), "declared") {
		tt.Fatalf("error %v, want one about the declaration", err)
	}
}

func TestUsedExtraOutputsAreRefused(tt *testing.T) {
	g := one("LayerNormalization", nil, dims(n, 4), dims(4))
	g.Nodes[0].Outputs = []string{"y", "mean", "invstd"}
	if _, err := g.InferShapes(); err != nil {
		tt.Fatalf("unused outputs: %v", err)
	}
	g.Outputs = append(g.Outputs, "invstd")
	if _, err := g.InferShapes(); err == nil || !strings.Contains(err.Error(), "invstd") {
		tt.Fatalf("error %v, want one naming the used output", err)
	}
}

func TestMixedTypesAreRefused(tt *testing.T) {
	for _, op := range []string{"Add", "MatMul", "Gemm", "PRelu"} {
		g := one(op, nil, dims(4, 4), dims(4, 4))
		g.Inputs[1].DType = tensor.F64
		if _, err := g.InferShapes(); err == nil || !strings.Contains(err.Error(), "differ in type") {
			tt.Errorf("%s: error %v", op, err)
		}
	}
}

// Hostile extents must be errors, not wrapped numbers.
func TestOverflow(tt *testing.T) {
	huge := math.MaxInt/2 + 1
	for _, s := range []graph.Shape{dims(huge, 2), dims(huge, 4, n), make(graph.Shape, graph.MaxRank+1), dims(0), dims(-1)} {
		if err := one("Relu", nil, s).Validate(); err == nil {
			tt.Errorf("shape %s is valid", s)
		}
	}
	// Each operand is possible, the result of broadcasting is not.
	g := one("Add", nil, dims(huge, 1), dims(1, huge))
	if err := g.Validate(); err != nil {
		tt.Fatal(err)
	}
	if _, err := g.InferShapes(); err == nil {
		tt.Error("an overflowing broadcast has a shape")
	}
}

// Monomials form a cancellative monoid: multiplication commutes and Div undoes it.
func TestDimArithmetic(tt *testing.T) {
	dim := rapid.Custom(func(r *rapid.T) graph.Dim {
		d := graph.Fixed(rapid.IntRange(1, 50).Draw(r, "size"))
		for _, s := range rapid.SliceOfN(rapid.SampledFrom([]string{"N", "T", "batch"}), 0, 3).Draw(r, "symbols") {
			var err error
			if d, err = d.Mul(graph.Sym(s)); err != nil {
				r.Fatal(err)
			}
		}
		return d
	})
	bind := map[string]int{"N": 3, "T": 5, "batch": 7}
	rapid.Check(tt, func(r *rapid.T) {
		a, b := dim.Draw(r, "a"), dim.Draw(r, "b")
		ab, err := a.Mul(b)
		if err != nil {
			r.Fatal(err)
		}
		if ba, _ := b.Mul(a); ab != ba {
			r.Fatalf("%s and %s do not commute: %s, %s", a, b, ab, ba)
		}
		if back, ok := ab.Div(b); !ok || back != a {
			r.Fatalf("%s divided by %s is %s, want %s", ab, b, back, a)
		}
		x, _ := a.Bind(bind)
		y, _ := b.Bind(bind)
		if z, err := ab.Bind(bind); err != nil || z != x*y {
			r.Fatalf("%s binds to %d, want %d", ab, z, x*y)
		}
	})
	if _, err := n.Bind(nil); err == nil {
		tt.Error("a symbol without a size binds")
	}
}
