package dataset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rebasin/rebasin/checkpoint"
)

// NotFoundError says that a file of a data set is in none of the places that were searched, and what to do.
type NotFoundError struct {
	Set   string   // the data set
	File  string   // the file, without .gz
	Tried []string // the places, in order, each with what was found there
	files []string // all that the data set needs
}

// Error lists the places, one a line.
func (e *NotFoundError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "dataset: %s: file %q was found nowhere:\n", e.Set, e.File)
	for _, t := range e.Tried {
		fmt.Fprintf(&b, "  - %s\n", t)
	}
	fmt.Fprintf(&b, "put %s (with or without .gz) into a directory DIR and say --data-dir DIR, or set REBASIN_DATA=DIR",
		strings.Join(e.files, ", "))
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
		found, err := f.download(ctx, base+want.base+".gz", want)
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
	return nil, &NotFoundError{Set: f.src.name, File: want.base, Tried: tried, files: f.src.fileNames()}
}

// oneLine is the text of an error that may join several, or quote another program.
func oneLine(err error) string { return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ") }

// A finding is a file that passed its check.
type finding struct {
	from    string // a path or an address
	stored  []byte // as it lay there
	content []byte // decompressed
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
		for _, name := range want.names() {
			found, err := readFile(filepath.Join(dir, name), want)
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

// readFile reads a file and checks it. It reads no more than a sound file could hold.
func readFile(path string, want file) (*finding, error) {
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
	// One byte beyond the limit is enough to see that a file is too long.
	stored, err := io.ReadAll(io.LimitReader(r, int64(want.storedLimit())+1))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, err)
	}
	return check(path, stored, want)
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
	if f.cacheDir == "" || filepath.Dir(found.from) == f.cacheDir {
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
	return []string{s.images[Train].base, s.labels[Train].base, s.images[Test].base, s.labels[Test].base}
}
