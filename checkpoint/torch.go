package checkpoint

import (
	"archive/zip"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/rebasin/rebasin/tensor"
)

// torchFile is an open file of torch.save. Its pickle is interpreted when it is opened; data is read on demand.
type torchFile struct {
	source
	tensors  []torchTensor
	index    map[string]int
	metadata map[string]string
	form     Form
}

// torchTensor is a tensor that was checked: all it looks at is in the file.
type torchTensor struct {
	Info
	storage *storage
	begin   int64 // of its first element in the storage, in bytes
	size    int64 // from there to the end of the last element it looks at, in bytes
	stride  []int // in elements
	at      int64 // of its first element in the file
}

// storages collects the storages that a pickle names.
type storages struct {
	byKey map[string]*storage
	views map[string]*storage
}

func newStorages() *storages {
	return &storages{byKey: map[string]*storage{}, views: map[string]*storage{}}
}

// persistent makes a storage of ("storage", type, key, location, length) and, in the older format, a sixth value: None, or (key, offset, length)
// of a view.
func (s *storages) persistent(id []any) (any, error) {
	if len(id) < 5 || len(id) > 6 || id[0] != any("storage") {
		return nil, malformed("an object outside of the pickle is not a storage")
	}
	c, isClass := id[1].(*class)
	key, isText := id[2].(string)
	length, isNumber := id[4].(int64)
	switch {
	case !isClass || !c.storage:
		return nil, malformed("the type of a storage is %s", kindOf(id[1]))
	case !isText:
		return nil, malformed("the key of a storage is %s, not a string", kindOf(id[2]))
	case !isNumber:
		return nil, malformed("the length of storage %s is %s, not an integer", quote(key), kindOf(id[4]))
	case length < 0 || length > math.MaxInt64/int64(c.size):
		return nil, malformed("storage %s has %d elements", quote(key), length)
	}
	bytes := length * int64(c.size)
	root, ok := s.byKey[key]
	if !ok {
		root = &storage{key: key, class: c, bytes: bytes, size: bytes}
		s.byKey[key] = root
	}
	if root.class != c || root.bytes != bytes {
		return nil, malformed("storage %s is declared twice, differently", quote(key))
	}
	if len(id) == 5 || id[5] == any(pyNone{}) {
		return root, nil
	}
	return s.view(root, id[5])
}

func (s *storages) view(root *storage, id any) (any, error) {
	view, ok := id.(pyTuple)
	if !ok || len(view) != 3 {
		return nil, malformed("the view of storage %s is not described by three values", quote(root.key))
	}
	key, isText := view[0].(string)
	offset, isNumber := view[1].(int64)
	length, alsoNumber := view[2].(int64)
	most := root.bytes / int64(root.class.size)
	if !isText || !isNumber || !alsoNumber || offset < 0 || length < 0 || offset > most || length > most-offset {
		return nil, malformed("the view of storage %s is not inside of it", quote(root.key))
	}
	v := storage{key: root.key, class: root.class, bytes: root.bytes, begin: offset * int64(root.class.size), size: length * int64(root.class.size)}
	known, ok := s.views[key]
	if !ok {
		known = &v
		s.views[key] = known
	}
	if *known != v {
		return nil, malformed("storage %s is declared twice, differently", quote(key))
	}
	return known, nil
}

// check checks a tensor of this name against its storage.
func (t *tensorValue) check(name string) (torchTensor, error) {
	out := torchTensor{Info: Info{Name: name, DType: t.dtype.dtype}, storage: t.storage}
	if !out.DType.Valid() {
		return out, malformed("elements of %q are not read", t.dtype.name)
	}
	if len(t.shape) != len(t.stride) {
		return out, malformed("%d extents and %d strides", len(t.shape), len(t.stride))
	}
	for i, n := range t.shape {
		if n < 0 || t.stride[i] < 0 {
			return out, malformed("shape %v with strides %v: a number is negative", t.shape, t.stride)
		}
		out.Shape, out.stride = append(out.Shape, int(n)), append(out.stride, int(t.stride[i]))
	}
	if _, err := out.DType.Bytes(out.Shape); err != nil {
		return out, malformed("shape %v of %v overflows int64", out.Shape, out.DType)
	}
	if t.offset < 0 {
		return out, malformed("offset %d is negative", t.offset)
	}
	if slices.Contains(out.Shape, 0) {
		return out, nil
	}
	// The place of the last element, in a storage that has room for so many.
	room := t.storage.size / int64(out.DType.Size())
	last := t.offset
	for i, n := range t.shape {
		if n > 1 && t.stride[i] > 0 && t.stride[i] > math.MaxInt64/(n-1) || last > math.MaxInt64-t.stride[i]*(n-1) {
			return out, malformed("shape %v with strides %v overflows int64", t.shape, t.stride)
		}
		last += t.stride[i] * (n - 1)
	}
	if last >= room {
		return out, malformed("shape %v with strides %v at %d needs %d elements, storage %s has %d",
			t.shape, t.stride, t.offset, uint64(last)+1, quote(t.storage.key), room)
	}
	size := int64(out.DType.Size())
	out.begin, out.size = t.storage.begin+t.offset*size, (last-t.offset+1)*size
	return out, nil
}

// dense reports whether the elements stand one after the other, in order.
func (t *torchTensor) dense() bool {
	next := 1
	for i := len(t.Shape) - 1; i >= 0; i-- {
		if t.Shape[i] != 1 && t.stride[i] != next {
			return false
		}
		next *= t.Shape[i]
	}
	return true
}

// Infos returns all tensors, in the order of the state dict.
func (f *torchFile) Infos() []Info { return infosOf(f.tensors) }

func infosOf(tensors []torchTensor) []Info {
	infos := make([]Info, len(tensors))
	for i, t := range tensors {
		infos[i] = t.Info
		infos[i].Shape = t.Shape.Clone()
	}
	return infos
}

// Metadata returns a copy of the strings that the file carries; those are of this package's own making.
func (f *torchFile) Metadata() map[string]string { return maps.Clone(f.metadata) }

// Form returns the form of the file.
func (f *torchFile) Form() Form { return f.form }

// Read returns the tensor of that name, dense whatever its strides are.
func (f *torchFile) Read(name string) (*tensor.Tensor, error) {
	i, ok := f.index[name]
	if !ok {
		return nil, reading(f.name, ofTensor(name, errors.New("not in the file")))
	}
	t, err := f.read(&f.tensors[i])
	if err != nil {
		return nil, reading(f.name, ofTensor(name, err))
	}
	return t, nil
}

func (f *torchFile) read(t *torchTensor) (*tensor.Tensor, error) {
	out := tensor.New(t.DType, t.Shape).Bytes()
	data := out
	if !t.dense() {
		data = make([]byte, t.size)
	}
	if len(out) > 0 {
		if err := readFull(f.file, data, t.at); err != nil {
			return nil, err
		}
	}
	if f.swap {
		swapBytes(data, t.DType.Size())
	}
	if !t.dense() {
		gather(out, data, t.DType.Size(), t.Shape, t.stride)
	}
	return fromBytes(t.Info, out)
}

// swapBytes turns the order of the bytes of every element.
func swapBytes(data []byte, size int) {
	if size == 1 {
		return
	}
	for ; len(data) >= size; data = data[size:] {
		slices.Reverse(data[:size])
	}
}

// gather fills dst, row-major, with the elements of size bytes that shape and strides (in elements) select from src.
func gather(dst, src []byte, size int, shape tensor.Shape, stride []int) {
	if len(dst) == 0 {
		return
	}
	at, place := make([]int, len(shape)), 0
	for {
		copy(dst[:size], src[place*size:])
		if dst = dst[size:]; len(dst) == 0 {
			return
		}
		for d := len(shape) - 1; ; d-- {
			at[d]++
			place += stride[d]
			if at[d] < shape[d] {
				break
			}
			place -= at[d] * stride[d]
			at[d] = 0
		}
	}
}

// openTorchZip reads the format of PyTorch 1.6 and later: a zip of NAME/data.pkl and NAME/data/KEY, all stored without compression.
func openTorchZip(src source, z *zip.Reader, key string) (*torchFile, error) {
	e, err := torchEntries(src, z)
	if err != nil {
		return nil, err
	}
	order, err := e.read("byteorder", maxByteOrder)
	if err != nil {
		return nil, err
	}
	switch string(order) {
	case "", "little":
	case "big":
		src.swap = true
	default:
		return nil, malformed("the byte order is %s", quote(string(order)))
	}
	at, size, err := e.stored("data.pkl")
	if err != nil {
		return nil, err
	}
	u := newUnpickler(io.NewSectionReader(src.file, at, size), size, newStorages().persistent)
	top, err := u.load()
	if err != nil {
		return nil, err
	}
	f := &torchFile{source: src}
	if err := f.take(top, key); err != nil {
		return nil, err
	}
	err = f.place(func(s *storage) (int64, error) {
		at, size, err := e.stored("data/" + s.key)
		if err == nil && size != s.bytes {
			err = malformed("storage %s needs %d bytes, file has %d", quote(s.key), s.bytes, size)
		}
		return at, err
	})
	if err != nil {
		return nil, err
	}
	text, err := e.read(metadataEntry, maxHeader)
	if err != nil {
		return nil, err
	}
	f.metadata, err = parseMetadata(metadataEntry, text)
	return f, err
}

// place finds out where in the file the tensors are. find says where a storage begins.
func (f *torchFile) place(find func(*storage) (int64, error)) error {
	for i := range f.tensors {
		t := &f.tensors[i]
		if t.size == 0 {
			continue
		}
		at, err := find(t.storage)
		if err != nil {
			return ofTensor(t.Name, err)
		}
		t.at = at + t.begin
	}
	return nil
}

// maxByteOrder is the bytes of the longest word for an order of bytes, and one more.
const maxByteOrder = 7

// metadataEntry is the entry of a zip of PyTorch that holds metadata written here: an object of strings in JSON. PyTorch does not look at it.
const metadataEntry = "rebasin.json"

// torchEntries are the entries of a file, by their names below the one folder that all of a file of PyTorch's are in.
func torchEntries(src source, z *zip.Reader) (*zipEntries, error) {
	root := ""
	for _, e := range z.File {
		if name, ok := strings.CutSuffix(e.Name, torchPickle); ok && !strings.Contains(name, "/") {
			root = name + "/"
			break
		}
	}
	entries, err := newZipEntries(src, z, root)
	if err == nil && entries.byName["constants.pkl"] != nil {
		err = malformed("this is a program of TorchScript, not a state dict")
	}
	return entries, err
}

// take finds the state dict in what the pickle made, and checks its tensors. Where they are in the file is left to the caller.
func (f *torchFile) take(top any, key string) error {
	found, err := findStateDict(top, key)
	if err != nil {
		return err
	}
	form := newTorchForm(found)
	f.form = Form{Format: FormatTorch, torch: form}
	d := found[len(found)-1].dict
	f.index = map[string]int{}
	for i, key := range d.keys {
		v, ok := d.values[i].(*tensorValue)
		if !ok {
			continue
		}
		name, ok := key.(string)
		if !ok {
			return malformed("a tensor of the state dict is under %s, not under a string", kindOf(key))
		}
		name = strings.TrimPrefix(name, form.prefix)
		t, err := v.check(name)
		if err != nil {
			return ofTensor(name, err)
		}
		f.index[name] = len(f.tensors)
		f.tensors = append(f.tensors, t)
	}
	form.tie(f.tensors)
	return checkGrowth(infosOf(f.tensors), f.size)
}
