package onnx

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/onnx/internal/onnxpb"
	"github.com/rebasin/rebasin/tensor"
)

// File is an open ONNX file. Its tensors are the initializers of the model. They may be read from several goroutines at once.
type File struct {
	path, folder string
	file         io.ReaderAt
	closer       io.Closer // nil when the file is the caller's
	model        *onnxpb.ModelProto
	layout       *layout
	tensors      []initializer
	index        map[string]int
	was          fs.FileInfo            // when it was opened; nil when the file is the caller's
	data         map[string]fs.FileInfo // the files of external data

	externalAttributes bool // a node's attribute lies in one of them

	graph *graph.Graph
	notes []string
	err   error // of making the graph
}

// initializer is a tensor of the file.
type initializer struct {
	checkpoint.Info
	raw      rawTensor
	external *external
}

var (
	_ checkpoint.Reader    = (*File)(nil)
	_ checkpoint.Sectioner = (*File)(nil)
)

// Open opens an ONNX file, checks all of it but the values of its tensors, and converts its graph; see [File.Graph].
func Open(path string) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, reading(path, cause(err))
	}
	if !info.Mode().IsRegular() {
		return nil, reading(path, errors.New("is not a regular file"))
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, reading(path, cause(err))
	}
	if info, err = file.Stat(); err != nil {
		file.Close()
		return nil, reading(path, cause(err))
	}
	f, err := NewFile(path, file, info.Size())
	if err != nil {
		file.Close()
		return nil, err
	}
	f.closer, f.was = file, info
	return f, nil
}

// NewFile reads a model of size bytes that is already open or in memory. The path is for messages, and external data is looked for in its folder. The
// file stays the caller's: it must not be closed before the last tensor is read, and Close leaves it open.
func NewFile(path string, file io.ReaderAt, size int64) (*File, error) {
	f := &File{path: path, folder: filepath.Dir(path), file: file, index: map[string]int{}, data: map[string]fs.FileInfo{}}
	var err error
	if f.model, f.layout, err = scan(file, size); err != nil {
		return nil, reading(path, err)
	}
	if err := f.readInitializers(); err != nil {
		return nil, reading(path, err)
	}
	if f.graph, f.notes, err = convert(f); err != nil {
		f.err = reading(path, err)
	}
	return f, nil
}

// readInitializers checks names, types and sizes of all initializers.
func (f *File) readInitializers() error {
	list := f.model.GetGraph().GetInitializer()
	if len(list) != len(f.layout.tensors) {
		return malformed("initializers are not what they seem")
	}
	if len(f.model.GetGraph().GetSparseInitializer()) > 0 {
		return unsupported("tensor %s: sparse initializers are not supported", quote(f.model.GetGraph().GetSparseInitializer()[0].GetValues().GetName()))
	}
	for i, p := range list {
		name := p.GetName()
		if name == "" {
			return malformed("initializer %d has no name", i)
		}
		if _, twice := f.index[name]; twice {
			return ofTensor(name, malformed("two initializers have this name"))
		}
		t, err := f.initializer(p, f.layout.tensors[i])
		if err != nil {
			return ofTensor(name, err)
		}
		f.index[name] = len(f.tensors)
		f.tensors = append(f.tensors, t)
	}
	return f.checkShared()
}

// checkShared refuses files of external data that are smaller than what lies in them: small files could otherwise declare any amount of data.
func (f *File) checkShared() error {
	left := map[string]int64{}
	for location, info := range f.data {
		left[location] = info.Size()
	}
	for _, t := range f.tensors {
		if t.external == nil {
			continue
		}
		e := t.external
		if left[e.location] -= e.at.size; left[e.location] < 0 {
			return ofTensor(t.Name, malformed("external data %s has less bytes than its tensors together", quote(e.location)))
		}
	}
	return nil
}

func (f *File) initializer(p *onnxpb.TensorProto, raw rawTensor) (initializer, error) {
	info, size, err := infoOf(p)
	t := initializer{Info: info, raw: raw}
	if err != nil {
		return t, err
	}
	switch location := p.GetDataLocation(); location {
	case onnxpb.TensorProto_DEFAULT:
		return t, checkData(info, size, raw.number, raw.data.content.size)
	case onnxpb.TensorProto_EXTERNAL:
		if raw.number != 0 && raw.data.content.size > 0 {
			return t, malformed("its data is both in the model and beside it")
		}
		e, err := f.external(p, size)
		t.external = &e
		return t, err
	default:
		return t, malformed("its data is at the unknown location %d", location)
	}
}

// Infos returns all initializers, in the file's order.
func (f *File) Infos() []checkpoint.Info {
	infos := make([]checkpoint.Info, len(f.tensors))
	for i, t := range f.tensors {
		infos[i] = t.Info
		infos[i].Shape = t.Shape.Clone()
	}
	return infos
}

// Metadata returns a copy of the model's metadata; it is never nil. Of keys that stand there more than once the first counts.
func (f *File) Metadata() map[string]string {
	m := map[string]string{}
	for _, entry := range f.model.GetMetadataProps() {
		if _, given := m[entry.GetKey()]; !given {
			m[entry.GetKey()] = entry.GetValue()
		}
	}
	return m
}

// Read returns the initializer of that name. An error says that there is none, or that its data cannot be read.
func (f *File) Read(name string) (*tensor.Tensor, error) {
	i, ok := f.index[name]
	if !ok {
		return nil, reading(f.path, ofTensor(name, errors.New("not in the file")))
	}
	t, err := f.read(&f.tensors[i])
	if err != nil {
		return nil, reading(f.path, ofTensor(name, err))
	}
	return t, nil
}

func (f *File) read(t *initializer) (*tensor.Tensor, error) {
	if t.external != nil {
		return f.readExternal(t.Info, *t.external)
	}
	return readTensor(f.file, t.Info, t.raw.number, t.raw.data.content)
}

// OpenSection implements [checkpoint.Sectioner].
func (f *File) OpenSection(name string) (checkpoint.Section, error) {
	i, ok := f.index[name]
	if !ok {
		return nil, reading(f.path, ofTensor(name, errors.New("not in the file")))
	}
	t := &f.tensors[i]
	s := &section{file: f.file, path: f.path, name: name, at: t.raw.data.content}
	switch {
	case t.external != nil:
		file, err := f.openExternal(t.external.location)
		if err != nil {
			return nil, reading(f.path, ofTensor(name, err))
		}
		s.file, s.closer, s.at = file, file, t.external.at
	case !isDense(t.raw.number):
		return nil, nil
	}
	return s, nil
}

// section is the elements of an initializer.
type section struct {
	file       io.ReaderAt
	closer     io.Closer // nil when others read the file too
	path, name string
	at         span
}

// ReadAt fills p, or returns an error that names file and tensor.
func (s *section) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 || int64(len(p)) > s.at.size-at {
		return 0, io.EOF
	}
	if err := readFull(s.file, p, s.at.at+at); err != nil {
		return 0, reading(s.path, ofTensor(s.name, err))
	}
	return len(p), nil
}

func (s *section) Close() error {
	if s.closer == nil {
		return nil
	}
	return s.closer.Close()
}

// Graph returns the network: one parameter for each initializer of floats, under its name, but for those that set operators up. The graph is to be
// left as it is. An error says which node cannot be converted.
func (f *File) Graph() (*graph.Graph, error) { return f.graph, f.err }

// Notes say what the conversion changed that a user should know, as that a network in training mode became one in inference mode.
func (f *File) Notes() []string { return f.notes }

// Form is how the file holds its tensors: another is written like it by [File.WriteLate].
func (f *File) Form() checkpoint.Form { return checkpoint.FormWith(checkpoint.FormatONNX, f.WriteLate) }

// foldedWeight begins the names that PyTorch's exporter gives weights of convolutions into which it has folded a batch normalisation.
const foldedWeight = "onnx::Conv_"

// Folded says that the exporter has folded batch normalisations into convolutions, as PyTorch's does by default: their statistics are in the weights.
func (f *File) Folded() bool {
	for _, t := range f.tensors {
		if strings.HasPrefix(t.Name, foldedWeight) {
			return true
		}
	}
	return false
}

// headOf is the least number of bytes that [IsModel] looks at.
const headOf = 8

// IsModel guesses from the first bytes of a file whether it is an ONNX model: it begins with a small number, the version of the format, and then
// holds no four zeros, as the length of a safetensors header does there.
func IsModel(head []byte) bool {
	return len(head) >= headOf && head[0] == 1<<3 && head[1] > 0 && head[1] < 1<<5 && !bytes.Equal(head[4:8], make([]byte, 4))
}

// Close closes the file if [Open] opened it.
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	if err := f.closer.Close(); err != nil {
		return reading(f.path, cause(err))
	}
	return nil
}
