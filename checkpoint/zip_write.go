package checkpoint

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// zipWriter writes a zip of entries that are stored without compression, with nothing in it that depends on when and where it is written.
type zipWriter struct {
	zip   *zip.Writer
	count *countingWriter
}

func newZipWriter(w io.Writer) *zipWriter {
	count := &countingWriter{w: w}
	return &zipWriter{zip.NewWriter(count), count}
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Place implements [Placer], if the writer beneath does.
func (c *countingWriter) Place(n int64) (io.WriterAt, error) {
	p, ok := c.w.(Placer)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	to, err := p.Place(n)
	if err == nil {
		c.n += n
	}
	return to, err
}

const (
	localHeaderSize = 30     // of an entry of a zip, without name and extra field
	utf8Name        = 0x0800 // the flag of an entry whose name is UTF-8
	alignment       = 64     // of the content of an entry, as PyTorch has it, so that the file can be mapped
)

// add writes an entry whose content is parts, one after the other, and begins at a multiple of alignment.
func (z *zipWriter) add(name string, parts ...[]byte) error {
	if err := z.zip.Flush(); err != nil {
		return err
	}
	size, sum := uint64(0), uint32(0)
	for _, part := range parts {
		size += uint64(len(part))
		sum = crc32.Update(sum, crc32.IEEETable, part)
	}
	h := &zip.FileHeader{
		Name: name, Method: zip.Store, CRC32: sum, CompressedSize64: size, UncompressedSize64: size,
		Extra: padding(z.count.n + localHeaderSize + int64(len(name))),
	}
	if strings.IndexFunc(name, func(r rune) bool { return r >= 0x80 }) >= 0 {
		h.Flags |= utf8Name
	}
	w, err := z.zip.CreateRaw(h)
	if err != nil {
		return fmt.Errorf("entry %s: %w", quote(name), err)
	}
	for _, part := range parts {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// padding is an extra field that begins at this place of a file and ends at a multiple of alignment. Its tag is the one PyTorch uses.
func padding(at int64) []byte {
	const head = 4 // bytes of tag and length
	n := int(-(at + head) & (alignment - 1))
	field := append([]byte("FB\x00\x00"), strings.Repeat("Z", n)...)
	binary.LittleEndian.PutUint16(field[2:], uint16(n))
	return field
}

func (z *zipWriter) close() error { return z.zip.Close() }
