package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// CIFAR's binary format (A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, https://www.cs.toronto.edu/~kriz/cifar.html) is a
// sequence of records: the labels, a byte each, and the pixels of a 32x32 image, its red plane first, then the green and the blue one. CIFAR-10 has
// one label, CIFAR-100 two, the coarse one first.
var recordShape = imageShape{channels: 3, height: 32, width: 32}

// A recordForm says what the labels of a record are.
type recordForm struct {
	labels  int // in a record
	label   int // the one that counts
	classes []int
}

// The forms there are.
var (
	cifar10Form        = recordForm{labels: 1, label: 0, classes: []int{10}}
	cifar100Form       = recordForm{labels: 2, label: 1, classes: []int{20, 100}}
	cifar100CoarseForm = recordForm{labels: 2, label: 0, classes: []int{20, 100}}
)

func (r recordForm) size() int { return r.labels + recordShape.size() }

// parseRecords splits the content of a file into pixels, which it appends, and labels.
func parseRecords(content []byte, form recordForm, pixels []uint8, labels []int32) ([]uint8, []int32, error) {
	if len(content) == 0 || len(content)%form.size() != 0 {
		return nil, nil, fmt.Errorf("its length %d is no multiple of the %d bytes of a record", len(content), form.size())
	}
	for i := 0; len(content) > 0; i++ {
		record := content[:form.size()]
		content = content[form.size():]
		for k, classes := range form.classes {
			if int(record[k]) >= classes {
				return nil, nil, fmt.Errorf("label %d of record %d is out of range: there are %d classes", record[k], i, classes)
			}
		}
		labels = append(labels, int32(record[form.label]))
		pixels = append(pixels, record[form.labels:]...)
	}
	return pixels, labels, nil
}

// A recordFile is the content of one file of records.
type recordFile struct {
	name    string
	content []byte
}

// setOfRecords makes a set of the records of several files.
func setOfRecords(name string, files []recordFile, form recordForm, classNames []string, opt Options) (*Set, error) {
	total := 0
	for _, f := range files {
		total += len(f.content)
	}
	pixels, labels := make([]uint8, 0, total), make([]int32, 0, total/form.size())
	for _, f := range files {
		var err error
		if pixels, labels, err = parseRecords(f.content, form, pixels, labels); err != nil {
			return nil, fmt.Errorf("dataset: %s: %q: %w", name, f.name, err)
		}
	}
	return reshaped(name, recordShape, pixels, labels, classNames, opt)
}

// recordSources are the sets whose files openRecords knows by their names.
var recordSources = []*source{&cifar10, &cifar100}

// recordDirs are the folders that may hold the files: the one named, and in it the one that the archive makes.
func recordDirs(at string, src *source) []string {
	return []string{at, filepath.Join(at, src.folders[0])}
}

// holdsRecords tells which source's files a folder has, or the archive may have; nil is none.
func holdsRecords(at string) *source {
	if isTar(at) {
		return &cifar10
	}
	for _, src := range recordSources {
		for _, dir := range recordDirs(at, src) {
			for _, f := range src.allFiles() {
				if info, err := os.Stat(filepath.Join(dir, f.base)); err == nil && info.Mode().IsRegular() {
					return src
				}
			}
		}
	}
	return nil
}

func isTar(name string) bool {
	for _, ending := range []string{".tar", ".tar.gz", ".tgz"} {
		if strings.HasSuffix(name, ending) {
			return true
		}
	}
	return false
}

// maxRecords bounds the bytes of all record files that are read without knowing them: five times CIFAR.
const maxRecords = 1 << 30

// openRecords reads a split of a folder or an archive in CIFAR's binary format, whatever it holds: no checksum is asked for, and there may be fewer or
// more records, and fewer of the five training files.
func openRecords(ctx context.Context, at string, split Split, opt Options) (*Set, error) {
	src, files, err := listRecords(ctx, at)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("dataset: %q: %w", at, err)
	}
	var found []recordFile
	for _, want := range src.batches[split] {
		if content, ok := files[want.base]; ok {
			found = append(found, recordFile{want.base, content})
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("dataset: %q: there is no file %q", at, src.batches[split][0].base)
	}
	return setOfRecords(at, found, src.form, src.classNames, opt)
}

// listRecords reads all files of records, by name.
func listRecords(ctx context.Context, at string) (*source, map[string][]byte, error) {
	if !isTar(at) {
		src := holdsRecords(at)
		files, err := readRecordFolder(at, src)
		return src, files, err
	}
	r, err := openRegular(at)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = r.Close() }() // nothing was written
	files, err := readTar(ctx, r, maxRecords, func(name string) bool { return recordSource(name) != nil })
	if err != nil {
		return nil, nil, err
	}
	for _, src := range recordSources {
		for _, f := range src.allFiles() {
			if _, ok := files[f.base]; ok {
				return src, files, nil
			}
		}
	}
	return nil, nil, errors.New("it holds none of CIFAR's files of records")
}

// recordSource is the set that has a file of this name; nil is none.
func recordSource(name string) *source {
	for _, src := range recordSources {
		for _, f := range src.allFiles() {
			if f.base == name {
				return src
			}
		}
	}
	return nil
}

func readRecordFolder(at string, src *source) (map[string][]byte, error) {
	files, left := map[string][]byte{}, maxRecords
	for _, dir := range recordDirs(at, src) {
		for _, f := range src.allFiles() {
			content, err := readLimited(filepath.Join(dir, f.base), left+1)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("%q: %w", f.base, err)
			}
			if left -= len(content); left < 0 {
				return nil, fmt.Errorf("%q: all files together have more than %d bytes", f.base, maxRecords)
			}
			files[f.base] = content
		}
		if len(files) > 0 {
			break
		}
	}
	return files, nil
}
