package checkpoint

import (
	"io"
	"math"

	"github.com/rebasin/rebasin/tensor"
)

// source is an open file that tensors are read from.
type source struct {
	name   string // for messages
	file   io.ReaderAt
	size   int64
	closer io.Closer // nil when the file is the caller's
	swap   bool      // the elements are big-endian
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
