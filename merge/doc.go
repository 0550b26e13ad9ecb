// Package merge combines aligned networks in weight space.
//
// A merge is a [Plan], made from the inputs' headers alone, which can be printed, and then executed tensor by tensor: memory is that of the largest
// few tensors, not of the checkpoints. What the tensors mean does not matter here; aligning them first does.
//
// What averaging does to the statistics of channels is repaired by a [Repairer], which runs the network through the interface [Forward].
//
// Floating-point tensors are combined in float32 (float64 tensors in float64) and written in their own dtype. Tensors without arithmetic
// are copied when they are equal; BatchNorm's counter num_batches_tracked is the first model's. Other differences are errors, never averages.
package merge
