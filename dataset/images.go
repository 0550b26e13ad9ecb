package dataset

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // decodes what folders of images hold
	_ "image/png"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Limits on what a file may claim before it is believed. They are far beyond what a network here is trained on.
const (
	maxImageFile   = 64 << 20 // bytes of one image as it is stored
	maxImagePixels = 1 << 24  // of one image before it is resized
	maxImageSide   = 1 << 15  // of it: between rows and columns a resized image has a side of both sizes
	maxSetBytes    = 8 << 30  // of all images of a split
	maxClasses     = 1 << 16
)

// imageEndings tell an image by its name.
var imageEndings = []string{".png", ".jpg", ".jpeg"}

// An imageFile is one image of a folder or an archive.
type imageFile struct {
	split, class, name string // name is the whole path
	size               int64  // as far as it is known, else 0
	open               func() (io.ReadCloser, error)
}

// openImages reads a split of a folder or a zip of images.
func openImages(ctx context.Context, at string, split Split, opt Options) (*Set, error) {
	files, folders, done, err := listImages(at)
	if err != nil {
		return nil, fmt.Errorf("dataset: %q: %w", at, err)
	}
	defer done()
	return setOfImages(ctx, at, files, folders, split, opt)
}

// setOfImages decodes the images of a split.
func setOfImages(ctx context.Context, at string, files []imageFile, folders []string, split Split, opt Options) (*Set, error) {
	t := &imageTree{files: files, folders: folders}
	if err := t.choose(split); err != nil {
		return nil, fmt.Errorf("dataset: %q: %w", at, err)
	}
	pixels, labels, shape, err := t.decode(ctx, opt)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("dataset: %q: %w", at, err)
	}
	return newSet(at, shape, pixels, labels, t.classes, opt.Normalize)
}

// listImages names all images and class folders of a folder or a zip. Call done when they have been read.
func listImages(at string) (files []imageFile, folders []string, done func(), err error) {
	info, err := os.Stat(at)
	if err != nil {
		return nil, nil, nil, err
	}
	if info.IsDir() {
		files, folders, err = listFolder(at)
		return files, folders, func() {}, err
	}
	z, err := zip.OpenReader(at)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("neither a folder nor a zip of images: %w", err)
	}
	files, folders = listZip(&z.Reader)
	return files, folders, func() { _ = z.Close() }, nil // nothing was written
}

func listFolder(root string) (files []imageFile, folders []string, err error) {
	for _, split := range []string{Train.String(), Test.String()} {
		classes, err := os.ReadDir(filepath.Join(root, split))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		for _, class := range classes {
			dir := filepath.Join(root, split, class.Name())
			// A class may be a link to a folder elsewhere.
			if info, err := os.Stat(dir); err != nil || !info.IsDir() || hidden(class.Name()) {
				continue
			}
			entries, err := os.ReadDir(dir)
			if err != nil {
				return nil, nil, err
			}
			folders = append(folders, path.Join(split, class.Name()))
			for _, e := range entries {
				if !isImage(e.Name()) {
					continue
				}
				file := filepath.Join(dir, e.Name())
				files = append(files, imageFile{
					split: split, class: class.Name(), name: path.Join(split, class.Name(), e.Name()),
					open: func() (io.ReadCloser, error) { return openRegular(file) },
				})
			}
		}
	}
	return files, folders, nil
}

// openRegular opens a file that is none of those which block or never end.
func openRegular(name string) (io.ReadCloser, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	return os.Open(name)
}

// listZip takes the last three parts of a name for SPLIT/CLASS/FILE, so that all may lie in one more folder, as most programs pack it.
func listZip(z *zip.Reader) (files []imageFile, folders []string) {
	for _, f := range z.File {
		parts := strings.Split(strings.TrimSuffix(f.Name, "/"), "/")
		if f.FileInfo().IsDir() {
			if n := len(parts); n >= 2 && isSplit(parts[n-2]) && !hidden(parts[n-1]) {
				folders = append(folders, path.Join(parts[n-2], parts[n-1]))
			}
			continue
		}
		n := len(parts)
		if n < 3 || !isSplit(parts[n-3]) || hidden(parts[n-2]) || hidden(parts[0]) || !isImage(parts[n-1]) {
			continue
		}
		folders = append(folders, path.Join(parts[n-3], parts[n-2]))
		files = append(files, imageFile{
			split: parts[n-3], class: parts[n-2], name: f.Name, size: int64(min(f.UncompressedSize64, 1<<62)), open: f.Open,
		})
	}
	return files, folders
}

func isSplit(name string) bool { return name == Train.String() || name == Test.String() }

// hidden files and folders are what systems leave beside the data.
func hidden(name string) bool { return strings.HasPrefix(name, ".") || name == "__MACOSX" }

func isImage(name string) bool {
	return !hidden(name) && slices.Contains(imageEndings, strings.ToLower(path.Ext(name)))
}

// An imageTree is what a folder or a zip has of one split.
type imageTree struct {
	files   []imageFile // in the order of classes, and of names within them
	folders []string    // SPLIT/CLASS
	classes []string
}

// choose keeps the images of a split and numbers the classes by their names.
func (t *imageTree) choose(split Split) error {
	slices.Sort(t.folders)
	t.folders = slices.Compact(t.folders)
	has := map[string]bool{}
	for _, folder := range t.folders {
		dir, class := path.Split(folder)
		t.classes = append(t.classes, class)
		has[strings.TrimSuffix(dir, "/")] = true
	}
	slices.Sort(t.classes)
	t.classes = slices.Compact(t.classes)
	switch {
	case len(t.classes) == 0:
		return errors.New("no images: they are looked for as train/CLASS/NAME and test/CLASS/NAME, with the endings " + strings.Join(imageEndings, ", "))
	case len(t.classes) > maxClasses:
		return fmt.Errorf("%d classes are more than %d", len(t.classes), maxClasses)
	case !has[split.String()]:
		return fmt.Errorf("there is no folder %q", split.String())
	}
	t.files = slices.DeleteFunc(t.files, func(f imageFile) bool { return f.split != split.String() })
	slices.SortStableFunc(t.files, func(a, b imageFile) int {
		return cmp.Or(strings.Compare(a.class, b.class), strings.Compare(a.name, b.name))
	})
	images := map[string]int{}
	for i, f := range t.files {
		images[f.class]++
		if i > 0 && t.files[i-1].name == f.name {
			return fmt.Errorf("%q is there twice", f.name)
		}
	}
	for _, class := range t.classes {
		if images[class] == 0 {
			return fmt.Errorf("class %q has no images in %q", class, split.String())
		}
	}
	return nil
}

// imageShape is how all images of a set are stored.
type imageShape struct{ channels, height, width int }

func (s imageShape) size() int { return s.channels * s.height * s.width }

// shapeOf is the shape that opt gives an image.
func shapeOf(c image.Config, opt Options) imageShape {
	s := imageShape{channels: 3, height: c.Height, width: c.Width}
	if opt.Channels != 0 {
		s.channels = opt.Channels
	}
	if opt.Resize != 0 {
		s.height, s.width = opt.Resize, opt.Resize
	}
	return s
}

// decode reads all images, several at once. Which error is reported does not depend on which came first: it is that of the first image in order. The first
// image that can be read sets the shape, and memory grows with what has been decoded: what a header says is not believed.
func (t *imageTree) decode(ctx context.Context, opt Options) (pixels []uint8, labels []int32, shape imageShape, err error) {
	d := &imageDecoder{tree: t, opt: opt}
	if err := d.decodeFirst(ctx); err != nil {
		return nil, nil, d.shape, err
	}
	for d.next < len(t.files) {
		if err := d.decodeMore(ctx); err != nil {
			return nil, nil, d.shape, err
		}
	}
	if d.skipped > 0 && opt.Log != nil {
		opt.Log(fmt.Sprintf("skipped %d of %d images that cannot be read", d.skipped, len(t.files)))
	}
	return d.pixels, d.labels, d.shape, nil
}

// firstPixels is how many bytes of images are decoded at once at the least. Later it is as many as there are already.
const firstPixels = 16 << 20

// An imageDecoder holds the images that have been decoded so far.
type imageDecoder struct {
	tree    *imageTree
	opt     Options
	shape   imageShape
	first   string // the image that set the shape
	next    int    // the first file that has not been looked at
	skipped int
	pixels  []uint8
	labels  []int32
	scratch sync.Pool // of imageScratch
}

// decodeFirst finds the shape.
func (d *imageDecoder) decodeFirst(ctx context.Context) error {
	var failure error
	for ; d.labels == nil; d.next++ {
		if d.next == len(d.tree.files) {
			return fmt.Errorf("none of the %d images can be read: %w", d.next, failure)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f := &d.tree.files[d.next]
		decoded, err := f.decode()
		if err != nil {
			if failure == nil {
				failure = err
			}
			if err := d.skip(err); err != nil {
				return err
			}
			continue
		}
		b := decoded.Bounds()
		d.shape, d.first = shapeOf(image.Config{Height: b.Dy(), Width: b.Dx()}, d.opt), f.name
		if s := d.shape; s.size() > maxSetBytes/len(d.tree.files) {
			return fmt.Errorf("%d images of %dx%dx%d are more than %d GiB", len(d.tree.files), s.channels, s.height, s.width, maxSetBytes>>30)
		}
		d.pixels = make([]uint8, d.shape.size())
		d.place(d.pixels, decoded)
		d.labels = []int32{d.tree.label(f)}
	}
	return nil
}

// decodeMore decodes some of the images that are left, and keeps those that can be read.
func (d *imageDecoder) decodeMore(ctx context.Context) error {
	size, kept := d.shape.size(), len(d.labels)
	count := min(len(d.tree.files)-d.next, max(kept, firstPixels/size, 1))
	if need := (kept + count) * size; cap(d.pixels) < need {
		d.pixels = append(make([]uint8, 0, need), d.pixels...)
	}
	d.pixels = d.pixels[:(kept+count)*size]
	failures := make([]error, count)
	each(count, func(i int) bool {
		failures[i] = d.into(d.pixels[(kept+i)*size:][:size], &d.tree.files[d.next+i])
		return ctx.Err() == nil && (failures[i] == nil || d.skippable(failures[i]))
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for i, failure := range failures {
		if failure != nil {
			if err := d.skip(failure); err != nil {
				return err
			}
			continue
		}
		if to := len(d.labels); to != kept+i {
			copy(d.pixels[to*size:][:size], d.pixels[(kept+i)*size:])
		}
		d.labels = append(d.labels, d.tree.label(&d.tree.files[d.next+i]))
	}
	d.next += count
	d.pixels = d.pixels[:len(d.labels)*size]
	return nil
}

func (t *imageTree) label(f *imageFile) int32 {
	class, _ := slices.BinarySearch(t.classes, f.class)
	return int32(class)
}

// skippable says that an image with this error may be left out.
func (d *imageDecoder) skippable(err error) bool {
	var corrupt *corruptError
	return d.opt.SkipCorrupt && errors.As(err, &corrupt)
}

// skip leaves an image out, where that was asked for.
func (d *imageDecoder) skip(err error) error {
	if !d.skippable(err) {
		return err
	}
	if d.skipped++; d.opt.Log != nil && d.skipped <= 3 {
		d.opt.Log(fmt.Sprintf("skipped %v", err))
	}
	return nil
}

// each calls f(0), f(1), ... f(n-1) on all processors, each number once and begun in order, and stops to begin new ones when one returned false.
func each(n int, f func(i int) bool) {
	var next atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for !stop.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if !f(i) {
					stop.Store(true)
				}
			}
		})
	}
	wg.Wait()
}

// A corruptError is an image that cannot be read, in contrast to one that is not wanted.
type corruptError struct {
	name string
	err  error
}

func (e *corruptError) Error() string { return fmt.Sprintf("image %q: %v", e.name, e.err) }
func (e *corruptError) Unwrap() error { return e.err }

// read returns the content of the file and what its header says. Nothing is allocated by what a header claims.
func (f *imageFile) read() ([]byte, image.Config, error) {
	corrupt := func(err error) error { return &corruptError{f.name, err} }
	if f.size > maxImageFile {
		return nil, image.Config{}, fmt.Errorf("image %q: it has %d bytes, more than %d", f.name, f.size, maxImageFile)
	}
	r, err := f.open()
	if err != nil {
		return nil, image.Config{}, corrupt(err)
	}
	defer func() { _ = r.Close() }() // nothing was written
	content, err := io.ReadAll(io.LimitReader(r, maxImageFile+1))
	if err != nil {
		return nil, image.Config{}, corrupt(err)
	}
	if len(content) > maxImageFile {
		return nil, image.Config{}, fmt.Errorf("image %q: it has more than %d bytes", f.name, maxImageFile)
	}
	config, _, err := image.DecodeConfig(bytes.NewReader(content))
	if err != nil {
		return nil, config, corrupt(err)
	}
	if config.Width < 1 || config.Height < 1 || config.Width > maxImagePixels/config.Height {
		return nil, config, fmt.Errorf("image %q: it is %dx%d; more than %d pixels are not read", f.name, config.Width, config.Height, maxImagePixels)
	}
	if max(config.Width, config.Height) > maxImageSide {
		return nil, config, fmt.Errorf("image %q: it is %dx%d; sides of more than %d pixels are not read", f.name, config.Width, config.Height, maxImageSide)
	}
	return content, config, nil
}

// decode reads the image and decodes it whole.
func (f *imageFile) decode() (image.Image, error) {
	content, config, err := f.read()
	if err != nil {
		return nil, err
	}
	decoded, _, err := image.Decode(bytes.NewReader(content))
	if err != nil {
		return nil, &corruptError{f.name, err}
	}
	if b := decoded.Bounds(); b.Dx() != config.Width || b.Dy() != config.Height {
		return nil, &corruptError{f.name, fmt.Errorf("it is %dx%d, its header says %dx%d", b.Dx(), b.Dy(), config.Width, config.Height)}
	}
	return decoded, nil
}

// into decodes an image to dst, in the shape of the set, which the first image has.
func (d *imageDecoder) into(dst []uint8, f *imageFile) error {
	decoded, err := f.decode()
	if err != nil {
		return err
	}
	b := decoded.Bounds()
	if own := shapeOf(image.Config{Height: b.Dy(), Width: b.Dx()}, d.opt); own != d.shape {
		return fmt.Errorf("images of mixed sizes: %q is %dx%d, %q is %dx%d: resize them to one",
			d.first, d.shape.width, d.shape.height, f.name, own.width, own.height)
	}
	d.place(dst, decoded)
	return nil
}

// place writes an image to dst in the shape of the set, resized where it has another.
func (d *imageDecoder) place(dst []uint8, decoded image.Image) {
	b := decoded.Bounds()
	full := imageShape{channels: d.shape.channels, height: b.Dy(), width: b.Dx()}
	if full == d.shape {
		planes(dst, decoded, full)
		return
	}
	s, _ := d.scratch.Get().(*imageScratch)
	if s == nil {
		s = new(imageScratch)
	}
	defer d.scratch.Put(s)
	s.own = slices.Grow(s.own[:0], full.size())[:full.size()]
	planes(s.own, decoded, full)
	s.resizer(full, d.shape).planes(dst, s.own, full.channels, &s.rows)
}

// An imageScratch is what a worker resizes one image after the other with.
type imageScratch struct {
	own, rows []uint8
	last      *resizer
}

// resizer is the last one where that is for the same sizes.
func (s *imageScratch) resizer(from, to imageShape) *resizer {
	if r := s.last; r == nil || r.height != from.height || r.width != from.width || r.toHeight != to.height || r.toWidth != to.width {
		s.last = newResizer(from.height, from.width, to.height, to.width)
	}
	return s.last
}
