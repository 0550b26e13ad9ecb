package checkpoint_test

import (
	"archive/zip"
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/tensor"
)

// Every file of scripts/torch_checkpoints.py holds what stands beside it: every dtype, order of bytes, order of axes and version.
func TestNPZFixtures(t *testing.T) {
	for _, path := range fixtures(t, "npz/*.npz") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			r := openAny(t, path, "")
			equalTensors(t, readAll(t, r), expected(t, path))
			if form := checkpoint.FormOf(r); form.Format != checkpoint.FormatNPZ {
				t.Errorf("the format is %q", form.Format)
			}
			if _, err := r.Read("absent"); err == nil || !strings.Contains(err.Error(), `tensor "absent": not in the file`) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// What is written in the form of an npz is read again, in the same bytes once more, with or without metadata.
func TestNPZRewrite(t *testing.T) {
	for _, metadata := range []map[string]string{{}, {"a": "b", "quo\"te": "<é>"}} {
		was := openAny(t, filepath.Join("testdata", "npz", "deflated.npz"), "")
		path, first := rewrite(t, was, "a", metadata, nil)
		is := openAny(t, path, "")
		equalTensors(t, readAll(t, is), readAll(t, was))
		if diff := cmp.Diff(metadata, is.Metadata()); diff != "" {
			t.Error(diff)
		}
		if _, second := rewrite(t, is, "b.npz", metadata, nil); !bytes.Equal(first, second) {
			t.Error("written once more it has other bytes")
		}
	}
}

func TestNPZOfAllKinds(t *testing.T) {
	want := allKinds()
	maps.DeleteFunc(want, func(_ string, x *tensor.Tensor) bool {
		return slices.Contains([]tensor.DType{tensor.BF16, tensor.F8E4M3, tensor.F8E5M2}, x.DType())
	})
	want["ü/¢"] = tensor.FromSlice(tensor.Shape{1}, []float32{3})
	path := filepath.Join(t.TempDir(), "a.npz")
	if err := checkpoint.Write(t.Context(), path, entriesOf(want), nil, checkpoint.Form{}); err != nil {
		t.Fatal(err)
	}
	equalTensors(t, readAll(t, openAny(t, path, "")), want)
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, e := range z.File {
		if isUTF8 := e.Flags&0x800 != 0; isUTF8 != (e.Name == "ü/¢.npy") {
			t.Errorf("%q: flags %#x", e.Name, e.Flags)
		}
	}
}

func TestNPZWriteRefuses(t *testing.T) {
	for _, tt := range []struct {
		entries []checkpoint.Entry
		meta    map[string]string
		want    string
	}{
		{[]checkpoint.Entry{entryOf("w", tensor.New(tensor.BF16, tensor.Shape{1}))}, nil, `tensor "w": the format has no BF16`},
		{nil, map[string]string{"a": strings.Repeat("x", 1<<16)}, "an npz has room for 65535"},
		{nil, map[string]string{"a": "\xff"}, `metadata "a" is not valid UTF-8`},
	} {
		path := filepath.Join(t.TempDir(), "a.npz")
		err := checkpoint.Write(t.Context(), path, tt.entries, tt.meta, checkpoint.Form{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
		if list, _ := os.ReadDir(filepath.Dir(path)); len(list) > 0 {
			t.Errorf("left %v", list)
		}
	}
}

// A bit that has changed in the elements is noticed by the sum of the entry, stored or deflated.
func TestNPZSum(t *testing.T) {
	for _, name := range []string{"stored.npz", "deflated.npz"} {
		content, err := os.ReadFile(filepath.Join("testdata", "npz", name))
		if err != nil {
			t.Fatal(err)
		}
		z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		e := z.File[slices.IndexFunc(z.File, func(f *zip.File) bool { return f.Name == "deep.npy" })]
		at, err := e.DataOffset()
		if err != nil {
			t.Fatal(err)
		}
		content[at+int64(e.CompressedSize64)-20] ^= 1
		r, err := newReader(content, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read("deep"); err == nil || !strings.Contains(err.Error(), `tensor "deep": `) {
			t.Errorf("%s: error %v", name, err)
		}
		if _, err := r.Read("scalar"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// npz makes a file of arrays, each given by its header and its elements.
func npz(t testing.TB, method uint16, arrays map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(arrays)) {
		to, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err == nil {
			_, err = io.WriteString(to, arrays[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// npy is a .npy file of version 1.
func npy(header, data string) string {
	return "\x93NUMPY\x01\x00" + string([]byte{byte(len(header)), byte(len(header) >> 8)}) + header + data
}

// Headers as other writers have them are read, too.
func TestNPYHeaders(t *testing.T) {
	want := tensor.FromSlice(tensor.Shape{2, 1}, []uint8{7, 8})
	for _, header := range []string{
		"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1), }          \n",
		`{"shape":(2,1),"descr":"<u1","fortran_order":True}`,
		"{'descr': '=u1', 'fortran_order': False, 'shape': (2L, 1L)}",
	} {
		r, err := newReader(npz(t, zip.Store, map[string]string{"w.npy": npy(header, "\x07\x08")}), "")
		if err != nil {
			t.Errorf("%s: %v", header, err)
			continue
		}
		equalTensors(t, readAll(t, r), map[string]*tensor.Tensor{"w": want})
	}
}
