package graph

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/rebasin/rebasin/tensor"
)

// spatialOperators enlarge and fold images.
var spatialOperators = map[string]operator{
	"ConvTranspose": {
		inputs: between(2, 3), outputs: one,
		attrs: windowAttrs(map[string]string{"group": "INT", "output_padding": "INTS", "output_shape": "INTS"}),
		infer: convTranspose,
	},
	"Resize": {
		inputs: between(1, 4), outputs: one,
		attrs: map[string]string{
			"antialias": "INT", "axes": "INTS", "coordinate_transformation_mode": "STRING", "cubic_coeff_a": "FLOAT", "exclude_outside": "INT",
			"extrapolation_value": "FLOAT", "keep_aspect_ratio_policy": "STRING", "mode": "STRING", "nearest_mode": "STRING",
		},
		infer: resize,
	},
	"DepthToSpace": {inputs: one, outputs: one, attrs: map[string]string{"blocksize": "INT", "mode": "STRING"}, infer: folded},
	"SpaceToDepth": {inputs: one, outputs: one, attrs: map[string]string{"blocksize": "INT"}, infer: folded},
}

// TransposedWindowOf reads the window of a ConvTranspose over spatial axes of these extents: element i of the input adds to the elements
// i*Stride - Before + k*Dilation of the output, Out being its extents.
func TransposedWindowOf(n *Node, spatial, kernel []int) (Window, error) {
	w, err := readWindow(n, len(spatial), kernel)
	if err != nil {
		return Window{}, err
	}
	padding, err := n.extents("output_padding", len(spatial), 0)
	if err != nil {
		return Window{}, err
	}
	wanted, err := n.extents("output_shape", len(spatial), 1)
	if err != nil {
		return Window{}, err
	}
	if padding == nil {
		padding = make([]int, len(spatial))
	}
	w.Out = make([]int, len(spatial))
	for i, extent := range spatial {
		if extent > maxWindow {
			return Window{}, fmt.Errorf("spatial extent %d exceeds %d", extent, maxWindow)
		}
		all := (extent-1)*w.Stride[i] + padding[i] + (w.Kernel[i]-1)*w.Dilation[i] + 1
		size := -1
		switch auto := n.autoPad(); {
		case wanted != nil:
			size = wanted[i]
		case auto == "SAME_UPPER" || auto == "SAME_LOWER":
			size = extent * w.Stride[i]
		case auto != "NOTSET" && auto != "VALID":
			return Window{}, fmt.Errorf("attribute auto_pad is %q, not NOTSET, SAME_UPPER, SAME_LOWER or VALID", auto)
		}
		if size >= 0 {
			w.Before[i], w.After[i] = (all-size+1)/2, (all-size)/2
			if n.autoPad() == "SAME_UPPER" {
				w.Before[i], w.After[i] = w.After[i], w.Before[i]
			}
		}
		w.Out[i] = all - w.Before[i] - w.After[i]
		if w.Out[i] < 1 || size >= 0 && all < size || padding[i] >= max(w.Stride[i], w.Dilation[i]) {
			return Window{}, fmt.Errorf("spatial axis %d of extent %d: %d elements with padding %d and %d, and %d more behind, are not possible",
				i, extent, w.Out[i], w.Before[i], w.After[i], padding[i])
		}
	}
	return w, nil
}

// convTranspose has inputs [N, C, ...], weight [C, M/group, ...] and bias [M].
func convTranspose(c *call) ([]Value, error) {
	if err := c.sameType(); err != nil {
		return nil, err
	}
	spatial, err := c.spatial()
	if err != nil {
		return nil, err
	}
	x, weight := c.shape(0), c.shape(1)
	if weight.Rank() != x.Rank() || weight[0] != x[1] {
		return nil, fmt.Errorf("weight %q of shape %s does not fit %q of shape %s", c.node.Input(1), weight, c.node.Input(0), x)
	}
	kernel, ok := weight.Fixed()
	group := c.node.Attrs.Int("group", 1)
	if !ok || group < 1 || group > maxWindow || kernel[0]%int(group) != 0 {
		return nil, fmt.Errorf("weight %q of shape %s does not make %d groups", c.node.Input(1), weight, group)
	}
	channels, err := weight[1].Mul(Fixed(int(group)))
	if err != nil {
		return nil, err
	}
	if c.has(2) && !c.shape(2).Equal(Shape{channels}) {
		return nil, fmt.Errorf("bias %q has shape %s, not [%s]", c.node.Input(2), c.shape(2), channels)
	}
	w, err := TransposedWindowOf(c.node, spatial, kernel[2:])
	if err != nil {
		return nil, err
	}
	return c.slid(channels, w)
}

// resize takes scales, of which the output has the floor, or sizes. A roi is of no matter but in one mode, which is not read here.
func resize(c *call) ([]Value, error) {
	in := c.shape(0)
	if policy := c.node.Attrs.String("keep_aspect_ratio_policy", "stretch"); policy != "stretch" {
		return nil, fmt.Errorf("attribute keep_aspect_ratio_policy is %q: only stretch is known here", policy)
	}
	axes, err := c.node.resizedAxes(in.Rank())
	if err != nil {
		return nil, err
	}
	out := slices.Clone(in)
	if c.has(3) {
		sizes, err := c.extents(3)
		if err == nil && len(sizes) != len(axes) {
			err = fmt.Errorf("sizes %s do not fit %d axes", sizes, len(axes))
		}
		if err != nil {
			return nil, err
		}
		for i, axis := range axes {
			out[axis] = sizes[i]
		}
		return c.result(out)
	}
	scales, err := ResizeScales(c.node, in.Rank(), c.constants)
	if err != nil {
		return nil, err
	}
	for i, scale := range scales {
		if scale == 1 {
			continue
		}
		size := math.Floor(float64(float32(in[i].Size) * float32(scale)))
		if !in[i].IsFixed() {
			return nil, fmt.Errorf("resizing of extent %s: %w", in[i], errComputedShape)
		}
		if !(size >= 1 && size <= maxWindow) {
			return nil, fmt.Errorf("scale %v of axis %d of shape %s is not possible", scale, i, in)
		}
		out[i] = Fixed(int(size))
	}
	return c.result(out)
}

// resizedAxes are the axes that sizes and scales are of: all without the attribute.
func (n *Node) resizedAxes(rank int) ([]int, error) {
	if !n.Attrs.Has("axes") {
		return allAxes(rank), nil
	}
	var axes []int
	for _, v := range n.Attrs.Ints("axes") {
		axis, err := Axis(v, rank)
		if err != nil {
			return nil, err
		}
		if slices.Contains(axes, axis) {
			return nil, fmt.Errorf("attribute axes %v: %d stands there twice", n.Attrs.Ints("axes"), v)
		}
		axes = append(axes, axis)
	}
	return axes, nil
}

// ResizeScales is the factor of each axis of a Resize node that has scales, nil for one that has sizes. Constants are those of [Graph.Constants].
func ResizeScales(n *Node, rank int, constants map[string]*tensor.Tensor) ([]float64, error) {
	if n.Input(3) != "" {
		return nil, nil
	}
	axes, err := n.resizedAxes(rank)
	if err != nil {
		return nil, err
	}
	t, ok := constants[n.Input(2)]
	if !ok {
		return nil, fmt.Errorf("scales %q: %w", n.Input(2), errComputedShape)
	}
	if t.DType() != tensor.F32 || t.Len() != len(axes) {
		return nil, fmt.Errorf("scales %q are %v %v, not F32 for %d axes", n.Input(2), t.DType(), t.Shape(), len(axes))
	}
	scales := slices.Repeat([]float64{1}, rank)
	for i, v := range tensor.Of[float32](t) {
		scales[axes[i]] = float64(v)
	}
	return scales, nil
}

// FoldedShapes are the shapes, of more axes, in which a DepthToSpace or SpaceToDepth node is a Transpose: axis i of the second is axis perm[i] of the first.
func FoldedShapes(n *Node, in Shape) (first Shape, perm []int, err error) {
	size := n.Attrs.Int("blocksize", 0)
	if in.Rank() != 4 || size < 1 || size > maxWindow {
		return nil, nil, fmt.Errorf("blocks of %d by %d in shape %s", size, size, in)
	}
	b := Fixed(int(size))
	divide := func(d Dim, by ...Dim) Dim {
		for _, e := range by {
			q, ok := d.Div(e)
			if !ok {
				err = fmt.Errorf("shape %s does not divide into blocks of %d by %d", in, size, size)
			}
			d = q
		}
		return d
	}
	if n.Op == "SpaceToDepth" {
		first = Shape{in[0], in[1], divide(in[2], b), b, divide(in[3], b), b}
		return first, []int{0, 3, 5, 1, 2, 4}, err
	}
	c := divide(in[1], b, b)
	switch mode := n.Attrs.String("mode", "DCR"); mode {
	case "DCR":
		return Shape{in[0], b, b, c, in[2], in[3]}, []int{0, 3, 4, 1, 5, 2}, err
	case "CRD":
		return Shape{in[0], c, b, b, in[2], in[3]}, []int{0, 1, 4, 2, 5, 3}, err
	}
	return nil, nil, errors.New("attribute mode is neither DCR nor CRD")
}

func folded(c *call) ([]Value, error) {
	first, perm, err := FoldedShapes(c.node, c.shape(0))
	if err != nil {
		return nil, err
	}
	at := func(i int) Dim { return first[perm[i]] }
	parts := [][]Dim{{at(0)}, {at(1)}, {at(2), at(3)}, {at(4), at(5)}}
	if c.node.Op == "SpaceToDepth" {
		parts = [][]Dim{{at(0)}, {at(1), at(2), at(3)}, {at(4)}, {at(5)}}
	}
	var out Shape
	for _, p := range parts {
		d, err := Shape(p).Elements()
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return c.result(out)
}
