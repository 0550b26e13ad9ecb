//go:build unix

package checkpoint_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/tensor"
)

// limitFileSize makes every write beyond so many bytes of a file fail until the test ends, as a full disk does.
func limitFileSize(t *testing.T, bytes uint64) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	limited := old
	limited.Cur = bytes
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
		signal.Reset(syscall.SIGXFSZ)
	})
}

// Wherever the disk is full, in the header, within a tensor or in what is still buffered at the end, nothing is left and the tensor is named.
//
// The limit is the whole process's, and the go command has this one write a log of its own; so the test runs in a process of its own.
func TestWriteToFullDisk(t *testing.T) {
	const alone = "REBASIN_TEST_FULL_DISK"
	if os.Getenv(alone) == "" {
		c := exec.Command(os.Args[0], "-test.run=^TestWriteToFullDisk$", "-test.v")
		c.Env = append(os.Environ(), alone+"=1")
		out, err := c.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS: TestWriteToFullDisk/end")) {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	large := tensor.New(tensor.U8, tensor.Shape{200_000})
	for _, c := range []struct {
		name    string
		limit   uint64
		entries []checkpoint.Entry
		want    string
	}{
		{"tensor", 150_000, []checkpoint.Entry{good("a"), entryOf("b", large)}, `tensor "b": file too large`},
		{"second tensor", 250_000, []checkpoint.Entry{entryOf("b", large), entryOf("c", large)}, `tensor "c": file too large`},
		{"end", 60, []checkpoint.Entry{good("a")}, "file too large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			targets(t, func(t *testing.T, path string) {
				limitFileSize(t, c.limit)
				err := checkpoint.WriteSafetensors(t.Context(), path, c.entries, nil)
				wantError(t, err, path, c.want)
				if !errors.Is(err, syscall.EFBIG) {
					t.Errorf("%v does not match the cause", err)
				}
			})
		})
	}
}

func TestWriteToUnwritableFolder(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write anywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "out")
	err := checkpoint.WriteFile(path, hello)
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error %v", err)
	}
	if files := contents(t, dir); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// A new file has 0644 less the umask; a replaced one keeps what it had.
func TestWriteFilePermissions(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		umask int
		want  fs.FileMode
	}{{0o022, 0o644}, {0o077, 0o600}, {0o002, 0o644}, {0o027, 0o640}} {
		path := filepath.Join(dir, c.want.String()+string(rune('a'+c.umask)))
		old := syscall.Umask(c.umask)
		err := checkpoint.WriteFile(path, hello)
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		if got := mode(t, path); got != c.want {
			t.Errorf("umask %#o: %v, want %v", c.umask, got, c.want)
		}
	}
	for _, perm := range []fs.FileMode{0o600, 0o664, 0o755} {
		path := filepath.Join(dir, "replaced")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, perm); err != nil {
			t.Fatal(err)
		}
		if err := checkpoint.WriteFile(path, hello); err != nil {
			t.Fatal(err)
		}
		if got := mode(t, path); got != perm {
			t.Errorf("%v became %v", perm, got)
		}
	}
}

// The file behind a symbolic link is replaced in its own folder, and the link stays one.
func TestWriteFileThroughSymlink(t *testing.T) {
	linkDir, fileDir := t.TempDir(), t.TempDir()
	path, link := filepath.Join(fileDir, "file"), filepath.Join(linkDir, "link")
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := checkpoint.WriteFile(link, hello); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "hello" {
		t.Errorf("the file has %q, error %v", got, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is %v, error %v", info.Mode(), err)
	}
}

// Opening a pipe would wait for a writer that never comes.
func TestPipeIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	if _, err := checkpoint.OpenSafetensors(path); err == nil {
		t.Error("opened a pipe")
	}
	if err := checkpoint.WriteFile(path, func(io.Writer) error { return nil }); err == nil {
		t.Error("replaced a pipe")
	}
}
