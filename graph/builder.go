package graph

import (
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/tensor"
)

// Builder writes graphs readably: every method adds a node, an input or a parameter and returns the name of the value it makes. Nodes bear
// the name of their output. Mistakes are found by [Builder.Graph], at the end.
type Builder struct {
	graph  Graph
	dtype  tensor.DType
	params map[string]Shape
	err    error
}

// NewBuilder starts a graph whose parameters have type F32.
func NewBuilder(name string) *Builder {
	return &Builder{graph: Graph{Name: name}, dtype: tensor.F32, params: map[string]Shape{}}
}

// Graph is the finished graph, or the first mistake: it is valid, and shapes fit as far as they can be known.
func (b *Builder) Graph() (*Graph, error) {
	if b.err != nil {
		return nil, b.err
	}
	if err := b.graph.Validate(); err != nil {
		return nil, err
	}
	if _, err := b.graph.PartialShapes(); err != nil {
		return nil, err
	}
	g := b.graph
	return &g, nil
}

// Input adds an input of the network.
func (b *Builder) Input(name string, dtype tensor.DType, dims ...Dim) string {
	b.graph.Inputs = append(b.graph.Inputs, Value{Name: name, DType: dtype, Shape: dims})
	return name
}

// Output marks a value as an output of the network.
func (b *Builder) Output(name string) { b.graph.Outputs = append(b.graph.Outputs, name) }

// Param adds a parameter. Naming it again with the same shape shares it.
func (b *Builder) Param(name string, extents ...int) string {
	shape := ShapeOf(extents...)
	if first, ok := b.params[name]; ok {
		if !first.Equal(shape) && b.err == nil {
			b.err = fmt.Errorf("graph %q: parameter %q has shapes %s and %s", b.graph.Name, name, first, shape)
		}
		return name
	}
	b.params[name] = shape
	b.graph.Params = append(b.graph.Params, Value{Name: name, DType: b.dtype, Shape: shape})
	return name
}

// Declare gives the type and shape of a value that inference cannot derive.
func (b *Builder) Declare(name string, dtype tensor.DType, dims ...Dim) {
	if b.graph.Declared == nil {
		b.graph.Declared = map[string]Value{}
	}
	b.graph.Declared[name] = Value{Name: name, DType: dtype, Shape: dims}
}

// Op adds a node of any operator with one output.
func (b *Builder) Op(op, out string, attrs Attrs, inputs ...string) string {
	b.graph.Nodes = append(b.graph.Nodes, Node{Name: out, Op: op, Inputs: inputs, Outputs: []string{out}, Attrs: attrs})
	return out
}

// OpN adds a node of any operator with several outputs, of which "" is one that nobody wants.
func (b *Builder) OpN(op string, outs []string, attrs Attrs, inputs ...string) []string {
	b.graph.Nodes = append(b.graph.Nodes, Node{Name: outs[0], Op: op, Inputs: inputs, Outputs: slices.Clone(outs), Attrs: attrs})
	return outs
}

// Gemm is x·wᵀ + bias, as fully connected layers have it: x of shape [N, in], w of shape [out, in]. A bias "" is none.
func (b *Builder) Gemm(out, x, w, bias string) string {
	inputs := []string{x, w}
	if bias != "" {
		inputs = append(inputs, bias)
	}
	return b.Op("Gemm", out, Attrs{"transB": int64(1)}, inputs...)
}

// Linear is Gemm with the parameters prefix.weight of shape [width, in] and, if bias is true, prefix.bias.
func (b *Builder) Linear(out, x, prefix string, width, in int, bias bool) string {
	w, c := b.Param(prefix+".weight", width, in), ""
	if bias {
		c = b.Param(prefix+".bias", width)
	}
	return b.Gemm(out, x, w, c)
}

// MatMul is numpy.matmul.
func (b *Builder) MatMul(out, x, y string) string { return b.Op("MatMul", out, nil, x, y) }

// Add is x + y, broadcast.
func (b *Builder) Add(out, x, y string) string { return b.Op("Add", out, nil, x, y) }

// Mul is x · y elementwise, broadcast.
func (b *Builder) Mul(out, x, y string) string { return b.Op("Mul", out, nil, x, y) }

// Relu is max(x, 0).
func (b *Builder) Relu(out, x string) string { return b.Op("Relu", out, nil, x) }

// Tanh is the hyperbolic tangent.
func (b *Builder) Tanh(out, x string) string { return b.Op("Tanh", out, nil, x) }

// Softmax normalises along an axis.
func (b *Builder) Softmax(out, x string, axis int) string {
	return b.Op("Softmax", out, Attrs{"axis": int64(axis)}, x)
}

// LayerNorm normalises over the axes from axis on, with the parameters scale and bias of their shape; a bias "" is none.
func (b *Builder) LayerNorm(out, x, scale, bias string, axis int) string {
	inputs := []string{x, scale}
	if bias != "" {
		inputs = append(inputs, bias)
	}
	return b.Op("LayerNormalization", out, Attrs{"axis": int64(axis), "epsilon": 1e-5}, inputs...)
}

// ConvOptions are the same for all spatial axes. The zero value is a kernel that moves one element at a time, over one group, without padding.
type ConvOptions struct {
	Stride, Pad, Dilation, Groups int
}

func (o ConvOptions) attrs(rank int) Attrs {
	repeat := func(n, times int) []int64 { return slices.Repeat([]int64{int64(n)}, times) }
	return Attrs{
		"strides": repeat(max(o.Stride, 1), rank), "pads": repeat(o.Pad, 2*rank), "dilations": repeat(max(o.Dilation, 1), rank),
		"group": int64(max(o.Groups, 1)),
	}
}

// Conv2D is a convolution of x, of shape [N, in, H, W], with w, of shape [out, in/groups, kH, kW]; a bias "" is none.
func (b *Builder) Conv2D(out, x, w, bias string, o ConvOptions) string {
	inputs := []string{x, w}
	if bias != "" {
		inputs = append(inputs, bias)
	}
	return b.Op("Conv", out, o.attrs(2), inputs...)
}

// MaxPool2D takes the maximum over windows of kernel by kernel.
func (b *Builder) MaxPool2D(out, x string, kernel, stride, pad int) string {
	attrs := ConvOptions{Stride: stride, Pad: pad}.attrs(2)
	delete(attrs, "group")
	attrs["kernel_shape"] = []int64{int64(kernel), int64(kernel)}
	return b.Op("MaxPool", out, attrs, x)
}

// GlobalAveragePool is the mean over all spatial axes, which stay with extent 1.
func (b *Builder) GlobalAveragePool(out, x string) string {
	return b.Op("GlobalAveragePool", out, nil, x)
}

// BatchNorm normalises channels of x, of shape [N, channels, ...], with the parameters prefix.weight, .bias, .running_mean and .running_var.
func (b *Builder) BatchNorm(out, x, prefix string, channels int) string {
	inputs := []string{x}
	for _, part := range []string{"weight", "bias", "running_mean", "running_var"} {
		inputs = append(inputs, b.Param(prefix+"."+part, channels))
	}
	// ONNX's momentum is the complement of PyTorch's.
	return b.Op("BatchNormalization", out, Attrs{"epsilon": 1e-5, "momentum": .9}, inputs...)
}

// GroupNorm normalises groups of channels of x, of shape [N, channels, ...], with the parameters prefix.weight and .bias, one element a channel.
func (b *Builder) GroupNorm(out, x, prefix string, channels, groups int) string {
	return b.Op("GroupNormalization", out, Attrs{"epsilon": 1e-5, "num_groups": int64(groups)},
		x, b.Param(prefix+".weight", channels), b.Param(prefix+".bias", channels))
}

// ChannelNorm normalises, at each position of x, of shape [N, channels, H, W], over the channels: a LayerNormalization between two Transposes. The
// parameters are prefix.weight and .bias.
func (b *Builder) ChannelNorm(out, x, prefix string, channels int, epsilon float64) string {
	x = b.Transpose(out+".nhwc", x, 0, 2, 3, 1)
	x = b.Op("LayerNormalization", out+".norm", Attrs{"axis": int64(-1), "epsilon": epsilon},
		x, b.Param(prefix+".weight", channels), b.Param(prefix+".bias", channels))
	return b.Transpose(out, x, 0, 3, 1, 2)
}

// Concat puts values one after the other along an axis.
func (b *Builder) Concat(out string, axis int, values ...string) string {
	return b.Op("Concat", out, Attrs{"axis": int64(axis)}, values...)
}

// Pad puts zeros before and after each axis; before and after stand in a Constant node named after the output.
func (b *Builder) Pad(out, x string, before, after []int64) string {
	pads := slices.Concat(before, after)
	return b.Op("Pad", out, nil, x, b.Constant(out+".pads", tensor.FromSlice(tensor.Shape{len(pads)}, pads)))
}

// Slice takes the elements from start to end, with a step, of some axes; the numbers stand in Constant nodes named after the output.
func (b *Builder) Slice(out, x string, axes, starts, ends, steps []int64) string {
	inputs := []string{x}
	for i, list := range [][]int64{starts, ends, axes, steps} {
		name := out + "." + []string{"starts", "ends", "axes", "steps"}[i]
		inputs = append(inputs, b.Constant(name, tensor.FromSlice(tensor.Shape{len(list)}, list)))
	}
	return b.Op("Slice", out, nil, inputs...)
}

// Flatten makes a matrix of the axes before axis by the rest.
func (b *Builder) Flatten(out, x string, axis int) string {
	return b.Op("Flatten", out, Attrs{"axis": int64(axis)}, x)
}

// Reshape gives x the shape target, which stands in a Constant node named after the output.
func (b *Builder) Reshape(out, x string, target ...int64) string {
	t := b.Constant(out+".shape", tensor.FromSlice(tensor.Shape{len(target)}, target))
	return b.Op("Reshape", out, nil, x, t)
}

// Transpose puts axis perm[i] of x at axis i.
func (b *Builder) Transpose(out, x string, perm ...int64) string {
	return b.Op("Transpose", out, Attrs{"perm": perm}, x)
}

// Constant adds a Constant node.
func (b *Builder) Constant(out string, value *tensor.Tensor) string {
	return b.Op("Constant", out, Attrs{"value": value})
}
