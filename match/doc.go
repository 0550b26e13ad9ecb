// Package match finds the alignment that puts the units of one network in the order of another.
//
// Two networks A and B of one architecture come with a [symmetry.Symmetry]: the groups of units that may be permuted without changing what the
// network computes. An alignment P picks one element of it; P·B is B with its units reordered. The matchers differ in what they ask of P:
//
//   - [Weights] maximises the inner product <A, P·B> of the parameters by coordinate descent over groups (Algorithm 1 of the paper).
//   - [Activations] maximises the correlation of what the units do on data, one assignment per group (section 3.1 of the paper).
//   - [StraightThrough] minimises the loss at the midpoint of A and P·B by gradient descent through weight matching (Algorithm 2).
//   - [Auto] runs candidates from cheap to dear and keeps the one whose midpoint has the lowest loss.
//
// The paper is S. K. Ainsworth, J. Hayase, S. Srinivasa, "Git Re-Basin: Merging Models modulo Permutation Symmetries", ICLR 2023,
// arXiv:2209.04836.
//
// # Invariants
//
// Parameters are maps from tensor names to tensors; they are read, never written. Arithmetic is float32 with float64 wherever a decision rests on
// a difference: the objective of [Weights] never falls. The same options give the same alignment, whatever the number of threads. What needs a
// forward pass comes in through [ActivationSource] and [Objective]; this package knows no data set, optimiser loop or file.
package match
