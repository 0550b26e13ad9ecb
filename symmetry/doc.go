// Package symmetry says which units of a network may change places without changing what it computes, and moves them.
//
// # Words
//
// A unit is one interchangeable thing: a hidden neuron, a channel, an attention head, an expert. A [Group] is the
// symmetric group on n units that move together wherever they appear. A group with parents is a family: one independent
// permutation for every joint index of its parents, as for the dimensions inside each head. A [Layout] says how the axes
// of a tensor are made of units, a [Symmetry] is all groups and layouts of a network, and an [Alignment] is one element
// of the symmetry. What must keep its order is pinned, with a reason.
//
// The idea, for matching and merging, is that of Ainsworth, Hayase, Srinivasa, Git Re-Basin: Merging Models modulo
// Permutation Symmetries (ICLR 2023, arXiv 2209.04836); families, products and concatenations extend it to networks whose
// axes are not whole groups.
//
// # Layouts as text
//
// After einops (Rogozhnikov, ICLR 2022), for people, errors and specification files. One word or parenthesis is one axis:
//
//	fc2.weight               h2 h1                      a linear layer [out, in]
//	fc1.weight               h1 (c5 7 7)                flattened channels: a row-major product
//	conv.weight              c1 c0 3 3                  numbers are fixed
//	cat.weight               c9 (c3 + c5) 1 1           a concatenation feeds it
//	qkv.weight               ((heads dk[heads]) + (heads dk[heads]) + (heads dv[heads])) d
//	grouped.weight           (g o[g]) i[g] 3 3          the parent of i stands on another axis
//	experts.{e}.w1.weight    f[e] d                     a virtual stack: e permutes the tensors' names
//
// A name is a group, a family with its parents in brackets, or a named fixed extent ("fixed: {direction: 2}"); a number
// is a fixed extent and _ a fixed extent of any size. Products bind before +, and a concatenation is not a factor of a
// product. A scalar has the empty layout. [ParseLayout] reads the form and [Symmetry.Format] writes it.
//
// # Rules
//
// Parents are listed from outer to inner; a family among them stands after all of its own parents, which are listed too:
// x[a,q] where q[a]. So the joint index of the parents tells every parent's own joint index.
//
// Wherever a family stands, its parents stand in the same tensor, and where each position finds the parent's index is
// clear: a parent in the family's own product is meant, and stands there once; otherwise exactly one axis of the tensor
// carries the parent, it is another one than the family's, and the parent stands exactly once in each of its segments.
// The virtual axes of a stack are axes like others.
//
// # Alignments
//
// Unit i of the result is unit p[i] of the source. With a family τ of σ, result(i, j) = source(σ[i], τ_i[j]): τ is
// indexed by the result's parent. (σ,τ) followed by (σ′,τ′) is (σ∘σ′, τ_{σ′[i]}∘τ′_i), which is [Symmetry.Compose], so
// that Apply(then, Apply(first, T)) = Apply(Compose(first, then), T). Alignments are a group under it, with
// [Symmetry.Identity] and [Symmetry.Invert].
//
// # Where symmetries come from
//
// From a graph ([Infer]), or from a specification file ([ParseSpec]). What a file says is checked against the shapes of
// the tensors; whether it is a symmetry of the function, only running the network can tell.
package symmetry
