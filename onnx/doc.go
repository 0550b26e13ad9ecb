// Package onnx reads ONNX files as networks, and writes them.
//
// [Open] reads a model: its initializers are the tensors of a checkpoint.Reader, its nodes become a graph.Graph ([File.Graph]) at the one operator
// set that graphs have, whichever of the sets 9 to 23 the file was written in. [File.Write] writes the model again with other values of
// its initializers.
//
// # Words
//
//   - initializer: a named tensor of the file. One of floats is a parameter of the graph; one of integers, or one that sets an operator up, as
//     the bounds of a Clip, is a constant: it becomes a Constant node;
//   - skeleton: the file without the data of its initializers. It is what is held in memory; data is read when it is asked for;
//   - external data: the data of tensors in files of their own beside the model, at the offsets that the model names;
//   - folded: a node whose result is known before anything runs, as the arithmetic on shapes that exporters write around a Reshape.
//
// # From a file to a graph
//
// Every value keeps its name. Nodes are put in topological order where they are not, older forms of operators become those of [graph.Opset],
// nodes of constants are folded, and what only they read is left out. Shapes may have symbols: a Reshape whose target is computed from the
// batch gets -1 or 0 in its place. Floats of any width are F32 in the graph, since the engine decides what is computed in. The graph has the
// form of inference: a BatchNormalization or a Dropout in training mode loses that mode. An operator that package graph does not know, or one of
// another domain (as "com.microsoft.FusedConv"), is carried as a node: symmetries pin what it touches, and an engine says that it cannot run it.
// Control flow (If, Loop, Scan) is refused.
//
// # Writing
//
// A file is patched, not generated: every byte stays but the data of the initializers that are written and the metadata that is added, so that
// names, documentation, the operator set and fields that this package does not know pass through. External data goes into one file beside the
// new one, NAME.data. Memory holds one tensor at a time.
//
// # Hostile files
//
// Every size is compared with that of the file before memory is taken, the number and the nesting of messages are bounded, and external data must
// lie in the folder of the model or below it. What is wrong with a file is an error that matches checkpoint.ErrFormat where the content is to
// blame, and names the file and the node or tensor.
package onnx
