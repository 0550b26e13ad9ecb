package dataset

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/tensor"
)

// arrays are samples that are no images, each of the same shape.
type arrays struct {
	shape  []int
	size   int       // values of one sample
	values []float32 // of all samples of the parent, one after the other
}

// fillArrays is Fill where samples are no images.
func (s *Set) fillArrays(indices []int, x []float32, labels []int32) {
	size := s.arrays.size
	for row, i := range indices {
		at := s.index[i]
		copy(x[row*size:][:size], s.arrays.values[at*size:][:size])
		if labels != nil {
			labels[row] = s.labelAt(at)
		}
	}
}

// Input is one of the inputs of the network that arrays are read for.
type Input struct {
	Name    string
	Integer bool // numbers of tokens and the like, or truths, not floats
}

// maxWhole bounds whole numbers: so far every one is a float32.
const maxWhole = 1 << 24

// The usual names of arrays, without what says the part that they belong to.
var (
	inputNames = []string{"x", "input", "inputs", "image", "images", "data", "sample", "samples", "feature", "features", "input_ids", "arr_0"}
	labelNames = []string{"y", "label", "labels", "target", "targets", "class", "classes", "arr_1"}
)

// The words that say the part, and the part: one to validate on is tested on where there is no other.
var partWords = map[string]string{
	"train": partTrain, "training": partTrain, "test": partTest, "testing": partTest, "val": partValid, "valid": partValid, "validation": partValid,
}

const (
	partTrain = "train"
	partTest  = "test"
	partValid = "validation"
	partNone  = ""
)

// endings of files that hold arrays, and of those that hold several.
var (
	arrayEndings = []string{".npy", ".npz", ".safetensors"}
	severalNames = arrayEndings[1:]
)

func hasEnding(name string, endings []string) bool {
	return slices.Contains(endings, strings.ToLower(filepath.Ext(name)))
}

// arrayFile is one array that can be read.
type arrayFile struct {
	key  string // its name, with that of its folder or file in front where that says its part
	read func() (*tensor.Tensor, error)
}

// holdsArrays tells whether a path is that of files of arrays, one or two with a comma between, or of a folder that has some.
func holdsArrays(at string) bool {
	if hasEnding(at, arrayEndings) {
		return true
	}
	paths, err := arrayPaths(at)
	return err == nil && len(paths) > 0
}

// arrayPaths are the files of arrays of a folder, and of its folders train, test and validation.
func arrayPaths(dir string) ([]string, error) {
	var paths []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if _, isPart := partWords[strings.ToLower(e.Name())]; isPart && e.IsDir() {
			inner, err := os.ReadDir(filepath.Join(dir, e.Name()))
			if err != nil {
				return nil, err
			}
			for _, f := range inner {
				if hasEnding(f.Name(), arrayEndings) && !hidden(f.Name()) {
					paths = append(paths, filepath.Join(e.Name(), f.Name()))
				}
			}
		}
		if hasEnding(e.Name(), arrayEndings) && !hidden(e.Name()) {
			paths = append(paths, e.Name())
		}
	}
	return paths, nil
}

// listArrays names all arrays. Call done when they have been read.
func listArrays(at string) (files []arrayFile, done func(), err error) {
	var opened []checkpoint.Reader
	done = func() {
		for _, r := range opened {
			_ = r.Close() // nothing was written
		}
	}
	add := func(path, key string) error {
		if !hasEnding(path, severalNames) {
			files = append(files, arrayFile{key, func() (*tensor.Tensor, error) { return readNPY(path) }})
			return nil
		}
		r, err := checkpoint.Open(path, checkpoint.OpenOptions{})
		if err != nil {
			return err
		}
		opened = append(opened, r)
		_, part := splitPart(key)
		for _, info := range r.Infos() {
			files = append(files, arrayFile{strings.TrimPrefix(part+"/"+info.Name, "/"), func() (*tensor.Tensor, error) {
				if err := checkBytes(info.DType, info.Shape); err != nil {
					return nil, err
				}
				return r.Read(info.Name)
			}})
		}
		return nil
	}
	if info, err := os.Stat(at); err == nil && info.IsDir() {
		paths, err := arrayPaths(at)
		if err != nil {
			return nil, done, err
		}
		for _, path := range paths {
			key := strings.TrimSuffix(filepath.ToSlash(path), filepath.Ext(path))
			if err := add(filepath.Join(at, path), key); err != nil {
				return nil, done, err
			}
		}
		return files, done, nil
	}
	// Of two files, the inputs come first.
	inputs, labels, two := strings.Cut(at, ",")
	if !two {
		key := strings.TrimSuffix(filepath.Base(at), filepath.Ext(at))
		err := add(at, key)
		return files, done, err
	}
	for i, path := range []string{inputs, labels} {
		if !hasEnding(path, arrayEndings[:1]) {
			return nil, done, fmt.Errorf("%q is not a .npy file: two files with a comma between are the inputs and the labels", path)
		}
		if err := add(path, []string{inputNames[0], labelNames[0]}[i]); err != nil {
			return nil, done, err
		}
	}
	return files, done, nil
}

// readNPY reads one array of a size that is allowed.
func readNPY(path string) (*tensor.Tensor, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxSetBytes {
		return nil, fmt.Errorf("%q has %d bytes: more than %d GiB", path, info.Size(), maxSetBytes>>30)
	}
	return checkpoint.ReadNPY(path)
}

// checkBytes bounds what an array takes, as it is stored and as floats.
func checkBytes(d tensor.DType, shape tensor.Shape) error {
	n, err := d.Bytes(shape)
	if err == nil && n/max(d.Size(), 1) > maxSetBytes/4 || n > maxSetBytes {
		err = fmt.Errorf("%v of shape %v is more than %d GiB", d, shape, maxSetBytes>>30)
	}
	return err
}

// words cuts a name at what usually stands between its words.
func words(name string) []string {
	return strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return strings.ContainsRune("_-./: ", r) })
}

// splitPart takes the word that says the part off the front or the end of a name.
func splitPart(name string) (rest, part string) {
	w := words(name)
	if len(w) > 0 {
		if p, ok := partWords[w[0]]; ok {
			w, part = w[1:], p
		} else if p, ok := partWords[w[len(w)-1]]; ok {
			w, part = w[:len(w)-1], p
		}
	}
	return strings.Join(w, "_"), part
}

// A slot is what an array is: an input of the network, by number, or the labels, of a part.
type slot struct {
	part string
	role int
}

const labelRole = -1

// arraySet is the arrays of a file or folder by what they are.
type arraySet struct {
	inputs []Input
	slots  map[slot]arrayFile
	others []string // names of arrays that are neither
}

// sortArrays finds what each array is.
func sortArrays(files []arrayFile, inputs []Input) (*arraySet, error) {
	if len(inputs) == 0 {
		inputs = []Input{{}}
	}
	s := &arraySet{inputs: inputs, slots: map[slot]arrayFile{}}
	for _, f := range files {
		name, part := splitPart(f.key)
		role := slices.IndexFunc(inputs, func(in Input) bool { return strings.Join(words(in.Name), "_") == name && name != "" })
		switch {
		case role >= 0:
		case slices.Contains(labelNames, name):
			role = labelRole
		case len(inputs) == 1 && (slices.Contains(inputNames, name) || len(files) == 1 || name == ""):
			role = 0
		default:
			s.others = append(s.others, f.key)
			continue
		}
		at := slot{part, role}
		if other, ok := s.slots[at]; ok {
			return nil, fmt.Errorf("arrays %q and %q: which of them it should be cannot be told", other.key, f.key)
		}
		s.slots[at] = f
	}
	return s, nil
}

func (s *arraySet) has(part string) bool {
	for at := range s.slots {
		if at.part == part && at.role != labelRole {
			return true
		}
	}
	return false
}

// part is the one that a split is read from.
func (s *arraySet) part(split Split) (string, error) {
	parts := slices.DeleteFunc([]string{partTrain, partTest, partValid}, func(p string) bool { return !s.has(p) })
	want := split.String()
	switch plain := s.has(partNone); {
	case !plain && len(parts) == 0:
		return "", fmt.Errorf("no array has the name of inputs, as x, inputs, x_train or %s; there are %s", s.wanted(), quoted(s.others))
	case plain && len(parts) > 0:
		return "", fmt.Errorf("arrays of inputs with and without a part in their name: which are meant cannot be told")
	case plain:
		return partNone, nil
	case slices.Contains(parts, want):
		return want, nil
	case split == Test && slices.Contains(parts, partValid):
		return partValid, nil
	}
	return "", fmt.Errorf("it has no arrays of the part %q, but of %s", want, strings.Join(parts, " and "))
}

// wanted are the names of the network's inputs.
func (s *arraySet) wanted() string {
	var names []string
	for _, in := range s.inputs {
		names = append(names, cmp.Or(in.Name, "images"))
	}
	return quoted(names)
}

// quoted lists names, the first few of many.
func quoted(names []string) string {
	const most = 8
	if len(names) == 0 {
		return "none"
	}
	var list []string
	for _, n := range names[:min(len(names), most)] {
		list = append(list, strconv.Quote(n[:min(len(n), 100)]))
	}
	if len(names) > most {
		list = append(list, fmt.Sprintf("and %d more", len(names)-most))
	}
	return strings.Join(list, ", ")
}

// openArrays reads a split of the arrays in a file or folder.
func openArrays(ctx context.Context, at string, split Split, opt Options) (*Set, error) {
	files, done, err := listArrays(at)
	defer done()
	if err != nil {
		return nil, fmt.Errorf("dataset: %q: %w", at, err)
	}
	s, err := sortArrays(files, opt.Inputs)
	if err != nil {
		return nil, fmt.Errorf("dataset: %q: %w", at, err)
	}
	part, err := s.part(split)
	if err != nil {
		return nil, fmt.Errorf("dataset: %q: %w", at, err)
	}
	if part == partNone && opt.Log != nil {
		opt.Log(fmt.Sprintf("%s: its arrays are not divided into train and test: all are used for both", at))
	}
	set, err := s.read(ctx, at, part, opt)
	if err != nil {
		return nil, fmt.Errorf("dataset: %q: %w", at, err)
	}
	return set, nil
}

// read makes a set of a part.
func (s *arraySet) read(ctx context.Context, at, part string, opt Options) (*Set, error) {
	inputs := make([]*tensor.Tensor, len(s.inputs))
	for i, in := range s.inputs {
		f, ok := s.slots[slot{part, i}]
		if !ok {
			return nil, fmt.Errorf("no array for the network's input %q; there are %s besides", in.Name, quoted(s.others))
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		x, err := f.read()
		if err != nil {
			return nil, fmt.Errorf("array %q: %w", f.key, err)
		}
		if inputs[i] = x; len(x.Shape()) == 0 || x.Len() == 0 {
			return nil, fmt.Errorf("array %q: shape %v: the first axis counts the samples, of which there must be some", f.key, x.Shape())
		}
		if n, first := x.Shape()[0], inputs[0].Shape()[0]; n != first {
			return nil, fmt.Errorf("array %q has %d samples, others have %d", f.key, n, first)
		}
	}
	labels, classNames, err := s.labels(part, inputs[0].Shape()[0], opt.Classes)
	if err != nil {
		return nil, err
	}
	if set, err := s.images(at, part, inputs, labels, classNames, opt); set != nil || err != nil {
		return set, err
	}
	a, err := s.join(part, inputs)
	if err != nil {
		return nil, err
	}
	return &Set{name: at, arrays: a, labels: labels, index: upTo(inputs[0].Shape()[0]), classNames: classNames}, nil
}

// labels reads the labels of a part with n samples; without any they are nil. There are as many classes as are given or, where that is 0, as the
// labels of all parts tell.
func (s *arraySet) labels(part string, n, classes int) (labels []int32, classNames []string, err error) {
	if _, ok := s.slots[slot{part, labelRole}]; !ok {
		return nil, nil, nil
	}
	most := 0
	for _, p := range []string{partNone, partTrain, partTest, partValid} {
		f, ok := s.slots[slot{p, labelRole}]
		if !ok {
			continue
		}
		numbers, err := readLabels(f)
		if err != nil {
			return nil, nil, fmt.Errorf("array %q: %w", f.key, err)
		}
		for _, l := range numbers {
			most = max(most, int(l)+1)
		}
		if p != part {
			continue
		}
		if labels = numbers; len(labels) != n {
			return nil, nil, fmt.Errorf("array %q has %d labels for %d samples", f.key, len(labels), n)
		}
		if i := slices.IndexFunc(labels, func(l int32) bool { return classes > 0 && int(l) >= classes }); i >= 0 {
			return nil, nil, fmt.Errorf("array %q: label %d of sample %d: there are %d classes", f.key, labels[i], i, classes)
		}
	}
	for c := range cmp.Or(classes, most) {
		classNames = append(classNames, strconv.Itoa(c))
	}
	return labels, classNames, nil
}

// readLabels reads whole numbers from 0 on, of shape [n] or [n, 1].
func readLabels(f arrayFile) ([]int32, error) {
	x, err := f.read()
	if err != nil {
		return nil, err
	}
	shape := x.Shape()
	if len(shape) != 1 && (len(shape) != 2 || shape[1] != 1) {
		return nil, fmt.Errorf("labels of shape %v: one number for each sample is needed", shape)
	}
	labels := make([]int32, x.Len())
	for i := range labels {
		v, ok := whole(x, i)
		if !ok {
			return nil, fmt.Errorf("labels of %v: whole numbers are needed", x.DType())
		}
		if v < 0 || v >= maxClasses {
			return nil, fmt.Errorf("label %d of sample %d: it must be from 0 to %d", v, i, maxClasses-1)
		}
		labels[i] = int32(v)
	}
	return labels, nil
}

// whole is an element of an array of whole numbers. Those beyond int64 are its largest.
func whole(x *tensor.Tensor, i int) (v int64, ok bool) {
	b := x.Bytes()[i*x.DType().Size():]
	switch x.DType() {
	case tensor.I64:
		return int64(binary.LittleEndian.Uint64(b)), true
	case tensor.U64:
		return int64(min(binary.LittleEndian.Uint64(b), math.MaxInt64)), true
	case tensor.I32:
		return int64(int32(binary.LittleEndian.Uint32(b))), true
	case tensor.U32:
		return int64(binary.LittleEndian.Uint32(b)), true
	case tensor.I16:
		return int64(int16(binary.LittleEndian.Uint16(b))), true
	case tensor.U16:
		return int64(binary.LittleEndian.Uint16(b)), true
	case tensor.I8:
		return int64(int8(b[0])), true
	case tensor.U8, tensor.Bool:
		return int64(b[0]), true
	}
	return 0, false
}

// images makes a set of images of an array of bytes in the shape of images, [n, height, width], or with one or three channels before or behind the
// pixels, for a network whose one input is of floats. Otherwise it is nil.
func (s *arraySet) images(at, part string, inputs []*tensor.Tensor, labels []int32, classNames []string, opt Options) (*Set, error) {
	x := inputs[0]
	if len(inputs) > 1 || s.inputs[0].Integer || x.DType() != tensor.U8 {
		return nil, nil
	}
	shape, last := imageShape{}, false
	switch e := x.Shape(); {
	case len(e) == 3:
		shape = imageShape{1, e[1], e[2]}
	case len(e) == 4 && (e[1] == 1 || e[1] == 3):
		shape = imageShape{e[1], e[2], e[3]}
	case len(e) == 4 && (e[3] == 1 || e[3] == 3):
		shape, last = imageShape{e[3], e[1], e[2]}, true
	default:
		return nil, nil
	}
	if max(shape.height, shape.width) > maxImageSide || shape.size() > maxImagePixels {
		return nil, fmt.Errorf("array %q: images of %dx%d are larger than is read", s.slots[slot{part, 0}].key, shape.height, shape.width)
	}
	pixels, n := x.Bytes(), x.Shape()[0]
	if last && shape.channels > 1 {
		pixels = channelsFirst(pixels, shape)
	}
	numbers := labels
	if labels == nil {
		numbers = make([]int32, n)
	}
	set, err := reshaped(at, shape, pixels, numbers, classNames, opt)
	if err == nil {
		set.labels = labels
	}
	return set, err
}

// channelsFirst turns images whose channels stand behind the pixels.
func channelsFirst(pixels []uint8, shape imageShape) []uint8 {
	out := make([]uint8, len(pixels))
	plane := shape.height * shape.width
	for i := range len(pixels) / shape.size() {
		from, to := pixels[i*shape.size():], out[i*shape.size():]
		for p := range plane {
			for c := range shape.channels {
				to[c*plane+p] = from[p*shape.channels+c]
			}
		}
	}
	return out
}

// join lays the inputs of each sample one after the other.
func (s *arraySet) join(part string, inputs []*tensor.Tensor) (*arrays, error) {
	n, size := inputs[0].Shape()[0], 0
	for _, x := range inputs {
		size += x.Len() / n
	}
	if size > maxSetBytes/4/n {
		return nil, fmt.Errorf("%d samples of %d values are more than %d GiB", n, size, maxSetBytes>>30)
	}
	a := &arrays{shape: []int{size}, size: size}
	if len(inputs) == 1 {
		a.shape = slices.Clone(inputs[0].Shape()[1:])
	} else {
		a.values = make([]float32, n*size)
	}
	offset := 0
	for i, x := range inputs {
		values, err := floats(x, s.inputs[i].Integer)
		if err != nil {
			return nil, fmt.Errorf("array %q: %w", s.slots[slot{part, i}].key, err)
		}
		if len(inputs) == 1 {
			a.values = values
			continue
		}
		each := len(values) / n
		for row := range n {
			copy(a.values[row*size+offset:], values[row*each:][:each])
		}
		offset += each
	}
	return a, nil
}

// floats are the elements of an array, all finite, and whole numbers where these are needed.
func floats(x *tensor.Tensor, integer bool) ([]float32, error) {
	sample := x.Len() / x.Shape()[0]
	if !x.DType().IsFloat() {
		values := make([]float32, x.Len())
		for i := range values {
			v, ok := whole(x, i)
			switch {
			case !ok:
				return nil, fmt.Errorf("elements of %v are not read", x.DType())
			case v > maxWhole || v < -maxWhole:
				return nil, fmt.Errorf("%d in sample %d: whole numbers beyond %d are not read", v, i/sample, maxWhole)
			}
			values[i] = float32(v)
		}
		return values, nil
	}
	if integer {
		return nil, fmt.Errorf("elements of %v, where the network reads whole numbers", x.DType())
	}
	y, err := x.Convert(tensor.F32)
	if err != nil {
		return nil, err
	}
	if i, found := y.NonFinite(); found {
		return nil, fmt.Errorf("sample %d has values that are not finite", i/sample)
	}
	return tensor.Of[float32](y), nil
}
