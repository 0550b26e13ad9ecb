package checkpoint

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/rebasin/rebasin/tensor"
)

// WriteSafetensors writes a safetensors file, whole or not at all (see [WriteFile]). Load of one entry is called after the other, in the file's
// order, so that one tensor at a time is in memory. The bytes depend on the entries and the metadata only: tensors are ordered by dtype, large
// elements first, then by name, and the keys of the metadata are sorted.
//
// Everything but the data is checked before a file is made: names must be distinct, valid UTF-8 and not "__metadata__". The context is looked
// at before each tensor and before the file takes its name.
func WriteSafetensors(ctx context.Context, path string, entries []Entry, metadata map[string]string) error {
	return writeSafetensors(ctx, path, entries, Settled(metadata), FileOptions{})
}

func writeSafetensors(ctx context.Context, path string, entries []Entry, metadata Metadata, opt FileOptions) error {
	err := func() error {
		f, err := prepareSafetensors(ctx, path, entries, metadata, opt)
		if err != nil {
			return err
		}
		defer f.discard()
		if err := f.settle(metadata); err != nil {
			return err
		}
		if err := f.sync(); err != nil {
			return err
		}
		return f.place()
	}()
	if err != nil {
		return fmt.Errorf("checkpoint: writing %q: %w", path, err)
	}
	return nil
}

// pendingSafetensors is a safetensors file whose metadata may still change.
type pendingSafetensors struct {
	*pendingFile
	entries []Entry
	head    int // bytes before the data
}

// prepareSafetensors checks everything but the data of a file before it writes it.
func prepareSafetensors(ctx context.Context, path string, entries []Entry, metadata Metadata, opt FileOptions) (*pendingSafetensors, error) {
	entries = slices.Clone(entries)
	head, err := buildHeader(entries, metadata.First)
	if err != nil {
		return nil, err
	}
	opt.Size = int64(len(head)) + dataSize(entries)
	f, err := prepare(path, opt, func(w io.Writer) error {
		if _, err := w.Write(head); err != nil {
			return err
		}
		return writeData(ctx, w, entries)
	})
	return &pendingSafetensors{f, entries, len(head)}, err
}

// dataSize is the bytes of entries that were checked.
func dataSize(entries []Entry) (sum int64) {
	for _, e := range entries {
		if n, err := e.DType.Bytes(e.Shape); err == nil {
			sum += int64(n)
		}
	}
	return sum
}

// settle writes the metadata that has become known.
func (f *pendingSafetensors) settle(metadata Metadata) error {
	if metadata.Late == nil {
		return nil
	}
	final, err := metadata.Settle()
	if err != nil {
		return err
	}
	head, err := buildHeader(f.entries, final)
	if err == nil && len(head) != f.head {
		err = errors.New("metadata has changed its length")
	}
	if err != nil {
		return err
	}
	return f.rewrite(head)
}

// writeData writes the tensors in the order given.
func writeData(ctx context.Context, w io.Writer, entries []Entry) error {
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.WriteElements(w); err != nil {
			return ofTensor(e.Name, err)
		}
	}
	return ctx.Err()
}

// WriteElements writes the elements, row-major and little-endian: streamed, or else of the tensor that is loaded. That they are what was declared is
// checked; errors do not name the tensor.
func (e *Entry) WriteElements(w io.Writer) error {
	if e.Stream != nil {
		return e.stream(w)
	}
	t, err := e.load()
	if err != nil {
		return err
	}
	_, err = w.Write(t.Bytes())
	return err
}

// stream has the elements written, and checks how many bytes they are.
func (e *Entry) stream(w io.Writer) error {
	size, err := e.DType.Bytes(e.Shape)
	if err != nil {
		return err
	}
	count := &countingWriter{w: w}
	if err := e.Stream(count); err != nil {
		return err
	}
	if count.n != int64(size) {
		return fmt.Errorf("declared as %v%v of %d bytes, %d were written", e.DType, e.Shape, size, count.n)
	}
	return nil
}

// load loads the tensor and checks that it is what was declared.
func (e *Entry) load() (*tensor.Tensor, error) {
	t, err := e.Load()
	switch {
	case err != nil:
		return nil, err
	case t == nil:
		return nil, errors.New("nothing was loaded")
	case t.DType() != e.DType || !t.Shape().Equal(e.Shape):
		return nil, fmt.Errorf("declared as %v%v, loaded as %v", e.DType, e.Shape, t)
	}
	return t, nil
}

// buildHeader sorts the entries as their data is to be and returns all bytes before the data.
func buildHeader(entries []Entry, metadata map[string]string) ([]byte, error) {
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(rank(b.DType), rank(a.DType)), cmp.Compare(a.Name, b.Name))
	})
	var b bytes.Buffer
	b.Write(make([]byte, prefixSize))
	b.WriteByte('{')
	if err := appendMetadata(&b, metadata); err != nil {
		return nil, err
	}
	if err := appendEntries(&b, entries); err != nil {
		return nil, err
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 { // so that the data is aligned for those who map the file
		b.WriteByte(' ')
	}
	length := b.Len() - prefixSize
	if length > maxHeader {
		return nil, fmt.Errorf("header of %d bytes is over the limit of %d", length, maxHeader)
	}
	binary.LittleEndian.PutUint64(b.Bytes(), uint64(length))
	return b.Bytes(), nil
}

// ranks is the order of dtypes in the reference implementation, the last first in a file. It never puts smaller elements before larger ones,
// which keeps all data aligned.
var ranks = []tensor.DType{
	tensor.Bool, tensor.U8, tensor.I8, tensor.F8E5M2, tensor.F8E4M3, tensor.I16, tensor.U16, tensor.F16, tensor.BF16,
	tensor.I32, tensor.U32, tensor.F32, tensor.F64, tensor.I64, tensor.U64,
}

func rank(d tensor.DType) int { return slices.Index(ranks, d) }

func appendMetadata(b *bytes.Buffer, metadata map[string]string) error {
	if len(metadata) == 0 {
		return nil
	}
	b.WriteString(`"` + metadataKey + `":`)
	return appendStrings(b, metadata)
}

// appendStrings appends a JSON object of strings, sorted by key.
func appendStrings(b *bytes.Buffer, metadata map[string]string) error {
	b.WriteByte('{')
	for i, key := range slices.Sorted(maps.Keys(metadata)) {
		if !utf8.ValidString(key) || !utf8.ValidString(metadata[key]) {
			return fmt.Errorf("metadata %s is not valid UTF-8", quote(key))
		}
		if i > 0 {
			b.WriteByte(',')
		}
		appendString(b, key)
		b.WriteByte(':')
		appendString(b, metadata[key])
	}
	b.WriteByte('}')
	return nil
}

func appendEntries(b *bytes.Buffer, entries []Entry) error {
	seen := make(map[string]bool, len(entries))
	at := 0
	for _, e := range entries {
		if seen[e.Name] {
			return ofTensor(e.Name, errors.New("given twice"))
		}
		seen[e.Name] = true
		size, err := e.check()
		if err != nil {
			return ofTensor(e.Name, err)
		}
		if size > math.MaxInt64-at {
			return ofTensor(e.Name, errors.New("the size of the file overflows int64"))
		}
		if b.Len() > prefixSize+len("{") {
			b.WriteByte(',')
		}
		appendString(b, e.Name)
		fmt.Fprintf(b, `:{"dtype":"%v","shape":[`, e.DType)
		for i, n := range e.Shape {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprint(b, n)
		}
		fmt.Fprintf(b, `],"data_offsets":[%d,%d]}`, at, at+size)
		at += size
	}
	return nil
}

// check refuses what [OpenSafetensors] would refuse, and returns the bytes of the tensor.
func (e *Entry) check() (int, error) {
	switch {
	case e.Name == metadataKey:
		return 0, errors.New("the name is reserved")
	case !utf8.ValidString(e.Name):
		return 0, errors.New("the name is not valid UTF-8")
	case len(e.Shape) > maxRank:
		return 0, fmt.Errorf("shape has more than %d extents", maxRank)
	case e.Load == nil:
		return 0, errors.New("no way to load it is given")
	}
	return e.DType.Bytes(e.Shape)
}

// shortEscapes are the characters that JSON has a short escape for.
var shortEscapes = map[byte]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}

// appendString appends a JSON string of valid UTF-8 that escapes no more than it must, as the reference does; encoding/json escapes a few more.
func appendString(b *bytes.Buffer, s string) {
	b.WriteByte('"')
	done := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b.WriteString(s[done:i])
		done = i + 1
		if short, ok := shortEscapes[c]; ok {
			b.WriteString(short)
		} else {
			fmt.Fprintf(b, `\u%04x`, c)
		}
	}
	b.WriteString(s[done:])
	b.WriteByte('"')
}
