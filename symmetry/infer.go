package symmetry

import (
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// Infer finds the permutation symmetries of a network: the groups of units that may be reordered, and on which axes of which parameters each
// of them stands, so that reordering them everywhere leaves the outputs as they are.
//
// # Method
//
// Every axis of every parameter and value starts as one unknown factor, free to be permuted on its own. Then each node adds what its operator
// needs, by a rule of a registry; [inferRules] has one entry per operator. A rule states the operator as an index space, in the manner of
// einsum: which axes of inputs and output run over the same index. Axes with the same index are joined (union-find); where products of
// different factors meet, as after a Reshape, both are split to their common refinement. Concatenations are a second way to divide a factor: an axis
// that a Concat or Pad makes is a sum of terms, and where sums with other borders meet, their terms are cut; a product along whose inner factors all
// terms divide is taken out of a sum. Terms are told no index of a parent, so no families come from them. What cannot be refined, and a sum that is
// not the outermost factor of an axis, keeps its order, and so does
// all that touches the network's inputs and outputs, an operator without a rule, or a value of unknown shape: it is pinned, with the reason in
// [Symmetry.Pinned]. Factors that remain free are groups.
//
// Families come from a second pass. Call b dependent on a when b may be permuted differently for each index of a. That is possible exactly when
// in every index space each tensor that has an index b also has one index a, always the same; else some operator would read units of
// one order through the order of another, as a sum over a does, which leaves b behind without a. Dependence holds to begin with and is
// dropped where a tensor forbids it. Dependence is transitive; where two factors depend on each other the first in the graph becomes the
// parent. So multi-head attention, whose operators split a free axis into (heads dk), keeps heads and a family dk[heads].
//
// The result is safe by construction, and complete for the operators that have rules, except that a free axis which some node splits stays
// split. Time is linear in the nodes, quadratic in the factors of one node.
//
// # Parameters
//
// The values of the parameters, of one or more models of this graph, may be given to see through what exporters do with equal tensors:
//
//   - a tensor whose elements are all equal, in each model, and that n nodes use, counts as n tensors. Its order does not matter, so its axes
//     are fixed, and it is in [Symmetry.Constant];
//   - where two or more models are given that differ, a tensor that is the same in all, bit for bit, is no trained one: it pins each axis along
//     which it is not constant, and is in Constant.
//
// Outputs of Constant nodes pin the axes along which they are not constant. A parameter that several nodes use is joined with each of them.
//
// # Names
//
// A group is named after the first parameter, in the order of the nodes, that creates its axis as an output, without the last part of the
// parameter's name: "fc1" for fc1.weight. Where an axis has several groups they are numbered, outer first: "attn.q.0" and "attn.q.1".
//
// # Channels
//
// Windows read neighbours, so the spatial axes of convolutions and poolings keep their order. Grouped convolutions and group normalisation split channels
// into (g c): groups move among themselves, channels within their group.
//
// # Branches
//
// Branches that do the same with tensors of their own, experts.0.w1, experts.1.w1, ..., and end in a sum or side by side in a Concat are read as one
// branch, whose tensors have one axis more. Their layouts are those of virtual stacks: see [Symmetry.Stack].
//
// # Sites
//
// The sites of a group are the outputs of the nonlinearities that carry it, else of the additions, else of any operators that compute. Axes whose
// extent is symbolic have a fixed factor of size 0 in the sites' layouts. Values in branches are none.
func Infer(g *graph.Graph, params ...map[string]*tensor.Tensor) (*Symmetry, error) {
	if err := g.Validate(); err != nil {
		return nil, fmt.Errorf("symmetry: %w", err)
	}
	g, err := g.Lowered()
	if err != nil {
		return nil, fmt.Errorf("symmetry: %w", err)
	}
	shapes, err := g.PartialShapes()
	if err != nil {
		return nil, fmt.Errorf("symmetry: %w", err)
	}
	traits, err := readTraits(g, params)
	if err != nil {
		return nil, fmt.Errorf("symmetry: %w", err)
	}
	apart := map[string]string{}
	for {
		inf := newInference(g, shapes, traits)
		inf.apart = apart
		nodes := inf.byBranch(inf.byDirection(inf.nodes()))
		inf.start()
		for _, n := range inf.selectEarly(nodes) {
			inf.node(n)
		}
		inf.finish()
		if !inf.fallen() {
			return inf.result(), nil
		}
	}
}

// inference is the state while the nodes of a graph are read.
type inference struct {
	graph     *graph.Graph
	shapes    map[string]graph.Value
	constants map[string]*tensor.Tensor
	traits    traits
	alias     map[string]string   // outputs of Identity nodes -> what they pass on
	uses      map[string]int      // uses of parameters and constants by nodes that compute
	operands  map[string]*operand // by the name of the value; not those made for one use
	values    []*operand          // outputs of nodes, in order
	spaces    []*indexSpace       // in order of the nodes
	taken     []taken             // in order of the nodes
	lifts     []*lift
	stacks    map[string]*stackedParam // by the names of their members
	apart     map[string]string        // joins of branches that are read one by one -> why
	lifting   bool                     // the node at hand has an operand with a lift
	atoms     int
}

func newInference(g *graph.Graph, shapes map[string]graph.Value, traits traits) *inference {
	inf := &inference{
		graph: g, shapes: shapes, constants: g.Constants(), traits: traits,
		alias: map[string]string{}, uses: map[string]int{}, operands: map[string]*operand{},
		stacks: map[string]*stackedParam{},
	}
	for _, n := range g.Nodes {
		if _, known := shapes[n.Input(0)]; known && n.Op == "Identity" {
			inf.alias[n.Outputs[0]] = inf.origin(n.Input(0))
			continue
		}
		for _, in := range n.Inputs {
			inf.uses[inf.origin(in)]++
		}
	}
	for _, out := range g.Outputs {
		inf.uses[inf.origin(out)]++
	}
	return inf
}

// origin sees through Identity nodes.
func (inf *inference) origin(name string) string {
	if first, ok := inf.alias[name]; ok {
		return first
	}
	return name
}

// operand is a tensor whose axes are lists of factors. Axes of extent 1 are empty lists.
type operand struct {
	name  string
	shape graph.Shape
	axes  [][]*atom
	// absent marks axes along which the tensor is constant for sure: like axes of extent 1, they take part in nothing.
	absent []bool
	param  bool
	lift   *atom         // of what is in branches: the axis of branches, which is none of axes
	stack  *stackedParam // of a parameter in branches
	op     string        // of the node that computes the value
	read   bool          // whole, by an operator that does not just take a part
}

func (inf *inference) newOperand(name string, shape graph.Shape) *operand {
	o := &operand{name: name, shape: shape, axes: make([][]*atom, len(shape)), absent: make([]bool, len(shape))}
	for i, d := range shape {
		if d.IsOne() {
			o.absent[i] = true
			continue
		}
		o.axes[i] = []*atom{inf.newAtom(d)}
	}
	return o
}

// flat is all factors of the operand, row-major.
func (o *operand) flat() []*atom {
	var all []*atom
	for _, a := range o.axes {
		all = append(all, a...)
	}
	return all
}

// all is all factors of the operand, beginning with the axis of branches.
func (o *operand) all() []*atom {
	if o.lift != nil {
		return append([]*atom{o.lift}, o.flat()...)
	}
	return o.flat()
}

func (o *operand) pin(why string) { pinAll(o.all(), why) }

// start makes the operands of inputs and parameters and pins those that are known to keep their order.
func (inf *inference) start() {
	for _, v := range inf.graph.Inputs {
		o := inf.newOperand(v.Name, v.Shape)
		o.pin(fmt.Sprintf("network input %q", v.Name))
		inf.operands[v.Name] = o
	}
	for _, l := range inf.lifts {
		l.axis = inf.newAtom(graph.Fixed(l.size))
	}
	for _, v := range inf.graph.Params {
		o := inf.parameter(v)
		inf.operands[v.Name] = o
		if inf.traits.frozen[v.Name] != nil && o.lift != nil {
			pinAll([]*atom{o.lift}, "the same in all models")
		}
		if inf.uses[v.Name] == 0 {
			o.pin("no operator uses it")
		}
		for axis, pinned := range inf.traits.frozen[v.Name] {
			if pinned {
				pinAll(o.axes[axis], "the same in all models")
			}
		}
	}
}

// parameter is the operand of a parameter, one for all members of a stack.
func (inf *inference) parameter(v graph.Value) *operand {
	stack := inf.stacks[v.Name]
	if stack != nil && inf.operands[stack.members[0]] != nil {
		return inf.operands[stack.members[0]]
	}
	o := inf.newOperand(v.Name, v.Shape)
	if o.param = true; stack != nil {
		o.name, o.stack, o.lift = stack.layerName(), stack, stack.lift.axis
		for _, m := range stack.members {
			inf.operands[m] = o
		}
	}
	return o
}

// finish pins what leaves the network.
func (inf *inference) finish() {
	for _, out := range inf.graph.Outputs {
		if o := inf.operands[inf.origin(out)]; o != nil {
			o.pin(fmt.Sprintf("network output %q", out))
		}
	}
	inf.settle()
	inf.pinUnread()
}

// inferNode is one output of a node: a node of several outputs is as many nodes here.
type inferNode struct {
	graph.Node
	slot    int           // which output
	outputs int           // how many outputs the node has in the graph
	ranges  []graph.Range // of a Slice that inference wrote: what it takes
	source  *graph.Node   // nil of a node that inference wrote
	lift    *lift         // of a node that stands for those of all branches
	run     *run          // of operators that begin and end branches
	apart   string        // of a selection of one unit: why branches were not read as one
}

// nodes lists the outputs that somebody wants.
func (inf *inference) nodes() []*inferNode {
	var list []*inferNode
	for i := range inf.graph.Nodes {
		n := &inf.graph.Nodes[i]
		for slot, out := range n.Outputs {
			if out == "" || slot > 0 && inf.uses[out] == 0 {
				continue
			}
			one := &inferNode{Node: *n, slot: slot, outputs: len(n.Outputs), source: n}
			one.Outputs = []string{out}
			list = append(list, one)
		}
	}
	return list
}

// node applies the rule of one node, or pins all that the node touches. What is a constant, or follows from constants alone, has no unknown axes.
func (inf *inference) node(n *inferNode) {
	_, seenThrough := inf.alias[n.Outputs[0]]
	if _, constant := inf.constants[n.Outputs[0]]; constant || seenThrough || n.Op == "Constant" {
		return
	}
	for _, name := range slices.Concat(n.Inputs, n.Outputs[:1]) {
		if _, known := inf.shapes[name]; name != "" && !known {
			inf.refuse(n, fmt.Sprintf("operator %s of %s: the shape of %q is unknown", n.Op, nodeName(n), name))
			return
		}
	}
	rule, ok := inferRules[n.Op]
	if !ok {
		inf.refuse(n, fmt.Sprintf("operator %s of %s has no rule", n.Op, nodeName(n)))
		return
	}
	a := &application{inf: inf, node: n, in: make([]*operand, len(n.Inputs)), out: inf.output(n, n.Outputs[0])}
	for i, name := range n.Inputs {
		if name != "" {
			a.in[i] = inf.use(name)
		}
	}
	inf.enterBranch(a)
	rule.apply(a)
	for i, o := range a.in {
		if o != nil && (i > 0 || !a.takes) {
			o.read = true
		}
	}
}

// enterBranch gives the output the axis of branches, if an input has it or it begins here.
func (inf *inference) enterBranch(a *application) {
	has := func(o *operand) bool { return o != nil && o.lift != nil }
	inf.lifting = a.node.lift != nil && (a.node.Op == branchUnits || slices.ContainsFunc(a.in, has))
	if inf.lifting {
		a.out.lift = a.node.lift.axis
	}
	if s, ok := inf.selects(a.node); ok && a.node.apart != "" {
		pinAll(a.in[0].axes[s.axis], a.why(a.node.apart))
	}
}

func nodeName(n *inferNode) string {
	if n.Name == "" {
		return fmt.Sprintf("node of %q", n.Outputs[0])
	}
	return fmt.Sprintf("node %q", n.Name)
}

// refuse pins every axis that the node touches.
func (inf *inference) refuse(n *inferNode, why string) {
	for _, name := range n.Inputs {
		if _, known := inf.shapes[name]; known {
			inf.use(name).pin(why)
		}
	}
	for _, name := range n.Outputs {
		if _, known := inf.shapes[name]; known {
			inf.output(n, name).pin(why)
		}
	}
}

func (inf *inference) output(n *inferNode, name string) *operand {
	o := inf.newOperand(name, inf.shapes[name].Shape)
	o.op = n.Op
	inf.operands[name] = o
	inf.values = append(inf.values, o)
	return o
}

// use returns the operand that a node reads. Constants, and parameters that count as several, are made anew for each use.
func (inf *inference) use(name string) *operand {
	name = inf.origin(name)
	if t, ok := inf.constants[name]; ok {
		return inf.constant(name, t)
	}
	o := inf.operands[name]
	if !inf.several(name) {
		return o
	}
	copied := inf.newOperand(name, o.shape)
	for i := range copied.absent {
		copied.absent[i] = true
	}
	return copied
}

// several says that a parameter, being constant, counts as one parameter for each of its uses.
func (inf *inference) several(name string) bool {
	return inf.traits.constant[name] && inf.uses[name] > 1
}

// constant is the operand of a Constant node: it pins the axes along which it varies.
func (inf *inference) constant(name string, t *tensor.Tensor) *operand {
	o := inf.newOperand(name, graph.ShapeOf(t.Shape()...))
	for i := range o.axes {
		if o.absent[i] = o.absent[i] || constantAlong(t, i); !o.absent[i] {
			pinAll(o.axes[i], fmt.Sprintf("constant %q", name))
		}
	}
	return o
}
