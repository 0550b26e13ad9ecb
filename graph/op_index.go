package graph

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/rebasin/rebasin/tensor"
)

// indexOperators choose, repeat and make elements by their place.
var indexOperators = map[string]operator{
	"Split":          {inputs: between(1, 2), outputs: arity{1, many}, attrs: map[string]string{"axis": "INT", "num_outputs": "INT"}, infer: split},
	"Gather":         {inputs: two, outputs: one, attrs: map[string]string{"axis": "INT"}, infer: gather},
	"GatherElements": {inputs: two, outputs: one, attrs: map[string]string{"axis": "INT"}, infer: gatherElements},
	"Expand":         {inputs: two, outputs: one, infer: expand},
	"Tile":           {inputs: two, outputs: one, infer: tile},
	"Trilu":          {inputs: between(1, 2), outputs: one, attrs: map[string]string{"upper": "INT"}, infer: trilu},
	"Shape":          {inputs: one, outputs: one, attrs: map[string]string{"start": "INT", "end": "INT"}, infer: shapeOf},
	"ConstantOfShape": {
		inputs: one, outputs: one, attrs: map[string]string{"value": "TENSOR"}, infer: constantOfShape,
	},
	"Range": {inputs: arity{3, 3}, outputs: one, infer: rangeValues},
}

// extents reads input i, a list of I64 whose values are known, perhaps with symbols. Numbers in it may be negative or 0.
func (c *call) extents(i int) (Shape, error) {
	name := c.node.Input(i)
	list, ok := c.list(i)
	if _, constant := c.constants[name]; !ok && !constant {
		return nil, fmt.Errorf("input %q: %w", name, errComputedShape)
	}
	if v := c.in[i]; !ok || v.DType != tensor.I64 || v.Shape.Rank() != 1 {
		return nil, fmt.Errorf("input %q is %v %s, not a list of I64", name, v.DType, v.Shape)
	}
	if len(list) > MaxRank {
		return nil, fmt.Errorf("input %q: rank %d exceeds %d", name, len(list), MaxRank)
	}
	return list, nil
}

// list is input i, a list of I64 or one number of them, where that is known.
func (c *call) list(i int) (Shape, bool) {
	if list, ok := c.lists[c.node.Input(i)]; ok {
		return list, true
	}
	t, ok := c.constants[c.node.Input(i)]
	if !ok || t.DType() != tensor.I64 || len(t.Shape()) > 1 {
		return nil, false
	}
	list := make(Shape, t.Len())
	for k, v := range tensor.Of[int64](t) {
		if int64(int(v)) != v {
			return nil, false
		}
		list[k] = Fixed(int(v))
	}
	return list, true
}

// SplitSizes is the extent of each output of a Split node, along the axis. Constants are those of [Graph.Constants].
func SplitSizes(n *Node, shape Shape, constants map[string]*tensor.Tensor) (axis int, sizes []int, err error) {
	if axis, err = Axis(n.Attrs.Int("axis", 0), shape.Rank()); err != nil {
		return 0, nil, err
	}
	given, err := n.list(1, constants)
	if err != nil {
		return 0, nil, err
	}
	d, parts := shape[axis], len(n.Outputs)
	if !d.IsFixed() {
		return 0, nil, fmt.Errorf("a part of extent %s: %w", d, errComputedShape)
	}
	if n.Input(1) == "" {
		each := (d.Size-1)/parts + 1 // the last part may be smaller
		for i := range parts {
			sizes = append(sizes, min(each, d.Size-i*each))
		}
	}
	for _, v := range given {
		sizes = append(sizes, int(min(v, math.MaxInt32)))
	}
	sum := 0
	for _, v := range sizes {
		if v < 1 || v > d.Size-sum {
			return 0, nil, fmt.Errorf("parts %v do not make extent %s of axis %d", sizes, d, axis)
		}
		sum += v
	}
	if sum != d.Size || len(sizes) != parts {
		return 0, nil, fmt.Errorf("parts %v do not make extent %s of axis %d for %d outputs", sizes, d, axis, parts)
	}
	return axis, sizes, nil
}

func split(c *call) ([]Value, error) {
	if n := c.node.Attrs.Int("num_outputs", int64(len(c.node.Outputs))); n != int64(len(c.node.Outputs)) {
		return nil, fmt.Errorf("attribute num_outputs is %d, the node has %d outputs", n, len(c.node.Outputs))
	}
	axis, sizes, err := SplitSizes(c.node, c.shape(0), c.constants)
	if err != nil {
		return nil, err
	}
	var outs []Value
	for _, n := range sizes {
		s := slices.Clone(c.shape(0))
		s[axis] = Fixed(n)
		outs = append(outs, Value{DType: c.in[0].DType, Shape: s})
	}
	return outs, nil
}

func isInteger(d tensor.DType) bool { return d == tensor.I64 || d == tensor.I32 }

// gather puts the shape of the indices in the place of the axis from which they take.
func gather(c *call) ([]Value, error) {
	axis, err := c.indexed()
	if err != nil {
		return nil, err
	}
	s := c.shape(0)
	if err := c.checkIndices(s[axis]); err != nil {
		return nil, err
	}
	return c.result(slices.Concat(s[:axis], c.shape(1), s[axis+1:]))
}

// indexed is the axis that the indices, input 1, are of.
func (c *call) indexed() (int, error) {
	if !isInteger(c.in[1].DType) {
		return 0, fmt.Errorf("indices %q are %v, not I64 or I32", c.node.Input(1), c.in[1].DType)
	}
	return Axis(c.node.Attrs.Int("axis", 0), c.shape(0).Rank())
}

// checkIndices holds constant indices to the extent of their axis; negative ones count from the end.
func (c *call) checkIndices(extent Dim) error {
	t, ok := c.constants[c.node.Input(1)]
	if !ok || !extent.IsFixed() {
		return nil
	}
	for _, v := range readInts(t) {
		if v < -int64(extent.Size) || v >= int64(extent.Size) {
			return fmt.Errorf("index %d of %q is outside extent %s", v, c.node.Input(1), extent)
		}
	}
	return nil
}

// gatherElements takes for each of its indices the element at the same place but along the axis.
func gatherElements(c *call) ([]Value, error) {
	axis, err := c.indexed()
	if err != nil {
		return nil, err
	}
	data, indices := c.shape(0), c.shape(1)
	if data.Rank() != indices.Rank() {
		return nil, fmt.Errorf("indices of shape %s do not fit %q of shape %s", indices, c.node.Input(0), data)
	}
	for i, d := range indices {
		if i != axis && d != data[i] && (!d.IsFixed() || !data[i].IsFixed() || d.Size > data[i].Size) {
			return nil, fmt.Errorf("indices of shape %s do not fit %q of shape %s", indices, c.node.Input(0), data)
		}
	}
	if err := c.checkIndices(data[axis]); err != nil {
		return nil, err
	}
	return c.result(indices)
}

// expand broadcasts both ways: an extent 1 of the target keeps that of the input.
func expand(c *call) ([]Value, error) {
	target, err := c.extents(1)
	if err != nil {
		return nil, err
	}
	if err := target.validate(1); err != nil {
		return nil, fmt.Errorf("target %q: %w", c.node.Input(1), err)
	}
	s, err := Broadcast(c.shape(0), target)
	if err != nil {
		return nil, err
	}
	return c.result(s)
}

func tile(c *call) ([]Value, error) {
	repeats, err := c.extents(1)
	if err != nil {
		return nil, err
	}
	in := c.shape(0)
	if len(repeats) != in.Rank() {
		return nil, fmt.Errorf("repeats %s do not fit %q of shape %s", repeats, c.node.Input(0), in)
	}
	if err := repeats.validate(1); err != nil {
		return nil, fmt.Errorf("repeats %q: %w", c.node.Input(1), err)
	}
	out := slices.Clone(in)
	for i, r := range repeats {
		if out[i], err = in[i].Mul(r); err != nil {
			return nil, err
		}
	}
	return c.result(out)
}

// trilu sets the elements beyond a diagonal of the last two axes to zero.
func trilu(c *call) ([]Value, error) {
	if c.shape(0).Rank() < 2 {
		return nil, fmt.Errorf("input %q of shape %s is no matrix", c.node.Input(0), c.shape(0))
	}
	if _, err := Diagonal(c.node, c.constants); err != nil {
		return nil, err
	}
	return unary(c)
}

// Diagonal is the number of the diagonal up to which a Trilu node keeps elements, 0 being the main one and 1 that above it. Constants are those of
// [Graph.Constants].
func Diagonal(n *Node, constants map[string]*tensor.Tensor) (int64, error) {
	if n.Input(1) == "" {
		return 0, nil
	}
	t, ok := constants[n.Input(1)]
	if !ok {
		return 0, fmt.Errorf("input %q: %w", n.Input(1), errComputedShape)
	}
	if t.DType() != tensor.I64 || t.Len() != 1 {
		return 0, fmt.Errorf("input %q is %v %v, not a number of I64", n.Input(1), t.DType(), t.Shape())
	}
	return min(max(tensor.Of[int64](t)[0], -maxWindow), maxWindow), nil
}

// KeepsElement says whether a Trilu node keeps the element of a row and a column.
func KeepsElement(n *Node, diagonal int64, row, column int) bool {
	if n.Attrs.Int("upper", 1) != 0 {
		return int64(column) >= int64(row)+diagonal
	}
	return int64(column) <= int64(row)+diagonal
}

// ShapeStart is the first axis of a value of some rank that a Shape node asks for.
func ShapeStart(n *Node, rank int) int { return clampAxis(n.Attrs.Int("start", 0), rank) }

func clampAxis(v int64, rank int) int {
	if v < 0 {
		v += int64(rank)
	}
	return int(min(max(v, 0), int64(rank)))
}

// shapePart is the part of a shape that a Shape node asks for.
func shapePart(n *Node, s Shape) Shape {
	start := ShapeStart(n, len(s))
	return s[start:max(start, clampAxis(n.Attrs.Int("end", math.MaxInt64), len(s)))]
}

func shapeOf(c *call) ([]Value, error) {
	return []Value{{DType: tensor.I64, Shape: ShapeOf(len(shapePart(c.node, c.shape(0))))}}, nil
}

// FilledWith is the tensor of one element that a ConstantOfShape node repeats: 0 of F32 where the attribute is absent.
func FilledWith(n *Node) (*tensor.Tensor, error) {
	t := n.Attrs.Tensor("value")
	if t == nil {
		return tensor.FromSlice(tensor.Shape{1}, []float32{0}), nil
	}
	if t.Len() != 1 {
		return nil, fmt.Errorf("attribute value has shape %v, not one element", t.Shape())
	}
	return t, nil
}

func constantOfShape(c *call) ([]Value, error) {
	t, err := FilledWith(c.node)
	if err != nil {
		return nil, err
	}
	s, err := c.extents(0)
	if err != nil {
		return nil, err
	}
	return []Value{{DType: t.DType(), Shape: s}}, nil
}

// rangeValues counts from a start below a limit by a delta, all numbers.
func rangeValues(c *call) ([]Value, error) {
	if err := c.sameType(); err != nil {
		return nil, err
	}
	for i := range 3 {
		if c.shape(i).Rank() > 1 {
			return nil, fmt.Errorf("input %q of shape %s is not a number", c.node.Input(i), c.shape(i))
		}
	}
	n, err := c.rangeLength()
	if err != nil {
		return nil, err
	}
	return c.result(Shape{n})
}

func (c *call) rangeLength() (Dim, error) {
	start, okStart := c.list(0)
	limit, okLimit := c.list(1)
	delta, okDelta := c.list(2)
	if okStart && okLimit && okDelta && start[0] == Fixed(0) && delta.Equal(ShapeOf(1)) && !limit[0].IsFixed() {
		return limit[0], nil
	}
	var v [3]float64
	for i := range v {
		t, ok := c.constants[c.node.Input(i)]
		if !ok || t.Len() != 1 {
			return Dim{}, fmt.Errorf("input %q: %w", c.node.Input(i), errComputedShape)
		}
		v[i] = readFloats(t)[0]
	}
	n := math.Ceil((v[1] - v[0]) / v[2])
	if !(n >= 0 && n <= maxFolded) {
		return Dim{}, errors.New("a range without an end, or too long")
	}
	return Fixed(int(n)), nil
}
