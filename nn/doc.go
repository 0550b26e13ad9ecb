// Package nn runs a graph.Graph forward and backward on the CPU.
//
// # Words
//
//   - engine: one graph made ready to run, with its parameters, their gradients and its worker threads;
//   - arena: one flat slice with all parameters, or all gradients; a [ParamSpec] says where each tensor lies in it;
//   - plan: what an engine prepares once for each batch size: the list of steps, each bound to its memory, and that memory;
//   - step: one operator at one place of the graph, or several fused into one, as Gemm and the Relu behind it;
//   - store: what has memory in a plan: an input, a parameter, a constant or the result of a step. Values that are views of one another
//     (Reshape, Flatten, Identity) share a store, and therefore a gradient.
//
// # Memory
//
// A plan gives every buffer an interval of time: a step runs forward at one moment and backward at a later one, and a buffer lives from
// its first write to its last read. Buffers whose intervals do not meet share memory, elementwise operators work in place where nobody
// reads their input again, and so inference needs little more than two layers' worth while training keeps just what gradients read. A
// step in steady state allocates nothing. Plans of a few batch sizes are kept, the one longest unused goes first.
//
// # Gradients
//
// Backward takes the gradient of a loss with respect to the first output and overwrites the gradients of all parameters. Only what
// depends on parameters gets a gradient: nothing is computed for the input of the first layer. Where a value has several consumers, their
// contributions are added in the reverse order of the nodes. The gradient of Relu, LeakyRelu and PRelu at 0 is that of the negative side.
// The loss lives outside the graph: [CrossEntropy] takes logits, on which a final LogSoftmax is harmless; [StripSoftmax] removes a final
// Softmax.
//
// # Determinism
//
// The same parameters, input and seed give the same bytes for any number of threads: work is cut into pieces that do not depend on it,
// and every sum has a fixed order. Dropout draws its masks from a counter, so that they depend on the seed, the number of the Forward
// call ([Engine.SetStep]) and the place of the element alone.
//
// # Example
//
//	e, err := nn.New[float32](g, nn.Options{Training: true})
//	defer e.Close()
//	err = e.SetParams(params)
//	logits, err := e.Forward(x, batch)
//	sum, correct := nn.CrossEntropy(logits, labels, 10, dlogits)
//	err = e.Backward(dlogits)
//	for i, g := range e.Grads() {
//		e.Params()[i] -= rate * g
//	}
package nn
