package dataset

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rebasin/rebasin/checkpoint"
)

// NotFoundError says that a file of a data set is in none of the places that were searched, and what to do.
type NotFoundError struct {
	Set     string   // the data set
	File    string   // the file, without .gz
	Tried   []string // the places, in order, each with what was found there
	files   []string // all that the data set needs
	archive string   // or this, which holds them
}

// Error lists the places, one a line.
func (e *NotFoundError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "dataset: %s: file %q was found nowhere:\n", e.Set, e.File)
	for _, t := range e.Tried {
		fmt.Fprintf(&b, "  - %s\n", t)
	}
	fmt.Fprintf(&b, "put %s (with or without .gz)", strings.Join(e.files, ", "))
	if e.archive != "" {
		fmt.Fprintf(&b, " or %s", e.archive)
	}
	b.WriteString(" into a directory DIR and say --data-dir DIR, or set REBASIN_DATA=DIR")
	return b.String()
}

// A place is one step of the search.
type place struct {
	label  string
	strict bool // the user pointed here: a wrong file is an error, not a reason to look further
	dirs   func(ctx context.Context) ([]string, error)
}

// A finder searches the places for the files of one source.
type finder struct {
	src      *source
	places   []place
	cacheDir string // "" when there is none
	mirrors  []string
	fetch    func(ctx context.Context, url string, limit int) ([]byte, error)
	log      func(string)
	archives map[string]*unpacked // by path or address
}

// find returns the content of a file from the first place that has it, and keeps a copy in the cache.
func (f *finder) find(ctx context.Context, want file) ([]byte, error) {
	var tried []string
	for _, p := range f.places {
		found, err := f.searchPlace(ctx, p, want)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			if p.strict && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("%s: %w", p.label, err)
			}
			tried = append(tried, p.label+": "+oneLine(err))
			if p.strict || !errors.Is(err, fs.ErrNotExist) {
				f.log(fmt.Sprintf("%s: passed over %s: %s", f.src.name, p.label, oneLine(err)))
			}
			continue
		}
		f.keep(found, want)
		return found.content, nil
	}
	for _, base := range f.mirrors {
		found, err := f.searchMirror(ctx, base, want)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			tried = append(tried, oneLine(err))
			f.log(fmt.Sprintf("%s: passed over a mirror: %s", f.src.name, oneLine(err)))
			continue
		}
		f.keep(found, want)
		return found.content, nil
	}
	return nil, &NotFoundError{Set: f.src.name, File: want.base, Tried: tried, files: f.src.fileNames(), archive: f.src.archive.base}
}

// oneLine is the text of an error that may join several, or quote another program.
func oneLine(err error) string { return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ") }

// A finding is a file that passed its check.
type finding struct {
	from    string // a path or an address
	stored  []byte // as it lay there
	content []byte // decompressed
	kept    bool   // in the cache already
}

// folder is where it was found, with a slash at its end.
func (f *finding) folder() string { return f.from[:strings.LastIndexAny(f.from, `/\`)+1] }

// searchPlace looks for a file in the directories of a place. The first wrong file of a strict place ends the search with its error; elsewhere
// a wrong file is reported only if no right one follows.
func (f *finder) searchPlace(ctx context.Context, p place, want file) (*finding, error) {
	dirs, err := p.dirs(ctx)
	if err != nil {
		return nil, err
	}
	var wrong error
	for _, dir := range dirs {
		candidates := want.names()
		if f.src.archive.base != "" {
			candidates = append(candidates, f.src.archive.base)
		}
		for _, name := range candidates {
			found, err := f.read(ctx, filepath.Join(dir, name), want)
			if err == nil {
				return found, nil
			}
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if p.strict {
				return nil, err
			}
			wrong = errors.Join(wrong, err)
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	return nil, fmt.Errorf("not in %s: %w", strings.Join(dirs, ", "), fs.ErrNotExist)
}

// read reads a file, or what the archive of this name holds of it, and checks it.
func (f *finder) read(ctx context.Context, path string, want file) (*finding, error) {
	if filepath.Base(path) == f.src.archive.base {
		return f.unpack(ctx, path, want, func() ([]byte, error) { return readLimited(path, f.src.archive.size) })
	}
	// One byte beyond the limit is enough to see that a file is too long.
	stored, err := readLimited(path, want.storedLimit()+1)
	if err != nil {
		return nil, err
	}
	return check(path, stored, want)
}

// readLimited reads the first bytes of a file, at most limit.
func readLimited(path string, limit int) ([]byte, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // nothing was written
	info, err := r.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", path)
	}
	content, err := io.ReadAll(io.LimitReader(r, int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, err)
	}
	return content, nil
}

// unpacked is what an archive holds: for each file the finding, or why there is none.
type unpacked struct {
	found map[string]*finding
	err   map[string]error
}

// unpack returns one file of the archive at from, which is read once for all of them. All that are sound are kept: the next search may be for another.
func (f *finder) unpack(ctx context.Context, from string, want file, read func() ([]byte, error)) (*finding, error) {
	u, ok := f.archives[from]
	if !ok {
		stored, err := read()
		if err != nil {
			return nil, err
		}
		contents, err := readTar(ctx, bytes.NewReader(stored), f.src.allSizes(), f.src.has)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", from, err)
		}
		u = f.checkAll(from, contents)
		if f.archives == nil {
			f.archives = map[string]*unpacked{}
		}
		f.archives[from] = u
	}
	return u.found[want.base], u.err[want.base]
}

// checkAll checks the files of an archive and keeps the sound ones.
func (f *finder) checkAll(from string, contents map[string][]byte) *unpacked {
	u := &unpacked{map[string]*finding{}, map[string]error{}}
	for _, want := range f.src.allFiles() {
		content, ok := contents[want.base]
		if !ok {
			u.err[want.base] = fmt.Errorf("%q does not hold %s", from, want.base)
			continue
		}
		found, err := check(from, content, want)
		if err != nil {
			u.err[want.base] = fmt.Errorf("%s in %w", want.base, err)
			continue
		}
		f.keep(found, want)
		found.kept = true
		u.found[want.base] = found
	}
	return u
}

// allSizes is how many bytes all files of a source have together.
func (s *source) allSizes() int {
	n := 0
	for _, f := range s.allFiles() {
		n += f.size
	}
	return n
}

// has tells whether a source has a file of this name.
func (s *source) has(name string) bool {
	return slices.ContainsFunc(s.allFiles(), func(f file) bool { return f.base == name })
}

// storedLimit bounds the size of a sound file, compressed or not: deflate adds 5 bytes to a block of up to 64 KiB that it cannot compress,
// and gzip a header that may hold a name.
func (f file) storedLimit() int { return f.size + f.size/1024 + 4096 }

// check accepts a file whose content has the right length and digest.
func check(from string, stored []byte, want file) (*finding, error) {
	content, err := inflate(stored, want.size)
	if err != nil {
		return nil, fmt.Errorf("%q %w", from, err)
	}
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	if digest != want.sha256 {
		if other, ok := owner(digest); ok {
			return nil, fmt.Errorf("%q has the wrong checksum: it is %s", from, other)
		}
		return nil, fmt.Errorf("%q has the wrong checksum: SHA-256 of its content is %s, want %s", from, digest, want.sha256)
	}
	return &finding{from: from, stored: stored, content: content}, nil
}

// keep copies a finding to the cache unless it came from there, and says the same of all files of one place. A cache that cannot be written costs
// time next time, and nothing now.
func (f *finder) keep(found *finding, want file) {
	if found.kept || f.cacheDir == "" || filepath.Dir(found.from) == f.cacheDir {
		return
	}
	name := want.base
	if isGzip(found.stored) {
		name += ".gz"
	}
	path := filepath.Join(f.cacheDir, name)
	err := os.MkdirAll(f.cacheDir, 0o755)
	if err == nil {
		err = checkpoint.WriteFile(path, func(w io.Writer) error {
			_, err := w.Write(found.stored)
			return err
		})
	}
	if err != nil {
		f.log(fmt.Sprintf("%s: %s was not kept in the cache: %v", f.src.name, found.from, err))
		return
	}
	f.log(fmt.Sprintf("%s: copied %s to %s", f.src.name, found.folder(), f.cacheDir))
}

// searchMirror fetches a file, or the archive that holds it, from a mirror and checks it.
func (f *finder) searchMirror(ctx context.Context, base string, want file) (*finding, error) {
	if f.src.archive.base == "" {
		return f.download(ctx, base+want.base+".gz", want)
	}
	url := base + f.src.archive.base
	return f.unpack(ctx, url, want, func() ([]byte, error) {
		f.log(fmt.Sprintf("%s: downloading %s, %d MB", f.src.name, url, f.src.archive.size/1e6))
		return f.fetch(ctx, url, f.src.archive.size)
	})
}

// download fetches a file from a mirror and checks it.
func (f *finder) download(ctx context.Context, url string, want file) (*finding, error) {
	f.log(fmt.Sprintf("%s: downloading %s", f.src.name, url))
	stored, err := f.fetch(ctx, url, want.storedLimit())
	if err != nil {
		return nil, err
	}
	return check(url, stored, want)
}

// fileNames lists all files of a source.
func (s *source) fileNames() []string {
	var names []string
	for _, f := range s.allFiles() {
		names = append(names, f.base)
	}
	return names
}
