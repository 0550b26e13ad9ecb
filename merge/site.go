package merge

import (
	"fmt"
	"math"
	"slices"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/tensor"
)

// site is a node whose parameters scale and shift each channel.
type site struct {
	node  graph.Node
	value string // what is measured: the output, or of BatchNormalization the input
	axis  int    // of the channels in that value; negative counts from the end
	scale string // the parameter whose rows or columns are multiplied
	rows  bool   // channels are the first axis of scale, else its last
	bias  string // "" where there is none
	// resets says that only running statistics are set, because scale and bias cannot take a correction.
	resets bool
}

// running says that the node normalises by running statistics.
func (s *site) running() bool { return s.node.Op == "BatchNormalization" }

// split is the value's shape before, at and behind the axis of channels.
func (s *site) split(shape tensor.Shape) (outer, channels, inner int) {
	axis := s.axis
	if axis < 0 {
		axis += len(shape)
	}
	outer, inner = 1, 1
	for i, n := range shape {
		switch {
		case i < axis:
			outer *= n
		case i > axis:
			inner *= n
		}
	}
	return outer, shape[axis], inner
}

// affine are the operators of a site: those with scale and bias of their own, and those that are linear.
var (
	normalisations = map[string]bool{"BatchNormalization": true, "LayerNormalization": true, "GroupNormalization": true, "InstanceNormalization": true}
	linears        = map[string]bool{"Conv": true, "Gemm": true, "MatMul": true}
)

// Operators with one operand of data that neither mix the channels of a value nor stand between layers.
var (
	// rearranging keep the elements.
	rearranging = map[string]bool{"Identity": true, "Flatten": true, "Reshape": true, "Transpose": true, "Squeeze": true, "Unsqueeze": true}
	// readsLogits are what may stand between the last layer and the output.
	readsLogits = map[string]bool{
		"Softmax": true, "LogSoftmax": true, "Sigmoid": true, "GlobalAveragePool": true, "AveragePool": true, "GlobalMaxPool": true, "MaxPool": true,
		"ReduceMean": true, "Dropout": true, "Slice": true, "Cast": true,
	}
	// arithmetic may, with a parameter or a constant for the other operand: a bias, a temperature.
	arithmetic = map[string]bool{"Add": true, "Sub": true, "Mul": true, "Div": true}
)

// siteFinder reads a graph for sites.
type siteFinder struct {
	graph  *graph.Graph
	method RepairMethod
	values map[string]graph.Value
	params map[string]graph.Value
	uses   map[string]int // how many inputs of nodes a value is
	// readers are the nodes that read a value, makers those that make it.
	readers map[string][]*graph.Node
	makers  map[string]*graph.Node
	fixed   map[string]bool // parameters and constants
	affine  map[string]site // of normalisations by groups that are written out, by the value of their Add
	inside  map[string]bool // values between the nodes that such a normalisation is made of
	notes   []string
}

// findSites returns the sites that a method corrects, in levels: a site of one level depends on sites of lower ones only.
func findSites(g *graph.Graph, method RepairMethod) (levels [][]site, notes []string, err error) {
	f, err := newSiteFinder(g, method)
	if err != nil {
		return nil, nil, err
	}
	level := map[string]int{}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		at := 0
		for _, in := range n.Inputs {
			at = max(at, level[in])
		}
		if s, ok := f.site(n); ok {
			if at == len(levels) {
				levels = append(levels, nil)
			}
			levels[at] = append(levels[at], s)
			at++
		}
		for _, out := range n.Outputs {
			level[out] = at
		}
	}
	return levels, f.notes, nil
}

func newSiteFinder(g *graph.Graph, method RepairMethod) (*siteFinder, error) {
	f := &siteFinder{
		graph: g, method: method, uses: map[string]int{}, readers: map[string][]*graph.Node{}, makers: map[string]*graph.Node{},
		params: map[string]graph.Value{}, fixed: map[string]bool{}, affine: map[string]site{}, inside: map[string]bool{},
	}
	var err error
	if f.values, err = g.InferShapes(); err != nil {
		return nil, err
	}
	for _, p := range g.Params {
		f.params[p.Name], f.fixed[p.Name] = p, true
	}
	for name := range g.Constants() {
		f.fixed[name] = true
	}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		for k, in := range n.Inputs {
			f.uses[in]++
			if slices.Index(n.Inputs, in) == k {
				f.readers[in] = append(f.readers[in], n)
			}
		}
		for _, out := range n.Outputs {
			f.makers[out] = n
		}
	}
	for i := range g.Nodes {
		f.findGroupNorm(&g.Nodes[i])
	}
	return f, nil
}

// findGroupNorm recognises the last node of a normalisation by groups as PyTorch exports it before opset 18: Reshape makes channels of the groups,
// InstanceNormalization has scales of one, Reshape goes back, and Mul and Add scale and shift the channels that were.
func (f *siteFinder) findGroupNorm(add *graph.Node) {
	bias, scaled := f.perChannel(add, "Add")
	scale, behind := f.perChannel(scaled, "Mul")
	if behind == nil || behind.Op != "Reshape" {
		return
	}
	norm := f.makers[behind.Inputs[0]]
	if norm == nil || norm.Op != "InstanceNormalization" {
		return
	}
	if before := f.makers[norm.Inputs[0]]; before == nil || before.Op != "Reshape" {
		return
	}
	f.affine[add.Outputs[0]] = site{node: *add, value: add.Outputs[0], axis: 1, scale: scale, bias: bias, rows: true}
	f.inside[norm.Outputs[0]] = true
}

// perChannel reads a node of an operator one of whose operands is a parameter with an element for each channel of the other, which nothing else reads,
// and returns the parameter and the node that makes the other. It is nil where the node is none such.
func (f *siteFinder) perChannel(n *graph.Node, op string) (param string, before *graph.Node) {
	if n == nil || n.Op != op {
		return "", nil
	}
	for i, name := range n.Inputs {
		p, isParam := f.params[name]
		other := n.Inputs[1-i]
		if x := f.values[other].Shape; isParam && f.uses[other] == 1 && x.Rank() > 1 && f.values[n.Outputs[0]].Shape.Equal(x) && alongChannels(p.Shape, x) {
			return name, f.makers[other]
		}
	}
	return "", nil
}

// alongChannels says that a parameter has as many elements as there are channels in x, and goes along axis 1 when it is broadcast to x.
func alongChannels(p, x graph.Shape) bool {
	channels := p.Rank() - x.Rank() + 1 // the axis of p that meets axis 1
	for i, d := range p {
		if i != channels && !d.IsOne() {
			return false
		}
	}
	return channels >= 0 && channels < p.Rank() && p[channels] == x[1]
}

// site says whether a node is one.
func (f *siteFinder) site(n *graph.Node) (s site, ok bool) {
	s = site{node: *n, value: n.Outputs[0], axis: 1, scale: n.Input(1), bias: n.Input(2), rows: true}
	affine, isAffine := f.affine[n.Outputs[0]]
	switch {
	case f.method == RepairNone || f.method == RepairReset && !s.running() || f.inside[n.Outputs[0]]:
		return s, false
	case isAffine:
		s = affine
	case normalisations[n.Op]:
		if s.running() {
			s.value = n.Inputs[0]
		}
		if n.Op == "LayerNormalization" {
			s.axis = -1
		}
	case linears[n.Op]:
		if f.isOutput(n.Outputs[0]) || f.normalised(n.Outputs[0]) {
			return s, false
		}
		if n.Op != "Conv" {
			s.axis = -1
			s.rows = n.Attrs.Int("transB", 0) != 0
		}
	default:
		return s, false
	}
	if why := f.unfit(&s); why != "" {
		f.notes = append(f.notes, fmt.Sprintf("%s was left alone: %s", n, why))
		return s, false
	}
	if s.running() && f.method != RepairReset {
		if why := f.unfitAffine(&s); why != "" {
			f.notes = append(f.notes, fmt.Sprintf("%s was reset only: %s", n, why))
			s.resets = true
		}
	}
	if s.bias == "" {
		f.notes = append(f.notes, fmt.Sprintf("%s has no bias, and gets none: only its deviations are matched", n))
	}
	return s, true
}

// isOutput says that the value is an output of the network, perhaps behind what only rearranges or reads logits.
func (f *siteFinder) isOutput(value string) bool {
	if slices.Contains(f.graph.Outputs, value) {
		return true
	}
	for _, n := range f.readers[value] {
		if f.passes(n, value) && f.isOutput(n.Outputs[0]) {
			return true
		}
	}
	return false
}

// passes says that what the node makes of a value are logits where the value is.
func (f *siteFinder) passes(n *graph.Node, value string) bool {
	switch {
	case rearranging[n.Op], readsLogits[n.Op]:
		return n.Inputs[0] == value
	case arithmetic[n.Op]:
		for _, in := range n.Inputs {
			if in != value && !f.fixed[in] {
				return false
			}
		}
		return n.Inputs[0] != n.Inputs[1]
	}
	return false
}

// normalised says that the value goes into normalisations only, perhaps rearranged, as where groups of channels become the channels of an
// InstanceNormalization.
func (f *siteFinder) normalised(value string) bool {
	if slices.Contains(f.graph.Outputs, value) {
		return false
	}
	for _, n := range f.readers[value] {
		if n.Inputs[0] != value || !normalisations[n.Op] && !(rearranging[n.Op] && f.normalised(n.Outputs[0])) {
			return false
		}
	}
	return len(f.readers[value]) > 0
}

// unfit says why the parameters that a site cannot do without cannot take a correction: of running statistics these, else scale and bias; "" where they
// can.
func (f *siteFinder) unfit(s *site) string {
	shape := f.values[s.value].Shape
	axis := s.axis
	if axis < 0 {
		axis += shape.Rank()
	}
	if axis < 1 || axis >= shape.Rank() || !shape[axis].IsFixed() {
		return fmt.Sprintf("value %q has no axis of channels", s.value)
	}
	if !s.running() {
		return f.unfitAffine(s)
	}
	for _, name := range []string{s.node.Input(3), s.node.Input(4)} {
		if why := f.unfitParam(name); why != "" {
			return why
		}
	}
	return ""
}

// unfitAffine says why scale and bias cannot take a correction; "" where they can.
func (f *siteFinder) unfitAffine(s *site) string {
	for _, name := range []string{s.scale, s.bias} {
		if name == "" && name == s.bias {
			continue
		}
		if why := f.unfitParam(name); why != "" {
			return why
		}
	}
	if s.bias != "" && linears[s.node.Op] && s.node.Attrs.Float("beta", 1) != 1 {
		return "its bias is multiplied by beta"
	}
	return f.unfitShape(s)
}

// unfitParam says why a value is no parameter of one node's own.
func (f *siteFinder) unfitParam(name string) string {
	p, ok := f.params[name]
	switch {
	case !ok:
		return fmt.Sprintf("%q is no parameter", name)
	case !p.DType.IsFloat():
		return fmt.Sprintf("%q is not of floats", name)
	case f.uses[name] != 1:
		return fmt.Sprintf("%q is read more than once", name)
	}
	return ""
}

// unfitShape demands as many channels in the value as in the parameters.
func (f *siteFinder) unfitShape(s *site) string {
	if _, ok := f.affine[s.value]; ok {
		return "" // alongChannels has looked
	}
	shape := f.values[s.value].Shape
	axis := s.axis
	if axis < 0 {
		axis += shape.Rank()
	}
	channels := shape[axis].Size
	p := f.params[s.scale]
	at := p.Shape.Rank() - 1
	if s.rows {
		at = 0
	}
	if at < 0 || p.Shape[at].Size != channels || normalisations[s.node.Op] && p.Shape.Rank() != 1 {
		return fmt.Sprintf("%q of shape %s does not scale %d channels one by one", s.scale, p.Shape, channels)
	}
	if b, ok := f.params[s.bias]; ok && (b.Shape.Rank() != 1 || b.Shape[0].Size != channels) {
		return fmt.Sprintf("%q of shape %s does not shift %d channels one by one", s.bias, b.Shape, channels)
	}
	return ""
}

// outputs are the moments behind the affine map, from those that were measured. A site that is only reset has no use for them.
func (s *site) outputs(params map[string]*tensor.Tensor, m moments) (moments, error) {
	if !s.running() || s.resets {
		return m, nil
	}
	out := newMoments(len(m.mean))
	out.count = m.count
	var p [4][]float64 // scale, bias, mean, variance
	for i := range p {
		var err error
		if p[i], err = floats(params, s.node.Input(1+i)); err != nil {
			return out, err
		}
	}
	epsilon := s.node.Attrs.Float("epsilon", 1e-5)
	for c := range out.mean {
		scale := p[0][c] / math.Sqrt(p[3][c]+epsilon)
		out.mean[c] = scale*(m.mean[c]-p[2][c]) + p[1][c]
		out.deviation[c] = math.Abs(scale) * m.deviation[c]
	}
	return out, nil
}

// reset sets the running statistics: the mean, and the unbiased variance as PyTorch has it.
func (s *site) reset(params map[string]*tensor.Tensor, m moments) error {
	if m.count < 2 {
		return fmt.Errorf("one value per channel has no variance: more samples are needed")
	}
	variance := make([]float64, len(m.mean))
	for c, d := range m.deviation {
		variance[c] = d * d * m.count / (m.count - 1)
	}
	if err := put(params, s.node.Input(3), m.mean); err != nil {
		return err
	}
	return put(params, s.node.Input(4), variance)
}

// fold makes y of each channel scale·y + shift; the shift is lost where there is no bias.
func (s *site) fold(params map[string]*tensor.Tensor, scale, shift []float64) error {
	w, err := floats(params, s.scale)
	if err != nil {
		return err
	}
	per := len(w) / len(scale)
	for i := range w {
		c := i % len(scale)
		if s.rows {
			c = i / per
		}
		w[i] *= scale[c]
	}
	if err := put(params, s.scale, w); err != nil || s.bias == "" {
		return err
	}
	b, err := floats(params, s.bias)
	if err != nil {
		return err
	}
	for c := range b {
		b[c] = scale[c]*b[c] + shift[c]
	}
	return put(params, s.bias, b)
}

// correct applies to a value what fold does to the parameters that made it.
func (s *site) correct(shape tensor.Shape, x []float32, scale, shift []float64) {
	outer, channels, inner := s.split(shape)
	maps := make([]kernel.Affine[float32], channels)
	for c := range maps {
		maps[c].Scale = float32(scale[c])
		if s.bias != "" {
			maps[c].Bias = float32(shift[c])
		}
	}
	if inner == 1 {
		for i := range x {
			m := &maps[i%channels]
			x[i] = x[i]*m.Scale + m.Bias
		}
		return
	}
	for i := range outer * channels {
		row := x[i*inner:][:inner]
		maps[i%channels].Apply(row, row)
	}
}

// floats copies a parameter.
func floats(params map[string]*tensor.Tensor, name string) ([]float64, error) {
	t := params[name]
	if t == nil {
		return nil, fmt.Errorf("tensor %q is missing", name)
	}
	wide, err := t.Convert(tensor.F64)
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", name, err)
	}
	return append([]float64(nil), tensor.Of[float64](wide)...), nil
}

// put replaces a parameter by one of these values, of the same shape, in the type that it is combined in. Values that are not finite there are an error.
func put(params map[string]*tensor.Tensor, name string, values []float64) error {
	t := params[name]
	if t == nil {
		return fmt.Errorf("tensor %q is missing", name)
	}
	next, err := inDType(tensor.FromSlice(t.Shape(), values), working(t.DType()))
	if err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	if i, found := next.NonFinite(); found {
		return fmt.Errorf("tensor %q: what repair makes of it is not finite: element %d would be %g", name, i, values[i])
	}
	params[name] = next
	return nil
}
