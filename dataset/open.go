package dataset

import (
	"context"
	"errors"
	"fmt"
)

// Options say where to look for a data set and how to read it. The zero value looks everywhere and leaves pixels in [0, 1].
type Options struct {
	DataDir   string         // looked in first; "" is none
	Offline   bool           // nothing is downloaded
	Normalize *Normalization // nil leaves pixels in [0, 1]
	Log       func(string)   // hears what was passed over, downloaded or kept, and why; nil is silence
}

// Open loads one split of the named data set, "mnist" or "fashion-mnist", from the first place that has it: the package comment lists them.
// When none has, the error is a [*NotFoundError].
func Open(ctx context.Context, name string, split Split, opt Options) (*Set, error) {
	src, err := lookup(name)
	if err != nil {
		return nil, err
	}
	return open(ctx, src, split, opt, hostEnvironment())
}

func open(ctx context.Context, src *source, split Split, opt Options, env environment) (*Set, error) {
	if split > Test {
		return nil, fmt.Errorf("dataset: %s: unknown split %v", src.name, split)
	}
	f := newFinder(src, opt, env)
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
	return New(src.name, 1, images.Dims[1], images.Dims[2], images.Data, labels.Data, src.classNames, opt.Normalize)
}

// load finds one file and parses it.
func (f *finder) load(ctx context.Context, want file) (idxArray, error) {
	content, err := f.find(ctx, want)
	if err != nil {
		if notFound := (*NotFoundError)(nil); errors.As(err, &notFound) {
			return idxArray{}, err
		}
		return idxArray{}, fmt.Errorf("dataset: %s: %w", f.src.name, err)
	}
	array, err := parseIDX(content)
	if err != nil {
		return idxArray{}, fmt.Errorf("dataset: %s: %q: %w", f.src.name, want.base, err)
	}
	return array, nil
}
