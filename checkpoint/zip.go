package checkpoint

import (
	"archive/zip"
	"errors"
	"io"
	"strings"
)

// torchPickle ends the name of the entry by which a zip is known as one of PyTorch's.
const torchPickle = "/data.pkl"

// openZip reads the list of a zip's entries and says what it is.
func openZip(src source, key string) (Reader, error) {
	z, err := zip.NewReader(src.file, src.size)
	if err != nil {
		return nil, zipError(err)
	}
	arrays := len(z.File) > 0
	for _, e := range z.File {
		if strings.HasSuffix(e.Name, torchPickle) {
			return openTorchZip(src, z, key)
		}
		arrays = arrays && strings.HasSuffix(e.Name, npyEnding)
	}
	if arrays {
		return openNPZ(src, z)
	}
	return nil, malformed("a zip that is neither of PyTorch, with an entry NAME%s, nor of NumPy, with entries NAME%s alone", torchPickle, npyEnding)
}

// zipError blames the file for what archive/zip finds wrong with it.
func zipError(err error) error {
	for _, content := range []error{zip.ErrFormat, zip.ErrAlgorithm, zip.ErrChecksum, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, content) {
			return malformed("%v", err)
		}
	}
	return cause(err)
}

// zipEntries are the entries of a zip by name.
type zipEntries struct {
	src    source
	byName map[string]*zip.File
}

// newZipEntries takes the entries below a folder; no two may have the same name.
func newZipEntries(src source, z *zip.Reader, folder string) (*zipEntries, error) {
	entries := &zipEntries{src, make(map[string]*zip.File, len(z.File))}
	for _, e := range z.File {
		name, ok := strings.CutPrefix(e.Name, folder)
		if !ok {
			continue
		}
		if entries.byName[name] != nil {
			return nil, malformed("entry %s is in the zip twice", quote(e.Name))
		}
		entries.byName[name] = e
	}
	return entries, nil
}

const encrypted = 1 // the flag of a zip's entry

// stored returns where in the file the bytes of an entry are, which must not be compressed.
func (z *zipEntries) stored(name string) (at, size int64, err error) {
	e := z.byName[name]
	switch {
	case e == nil:
		return 0, 0, malformed("entry %s is not in the zip", quote(name))
	case e.Method != zip.Store || e.Flags&encrypted != 0 || e.CompressedSize64 != e.UncompressedSize64:
		return 0, 0, malformed("entry %s is compressed or encrypted; PyTorch stores entries as they are", quote(name))
	}
	if at, err = e.DataOffset(); err != nil {
		return 0, 0, zipError(err)
	}
	if at > z.src.size || e.UncompressedSize64 > uint64(z.src.size-at) {
		return 0, 0, malformed("entry %s has %d bytes, which run past the end of the file", quote(name), e.UncompressedSize64)
	}
	return at, int64(e.UncompressedSize64), nil
}

// read returns the bytes of a stored entry, nil where there is none.
func (z *zipEntries) read(name string, limit int64) ([]byte, error) {
	if z.byName[name] == nil {
		return nil, nil
	}
	at, size, err := z.stored(name)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, malformed("entry %s has %d bytes, over the limit of %d", quote(name), size, limit)
	}
	data := make([]byte, size)
	return data, readFull(z.src.file, data, at)
}

// parseMetadata reads an object of strings in JSON; no text is no strings. what names the text for messages.
func parseMetadata(what string, text []byte) (map[string]string, error) {
	if len(text) == 0 {
		return map[string]string{}, nil
	}
	p, err := newParser(what, text)
	if err != nil {
		return nil, err
	}
	return p.strings(what)
}
