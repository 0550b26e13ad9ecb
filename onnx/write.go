package onnx

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/onnx/internal/onnxpb"
)

// DataSuffix is what is added to the name of a model for the name of the file with its external data.
const DataSuffix = ".data"

// alignment is that of tensors in external data, so that readers may map them: the size of a page.
const alignment = 4096

// maxModel bounds a model's file: parsers of protocol buffers read no more than 2 GiB.
const maxModel = math.MaxInt32

// Write writes the model anew with other values: each entry takes the place of the initializer of its name, type and shape. All else stays as it
// is, byte by byte: names, attributes, documentation, the operator set, and fields that this package does not know. Values that stood in the
// model stand there again; those of external data, with all that is not written anew, go into one file beside path, of its name and [DataSuffix].
// The metadata takes the place of the model's.
//
// Files appear whole or not at all, the data before the model. Where a model with data takes the place of another with data, the new model first reads its
// data under a name of its own, and takes the lasting one when the old model is gone: whenever the process ends, the model that is there reads its own
// data. Load of one entry is called after the other, in the order of the file, and one tensor at a time is in memory. The bytes depend on the file, the
// entries and the metadata alone.
func (f *File) Write(ctx context.Context, path string, entries []checkpoint.Entry, metadata map[string]string) error {
	return f.WriteLate(ctx, path, entries, checkpoint.Settled(metadata), checkpoint.FileOptions{})
}

// WriteLate is [File.Write] with metadata of which a part becomes known while tensors are loaded.
func (f *File) WriteLate(ctx context.Context, path string, entries []checkpoint.Entry, metadata checkpoint.Metadata, opt checkpoint.FileOptions) error {
	w := f.newWriter(path, path+DataSuffix, metadata, opt)
	_, err := os.Lstat(w.data)
	stray := err == nil
	_, err = os.Lstat(path)
	replacing := err == nil
	if replacing {
		w.data += "-" + rand.Text()
	}
	if err := w.plan(entries); err != nil {
		return writing(path, err)
	}
	opt.Size = w.size
	if err := checkpoint.WriteFileWith(path, opt, func(out io.Writer) error { return w.write(ctx, out) }); err != nil {
		if w.placed && (replacing || !stray) && !w.isRead() {
			os.Remove(w.data)
		}
		return fmt.Errorf("onnx: %w", err)
	}
	if replacing && len(w.outside) > 0 {
		return w.moveData()
	}
	return nil
}

func (f *File) newWriter(path, data string, metadata checkpoint.Metadata, opt checkpoint.FileOptions) *writer {
	return &writer{file: f, path: path, data: data, entries: make([]*checkpoint.Entry, len(f.tensors)), metadata: metadata, opt: opt}
}

// edit puts something in the place of a run of bytes of the old file.
type edit struct {
	start, end int64
	bytes      []byte
	tensor     int // whose values follow the bytes; -1 is none
	size       int64
}

// written is how much an edit writes.
func (e edit) written() int64 { return int64(len(e.bytes)) + e.size }

// writer is a model about to be written.
type writer struct {
	file     *File
	path     string
	data     string              // the file of the external data
	entries  []*checkpoint.Entry // by tensor; nil where the old values stay
	metadata checkpoint.Metadata
	opt      checkpoint.FileOptions
	added    []string // the keys of metadata that stands at the end
	edits    []edit   // in order
	outside  []outside
	size     int64 // of the model
	dataSize int64 // of the external data
	moved    bool  // the external data is where it is to be already
	placed   bool  // the external data was written
}

// outside is a tensor in external data.
type outside struct {
	tensor int
	at     int64
}

// plan finds out what is to be written where.
func (w *writer) plan(entries []checkpoint.Entry) error {
	if err := w.assign(entries); err != nil {
		return err
	}
	if err := w.planTensors(); err != nil {
		return err
	}
	within := w.file.layout.graph.content.size
	for _, e := range w.edits {
		within += e.written() - (e.end - e.start)
	}
	header := protowire.AppendTag(nil, modelGraph, protowire.BytesType)
	graph := w.file.layout.graph
	w.replace(edit{start: graph.start, end: graph.content.at, bytes: protowire.AppendVarint(header, uint64(within)), tensor: -1})
	if err := w.planMetadata(); err != nil {
		return err
	}
	slices.SortStableFunc(w.edits, func(a, b edit) int { return int(min(max(a.start-b.start, -1), 1)) })
	size := w.file.layout.size
	for _, e := range w.edits {
		size += e.written() - (e.end - e.start)
	}
	if size > max(maxModel, w.file.layout.size) {
		return fmt.Errorf("the model would have %d bytes, more than others can read", size)
	}
	w.size = size
	return nil
}

func (w *writer) replace(e edit) { w.edits = append(w.edits, e) }

// assign finds the initializers that the entries are for.
func (w *writer) assign(entries []checkpoint.Entry) error {
	for _, e := range entries {
		i, ok := w.file.index[e.Name]
		switch {
		case !ok:
			return ofTensor(e.Name, errors.New("the model has no initializer of this name"))
		case w.entries[i] != nil:
			return ofTensor(e.Name, errors.New("given twice"))
		case e.Load == nil:
			return ofTensor(e.Name, errors.New("no way to load it is given"))
		}
		if t := w.file.tensors[i]; t.DType != e.DType || !t.Shape.Equal(e.Shape) {
			return ofTensor(e.Name, fmt.Errorf("it is %v%v, the model's is %v%v", e.DType, e.Shape, t.DType, t.Shape))
		}
		w.entries[i] = &e
	}
	return nil
}

func (w *writer) planTensors() error {
	at := int64(0)
	for i := range w.file.tensors {
		t := &w.file.tensors[i]
		size := int64(elements(t.Shape)) * int64(t.DType.Size())
		switch {
		case t.external != nil:
			if w.file.externalAttributes {
				return unsupported("external data of nodes cannot be written anew")
			}
			at = (at + alignment - 1) / alignment * alignment
			if err := w.relocate(i, at, size); err != nil {
				return ofTensor(t.Name, err)
			}
			w.outside = append(w.outside, outside{i, at})
			at += size
			w.dataSize = at
		case w.entries[i] != nil && t.raw.number != 0:
			w.planInline(i, size)
		}
	}
	if len(w.outside) == 0 || w.moved {
		return nil
	}
	for _, path := range w.file.DataFiles() {
		if same(path, w.path+DataSuffix) {
			return fmt.Errorf("%q would be overwritten, in which data of the input lies", w.path+DataSuffix)
		}
	}
	return nil
}

// same says that two names stand for one file that is there.
func same(a, b string) bool {
	x, err := os.Stat(a)
	y, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(x, y)
}

// planInline puts values where the old ones stand. Values that stand there as numbers become raw ones.
func (w *writer) planInline(i int, size int64) {
	raw := w.file.tensors[i].raw
	if isDense(raw.number) {
		w.replace(edit{start: raw.data.content.at, end: raw.data.end(), tensor: i, size: size})
		return
	}
	data := protowire.AppendVarint(protowire.AppendTag(nil, tensorRaw, protowire.BytesType), uint64(size))
	length := raw.message.content.size - (raw.data.end() - raw.data.start) + int64(len(data)) + size
	header := protowire.AppendVarint(protowire.AppendTag(nil, graphInitializer, protowire.BytesType), uint64(length))
	w.replace(edit{start: raw.message.start, end: raw.message.content.at, bytes: header, tensor: -1})
	w.replace(edit{start: raw.data.start, end: raw.data.end(), bytes: data, tensor: i, size: size})
}

// relocate writes the message of a tensor whose data goes into the new file. A checksum of the old data is left out.
func (w *writer) relocate(i int, at, size int64) error {
	p := proto.CloneOf(w.file.model.GetGraph().GetInitializer()[i])
	p.ExternalData = []*onnxpb.StringStringEntryProto{
		{Key: "location", Value: filepath.Base(w.data)},
		{Key: "offset", Value: strconv.FormatInt(at, 10)},
		{Key: "length", Value: strconv.FormatInt(size, 10)},
	}
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return err
	}
	message := protowire.AppendBytes(protowire.AppendTag(nil, graphInitializer, protowire.BytesType), content)
	old := w.file.tensors[i].raw.message
	w.replace(edit{start: old.start, end: old.end(), bytes: message, tensor: -1})
	return nil
}

// planMetadata leaves entries that stay where they are, and adds new ones at the end, sorted.
func (w *writer) planMetadata() error {
	left := maps.Clone(w.metadata.First)
	for i, entry := range w.file.model.GetMetadataProps() {
		if value, wanted := left[entry.GetKey()]; wanted && value == entry.GetValue() {
			delete(left, entry.GetKey())
			continue
		}
		old := w.file.layout.metadata[i]
		w.replace(edit{start: old.start, end: old.end(), tensor: -1})
	}
	w.added = slices.Sorted(maps.Keys(left))
	bytes, err := w.addedMetadata(left)
	w.replace(edit{start: w.file.layout.size, end: w.file.layout.size, bytes: bytes, tensor: -1})
	return err
}

// addedMetadata is the messages of the metadata that stands at the end.
func (w *writer) addedMetadata(metadata map[string]string) ([]byte, error) {
	var added []byte
	for _, key := range w.added {
		if !utf8.ValidString(key) || !utf8.ValidString(metadata[key]) {
			return nil, fmt.Errorf("metadata %s is not valid UTF-8", quote(key))
		}
		content := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), key)
		content = protowire.AppendString(protowire.AppendTag(content, 2, protowire.BytesType), metadata[key])
		added = protowire.AppendBytes(protowire.AppendTag(added, modelMetadata, protowire.BytesType), content)
	}
	return added, nil
}

// settled is the messages of the metadata that stands at the end, once all tensors are written. They are as long as they were planned.
func (w *writer) settled() ([]byte, error) {
	final, err := w.metadata.Settle()
	if err != nil {
		return nil, err
	}
	for key, value := range final {
		if !slices.Contains(w.added, key) && value != w.metadata.First[key] {
			return nil, fmt.Errorf("metadata %s has changed, and stands in the model already", quote(key))
		}
	}
	return w.addedMetadata(final)
}

// write writes the model up to the metadata at its end, then its external data, so that this is in place just before the model is, and the metadata.
func (w *writer) write(ctx context.Context, out io.Writer) error {
	at := int64(0)
	for _, e := range w.edits[:len(w.edits)-1] {
		if err := w.copy(ctx, out, span{at, e.start - at}); err != nil {
			return err
		}
		if _, err := out.Write(e.bytes); err != nil {
			return err
		}
		if e.tensor >= 0 {
			if err := w.tensor(ctx, out, e.tensor); err != nil {
				return err
			}
		}
		at = e.end
	}
	if err := w.copy(ctx, out, span{at, w.file.layout.size - at}); err != nil {
		return err
	}
	end, err := w.finish(ctx)
	if err != nil {
		return err
	}
	_, err = out.Write(end)
	return err
}

// finish writes the external data, if there is some, and returns the metadata at the end of the model.
func (w *writer) finish(ctx context.Context) (end []byte, err error) {
	if len(w.outside) == 0 || w.moved {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return w.settled()
	}
	opt := w.opt
	opt.Size = w.dataSize
	err = checkpoint.WriteFileWith(w.data, opt, func(out io.Writer) error {
		if err := w.writeData(ctx, out); err != nil {
			return err
		}
		end, err = w.settled()
		return err
	})
	w.placed = err == nil
	return end, err
}

// copy copies bytes of the old file.
func (w *writer) copy(ctx context.Context, out io.Writer, from span) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n, err := io.Copy(out, io.NewSectionReader(w.file.file, from.at, from.size))
	if err == nil && n < from.size {
		err = malformed("file %q ends %d bytes early: it was cut off after it was opened", w.file.path, from.size-n)
	}
	return err
}

// tensor writes the values of a tensor: those of its entry, or the old ones.
func (w *writer) tensor(ctx context.Context, out io.Writer, i int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info := &w.file.tensors[i]
	if e := w.entries[i]; e != nil {
		if err := e.WriteElements(out); err != nil {
			return ofTensor(info.Name, err)
		}
		return nil
	}
	t, err := w.file.read(info)
	if err != nil {
		return ofTensor(info.Name, err)
	}
	_, err = out.Write(t.Bytes())
	return err
}

func (w *writer) writeData(ctx context.Context, out io.Writer) error {
	at := int64(0)
	for _, d := range w.outside {
		if _, err := out.Write(make([]byte, d.at-at)); err != nil {
			return err
		}
		if err := w.tensor(ctx, out, d.tensor); err != nil {
			return err
		}
		info := w.file.tensors[d.tensor]
		at = d.at + int64(elements(info.Shape))*int64(info.DType.Size())
	}
	return ctx.Err()
}
