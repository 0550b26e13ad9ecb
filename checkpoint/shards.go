package checkpoint

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rebasin/rebasin/tensor"
)

const (
	// maxShards bounds the files that are open at once.
	maxShards = 4096
	// ShardBytes is the size that the data of a shard has at most where nothing else is said, unless one tensor has more.
	ShardBytes = 5_000_000_000
)

// shardedFile is an index and its shards, all open.
type shardedFile struct {
	name     string
	list     source // the index, which is read and closed
	shards   []*Safetensors
	names    []string // of the shards' files, sorted
	index    map[string]int
	metadata map[string]string
}

// shardIndex is what an index says.
type shardIndex struct {
	shards   map[string]string // by tensor
	metadata map[string]string
}

// isIndex reports whether a file that begins like this is an index. A safetensors file that begins with '{' has zeros next to it.
func isIndex(start []byte) bool {
	return len(start) > 0 && start[0] == '{' && !slices.Contains(start, 0)
}

// readIndex reads an index: an object of "weight_map", the file of each tensor, and "metadata", of which the strings are kept.
func readIndex(src source) (*shardIndex, error) {
	if src.size > maxHeader {
		return nil, malformed("index of %d bytes is over the limit of %d", src.size, maxHeader)
	}
	text := make([]byte, src.size)
	if err := readFull(src.file, text, 0); err != nil {
		return nil, err
	}
	p, err := newParser("index", text)
	if err != nil {
		return nil, err
	}
	x := &shardIndex{metadata: map[string]string{}}
	err = p.object(p.what, func(key string) (err error) {
		switch key {
		case "weight_map":
			x.shards, err = p.strings(key)
		case "metadata":
			err = p.object(key, func(key string) error { return p.stringOrSkip(key, x.metadata) })
		default:
			err = malformed("index has the unknown key %s", quote(key))
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case x.shards == nil:
		return nil, malformed("index has no weight_map")
	}
	for _, name := range slices.Sorted(maps.Keys(x.shards)) {
		if err := checkShardName(x.shards[name]); err != nil {
			return nil, ofTensor(name, err)
		}
	}
	return x, nil
}

// stringOrSkip keeps a value that is a string, and skips another.
func (p *parser) stringOrSkip(key string, to map[string]string) error {
	var value json.RawMessage
	if err := p.dec.Decode(&value); err != nil {
		return malformed("%s is not valid JSON: %v", p.what, err)
	}
	if value[0] != '"' {
		return nil
	}
	var s string
	err := json.Unmarshal(value, &s)
	to[key] = s
	return err
}

// checkShardName lets only names of files beside the index pass, on any system.
func checkShardName(name string) error {
	if name == "" || name == "." || strings.ContainsAny(name, "/\\:\x00") || !filepath.IsLocal(name) {
		return malformed("shard %s is not the name of a file in the folder of the index", quote(name))
	}
	return nil
}

// files are the shards, sorted.
func (x *shardIndex) files() []string {
	return slices.Compact(slices.Sorted(maps.Values(x.shards)))
}

// openSharded opens all shards of an index and checks that every tensor is where the index says, and no other is.
func openSharded(src source) (*shardedFile, error) {
	if src.closer == nil {
		return nil, errors.New("the index of shards can only be opened by its path")
	}
	x, err := readIndex(src)
	if err != nil {
		return nil, err
	}
	f := &shardedFile{name: src.name, list: src, names: x.files(), index: map[string]int{}, metadata: x.metadata}
	if len(f.names) > maxShards {
		return nil, malformed("index of %d shards is over the limit of %d", len(f.names), maxShards)
	}
	if err := f.open(x); err != nil {
		return nil, errors.Join(err, f.closeShards())
	}
	f.addMetadata()
	src.closer.Close() // all that it says is known
	return f, nil
}

func (f *shardedFile) open(x *shardIndex) error {
	for i, name := range f.names {
		s, err := openShard(filepath.Join(filepath.Dir(f.name), name))
		if err != nil {
			return fmt.Errorf("shard %s: %w", quote(name), err)
		}
		f.shards = append(f.shards, s)
		for _, info := range s.Infos() {
			switch claimed, ok := x.shards[info.Name]; {
			case !ok:
				return ofTensor(info.Name, malformed("it is in shard %s and not in the index", quote(name)))
			case claimed != name:
				return ofTensor(info.Name, malformed("it is in shard %s, and in %s by the index", quote(name), quote(claimed)))
			}
			f.index[info.Name] = i
		}
	}
	for _, name := range slices.Sorted(maps.Keys(x.shards)) {
		if _, ok := f.index[name]; !ok {
			return ofTensor(name, malformed("it is not in shard %s, as the index says", quote(x.shards[name])))
		}
	}
	return nil
}

func openShard(path string) (*Safetensors, error) {
	file, info, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	s, err := openSafetensors(opened(path, file, info))
	if err != nil {
		file.Close()
	}
	return s, err
}

// addMetadata adds what all shards say alike, unless the index says something else.
func (f *shardedFile) addMetadata() {
	if len(f.shards) == 0 {
		return
	}
	for key, value := range f.shards[0].header.metadata {
		same := func(s *Safetensors) bool { other, ok := s.header.metadata[key]; return ok && other == value }
		if _, ok := f.metadata[key]; !ok && !slices.ContainsFunc(f.shards, func(s *Safetensors) bool { return !same(s) }) {
			f.metadata[key] = value
		}
	}
}

// Infos returns all tensors, shard by shard in the order of their data.
func (f *shardedFile) Infos() []Info {
	var infos []Info
	for _, s := range f.shards {
		infos = append(infos, s.Infos()...)
	}
	return infos
}

// Metadata returns a copy of the strings of the index, and of those that all shards have.
func (f *shardedFile) Metadata() map[string]string { return maps.Clone(f.metadata) }

// Form returns the form of the file: which tensors are in one shard.
func (f *shardedFile) Form() Form {
	form := Form{Format: FormatSharded, shards: f.index, files: []string{f.name}}
	for _, name := range f.names {
		form.files = append(form.files, filepath.Join(filepath.Dir(f.name), name))
	}
	return form
}

// Read returns the tensor of that name.
func (f *shardedFile) Read(name string) (*tensor.Tensor, error) {
	i, ok := f.index[name]
	if !ok {
		return nil, reading(f.name, ofTensor(name, errors.New("not in the file")))
	}
	return f.shards[i].Read(name)
}

// OpenSection implements [Sectioner].
func (f *shardedFile) OpenSection(name string) (Section, error) {
	i, ok := f.index[name]
	if !ok {
		return nil, reading(f.name, ofTensor(name, errors.New("not in the file")))
	}
	return f.shards[i].OpenSection(name)
}

// Close closes all shards.
func (f *shardedFile) Close() error {
	if err := f.closeShards(); err != nil {
		return reading(f.name, err)
	}
	return nil
}

// Unchanged returns an error if the index or a shard has been changed since it was opened, as [Safetensors.Unchanged] does.
func (f *shardedFile) Unchanged() error {
	if err := f.list.Unchanged(); err != nil {
		return err
	}
	for _, s := range f.shards {
		if err := s.Unchanged(); err != nil {
			return err
		}
	}
	return nil
}

func (f *shardedFile) closeShards() error {
	var errs []error
	for _, s := range f.shards {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// writeSharded writes shards beside the index, and the index last. All are whole under temporary names before the first takes its own.
func writeSharded(ctx context.Context, path string, entries []Entry, metadata Metadata, form Form, opt FileOptions) error {
	parts, total, err := form.partition(entries)
	if err != nil {
		return fmt.Errorf("checkpoint: writing %q: %w", path, err)
	}
	names := shardNames(path, len(parts))
	if err := form.spare(names...); err != nil {
		return fmt.Errorf("checkpoint: writing %q: %w", path, err)
	}
	set := &pendingSet{opt: opt}
	defer set.discard()
	weights := map[string]string{}
	for i, part := range parts {
		f, err := prepareSafetensors(ctx, names[i], part, metadata, opt)
		if err != nil {
			return fmt.Errorf("checkpoint: writing %q: %w", names[i], err)
		}
		set.shards, set.files = append(set.shards, f), append(set.files, f.pendingFile)
		for _, e := range part {
			weights[e.Name] = filepath.Base(names[i])
		}
	}
	if err := set.addIndex(path, weights, metadata, total); err != nil {
		return fmt.Errorf("checkpoint: writing %q: %w", path, err)
	}
	return set.place()
}

// pendingSet is shards and, last, their index, under temporary names.
type pendingSet struct {
	opt    FileOptions
	shards []*pendingSafetensors
	files  []*pendingFile
}

// addIndex writes the index when all metadata is known, and that into the shards.
func (s *pendingSet) addIndex(path string, weights map[string]string, metadata Metadata, total int64) error {
	final, err := metadata.Settle()
	if err != nil {
		return err
	}
	for _, f := range s.shards {
		if err := f.settle(metadata); err != nil {
			return err
		}
	}
	index, err := formatIndex(weights, final, total)
	if err != nil {
		return err
	}
	f, err := prepare(path, s.opt, func(w io.Writer) error { _, err := w.Write(index); return err })
	if err == nil {
		s.files = append(s.files, f)
	}
	return err
}

// place gets all files onto the disk before the first takes its name.
func (s *pendingSet) place() error {
	for _, step := range []func(*pendingFile) error{(*pendingFile).sync, (*pendingFile).place} {
		for _, f := range s.files {
			if err := step(f); err != nil {
				return fmt.Errorf("checkpoint: writing %q: %w", f.target, err)
			}
		}
	}
	return nil
}

func (s *pendingSet) discard() {
	for _, f := range s.files {
		f.discard()
	}
}

// partition divides entries among shards: as they were in the file of this form, else in the order of names, each as full as it may be. What the
// file did not have goes into the last. It also returns the bytes of all.
func (f Form) partition(entries []Entry) (parts [][]Entry, total int64, err error) {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	if err := checkEntries(entries, func(tensor.DType) bool { return true }); err != nil {
		return nil, 0, err
	}
	last := 0
	for _, i := range f.shards {
		last = max(last, i)
	}
	limit := cmp.Or(f.ShardBytes, ShardBytes)
	byShard := map[int][]Entry{}
	shard, filled := 0, int64(0)
	for _, e := range entries {
		n, err := e.check()
		if err != nil {
			return nil, 0, ofTensor(e.Name, err)
		}
		total += int64(n)
		if f.shards != nil {
			i, ok := f.shards[e.Name]
			if !ok {
				i = last
			}
			byShard[i] = append(byShard[i], e)
			continue
		}
		if filled > 0 && filled+int64(n) > limit {
			shard, filled = shard+1, 0
		}
		filled += int64(n)
		byShard[shard] = append(byShard[shard], e)
	}
	for _, i := range slices.Sorted(maps.Keys(byShard)) {
		parts = append(parts, byShard[i])
	}
	return parts, total, nil
}

// shardNames are the files beside an index, named as is usual: model-00001-of-00002.safetensors beside model.safetensors.index.json.
func shardNames(index string, n int) []string {
	base := filepath.Base(index)
	if strings.HasSuffix(strings.ToLower(base), indexEnding) {
		base = base[:len(base)-len(indexEnding)]
	}
	base = strings.TrimSuffix(base, ".safetensors")
	names := make([]string, n)
	for i := range names {
		names[i] = filepath.Join(filepath.Dir(index), fmt.Sprintf("%s-%05d-of-%05d.safetensors", base, i+1, n))
	}
	return names
}

// formatIndex is the text of an index.
func formatIndex(weights, metadata map[string]string, total int64) ([]byte, error) {
	meta := map[string]any{}
	for key, value := range metadata {
		meta[key] = value
	}
	meta["total_size"] = json.Number(strconv.FormatInt(total, 10))
	text, err := json.MarshalIndent(map[string]any{"metadata": meta, "weight_map": weights}, "", "  ")
	return append(text, '\n'), err
}

// spare checks that none of these files is one that the form knows as an input.
func (f Form) spare(outputs ...string) error {
	for _, input := range f.files {
		in, err := os.Stat(input)
		if err != nil {
			continue // it is gone, and cannot be overwritten
		}
		for _, output := range outputs {
			if out, err := os.Stat(output); err == nil && os.SameFile(in, out) {
				return fmt.Errorf("%q is read, and would be overwritten", output)
			}
		}
	}
	return nil
}
