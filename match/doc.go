// Package match finds the alignment that puts the units of one network in the order of another.
//
// Two networks A and B of one architecture come with a [symmetry.Symmetry]: the groups of units that may be permuted without changing what the
// network computes. An alignment P picks one element of it; P·B is B with its units reordered. The matchers differ in what they ask of P:
//
//   - [Weights] maximises the inner product <A, P·B> of the parameters by coordinate descent over groups (Algorithm 1 of the paper).
//   - [Activations] maximises the correlation of what the units do on data, one assignment per group (section 3.1 of the paper).
//   - [FrankWolfe] maximises the inner product over all groups at once, on doubly stochastic matrices.
//   - [StraightThrough] minimises the loss at the midpoint of A and P·B by gradient descent through weight matching (Algorithm 2).
//   - [Auto] runs candidates from cheap to dear and keeps the one whose midpoint has the lowest loss.
//
// More than two networks get an alignment each: by turns, each to the mean of the others, from [Many] (Algorithm 3), to a common space from [Cycle],
// and as a tree of pairs from [Pairwise].
//
// The paper is S. K. Ainsworth, J. Hayase, S. Srinivasa, "Git Re-Basin: Merging Models modulo Permutation Symmetries", ICLR 2023,
// arXiv:2209.04836.
//
// # Words
//
// A group's similarity is the matrix of what every unit of A would gain from the place of every unit of B; one assignment problem gives the best
// order. A block is a strided piece of a tensor whose axes are single factors of its layout, so that units stand on one of them: products,
// concatenations and virtual stacks are all made of blocks. A move reorders one group relative to where it stands.
//
// # Invariants
//
// Parameters are maps from tensor names to tensors; they are read, never written. Arithmetic is float32 with float64 wherever a decision rests on
// a difference: the objective of [Weights] never falls. The same options give the same alignment, whatever the number of threads. What needs a
// forward pass comes in through [ActivationSource] and [Objective]; this package knows no data set, optimiser loop or file.
package match
