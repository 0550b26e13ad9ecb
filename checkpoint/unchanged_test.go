package checkpoint_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/tensor"
)

// A file that is written to, replaced, cut off or removed after it was opened is found out, whatever its format; one that is not is left in peace.
func TestUnchanged(t *testing.T) {
	tensors := map[string]*tensor.Tensor{"w": tensor.FromSlice(tensor.Shape{4}, []float32{1, 2, 3, 4})}
	later := func(t *testing.T, path string) {
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	changes := map[string]struct {
		make func(t *testing.T, path string)
		want string
	}{
		"nothing": {func(*testing.T, string) {}, ""},
		"written to": {func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte{1}, 1); err != nil {
				t.Fatal(err)
			}
			f.Close()
			later(t, path) // clocks of file systems may be coarser than this test is quick
		}, "it was written to at"},
		"longer": {func(t *testing.T, path string) {
			if err := os.Truncate(path, 100_000); err != nil {
				t.Fatal(err)
			}
		}, "bytes and has 100000"},
		"replaced": {func(t *testing.T, path string) {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			put(t, path+".new", string(content))
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}, "another one has its name"},
		"removed": {func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
	}
	for name, files := range map[string][]string{
		"m.safetensors": {"m.safetensors"}, "m.pt": {"m.pt"}, "m.npz": {"m.npz"},
		"m.safetensors.index.json": {"m.safetensors.index.json", "m-00001-of-00001.safetensors"},
	} {
		for _, file := range files {
			for what, c := range changes {
				t.Run(file+" "+what, func(t *testing.T) {
					folder := t.TempDir()
					if err := checkpoint.Write(t.Context(), filepath.Join(folder, name), entriesOf(tensors), nil, checkpoint.Form{}); err != nil {
						t.Fatal(err)
					}
					r, err := checkpoint.Open(filepath.Join(folder, name), checkpoint.OpenOptions{})
					if err != nil {
						t.Fatal(err)
					}
					defer r.Close()
					path := filepath.Join(folder, file)
					c.make(t, path)
					err = r.(interface{ Unchanged() error }).Unchanged()
					if c.want == "" {
						if err != nil {
							t.Errorf("error %v", err)
						}
						return
					}
					if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
						t.Errorf("error %v, want one of %q with %q", err, path, c.want)
					}
				})
			}
		}
	}
}
