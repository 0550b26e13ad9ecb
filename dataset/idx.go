package dataset

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// An idx file is the format MNIST is published in: two zero bytes, the element type, the number of axes, the extents as big-endian uint32, and
// then the elements in row-major order.
const (
	idxUint8   = 0x08 // the only element type that image sets use
	idxMaxAxes = 4
)

// idxArray is the content of an idx file of bytes. Data aliases what was parsed.
type idxArray struct {
	Dims []int
	Data []byte
}

// parseIDX reads an idx file of unsigned bytes. Nothing is allocated by what the header claims: the extents must multiply to exactly the
// number of bytes that follow.
func parseIDX(b []byte) (idxArray, error) {
	if len(b) < 4 {
		return idxArray{}, fmt.Errorf("idx header needs 4 bytes, file has %d", len(b))
	}
	if b[0] != 0 || b[1] != 0 {
		return idxArray{}, fmt.Errorf("not an idx file: it starts with % x", b[:4])
	}
	if b[2] != idxUint8 {
		return idxArray{}, fmt.Errorf("idx element type is %#02x, want %#02x (unsigned byte)", b[2], idxUint8)
	}
	axes := int(b[3])
	if axes < 1 || axes > idxMaxAxes {
		return idxArray{}, fmt.Errorf("idx file has %d axes, want 1 to %d", axes, idxMaxAxes)
	}
	header := 4 + 4*axes
	if len(b) < header {
		return idxArray{}, fmt.Errorf("idx header of %d axes needs %d bytes, file has %d", axes, header, len(b))
	}
	dims := make([]int, axes)
	for i := range dims {
		dims[i] = int(binary.BigEndian.Uint32(b[4+4*i:]))
	}
	data := b[header:]
	if !extentsMatch(dims, len(data)) {
		return idxArray{}, fmt.Errorf("idx extents %v do not fit the %d bytes that follow them", dims, len(data))
	}
	return idxArray{Dims: dims, Data: data}, nil
}

// extentsMatch tells whether the product of dims is n, without computing a product that could overflow.
func extentsMatch(dims []int, n int) bool {
	for _, d := range dims {
		if d == 0 {
			return n == 0
		}
	}
	for _, d := range dims {
		if n == 0 || d < 0 || n%d != 0 {
			return false
		}
		n /= d
	}
	return n == 1
}

// inflate returns the content of a file of which size bytes are expected: decompressed when the file is gzip (told by its magic number, since
// some browsers decompress a download and keep its name). It never holds more than size bytes, whatever the file claims.
func inflate(stored []byte, size int) ([]byte, error) {
	if !isGzip(stored) {
		switch {
		case len(stored) < size:
			return nil, fmt.Errorf("ends early: %d bytes of %d", len(stored), size)
		case len(stored) > size:
			return nil, fmt.Errorf("too long: more than %d bytes", size)
		}
		return stored, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(stored))
	if err != nil {
		return nil, fmt.Errorf("gzip header: %w", err)
	}
	content := make([]byte, size)
	if n, err := io.ReadFull(z, content); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("ends early: %d decompressed bytes of %d", n, size)
	} else if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	// Reading on to the end makes gzip check its own sum too.
	switch _, err := io.ReadFull(z, make([]byte, 1)); {
	case err == nil:
		return nil, fmt.Errorf("too long: more than %d decompressed bytes", size)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("ends early: the end of the gzip stream is missing")
	case err != io.EOF:
		return nil, fmt.Errorf("gzip: %w", err)
	}
	return content, nil
}

func isGzip(b []byte) bool { return len(b) >= 2 && b[0] == 0x1f && b[1] == 0x8b }
