package symmetry

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/rebasin/rebasin/graph"
)

// A mixture of experts is often exported with tensors of its own for each expert, experts.0.w1, experts.1.w1, ..., and with the operators of each
// written out. Read as it stands, each expert is a network by itself, and what takes the weight of one expert out of the router's outputs keeps their
// order. But where n branches do the same, each with its own tensors, and end in a sum or side by side in a Concat, they are one branch on tensors with
// one axis more, that of the experts:
//
//	Σ_e Mul(Slice(p, e), Gemm(Relu(Gemm(x, w1_e)), w2_e)) = ReduceSum_e(Mul(p, Gemm(Relu(Gemm(x, W1)), W2)))
//
// So all branches but the first are left out, and the operands of the first get an axis beside their own, the lift: an index that every facet has which
// has such an operand. What selects one run of units of an axis for each branch makes the units of that axis the lift, a sum over the branches leaves it
// behind, and a Concat makes it the outer factor of the axis that it lengthens. The other rules know nothing of it. Parameters of the branches become
// virtual stacks.
//
// The branches must be the same but for their parameters and selections: the same operators with the same settings on tensors of the same shapes, which
// nobody else reads, and parameters whose names differ in nothing but one number, counted from 0. Where they are not, or where the lift turns out to keep
// its order, each branch is read as it stands.

// lift is the axis along which branches are numbered.
type lift struct {
	axis *atom
	size int
	join string // the value in which the branches end
}

// lifted is the index of the lift in every index space.
const lifted = -1

// stackedParam is a parameter of a branch: the tensors of all branches, whose names have a number between before and after.
type stackedParam struct {
	before, after string
	members       []string
	lift          *lift
}

// layerName stands for the names of all members.
func (p *stackedParam) layerName() string {
	const separators = "._/-"
	return strings.Trim(strings.TrimRight(p.before, separators)+"."+strings.TrimLeft(p.after, separators), separators)
}

// numberName stands for what the members are numbered by.
func (p *stackedParam) numberName() string {
	if name := strings.Trim(p.before, "._/-"); name != "" {
		return name
	}
	return p.layerName()
}

// Operators that inference writes for branches.
const (
	branchUnits  = "units of each branch"
	branchSum    = "sum of branches"
	branchConcat = "branches side by side"
)

var branchRules = map[string]inferRule{
	branchUnits:  {unitsOfBranches, siteNever},
	branchSum:    {sumOfBranches, siteAddition},
	branchConcat: {concatOfBranches, siteNever},
}

// run is a run of units of an axis for each branch, the runs filling the axis; and for branchConcat the axis that the branches make.
type run struct {
	axis, branches, units int
}

// unitsOfBranches gives branch i the units from i·units on.
func unitsOfBranches(a *application) {
	r := a.node.run
	in := a.view(a.in[0], grouped(a.in[0].shape, r.axis, r.branches))
	index := indices(len(a.in[0].axes))
	from := slices.Insert(slices.Clone(index), r.axis, lifted)
	s := &indexSpace{}
	s.join(in, false, from)
	out := index
	if len(a.out.axes) < len(index) { // Gather of a number
		out = slices.Delete(slices.Clone(index), r.axis, r.axis+1)
	}
	a.meet(s, out)
}

func sumOfBranches(a *application) {
	index, s := indices(len(a.out.axes)), &indexSpace{}
	a.input(s, 0, index)
	a.meet(s, index)
}

func concatOfBranches(a *application) {
	r := a.node.run
	index, s := indices(len(a.out.axes)), &indexSpace{}
	a.input(s, 0, index)
	s.join(a.view(a.out, grouped(a.out.shape, r.axis, r.branches)), true, slices.Insert(slices.Clone(index), r.axis, lifted))
	a.inf.meet(s, a.why("factors that meet have no common refinement"))
}

// brancher rewrites joins of branches.
type brancher struct {
	inf    *inference
	makers map[string]*inferNode
	gone   map[*inferNode]bool
	joined map[string]bool // sums that are parts of others
}

// byBranch writes branches that do the same as one.
func (inf *inference) byBranch(nodes []*inferNode) []*inferNode {
	b := &brancher{inf: inf, makers: map[string]*inferNode{}, gone: map[*inferNode]bool{}, joined: map[string]bool{}}
	for _, n := range nodes {
		b.makers[n.Outputs[0]] = n
	}
	replaced := map[*inferNode][]*inferNode{}
	for _, n := range slices.Backward(nodes) { // outer branches before those inside them
		if b.gone[n] || b.joined[n.Outputs[0]] {
			continue
		}
		switch n.Op {
		case "Add", "Sum":
			replaced[n] = b.sum(n)
		case "Concat":
			replaced[n] = b.concat(n)
		}
	}
	var out []*inferNode
	for _, n := range nodes {
		switch list := replaced[n]; {
		case b.gone[n]:
		case list != nil:
			out = append(out, list...)
		default:
			out = append(out, n)
		}
	}
	return out
}

// terms lists what a chain of sums adds up, and the sums in it. The sum of a value and a bias is a term.
func (b *brancher) terms(n *inferNode) (terms []string, sums []*inferNode) {
	sums = []*inferNode{n}
	isParam := func(name string) bool {
		_, ok := b.inf.graph.Param(b.inf.origin(name))
		return ok
	}
	for _, in := range n.Inputs {
		name := b.inf.origin(in)
		m := b.makers[name]
		isSum := m != nil && (m.Op == "Add" || m.Op == "Sum") && !b.gone[m] && !slices.ContainsFunc(m.Inputs, isParam)
		if isSum && b.inf.uses[name] == 1 && b.sameShape(name, n.Outputs[0]) {
			b.joined[name] = true
			more, inner := b.terms(m)
			terms, sums = append(terms, more...), append(sums, inner...)
			continue
		}
		terms = append(terms, name)
	}
	return terms, sums
}

func (b *brancher) sameShape(x, y string) bool {
	v, w := b.inf.shapes[x], b.inf.shapes[y]
	return v.Shape != nil && v.Shape.Equal(w.Shape)
}

// sum looks for branches among the terms of a sum; nil where there are none.
func (b *brancher) sum(n *inferNode) []*inferNode {
	terms, sums := b.terms(n)
	var nodes []*inferNode
	var found []*lockstep
	var rest []string
	for _, class := range b.classes(terms) {
		if l := b.branches(class, n.Outputs[0], false); l != nil {
			found = append(found, l)
		} else {
			rest = append(rest, class...)
		}
	}
	b.explain(rest, n.Outputs[0], false)
	if found == nil {
		return nil
	}
	add := func(op, out string, in ...string) {
		nodes = append(nodes, &inferNode{Node: graph.Node{Name: n.Name, Op: op, Inputs: in, Outputs: []string{out}}})
	}
	for i, l := range found {
		out := n.Outputs[0]
		if len(found)+len(rest) > 1 {
			out += between + strconv.Itoa(i)
			b.inf.shapes[out] = b.inf.shapes[l.terms[0]]
		}
		nodes = append(nodes, l.write()...)
		add(branchSum, out, l.terms[0])
		rest = append(rest, out)
	}
	if len(rest) > 1 {
		add("Sum", n.Outputs[0], rest...)
	}
	for _, m := range sums[1:] {
		b.gone[m] = true
	}
	return nodes
}

// classes parts values into those that may be branches, in the order of the first of each.
func (b *brancher) classes(values []string) [][]string {
	var classes [][]string
	number := map[string]int{}
	for _, v := range values {
		s := b.signature(v, signatureDepth)
		i, known := number[s]
		if !known {
			i, number[s] = len(classes), len(classes)
			classes = append(classes, nil)
		}
		classes[i] = append(classes[i], v)
	}
	return classes
}

// signatureDepth is how many operators back values are compared before they are taken for branches that may do the same.
const signatureDepth = 5

// signature says how a value is made, numbers in the names of parameters left out.
func (b *brancher) signature(value string, depth int) string {
	value = b.inf.origin(value)
	shape := fmt.Sprint(b.inf.shapes[value].Shape)
	if _, isParam := b.inf.graph.Param(value); isParam {
		return strings.Map(func(c rune) rune {
			if c >= '0' && c <= '9' {
				return -1
			}
			return c
		}, value) + shape
	}
	n := b.makers[value]
	if n == nil || depth == 0 {
		return shape
	}
	parts := []string{n.Op, strconv.Itoa(len(n.Inputs)), shape}
	if _, ok := b.inf.selects(n); ok {
		return strings.Join(append(parts, b.inf.origin(n.Inputs[0])), " ")
	}
	for _, in := range n.Inputs {
		parts = append(parts, b.signature(in, depth-1))
	}
	return strings.Join(parts, " ")
}

// concat looks for runs of branches among the inputs of a Concat; nil where there are none.
func (b *brancher) concat(n *inferNode) []*inferNode {
	shape := b.inf.shapes[n.Outputs[0]].Shape
	axis, err := graph.Axis(n.Attrs.Int("axis", 0), len(shape))
	if err != nil || !shape[axis].IsFixed() {
		return nil
	}
	var nodes []*inferNode
	var inputs, rest []string
	for _, class := range b.runsOf(n.Inputs) {
		l := b.branches(class, n.Outputs[0], true)
		if l == nil {
			inputs, rest = append(inputs, class...), append(rest, class...)
			continue
		}
		nodes = append(nodes, l.write()...)
		out, each := n.Outputs[0], b.inf.shapes[class[0]]
		if len(class) < len(n.Inputs) {
			out += between + strconv.Itoa(len(inputs))
			wide := slices.Clone(each.Shape)
			wide[axis] = graph.Fixed(each.Shape[axis].Size * len(class))
			b.inf.shapes[out] = graph.Value{Name: out, DType: each.DType, Shape: wide}
		}
		side := &inferNode{Node: graph.Node{Name: n.Name, Op: branchConcat, Inputs: class[:1], Outputs: []string{out}}}
		side.run = &run{axis, len(class), each.Shape[axis].Size}
		nodes, inputs = append(nodes, side), append(inputs, out)
	}
	b.explain(rest, n.Outputs[0], true)
	if nodes != nil && len(inputs) > 1 {
		nodes = append(nodes, &inferNode{Node: graph.Node{Name: n.Name, Op: "Concat", Inputs: inputs, Outputs: n.Outputs, Attrs: n.Attrs}})
	}
	return nodes
}

// runsOf parts the inputs of a Concat into runs of those that may be branches.
func (b *brancher) runsOf(inputs []string) [][]string {
	var runs [][]string
	last := ""
	for i, in := range inputs {
		in = b.inf.origin(in)
		s := b.signature(in, signatureDepth)
		if i == 0 || s != last {
			runs = append(runs, nil)
		}
		runs[len(runs)-1], last = append(runs[len(runs)-1], in), s
	}
	return runs
}

// branches says that the values of a class are ends of branches; nil where they are not.
func (b *brancher) branches(class []string, join string, ordered bool) *lockstep {
	if len(class) < 2 {
		return nil
	}
	l, err := b.walk(class, join, ordered)
	if err != nil {
		return nil
	}
	return l
}

// walk goes back through all branches at once. An error says what they have not in common.
func (b *brancher) walk(terms []string, join string, ordered bool) (*lockstep, error) {
	l := &lockstep{brancher: b, terms: terms, at: map[string]bool{}, shared: map[string]bool{}, index: map[string]int{}}
	if why := b.inf.apart[join]; why != "" {
		return nil, errors.New(why)
	}
	l.join = join
	if err := l.value(terms); err != nil {
		return nil, err
	}
	if err := l.number(ordered); err != nil {
		return nil, err
	}
	return l, l.alone()
}

// explain remembers why the values that end in a join are read one by one, with the selections that give one unit of an axis to each.
func (b *brancher) explain(values []string, join string, ordered bool) {
	type axisOf struct {
		value string
		axis  int
	}
	var axes []axisOf
	units := map[axisOf][]*inferNode{}
	var routed []string
	for _, v := range values {
		for _, n := range b.unitsFor(v) {
			s, _ := b.inf.selects(n)
			at := axisOf{b.inf.origin(s.input), s.axis}
			if !slices.Contains(axes, at) {
				axes = append(axes, at)
			}
			units[at] = append(units[at], n)
			if !slices.Contains(routed, v) {
				routed = append(routed, v)
			}
		}
	}
	if len(routed) < 2 {
		return
	}
	_, err := b.walk(routed, join, ordered)
	for _, at := range axes {
		if extent := b.inf.shapes[at.value].Shape[at.axis]; err == nil || extent.Size != len(units[at]) {
			continue // units that are left move among themselves
		}
		for _, n := range units[at] {
			n.apart = "branches that are not of one kind: " + err.Error()
		}
	}
}

// unitsFor lists the selections of one unit of an axis that only this value comes from.
func (b *brancher) unitsFor(value string) []*inferNode {
	var units []*inferNode
	for list := []string{value}; len(list) > 0; list = list[1:] {
		name := b.inf.origin(list[0])
		n := b.makers[name]
		if n == nil || b.inf.uses[name] != 1 {
			continue
		}
		if s, ok := b.inf.selects(n); !ok {
			list = append(list, n.Inputs...)
		} else if s.n == 1 {
			units = append(units, n)
		}
	}
	return units
}

// lockstep is the way back through branches that do the same.
type lockstep struct {
	*brancher
	terms  []string // the values that the branches end in
	join   string
	steps  []step
	at     map[string]bool // the values of branches
	index  map[string]int  // of the steps, by the value of the first branch
	shared map[string]bool // the values that all branches read
	params []*stackedParam
}

// step is a value of each branch, and what makes it: parameters have no makers.
type step struct {
	values []string
	makers []*inferNode
	run    *run // where the values are runs of units of one axis
	firsts []int
}

// value goes back from a value of each branch. What all branches read alike is no part of them.
func (l *lockstep) value(values []string) error {
	first := values[0]
	if !slices.ContainsFunc(values, func(v string) bool { return v != first }) {
		l.shared[first] = true
		return nil
	}
	if i, known := l.index[first]; known && slices.Equal(l.steps[i].values, values) {
		return nil
	}
	for i, v := range values {
		if l.at[v] || slices.Contains(values[:i], v) {
			return fmt.Errorf("%q and %q are not one for each", values[0], values[1])
		}
	}
	s, err := l.step(values)
	if err != nil || s == nil {
		return err
	}
	for _, v := range values {
		l.at[v] = true
	}
	l.index[first] = len(l.steps)
	l.steps = append(l.steps, *s)
	return nil
}

// namesOf names the first two values, for messages.
func namesOf(values []string) string { return fmt.Sprintf("%q and %q", values[0], values[1]) }

// step finds out what makes the values; nil for constants that are the same.
func (l *lockstep) step(values []string) (*step, error) {
	x := l.inf.shapes[values[0]]
	for _, v := range values {
		if y := l.inf.shapes[v]; x.Shape == nil || !x.Shape.Equal(y.Shape) || x.DType != y.DType {
			return nil, fmt.Errorf("values %q and %q differ in shape", values[0], v)
		}
		if _, isParam := l.inf.graph.Param(v); isParam && l.inf.several(v) {
			return nil, fmt.Errorf("tensor %q is constant and used more than once", v)
		}
	}
	if _, constant := l.inf.constants[values[0]]; constant {
		return nil, l.sameConstants(values)
	}
	if _, isParam := l.inf.graph.Param(values[0]); isParam {
		return &step{values: values}, l.stackable(values)
	}
	s := &step{values: values}
	for _, v := range values {
		n := l.makers[v]
		if n == nil || n.source == nil || l.gone[n] {
			return nil, fmt.Errorf("value %q is made by no operator of the graph alone", v)
		}
		s.makers = append(s.makers, n)
	}
	if l.runs(s) {
		return s, nil
	}
	return s, l.operators(s)
}

func (l *lockstep) sameConstants(values []string) error {
	t := l.inf.constants[values[0]]
	for _, v := range values[1:] {
		if u, ok := l.inf.constants[v]; !ok || !t.Equal(u) {
			return fmt.Errorf("constants %q and %q differ", values[0], v)
		}
	}
	return nil
}

// runs recognises selections of one axis, a run of equal length for each branch, which fill it.
func (l *lockstep) runs(s *step) bool {
	var like selection
	var firsts []int
	for i, n := range s.makers {
		one, ok := l.inf.selects(n)
		one.input = l.inf.origin(one.input)
		if i == 0 {
			like = one
		}
		if !ok || one.input != like.input || one.axis != like.axis || one.n != like.n || slices.Contains(firsts, one.first) {
			return false
		}
		firsts = append(firsts, one.first)
	}
	shape := l.inf.shapes[like.input].Shape
	if shape[like.axis].Size != like.n*len(s.makers) {
		return false
	}
	l.shared[like.input] = true
	s.run, s.firsts = &run{like.axis, len(s.makers), like.n}, firsts
	return true
}

// operators holds the makers of a step to the same operator and goes on to their inputs.
func (l *lockstep) operators(s *step) error {
	n := s.makers[0]
	for _, m := range s.makers[1:] {
		if !n.sameOperator(m) || !reflect.DeepEqual(n.Attrs, m.Attrs) {
			return fmt.Errorf("%s (%s) and %s (%s) differ", nodeName(n), n.Op, nodeName(m), m.Op)
		}
	}
	for i := range n.Inputs {
		var values []string
		for _, m := range s.makers {
			if (m.Inputs[i] == "") != (n.Inputs[i] == "") {
				return fmt.Errorf("%s and %s have other inputs", nodeName(n), nodeName(m))
			}
			values = append(values, l.inf.origin(m.Inputs[i]))
		}
		if err := l.value(values); err != nil {
			return err
		}
	}
	return nil
}

// stackable makes a virtual stack of parameters, if their names can number them.
func (l *lockstep) stackable(values []string) error {
	for _, v := range values {
		if _, isParam := l.inf.graph.Param(v); !isParam || l.inf.stacks[v] != nil {
			return fmt.Errorf("%q is no tensor of a branch alone", v)
		}
	}
	before, after := common(values)
	t, _, err := parseTemplate(before + "{e}" + after)
	if err != nil || strings.Contains(before+after, "{") {
		return fmt.Errorf("the names %s do not number them", namesOf(values))
	}
	numbers := 0
	for _, p := range l.inf.graph.Params {
		if _, ok := t.match(p.Name); ok {
			numbers++
		}
	}
	if numbers != len(values) {
		return fmt.Errorf("the names %s do not number them", namesOf(values))
	}
	l.params = append(l.params, &stackedParam{before: before, after: after, members: values})
	return nil
}

// common is what names begin and end with, without digits at the inner ends.
func common(names []string) (before, after string) {
	before, after = names[0], names[0]
	for _, name := range names[1:] {
		n := 0
		for n < min(len(before), len(name)) && before[n] == name[n] {
			n++
		}
		before = before[:n]
	}
	before = strings.TrimRight(before, "0123456789")
	after = after[len(before):]
	for _, name := range names[1:] {
		for name = name[len(before):]; !strings.HasSuffix(name, after); {
			after = after[1:]
		}
	}
	return before, strings.TrimLeft(after, "0123456789")
}

// number orders the branches by the numbers in the names of their parameters, which must agree with each other and with the selections.
func (l *lockstep) number(ordered bool) error {
	if len(l.params) == 0 {
		return errors.New("they have no tensors of their own")
	}
	place := make([]int, len(l.terms)) // place[i] is the branch of number i
	for k, p := range l.params {
		for i, name := range p.members {
			number, err := strconv.Atoi(name[len(p.before) : len(name)-len(p.after)])
			if err != nil || number >= len(place) || k > 0 && place[number] != i || ordered && number != i {
				return fmt.Errorf("tensor %q does not have the number of its branch, counted from 0", name)
			}
			place[number] = i
		}
	}
	for i := range l.steps {
		s := &l.steps[i]
		s.values = sorted(s.values, place)
		s.makers, s.firsts = sorted(s.makers, place), sorted(s.firsts, place)
		for number, first := range s.firsts {
			if first != number*s.run.units {
				return fmt.Errorf("%q is not of the branch of its number", s.values[number])
			}
		}
	}
	for _, p := range l.params {
		p.members = sorted(p.members, place)
	}
	l.terms = sorted(l.terms, place)
	return nil
}

func sorted[T any](list []T, place []int) []T {
	if list == nil {
		return nil
	}
	out := make([]T, len(list))
	for number, i := range place {
		out[number] = list[i]
	}
	return out
}

// alone says that nobody but the branches reads what is in them.
func (l *lockstep) alone() error {
	reads := map[string]int{}
	for _, t := range l.terms {
		reads[t]++
	}
	counted := map[*graph.Node]bool{}
	for _, s := range l.steps {
		for _, n := range s.makers {
			if counted[n.source] {
				continue
			}
			counted[n.source] = true
			for _, in := range n.Inputs {
				reads[l.inf.origin(in)]++
			}
			for _, out := range n.source.Outputs {
				if _, known := l.at[out]; !known && l.inf.uses[out] > 0 {
					return fmt.Errorf("value %q is read by others", out)
				}
			}
		}
	}
	for _, s := range l.steps {
		for _, v := range s.values {
			if l.shared[v] {
				return fmt.Errorf("value %q is read by all", v)
			}
			if reads[v] != l.inf.uses[v] {
				return fmt.Errorf("value %q is read by others", v)
			}
		}
	}
	return nil
}

// write gives the nodes of the branch that stands for all.
func (l *lockstep) write() []*inferNode {
	axis := &lift{size: len(l.terms), join: l.join}
	l.inf.lifts = append(l.inf.lifts, axis)
	for _, p := range l.params {
		p.lift = axis
		for _, m := range p.members {
			l.inf.stacks[m] = p
		}
	}
	var nodes []*inferNode
	for _, s := range l.steps {
		for _, n := range s.makers {
			l.gone[n] = true
		}
		if s.makers == nil {
			continue
		}
		n := *s.makers[0]
		n.lift, n.source = axis, nil
		if s.run != nil {
			n.run = s.run
			n.Node = graph.Node{Name: n.Name, Op: branchUnits, Inputs: n.Inputs[:1], Outputs: n.Outputs}
		}
		nodes = append(nodes, &n)
	}
	return nodes
}

// fallen notes the joins whose branches keep their order after all, which are better read one by one, and says whether there are any.
func (inf *inference) fallen() bool {
	fallen := false
	for _, l := range inf.lifts {
		switch a := l.axis.root(); {
		case a.parts != nil || a.terms != nil:
			inf.apart[l.join] = "the branches are of several kinds"
		case a.why != "":
			inf.apart[l.join] = a.why
		default:
			continue
		}
		fallen = true
	}
	return fallen
}

// sameOperator says that two nodes have one operator, settings aside, and as many inputs.
func (n *inferNode) sameOperator(m *inferNode) bool {
	return n.Op == m.Op && n.slot == m.slot && n.outputs == m.outputs && len(n.Inputs) == len(m.Inputs)
}
