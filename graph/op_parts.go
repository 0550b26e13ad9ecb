package graph

import (
	"fmt"
	"math"
	"slices"

	"github.com/rebasin/rebasin/tensor"
)

// partOperators make values longer or shorter along some axes.
var partOperators = map[string]operator{
	"Concat": {inputs: arity{1, many}, outputs: one, attrs: map[string]string{"axis": "INT"}, infer: concat},
	"Pad":    {inputs: between(2, 4), outputs: one, attrs: map[string]string{"mode": "STRING"}, infer: pad},
	"Slice":  {inputs: between(3, 5), outputs: one, infer: slice},
}

// concat puts its inputs one after the other; they agree in all axes but one.
func concat(c *call) ([]Value, error) {
	if err := c.sameType(); err != nil {
		return nil, err
	}
	if i := slices.Index(c.node.Inputs, ""); i >= 0 {
		return nil, fmt.Errorf("input %d is absent", i)
	}
	if !c.node.Attrs.Has("axis") {
		return nil, fmt.Errorf("attribute axis is missing")
	}
	out := slices.Clone(c.shape(0))
	axis, err := Axis(c.node.Attrs.Int("axis", 0), out.Rank())
	if err != nil {
		return nil, err
	}
	for i := 1; i < len(c.in); i++ {
		s := slices.Clone(c.shape(i))
		if s.Rank() != out.Rank() {
			return nil, fmt.Errorf("inputs %q of shape %s and %q of shape %s differ in rank", c.node.Input(0), c.shape(0), c.node.Input(i), s)
		}
		sum, err := out[axis].plus(s[axis])
		if err != nil {
			return nil, fmt.Errorf("axis %d: %w", axis, err)
		}
		if s[axis] = out[axis]; !s.Equal(out) {
			return nil, fmt.Errorf("inputs %q of shape %s and %q of shape %s differ in more than axis %d",
				c.node.Input(0), c.shape(0), c.node.Input(i), c.shape(i), axis)
		}
		out[axis] = sum
	}
	return c.result(out)
}

// plus adds two extents; a sum of different monomials is none.
func (d Dim) plus(e Dim) (Dim, error) {
	if d.Sym != e.Sym {
		return Dim{}, fmt.Errorf("%s + %s: %w", d, e, errComputedShape)
	}
	if d.Size > math.MaxInt-e.Size {
		return Dim{}, errOverflow
	}
	return Dim{Size: d.Size + e.Size, Sym: d.Sym}, nil
}

// list reads input i of a node, a list of I64 that must be a constant; nil when the input is absent.
func (n *Node) list(i int, constants map[string]*tensor.Tensor) ([]int64, error) {
	name := n.Input(i)
	if name == "" {
		return nil, nil
	}
	t, ok := constants[name]
	if !ok {
		return nil, fmt.Errorf("input %q: %w", name, errComputedShape)
	}
	if t.DType() != tensor.I64 || len(t.Shape()) != 1 {
		return nil, fmt.Errorf("input %q is %v %v, not a list of I64", name, t.DType(), t.Shape())
	}
	return tensor.Of[int64](t), nil
}

// axesOf reads input i of a node, a list of different axes of a value of this rank; nil when the input is absent.
func (n *Node) axesOf(i, rank int, constants map[string]*tensor.Tensor) ([]int, error) {
	list, err := n.list(i, constants)
	if err != nil || n.Input(i) == "" {
		return nil, err
	}
	axes := make([]int, len(list))
	for k, v := range list {
		if axes[k], err = Axis(v, rank); err != nil {
			return nil, err
		}
		if slices.Contains(axes[:k], axes[k]) {
			return nil, fmt.Errorf("axes %v: %d stands there twice", list, v)
		}
	}
	return axes, nil
}

// PadAmounts reads how many elements a Pad node puts before and after each axis of a value of this rank; negative ones are cut off. Constants are
// those of [Graph.Constants].
func PadAmounts(n *Node, rank int, constants map[string]*tensor.Tensor) (before, after []int, err error) {
	pads, err := n.list(1, constants)
	if err != nil {
		return nil, nil, err
	}
	axes, err := n.axesOf(3, rank, constants)
	if err != nil {
		return nil, nil, err
	}
	if n.Input(3) == "" {
		axes = allAxes(rank)
	}
	if len(pads) != 2*len(axes) {
		return nil, nil, fmt.Errorf("pads %v do not fit %d axes", pads, len(axes))
	}
	before, after = make([]int, rank), make([]int, rank)
	for i, axis := range axes {
		b, a := pads[i], pads[len(axes)+i]
		if max(b, a) > maxWindow || min(b, a) < -maxWindow {
			return nil, nil, fmt.Errorf("pads %v: %d and %d are not possible", pads, b, a)
		}
		before[axis], after[axis] = int(b), int(a)
	}
	return before, after, nil
}

func allAxes(rank int) []int {
	axes := make([]int, rank)
	for i := range axes {
		axes[i] = i
	}
	return axes
}

func pad(c *call) ([]Value, error) {
	switch mode := c.node.Attrs.String("mode", "constant"); mode {
	case "constant", "reflect", "edge", "wrap":
	default:
		return nil, fmt.Errorf("attribute mode is %q, not constant, reflect, edge or wrap", mode)
	}
	if c.has(2) {
		if n, err := c.shape(2).Elements(); err != nil || !n.IsOne() || c.in[2].DType != c.in[0].DType {
			return nil, fmt.Errorf("value %q, %v %s, is not a scalar of %v", c.node.Input(2), c.in[2].DType, c.shape(2), c.in[0].DType)
		}
	}
	out := slices.Clone(c.shape(0))
	before, after, err := PadAmounts(c.node, out.Rank(), c.constants)
	if err != nil {
		return nil, err
	}
	for i, d := range out {
		sum := before[i] + after[i]
		switch {
		case before[i] == 0 && after[i] == 0:
		case !d.IsFixed():
			return nil, fmt.Errorf("padding of extent %s: %w", d, errComputedShape)
		case d.Size > math.MaxInt-2*maxWindow:
			return nil, errOverflow
		case d.Size+min(before[i], 0)+min(after[i], 0) < 0:
			return nil, fmt.Errorf("axis %d of shape %s has less than pads %d and %d cut off", i, c.shape(0), before[i], after[i])
		default:
			out[i].Size += sum
		}
	}
	return c.result(out)
}

// Range is what a Slice takes of one axis: Len elements, First and every Step-th from there, which may be negative.
type Range struct{ First, Step, Len int }

// SliceRanges reads what a Slice node takes of each axis of a value of this shape. Constants are those of [Graph.Constants]. An axis of symbolic
// extent that is taken whole has the Range{0, 1, -1}.
func SliceRanges(n *Node, shape Shape, constants map[string]*tensor.Tensor) ([]Range, error) {
	var lists [2][]int64
	for i := range lists {
		var err error
		if lists[i], err = n.list(1+i, constants); err != nil {
			return nil, err
		}
	}
	starts, ends := lists[0], lists[1]
	axes, err := n.axesOf(3, shape.Rank(), constants)
	if err != nil {
		return nil, err
	}
	if n.Input(3) == "" {
		axes = allAxes(min(shape.Rank(), len(starts)))
	}
	steps, err := n.list(4, constants)
	if err != nil {
		return nil, err
	}
	if n.Input(4) == "" {
		steps = slices.Repeat([]int64{1}, len(axes))
	}
	if len(starts) != len(axes) || len(ends) != len(axes) || len(steps) != len(axes) {
		return nil, fmt.Errorf("starts %v, ends %v and steps %v do not fit %d axes", starts, ends, steps, len(axes))
	}
	ranges := make([]Range, shape.Rank())
	for i, d := range shape {
		ranges[i] = Range{Step: 1, Len: d.Size}
		if !d.IsFixed() {
			ranges[i].Len = -1
		}
	}
	for i, axis := range axes {
		if steps[i] == 0 {
			return nil, fmt.Errorf("steps %v: a step of 0 goes nowhere", steps)
		}
		if d := shape[axis]; d.IsFixed() {
			ranges[axis] = rangeOf(starts[i], ends[i], steps[i], int64(d.Size))
		} else if starts[i] != 0 || steps[i] != 1 || ends[i] < math.MaxInt32 {
			return nil, fmt.Errorf("a part of extent %s: %w", d, errComputedShape)
		}
	}
	return ranges, nil
}

// rangeOf counts negative places from the end and cuts what lies outside to the extent. Unlike Python's, a backward range that starts before the
// first element starts at it, as ONNX has it.
func rangeOf(start, end, step, extent int64) Range {
	for _, place := range []*int64{&start, &end} {
		if *place < 0 {
			*place = max(*place+extent, -1)
		}
	}
	var count int64
	if step > 0 {
		start, end = min(max(start, 0), extent), min(max(end, 0), extent)
		if end > start {
			count = (end-start-1)/step + 1
		}
	} else {
		start, end = min(max(start, 0), extent-1), min(end, extent-1)
		if step = max(step, -extent); start > end {
			count = (start-end-1)/-step + 1
		}
	}
	return Range{First: int(start), Step: int(min(step, extent)), Len: int(count)}
}

func slice(c *call) ([]Value, error) {
	ranges, err := SliceRanges(c.node, c.shape(0), c.constants)
	if err != nil {
		return nil, err
	}
	out := slices.Clone(c.shape(0))
	for i, r := range ranges {
		if out[i].IsFixed() {
			out[i].Size = r.Len
		}
	}
	return c.result(out)
}
