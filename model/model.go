package model

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

// ErrNoGraph is wrapped by errors of what needs to run a network whose graph is not known.
var ErrNoGraph = errors.New("the network's graph is not known: the file's metadata names no architecture (give --arch or --graph)")

// Options say how to understand a file.
type Options struct {
	// Arch names a built-in architecture; its sizes are read from the tensors' shapes. It overrules the file's metadata.
	Arch string
	// Key is where in a file of PyTorch the state dict is, see [checkpoint.OpenOptions].
	Key string
	// Names is a graph for files that have none, see [OpenNames]; nil is none. It goes before Arch and the file's metadata.
	Names *Names
	// Tensors alone are wanted: that the graph of an ONNX file cannot be converted is no error, and leaves it unknown.
	Tensors bool
}

// Model is an opened checkpoint. Its methods are safe for concurrent use once it is open; Close it.
type Model struct {
	Path string
	// Graph is nil when it is not known. Config is that of a built-in architecture, nil where the graph is of another or not known.
	Graph  *graph.Graph
	Config *zoo.Config

	reader checkpoint.Reader
	infos  map[string]checkpoint.Info
	notes  []string
	tied   map[string]string // tensors that are other names of parameters of the graph
	mu     sync.Mutex
	params map[string]*tensor.Tensor
}

// Open opens a checkpoint of any format, reads all but its tensors and builds its graph. The tensors' data is read later.
func Open(path string, opt Options) (*Model, error) {
	r, err := openReader(path, opt)
	if err != nil {
		return nil, err
	}
	m := &Model{Path: path, reader: r, infos: map[string]checkpoint.Info{}}
	for _, info := range r.Infos() {
		m.infos[info.Name] = info
	}
	if err := m.describe(opt); err != nil {
		r.Close()
		return nil, fmt.Errorf("model: %q: %w", path, err)
	}
	return m, nil
}

// describe finds the architecture and checks that the tensors are those of its graph.
func (m *Model) describe(opt Options) error {
	var cfg zoo.Config
	var err error
	text, described := m.reader.Metadata()[zoo.MetadataKey]
	switch {
	case m.ONNX() != nil:
		return m.describeONNX(opt)
	case opt.Names != nil:
		return m.name(opt.Names)
	case opt.Arch != "":
		cfg, err = zoo.Detect(opt.Arch, m.Shapes())
	case described:
		cfg, err = zoo.ParseConfig(text)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	g, err := zoo.Build(cfg)
	if err != nil {
		return err
	}
	m.Graph, m.Config = g, &cfg
	return m.checkGraph(cfg.Arch)
}

// checkGraph compares the file's tensors with the graph's parameters. Tensors the graph does not know are carried.
func (m *Model) checkGraph(name string) error {
	for _, p := range m.Graph.Params {
		info, ok := m.infos[p.Name]
		if !ok {
			return fmt.Errorf("tensor %q of the %s is missing", p.Name, name)
		}
		want := make(tensor.Shape, len(p.Shape))
		for i, d := range p.Shape {
			want[i] = d.Size
		}
		if !slices.Equal(info.Shape, want) {
			return fmt.Errorf("tensor %q has shape %v, the %s needs %v", p.Name, info.Shape, name, want)
		}
		if !info.DType.IsFloat() {
			return fmt.Errorf("tensor %q is %v, the %s needs a floating-point type", p.Name, info.DType, name)
		}
	}
	return nil
}

// Close closes the file.
func (m *Model) Close() error { return m.reader.Close() }

// Infos lists the tensors in the order of their data in the file.
func (m *Model) Infos() []checkpoint.Info { return m.reader.Infos() }

// Metadata is the file's own.
func (m *Model) Metadata() map[string]string { return maps.Clone(m.reader.Metadata()) }

// Form is how the file holds its tensors, for writing another like it, over none of the files that this one is read from.
func (m *Model) Form() checkpoint.Form { return checkpoint.FormOf(m.reader).SparingFiles(m.Files()...) }

// Shapes are the tensors' shapes by name.
func (m *Model) Shapes() map[string]tensor.Shape {
	out := make(map[string]tensor.Shape, len(m.infos))
	for name, info := range m.infos {
		out[name] = info.Shape
	}
	return out
}

// Tensor reads one tensor.
func (m *Model) Tensor(name string) (*tensor.Tensor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t, ok := m.params[name]; ok {
		return t, nil
	}
	return m.reader.Read(name)
}

// OpenSection gives the elements of a tensor in parts, or nil where the format of the file cannot.
func (m *Model) OpenSection(name string) (checkpoint.Section, error) {
	m.mu.Lock()
	t := m.params[name]
	m.mu.Unlock()
	if t != nil {
		return checkpoint.SectionOf(t), nil
	}
	if s, ok := m.reader.(checkpoint.Sectioner); ok {
		return s.OpenSection(name)
	}
	return nil, nil
}

// Unchanged returns an error if a file that the model is read from has been changed since it was opened, so that what was read need not be what is there.
func (m *Model) Unchanged() error {
	if r, ok := m.reader.(interface{ Unchanged() error }); ok {
		return r.Unchanged()
	}
	return nil
}

// Params reads all tensors, once: callers share the map and the tensors, and change neither.
func (m *Model) Params(ctx context.Context) (map[string]*tensor.Tensor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.params != nil {
		return m.params, nil
	}
	params := make(map[string]*tensor.Tensor, len(m.infos))
	for _, info := range m.reader.Infos() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t, err := m.reader.Read(info.Name)
		if err != nil {
			return nil, err
		}
		params[info.Name] = t
	}
	m.params = params
	return params, nil
}

// GraphParams are the tensors that the graph runs on.
func (m *Model) GraphParams(ctx context.Context) (map[string]*tensor.Tensor, error) {
	if m.Graph == nil {
		return nil, fmt.Errorf("model: %q: %w", m.Path, ErrNoGraph)
	}
	all, err := m.Params(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*tensor.Tensor, len(m.Graph.Params))
	for _, p := range m.Graph.Params {
		out[p.Name] = all[p.Name]
	}
	return out, nil
}

// CheckFinite reports the first tensor, in the order of names, with a value that is not finite. It holds one tensor at a time.
func (m *Model) CheckFinite(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(m.infos)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !m.infos[name].DType.IsFloat() {
			continue
		}
		t, err := m.Tensor(name)
		if err != nil {
			return err
		}
		if i, found := t.NonFinite(); found {
			return fmt.Errorf("model: %q: tensor %q: element %d is not finite (NaN or infinite)", m.Path, name, i)
		}
	}
	return nil
}

// SameTensors reports the first tensor in which two models differ by name, shape or dtype.
func SameTensors(a, b *Model) error {
	for _, name := range slices.Sorted(maps.Keys(a.infos)) {
		x := a.infos[name]
		y, ok := b.infos[name]
		switch {
		case !ok:
			return fmt.Errorf("model: tensor %q is in %q and not in %q", name, a.Path, b.Path)
		case !slices.Equal(x.Shape, y.Shape):
			return fmt.Errorf("model: tensor %q has shape %v in %q and %v in %q", name, x.Shape, a.Path, y.Shape, b.Path)
		case x.DType != y.DType:
			return fmt.Errorf("model: tensor %q is %v in %q and %v in %q", name, x.DType, a.Path, y.DType, b.Path)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.infos)) {
		if _, ok := a.infos[name]; !ok {
			return fmt.Errorf("model: tensor %q is in %q and not in %q", name, b.Path, a.Path)
		}
	}
	return nil
}

// Symmetry infers the symmetry of networks of one graph from the graph and the networks' values. Tensors the graph does not use are pinned, but for
// those that are another name of one that it uses, which move along. In virtual stacks neither is possible: an error names the tensor.
func Symmetry(ctx context.Context, models ...*Model) (*symmetry.Symmetry, error) {
	if len(models) == 0 {
		return nil, errors.New("model: a symmetry of no network")
	}
	var params []map[string]*tensor.Tensor
	for _, m := range models {
		p, err := m.GraphParams(ctx)
		if err != nil {
			return nil, err
		}
		params = append(params, p)
	}
	s, err := symmetry.Infer(models[0].Graph, params...)
	if err != nil {
		return nil, fmt.Errorf("model: %q: %w", models[0].Path, err)
	}
	for _, name := range slices.Sorted(maps.Keys(models[0].infos)) {
		owner, tied := models[0].tied[name]
		_, alone := s.Layouts[owner]
		key, _, numbered := s.LayoutOf(name)
		switch _, used := s.Shapes[name]; {
		case used:
		case numbered:
			return nil, fmt.Errorf("model: %q: tensor %q has a name of the virtual stack %q, but the graph does not use it", models[0].Path, name, key)
		case tied && !alone:
			return nil, fmt.Errorf("model: %q: tensor %q is another name of %q, which changes places with others of a virtual stack", models[0].Path, name, owner)
		case tied:
			// It moves as the other does, and counts only once.
			s.Shapes[name], s.Layouts[name] = s.Shapes[owner], s.Layouts[owner]
			s.Statistics = append(s.Statistics, name)
		default:
			s.Shapes[name] = models[0].infos[name].Shape
			s.Pinned = append(s.Pinned, symmetry.Pin{Tensor: name, Axis: -1, Why: "the graph does not use this tensor"})
		}
	}
	slices.Sort(s.Statistics)
	return s, nil
}

// Tie gives tensors that are other names of parameters of the graph the values of these, where there are any.
func (m *Model) Tie(params map[string]*tensor.Tensor) {
	for name, owner := range m.tied {
		if t, ok := params[owner]; ok {
			params[name] = t
		}
	}
}

// Save writes tensors, atomically, with this architecture in the metadata when it is known, in the format that the ending of the file's name
// says, else as safetensors.
func Save(ctx context.Context, path string, params map[string]*tensor.Tensor, cfg *zoo.Config, metadata map[string]string) error {
	return SaveAs(ctx, path, params, cfg, metadata, checkpoint.Form{})
}

// SaveAs is Save in the form of another file, unless the ending of the file's name says otherwise.
func SaveAs(ctx context.Context, path string, params map[string]*tensor.Tensor, cfg *zoo.Config, metadata map[string]string, form checkpoint.Form) error {
	meta := maps.Clone(metadata)
	if meta == nil {
		meta = map[string]string{}
	}
	if cfg != nil {
		text, err := cfg.Encode()
		if err != nil {
			return err
		}
		meta[zoo.MetadataKey] = text
	}
	var entries []checkpoint.Entry
	for _, name := range slices.Sorted(maps.Keys(params)) {
		t := params[name]
		entries = append(entries, checkpoint.Entry{
			Info: checkpoint.Info{Name: name, DType: t.DType(), Shape: t.Shape()},
			Load: func() (*tensor.Tensor, error) { return t, nil },
		})
	}
	return checkpoint.Write(ctx, path, entries, meta, form)
}

// SameNetwork reports how the architectures of two models differ, as far as both are known. How they were initialised and trained is no part of it.
func SameNetwork(a, b *Model) error {
	if a.Config == nil && b.Config == nil && a.Graph != nil && b.Graph != nil {
		if err := sameGraphs(a.Graph, b.Graph); err != nil {
			return fmt.Errorf("model: %q and %q are different networks: %w", a.Path, b.Path, err)
		}
	}
	if a.Config == nil || b.Config == nil {
		return nil
	}
	var text [2]string
	for i, m := range []*Model{a, b} {
		c := *m.Config
		c.Init, c.Dropout = "", 0
		var err error
		if text[i], err = c.Encode(); err != nil {
			return fmt.Errorf("model: %q: %w", m.Path, err)
		}
	}
	if text[0] != text[1] {
		return fmt.Errorf("model: %q and %q are different networks: %s and %s", a.Path, b.Path, text[0], text[1])
	}
	return nil
}
