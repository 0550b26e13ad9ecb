package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"

	"github.com/rebasin/rebasin/tensor"
)

// Safetensors is an open safetensors file. It may be read from several goroutines at once.
type Safetensors struct {
	source
	data   int64 // where the data begins
	header *header
	index  map[string]int
}

var (
	_ Reader    = (*Safetensors)(nil)
	_ Sectioner = (*Safetensors)(nil)
)

// OpenSafetensors opens a file, reads its header and checks all of it. The data is not read.
func OpenSafetensors(path string) (*Safetensors, error) {
	f, info, err := openRegular(path)
	if err != nil {
		return nil, reading(path, err)
	}
	s, err := openSafetensors(opened(path, f, info))
	if err != nil {
		f.Close()
		return nil, reading(path, err)
	}
	return s, nil
}

// NewSafetensors reads and checks the header of a file of size bytes that is already open or in memory. The name is for messages. The file stays
// the caller's: it must not be closed before the last tensor is read, and Close leaves it open.
func NewSafetensors(name string, file io.ReaderAt, size int64) (*Safetensors, error) {
	s, err := openSafetensors(source{name: name, file: file, size: size})
	if err != nil {
		return nil, reading(name, err)
	}
	return s, nil
}

func openSafetensors(src source) (*Safetensors, error) {
	h, dataAt, err := readHeader(src.file, src.size)
	if err != nil {
		return nil, err
	}
	s := &Safetensors{source: src, data: dataAt, header: h, index: make(map[string]int, len(h.spans))}
	for i, sp := range h.spans {
		s.index[sp.Name] = i
	}
	return s, nil
}

func reading(path string, err error) error {
	return fmt.Errorf("checkpoint: reading %q: %w", path, err)
}

// readHeader reads the header of a file of size bytes and returns it with the position of the data.
func readHeader(r io.ReaderAt, size int64) (*header, int64, error) {
	var prefix [prefixSize]byte
	if size < prefixSize {
		return nil, 0, malformed("file has %d bytes, too few for the length of a header", size)
	}
	if err := readFull(r, prefix[:], 0); err != nil {
		return nil, 0, err
	}
	length := binary.LittleEndian.Uint64(prefix[:])
	switch {
	case length > maxHeader:
		return nil, 0, malformed("header of %d bytes is over the limit of %d", length, maxHeader)
	case int64(length) > size-prefixSize:
		return nil, 0, malformed("header of %d bytes, but only %d bytes follow", length, size-prefixSize)
	}
	text := make([]byte, length)
	if err := readFull(r, text, prefixSize); err != nil {
		return nil, 0, err
	}
	dataAt := prefixSize + int64(length)
	h, err := parseHeader(text, size-dataAt)
	return h, dataAt, err
}

// readFull fills dst from position at. The size of the file was checked before, so an early end means that the file has changed since.
func readFull(r io.ReaderAt, dst []byte, at int64) error {
	n, err := r.ReadAt(dst, at)
	switch {
	case n == len(dst):
		return nil
	case errors.Is(err, io.EOF):
		return malformed("file ends %d bytes early: it was cut off after it was opened", len(dst)-n)
	}
	return cause(err)
}

// Infos returns all tensors, in the file's order of data.
func (s *Safetensors) Infos() []Info {
	infos := make([]Info, len(s.header.spans))
	for i, sp := range s.header.spans {
		infos[i] = sp.Info
		infos[i].Shape = sp.Shape.Clone()
	}
	return infos
}

// Metadata returns a copy of the strings that the file carries beside its tensors; it is never nil.
func (s *Safetensors) Metadata() map[string]string {
	m := map[string]string{}
	maps.Copy(m, s.header.metadata)
	return m
}

// Read returns the tensor of that name. An error says that there is none, or that its data cannot be read.
func (s *Safetensors) Read(name string) (*tensor.Tensor, error) {
	i, ok := s.index[name]
	if !ok {
		return nil, reading(s.name, ofTensor(name, errors.New("not in the file")))
	}
	t, err := s.read(&s.header.spans[i])
	if err != nil {
		return nil, reading(s.name, ofTensor(name, err))
	}
	return t, nil
}

// OpenSection implements [Sectioner].
func (s *Safetensors) OpenSection(name string) (Section, error) {
	i, ok := s.index[name]
	if !ok {
		return nil, reading(s.name, ofTensor(name, errors.New("not in the file")))
	}
	sp := &s.header.spans[i]
	return &fileSection{source: s.source, tensor: name, at: s.data + int64(sp.begin), size: int64(sp.end - sp.begin)}, nil
}

func (s *Safetensors) read(sp *span) (*tensor.Tensor, error) {
	data := tensor.New(sp.DType, sp.Shape).Bytes() // aligned, so FromBytes below keeps it
	if err := readFull(s.file, data, s.data+int64(sp.begin)); err != nil {
		return nil, err
	}
	return fromBytes(sp.Info, data)
}
