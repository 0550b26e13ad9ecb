package onnx

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/onnx/internal/onnxpb"
	"github.com/rebasin/rebasin/tensor"
)

// external is where a tensor's data lies beside the model.
type external struct {
	location string // relative to the model's folder, with slashes
	at       span
}

// external reads where the data of a tensor of size bytes lies, and checks that the file is there and has it.
func (f *File) external(p *onnxpb.TensorProto, size int) (external, error) {
	var e external
	values := map[string]string{}
	for _, entry := range p.GetExternalData() {
		if _, twice := values[entry.GetKey()]; twice {
			return e, malformed("external data has the key %s twice", quote(entry.GetKey()))
		}
		values[entry.GetKey()] = entry.GetValue()
	}
	if e.location = values["location"]; e.location == "" {
		return e, malformed("external data has no location")
	}
	if strings.ContainsAny(e.location, "\\:\x00") || !filepath.IsLocal(filepath.FromSlash(e.location)) {
		return e, malformed("external data %s does not lie in the folder of the model", quote(e.location))
	}
	e.at.size = int64(size)
	for i, key := range []string{"offset", "length"} {
		text, given := values[key]
		if !given {
			continue
		}
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v < 0 {
			return e, malformed("external data has the %s %s", key, quote(text))
		}
		*[]*int64{&e.at.at, &e.at.size}[i] = v
	}
	if e.at.size != int64(size) {
		return e, malformed("shape %v needs %d bytes, external data has %d", p.GetDims(), size, e.at.size)
	}
	have, err := f.sizeOf(e.location)
	if err != nil {
		return e, err
	}
	if e.at.at > have || e.at.size > have-e.at.at {
		return e, malformed("%d bytes at %d of external data %s, which has %d", e.at.size, e.at.at, quote(e.location), have)
	}
	return e, nil
}

// sizeOf is the size of a file of external data; each is looked at once.
func (f *File) sizeOf(location string) (int64, error) {
	if info, known := f.data[location]; known {
		return info.Size(), nil
	}
	var info fs.FileInfo
	err := f.inFolder(location, func(root *os.Root, name string) (err error) {
		info, err = root.Stat(name)
		return err
	})
	switch {
	case err != nil:
		return 0, malformed("external data %s: %v", quote(location), cause(err))
	case !info.Mode().IsRegular():
		return 0, malformed("external data %s is not a regular file", quote(location))
	}
	f.data[location] = info
	return info.Size(), nil
}

// openExternal opens a file of external data. It was checked to be regular, and is not followed out of the model's folder.
func (f *File) openExternal(location string) (*os.File, error) {
	var file *os.File
	err := f.inFolder(location, func(root *os.Root, name string) (err error) {
		file, err = root.Open(name)
		return err
	})
	if err != nil {
		return nil, malformed("external data %s: %v", quote(location), cause(err))
	}
	return file, nil
}

// inFolder uses a file of external data in the model's folder, out of which no link is followed. With one exception: where the model is itself a link,
// data behind a link may lie beside what the model is a link to. So the cache of huggingface_hub is read, in which all files of a snapshot are links into
// one folder, and yet nothing from elsewhere.
func (f *File) inFolder(location string, use func(root *os.Root, name string) error) error {
	err := within(f.folder, filepath.FromSlash(location), use)
	if err == nil {
		return nil
	}
	model, noModel := filepath.EvalSymlinks(f.path)
	data, noData := filepath.EvalSymlinks(filepath.Join(f.folder, filepath.FromSlash(location)))
	if noModel != nil || noData != nil || filepath.Dir(model) != filepath.Dir(data) {
		return err
	}
	return within(filepath.Dir(data), filepath.Base(data), use)
}

func within(folder, name string, use func(root *os.Root, name string) error) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	return use(root, name)
}

func (f *File) readExternal(info checkpoint.Info, e external) (*tensor.Tensor, error) {
	file, err := f.openExternal(e.location)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readDense(file, info, e.at)
}

// Unchanged returns an error if the model or its external data has been changed since it was opened, as [checkpoint.Unchanged] tells it.
func (f *File) Unchanged() error {
	if f.was != nil {
		if err := checkpoint.Unchanged(f.path, f.was); err != nil {
			return err
		}
	}
	for _, location := range slices.Sorted(maps.Keys(f.data)) {
		if err := checkpoint.Unchanged(filepath.Join(f.folder, filepath.FromSlash(location)), f.data[location]); err != nil {
			return err
		}
	}
	return nil
}

// DataFiles are the paths of the files of external data that the model reads, sorted.
func (f *File) DataFiles() []string {
	var paths []string
	for location := range f.data {
		paths = append(paths, filepath.Join(f.folder, filepath.FromSlash(location)))
	}
	slices.Sort(paths)
	return paths
}
