package onnx

import (
	"math"
	"slices"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/onnx/internal/onnxpb"
	"github.com/rebasin/rebasin/tensor"
)

// known is a value that does not depend on what the network reads: a tensor, or numbers some of which are symbolic extents.
type known struct {
	dtype   tensor.DType
	shape   tensor.Shape
	tensor  *tensor.Tensor // nil where numbers has symbols
	numbers []number       // nil where they were not needed yet
}

// number is an element: of floats float, else integer times the symbols of an extent.
type number struct {
	float   float64
	integer int64
	symbols string
}

// Limits on what is computed while folding: elements of one value, and of all together.
const (
	maxFolded = 1 << 16
	maxFolds  = 1 << 23
)

func whole(v int64) number { return number{integer: v} }

func (x number) isFixed() bool { return x.symbols == "" }

// extent is x as an extent, which is positive.
func (x number) extent() (graph.Dim, bool) {
	return graph.Dim{Size: int(x.integer), Sym: x.symbols}, x.integer > 0 && int64(int(x.integer)) == x.integer
}

func ofExtent(d graph.Dim) number { return number{integer: int64(d.Size), symbols: d.Sym} }

// list returns the elements; false where there are too many or of a type without arithmetic here.
func (k *known) list() ([]number, bool) {
	if k.numbers != nil || k.tensor == nil {
		return k.numbers, true
	}
	if k.tensor.Len() > maxFolded {
		return nil, false
	}
	out := make([]number, k.tensor.Len())
	switch k.dtype {
	case tensor.I64:
		for i, v := range tensor.Of[int64](k.tensor) {
			out[i] = whole(v)
		}
	case tensor.I32:
		for i, v := range tensor.Of[int32](k.tensor) {
			out[i] = whole(int64(v))
		}
	case tensor.Bool:
		for i, b := range k.tensor.Bytes() {
			out[i] = whole(int64(b))
		}
	case tensor.F32:
		for i, v := range tensor.Of[float32](k.tensor) {
			out[i].float = float64(v)
		}
	case tensor.F64:
		for i, v := range tensor.Of[float64](k.tensor) {
			out[i].float = v
		}
	default:
		return nil, false
	}
	k.numbers = out
	return out, true
}

// integers returns the elements of a list or a scalar of integers without symbols.
func (k *known) integers() ([]int64, bool) {
	if k == nil || k.dtype.IsFloat() || len(k.shape) > 1 {
		return nil, false
	}
	list, ok := k.list()
	out := make([]int64, len(list))
	for i, v := range list {
		ok = ok && v.isFixed()
		out[i] = v.integer
	}
	return out, ok
}

// newKnown makes a value of elements; nil where one does not fit the type.
func newKnown(d tensor.DType, shape tensor.Shape, list []number) *known {
	k := &known{dtype: d, shape: shape, numbers: list}
	if len(list) == 0 {
		k.numbers = []number{}
	}
	if slices.ContainsFunc(list, func(x number) bool { return !x.isFixed() }) {
		return k
	}
	switch d {
	case tensor.I64, tensor.I32, tensor.Bool:
		integers := make([]int64, len(list))
		for i, x := range list {
			integers[i] = x.integer
			if !fits(x.integer, d) {
				return nil
			}
		}
		k.tensor = tensor.New(d, shape)
		for i, v := range integers {
			switch d {
			case tensor.I64:
				tensor.Of[int64](k.tensor)[i] = v
			case tensor.I32:
				tensor.Of[int32](k.tensor)[i] = int32(v)
			default:
				k.tensor.Bytes()[i] = byte(v)
			}
		}
	case tensor.F32:
		k.tensor = tensor.New(d, shape)
		for i, x := range list {
			tensor.Of[float32](k.tensor)[i] = float32(x.float)
			k.numbers[i].float = float64(float32(x.float))
		}
	case tensor.F64:
		k.tensor = tensor.New(d, shape)
		for i, x := range list {
			tensor.Of[float64](k.tensor)[i] = x.float
		}
	default:
		return nil
	}
	return k
}

// folding is one node whose inputs are known.
type folding struct {
	*converter
	node *graph.Node
	in   []*known // nil for an absent one
}

// folds computes nodes. nil says that a node cannot be folded, and stays.
var folds = map[string]func(*folding) *known{
	"Add": arithmetic(add), "Sub": arithmetic(subtract), "Mul": arithmetic(multiply), "Div": arithmetic(divide), "Mod": (*folding).modulo,
	"Min": arithmetic(least), "Max": arithmetic(greatest), "Equal": arithmetic(equal),
	"Neg": function(func(x float64) float64 { return -x }, func(v int64) int64 { return -v }), "Sqrt": function(math.Sqrt, nil),
	"Floor": function(math.Floor, nil), "Ceil": function(math.Ceil, nil), "Abs": function(math.Abs, nil), "Not": (*folding).not,
	"Cast": (*folding).cast, "Concat": (*folding).concat, "ConstantOfShape": (*folding).constantOfShape, "Expand": (*folding).expand,
	"Gather": (*folding).gather, "Identity": (*folding).identity, "Range": (*folding).progression, "ReduceProd": (*folding).product,
	"Reshape": (*folding).reshape, "ScatterND": (*folding).scatter, "Slice": (*folding).slice, "Squeeze": (*folding).squeeze,
	"Transpose": (*folding).transpose, "Unsqueeze": (*folding).unsqueeze, "Where": (*folding).where,
}

// fold computes a node if that can be done; nil says that it cannot.
func (c *converter) fold(n *graph.Node) (*known, error) {
	switch n.Op {
	case "Constant":
		return c.foldConstant(n)
	case "Shape", "Size":
		return c.foldShape(n), nil
	}
	rule := folds[n.Op]
	if rule == nil || len(n.Outputs) != 1 {
		return nil, nil
	}
	f := &folding{converter: c, node: n, in: make([]*known, len(n.Inputs))}
	for i, name := range n.Inputs {
		if name == "" {
			continue
		}
		if f.in[i] = c.known[name]; f.in[i] == nil {
			return nil, nil
		}
	}
	if len(f.in) == 0 || f.in[0] == nil || c.work > maxFolds {
		return nil, nil
	}
	k := rule(f)
	if k != nil {
		n := int64(elements(k.shape))
		c.work += n + 1
		if err := c.reserve(n * int64(k.dtype.Size())); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// foldConstant reads the tensor that a Constant node describes.
func (c *converter) foldConstant(n *graph.Node) (*known, error) {
	small := graph.Graph{Nodes: []graph.Node{*n}}
	t := small.Constants()[n.Outputs[0]]
	if t == nil {
		return nil, unsupported("a constant that is neither a tensor nor numbers is not supported")
	}
	if err := c.constant(n.Outputs[0], t); err != nil {
		return nil, err
	}
	return c.known[n.Outputs[0]], nil
}

// foldShape is the extents of a value, or of a run of its axes, or their product.
func (c *converter) foldShape(n *graph.Node) *known {
	v, ok := c.values[n.Input(0)]
	if !ok {
		return nil
	}
	if n.Op == "Size" {
		d, err := v.Shape.Elements()
		if err != nil {
			return nil
		}
		return newKnown(tensor.I64, tensor.Shape{}, []number{ofExtent(d)})
	}
	clamp := func(i int64) int64 {
		if i < 0 {
			i += int64(len(v.Shape))
		}
		return min(max(i, 0), int64(len(v.Shape)))
	}
	start, end := clamp(n.Attrs.Int("start", 0)), clamp(n.Attrs.Int("end", int64(len(v.Shape))))
	list := []number{}
	for _, d := range v.Shape[start:max(start, end)] {
		list = append(list, ofExtent(d))
	}
	return newKnown(tensor.I64, tensor.Shape{len(list)}, list)
}

// arithmetic applies an operation of two operands, of one type, to their elements. One operand may be a single element.
func arithmetic(op func(x, y number, float bool) (number, bool)) func(*folding) *known {
	return func(f *folding) *known {
		if len(f.in) != 2 || f.in[1] == nil || f.in[0].dtype != f.in[1].dtype {
			return nil
		}
		return f.elementwise(f.in[0], f.in[1], f.resultType(), op)
	}
}

func (f *folding) resultType() tensor.DType {
	if f.node.Op == "Equal" {
		return tensor.Bool
	}
	return f.in[0].dtype
}

func (f *folding) elementwise(a, b *known, d tensor.DType, op func(x, y number, float bool) (number, bool)) *known {
	x, ok := a.list()
	y, ok2 := b.list()
	if !ok || !ok2 {
		return nil
	}
	shape := a.shape
	switch {
	case a.shape.Equal(b.shape):
	case len(y) == 1 && len(b.shape) <= len(a.shape):
	case len(x) == 1 && len(a.shape) <= len(b.shape):
		shape = b.shape
	default:
		return nil
	}
	out := make([]number, max(len(x), len(y)))
	if len(x) == 0 || len(y) == 0 {
		out = nil
	}
	for i := range out {
		var ok bool
		if out[i], ok = op(x[min(i, len(x)-1)], y[min(i, len(y)-1)], a.dtype.IsFloat()); !ok {
			return nil
		}
	}
	return newKnown(d, shape, out)
}

func add(x, y number, float bool) (number, bool) {
	sum := x.integer + y.integer
	overflows := (sum > x.integer) != (y.integer > 0)
	switch {
	case float:
		return number{float: x.float + y.float}, true
	case x.isFixed() && x.integer == 0:
		return y, true
	case y.isFixed() && y.integer == 0:
		return x, true
	}
	return number{integer: sum, symbols: x.symbols}, x.symbols == y.symbols && !overflows && (sum != 0 || x.isFixed())
}

func subtract(x, y number, float bool) (number, bool) {
	if float {
		return number{float: x.float - y.float}, true
	}
	if x == y {
		return whole(0), true
	}
	y.integer = -y.integer
	return add(x, y, false)
}

func multiply(x, y number, float bool) (number, bool) {
	if float {
		return number{float: x.float * y.float}, true
	}
	if x.isFixed() && y.isFixed() {
		v := x.integer * y.integer
		return whole(v), x.integer == 0 || v/x.integer == y.integer && !(x.integer == -1 && y.integer == math.MinInt64)
	}
	a, ok := x.extent()
	b, ok2 := y.extent()
	if !ok || !ok2 {
		return number{}, false
	}
	d, err := a.Mul(b)
	return ofExtent(d), err == nil
}

// modulo has the sign of the divisor or, with the attribute fmod, that of the dividend.
func (f *folding) modulo() *known {
	truncates := f.node.Attrs.Int("fmod", 0) != 0
	return arithmetic(func(x, y number, float bool) (number, bool) {
		if float {
			return number{float: math.Mod(x.float, y.float)}, truncates // without it floats are not allowed
		}
		if !x.isFixed() || !y.isFixed() || y.integer == 0 || y.integer == -1 {
			return number{}, false
		}
		r := x.integer % y.integer
		if !truncates && r != 0 && (r < 0) != (y.integer < 0) {
			r += y.integer
		}
		return whole(r), true
	})(f)
}

// divide rounds integers towards zero, as ONNX does.
func divide(x, y number, float bool) (number, bool) {
	if float {
		return number{float: x.float / y.float}, true
	}
	if x.isFixed() && y.isFixed() {
		if y.integer == 0 || y.integer == -1 {
			return number{}, false
		}
		return whole(x.integer / y.integer), true
	}
	a, ok := x.extent()
	b, ok2 := y.extent()
	if !ok || !ok2 {
		return number{}, false
	}
	d, ok := a.Div(b)
	return ofExtent(d), ok
}

func least(x, y number, float bool) (number, bool) {
	return number{float: min(x.float, y.float), integer: min(x.integer, y.integer)}, x.isFixed() && y.isFixed()
}

func greatest(x, y number, float bool) (number, bool) {
	return number{float: max(x.float, y.float), integer: max(x.integer, y.integer)}, x.isFixed() && y.isFixed()
}

// equal compares. An extent is never below 1; what it is above that nobody knows.
func equal(x, y number, _ bool) (number, bool) {
	switch {
	case x == y:
		return whole(1), true
	case x.isFixed() && y.isFixed():
		return whole(0), true
	case x.isFixed() && x.integer < 1, y.isFixed() && y.integer < 1:
		return whole(0), true
	}
	return number{}, false
}

// function applies one of floats, and of integers where it has a form for them.
func function(float func(float64) float64, integer func(int64) int64) func(*folding) *known {
	return func(f *folding) *known {
		list, ok := f.in[0].list()
		if !ok {
			return nil
		}
		out := make([]number, len(list))
		for i, x := range list {
			switch {
			case f.in[0].dtype.IsFloat():
				out[i].float = float(x.float)
			case integer == nil || !x.isFixed():
				return nil
			default:
				out[i] = whole(integer(x.integer))
			}
		}
		return newKnown(f.in[0].dtype, f.in[0].shape, out)
	}
}

func (f *folding) not() *known {
	list, ok := f.in[0].list()
	if !ok || f.in[0].dtype != tensor.Bool {
		return nil
	}
	out := make([]number, len(list))
	for i, x := range list {
		out[i] = whole(1 - x.integer)
	}
	return newKnown(tensor.Bool, f.in[0].shape, out)
}

func (f *folding) cast() *known {
	to, err := f.castTo(f.node)
	list, ok := f.in[0].list()
	if err != nil || !ok {
		return nil
	}
	out := make([]number, len(list))
	for i, x := range list {
		switch from := f.in[0].dtype; {
		case from.IsFloat() == to.IsFloat() && (to != tensor.Bool || from == tensor.Bool):
			out[i] = x
		case !x.isFixed():
			return nil
		case to == tensor.Bool:
			if out[i] = whole(1); x.integer == 0 && x.float == 0 {
				out[i] = whole(0)
			}
		case to.IsFloat():
			out[i].float = float64(x.integer)
		case math.Abs(x.float) < 1<<53:
			out[i] = whole(int64(x.float)) // towards zero
		default:
			return nil
		}
	}
	return newKnown(to, f.in[0].shape, out)
}

func (f *folding) identity() *known { return f.in[0] }

// reshaped has the elements of the first input.
func (f *folding) reshaped(shape tensor.Shape) *known {
	n, err := shape.Elements()
	if err != nil || n != elements(f.in[0].shape) || len(shape) > graph.MaxRank {
		return nil
	}
	if f.in[0].tensor == nil {
		return newKnown(f.in[0].dtype, shape, f.in[0].numbers)
	}
	t, err := tensor.FromBytes(f.in[0].dtype, shape, f.in[0].tensor.Bytes())
	if err != nil {
		return nil
	}
	return &known{dtype: t.DType(), shape: shape, tensor: t}
}

func (f *folding) reshape() *known {
	target, ok := f.integers(1)
	if !ok {
		return nil
	}
	shape, rest, have := make(tensor.Shape, len(target)), -1, 1
	for i, v := range target {
		switch {
		case v == 0 && f.node.Attrs.Int("allowzero", 0) == 0 && i < len(f.in[0].shape):
			shape[i] = f.in[0].shape[i]
		case v == -1 && rest < 0:
			rest, shape[i] = i, 1
		case v > 0 && v <= maxConstants:
			shape[i] = int(v)
		default:
			return nil
		}
		if have *= shape[i]; have > maxConstants {
			return nil
		}
	}
	if n := elements(f.in[0].shape); rest >= 0 {
		if have == 0 || n%have != 0 {
			return nil
		}
		shape[rest] = n / have
	}
	return f.reshaped(shape)
}

// integers is input i as a list of integers.
func (f *folding) integers(i int) ([]int64, bool) {
	if i >= len(f.in) {
		return nil, false
	}
	return f.in[i].integers()
}

func (f *folding) unsqueeze() *known {
	axes, ok := f.integers(1)
	if !ok {
		return nil
	}
	rank := len(f.in[0].shape) + len(axes)
	shape := make(tensor.Shape, rank)
	for _, a := range axes {
		axis, err := graph.Axis(a, rank)
		if err != nil || shape[axis] != 0 || rank > graph.MaxRank {
			return nil
		}
		shape[axis] = 1
	}
	rest := f.in[0].shape
	for i := range shape {
		if shape[i] == 0 {
			shape[i], rest = rest[0], rest[1:]
		}
	}
	return f.reshaped(shape)
}

func (f *folding) squeeze() *known {
	old := f.in[0].shape
	drop := make([]bool, len(old))
	if axes, ok := f.integers(1); ok {
		for _, a := range axes {
			axis, err := graph.Axis(a, len(old))
			if err != nil || old[axis] != 1 {
				return nil
			}
			drop[axis] = true
		}
	} else {
		for i, n := range old {
			drop[i] = n == 1
		}
	}
	shape := tensor.Shape{}
	for i, n := range old {
		if !drop[i] {
			shape = append(shape, n)
		}
	}
	return f.reshaped(shape)
}

// concat puts lists one after the other.
func (f *folding) concat() *known {
	rank := len(f.in[0].shape)
	axis, err := graph.Axis(f.node.Attrs.Int("axis", 0), rank)
	if err != nil {
		return nil
	}
	shape, outer := slices.Clone(f.in[0].shape), elements(f.in[0].shape[:axis])
	shape[axis] = 0
	rows, all := make([][]number, len(f.in)), 0
	for i, k := range f.in {
		if k == nil || len(k.shape) != rank || k.dtype != f.in[0].dtype {
			return nil
		}
		rest := slices.Clone(k.shape)
		rest[axis] = shape[axis]
		list, ok := k.list()
		if all += len(list); !ok || !rest.Equal(shape) || all > maxFolded {
			return nil
		}
		rows[i] = list
		shape[axis] += k.shape[axis]
	}
	out := make([]number, 0, all)
	for range outer {
		for i, k := range f.in {
			n := elements(k.shape[axis:])
			out = append(out, rows[i][:n]...)
			rows[i] = rows[i][n:]
		}
	}
	return newKnown(f.in[0].dtype, shape, out)
}

// gather takes elements of a list.
func (f *folding) gather() *known {
	if len(f.in) != 2 || f.in[1] == nil || len(f.in[0].shape) != 1 {
		return nil
	}
	if axis := f.node.Attrs.Int("axis", 0); axis != 0 && axis != -1 {
		return nil
	}
	list, ok := f.in[0].list()
	indices, ok2 := f.in[1].integers()
	if !ok || !ok2 {
		return nil
	}
	out := make([]number, len(indices))
	for i, at := range indices {
		if at < 0 {
			at += int64(len(list))
		}
		if at < 0 || at >= int64(len(list)) {
			return nil
		}
		out[i] = list[at]
	}
	return newKnown(f.in[0].dtype, f.in[1].shape, out)
}

// strided takes the elements that lie so far apart along each axis, from base on.
func (f *folding) strided(shape tensor.Shape, strides []int, base int) *known {
	list, ok := f.in[0].list()
	if !ok {
		return nil
	}
	out := make([]number, elements(shape))
	for i := range out {
		at, rest := base, i
		for axis := len(shape) - 1; axis >= 0; axis-- {
			at += rest % shape[axis] * strides[axis]
			rest /= shape[axis]
		}
		out[i] = list[at]
	}
	return newKnown(f.in[0].dtype, shape, out)
}

// strides are those of a dense value.
func strides(shape tensor.Shape) []int {
	out, n := make([]int, len(shape)), 1
	for i := len(shape) - 1; i >= 0; i-- {
		out[i] = n
		n *= shape[i]
	}
	return out
}

func (f *folding) slice() *known {
	constants := map[string]*tensor.Tensor{}
	for i, name := range f.node.Inputs {
		if f.in[i] != nil && f.in[i].tensor != nil {
			constants[name] = f.wide(f.in[i])
		}
	}
	ranges, err := graph.SliceRanges(f.node, graph.ShapeOf(f.in[0].shape...), constants)
	if err != nil {
		return nil
	}
	shape, apart, base := make(tensor.Shape, len(ranges)), strides(f.in[0].shape), 0
	for i, r := range ranges {
		shape[i] = r.Len
		base += r.First * apart[i]
		apart[i] *= r.Step
	}
	return f.strided(shape, apart, base)
}

func (f *folding) transpose() *known {
	perm, err := graph.Perm(f.node, len(f.in[0].shape))
	if err != nil {
		return nil
	}
	shape, apart, old := make(tensor.Shape, len(perm)), make([]int, len(perm)), strides(f.in[0].shape)
	for i, p := range perm {
		shape[i], apart[i] = f.in[0].shape[p], old[p]
	}
	return f.strided(shape, apart, 0)
}

// wide makes I64 of I32.
func (f *folding) wide(k *known) *tensor.Tensor {
	if k.dtype == tensor.I32 {
		if t, err := k.tensor.Convert(tensor.I64); err == nil {
			return t
		}
	}
	return k.tensor
}

// product multiplies all elements of a list.
func (f *folding) product() *known {
	list, ok := f.in[0].list()
	if !ok || len(f.in[0].shape) != 1 {
		return nil
	}
	if axes, given := f.integers(1); given && !slices.Equal(axes, []int64{0}) && !slices.Equal(axes, []int64{-1}) {
		return nil
	}
	one := whole(1)
	one.float = 1
	for _, x := range list {
		if one, ok = multiply(one, x, f.in[0].dtype.IsFloat()); !ok {
			return nil
		}
	}
	shape := tensor.Shape{1}
	if f.node.Attrs.Int("keepdims", 1) == 0 {
		shape = tensor.Shape{}
	}
	return newKnown(f.in[0].dtype, shape, []number{one})
}

// fill is a shape of one element, over and over.
func fill(d tensor.DType, shape []int64, x number) *known {
	out := tensor.Shape{}
	for _, n := range shape {
		if n < 0 || n > maxFolded {
			return nil
		}
		out = append(out, int(n))
	}
	n, err := out.Elements()
	if err != nil || n > maxFolded || len(out) > graph.MaxRank {
		return nil
	}
	return newKnown(d, out, slices.Repeat([]number{x}, n))
}

func (f *folding) constantOfShape() *known {
	shape, ok := f.in[0].integers()
	if !ok {
		return nil
	}
	value := f.node.Attrs.Tensor("value")
	if value == nil {
		return fill(f.float, shape, number{})
	}
	d := f.typeOf(value.DType())
	if value.DType() != d {
		var err error
		if value, err = value.Convert(d); err != nil {
			return nil
		}
	}
	x, ok := (&known{dtype: d, shape: value.Shape(), tensor: value}).list()
	if !ok || len(x) != 1 {
		return nil
	}
	return fill(d, shape, x[0])
}

// expand repeats a single element.
func (f *folding) expand() *known {
	target, ok := f.integers(1)
	x, ok2 := f.in[0].list()
	if !ok || !ok2 || len(target) > graph.MaxRank {
		return nil
	}
	from := f.in[0].shape
	if len(x) == 1 && len(from) <= len(target) {
		return fill(f.in[0].dtype, target, x[0])
	}
	// Extents are lined up from the last; 1 is broadcast to the other.
	rank := max(len(from), len(target))
	shape, steps := make(tensor.Shape, rank), make([]int, rank)
	n, step := 1, 1
	for i := 1; i <= rank; i++ {
		have, want := 1, int64(1)
		if i <= len(from) {
			have = from[len(from)-i]
		}
		if i <= len(target) {
			want = target[len(target)-i]
		}
		switch {
		case want == 1 || want == int64(have):
			shape[rank-i] = have
		case have == 1 && want > 0 && want <= maxFolded:
			shape[rank-i] = int(want)
		default:
			return nil
		}
		if have > 1 {
			steps[rank-i] = step
		}
		step *= have
		if n *= shape[rank-i]; n > maxFolded {
			return nil
		}
	}
	out := make([]number, n)
	for i := range out {
		at, rest := 0, i
		for axis := rank - 1; axis >= 0; axis-- {
			at += rest % shape[axis] * steps[axis]
			rest /= shape[axis]
		}
		out[i] = x[at]
	}
	return newKnown(f.in[0].dtype, shape, out)
}

// progression is Range.
func (f *folding) progression() *known {
	var v [3]int64
	if len(f.in) != 3 {
		return nil
	}
	for i := range v {
		list, ok := f.integers(i)
		if !ok || len(list) != 1 || list[0] > math.MaxInt32 || list[0] < math.MinInt32 {
			return nil
		}
		v[i] = list[0]
	}
	if v[2] == 0 {
		return nil
	}
	var out []number
	for x := v[0]; (v[2] > 0 && x < v[1]) || (v[2] < 0 && x > v[1]); x += v[2] {
		if len(out) == maxFolded {
			return nil
		}
		out = append(out, whole(x))
	}
	return newKnown(f.in[0].dtype, tensor.Shape{len(out)}, out)
}

func (f *folding) where() *known {
	if len(f.in) != 3 || f.in[1] == nil || f.in[2] == nil || f.in[1].dtype != f.in[2].dtype {
		return nil
	}
	condition, ok := f.in[0].list()
	x, ok2 := f.in[1].list()
	y, ok3 := f.in[2].list()
	shape := f.in[0].shape
	if !ok || !ok2 || !ok3 || !f.in[1].shape.Equal(shape) || !f.in[2].shape.Equal(shape) {
		return nil
	}
	out := make([]number, len(condition))
	for i, yes := range condition {
		if out[i] = y[i]; yes.integer != 0 {
			out[i] = x[i]
		}
	}
	return newKnown(f.in[1].dtype, shape, out)
}

// target gives a Reshape whose target has symbols one that is a constant: 0 where an extent stays, -1 for at most one other.
func (c *converter) target(n *graph.Node) {
	k, x := c.known[n.Input(1)], c.values[n.Input(0)]
	if k == nil || k.dtype != tensor.I64 || len(k.shape) != 1 {
		return
	}
	list, ok := k.list()
	if !ok {
		return
	}
	copies := n.Attrs.Int("allowzero", 0) == 0
	out, rest, changed := make([]int64, len(list)), 0, false
	for i, v := range list {
		same := copies && i < len(x.Shape) && !x.Shape[i].IsFixed()
		switch {
		case !v.isFixed() && same && ofExtent(x.Shape[i]) == v:
			out[i], changed = 0, true
		case !v.isFixed():
			out[i], changed = -1, true
		case i == 0 && same && c.batch != "" && x.Shape[0].Sym == c.batch && v.integer == int64(c.fixedBatch)*int64(x.Shape[0].Size):
			out[i], changed = 0, true // the batch that the file fixes
		default:
			out[i] = v.integer
		}
		if out[i] == -1 {
			rest++
		}
	}
	if changed && rest <= 1 {
		n.Inputs[1] = c.list(n.Outputs[0]+".shape", out)
	}
}

// castFloats makes a conversion between floats an Identity: they have one type in the graph.
func (c *converter) castFloats(n *graph.Node) {
	to, err := c.castTo(n)
	if err != nil {
		return
	}
	if v, ok := c.values[n.Input(0)]; ok && v.DType == to {
		n.Op, n.Attrs = "Identity", graph.Attrs{}
	} else if to.IsFloat() {
		n.Attrs["to"] = int64(onnxpb.TensorProto_FLOAT)
		if to == tensor.F64 {
			n.Attrs["to"] = int64(onnxpb.TensorProto_DOUBLE)
		}
	}
}

// scatter writes slabs of updates over those of the data that the indices name, in order.
func (f *folding) scatter() *known {
	if len(f.in) != 3 || f.in[1] == nil || f.in[2] == nil || f.in[0].dtype != f.in[2].dtype || f.node.Attrs.String("reduction", "none") != "none" {
		return nil
	}
	data, ok := f.in[0].list()
	numbers, ok2 := f.in[1].list()
	updates, ok3 := f.in[2].list()
	shape, rank := f.in[0].shape, len(f.in[1].shape)-1
	if !ok || !ok2 || !ok3 || rank < 0 || f.in[1].shape[rank] > len(shape) {
		return nil
	}
	depth, rows := f.in[1].shape[rank], elements(f.in[1].shape[:rank])
	slab := elements(shape[depth:])
	if len(updates) != rows*slab {
		return nil
	}
	out := slices.Clone(data)
	for row := range rows {
		at := 0
		for axis, i := range numbers[row*depth : (row+1)*depth] {
			extent := int64(shape[axis])
			if i.integer < 0 {
				i.integer += extent
			}
			if !i.isFixed() || i.integer < 0 || i.integer >= extent {
				return nil
			}
			at = at*shape[axis] + int(i.integer)
		}
		copy(out[at*slab:(at+1)*slab], updates[row*slab:])
	}
	return newKnown(f.in[0].dtype, shape, out)
}
