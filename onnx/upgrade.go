package onnx

import (
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// settingInputs are the inputs, by operator, that set it up: they are no weights, and must be constants for most of what can be done with a graph.
var settingInputs = map[string][]int{
	"Clip": {1, 2}, "ConstantOfShape": {0}, "CumSum": {1}, "Dropout": {1, 2}, "Expand": {1}, "OneHot": {1, 2}, "Pad": {1, 2, 3}, "Range": {0, 1, 2},
	"Reshape": {1}, "Resize": {1, 2, 3}, "Slice": {1, 2, 3, 4}, "Split": {1}, "Squeeze": {1}, "Tile": {1}, "TopK": {1}, "Trilu": {1},
	"Unsqueeze": {1}, "Upsample": {1}, "ReduceL1": {1}, "ReduceL2": {1}, "ReduceLogSum": {1}, "ReduceLogSumExp": {1}, "ReduceMax": {1}, "ReduceMean": {1},
	"ReduceMin": {1}, "ReduceProd": {1}, "ReduceSum": {1}, "ReduceSumSquare": {1},
}

// upgrades bring nodes of older operator sets to the form of graph.Opset, by the changes that ONNX lists in its Operators.md and Changelog.md.
// Operators without an entry mean today what they meant in set 9. An upgrade that cannot be made leaves the node under a name that nobody
// knows, as "Softmax-11" (see stay).
var upgrades = map[string]func(*converter, *graph.Node) error{
	"BatchNormalization": (*converter).upgradeBatchNorm,
	"Clip":               (*converter).upgradeClip,
	"Dropout":            (*converter).upgradeDropout,
	"GridSample":         (*converter).upgradeGridSample,
	"Hardmax":            (*converter).upgradeSoftmax,
	"LogSoftmax":         (*converter).upgradeSoftmax,
	"Pad":                (*converter).upgradePad,
	"ReduceL1":           before(18, "axes", 1),
	"ReduceL2":           before(18, "axes", 1),
	"ReduceLogSum":       before(18, "axes", 1),
	"ReduceLogSumExp":    before(18, "axes", 1),
	"ReduceMax":          before(18, "axes", 1),
	"ReduceMean":         before(18, "axes", 1),
	"ReduceMin":          before(18, "axes", 1),
	"ReduceProd":         before(18, "axes", 1),
	"ReduceSum":          before(13, "axes", 1),
	"ReduceSumSquare":    before(18, "axes", 1),
	"Resize":             (*converter).upgradeResize,
	"Scatter":            (*converter).upgradeScatter,
	"Slice":              (*converter).upgradeSlice,
	"Softmax":            (*converter).upgradeSoftmax,
	"Split":              (*converter).upgradeSplit,
	"Squeeze":            before(13, "axes", 1),
	"TopK":               before(10, "k", 1),
	"Unsqueeze":          before(13, "axes", 1),
	"Upsample":           (*converter).upgradeUpsample,
}

// before turns an attribute of integers that was one before an operator set into an input.
func before(version int64, attr string, input int) func(*converter, *graph.Node) error {
	return func(c *converter, n *graph.Node) error {
		if c.version >= version {
			return nil
		}
		c.attrToInput(n, attr, input)
		return nil
	}
}

// attrToInput turns an attribute of integers into an input, if it is there.
func (c *converter) attrToInput(n *graph.Node, attr string, input int) {
	var values []int64
	switch v := n.Attrs[attr].(type) {
	case []int64:
		values = v
	case int64:
		values = []int64{v}
	default:
		return
	}
	delete(n.Attrs, attr)
	setInput(n, input, c.list(n.Outputs[0]+"."+attr, values))
}

// stay keeps an old form as it is, under a name of its own.
func (c *converter) stay(n *graph.Node) {
	n.Op = fmt.Sprintf("%s-%d", n.Op, c.version)
}

// setInput sets an input, those before it that are missing being absent.
func setInput(n *graph.Node, i int, name string) {
	for len(n.Inputs) <= i {
		n.Inputs = append(n.Inputs, "")
	}
	n.Inputs[i] = name
}

// upgradeSoftmax: before set 13, all axes from axis (1 by default) on were one. Where that is not the same as the axis alone, the value is made a
// matrix first.
func (c *converter) upgradeSoftmax(n *graph.Node) error {
	if c.version >= 13 {
		return nil
	}
	x, ok := c.values[n.Input(0)]
	if !ok {
		c.stay(n)
		return nil
	}
	axis, err := graph.Axis(n.Attrs.Int("axis", 1), x.Shape.Rank())
	if err != nil {
		return malformed("%v", err)
	}
	if !slices.ContainsFunc(x.Shape[axis+1:], func(d graph.Dim) bool { return !d.IsOne() }) {
		n.Attrs["axis"] = int64(axis)
		return nil
	}
	target := make([]int64, len(x.Shape))
	symbols := 0
	for i, d := range x.Shape {
		if target[i] = int64(d.Size); !d.IsFixed() {
			target[i] = -1
			symbols++
		}
	}
	if symbols > 1 {
		c.stay(n)
		return nil
	}
	flat, soft, out := c.fresh(n.Outputs[0]+".flat"), c.fresh(n.Outputs[0]+".softmax"), n.Outputs[0]
	for _, part := range []graph.Node{
		{Name: flat, Op: "Flatten", Inputs: []string{n.Inputs[0]}, Outputs: []string{flat}, Attrs: graph.Attrs{"axis": int64(axis)}},
		{Name: n.Name, Op: n.Op, Inputs: []string{flat}, Outputs: []string{soft}, Attrs: graph.Attrs{"axis": int64(-1)}},
	} {
		if err := c.emit(part); err != nil {
			return err
		}
	}
	*n = graph.Node{Name: out, Op: "Reshape", Inputs: []string{soft, c.list(out+".shape", target)}, Outputs: []string{out}, Attrs: graph.Attrs{}}
	return nil
}

// upgradeClip: before set 11, the bounds were attributes.
func (c *converter) upgradeClip(n *graph.Node) error {
	if c.version >= 11 {
		return nil
	}
	for i, name := range []string{"min", "max"} {
		if n.Attrs.Has(name) {
			setInput(n, 1+i, c.scalar(n.Outputs[0]+"."+name, n.Attrs.Float(name, 0)))
			delete(n.Attrs, name)
		}
	}
	return nil
}

// upgradeDropout: before set 12, the ratio was an attribute. The mode of training is an option of engines.
func (c *converter) upgradeDropout(n *graph.Node) error {
	if n.Attrs.Has("ratio") {
		setInput(n, 1, c.scalar(n.Outputs[0]+".ratio", n.Attrs.Float("ratio", .5)))
		delete(n.Attrs, "ratio")
	}
	if len(n.Inputs) > 2 {
		n.Inputs = n.Inputs[:2]
	}
	return nil
}

// upgradeBatchNorm: before set 14, further outputs meant the mode of training, since then an attribute says it.
func (c *converter) upgradeBatchNorm(n *graph.Node) error {
	if n.Attrs.Int("spatial", 1) == 0 {
		return unsupported("attribute spatial 0 is not supported")
	}
	training := n.Attrs.Int("training_mode", 0) != 0
	for _, name := range []string{"consumed_inputs", "spatial", "training_mode"} {
		delete(n.Attrs, name)
	}
	if training || c.version < 14 && len(n.Outputs) > 1 {
		c.note("batch normalisations are in the mode of training in the file; the network is taken in that of inference")
	}
	return nil
}

// upgradePad: before set 11, pads and value were attributes.
func (c *converter) upgradePad(n *graph.Node) error {
	if c.version >= 11 {
		return nil
	}
	c.attrToInput(n, "pads", 1)
	if n.Attrs.Has("value") {
		setInput(n, 2, c.scalar(n.Outputs[0]+".value", n.Attrs.Float("value", 0)))
		delete(n.Attrs, "value")
	}
	return nil
}

// upgradeSlice: before set 10, its lists were attributes.
func (c *converter) upgradeSlice(n *graph.Node) error {
	if c.version < 10 {
		c.attrToInput(n, "starts", 1)
		c.attrToInput(n, "ends", 2)
		c.attrToInput(n, "axes", 3)
	}
	return nil
}

// upgradeSplit: before set 13, the lengths were an attribute; before set 18, equal parts were as many as outputs.
func (c *converter) upgradeSplit(n *graph.Node) error {
	if c.version < 13 {
		c.attrToInput(n, "split", 1)
	}
	if c.version < 18 && n.Input(1) == "" {
		n.Attrs["num_outputs"] = int64(len(n.Outputs))
	}
	return nil
}

// upgradeUpsample: set 10 gave it another name; what it did is the asymmetric mode of Resize.
func (c *converter) upgradeUpsample(n *graph.Node) error {
	if n.Attrs.Has("scales") { // set 7 and 8
		return malformed("attribute scales is not of set %d", c.version)
	}
	return c.asymmetric(n)
}

func (c *converter) asymmetric(n *graph.Node) error {
	n.Op = "Resize"
	n.Attrs["coordinate_transformation_mode"], n.Attrs["nearest_mode"] = "asymmetric", "floor"
	if len(n.Inputs) == 2 {
		n.Inputs = []string{n.Inputs[0], "", n.Inputs[1]}
	}
	return nil
}

// upgradeResize: in set 10 it had neither a region nor modes.
func (c *converter) upgradeResize(n *graph.Node) error {
	if c.version < 11 {
		return c.asymmetric(n)
	}
	return nil
}

// upgradeScatter: set 11 gave it another name.
func (c *converter) upgradeScatter(n *graph.Node) error {
	n.Op = "ScatterElements"
	return nil
}

// upgradeGridSample: set 20 gave modes other names.
func (c *converter) upgradeGridSample(n *graph.Node) error {
	if name, ok := map[string]string{"bilinear": "linear", "bicubic": "cubic"}[n.Attrs.String("mode", "bilinear")]; ok && c.version < 20 {
		n.Attrs["mode"] = name
	}
	return nil
}

// castTo is the type, in the graph, that a Cast converts to.
func (c *converter) castTo(n *graph.Node) (tensor.DType, error) {
	d, err := dtypeOf(int32(n.Attrs.Int("to", 0)))
	return c.typeOf(d), err
}
