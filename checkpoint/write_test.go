package checkpoint_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/tensor"
)

const before = "what was there before"

// targets runs a test with a path in a folder of its own, without and with a file already there, and fails it if anything in the folder is other
// than it was.
func targets(t *testing.T, run func(t *testing.T, path string)) {
	for _, exists := range []bool{false, true} {
		t.Run(fmt.Sprintf("exists=%v", exists), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "out")
			want := map[string]string{}
			if exists {
				want["out"] = before
				if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			run(t, path)
			if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
				t.Errorf("the folder has changed: %s", diff)
			}
		})
	}
}

// contents returns all files of a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range list {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(b)
	}
	return files
}

// wantError checks for the one line that names the file being written.
func wantError(t *testing.T, err error, path, want string) {
	t.Helper()
	if full := fmt.Sprintf("checkpoint: writing %q: %s", path, want); err == nil || err.Error() != full {
		t.Errorf("error\n%v\nwant\n%s", err, full)
	}
}

func good(name string) checkpoint.Entry {
	return entryOf(name, tensor.New(tensor.F32, tensor.Shape{2, 3}))
}

// A tensor that does not come as it was declared ends the writing and leaves nothing.
func TestWriteFailsWithLoad(t *testing.T) {
	broken := errors.New("the input is broken")
	for _, c := range []struct {
		name string
		load func() (*tensor.Tensor, error)
		want string
	}{
		{"error", func() (*tensor.Tensor, error) { return nil, broken }, "the input is broken"},
		{"nothing", func() (*tensor.Tensor, error) { return nil, nil }, "nothing was loaded"},
		{
			"dtype", func() (*tensor.Tensor, error) { return tensor.New(tensor.I32, tensor.Shape{2, 3}), nil },
			"declared as F32[2 3], loaded as I32[2 3]",
		},
		{
			"shape", func() (*tensor.Tensor, error) { return tensor.New(tensor.F32, tensor.Shape{3, 2}), nil },
			"declared as F32[2 3], loaded as F32[3 2]",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			targets(t, func(t *testing.T, path string) {
				entries := []checkpoint.Entry{good("a"), good("b"), good("c")}
				entries[1].Load = c.load
				err := checkpoint.WriteSafetensors(t.Context(), path, entries, nil)
				wantError(t, err, path, `tensor "b": `+c.want)
				if c.name == "error" && !errors.Is(err, broken) {
					t.Error("the cause is lost")
				}
			})
		})
	}
}

func TestWriteFailsWithPanic(t *testing.T) {
	targets(t, func(t *testing.T, path string) {
		defer func() {
			if r := recover(); r != "in Load" {
				t.Errorf("recovered %v", r)
			}
		}()
		entries := []checkpoint.Entry{good("a"), good("b")}
		entries[1].Load = func() (*tensor.Tensor, error) { panic("in Load") }
		err := checkpoint.WriteSafetensors(t.Context(), path, entries, nil)
		t.Errorf("returned %v", err)
	})
}

// Cancelling stops before the next tensor, and after the last one too.
func TestWriteCancelled(t *testing.T) {
	for at := range 3 {
		targets(t, func(t *testing.T, path string) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			loaded := 0
			var entries []checkpoint.Entry
			for i, name := range []string{"a", "b", "c"} {
				e := good(name)
				load := e.Load
				e.Load = func() (*tensor.Tensor, error) {
					loaded++
					if i == at {
						cancel()
					}
					return load()
				}
				entries = append(entries, e)
			}
			err := checkpoint.WriteSafetensors(ctx, path, entries, nil)
			wantError(t, err, path, "context canceled")
			if !errors.Is(err, context.Canceled) || loaded != at+1 {
				t.Errorf("error %v after %d tensors, want %d", err, loaded, at+1)
			}
		})
	}
}

// What no reader would accept is refused before a file is made or a tensor loaded.
func TestWriteRefusesBadEntries(t *testing.T) {
	with := func(change func(e *checkpoint.Entry)) []checkpoint.Entry {
		e := good("b")
		change(&e)
		e2 := good("a")
		e2.Load = func() (*tensor.Tensor, error) { t.Error("a tensor was loaded"); return nil, nil }
		return []checkpoint.Entry{e2, e}
	}
	big := tensor.Shape{math.MaxInt64 / 4}
	for _, c := range []struct {
		name     string
		entries  []checkpoint.Entry
		metadata map[string]string
		want     string
	}{
		{"twice", with(func(e *checkpoint.Entry) { e.Name = "a" }), nil, `tensor "a": given twice`},
		{"reserved", with(func(e *checkpoint.Entry) { e.Name = "__metadata__" }), nil, `tensor "__metadata__": the name is reserved`},
		{"utf8", with(func(e *checkpoint.Entry) { e.Name = "b\xff" }), nil, `tensor "b\xff": the name is not valid UTF-8`},
		{"dtype", with(func(e *checkpoint.Entry) { e.DType = 0 }), nil, `tensor "b": tensor: DType(0) is not a dtype`},
		{"negative", with(func(e *checkpoint.Entry) { e.Shape = tensor.Shape{-1} }), nil, `tensor "b": tensor: shape [-1] has a negative extent`},
		{"rank", with(func(e *checkpoint.Entry) { e.Shape = make(tensor.Shape, 65) }), nil, `tensor "b": shape has more than 64 extents`},
		{"load", with(func(e *checkpoint.Entry) { e.Load = nil }), nil, `tensor "b": no way to load it is given`},
		{"sum", with(func(e *checkpoint.Entry) { e.Shape = big }), nil, `tensor "b": the size of the file overflows int64`},
		{"metadata key", nil, map[string]string{"\xff": ""}, `metadata "\xff" is not valid UTF-8`},
		{"metadata value", nil, map[string]string{"k": "\xff"}, `metadata "k" is not valid UTF-8`},
	} {
		t.Run(c.name, func(t *testing.T) {
			targets(t, func(t *testing.T, path string) {
				wantError(t, checkpoint.WriteSafetensors(t.Context(), path, c.entries, c.metadata), path, c.want)
			})
		})
	}
}

// A header that no reader would take is not written.
func TestWriteRefusesLargeHeader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	metadata := map[string]string{"k": strings.Repeat("v", 100_000_000)}
	err := checkpoint.WriteSafetensors(t.Context(), path, nil, metadata)
	wantError(t, err, path, "header of 100000032 bytes is over the limit of 100000000")
	if files := contents(t, filepath.Dir(path)); len(files) != 0 {
		t.Error("a file was made")
	}
}

// One tensor is asked for at a time, in the order of the file, and the entries stay as they were given.
func TestWriteLoadsInFileOrder(t *testing.T) {
	var loaded, given []string
	var entries []checkpoint.Entry
	for _, name := range []string{"c", "a", "b"} {
		e := good(name)
		load := e.Load
		e.Load = func() (*tensor.Tensor, error) {
			loaded = append(loaded, name)
			return load()
		}
		entries = append(entries, e)
	}
	if err := checkpoint.WriteSafetensors(t.Context(), filepath.Join(t.TempDir(), "a"), entries, nil); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		given = append(given, e.Name)
	}
	if diff := cmp.Diff([][]string{{"a", "b", "c"}, {"c", "a", "b"}}, [][]string{loaded, given}); diff != "" {
		t.Error(diff)
	}
}

// A file may be rewritten from itself: its data is read from the old file until the new one takes its place.
func TestWriteOverOpenFile(t *testing.T) {
	want := allKinds()
	path, _ := write(t, want, nil)
	s := open(t, path)
	var entries []checkpoint.Entry
	for _, info := range s.Infos() {
		entries = append(entries, checkpoint.Entry{Info: info, Load: func() (*tensor.Tensor, error) { return s.Read(info.Name) }})
	}
	if err := checkpoint.WriteSafetensors(t.Context(), path, entries, map[string]string{"new": "yes"}); err != nil {
		t.Fatal(err)
	}
	again := open(t, path)
	equalTensors(t, readAll(t, again), want)
	if again.Metadata()["new"] != "yes" {
		t.Errorf("metadata %v", again.Metadata())
	}
}

func hello(w io.Writer) error {
	_, err := io.WriteString(w, "hello")
	return err
}

// TestWriteLargeFile writes a file that is sent to the disk in several parts.
func TestWriteLargeFile(t *testing.T) {
	want := make([]byte, 70<<20)
	for i := range want {
		want[i] = byte(i >> 10)
	}
	path := filepath.Join(t.TempDir(), "large")
	err := checkpoint.WriteFile(path, func(w io.Writer) error {
		for part := range slices.Chunk(want, 1<<20) {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read back %d bytes, error %v; not what was written", len(got), err)
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		if err := checkpoint.WriteFile(filepath.Join(dir, "out"), hello); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"out": "hello"}, contents(t, dir)); diff != "" {
			t.Error(diff)
		}
	}
	large := bytes.Repeat([]byte("0123456789"), 30_000)
	path := filepath.Join(dir, strings.Repeat("n", 255)) // no room for a suffix
	if err := checkpoint.WriteFile(path, func(w io.Writer) error {
		if _, err := w.Write(large[:100_000]); err != nil {
			return err
		}
		_, err := w.Write(large[100_000:])
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, large) {
		t.Errorf("%d bytes of %d, error %v", len(got), len(large), err)
	}
}

// Whatever the options say, the content is what was written, and what was there before stays until all of it is.
func TestWriteFileWith(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 300_000)
	for _, opt := range []checkpoint.FileOptions{
		{NoSync: true}, {Size: 3_000_000}, {Size: 3_000_000, NoSync: true}, {Size: 2_000_000}, {Size: 9_000_000}, {Size: 1},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "out")
		broken := errors.New("broken")
		if err := checkpoint.WriteFileWith(path, opt, func(w io.Writer) error { return errors.Join(hello(w), broken) }); !errors.Is(err, broken) {
			t.Errorf("%+v: error %v", opt, err)
		}
		if left := contents(t, dir); len(left) != 0 {
			t.Errorf("%+v: a write that failed has left %v", opt, left)
		}
		for range 2 {
			err := checkpoint.WriteFileWith(path, opt, func(w io.Writer) error { _, err := w.Write(content); return err })
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%+v: %d bytes of %d, error %v", opt, len(got), len(content), err)
			}
		}
	}
}

// A run of bytes in the middle of a file is written from its end to its beginning, by several goroutines, and lies where it belongs.
func TestPlace(t *testing.T) {
	const part, parts = 1 << 20, 70 // more than is written before the disk is asked to begin
	rng := rand.New(rand.NewPCG(7, 8))
	middle := make([]byte, part*parts)
	for i := 0; i < len(middle); i += 8 {
		binary.LittleEndian.PutUint64(middle[i:], rng.Uint64())
	}
	want := slices.Concat([]byte("before"), middle, []byte("after"))
	for _, opt := range []checkpoint.FileOptions{{}, {NoSync: true, Size: int64(len(want))}} {
		path := filepath.Join(t.TempDir(), "out")
		err := checkpoint.WriteFileWith(path, opt, func(w io.Writer) error {
			if _, err := w.Write([]byte("before")); err != nil {
				return err
			}
			to, err := w.(checkpoint.Placer).Place(int64(len(middle)))
			if err != nil {
				return err
			}
			for _, at := range []int64{-1, int64(len(middle)) - 1, math.MaxInt64} {
				if n, err := to.WriteAt([]byte("xx"), at); n != 0 || err == nil {
					t.Errorf("%d bytes are written at %d, error %v", n, at, err)
				}
			}
			var group sync.WaitGroup
			for k := range 2 {
				group.Go(func() {
					for i := parts - 1 - k; i >= 0; i -= 2 {
						if _, err := to.WriteAt(middle[i*part:(i+1)*part], int64(i)*part); err != nil {
							t.Error(err)
						}
					}
				})
			}
			group.Wait()
			_, err = w.Write([]byte("after"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%+v: %d bytes, error %v; not what was written", opt, len(got), err)
		}
	}
}

// Until it is whole, nobody sees the file under its name.
func TestWriteFileAppearsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	for _, want := range []string{"", "hello"} {
		if err := checkpoint.WriteFile(path, func(w io.Writer) error {
			if err := hello(w); err != nil {
				return err
			}
			if got, _ := os.ReadFile(path); string(got) != want {
				t.Errorf("while writing the file reads %q, want %q", got, want)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWriteFileFails(t *testing.T) {
	targets(t, func(t *testing.T, path string) {
		broken := errors.New("broken")
		err := checkpoint.WriteFile(path, func(w io.Writer) error { return errors.Join(hello(w), broken) })
		wantError(t, err, path, "broken")
		if !errors.Is(err, broken) {
			t.Error("the cause is lost")
		}
	})
}

func TestWriteFileBadTargets(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none")
	for _, c := range []struct{ path, want string }{
		{dir, "is a directory"},
		{dir + string(filepath.Separator), "is a directory"},
		{os.DevNull, "is not a regular file"},
		{filepath.Join(none, "out"), fmt.Sprintf("folder %q: no such file or directory", none)},
		{filepath.Join(plain, "out"), "not a directory"},
		{"", "no file is named"},
	} {
		called := false
		err := checkpoint.WriteFile(c.path, func(io.Writer) error { called = true; return nil })
		wantError(t, err, c.path, c.want)
		if called {
			t.Errorf("%q: content was asked for", c.path)
		}
	}
	if diff := cmp.Diff(map[string]string{"plain": before}, contents(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestCheckWritable(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:                                 "",
		filepath.Join(dir, "new"):            "",
		dir:                                  "directory",
		filepath.Join(dir, "missing", "new"): "no such file",
		filepath.Join(file, "new"):           "not a directory",
		"":                                   "no file is named",
	} {
		err := checkpoint.CheckWritable(path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", path, err, want)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("it left %v, %v", entries, err)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "kept" {
		t.Errorf("the file that was there holds %q, %v", data, err)
	}
}
