package onnx

import (
	"github.com/rebasin/rebasin/graph"
)

// batchSize is the first extent of all inputs where the file fixes it, as exporters do by default; else 0.
func (c *converter) batchSize() int {
	size := 0
	for _, in := range c.file.model.GetGraph().GetInput() {
		if _, given := c.file.index[in.GetName()]; given {
			continue
		}
		dims := in.GetType().GetTensorType().GetShape().GetDim()
		if len(dims) == 0 {
			return 0
		}
		n, err := toInt(dims[0].GetDimValue())
		if err != nil || n == 0 || size != 0 && n != size {
			return 0
		}
		size = n
	}
	return size
}

// batchwise are the operators that compute each sample by itself where the batch is the first axis of what they read and make, and alongOthers finds nothing
// against it.
var batchwise = map[string]bool{
	"Abs": true, "Add": true, "And": true, "Attention": true, "AveragePool": true, "BatchNormalization": true, "Cast": true, "Ceil": true, "Clip": true,
	"Concat": true, "Conv": true, "ConvTranspose": true, "Cos": true, "DepthToSpace": true, "Div": true, "Dropout": true, "Elu": true, "Equal": true,
	"Erf": true, "Exp": true, "Expand": true, "Flatten": true, "Floor": true, "Gather": true, "GatherElements": true, "Gelu": true, "Gemm": true,
	"GlobalAveragePool": true, "GlobalMaxPool": true, "Greater": true, "GreaterOrEqual": true, "GroupNormalization": true, "HardSigmoid": true,
	"HardSwish": true, "Identity": true, "InstanceNormalization": true, "LayerNormalization": true, "LeakyRelu": true, "Less": true,
	"LessOrEqual": true, "Log": true, "LogSoftmax": true, "MatMul": true, "Max": true, "MaxPool": true, "Min": true, "Mish": true, "Mul": true,
	"Neg": true, "Not": true, "Or": true, "PRelu": true, "Pad": true, "Pow": true, "RMSNormalization": true, "Reciprocal": true, "ReduceL2": true,
	"ReduceMax": true, "ReduceMean": true, "ReduceMin": true, "ReduceProd": true, "ReduceSum": true, "Relu": true, "Reshape": true, "Resize": true,
	"RotaryEmbedding": true, "Selu": true, "Sigmoid": true, "Sin": true, "Slice": true, "Softmax": true, "Softplus": true, "Softsign": true,
	"SpaceToDepth": true, "Split": true, "Sqrt": true, "Squeeze": true, "Sub": true, "Sum": true, "Tanh": true, "Transpose": true, "Trilu": true,
	"Unsqueeze": true, "Where": true,
}

// freed says whether a network whose batch was made symbolic computes each sample by itself, as it did with the batch that the file fixes: every
// value that depends on the input has the batch as its first axis, outermost, and nowhere else, and every operator on the way works along the
// others. Only a Reshape or a Flatten may put other axes into the first one, behind the batch.
func (c *converter) freed() bool {
	values, err := c.graph.InferShapes()
	if err != nil {
		return false
	}
	dependent := map[string]bool{}
	for _, in := range c.graph.Inputs {
		dependent[in.Name] = true
		if !c.batchFirst(in.Shape) {
			return false
		}
	}
	for i := range c.graph.Nodes {
		n := &c.graph.Nodes[i]
		var first graph.Dim // of what the node reads
		for _, in := range n.Inputs {
			if dependent[in] {
				first = values[in].Shape[0]
			}
		}
		if first.Size == 0 {
			continue
		}
		if !batchwise[n.Op] || !c.alongOthers(n, values, dependent) {
			return false
		}
		for _, out := range n.Outputs {
			v, ok := values[out]
			if !ok && c.readers[out] == 0 {
				continue
			}
			if !c.batchFirst(v.Shape) || v.Shape[0] != first && n.Op != "Reshape" && n.Op != "Flatten" {
				return false
			}
			dependent[out] = true
		}
	}
	for _, out := range c.graph.Outputs {
		if dependent[out] && values[out].Shape[0] != graph.Sym(c.batch) {
			return false
		}
	}
	return true
}

// batchFirst says that the batch is the first axis, perhaps times others, and no other.
func (c *converter) batchFirst(s graph.Shape) bool {
	if len(s) == 0 || s[0].Sym != c.batch {
		return false
	}
	for _, d := range s[1:] {
		if !d.IsFixed() {
			return false
		}
	}
	return true
}

// alongOthers says that a node does not mix samples in a way that shapes do not show: along the first axis, by what attributes or positions say.
func (c *converter) alongOthers(n *graph.Node, values map[string]graph.Value, dependent map[string]bool) bool {
	first := values[n.Inputs[0]].Shape
	behind := func(byDefault int64) bool {
		axis, err := graph.Axis(n.Attrs.Int("axis", byDefault), first.Rank())
		return err == nil && axis > 0
	}
	switch n.Op {
	case "Softmax", "LogSoftmax", "LayerNormalization", "RMSNormalization":
		return behind(-1)
	case "Gather":
		// Of a table the samples' own numbers choose rows; of a sample constant numbers choose parts.
		data, indices := dependent[n.Inputs[0]], dependent[n.Inputs[1]]
		return indices && !data || data && !indices && behind(0)
	case "GatherElements":
		return dependent[n.Inputs[0]] && dependent[n.Inputs[1]] && behind(0)
	case "Trilu":
		return first.Rank() > 2
	}
	return true
}
