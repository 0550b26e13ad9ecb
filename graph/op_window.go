package graph

import (
	"errors"
	"fmt"
	"slices"
)

// windowOperators move a kernel over the spatial axes of a value [N, C, D1, D2, ...], of which there is at least one.
var windowOperators = map[string]operator{
	"Conv": {
		inputs: between(2, 3), outputs: one,
		attrs: windowAttrs(map[string]string{"group": "INT"}),
		infer: conv,
	},
	"MaxPool": {
		inputs: one, outputs: between(1, 2),
		attrs: windowAttrs(map[string]string{"ceil_mode": "INT", "storage_order": "INT"}),
		infer: pool,
	},
	"AveragePool": {
		inputs: one, outputs: one,
		attrs: windowAttrs(map[string]string{"ceil_mode": "INT", "count_include_pad": "INT"}),
		infer: pool,
	},
	"GlobalAveragePool": {inputs: one, outputs: one, infer: globalPool},
}

// windowAttrs adds the attributes that all windows have.
func windowAttrs(attrs map[string]string) map[string]string {
	attrs["auto_pad"] = "STRING"
	for _, name := range []string{"dilations", "kernel_shape", "pads", "strides"} {
		attrs[name] = "INTS"
	}
	return attrs
}

// Window says how the kernel of a Conv, MaxPool or AveragePool moves over the spatial axes; every list has one entry for each of them.
//
// Position o of axis i reads the elements o*Stride[i] - Before[i] + k*Dilation[i], k < Kernel[i]; those outside the value are padding. With
// ceil_mode the last window of a pooling may reach beyond the padding After, too; an average with count_include_pad divides by the number of
// elements that lie in the value and its padding, not by what is beyond.
type Window struct {
	Kernel, Stride, Dilation []int
	Before, After            []int // padding, as the attributes or auto_pad have it
	Out                      []int // number of positions
}

// maxWindow bounds extents and attributes of windows, far from overflow.
const maxWindow = 1 << 31

// WindowOf reads the window of a valid Conv, MaxPool or AveragePool over spatial axes of these extents. A kernel nil is that of the attribute
// kernel_shape, which otherwise must agree.
func WindowOf(n *Node, spatial, kernel []int) (Window, error) {
	w, err := readWindow(n, len(spatial), kernel)
	if err != nil {
		return Window{}, err
	}
	w.Out = make([]int, len(spatial))
	for i, extent := range spatial {
		if extent > maxWindow {
			return Window{}, fmt.Errorf("spatial extent %d exceeds %d", extent, maxWindow)
		}
		if err := w.place(n, i, extent); err != nil {
			return Window{}, fmt.Errorf("spatial axis %d of extent %d: %w", i, extent, err)
		}
	}
	return w, nil
}

func readWindow(n *Node, rank int, kernel []int) (Window, error) {
	var w Window
	declared, err := n.extents("kernel_shape", rank, 1)
	if err != nil {
		return w, err
	}
	switch {
	case kernel == nil && declared == nil:
		return w, errors.New("attribute kernel_shape is missing")
	case kernel != nil && declared != nil && !slices.Equal(kernel, declared):
		return w, fmt.Errorf("attribute kernel_shape %v differs from the weight's %v", declared, kernel)
	case kernel == nil:
		kernel = declared
	}
	w.Kernel = kernel
	if w.Stride, err = n.extents("strides", rank, 1); err != nil {
		return w, err
	}
	if w.Dilation, err = n.extents("dilations", rank, 1); err != nil {
		return w, err
	}
	pads, err := n.extents("pads", 2*rank, 0)
	if err != nil {
		return w, err
	}
	if pads == nil {
		pads = make([]int, 2*rank)
	} else if auto := n.autoPad(); auto != "NOTSET" {
		return w, fmt.Errorf("attribute pads beside auto_pad %s", auto)
	}
	w.Before, w.After = pads[:rank], pads[rank:]
	for _, list := range []*[]int{&w.Stride, &w.Dilation} {
		if *list == nil {
			*list = slices.Repeat([]int{1}, rank)
		}
	}
	return w, nil
}

func (n *Node) autoPad() string { return n.Attrs.String("auto_pad", "NOTSET") }

// extents reads a list of numbers between least and maxWindow; nil when the attribute is absent.
func (n *Node) extents(name string, length int, least int64) ([]int, error) {
	if !n.Attrs.Has(name) {
		return nil, nil
	}
	list := n.Attrs.Ints(name)
	if len(list) != length {
		return nil, fmt.Errorf("attribute %s %v has %d entries, not %d", name, list, len(list), length)
	}
	out := make([]int, length)
	for i, v := range list {
		if v < least || v > maxWindow {
			return nil, fmt.Errorf("attribute %s %v: %d is not possible", name, list, v)
		}
		out[i] = int(v)
	}
	return out, nil
}

// place finds padding and positions along one axis.
func (w *Window) place(n *Node, axis, extent int) error {
	stride, reach := w.Stride[axis], (w.Kernel[axis]-1)*w.Dilation[axis]+1
	switch auto := n.autoPad(); auto {
	case "NOTSET", "VALID":
	case "SAME_UPPER", "SAME_LOWER":
		positions := (extent + stride - 1) / stride
		total := max((positions-1)*stride+reach-extent, 0)
		w.Before[axis], w.After[axis] = total/2, total-total/2
		if auto == "SAME_LOWER" {
			w.Before[axis], w.After[axis] = w.After[axis], w.Before[axis]
		}
		w.Out[axis] = positions
		return nil
	default:
		return fmt.Errorf("attribute auto_pad is %q, not NOTSET, SAME_UPPER, SAME_LOWER or VALID", auto)
	}
	room := extent + w.Before[axis] + w.After[axis] - reach
	if room < 0 {
		return fmt.Errorf("a kernel that reaches over %d does not fit into it with padding %d and %d", reach, w.Before[axis], w.After[axis])
	}
	w.Out[axis] = room/stride + 1
	// Another window is begun for what is left, unless it would begin in the padding behind, as in PyTorch.
	if n.Attrs.Int("ceil_mode", 0) != 0 && room%stride != 0 && w.Out[axis]*stride < extent+w.Before[axis] {
		w.Out[axis]++
	}
	return nil
}

// spatial is the extents of all axes but the first two.
func (c *call) spatial() ([]int, error) {
	s := c.shape(0)
	if s.Rank() < 3 {
		return nil, fmt.Errorf("input %q of shape %s has no spatial axes", c.node.Input(0), s)
	}
	extents, ok := s[2:].Fixed()
	if !ok {
		return nil, fmt.Errorf("input %q of shape %s: %w", c.node.Input(0), s, errComputedShape)
	}
	return extents, nil
}

func (c *call) slid(channels Dim, w Window) ([]Value, error) {
	return c.result(append(Shape{c.shape(0)[0], channels}, ShapeOf(w.Out...)...))
}

// conv has inputs [N, C, ...], weight [M, C/group, ...] and bias [M].
func conv(c *call) ([]Value, error) {
	if err := c.sameType(); err != nil {
		return nil, err
	}
	spatial, err := c.spatial()
	if err != nil {
		return nil, err
	}
	x, weight := c.shape(0), c.shape(1)
	if weight.Rank() != x.Rank() {
		return nil, fmt.Errorf("weight %q of shape %s does not fit %q of shape %s", c.node.Input(1), weight, c.node.Input(0), x)
	}
	kernel, ok := weight[2:].Fixed()
	if !ok {
		return nil, fmt.Errorf("weight %q of shape %s: %w", c.node.Input(1), weight, errComputedShape)
	}
	if err := c.groups(x[1], weight); err != nil {
		return nil, err
	}
	if c.has(2) && !c.shape(2).Equal(weight[:1]) {
		return nil, fmt.Errorf("bias %q has shape %s, not %s", c.node.Input(2), c.shape(2), weight[:1])
	}
	w, err := WindowOf(c.node, spatial, kernel)
	if err != nil {
		return nil, err
	}
	return c.slid(weight[0], w)
}

// groups checks that the channels divide into groups as the weight has them.
func (c *call) groups(channels Dim, weight Shape) error {
	group := c.node.Attrs.Int("group", 1)
	if group < 1 || group > maxWindow {
		return fmt.Errorf("attribute group is %d", group)
	}
	g := Fixed(int(group))
	if _, ok := weight[0].Div(g); !ok {
		return fmt.Errorf("weight %q of shape %s: %s channels do not make %d groups", c.node.Input(1), weight, weight[0], group)
	}
	if in, err := weight[1].Mul(g); err != nil || in != channels {
		return fmt.Errorf("weight %q of shape %s reads %s channels in each of %d groups, %q of shape %s has %s",
			c.node.Input(1), weight, weight[1], group, c.node.Input(0), c.shape(0), channels)
	}
	return nil
}

// pool keeps the channels. A window that lies in the padding alone has neither maximum nor average.
func pool(c *call) ([]Value, error) {
	spatial, err := c.spatial()
	if err != nil {
		return nil, err
	}
	w, err := WindowOf(c.node, spatial, nil)
	if err != nil {
		return nil, err
	}
	for i, k := range w.Kernel {
		if reach := (k-1)*w.Dilation[i] + 1; max(w.Before[i], w.After[i]) >= reach {
			return nil, fmt.Errorf("padding %d and %d of spatial axis %d is not less than the kernel's reach, %d", w.Before[i], w.After[i], i, reach)
		}
	}
	return c.slid(c.shape(0)[1], w)
}

func globalPool(c *call) ([]Value, error) {
	s := slices.Clone(c.shape(0))
	if s.Rank() < 3 {
		return nil, fmt.Errorf("input %q of shape %s has no spatial axes", c.node.Input(0), s)
	}
	for i := range s[2:] {
		s[2+i] = Fixed(1)
	}
	return c.result(s)
}
