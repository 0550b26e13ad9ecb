package onnx

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/onnx/internal/onnxpb"
	"github.com/rebasin/rebasin/tensor"
)

// The operator sets that can be read.
const (
	oldestOpset = 9
	newestOpset = graph.Opset
)

// maxConstants bounds the bytes of all constants together, which a graph holds in memory.
const maxConstants = 1 << 30

// converter makes a graph of a model.
type converter struct {
	file      *File
	version   int64 // of the operator set
	float     tensor.DType
	graph     *graph.Graph
	taken     map[string]bool        // names of values
	readers   map[string]int         // how often values are read, outputs of the network included
	weights   map[string]bool        // values that some node reads as more than a setting
	declared  map[string]graph.Value // by the file
	values    map[string]graph.Value // types and shapes, as far as they are known
	known     map[string]*known      // values that do not depend on the network's input
	emitted   map[string]bool        // of these, those that have a node
	settings  map[string]string      // parameters that are also settings -> their constants
	functions map[string]bool        // operators that the file defines
	symbols   map[string]string      // dim_param -> symbol
	constants int64                  // bytes
	work      int64                  // elements that folding has computed
	notes     []string

	// Where the file fixes the batch and the graph shall not: the size that it has there, and the symbol in its place.
	fixedBatch int
	batch      string
}

// convert makes the graph of a model. A batch of fixed size is freed where that changes nothing else.
func convert(f *File) (*graph.Graph, []string, error) {
	c := newConverter(f)
	if c.fixedBatch = c.batchSize(); c.fixedBatch > 0 {
		c.batch = c.symbol("batch")
		if c.run() == nil && c.freed() {
			return c.graph, c.notes, nil
		}
		c = newConverter(f)
	}
	if err := c.run(); err != nil {
		return nil, nil, err
	}
	return c.graph, c.notes, nil
}

func newConverter(f *File) *converter {
	return &converter{
		file: f, float: tensor.F32, graph: &graph.Graph{Name: f.model.GetGraph().GetName()}, taken: map[string]bool{}, readers: map[string]int{},
		weights: map[string]bool{}, declared: map[string]graph.Value{}, values: map[string]graph.Value{}, known: map[string]*known{},
		emitted: map[string]bool{}, settings: map[string]string{}, functions: map[string]bool{}, symbols: map[string]string{},
	}
}

func (c *converter) run() error {
	if err := c.findVersion(); err != nil {
		return err
	}
	c.findFloat()
	nodes, err := c.readNodes()
	if err != nil {
		return err
	}
	c.findNames(nodes)
	for _, step := range []func() error{c.inputs, c.initializers} {
		if err := step(); err != nil {
			return err
		}
	}
	if nodes, err = c.sort(nodes); err != nil {
		return err
	}
	c.declare()
	for i := range nodes {
		if err := c.node(&nodes[i]); err != nil {
			return fmt.Errorf("%s: %w", &nodes[i], err)
		}
	}
	if err := c.outputs(); err != nil {
		return err
	}
	c.drop()
	if err := c.graph.Validate(); err != nil {
		return malformed("%v", err)
	}
	c.undeclare()
	if _, err := c.graph.PartialShapes(); err != nil {
		return malformed("%v", err)
	}
	return nil
}

// isDefault says that a domain is that of ONNX's own operators.
func isDefault(domain string) bool { return domain == "" || domain == "ai.onnx" }

func (c *converter) findVersion() error {
	for _, set := range c.file.model.GetOpsetImport() {
		if !isDefault(set.GetDomain()) {
			continue
		}
		if c.version != 0 && c.version != set.GetVersion() {
			return malformed("two operator sets, %d and %d", c.version, set.GetVersion())
		}
		c.version = set.GetVersion()
	}
	switch {
	case c.version == 0:
		return malformed("not an ONNX model: it names no operator set")
	case c.version < oldestOpset || c.version > newestOpset:
		return unsupported("operator set %d is not supported; %d to %d are", c.version, oldestOpset, newestOpset)
	}
	for _, f := range c.file.model.GetFunctions() {
		c.functions[operatorName(f.GetDomain(), f.GetName())] = true
	}
	return nil
}

// operatorName is that of a node of the graph; operators of other domains bear their domain.
func operatorName(domain, op string) string {
	if isDefault(domain) {
		return op
	}
	return domain + "." + op
}

// findFloat chooses the type that all floats have in the graph: F64 for a network of float64, else F32.
func (c *converter) findFloat() {
	for _, in := range c.file.model.GetGraph().GetInput() {
		if in.GetType().GetTensorType().GetElemType() == int32(onnxpb.TensorProto_DOUBLE) {
			c.float = tensor.F64
		}
	}
}

// typeOf is the type that elements have in the graph.
func (c *converter) typeOf(d tensor.DType) tensor.DType {
	if d.IsFloat() {
		return c.float
	}
	return d
}

// findNames learns which names are taken, and what is read how often and as what.
func (c *converter) findNames(nodes []graph.Node) {
	g := c.file.model.GetGraph()
	for _, in := range g.GetInput() {
		c.taken[in.GetName()] = true
	}
	for i := range c.file.tensors {
		c.taken[c.file.tensors[i].Name] = true
	}
	for _, n := range nodes {
		for i, in := range n.Inputs {
			c.readers[in]++
			if !slices.Contains(settingInputs[n.Op], i) {
				c.weights[in] = true
			}
		}
		for _, out := range n.Outputs {
			c.taken[out] = true
		}
	}
	for _, out := range g.GetOutput() {
		c.readers[out.GetName()]++
		c.weights[out.GetName()] = true
	}
}

// fresh makes a name for a value that the file does not have.
func (c *converter) fresh(name string) string {
	candidate := name
	for i := 2; c.taken[candidate]; i++ {
		candidate = name + "." + strconv.Itoa(i)
	}
	c.taken[candidate] = true
	return candidate
}

// symbol is the symbol of a graph for the name of an extent.
func (c *converter) symbol(name string) string {
	if s, ok := c.symbols[name]; ok {
		return s
	}
	s := strings.Map(func(r rune) rune {
		if strings.ContainsRune("*,[]()", r) || r <= ' ' {
			return '_'
		}
		return r
	}, name)
	s = c.fresh("$" + s)[1:] // apart from names of values
	c.symbols[name] = s
	return s
}

// inputs makes the inputs of the network; initializers may be listed among them.
func (c *converter) inputs() error {
	for _, in := range c.file.model.GetGraph().GetInput() {
		if _, given := c.file.index[in.GetName()]; given {
			continue
		}
		v, err := c.input(in)
		if err != nil {
			return fmt.Errorf("input %s: %w", quote(in.GetName()), err)
		}
		c.graph.Inputs = append(c.graph.Inputs, v)
		c.values[v.Name] = v
	}
	return nil
}

func (c *converter) input(in *onnxpb.ValueInfoProto) (graph.Value, error) {
	t := in.GetType().GetTensorType()
	if t == nil || t.GetShape() == nil {
		return graph.Value{}, unsupported("its type is not that of a tensor with a shape, which is not supported")
	}
	d, err := dtypeOf(t.GetElemType())
	if err != nil {
		return graph.Value{}, err
	}
	v := graph.Value{Name: in.GetName(), DType: c.typeOf(d), Shape: graph.Shape{}}
	for i, dim := range t.GetShape().GetDim() {
		n, err := toInt(max(dim.GetDimValue(), 0))
		switch {
		case err != nil:
			return v, err
		case i == 0 && c.batch != "":
			v.Shape = append(v.Shape, graph.Sym(c.batch))
		case dim.GetDimParam() != "":
			v.Shape = append(v.Shape, graph.Sym(c.symbol(dim.GetDimParam())))
		case n > 0:
			v.Shape = append(v.Shape, graph.Fixed(n))
		default: // exporters leave out what varies, or write 0 or -1
			v.Shape = append(v.Shape, graph.Sym(c.symbol(fmt.Sprintf("%s_%d", in.GetName(), i))))
		}
	}
	return v, nil
}

// initializers makes parameters of floats and constants of everything else.
func (c *converter) initializers() error {
	for i := range c.file.tensors {
		t := &c.file.tensors[i]
		if t.DType.IsFloat() && elements(t.Shape) > 0 && (c.weights[t.Name] || c.readers[t.Name] == 0) {
			v := graph.Value{Name: t.Name, DType: c.float, Shape: graph.ShapeOf(t.Shape...)}
			c.graph.Params = append(c.graph.Params, v)
			c.values[v.Name] = v
			continue
		}
		if c.readers[t.Name] == 0 {
			continue
		}
		if err := c.load(t, t.Name); err != nil {
			return ofTensor(t.Name, err)
		}
	}
	return nil
}

// load makes a constant of an initializer.
func (c *converter) load(t *initializer, name string) error {
	if err := c.reserve(int64(elements(t.Shape)) * int64(t.DType.Size())); err != nil {
		return err
	}
	value, err := c.file.read(t)
	if err != nil {
		return err
	}
	return c.constant(name, value)
}

func (c *converter) reserve(bytes int64) error {
	if c.constants += bytes; c.constants > maxConstants {
		return unsupported("constants of more than %d bytes are not supported", maxConstants)
	}
	return nil
}

// constant makes a tensor known.
func (c *converter) constant(name string, t *tensor.Tensor) error {
	if t.DType().IsFloat() && t.DType() != c.float {
		var err error
		if t, err = t.Convert(c.float); err != nil {
			return err
		}
	}
	c.learn(name, &known{dtype: t.DType(), shape: t.Shape(), tensor: t})
	return nil
}

func (c *converter) learn(name string, k *known) {
	c.known[name] = k
	c.values[name] = graph.Value{Name: name, DType: k.dtype, Shape: graph.ShapeOf(k.shape...)}
}

// list makes a constant of new name that is a list of integers.
func (c *converter) list(name string, values []int64) string {
	name = c.fresh(name)
	t := tensor.FromSlice(tensor.Shape{len(values)}, values)
	c.learn(name, &known{dtype: tensor.I64, shape: t.Shape(), tensor: t})
	return name
}

// scalar makes a constant of new name that is one float.
func (c *converter) scalar(name string, value float64) string {
	name = c.fresh(name)
	t := tensor.FromSlice(tensor.Shape{}, []float64{value})
	if c.float == tensor.F32 {
		t = tensor.FromSlice(tensor.Shape{}, []float32{float32(value)})
	}
	c.learn(name, &known{dtype: c.float, shape: t.Shape(), tensor: t})
	return name
}

// declare keeps the shapes that the file gives of values.
func (c *converter) declare() {
	if c.batch != "" {
		return // they have the fixed batch
	}
	g := c.file.model.GetGraph()
	for _, v := range slices.Concat(g.GetValueInfo(), g.GetOutput()) {
		t := v.GetType().GetTensorType()
		d, err := dtypeOf(t.GetElemType())
		if err != nil || t.GetShape() == nil || len(t.GetShape().GetDim()) > graph.MaxRank {
			continue
		}
		shape := graph.Shape{}
		for _, dim := range t.GetShape().GetDim() {
			n, err := toInt(dim.GetDimValue())
			switch {
			case dim.GetDimParam() != "":
				shape = append(shape, graph.Sym(c.symbol(dim.GetDimParam())))
			case err == nil && n > 0:
				shape = append(shape, graph.Fixed(n))
			}
		}
		if _, err := shape.Elements(); err == nil && len(shape) == len(t.GetShape().GetDim()) {
			c.declared[v.GetName()] = graph.Value{Name: v.GetName(), DType: c.typeOf(d), Shape: shape}
		}
	}
}

// optionalOutputs are the operators whose outputs behind the first are left out where nobody reads them.
var optionalOutputs = map[string]bool{"BatchNormalization": true, "Dropout": true, "LayerNormalization": true, "MaxPool": true}

// node converts one node: to the form of graph.Opset, then away if it is folded.
func (c *converter) node(n *graph.Node) error {
	if up := upgrades[n.Op]; up != nil {
		if err := up(c, n); err != nil {
			return err
		}
	}
	for optionalOutputs[n.Op] && len(n.Outputs) > 1 && c.readers[n.Outputs[len(n.Outputs)-1]] == 0 {
		n.Outputs = n.Outputs[:len(n.Outputs)-1]
	}
	c.separate(n)
	if k, err := c.fold(n); err != nil {
		return err
	} else if k != nil {
		c.learn(n.Outputs[0], k)
		if k.tensor != nil {
			return nil
		}
	}
	switch n.Op {
	case "Reshape":
		c.target(n)
	case "Cast":
		c.castFloats(n)
	}
	return c.emit(*n)
}

// separate gives a node that is set up by a parameter a constant in its place.
func (c *converter) separate(n *graph.Node) {
	for _, i := range settingInputs[n.Op] {
		name := n.Input(i)
		at, initial := c.file.index[name]
		if name == "" || !initial || c.known[name] != nil {
			continue
		}
		if c.settings[name] == "" {
			constant := c.fresh(name + ".constant")
			if c.load(&c.file.tensors[at], constant) != nil {
				continue // it stays a parameter, which the operator's rules refuse
			}
			c.settings[name] = constant
		}
		n.Inputs[i] = c.settings[name]
	}
}

// emit adds a node to the graph, the constants that it reads before it, and finds the shapes of its outputs.
func (c *converter) emit(n graph.Node) error {
	for _, in := range n.Inputs {
		c.place(in)
	}
	c.graph.Nodes = append(c.graph.Nodes, n)
	return c.infer(&n)
}

// place makes the node of a constant that is read.
func (c *converter) place(name string) {
	if k := c.known[name]; k != nil && k.tensor != nil && !c.emitted[name] {
		c.emitted[name] = true
		c.graph.Nodes = append(c.graph.Nodes, graph.Node{
			Name: name, Op: "Constant", Outputs: []string{name}, Attrs: graph.Attrs{"value": k.tensor},
		})
	}
}

// infer finds types and shapes of a node's outputs by the rules of package graph, from a graph of this node alone.
func (c *converter) infer(n *graph.Node) error {
	small := &graph.Graph{Name: "one node", Nodes: []graph.Node{*n}}
	for _, out := range n.Outputs {
		if out != "" {
			small.Outputs = append(small.Outputs, out)
		}
	}
	complete := true
	for i, in := range n.Inputs {
		if in == "" || slices.Contains(n.Inputs[:i], in) {
			continue
		}
		if k := c.known[in]; k != nil && k.tensor != nil {
			constant := graph.Node{Op: "Constant", Outputs: []string{in}, Attrs: graph.Attrs{"value": k.tensor}}
			small.Nodes = slices.Insert(small.Nodes, len(small.Nodes)-1, constant)
			continue
		}
		v, ok := c.values[in]
		complete = complete && ok && !hasEmpty(v.Shape)
		small.Inputs = append(small.Inputs, v)
	}
	found := map[string]graph.Value{}
	if complete {
		if err := small.Validate(); err != nil {
			return trimGraph(err)
		}
		var err error
		if found, err = small.PartialShapes(); err != nil {
			return trimGraph(err)
		}
	}
	for _, out := range small.Outputs {
		v, ok := found[out]
		if !ok {
			if v, ok = c.given(out); !ok {
				continue
			}
			if c.graph.Declared == nil {
				c.graph.Declared = map[string]graph.Value{}
			}
			c.graph.Declared[out] = v
		}
		c.values[out] = v
	}
	return nil
}

// given is the type and shape of a value that no rule can say: that of a folded list, or what the file declares.
func (c *converter) given(name string) (graph.Value, bool) {
	if c.known[name] != nil {
		v, ok := c.values[name]
		return v, ok && !hasEmpty(v.Shape)
	}
	v, ok := c.declared[name]
	return v, ok
}

func hasEmpty(s graph.Shape) bool {
	return slices.ContainsFunc(s, func(d graph.Dim) bool { return d.Size == 0 })
}

// trimGraph leaves what is wrong of an error about the graph of one node; who calls names the node.
func trimGraph(err error) error {
	what := strings.TrimPrefix(err.Error(), `graph "one node": `)
	if _, after, ok := strings.Cut(what, "): "); ok && strings.HasPrefix(what, "node ") {
		what = after
	}
	return malformed("%s", what)
}

func (c *converter) outputs() error {
	if n := len(c.file.model.GetGraph().GetOutput()); n > maxListed {
		return malformed("the graph has %d outputs, more than %d", n, maxListed)
	}
	for _, out := range c.file.model.GetGraph().GetOutput() {
		name := out.GetName()
		if !c.taken[name] {
			return malformed("output %s is not defined", quote(name))
		}
		c.place(name)
		c.graph.Outputs = append(c.graph.Outputs, name)
	}
	if len(c.graph.Outputs) == 0 {
		return malformed("the graph has no outputs")
	}
	return nil
}

// drop leaves out the nodes that nothing depends on any more.
func (c *converter) drop() {
	wanted := map[string]bool{}
	for _, out := range c.graph.Outputs {
		wanted[out] = true
	}
	var kept []graph.Node
	for _, n := range slices.Backward(c.graph.Nodes) {
		if !slices.ContainsFunc(n.Outputs, func(out string) bool { return wanted[out] }) {
			for _, out := range n.Outputs {
				delete(c.graph.Declared, out)
			}
			continue
		}
		for _, in := range n.Inputs {
			wanted[in] = true
		}
		kept = append(kept, n)
	}
	slices.Reverse(kept)
	c.graph.Nodes = kept
}

// undeclare drops what the file declares of values that the whole graph tells as well, where the file has symbols for extents that are known: exporters
// make them up.
func (c *converter) undeclare() {
	if len(c.graph.Declared) == 0 {
		return
	}
	bare := *c.graph
	bare.Declared = nil
	values, err := bare.PartialShapes()
	if err != nil {
		return // which the caller finds, too
	}
	for name, d := range c.graph.Declared {
		if v, ok := values[name]; ok && v.DType == d.DType && vaguer(d.Shape, v.Shape) {
			delete(c.graph.Declared, name)
		}
	}
}

// vaguer says that a is b with symbols in the place of some extents.
func vaguer(a, b graph.Shape) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].IsFixed() && a[i] != b[i] {
			return false
		}
	}
	return true
}

// note says something once.
func (c *converter) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(c.notes, text) {
		c.notes = append(c.notes, text)
	}
}
