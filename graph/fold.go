package graph

import (
	"math"
	"slices"

	"github.com/rebasin/rebasin/tensor"
)

// maxFolded bounds the elements of one folded tensor, and maxFoldedAll those of all of a graph: masks and tables of long contexts fit, and no file
// can ask for more memory than that.
const (
	maxFolded    = 1 << 24
	maxFoldedAll = 1 << 26
)

// folder computes what follows from constants and shapes alone: the values that exporters compute targets of Reshape, masks and tables of places from.
type folder struct {
	constants map[string]*tensor.Tensor
	lists     map[string]Shape
	elements  int // folded so far
}

// fold notes what is known of the first output of a node after its shape rule has run.
func (f *folder) fold(c *call, out Value) {
	shape, ok := out.Shape.Fixed()
	if list, known := c.foldList(out); ok && known {
		f.note(out, shape, list)
		return
	}
	if truths, known := c.compareLists(); ok && known && len(shape) <= 1 {
		f.constants[out.Name] = (&folding{dtype: out.DType, shape: shape}).store(truths)
		return
	}
	if !ok {
		return
	}
	n, err := shape.Elements()
	if c.node.Op == "Constant" {
		f.constants[out.Name], _ = c.node.Attrs.constant()
		return
	}
	if c.node.Op == "Identity" && f.constants[c.node.Input(0)] != nil {
		f.constants[out.Name] = f.constants[c.node.Input(0)]
		return
	}
	if err != nil || n > maxFolded || f.elements+n > maxFoldedAll || !folds(out.DType) {
		return
	}
	in := make([]*tensor.Tensor, len(c.node.Inputs))
	for i, name := range c.node.Inputs {
		if in[i] = f.constants[name]; name != "" && (in[i] == nil || !folds(in[i].DType())) && c.node.Op != "Shape" {
			return
		}
	}
	if t := (&folding{call: c, in: in, dtype: out.DType, shape: shape}).run(); t != nil {
		f.constants[out.Name] = t
		f.elements += n
	}
}

// note keeps a list: as a constant, where no symbols are in it.
func (f *folder) note(out Value, shape tensor.Shape, list Shape) {
	if _, ok := list.Fixed(); !ok {
		f.lists[out.Name] = list
		return
	}
	f.constants[out.Name] = (&folding{dtype: out.DType, shape: shape}).store(readShape(list))
}

// folds says that constants of a type are computed with.
func folds(d tensor.DType) bool {
	switch d {
	case tensor.F32, tensor.F64, tensor.I64, tensor.I32, tensor.Bool:
		return true
	}
	return false
}

// foldList computes lists of extents that have symbols.
func (c *call) foldList(out Value) (Shape, bool) {
	if out.DType != tensor.I64 || out.Shape.Rank() > 1 {
		return nil, false
	}
	switch c.node.Op {
	case "Shape":
		return shapePart(c.node, c.shape(0)), true
	case "Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape":
		return c.list(0)
	case "Gather":
		return c.gatherList()
	case "Slice":
		return c.sliceList()
	case "Concat":
		return c.concatLists()
	case "Mul", "Div", "Add", "Sub":
		return c.binaryLists()
	case "Where":
		return c.whereList()
	}
	return nil, false
}

func (c *call) gatherList() (Shape, bool) {
	list, ok := c.list(0)
	index, known := c.constants[c.node.Input(1)]
	if !ok || !known {
		return nil, false
	}
	var out Shape
	for _, i := range readInts(index) {
		if i < 0 {
			i += int64(len(list))
		}
		out = append(out, list[i])
	}
	return out, true
}

func (c *call) sliceList() (Shape, bool) {
	list, ok := c.list(0)
	if !ok {
		return nil, false
	}
	ranges, err := SliceRanges(c.node, c.shape(0), c.constants)
	if err != nil || len(ranges) != 1 {
		return nil, false
	}
	var out Shape
	for i := range ranges[0].Len {
		out = append(out, list[ranges[0].First+i*ranges[0].Step])
	}
	return out, true
}

func (c *call) concatLists() (Shape, bool) {
	var out Shape
	for i := range c.in {
		list, ok := c.list(i)
		if !ok {
			return nil, false
		}
		out = append(out, list...)
	}
	return out, true
}

// repeatList makes a list of one as long as another.
func repeatList(list Shape, n int) Shape {
	if len(list) == 1 {
		return slices.Repeat(list, n)
	}
	return list
}

func (c *call) binaryLists() (Shape, bool) {
	a, okA := c.list(0)
	b, okB := c.list(1)
	if !okA || !okB {
		return nil, false
	}
	n := max(len(a), len(b))
	a, b = repeatList(a, n), repeatList(b, n)
	out := make(Shape, n)
	for i := range out {
		var ok bool
		if out[i], ok = combine(c.node.Op, a[i], b[i]); !ok {
			return nil, false
		}
	}
	return out, true
}

// combine computes with extents, where the result is one.
func combine(op string, a, b Dim) (Dim, bool) {
	switch op {
	case "Mul":
		if a.Size < 0 || b.Size < 0 {
			return Dim{}, false
		}
		d, err := a.Mul(b)
		return d, err == nil
	case "Div":
		return a.Div(b)
	case "Sub":
		if a.Sym != b.Sym || a.Size <= b.Size {
			return Dim{}, false
		}
		return Dim{Size: a.Size - b.Size, Sym: a.Sym}, true
	}
	if min(a.Size, b.Size) < 0 {
		return Dim{}, false
	}
	d, err := a.plus(b)
	return d, err == nil
}

// whereList chooses by a condition that is known, or that compares extents with a negative number, which exporters do to find the -1 of a target.
func (c *call) whereList() (Shape, bool) {
	condition, ok := c.constants[c.node.Input(0)]
	a, okA := c.list(1)
	b, okB := c.list(2)
	if !ok || !okA || !okB {
		return nil, false
	}
	holds := readInts(condition)
	n := max(len(a), len(b), len(holds))
	a, b = repeatList(a, n), repeatList(b, n)
	if len(holds) == 1 {
		holds = slices.Repeat(holds, n)
	}
	for i, h := range holds {
		if h == 0 {
			a = slices.Clone(a)
			a[i] = b[i]
		}
	}
	return a, true
}

// compareLists is Equal of two lists of extents: a symbol, which is positive, is no negative number and equals itself.
func (c *call) compareLists() ([]int64, bool) {
	a, okA := c.list(0)
	b, okB := c.list(1)
	if c.node.Op != "Equal" || !okA || !okB {
		return nil, false
	}
	n := max(len(a), len(b))
	a, b = repeatList(a, n), repeatList(b, n)
	out := make([]int64, n)
	for i := range out {
		switch {
		case a[i] == b[i]:
			out[i] = 1
		case a[i].Sym != b[i].Sym && min(a[i].Size, b[i].Size) > 0:
			return nil, false
		}
	}
	return out, true
}

// folding computes one node from constants.
type folding struct {
	*call
	in    []*tensor.Tensor
	dtype tensor.DType
	shape tensor.Shape
}

// run is the value, or nil for operators that are not folded.
func (f *folding) run() *tensor.Tensor {
	switch f.node.Op {
	case "Shape":
		return f.store(readShape(shapePart(f.node, f.call.shape(0))))
	case "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten":
		return f.view()
	case "ConstantOfShape":
		t, _ := FilledWith(f.node)
		return f.move([]*tensor.Tensor{t}, func([]int) (int, int) { return 0, 0 })
	case "Range":
		return f.count()
	case "Trilu":
		return f.trilu()
	}
	if source := f.source(); source != nil {
		return f.move(f.in, source)
	}
	return f.compute()
}

func readShape(s Shape) []int64 {
	out := make([]int64, len(s))
	for i, d := range s {
		out[i] = int64(d.Size)
	}
	return out
}

// view has the elements of the first input in another shape.
func (f *folding) view() *tensor.Tensor {
	t, err := tensor.FromBytes(f.dtype, f.shape, f.in[0].Bytes())
	if err != nil {
		return nil
	}
	return t
}

// move makes a tensor whose element at an index is an element of one of some tensors.
func (f *folding) move(from []*tensor.Tensor, source func(index []int) (tensor, element int)) *tensor.Tensor {
	out := tensor.New(f.dtype, f.shape)
	size, data := f.dtype.Size(), out.Bytes()
	index := make([]int, len(f.shape))
	for at := 0; at < len(data); at += size {
		which, element := source(index)
		copy(data[at:at+size], from[which].Bytes()[element*size:])
		next(index, f.shape)
	}
	return out
}

// next moves an index on, row-major.
func next(index []int, shape tensor.Shape) {
	for i := len(index) - 1; i >= 0; i-- {
		if index[i]++; index[i] < shape[i] {
			return
		}
		index[i] = 0
	}
}

// offset is the place of an element in a tensor that is broadcast to the index.
func offset(shape tensor.Shape, index []int) int {
	at, lead := 0, len(index)-len(shape)
	for i, n := range shape {
		at *= n
		if n != 1 {
			at += index[lead+i]
		}
	}
	return at
}

// source says where operators that move elements about take them from; nil for others.
func (f *folding) source() func(index []int) (int, int) {
	first := func(shape tensor.Shape, at []int) (int, int) { return 0, offset(shape, at) }
	var shape tensor.Shape
	if len(f.in) > 0 {
		shape = f.in[0].Shape()
	}
	switch f.node.Op {
	case "Expand":
		return func(index []int) (int, int) { return first(shape, index) }
	case "Where":
		condition := readInts(f.in[0])
		return func(index []int) (int, int) {
			if condition[offset(shape, index)] != 0 {
				return 1, offset(f.in[1].Shape(), index)
			}
			return 2, offset(f.in[2].Shape(), index)
		}
	case "Transpose", "Slice", "Tile":
		return f.placedSource(shape)
	case "Gather":
		return f.gatherSource(shape)
	case "Concat":
		return f.concatSource()
	}
	return nil
}

// placedSource is of operators of which each index of an axis comes from one index of one axis.
func (f *folding) placedSource(shape tensor.Shape) func(index []int) (int, int) {
	perm, ranges := make([]int, len(shape)), make([]Range, len(shape))
	for i := range shape {
		perm[i], ranges[i] = i, Range{Step: 1}
	}
	var err error
	switch f.node.Op {
	case "Transpose":
		perm, err = Perm(f.node, len(shape))
	case "Slice":
		ranges, err = SliceRanges(f.node, ShapeOf(shape...), f.constants)
	}
	if err != nil {
		return nil
	}
	at := make([]int, len(shape))
	return func(index []int) (int, int) {
		for i, p := range perm {
			at[p] = (ranges[p].First + index[i]*ranges[p].Step) % shape[p]
		}
		return 0, offset(shape, at)
	}
}

func (f *folding) gatherSource(shape tensor.Shape) func(index []int) (int, int) {
	axis, err := Axis(f.node.Attrs.Int("axis", 0), len(shape))
	if err != nil {
		return nil
	}
	indices, rank := readInts(f.in[1]), len(f.in[1].Shape())
	return func(index []int) (int, int) {
		i := indices[offset(f.in[1].Shape(), index[axis:axis+rank])]
		if i < 0 {
			i += int64(shape[axis])
		}
		return 0, offset(shape, slices.Concat(index[:axis], []int{int(i)}, index[axis+rank:]))
	}
}

func (f *folding) concatSource() func(index []int) (int, int) {
	axis, err := Axis(f.node.Attrs.Int("axis", 0), len(f.shape))
	if err != nil {
		return nil
	}
	return func(index []int) (int, int) {
		at := slices.Clone(index)
		for i, t := range f.in {
			if n := t.Shape()[axis]; at[axis] >= n {
				at[axis] -= n
				continue
			}
			place := 0
			for k, n := range t.Shape() {
				place = place*n + at[k]
			}
			return i, place
		}
		panic("graph: a Concat shorter than its parts")
	}
}

func (f *folding) count() *tensor.Tensor {
	start, delta := readFloats(f.in[0])[0], readFloats(f.in[2])[0]
	if f.dtype.IsFloat() {
		out := make([]float64, f.shape[0])
		for i := range out {
			out[i] = start + float64(i)*delta
		}
		return f.storeFloats(out)
	}
	first, step := readInts(f.in[0])[0], readInts(f.in[2])[0]
	out := make([]int64, f.shape[0])
	for i := range out {
		out[i] = first + int64(i)*step
	}
	return f.store(out)
}

func (f *folding) trilu() *tensor.Tensor {
	diagonal, err := Diagonal(f.node, f.constants)
	if err != nil {
		return nil
	}
	zero := tensor.New(f.dtype, tensor.Shape{1})
	return f.move([]*tensor.Tensor{f.in[0], zero}, func(index []int) (int, int) {
		if n := len(index); KeepsElement(f.node, diagonal, index[n-2], index[n-1]) {
			return 0, offset(f.shape, index)
		}
		return 1, 0
	})
}

// compute folds elementwise operators and casts.
func (f *folding) compute() *tensor.Tensor {
	if len(f.in) == 0 {
		return nil
	}
	if f.in[0].DType().IsFloat() {
		return f.computeFloats()
	}
	return f.computeInts()
}

func (f *folding) computeInts() *tensor.Tensor {
	if f.node.Op == "Cast" {
		v := readInts(f.in[0])
		if !f.dtype.IsFloat() {
			return f.store(v)
		}
		return f.storeFloats(readFloats(f.in[0]))
	}
	if g, ok := foldInts1[f.node.Op]; ok {
		v := slices.Clone(readInts(f.in[0]))
		for i := range v {
			v[i] = g(v[i])
		}
		return f.store(v)
	}
	g, ok := foldInts2[f.node.Op]
	if !ok || len(f.in) != 2 || f.in[1].DType().IsFloat() || f.node.Op == "Div" && slices.Contains(readInts(f.in[1]), 0) {
		return nil
	}
	return f.store(pairs(f, readInts(f.in[0]), readInts(f.in[1]), g))
}

func (f *folding) computeFloats() *tensor.Tensor {
	v := readFloats(f.in[0])
	if f.node.Op == "Cast" {
		return f.castFloats(v)
	}
	if g, ok := foldFloats1[f.node.Op]; ok {
		for i := range v {
			v[i] = g(v[i])
		}
		return f.storeFloats(v)
	}
	if len(f.in) != 2 {
		return nil
	}
	if g, ok := foldCompare[f.node.Op]; ok {
		return f.store(pairs(f, v, readFloats(f.in[1]), g))
	}
	if g, ok := foldFloats2[f.node.Op]; ok {
		return f.storeFloats(pairs(f, v, readFloats(f.in[1]), g))
	}
	return nil
}

// castFloats cuts fractions off; what no integer can hold is not folded, and no float is made narrower: an engine may compute in the wider type.
func (f *folding) castFloats(v []float64) *tensor.Tensor {
	if f.dtype == tensor.F32 && f.in[0].DType() == tensor.F64 {
		return nil
	}
	if f.dtype.IsFloat() {
		return f.storeFloats(v)
	}
	out := make([]int64, len(v))
	for i, x := range v {
		switch {
		case f.dtype == tensor.Bool && x != 0:
			out[i] = 1
		case !(math.Abs(x) < math.MaxInt32):
			return nil
		default:
			out[i] = int64(x)
		}
	}
	return f.store(out)
}

// pairs applies a function of two operands, broadcast.
func pairs[E, R any](f *folding, a, b []E, g func(x, y E) R) []R {
	n, _ := f.shape.Elements()
	out, index := make([]R, n), make([]int, len(f.shape))
	for i := range out {
		out[i] = g(a[offset(f.in[0].Shape(), index)], b[offset(f.in[1].Shape(), index)])
		next(index, f.shape)
	}
	return out
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

var foldInts1 = map[string]func(int64) int64{
	"Neg": func(x int64) int64 { return -x },
	"Abs": func(x int64) int64 { return max(x, -x) },
	"Not": func(x int64) int64 { return 1 - x },
}

var foldInts2 = map[string]func(x, y int64) int64{
	"Add": func(x, y int64) int64 { return x + y },
	"Sub": func(x, y int64) int64 { return x - y },
	"Mul": func(x, y int64) int64 { return x * y },
	"Div": func(x, y int64) int64 { return x / y },
	"Min": func(x, y int64) int64 { return min(x, y) },
	"Max": func(x, y int64) int64 { return max(x, y) },
	"And": func(x, y int64) int64 { return x & y },
	"Or":  func(x, y int64) int64 { return x | y },
	"Xor": func(x, y int64) int64 { return x ^ y },

	"Equal":          func(x, y int64) int64 { return truth(x == y) },
	"Less":           func(x, y int64) int64 { return truth(x < y) },
	"LessOrEqual":    func(x, y int64) int64 { return truth(x <= y) },
	"Greater":        func(x, y int64) int64 { return truth(x > y) },
	"GreaterOrEqual": func(x, y int64) int64 { return truth(x >= y) },
}

var foldFloats1 = map[string]func(float64) float64{
	"Neg": func(x float64) float64 { return -x }, "Abs": math.Abs, "Floor": math.Floor, "Ceil": math.Ceil, "Sqrt": math.Sqrt, "Exp": math.Exp,
	"Log": math.Log, "Sin": math.Sin, "Cos": math.Cos, "Reciprocal": func(x float64) float64 { return 1 / x },
}

var foldFloats2 = map[string]func(x, y float64) float64{
	"Add": func(x, y float64) float64 { return x + y },
	"Sub": func(x, y float64) float64 { return x - y },
	"Mul": func(x, y float64) float64 { return x * y },
	"Div": func(x, y float64) float64 { return x / y },
	"Pow": math.Pow,
	"Min": func(x, y float64) float64 { return min(x, y) },
	"Max": func(x, y float64) float64 { return max(x, y) },
}

var foldCompare = map[string]func(x, y float64) int64{
	"Equal":          func(x, y float64) int64 { return truth(x == y) },
	"Less":           func(x, y float64) int64 { return truth(x < y) },
	"LessOrEqual":    func(x, y float64) int64 { return truth(x <= y) },
	"Greater":        func(x, y float64) int64 { return truth(x > y) },
	"GreaterOrEqual": func(x, y float64) int64 { return truth(x >= y) },
}

// readInts reads a constant of I64, I32 or BOOL.
func readInts(t *tensor.Tensor) []int64 {
	switch t.DType() {
	case tensor.I64:
		return tensor.Of[int64](t)
	case tensor.I32:
		return widenInts(tensor.Of[int32](t))
	}
	return widenInts(t.Bytes())
}

func widenInts[E int32 | byte](list []E) []int64 {
	out := make([]int64, len(list))
	for i, v := range list {
		out[i] = int64(v)
	}
	return out
}

// readFloats copies a constant of any type that is folded.
func readFloats(t *tensor.Tensor) []float64 {
	switch t.DType() {
	case tensor.F64:
		return slices.Clone(tensor.Of[float64](t))
	case tensor.F32:
		return widenFloats(tensor.Of[float32](t))
	}
	return widenFloats(readInts(t))
}

func widenFloats[E float32 | int64](list []E) []float64 {
	out := make([]float64, len(list))
	for i, v := range list {
		out[i] = float64(v)
	}
	return out
}

// store makes a tensor of the folding's type, which is no float.
func (f *folding) store(list []int64) *tensor.Tensor {
	switch f.dtype {
	case tensor.I64:
		return tensor.FromSlice(f.shape, list)
	case tensor.I32:
		out := tensor.New(tensor.I32, f.shape)
		for i, v := range list {
			tensor.Of[int32](out)[i] = int32(v)
		}
		return out
	}
	out := tensor.New(tensor.Bool, f.shape)
	for i, v := range list {
		out.Bytes()[i] = byte(truth(v != 0))
	}
	return out
}

func (f *folding) storeFloats(list []float64) *tensor.Tensor {
	if f.dtype == tensor.F64 {
		return tensor.FromSlice(f.shape, list)
	}
	out := tensor.New(tensor.F32, f.shape)
	for i, v := range list {
		tensor.Of[float32](out)[i] = float32(v)
	}
	return out
}
