package model

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/onnx"
	"github.com/rebasin/rebasin/tensor"
)

// Names is the graph of an ONNX file for files of tensors that have none. It knows which of their tensors stands for which initializer once it has
// been bound to one of them.
type Names struct {
	path  string
	file  *onnx.File
	graph *graph.Graph
	bound map[string]binding // by initializer; nil where it is not known yet
	tied  map[string]string  // tensors that are other names of bound ones
}

// binding says which tensor of a file stands for an initializer, and whether as its transpose.
type binding struct {
	tensor     string
	transposed bool
}

// OpenNames opens an ONNX file for its graph. Close it.
func OpenNames(path string) (*Names, error) {
	f, err := onnx.Open(path)
	if err != nil {
		return nil, err
	}
	g, err := f.Graph()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Names{path: path, file: f, graph: g}, nil
}

// Close closes the ONNX file.
func (n *Names) Close() error { return n.file.Close() }

// Files are the paths of all files that the graph is read from.
func (n *Names) Files() []string { return append([]string{n.path}, n.file.DataFiles()...) }

// Bind finds the tensors of a file for the parameters of the graph, as Open with Options.Names does for a file that nothing is known of yet, and
// keeps what it found for all files that are opened later. An initializer that bears a tensor's name is that tensor. Exporters give others names of
// their own, and transpose them: one of these is the tensor whose values it has, itself or transposed, where there is exactly one. So
// the file must be the checkpoint that the graph was exported from, or all names must have survived.
func (n *Names) Bind(path string, opt Options) error {
	r, err := openReader(path, opt)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, is := r.(*onnx.File); is {
		return fmt.Errorf("model: %q: it has a graph of its own", path)
	}
	if err := n.bind(r); err != nil {
		return fmt.Errorf("model: %q: %w", path, err)
	}
	return nil
}

// binder is the search for bindings.
type binder struct {
	names  *Names
	reader checkpoint.Reader
	infos  map[string]checkpoint.Info
	order  []string // of floats, in the file's order
	bound  map[string]binding
	used   map[string]bool // tensors
	prints map[string][2]print
	tied   map[string]string
}

// print tells tensors of equal shape and values: the SHA-256 of their elements as float64, as they are and transposed.
type print struct {
	shape [2]int // of a matrix
	rank  int
	sum   [sha256.Size]byte
}

func newBinder(n *Names, r checkpoint.Reader) *binder {
	b := &binder{
		names: n, reader: r, infos: map[string]checkpoint.Info{}, bound: map[string]binding{}, used: map[string]bool{}, prints: map[string][2]print{},
		tied: map[string]string{},
	}
	for _, info := range r.Infos() {
		b.infos[info.Name] = info
		if info.DType.IsFloat() {
			b.order = append(b.order, info.Name)
		}
	}
	return b
}

// survivingNames says how names survive an export.
const survivingNames = "export again with training=TrainingMode.PRESERVE, do_constant_folding=False, so that names survive"

func (n *Names) bind(r checkpoint.Reader) error {
	b := newBinder(n, r)
	params := n.parameters()
	var nameless []parameter
	for _, p := range params {
		if info, ok := b.infos[p.Name]; ok && info.DType.IsFloat() && info.Shape.Equal(extents(p.Shape)) {
			b.bound[p.Name] = binding{tensor: p.Name}
			b.used[p.Name] = true
		} else {
			nameless = append(nameless, p)
		}
	}
	var lost []string
	for _, p := range nameless {
		why, err := b.byValue(p)
		if err != nil {
			return err
		}
		if why != "" {
			lost = append(lost, why)
		}
	}
	if len(lost) == 0 {
		if lost, err := b.merged(params); err != nil || len(lost) > 0 {
			return b.cannot(lost, err)
		}
	}
	if len(lost) > 0 {
		return b.cannot(lost, nil)
	}
	n.bound, n.tied = b.bound, b.tied
	return nil
}

func (b *binder) cannot(lost []string, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("its tensors cannot be told from the graph %q: %s (%s)", b.names.path, shorten(lost), survivingNames)
}

// shorten lists the first few of many.
func shorten(list []string) string {
	const most = 8
	if len(list) > most {
		list = append(list[:most:most], fmt.Sprintf("and %d more", len(list)-most))
	}
	return strings.Join(list, "; ")
}

func extents(s graph.Shape) tensor.Shape {
	fixed, _ := s.Fixed() // parameters have no symbols
	return fixed
}

// parameter is one of the graph, or the name that an Identity node gives it: exporters merge equal initializers, and leave the names of the others to
// such nodes.
type parameter struct {
	graph.Value
	origin string // the initializer that has the values
}

func (n *Names) parameters() []parameter {
	var list []parameter
	at := map[string]parameter{}
	for _, p := range n.graph.Params {
		at[p.Name] = parameter{p, p.Name}
		list = append(list, at[p.Name])
	}
	for i := range n.graph.Nodes {
		node := &n.graph.Nodes[i]
		if p, ok := at[node.Input(0)]; ok && node.Op == "Identity" {
			p.Name = node.Outputs[0]
			at[p.Name] = p
			list = append(list, p)
		}
	}
	return list
}

// byValue binds a parameter to the one tensor that has its values. What is wrong is returned as a text for the user. A name of an Identity node that
// stands for no tensor remains what it is, another name of the initializer.
func (b *binder) byValue(p parameter) (why string, err error) {
	t, err := b.names.file.Read(p.origin)
	if err != nil {
		return "", err
	}
	want, err := printOf(t, false)
	if err != nil {
		return "", err
	}
	var found []binding
	for _, name := range b.order {
		if b.used[name] || !sameElements(b.infos[name].Shape, extents(p.Shape)) {
			continue
		}
		have, err := b.print(name)
		if err != nil {
			return "", err
		}
		for i, transposed := range []bool{false, true} {
			if have[i] == want && want.rank > 0 {
				found = append(found, binding{name, transposed})
			}
		}
	}
	switch {
	case len(found) == 1:
		b.bound[p.Name] = found[0]
		b.used[found[0].tensor] = true
	case len(found) > 1 && found[0].tensor == found[len(found)-1].tensor:
		return fmt.Sprintf("initializer %q has the values of %q and of its transpose", p.Name, found[0].tensor), nil
	case len(found) > 1:
		return fmt.Sprintf("initializer %q has the values of both %q and %q", p.Name, found[0].tensor, found[len(found)-1].tensor), nil
	case p.Name == p.origin:
		return fmt.Sprintf("no tensor has the name or the values of initializer %q of shape %v", p.Name, extents(p.Shape)), nil
	}
	return "", nil
}

// sameElements says that two shapes are equal, or those of a matrix and its transpose.
func sameElements(x, y tensor.Shape) bool {
	return x.Equal(y) || len(x) == 2 && len(y) == 2 && x[0] == y[1] && x[1] == y[0]
}

// print is that of a tensor of the file, and of its transpose where it is a matrix.
func (b *binder) print(name string) ([2]print, error) {
	if p, ok := b.prints[name]; ok {
		return p, nil
	}
	var p [2]print
	t, err := b.reader.Read(name)
	if err != nil {
		return p, err
	}
	if p[0], err = printOf(t, false); err != nil {
		return p, err
	}
	if len(t.Shape()) == 2 {
		if p[1], err = printOf(t, true); err != nil {
			return p, err
		}
	}
	b.prints[name] = p
	return p, nil
}

func printOf(t *tensor.Tensor, transposed bool) (print, error) {
	wide, err := t.Convert(tensor.F64)
	if err != nil {
		return print{}, err
	}
	x, shape := tensor.Of[float64](wide), t.Shape()
	p := print{rank: 1 + len(shape)}
	rows, columns := 1, len(x)
	if len(shape) == 2 {
		rows, columns = shape[0], shape[1]
		p.shape = [2]int{rows, columns}
		if transposed {
			p.shape = [2]int{columns, rows}
		}
	}
	h := sha256.New()
	line := make([]byte, 0, 8*max(rows, columns))
	add := func(v float64) { line = binary.LittleEndian.AppendUint64(line, math.Float64bits(v+0)) } // -0 equals 0
	if transposed {
		for j := range columns {
			line = line[:0]
			for i := range rows {
				add(x[i*columns+j])
			}
			h.Write(line)
		}
	} else {
		for i := range rows {
			line = line[:0]
			for _, v := range x[i*columns : (i+1)*columns] {
				add(v)
			}
			h.Write(line)
		}
	}
	h.Sum(p.sum[:0])
	return p, nil
}

// merged finds parameters that may stand for more than one tensor: nodes share them, and a tensor of their shape is left over. Where that has the same
// values, which are not all equal, it is another name of the same weight, as of an embedding that is tied to the output's projection.
func (b *binder) merged(params []parameter) (lost []string, err error) {
	owner := map[string]string{} // of names that stand for no tensor of their own: the parameter they are another name of
	for _, p := range params {
		if _, own := b.bound[p.Name]; !own {
			owner[p.Name] = p.origin
		}
	}
	readers := map[string]int{}
	for _, node := range b.names.graph.Nodes {
		for _, in := range node.Inputs {
			if node.Op == "Identity" {
				continue
			}
			if first, ok := owner[in]; ok {
				in = first
			}
			readers[in]++
		}
	}
	for _, p := range params {
		if readers[p.Name] < 2 {
			continue
		}
		for _, name := range b.order {
			if !b.used[name] && b.infos[name].Shape.Equal(b.infos[b.bound[p.Name].tensor].Shape) {
				same, err := sameWeight(b.reader, name, b.bound[p.Name].tensor)
				if err != nil {
					return nil, err
				}
				if same {
					b.tied[name], b.used[name] = b.bound[p.Name].tensor, true
					continue
				}
				lost = append(lost, fmt.Sprintf("initializer %q has %d readers, and tensor %q, for which it may stand too, has none", p.Name, readers[p.Name], name))
				break
			}
		}
	}
	return lost, nil
}

// sameWeight says that two tensors of one shape have the same values, by which a weight is told: they are not all one number.
func sameWeight(r checkpoint.Reader, x, y string) (bool, error) {
	a, err := r.Read(x)
	if err != nil {
		return false, err
	}
	b, err := r.Read(y)
	if err != nil {
		return false, err
	}
	size, bytes := a.DType().Size(), a.Bytes()
	varies := a.Len() > 1 && !slices.Equal(bytes[size:], bytes[:len(bytes)-size])
	return varies && a.Equal(b), nil
}

// checkTied refuses a file where tensors differ that are one weight of the graph.
func (m *Model) checkTied(n *Names) error {
	for _, name := range slices.Sorted(maps.Keys(n.tied)) {
		owner := n.tied[name]
		if _, ok := m.infos[name]; !ok {
			return fmt.Errorf("tensor %q is missing, another name of %q in the graph %q", name, owner, n.path)
		}
		same, err := sameWeight(m.reader, name, owner)
		if err != nil {
			return err
		}
		if !same {
			return fmt.Errorf("tensors %q and %q are one weight in the graph %q, but have different values here", owner, name, n.path)
		}
	}
	m.tied = n.tied
	return nil
}

// name gives a file of tensors the graph.
func (m *Model) name(n *Names) error {
	if n.bound == nil {
		if err := n.bind(m.reader); err != nil {
			return err
		}
	}
	g, err := n.rename()
	if err != nil {
		return err
	}
	m.setGraph(g)
	if err := m.checkGraph(fmt.Sprintf("graph %q", n.path)); err != nil {
		return err
	}
	return m.checkTied(n)
}

// rename makes the graph whose parameters are tensors of a file. A transposed one goes through a Transpose.
func (n *Names) rename() (*graph.Graph, error) {
	g := &graph.Graph{Name: n.graph.Name, Inputs: n.graph.Inputs, Outputs: n.graph.Outputs, Declared: n.graph.Declared}
	names := map[string]string{} // of values, where they change
	added := map[string]bool{}
	for _, p := range n.parameters() {
		to, ok := n.bound[p.Name]
		if !ok {
			continue // another name, which an Identity gives
		}
		shape := p.Shape
		if to.transposed {
			shape = graph.Shape{p.Shape[1], p.Shape[0]}
			g.Nodes = append(g.Nodes, graph.Node{
				Name: p.Name, Op: "Transpose", Inputs: []string{to.tensor}, Outputs: []string{p.Name}, Attrs: graph.Attrs{"perm": []int64{1, 0}},
			})
		} else {
			names[p.Name] = to.tensor
		}
		if !added[to.tensor] {
			added[to.tensor] = true
			g.Params = append(g.Params, graph.Value{Name: to.tensor, DType: p.DType, Shape: shape})
		}
	}
	for _, node := range n.graph.Nodes {
		if _, bound := n.bound[node.Outputs[0]]; bound {
			continue // an Identity of a parameter
		}
		node.Inputs = slices.Clone(node.Inputs)
		for i, in := range node.Inputs {
			if to, ok := names[in]; ok {
				node.Inputs[i] = to
			}
		}
		g.Nodes = append(g.Nodes, node)
	}
	if err := g.Validate(); err != nil { // a tensor may bear the name of another value
		return nil, fmt.Errorf("graph %q: %w", n.path, err)
	}
	return g, nil
}
