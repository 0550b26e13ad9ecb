package model

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"slices"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/onnx"
	"github.com/rebasin/rebasin/tensor"
)

// openReader opens a file of any format. ONNX is told by the ending of the name, or by the content where that ending says nothing.
func openReader(path string, opt Options) (checkpoint.Reader, error) {
	format, named := checkpoint.FormatOfName(path)
	if format == checkpoint.FormatONNX || !named && looksLikeONNX(path) {
		return onnx.Open(path)
	}
	return checkpoint.Open(path, checkpoint.OpenOptions{Key: opt.Key})
}

func looksLikeONNX(path string) bool {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return false // who opens it says why
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 16)
	n, _ := io.ReadFull(f, head)
	return onnx.IsModel(head[:n])
}

// ONNX is the file that the model came in, or nil where that is of another format.
func (m *Model) ONNX() *onnx.File {
	f, _ := m.reader.(*onnx.File)
	return f
}

// ErrOwnGraph is wrapped by the error of saying what network an ONNX file is.
var ErrOwnGraph = errors.New("an ONNX file has a graph of its own: neither --arch nor --graph is for it")

// describeONNX takes the graph that an ONNX file has.
func (m *Model) describeONNX(opt Options) error {
	if opt.Arch != "" || opt.Names != nil {
		return ErrOwnGraph
	}
	g, err := m.ONNX().Graph()
	if err != nil && !opt.Tensors {
		return err
	}
	if g != nil {
		m.setGraph(g)
	}
	return nil
}

// setGraph takes a graph that somebody has exported. What its softmax would hide, losses need: they are computed from logits.
func (m *Model) setGraph(g *graph.Graph) {
	var stripped bool
	if m.Graph, stripped = nn.StripSoftmax(g); stripped {
		m.notes = append(m.notes, "the network ends in a Softmax, which is left out here: losses are computed from what it reads")
	}
}

// Files are the paths of the files that the model is read from, its own first, but for the shards of an index, which it names.
func (m *Model) Files() []string {
	files := []string{m.Path}
	if f := m.ONNX(); f != nil {
		files = append(files, f.DataFiles()...)
	}
	return files
}

// Notes say what a user should know of how the file was understood.
func (m *Model) Notes() []string {
	if f := m.ONNX(); f != nil {
		return slices.Concat(f.Notes(), m.notes)
	}
	return m.notes
}

// Input is the shape of one sample, without the batch, and classes the number of values that the network computes for it, 0 where that is a symbol.
// Several inputs are one vector of all their values. It is not ok where shapes are not known, because the graph is not, or has symbols there.
func (m *Model) Input() (shape []int, classes int, ok bool) {
	switch {
	case m.Config != nil:
		return m.Config.Input, m.Config.Classes, true
	case m.Graph == nil || len(m.Graph.Inputs) == 0:
		return nil, 0, false
	}
	values, err := m.Graph.PartialShapes()
	if err != nil {
		return nil, 0, false
	}
	size := 0
	for _, in := range m.Graph.Inputs {
		if len(in.Shape) == 0 {
			return nil, 0, false
		}
		if shape, ok = in.Shape[1:].Fixed(); !ok {
			return nil, 0, false
		}
		n, err := tensor.Shape(shape).Elements()
		if err != nil || n > math.MaxInt-size {
			return nil, 0, false
		}
		size += n
	}
	if len(m.Graph.Inputs) > 1 {
		shape = []int{size}
	}
	if out := values[m.Graph.Outputs[0]].Shape; len(out) > 0 && out[len(out)-1].IsFixed() {
		classes = out[len(out)-1].Size
	}
	return shape, classes, true
}

// sameGraphs reports the first difference of two graphs, however their values are named. Names of parameters count.
func sameGraphs(a, b *graph.Graph) error {
	if len(a.Inputs) != len(b.Inputs) || len(a.Nodes) != len(b.Nodes) || len(a.Outputs) != len(b.Outputs) {
		return fmt.Errorf("%d inputs, %d nodes and %d outputs against %d, %d and %d",
			len(a.Inputs), len(a.Nodes), len(a.Outputs), len(b.Inputs), len(b.Nodes), len(b.Outputs))
	}
	c := comparison{pairs: map[string]string{"": ""}}
	for i, x := range a.Inputs {
		y := b.Inputs[i]
		c.pairs[x.Name] = y.Name
		if x.DType != y.DType || len(x.Shape) != len(y.Shape) {
			return fmt.Errorf("input %q is %v %s, %q is %v %s", x.Name, x.DType, x.Shape, y.Name, y.DType, y.Shape)
		}
		for axis, d := range x.Shape {
			if e := y.Shape[axis]; d.IsFixed() != e.IsFixed() || d.IsFixed() && d != e {
				return fmt.Errorf("input %q has the shape %s, %q %s", x.Name, x.Shape, y.Name, y.Shape)
			}
		}
	}
	for _, p := range a.Params {
		c.pairs[p.Name] = p.Name
	}
	for i := range a.Nodes {
		if err := c.nodes(&a.Nodes[i], &b.Nodes[i]); err != nil {
			return err
		}
	}
	if !c.lists(a.Outputs, b.Outputs) {
		return fmt.Errorf("their outputs are computed otherwise")
	}
	return nil
}

// comparison pairs the values of two graphs.
type comparison struct{ pairs map[string]string }

func (c *comparison) lists(x, y []string) bool {
	return slices.EqualFunc(x, y, func(x, y string) bool {
		paired, known := c.pairs[x]
		return known && paired == y
	})
}

func (c *comparison) nodes(x, y *graph.Node) error {
	switch {
	case x.Op != y.Op || len(x.Outputs) != len(y.Outputs):
		return fmt.Errorf("%s stands where the other has %s", x, y)
	case !c.lists(x.Inputs, y.Inputs):
		return fmt.Errorf("%s and %s read different values", x, y)
	case !sameAttrs(x.Attrs, y.Attrs) && x.Op == "Constant":
		return fmt.Errorf("%s and %s hold different values: what is trained must be an initializer, not a constant, to be aligned and merged "+
			"(export the module itself, not one that was traced or frozen, and register tensors as parameters or buffers)", x, y)
	case !sameAttrs(x.Attrs, y.Attrs):
		return fmt.Errorf("%s and %s differ in what sets them up", x, y)
	}
	for i := range x.Outputs {
		c.pairs[x.Outputs[i]] = y.Outputs[i]
	}
	return nil
}

func sameAttrs(x, y graph.Attrs) bool {
	if len(x) != len(y) {
		return false
	}
	for name, v := range x {
		w, ok := y[name]
		t, isTensor := v.(*tensor.Tensor)
		u, both := w.(*tensor.Tensor)
		switch {
		case !ok || isTensor != both:
			return false
		case isTensor && !t.Equal(u), !isTensor && !reflect.DeepEqual(v, w):
			return false
		}
	}
	return true
}
