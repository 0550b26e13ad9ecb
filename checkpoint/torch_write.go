package checkpoint

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/rebasin/rebasin/tensor"
)

// torchRoot is the folder that all entries of a zip of PyTorch are in. torch.save takes the name of the file; here the name changes no byte.
const torchRoot = "archive/"

// writeTorch writes a zip that torch.load reads, with weights_only or without: version and byte order, one entry for each storage, and behind
// them, when it is known which tensors share one, the pickle. The state dict is in the order that form says; what that does not know follows,
// sorted by name.
func writeTorch(ctx context.Context, path string, entries []Entry, metadata Metadata, form *torchForm, opt FileOptions) error {
	if form == nil {
		form = &torchForm{levels: []torchLevel{{ordered: true}}}
	}
	entries = slices.Clone(entries)
	if err := checkEntries(entries, func(d tensor.DType) bool { return storageClass(d) != "" }); err != nil {
		return fmt.Errorf("checkpoint: writing %q: %w", path, err)
	}
	form.sort(entries)
	if err := appendStrings(new(bytes.Buffer), metadata.First); err != nil {
		return fmt.Errorf("checkpoint: writing %q: %w", path, err)
	}
	return WriteFileWith(path, opt, func(w io.Writer) error {
		t := torchWriter{zip: newZipWriter(w), form: form, stored: map[string]string{}, ties: map[tied]string{}}
		if err := t.all(ctx, entries); err != nil {
			return err
		}
		final, err := metadata.Settle()
		if err != nil {
			return err
		}
		if len(final) > 0 {
			var meta bytes.Buffer
			if err := appendStrings(&meta, final); err != nil {
				return err
			}
			if err := t.zip.add(torchRoot+metadataEntry, meta.Bytes()); err != nil {
				return err
			}
		}
		if err := t.zip.close(); err != nil {
			return err
		}
		return ctx.Err()
	})
}

// checkEntries checks what can be known before anything is loaded.
func checkEntries(entries []Entry, known func(tensor.DType) bool) error {
	seen := make(map[string]bool, len(entries))
	for _, e := range entries {
		_, err := e.check()
		switch {
		case err != nil:
		case seen[e.Name]:
			err = errors.New("given twice")
		case !known(e.DType):
			err = fmt.Errorf("the format has no %v", e.DType)
		}
		if err != nil {
			return ofTensor(e.Name, err)
		}
		seen[e.Name] = true
	}
	return nil
}

// sort puts entries in the order of the state dict.
func (f *torchForm) sort(entries []Entry) {
	place := map[string]int{}
	items := f.levels[len(f.levels)-1].items
	for i, item := range items {
		if name, ok := item.key.(string); ok && item.value == nil {
			place[name] = i
		}
	}
	at := func(e Entry) int {
		if i, ok := place[f.prefix+e.Name]; ok {
			return i
		}
		return len(items)
	}
	slices.SortStableFunc(entries, func(a, b Entry) int { return cmp.Or(cmp.Compare(at(a), at(b)), cmp.Compare(a.Name, b.Name)) })
}

// torchWriter writes one file.
type torchWriter struct {
	zip    *zipWriter
	form   *torchForm
	next   int               // the number of the next storage
	stored map[string]string // the storage of each tensor
	ties   map[tied]string   // the storage of tensors that may be tied with others
}

// tied is what tensors that shared their elements have in common if they still can.
type tied struct {
	group int
	dtype tensor.DType
	shape string
	sum   [sha256.Size]byte
}

func (t *torchWriter) all(ctx context.Context, entries []Entry) error {
	for _, part := range []struct{ name, content string }{{"version", "3\n"}, {"byteorder", "little"}} {
		if err := t.zip.add(torchRoot+part.name, []byte(part.content)); err != nil {
			return err
		}
	}
	for i := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.storage(&entries[i]); err != nil {
			return ofTensor(entries[i].Name, err)
		}
	}
	p := newPickler()
	t.level(p, t.form.levels, entries)
	return t.zip.add(torchRoot+"data.pkl", p.bytes())
}

// storage writes the elements of a tensor, unless one that it was tied with in the file it comes from has the same.
func (t *torchWriter) storage(e *Entry) error {
	x, err := e.load()
	if err != nil {
		return err
	}
	group, tie := t.form.ties[e.Name]
	same := tied{group: group, dtype: e.DType, shape: e.Shape.String()}
	if tie {
		same.sum = sha256.Sum256(x.Bytes())
		if key, ok := t.ties[same]; ok {
			t.stored[e.Name] = key
			return nil
		}
	}
	key := strconv.Itoa(t.next)
	t.next++
	t.stored[e.Name] = key
	if tie {
		t.ties[same] = key
	}
	return t.zip.add(torchRoot+"data/"+key, x.Bytes())
}

// level writes the first of these dictionaries, with the others in it.
func (t *torchWriter) level(p *pickler, levels []torchLevel, entries []Entry) {
	l := levels[0]
	if l.ordered {
		p.orderedDict()
	} else {
		p.out.WriteByte('}')
	}
	if len(levels) > 1 {
		p.batches(len(l.items), 'u', func(i int) {
			p.value(l.items[i].key)
			if l.items[i].value == nil {
				t.level(p, levels[1:], entries)
			} else {
				p.value(l.items[i].value)
			}
		})
	} else {
		t.stateDict(p, l.items, entries)
	}
	p.attributes(l.attributes)
}

// stateDict writes the tensors, in their order, and between them what else the state dict had.
func (t *torchWriter) stateDict(p *pickler, items []torchItem, entries []Entry) {
	type pair struct {
		key   any
		value any // nil for a tensor
		entry *Entry
	}
	names := make(map[string]*Entry, len(entries))
	for i := range entries {
		names[t.form.prefix+entries[i].Name] = &entries[i]
	}
	var pairs []pair
	for _, item := range items {
		key, isText := item.key.(string)
		if e := names[key]; isText && e != nil {
			pairs = append(pairs, pair{key: key, entry: e})
			delete(names, key)
		} else if item.value != nil {
			pairs = append(pairs, pair{key: item.key, value: item.value})
		}
	}
	for i := range entries {
		if key := t.form.prefix + entries[i].Name; names[key] != nil {
			pairs = append(pairs, pair{key: key, entry: &entries[i]})
		}
	}
	p.batches(len(pairs), 'u', func(i int) {
		p.value(pairs[i].key)
		if e := pairs[i].entry; e != nil {
			p.tensor(t.stored[e.Name], e.DType, e.Shape)
		} else {
			p.value(pairs[i].value)
		}
	})
}
