package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/rebasin/rebasin/tensor"
)

// Info describes one tensor of a file.
type Info struct {
	Name  string
	DType tensor.DType
	Shape tensor.Shape
}

// Reader is an open file of named tensors, of which the list is known and checked and the data is still in the file.
type Reader interface {
	// Infos returns all tensors, in the file's order of data.
	Infos() []Info
	// Metadata returns the strings that the file carries beside its tensors.
	Metadata() map[string]string
	// Read returns the tensor of that name.
	Read(name string) (*tensor.Tensor, error)
	// Close releases the file. Tensors already read stay valid.
	Close() error
}

// Entry is a tensor to be written. Load is called once, when it is the tensor's turn, and must return what Info declares.
type Entry struct {
	Info
	Load func() (*tensor.Tensor, error)
	// Stream, where it is not nil, is called in place of Load by formats that need not hold the whole tensor. It writes the elements, row-major and
	// little-endian. The writer may be a [Placer].
	Stream func(w io.Writer) error
}

// Placer is a writer of a file that can be written in any order and by several goroutines. Place makes the next n bytes the caller's, who writes all of
// them, at offsets from 0 to n, before anything else is written. It returns [errors.ErrUnsupported] where only Write is possible.
type Placer interface {
	io.Writer
	Place(n int64) (io.WriterAt, error)
}

// Section is the elements of a tensor in an open file, row-major and little-endian, which may be read in any order and from several goroutines. Close it
// before the file.
type Section interface {
	io.ReaderAt
	io.Closer
}

// Sectioner is implemented by readers of formats in which elements may lie as a tensor has them. OpenSection returns nil where those of a tensor do
// not, and [Reader.Read] must be used.
type Sectioner interface {
	OpenSection(name string) (Section, error)
}

// SectionOf is the elements of a tensor in memory.
func SectionOf(t *tensor.Tensor) Section { return heldSection{bytes.NewReader(t.Bytes())} }

type heldSection struct{ *bytes.Reader }

func (heldSection) Close() error { return nil }

// fileSection is a section of a file that somebody else closes.
type fileSection struct {
	source
	tensor   string
	at, size int64
}

// ReadAt fills p, or returns an error that names file and tensor.
func (s *fileSection) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 || int64(len(p)) > s.size-at {
		return 0, io.EOF
	}
	if err := readFull(s.file, p, s.at+at); err != nil {
		return 0, reading(s.name, ofTensor(s.tensor, err))
	}
	return len(p), nil
}

// Close does nothing: the file stays open.
func (s *fileSection) Close() error { return nil }

// ErrFormat is matched (errors.Is) by every error that blames the content of a file, as opposed to the system that reads it.
var ErrFormat = errors.New("malformed file")

// formatError is one way in which the content of a file is wrong.
type formatError struct{ what string }

func (e *formatError) Error() string { return e.what }

func (e *formatError) Is(target error) bool { return target == ErrFormat }

func malformed(format string, args ...any) error {
	return &formatError{fmt.Sprintf(format, args...)}
}

// maxQuoted bounds what of a name gets into a message: a hostile one may have a hundred million bytes.
const maxQuoted = 200

// quote makes a name printable on one line.
func quote(name string) string {
	if len(name) > maxQuoted {
		return fmt.Sprintf("%q...", name[:maxQuoted])
	}
	return fmt.Sprintf("%q", name)
}

func ofTensor(name string, err error) error { return fmt.Errorf("tensor %s: %w", quote(name), err) }

// cause strips the operation and the path that package os puts before an error: messages here name the file themselves, and the path may be
// that of a temporary file, which means nothing to a reader. Only the outermost wrapping is meant: within, the error is somebody else's.
func cause(err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		return e.Err
	case *os.LinkError:
		return e.Err
	}
	return err
}

// openRegular opens a file for reading and returns what it is, its size above all. It refuses whatever has no size of its own; opening a pipe might even
// block.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, cause(err)
	}
	if err := mustBeRegular(info); err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, cause(err)
	}
	if info, err = f.Stat(); err != nil {
		f.Close()
		return nil, nil, cause(err)
	}
	return f, info, nil
}

func mustBeRegular(info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return errors.New("is a directory")
	case !info.Mode().IsRegular():
		return errors.New("is not a regular file")
	}
	return nil
}
