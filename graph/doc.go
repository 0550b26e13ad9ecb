// Package graph describes networks: the operators, the values that flow between them, and the shapes of those values.
//
// A [Graph] is a list of [Node]s in topological order. Names of operators, their attributes and their semantics are those of ONNX at one
// canonical operator set, [Opset]; readers of older files convert. The package is a pure data structure: it holds no parameters' data, runs
// nothing and reads no files. The engine nn runs a graph, symmetry.Infer reads it, zoo builds it.
//
// # Words
//
//   - value: a named tensor in the graph: an input, a parameter, or an output of a node;
//   - parameter: a trained tensor, listed in Graph.Params with its shape; its data lives elsewhere, under the same name;
//   - constant: the output of a Constant node, as the target shape of a Reshape;
//   - symbolic extent: an extent known only when the network runs, as the batch size "N". A [Dim] is a monomial: a number times symbols, so
//     that [N, T, 64] may be reshaped to [N*T, 64] and back.
//
// # Invariants
//
// A graph that passes [Graph.Validate] has unique value names, defined before they are used, attributes of known types, arities that its
// operators permit, and extents that are positive and bounded. Operators that this package does not know are valid; [Graph.InferShapes]
// reports them, and [Graph.PartialShapes] goes around them as far as it can.
//
// # Example
//
//	b := graph.NewBuilder("tiny")
//	x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(784))
//	h := b.Relu("h1", b.Gemm("z1", x, b.Param("fc1.weight", 512, 784), b.Param("fc1.bias", 512)))
//	b.Output(b.Gemm("logits", h, b.Param("fc2.weight", 10, 512), b.Param("fc2.bias", 10)))
//	g, err := b.Graph()
package graph
