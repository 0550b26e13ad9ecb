package dataset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options say where to look for a data set and how to read it. The zero value looks everywhere and leaves pixels in [0, 1].
type Options struct {
	DataDir   string         // looked in first; "" is none
	Offline   bool           // nothing is downloaded
	Normalize *Normalization // nil leaves pixels in [0, 1]
	Log       func(string)   // hears what was passed over, downloaded or kept, and why; nil is silence

	// Resize is the side that images are brought to, whatever their own form; 0 leaves them, which then must all have the same. Arrays that are no images
	// stay as they are, whatever Normalize, Resize and Channels say: see Set.Images.
	Resize int
	// Channels is 3 for colours, 1 for their brightness; grey images repeat it. 0 is 3 for folders and zips of images, and what the file has for others.
	Channels int
	// SkipCorrupt leaves out images of a folder or zip that cannot be decoded, and says so to Log.
	SkipCorrupt bool

	// Inputs are those of the network that arrays are for, by whose names they are told where there are several. None is one input of floats.
	Inputs []Input
	// Classes is the number of classes of the labels of arrays; 0 is one more than the largest label.
	Classes int
}

// Open loads one split of the named data set, one of [Names], from the first place that has it, or of the folder or file at a path: the package
// comment says more.
// When none has, the error is a [*NotFoundError].
func Open(ctx context.Context, name string, split Split, opt Options) (*Set, error) {
	if err := opt.Check(); err != nil {
		return nil, err
	}
	if IsPath(name) {
		if holdsArrays(name) {
			return openArrays(ctx, name, split, opt)
		}
		if holdsRecords(name) != nil {
			return openRecords(ctx, name, split, opt)
		}
		return openImages(ctx, name, split, opt)
	}
	src, err := lookup(name)
	if err != nil {
		return nil, err
	}
	return open(ctx, src, split, opt, hostEnvironment())
}

// maxSide bounds Options.Resize.
const maxSide = 1 << 12

// Check finds numbers that mean nothing.
func (o Options) Check() error {
	if o.Resize < 0 || o.Resize > maxSide {
		return fmt.Errorf("dataset: resizing to a side of %d: it must be from 1 to %d", o.Resize, maxSide)
	}
	if o.Channels != 0 && o.Channels != 1 && o.Channels != 3 {
		return fmt.Errorf("dataset: images of %d channels: there are 1 and 3", o.Channels)
	}
	return nil
}

// IsPath tells whether a name is that of a folder or a file rather than of a data set: it has a separator or an ending, or there is such a file.
func IsPath(name string) bool {
	if name == "" || slices.Contains(Names(), name) {
		return false
	}
	_, err := os.Stat(name)
	return err == nil || strings.ContainsAny(name, `/\`) || filepath.Ext(name) != ""
}

func open(ctx context.Context, src *source, split Split, opt Options, env environment) (*Set, error) {
	if split > Test {
		return nil, fmt.Errorf("dataset: %s: unknown split %v", src.name, split)
	}
	f := newFinder(src, opt, env)
	if src.batches[split] != nil {
		return f.openBatches(ctx, split, opt)
	}
	images, err := f.load(ctx, src.images[split])
	if err != nil {
		return nil, err
	}
	labels, err := f.load(ctx, src.labels[split])
	if err != nil {
		return nil, err
	}
	if len(images.Dims) != 3 || len(labels.Dims) != 1 {
		return nil, fmt.Errorf("dataset: %s: images of extents %v with labels of extents %v", src.name, images.Dims, labels.Dims)
	}
	set, err := New(src.name, 1, images.Dims[1], images.Dims[2], images.Data, labels.Data, src.classNames, nil)
	if err != nil {
		return nil, err
	}
	return reshaped(src.name, set.imageShape(), set.pixels, set.labels, set.classNames, opt)
}

// openBatches finds the files of records of a split.
func (f *finder) openBatches(ctx context.Context, split Split, opt Options) (*Set, error) {
	var files []recordFile
	for _, want := range f.src.batches[split] {
		content, err := f.content(ctx, want)
		if err != nil {
			return nil, err
		}
		files = append(files, recordFile{want.base, content})
	}
	return setOfRecords(f.src.name, files, f.src.form, f.src.classNames, opt)
}

// content finds one file.
func (f *finder) content(ctx context.Context, want file) ([]byte, error) {
	content, err := f.find(ctx, want)
	if notFound := (*NotFoundError)(nil); err != nil && !errors.As(err, &notFound) {
		return nil, fmt.Errorf("dataset: %s: %w", f.src.name, err)
	}
	return content, err
}

// load finds one file and parses it.
func (f *finder) load(ctx context.Context, want file) (idxArray, error) {
	content, err := f.content(ctx, want)
	if err != nil {
		return idxArray{}, err
	}
	array, err := parseIDX(content)
	if err != nil {
		return idxArray{}, fmt.Errorf("dataset: %s: %q: %w", f.src.name, want.base, err)
	}
	return array, nil
}
