package experiment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/experiment/task"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

// Data names the data of a case.
type Data struct {
	// Name is one of [dataset.Names], or the path of a folder or file as [dataset.Open] takes it.
	Name string `json:"name"`
	// Digest is the SHA-256 of the files that stand in for the named set, see [Lab]; empty for the sets themselves, whose content package dataset
	// checks. It is filled in by the plan.
	Digest string `json:"digest,omitempty"`
	// Normalize brings pixels to the named set's usual mean and deviation; else they are in [0, 1].
	Normalize bool `json:"normalize,omitempty"`
	// Limit is the number of training samples, a fixed random part; 0 is all.
	Limit int `json:"limit,omitempty"`
	// Resize is the side that images are brought to; 0 leaves them.
	Resize int `json:"resize,omitempty"`
}

// Part is the part of the training data that one network is trained on. The zero value is all of it.
type Part struct {
	// Index of Count random parts that are disjoint and together are all.
	Index int `json:"index,omitempty"`
	Count int `json:"count,omitempty"`
	// Share, of two parts: part 0 has this share of the samples of each class in the first half of the classes and 1 - Share of those of the others;
	// part 1 has the rest.
	Share float64 `json:"share,omitempty"`
	Seed  uint64  `json:"seed,omitempty"`
}

// Lab is what tasks are done with: where data is found. It does not change results.
type Lab struct {
	// Data says where named data sets are looked for.
	Data dataset.Options
	// Sources are files or folders to read in place of named sets: name -> path.
	Sources map[string]string

	mu      sync.Mutex
	sets    map[setID]*opened
	digests map[string]string
	kinds   map[string]*task.Kind
}

// setID is what data sets in memory are told apart by.
type setID struct {
	name      string
	normalize bool
	resize    int
	split     dataset.Split
}

// opened is a data set that is read once.
type opened struct {
	once sync.Once
	set  *dataset.Set
	err  error
}

// path is where a set is read from.
func (l *Lab) path(name string) string {
	if p := l.Sources[name]; p != "" {
		return p
	}
	return name
}

// open reads a split of the data, once for each way of reading it.
func (l *Lab) open(ctx context.Context, d Data, split dataset.Split) (*dataset.Set, error) {
	id := setID{d.Name, d.Normalize, d.Resize, split}
	l.mu.Lock()
	if l.sets == nil {
		l.sets = map[setID]*opened{}
	}
	o := l.sets[id]
	if o == nil {
		o = &opened{}
		l.sets[id] = o
	}
	l.mu.Unlock()
	o.once.Do(func() {
		opt := l.Data
		opt.Resize = d.Resize
		if d.Normalize {
			if opt.Normalize = dataset.UsualNormalization(d.Name); opt.Normalize == nil {
				o.err = fmt.Errorf("experiment: data %q has no usual normalization", d.Name)
				return
			}
		}
		o.set, o.err = dataset.Open(ctx, l.path(d.Name), split, opt)
	})
	if o.err != nil {
		l.mu.Lock()
		delete(l.sets, id) // an interruption is no answer for ever
		l.mu.Unlock()
	}
	if o.err == nil && o.set.Len() == 0 {
		return nil, fmt.Errorf("experiment: data %q has no samples", d.Name)
	}
	return o.set, o.err
}

// look opens both parts of the data, and finds out whether they belong together.
func (l *Lab) look(ctx context.Context, d Data) error {
	test, err := l.open(ctx, d, dataset.Test)
	if err != nil {
		return err
	}
	train, err := l.open(ctx, d, dataset.Train)
	if err != nil {
		return err
	}
	if train.Classes() != test.Classes() || !slices.Equal(train.Shape(), test.Shape()) {
		return fmt.Errorf("experiment: data %q: training data is %v of %d classes, test data %v of %d", d.Name, train.Shape(), train.Classes(), test.Shape(), test.Classes())
	}
	return nil
}

// training is the part of the training data that networks are trained on.
func (l *Lab) training(ctx context.Context, d Data, part Part) (*dataset.Set, error) {
	set, err := l.open(ctx, d, dataset.Train)
	if err != nil {
		return nil, err
	}
	set = set.Sample(d.Limit)
	switch {
	case part.Share > 0:
		first := make([]int, set.Classes()/2)
		for class := range first {
			first[class] = class
		}
		var parts [2]*dataset.Set
		parts[0], parts[1] = set.SplitByLabel(first, part.Share, part.Seed)
		return parts[part.Index], nil
	case part.Count > 0:
		return set.Part(part.Index, part.Count, part.Seed), nil
	}
	return set, nil
}

// identify fills in the digest where the data is not a set whose content is known. A digest that is declared, as in the spec that a run leaves, must be
// that of the data.
func (l *Lab) identify(ctx context.Context, d Data) (Data, error) {
	declared := d.Digest
	var err error
	if d.Digest, err = l.digestOf(ctx, l.path(d.Name)); err != nil {
		return d, err
	}
	if declared != "" && d.Digest != declared {
		return d, fmt.Errorf("the data %s is not that with the digest %.16s…: name its files as the source of %s", d.Name, declared, d.Name)
	}
	return d, nil
}

// digestOf is the digest of the files at a path, computed once; empty for a named set.
func (l *Lab) digestOf(ctx context.Context, path string) (string, error) {
	if !dataset.IsPath(path) {
		return "", nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if digest, ok := l.digests[path]; ok {
		return digest, nil
	}
	digest, err := digest(ctx, path)
	if err != nil {
		return "", err
	}
	if l.digests == nil {
		l.digests = map[string]string{}
	}
	l.digests[path] = digest
	return digest, nil
}

// digest is the hash of a file, or of the names and contents of all files in a folder, in order.
func digest(ctx context.Context, path string) (string, error) {
	h := sha256.New()
	path, err := filepath.EvalSymlinks(path) // a walk does not begin at a link
	if err != nil {
		return "", fmt.Errorf("experiment: data: %w", err)
	}
	err = filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		info, err := os.Stat(p)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() { // a folder, or something that holds no images
			return nil
		}
		name, err := filepath.Rel(path, p)
		if err != nil {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		content := sha256.New()
		if _, err := io.Copy(content, f); err != nil {
			return err
		}
		fmt.Fprintf(h, "%q %x\n", filepath.ToSlash(name), content.Sum(nil))
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("experiment: data: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// network builds a case's network for its data.
func (l *Lab) network(ctx context.Context, cfg zoo.Config, d Data) (zoo.Config, *graph.Graph, error) {
	set, err := l.open(ctx, d, dataset.Test) // the smaller split
	if err != nil {
		return cfg, nil, err
	}
	cfg.Input, cfg.Classes = set.Shape(), set.Classes()
	g, err := zoo.Build(cfg)
	return cfg, g, err
}

// paramsFile is the file of a trained or merged network in its artifact.
const paramsFile = "params.safetensors"

// epochFile is that of a network on its way.
func epochFile(epoch int) string { return fmt.Sprintf("epoch-%d.safetensors", epoch) }

// readParams reads a network of an artifact.
func readParams(ctx context.Context, a task.Artifact, name string) (map[string]*tensor.Tensor, error) {
	m, err := model.Open(a.Path(name), model.Options{})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return m.GraphParams(ctx)
}

// alignmentFile is the file of an alignment in its artifact.
const alignmentFile = "alignment.json"

// aligned reads the alignment of an artifact and applies it.
func aligned(a task.Artifact, sym *symmetry.Symmetry, b map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error) {
	f, err := os.Open(a.Path(alignmentFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := symmetry.ReadAlignment(f, sym)
	if err != nil {
		return nil, err
	}
	return sym.Apply(p, b)
}
