package symmetry

import (
	"github.com/rebasin/rebasin/tensor"
)

// Group is the symmetric group on Size units that move together wherever the group's name stands in a layout.
//
// A group with Parents is a family: one independent permutation of Size units for every joint index of its parents, as
// for the dimensions inside each attention head. Parents are groups, families or names of [Symmetry.Fixed], listed from
// outer to inner; a family among them comes after all of its own parents, which are listed too.
type Group struct {
	Name    string
	Size    int
	Parents []string
}

// Factor is one factor of a row-major product. Name is a group, a family or a name of [Symmetry.Fixed]; an empty Name is
// a fixed extent. Size is the extent in every case.
type Factor struct {
	Name string
	Size int
}

// Segment is a row-major product of factors: the last factor varies fastest.
type Segment []Factor

// Axis is a concatenation of segments, in order.
type Axis []Segment

// Layout says how every axis of a tensor is made of units. A scalar has a layout without axes.
type Layout []Axis

// Symmetry is all groups of a network and the layout of every axis of every tensor.
type Symmetry struct {
	// Groups are the groups and families, each name once.
	Groups []Group
	// Fixed are named extents that do not move but may be parents, as the two directions of a recurrent layer.
	Fixed map[string]int
	// Layouts are keyed by the tensor's name or, for a virtual stack, by a name with holes: the layout of
	// "experts.{e}.w1" is that of each of the tensors "experts.0.w1", "experts.1.w1", ..., whose names e permutes.
	Layouts map[string]Layout
	// Shapes are those of the tensors of the checkpoint; a virtual stack has its members here, not its own name.
	Shapes map[string]tensor.Shape
	// Sites are, by group, the values of the graph where its units can be observed.
	Sites map[string][]Site
	// Pinned are the axes and parts of axes that must keep their order, with the reason.
	Pinned []Pin
	// Constant are the tensors that are no parameters: an alignment may move them, a proof may not redraw them.
	Constant map[string]bool
	// Statistics are the tensors, sorted, that follow the data instead of being trained: running means and variances of
	// normalisations. An alignment moves them; they have no part in objectives that compare parameters.
	Statistics []string
}

// Site is a value of the graph with its layout. Its batch axis is fixed.
type Site struct {
	Value  string
	Layout Layout
}

// Pin says that an axis of a tensor, or a part of it, keeps its order, and why. Axis -1 means every axis of the tensor;
// Part is empty where the whole axis is meant, else the part in the text form of layouts.
type Pin struct {
	Tensor string
	Axis   int
	Part   string
	Why    string
}

// Alignment is one element of a symmetry.
//
// Perms holds, for a group of n units, n entries: unit i of the result is unit p[i] of the source. For a family it holds
// one such permutation after the other, row-major over the joint index of its parents: product of parent extents, times
// n, entries. The joint index is that of the result's parents: result(i, j) = source(sigma[i], tau_i[j]).
type Alignment struct {
	Perms map[string][]int32
}

// Group returns the group or family of that name.
func (s *Symmetry) Group(name string) (Group, bool) {
	for _, g := range s.Groups {
		if g.Name == name {
			return g, true
		}
	}
	return Group{}, false
}

// FixedAxis is an axis of n units that keep their order.
func FixedAxis(n int) Axis { return Axis{{{Size: n}}} }

// GroupAxis is an axis made of one group or family.
func GroupAxis(name string, n int) Axis { return Axis{{{Name: name, Size: n}}} }

// Len is the number of positions: the product of the factors' sizes.
func (s Segment) Len() int {
	n := 1
	for _, f := range s {
		n *= f.Size
	}
	return n
}

// Len is the number of positions: the sum over the segments.
func (a Axis) Len() int {
	n := 0
	for _, s := range a {
		n += s.Len()
	}
	return n
}

// Shape is the shape of a tensor of this layout.
func (l Layout) Shape() tensor.Shape {
	shape := make(tensor.Shape, len(l))
	for i, a := range l {
		shape[i] = a.Len()
	}
	return shape
}
