package checkpoint

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Format is a kind of file.
type Format string

// The formats. The zero value stands for FormatSafetensors.
const (
	FormatSafetensors Format = "safetensors"
	FormatTorch       Format = "pytorch" // of torch.save: a zip since version 1.6, before that a sequence of pickles
	FormatNPZ         Format = "npz"     // of numpy.savez: a zip of .npy
	FormatSharded     Format = "sharded" // several safetensors, and an index in JSON that says which holds what
	FormatONNX        Format = "onnx"    // a model of ONNX, its initializers being the tensors: package onnx reads and writes it
)

// endings are the formats by the endings of names. The first of a format is the usual one.
var endings = []struct {
	ending string
	format Format
}{
	{".safetensors", FormatSafetensors},
	{".pt", FormatTorch},
	{".pth", FormatTorch},
	{".bin", FormatTorch},
	{".ckpt", FormatTorch},
	{".npz", FormatNPZ},
	{indexEnding, FormatSharded},
	{".onnx", FormatONNX},
}

const indexEnding = ".index.json"

// FormatOfName returns the format that the ending of a file's name stands for, whatever the case of its letters; not ok where it stands for none.
func FormatOfName(path string) (format Format, ok bool) {
	path = strings.ToLower(path)
	for _, e := range endings {
		if strings.HasSuffix(path, e.ending) {
			return e.format, true
		}
	}
	return "", false
}

// Form is how a file holds its tensors: the format, and what a file of that format has beside tensors, so that another can be written in the
// same form. The zero value is that of a plain safetensors file.
type Form struct {
	Format Format
	// ShardBytes is the size that the data of a shard has at most, unless one tensor has more; 0 is the constant of that name. The tensors of a
	// file that came in shards stay in theirs.
	ShardBytes int64

	torch  *torchForm
	write  WriteFunc      // of a format of another package
	shards map[string]int // the shard of each tensor
	files  []string       // that were read, and must not be overwritten
}

// Sparing returns the form, with which no file is written over the files that others were read from.
func (f Form) Sparing(others ...Form) Form {
	for _, other := range others {
		f = f.SparingFiles(other.files...)
	}
	return f
}

// SparingFiles returns the form, with which none of these files is written over, be it as a shard beside the output.
func (f Form) SparingFiles(paths ...string) Form {
	f.files = slices.Concat(f.files, paths)
	return f
}

// Spared are the files that nothing of this form is written over.
func (f Form) Spared() []string { return slices.Clone(f.files) }

// WriteFunc writes a file as [WriteLate] does.
type WriteFunc func(ctx context.Context, path string, entries []Entry, metadata Metadata, opt FileOptions) error

// FormWith returns the form of files of a format that this package does not write itself.
func FormWith(format Format, write WriteFunc) Form { return Form{Format: format, write: write} }

// FormOf returns the form of an open file.
func FormOf(r Reader) Form {
	if f, ok := r.(interface{ Form() Form }); ok {
		return f.Form()
	}
	return Form{Format: FormatSafetensors}
}

// At returns the form that a file of this name is written in: f's, unless the ending of the name says otherwise.
func (f Form) At(path string) Form {
	format, ok := FormatOfName(path)
	if !ok {
		format = cmp.Or(f.Format, FormatSafetensors)
	}
	if format != f.Format {
		f = Form{Format: format, ShardBytes: f.ShardBytes, files: f.files}
	}
	return f
}

// Streams says whether a file of this form, unless the ending of its name says another, is written without holding whole tensors: by [Entry].Stream.
func (f Form) Streams(path string) bool {
	format := f.At(path).Format
	return format != FormatTorch && format != FormatNPZ // entries of zips begin with a sum of their content
}

// LeftOut names what the file that has this form holds beside tensors and metadata, and one that is written at path will not: keys with dots
// between them.
func (f Form) LeftOut(path string) []string {
	if f.torch == nil {
		return nil
	}
	return f.torch.leftOut(f.At(path).Format != FormatTorch)
}

// OpenOptions say how to read a file.
type OpenOptions struct {
	// Key is where in a file of PyTorch the state dict is: keys with dots between them, as in "checkpoint.model", or "." for the dictionary that
	// the file holds itself. Without one the only dictionary that holds tensors is taken, and more than one is an error that lists them. Files of
	// other formats have no keys, and are read whole.
	Key string
}

// Open opens a file of any of the formats, which its content tells. Everything but the tensors' data is read and checked.
func Open(path string, opt OpenOptions) (Reader, error) {
	f, info, err := openRegular(path)
	if err != nil {
		return nil, reading(path, err)
	}
	r, err := open(opened(path, f, info), opt)
	if err != nil {
		f.Close()
		return nil, reading(path, err)
	}
	return r, nil
}

// NewReader is [Open] for a file of size bytes that is already open or in memory, and in one piece. The name is for messages. The file stays the
// caller's: it must not be closed before the last tensor is read, and Close leaves it open.
func NewReader(name string, file io.ReaderAt, size int64, opt OpenOptions) (Reader, error) {
	r, err := open(source{name: name, file: file, size: size}, opt)
	if err != nil {
		return nil, reading(name, err)
	}
	return r, nil
}

// open tells the format by the first bytes. In a safetensors file they are the length of a header, of which at least four are zero.
func open(src source, opt OpenOptions) (Reader, error) {
	var start [prefixSize + 1]byte
	n := min(src.size, int64(len(start)))
	if err := readFull(src.file, start[:n], 0); err != nil {
		return nil, err
	}
	switch text := string(start[:]); {
	case strings.HasPrefix(text, "PK\x03\x04") && text[prefixSize] != '{', strings.HasPrefix(text, "PK\x05\x06"):
		return openZip(src, opt.Key)
	case text[0] == 0x80 && text[1] >= 2 && text[1] <= 5 && text[prefixSize] != '{': // the opcode PROTO
		return openTorchLegacy(src, opt.Key)
	case isIndex(start[:n]):
		return openSharded(src)
	}
	return openSafetensors(src)
}

// Write writes a file in the form given, or, where the ending of its name says another format, in that: a safetensors file as
// [WriteSafetensors] does, the others alike, whole or not at all, one tensor in memory at a time, and the same bytes for the same entries,
// metadata and form. Shards stand beside their index: model-00001-of-00002.safetensors beside model.safetensors.index.json. They take their names
// when all are whole, one after the other, and the index last.
func Write(ctx context.Context, path string, entries []Entry, metadata map[string]string, form Form) error {
	return WriteLate(ctx, path, entries, Settled(metadata), form, FileOptions{})
}

// WriteLate is [Write] with metadata of which a part becomes known while tensors are loaded. The size in the options is not looked at.
func WriteLate(ctx context.Context, path string, entries []Entry, metadata Metadata, form Form, opt FileOptions) error {
	opt.Size = 0
	form = form.At(path)
	if err := form.spare(path); err != nil {
		return fmt.Errorf("checkpoint: writing %q: %w", path, err)
	}
	if form.write != nil {
		return form.write(ctx, path, entries, metadata, opt)
	}
	switch form.Format {
	case FormatONNX:
		return fmt.Errorf("checkpoint: writing %q: only an ONNX model can be written as one, since it has a graph", path)
	case FormatSafetensors:
		return writeSafetensors(ctx, path, entries, metadata, opt)
	case FormatTorch:
		return writeTorch(ctx, path, entries, metadata, form.torch, opt)
	case FormatNPZ:
		return writeNPZ(ctx, path, entries, metadata, opt)
	case FormatSharded:
		return writeSharded(ctx, path, entries, metadata, form, opt)
	}
	return fmt.Errorf("checkpoint: writing %q: unknown format %q", path, form.Format)
}
