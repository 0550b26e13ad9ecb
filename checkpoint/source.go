package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"time"

	"github.com/rebasin/rebasin/tensor"
)

// source is an open file that tensors are read from.
type source struct {
	name   string // for messages
	file   io.ReaderAt
	size   int64
	closer io.Closer   // nil when the file is the caller's
	swap   bool        // the elements are big-endian
	was    fs.FileInfo // when it was opened; nil when the file is the caller's
}

// opened is a file that was opened by its path.
func opened(path string, f *os.File, info fs.FileInfo) source {
	return source{name: path, file: f, size: info.Size(), closer: f, was: info}
}

// Unchanged returns an error if the file has been written to, replaced or removed since it was opened, so that what was read may be of two contents, and
// not what others read there now. It is told by the file's identity, size and time of modification. A file that is the caller's is not looked at.
func (s *source) Unchanged() error {
	if s.was == nil {
		return nil
	}
	return Unchanged(s.name, s.was)
}

// Unchanged returns an error if a file is not what it was: another one, of another size, or modified at another time.
func Unchanged(path string, was fs.FileInfo) error {
	is, err := os.Stat(path)
	switch {
	case err != nil:
		return reading(path, fmt.Errorf("the file was changed while it was read: %w", cause(err)))
	case !os.SameFile(was, is):
		return reading(path, errors.New("the file was changed while it was read: another one has its name"))
	case was.Size() != is.Size():
		return reading(path, fmt.Errorf("the file was changed while it was read: it had %d bytes and has %d", was.Size(), is.Size()))
	case !was.ModTime().Equal(is.ModTime()):
		return reading(path, fmt.Errorf("the file was changed while it was read: it was written to at %s", is.ModTime().Format(time.DateTime)))
	}
	return nil
}

// Close closes the file if it is not the caller's.
func (s *source) Close() error {
	if s.closer == nil {
		return nil
	}
	if err := s.closer.Close(); err != nil {
		return reading(s.name, cause(err))
	}
	return nil
}

// maxGrowth and freeGrowth bound what all tensors of a file take together, should they be read: tensors that share memory, that repeat it, and
// those that are compressed make more bytes than the file has.
const (
	maxGrowth  = 64
	freeGrowth = 64 << 20
)

// checkGrowth refuses a file of size bytes whose tensors have more than it can reasonably be about.
func checkGrowth(infos []Info, size int64) error {
	limit := max(freeGrowth, maxGrowth*min(size, math.MaxInt64/maxGrowth))
	sum := int64(0)
	for _, info := range infos {
		n, err := info.DType.Bytes(info.Shape)
		if err != nil {
			return ofTensor(info.Name, malformed("%v", err))
		}
		if int64(n) > limit-sum {
			return ofTensor(info.Name, malformed("the tensors up to here have more than %d bytes, in a file of %d", limit, size))
		}
		sum += int64(n)
	}
	return nil
}

// fromBytes makes a tensor of bytes that came from a file.
func fromBytes(info Info, data []byte) (*tensor.Tensor, error) {
	x, err := tensor.FromBytes(info.DType, info.Shape, data)
	if err != nil {
		return nil, malformed("%v", err)
	}
	return x, nil
}
