package checkpoint

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/rebasin/rebasin/tensor"
)

const (
	// npyEnding ends the names of a .npz's entries.
	npyEnding = ".npy"
	// npzComment begins the comment of a zip that holds metadata written here: an object of strings in JSON. NumPy does not look at it.
	npzComment = "rebasin "
	// maxComment is the bytes that the comment of a zip may have.
	maxComment = 1<<16 - 1
	// maxInflation bounds what a byte can be inflated to by the method that zips compress with: 258 bytes for two bits.
	maxInflation = 1032
)

// npzFile is an open file of numpy.savez, or of numpy.savez_compressed. The heads of its arrays are read when it is opened.
type npzFile struct {
	source
	infos    []Info
	entries  map[string]*zip.File
	metadata map[string]string
}

func openNPZ(src source, z *zip.Reader) (*npzFile, error) {
	all, err := newZipEntries(src, z, "")
	if err != nil {
		return nil, err
	}
	if err := checkEntriesApart(src, z); err != nil {
		return nil, err
	}
	f := &npzFile{source: src, entries: map[string]*zip.File{}}
	for _, e := range z.File {
		name := strings.TrimSuffix(e.Name, npyEnding)
		h, r, err := openNpy(all.byName[e.Name])
		if err != nil {
			return nil, ofTensor(name, err)
		}
		r.Close()
		f.entries[name] = e
		f.infos = append(f.infos, Info{name, h.dtype, h.shape})
	}
	if err := checkGrowth(f.infos, src.size); err != nil {
		return nil, err
	}
	text, _ := strings.CutPrefix(z.Comment, npzComment)
	if text == z.Comment {
		text = ""
	}
	f.metadata, err = parseMetadata("comment", []byte(text))
	return f, err
}

// checkEntriesApart checks that no two entries of a zip have bytes in common, that all are in the file, and that none declares more than it can
// hold. So all of them together inflate to no more than maxInflation times the file.
func checkEntriesApart(src source, z *zip.Reader) error {
	type extent struct {
		begin, end int64
		name       string
	}
	var extents []extent
	for _, e := range z.File {
		if e.Method != zip.Store && e.Method != zip.Deflate || e.Flags&encrypted != 0 {
			return malformed("entry %s is encrypted or compressed by a method that is not read", quote(e.Name))
		}
		at, err := e.DataOffset()
		if err != nil {
			return zipError(err)
		}
		switch {
		case at > src.size || e.CompressedSize64 > uint64(src.size-at):
			return malformed("entry %s has %d bytes, which run past the end of the file", quote(e.Name), e.CompressedSize64)
		case e.Method == zip.Store && e.UncompressedSize64 != e.CompressedSize64, e.UncompressedSize64/maxInflation > e.CompressedSize64:
			return malformed("entry %s cannot have %d bytes, stored in %d", quote(e.Name), e.UncompressedSize64, e.CompressedSize64)
		}
		extents = append(extents, extent{at, at + int64(e.CompressedSize64), e.Name})
	}
	slices.SortFunc(extents, func(a, b extent) int { return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end)) })
	for i := 1; i < len(extents); i++ {
		if extents[i].begin < extents[i-1].end {
			return malformed("entry %s overlaps %s", quote(extents[i].name), quote(extents[i-1].name))
		}
	}
	return nil
}

// openNpy opens an entry and reads the head of its array; the reader is at the elements.
func openNpy(e *zip.File) (*npyHeader, io.ReadCloser, error) {
	r, err := e.Open()
	if err != nil {
		return nil, nil, zipError(err)
	}
	h, err := readNpyHeader(r, int64(e.UncompressedSize64))
	if err != nil {
		r.Close()
		return nil, nil, err
	}
	return h, r, nil
}

// Infos returns all arrays, in the order of the zip's list.
func (f *npzFile) Infos() []Info {
	infos := slices.Clone(f.infos)
	for i := range infos {
		infos[i].Shape = infos[i].Shape.Clone()
	}
	return infos
}

// Metadata returns a copy of the strings that the file carries; those are of this package's own making.
func (f *npzFile) Metadata() map[string]string { return maps.Clone(f.metadata) }

// Form returns the form of the file.
func (f *npzFile) Form() Form { return Form{Format: FormatNPZ} }

// Read returns the array of that name, row-major and little-endian whatever it was.
func (f *npzFile) Read(name string) (*tensor.Tensor, error) {
	e, ok := f.entries[name]
	if !ok {
		return nil, reading(f.name, ofTensor(name, errors.New("not in the file")))
	}
	t, err := readNpy(e)
	if err != nil {
		return nil, reading(f.name, ofTensor(name, err))
	}
	return t, nil
}

func readNpy(e *zip.File) (*tensor.Tensor, error) {
	h, r, err := openNpy(e)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := h.array(r)
	if err != nil {
		return nil, err
	}
	// At the end the sum of the entry is checked.
	if n, err := io.Copy(io.Discard, io.LimitReader(r, 1)); n > 0 || err != nil {
		return nil, zipError(cmp.Or(err, zip.ErrFormat))
	}
	return fromBytes(Info{DType: h.dtype, Shape: h.shape}, data)
}

// writeNPZ writes what numpy.savez would, sorted by name.
func writeNPZ(ctx context.Context, path string, entries []Entry, metadata Metadata, opt FileOptions) error {
	entries = slices.Clone(entries)
	if err := checkEntries(entries, func(d tensor.DType) bool { return npyName(d) != "" }); err != nil {
		return fmt.Errorf("checkpoint: writing %q: %w", path, err)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	comment := bytes.NewBufferString(npzComment)
	if err := appendStrings(comment, metadata.First); err != nil {
		return fmt.Errorf("checkpoint: writing %q: %w", path, err)
	}
	if comment.Len() > maxComment {
		return fmt.Errorf("checkpoint: writing %q: metadata of %d bytes, but an npz has room for %d", path, comment.Len(), maxComment)
	}
	return WriteFileWith(path, opt, func(w io.Writer) error {
		z := newZipWriter(w)
		for i := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			e := &entries[i]
			x, err := e.load()
			if err == nil {
				err = z.add(e.Name+npyEnding, formatNpyHeader(e.DType, e.Shape), x.Bytes())
			}
			if err != nil {
				return ofTensor(e.Name, err)
			}
		}
		final, err := metadata.Settle()
		if err != nil {
			return err
		}
		comment.Truncate(len(npzComment))
		if err := appendStrings(comment, final); err != nil {
			return err
		}
		if len(final) > 0 {
			if err := z.zip.SetComment(comment.String()); err != nil {
				return err
			}
		}
		if err := z.close(); err != nil {
			return err
		}
		return ctx.Err()
	})
}
