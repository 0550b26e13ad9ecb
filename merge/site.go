package merge

import (
	"fmt"
	"math"

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

// siteFinder reads a graph for sites.
type siteFinder struct {
	graph  *graph.Graph
	method RepairMethod
	values map[string]graph.Value
	uses   map[string]int // how many inputs of nodes a value is
	notes  []string
}

// findSites returns the sites that a method corrects, in levels: a site of one level depends on sites of lower ones only.
func findSites(g *graph.Graph, method RepairMethod) (levels [][]site, notes []string, err error) {
	f := &siteFinder{graph: g, method: method, uses: map[string]int{}}
	if f.values, err = g.InferShapes(); err != nil {
		return nil, nil, err
	}
	for _, n := range g.Nodes {
		for _, in := range n.Inputs {
			f.uses[in]++
		}
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

// site says whether a node is one.
func (f *siteFinder) site(n *graph.Node) (s site, ok bool) {
	s = site{node: *n, value: n.Outputs[0], axis: 1, scale: n.Input(1), bias: n.Input(2), rows: true}
	switch {
	case f.method == RepairNone || f.method == RepairReset && !s.running():
		return s, false
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
	if s.bias == "" {
		f.notes = append(f.notes, fmt.Sprintf("%s has no bias, and gets none: only its deviations are matched", n))
	}
	return s, true
}

// isOutput says that the value is an output of the network.
func (f *siteFinder) isOutput(value string) bool {
	for _, out := range f.graph.Outputs {
		if out == value {
			return true
		}
	}
	return false
}

// normalised says that the value goes into normalisations only, perhaps through Transpose.
func (f *siteFinder) normalised(value string) bool {
	found := false
	for i := range f.graph.Nodes {
		n := &f.graph.Nodes[i]
		for k, in := range n.Inputs {
			if in != value {
				continue
			}
			if !(normalisations[n.Op] && k == 0) && !(n.Op == "Transpose" && f.normalised(n.Outputs[0])) {
				return false
			}
			found = true
		}
	}
	return found
}

// unfit says why the parameters of a site cannot take a correction; "" where they can.
func (f *siteFinder) unfit(s *site) string {
	names := []string{s.scale}
	if s.bias != "" {
		names = append(names, s.bias)
	}
	if s.running() {
		names = append(names, s.node.Input(3), s.node.Input(4))
	}
	for _, name := range names {
		p, ok := f.graph.Param(name)
		switch {
		case !ok:
			return fmt.Sprintf("%q is no parameter", name)
		case !p.DType.IsFloat():
			return fmt.Sprintf("%q is not of floats", name)
		case f.uses[name] != 1:
			return fmt.Sprintf("%q is read more than once", name)
		}
	}
	if s.bias != "" && linears[s.node.Op] && s.node.Attrs.Float("beta", 1) != 1 {
		return "its bias is multiplied by beta"
	}
	return f.unfitShape(s)
}

// unfitShape demands as many channels in the value as in the parameters.
func (f *siteFinder) unfitShape(s *site) string {
	shape := f.values[s.value].Shape
	axis := s.axis
	if axis < 0 {
		axis += shape.Rank()
	}
	if axis < 1 || axis >= shape.Rank() || !shape[axis].IsFixed() {
		return fmt.Sprintf("value %q has no axis of channels", s.value)
	}
	channels := shape[axis].Size
	p, _ := f.graph.Param(s.scale)
	at := p.Shape.Rank() - 1
	if s.rows {
		at = 0
	}
	if at < 0 || p.Shape[at].Size != channels || normalisations[s.node.Op] && p.Shape.Rank() != 1 {
		return fmt.Sprintf("%q of shape %s does not scale %d channels one by one", s.scale, p.Shape, channels)
	}
	if b, ok := f.graph.Param(s.bias); ok && (b.Shape.Rank() != 1 || b.Shape[0].Size != channels) {
		return fmt.Sprintf("%q of shape %s does not shift %d channels one by one", s.bias, b.Shape, channels)
	}
	return ""
}

// outputs are the moments behind the affine map, from those that were measured.
func (s *site) outputs(params map[string]*tensor.Tensor, m moments) (moments, error) {
	if !s.running() {
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

// put replaces a parameter by one of these values, of the same shape, in the type that it is combined in.
func put(params map[string]*tensor.Tensor, name string, values []float64) error {
	t := params[name]
	if t == nil {
		return fmt.Errorf("tensor %q is missing", name)
	}
	next, err := inDType(tensor.FromSlice(t.Shape(), values), working(t.DType()))
	if err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	params[name] = next
	return nil
}
