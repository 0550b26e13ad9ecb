package dataset

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/tensor"
)

// f32, i64 and u8 are arrays of 0, 1, 2, ... in a shape.
func f32(shape ...int) *tensor.Tensor { return counting(tensor.F32, shape) }
func i64(shape ...int) *tensor.Tensor { return counting(tensor.I64, shape) }
func u8(shape ...int) *tensor.Tensor  { return counting(tensor.U8, shape) }

func counting(d tensor.DType, shape tensor.Shape) *tensor.Tensor {
	x := tensor.New(d, shape)
	for i := range x.Len() {
		switch d {
		case tensor.F32:
			tensor.Of[float32](x)[i] = float32(i)
		case tensor.I64:
			tensor.Of[int64](x)[i] = int64(i)
		default:
			x.Bytes()[i*d.Size()] = byte(i)
		}
	}
	return x
}

// writeArrays writes arrays to an .npz or .safetensors, or each to a .npy of its name in a folder.
func writeArrays(t testing.TB, path string, arrays map[string]*tensor.Tensor) string {
	t.Helper()
	if !hasEnding(path, severalNames) {
		for name, x := range arrays {
			file := filepath.Join(path, name+".npy")
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, npyBytes(x), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	var entries []checkpoint.Entry
	for name, x := range arrays {
		entries = append(entries, checkpoint.Entry{
			Info: checkpoint.Info{Name: name, DType: x.DType(), Shape: x.Shape()}, Load: func() (*tensor.Tensor, error) { return x, nil },
		})
	}
	if err := checkpoint.Write(context.Background(), path, entries, nil, checkpoint.Form{}); err != nil {
		t.Fatal(err)
	}
	return path
}

// npyBytes is a file as numpy.save writes it.
func npyBytes(x *tensor.Tensor) []byte {
	name := map[tensor.DType]string{tensor.F32: "<f4", tensor.I64: "<i8", tensor.U8: "|u1", tensor.U64: "<u8"}[x.DType()]
	shape := strings.NewReplacer("[", "(", "]", ",)", " ", ", ").Replace(x.Shape().String())
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n", name, shape)
	var b bytes.Buffer
	b.WriteString("\x93NUMPY\x01\x00")
	_ = binary.Write(&b, binary.LittleEndian, uint16(len(header))) // memory does not fail
	b.WriteString(header)
	b.Write(x.Bytes())
	return b.Bytes()
}

// TestArraysAreTold lists the ways in which arrays are named and laid out: three training samples of the values 0.. and two test samples.
func TestArraysAreTold(t *testing.T) {
	type named = map[string]*tensor.Tensor
	both := func(names ...string) named {
		return named{names[0]: f32(3, 4), names[1]: i64(3), names[2]: f32(2, 4), names[3]: i64(2)}
	}
	for name, tt := range map[string]struct {
		path   string
		arrays named
	}{
		"as Keras does":        {"a.npz", both("x_train", "y_train", "x_test", "y_test")},
		"parts in front":       {"a.npz", both("train_images", "train_labels", "test_images", "test_labels")},
		"in capitals":          {"a.npz", both("X_train", "Y_train", "X_test", "Y_test")},
		"with dots and more":   {"a.safetensors", both("train.inputs", "train.targets", "val.inputs", "val.targets")},
		"a folder for a part":  {"dir", both("train/x", "train/y", "test/x", "test/y")},
		"a folder of all":      {"dir", both("train-features", "train-classes", "validation-features", "validation-classes")},
		"a column of labels":   {"a.npz", named{"x_train": f32(3, 4), "y_train": i64(3, 1), "x_test": f32(2, 4), "y_test": i64(2, 1)}},
		"and one to choose on": {"a.npz", named{"train_x": f32(3, 4), "train_y": i64(3), "test_x": f32(2, 4), "test_y": i64(2), "val_x": f32(9, 4), "val_y": i64(1)}},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeArrays(t, filepath.Join(t.TempDir(), tt.path), tt.arrays)
			for split, n := range map[Split]int{Train: 3, Test: 2} {
				set, err := Open(context.Background(), path, split, Options{})
				if err != nil {
					t.Fatal(err)
				}
				x, labels := make([]float32, n*4), make([]int32, n)
				set.Fill(upTo(n), x, labels)
				if set.Len() != n || !slices.Equal(set.Shape(), []int{4}) || set.Classes() != 3 || !set.Labelled() || set.Images() ||
					!slices.Equal(x, tensor.Of[float32](f32(n, 4))) || set.Label(1) != 1 || labels[n-1] != int32(n-1) {
					t.Errorf("%v: %d samples of %v in %d classes: %v with labels %v", split, set.Len(), set.Shape(), set.Classes(), x, labels)
				}
				set.Subset([]int{1, 0}).Fill([]int{0}, x, labels)
				if x[0] != 4 || labels[0] != 1 {
					t.Errorf("the first of a subset is %v with label %d", x[:4], labels[0])
				}
			}
		})
	}
}

// TestArraysOfOnePart are used for both, which is said; they may have no labels.
func TestArraysOfOnePart(t *testing.T) {
	dir := t.TempDir()
	for name, labelled := range map[string]bool{
		writeArrays(t, filepath.Join(dir, "a.npz"), map[string]*tensor.Tensor{"x": f32(3, 2, 5), "y": i64(3)}):  true,
		writeArrays(t, filepath.Join(dir, "b.npz"), map[string]*tensor.Tensor{"arr_0": f32(3, 2, 5)}):           false,
		writeArrays(t, filepath.Join(dir, "c.npz"), map[string]*tensor.Tensor{"whatever": f32(3, 2, 5)}):        false,
		writeArrays(t, filepath.Join(dir, "d"), map[string]*tensor.Tensor{"x": f32(3, 2, 5), "labels": i64(3)}): true,
		filepath.Join(dir, "d", "x.npy"):                                               false,
		filepath.Join(dir, "d", "x.npy") + "," + filepath.Join(dir, "d", "labels.npy"): true,
	} {
		for _, split := range []Split{Train, Test} {
			said := ""
			set, err := Open(context.Background(), name, split, Options{Classes: 7, Log: func(s string) { said += s }})
			if err != nil {
				t.Fatal(err)
			}
			classes := map[bool]int{true: 7}[labelled]
			if set.Len() != 3 || !slices.Equal(set.Shape(), []int{2, 5}) || set.Labelled() != labelled || set.Classes() != classes {
				t.Errorf("%s: %d samples of %v, %d classes", name, set.Len(), set.Shape(), set.Classes())
			}
			if !strings.Contains(said, "all are used for both") {
				t.Errorf("%s: nothing is said but %q", name, said)
			}
			if labels := []int32{5}; !labelled {
				if set.Fill([]int{0}, make([]float32, 10), labels); labels[0] != -1 {
					t.Errorf("%s: label %d where there is none", name, labels[0])
				}
			}
		}
	}
}

// TestArraysOfBytes in the shape of images are images, wherever their channels stand.
func TestArraysOfBytes(t *testing.T) {
	const n, h, w = 2, 5, 4
	for name, tt := range map[string]struct {
		x    *tensor.Tensor
		want func(i, c, y, x int) int // the byte of a pixel
		c    int
	}{
		"grey":           {u8(n, h, w), func(i, _, y, x int) int { return (i*h+y)*w + x }, 1},
		"channels first": {u8(n, 3, h, w), func(i, c, y, x int) int { return ((i*3+c)*h+y)*w + x }, 3},
		"channels last":  {u8(n, h, w, 3), func(i, c, y, x int) int { return ((i*h+y)*w+x)*3 + c }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeArrays(t, filepath.Join(t.TempDir(), "a.npz"), map[string]*tensor.Tensor{"x": tt.x, "y": u8(n)})
			set, err := Open(context.Background(), path, Test, Options{Normalize: &Normalization{Mean: []float32{.5}, Std: []float32{2}}})
			if err != nil {
				t.Fatal(err)
			}
			if !set.Images() || !slices.Equal(set.Shape(), []int{tt.c, h, w}) {
				t.Fatalf("images of %v", set.Shape())
			}
			values := make([]float32, n*tt.c*h*w)
			set.Fill(upTo(n), values, nil)
			for at, got := range values {
				x, y, c, i := at%w, at/w%h, at/w/h%tt.c, at/w/h/tt.c
				if want := (float32(tt.want(i, c, y, x))/255 - .5) / 2; got != want {
					t.Fatalf("image %d, channel %d, (%d, %d): %v, want %v", i, c, y, x, got, want)
				}
			}
			// To a network that reads whole numbers they are these.
			if set, err = Open(context.Background(), path, Test, Options{Inputs: []Input{{Name: "ids", Integer: true}}}); err != nil {
				t.Fatal(err)
			}
			set.Fill(upTo(n), values, nil)
			if set.Images() || values[5] != 5 {
				t.Errorf("as whole numbers: images %v, %v", set.Images(), values[:8])
			}
		})
	}
}

// TestArraysOfSeveralInputs are told by the network's names, in whatever order; a sample is all of them.
func TestArraysOfSeveralInputs(t *testing.T) {
	inputs := []Input{{"input_ids", true}, {"attention.mask", false}}
	arrays := map[string]*tensor.Tensor{"attention_mask": f32(2, 3), "input_ids": i64(2, 4), "labels": i64(2)}
	path := writeArrays(t, filepath.Join(t.TempDir(), "a.npz"), arrays)
	set, err := Open(context.Background(), path, Train, Options{Inputs: inputs})
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float32, 14)
	set.Fill([]int{0, 1}, x, nil)
	if !slices.Equal(x, []float32{0, 1, 2, 3, 0, 1, 2, 4, 5, 6, 7, 3, 4, 5}) || !slices.Equal(set.Shape(), []int{7}) {
		t.Errorf("samples of %v: %v", set.Shape(), x)
	}
	delete(arrays, "attention_mask")
	path = writeArrays(t, filepath.Join(t.TempDir(), "a.npz"), arrays)
	if _, err := Open(context.Background(), path, Train, Options{Inputs: inputs}); err == nil || !strings.Contains(err.Error(), `no array for the network's input "attention.mask"`) {
		t.Errorf("error %v", err)
	}
}

func TestArrayErrors(t *testing.T) {
	type named = map[string]*tensor.Tensor
	nan := f32(2, 3)
	tensor.Of[float32](nan)[4] = float32(0) / float32(tensor.Of[float32](nan)[0])
	large := i64(2)
	tensor.Of[int64](large)[1] = 1<<24 + 1
	negative := i64(2)
	tensor.Of[int64](negative)[0] = -1
	ids := Options{Inputs: []Input{{"ids", true}}}
	for name, tt := range map[string]struct {
		arrays named
		opt    Options
		want   string
	}{
		"none":              {named{"weights": f32(2), "bias": f32(2)}, Options{}, `no array has the name of inputs, as x, inputs, x_train or "images"; there are "`},
		"two":               {named{"x": f32(2), "inputs": f32(2)}, Options{}, "which of them it should be cannot be told"},
		"parts and not":     {named{"x": f32(2), "x_train": f32(2)}, Options{}, "with and without a part"},
		"no test part":      {named{"x_train": f32(2, 1), "y_train": i64(2)}, Options{}, `no arrays of the part "test", but of train`},
		"labels alone":      {named{"y": i64(2)}, Options{}, "no array has the name of inputs"},
		"number":            {named{"x": f32(2), "y": i64(3)}, Options{}, `array "y" has 3 labels for 2 samples`},
		"float labels":      {named{"x": f32(2), "y": f32(2)}, Options{}, `array "y": labels of F32: whole numbers are needed`},
		"one-hot":           {named{"x": f32(2), "y": i64(2, 5)}, Options{}, "labels of shape [2 5]: one number for each sample is needed"},
		"label":             {named{"x": f32(3), "y": i64(3)}, Options{Classes: 2}, "label 2 of sample 2: there are 2 classes"},
		"negative label":    {named{"x": f32(2), "y": negative}, Options{}, "label -1 of sample 0"},
		"NaN":               {named{"x": nan}, Options{}, `array "x": sample 1 has values that are not finite`},
		"large":             {named{"x": large}, ids, "16777217 in sample 1: whole numbers beyond 16777216 are not read"},
		"floats for tokens": {named{"x": f32(2, 3)}, ids, "elements of F32, where the network reads whole numbers"},
		"no samples":        {named{"x": f32(0, 3)}, Options{}, "the first axis counts the samples, of which there must be some"},
		"scalar":            {named{"x": f32()}, Options{}, "the first axis counts the samples"},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeArrays(t, filepath.Join(t.TempDir(), "a.npz"), tt.arrays)
			if _, err := Open(context.Background(), path, Test, tt.opt); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// TestHostileNPY: sizes that are claimed are checked against the file before memory is taken.
func TestHostileNPY(t *testing.T) {
	good := npyBytes(f32(2, 3))
	for name, tt := range map[string]struct {
		content []byte
		want    string
	}{
		"empty":     {nil, "EOF"},
		"magic":     {[]byte("not an array, but some text"), "it is no .npy file"},
		"cut":       {good[:len(good)-1], "needs 24 bytes, file has 23"},
		"longer":    {append(slices.Clone(good), 0), "needs 24 bytes, file has 25"},
		"huge":      {bytes.Replace(good, []byte("(2, 3,)"), []byte("(4611686018427387904, 3,)"), 1), ""},
		"claimed":   {bytes.Replace(good, []byte("(2, 3,)"), []byte("(2, 9,)"), 1), "needs 72 bytes, file has 24"},
		"no header": {append([]byte("\x93NUMPY\x02\x00\xff\xff\xff\x7f"), make([]byte, 100)...), "at most 65536 are read"},
		"objects":   {bytes.Replace(good, []byte("<f4"), []byte("|O8"), 1), "is not read"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.npy")
			if err := os.WriteFile(path, tt.content, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := Open(context.Background(), path, Test, Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "x.npy") {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
