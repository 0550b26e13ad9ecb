package checkpoint

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
)

// WriteFile makes a file of what write writes, whole or not at all. The content goes to a temporary file in the same folder, is synced to the
// disk and renamed; on any failure, a panic of write included, the temporary file is removed and a file that was there before is untouched.
// Only when the very last step fails, to sync the folder, is the new file in place although an error is returned. A process that is killed
// outright can leave the temporary file, named .rebasin-*.tmp.
//
// A new file has the permissions 0644 less the umask, a replaced one keeps those it had. A symbolic link is followed: the file behind it is
// replaced, and one to nothing is an error. What is not a regular file, such as a directory or a device, is never replaced. The writer is buffered.
func WriteFile(path string, write func(io.Writer) error) error {
	return WriteFileWith(path, FileOptions{}, write)
}

// FileOptions say how files are written. The zero value is the safe way.
type FileOptions struct {
	// NoSync has a file take its name when the system has its content, and not only when the disk has it, which takes a large file much less time. A
	// program that is killed leaves nothing half-written all the same, but after a power cut the file may be there with a part of its content.
	NoSync bool
	// Size is how many bytes the content is going to have, or 0 where that is not known. Room for them is taken at the beginning, where the system has a
	// way to, so that a disk too small for them is noticed before they are made, and writing goes faster.
	Size int64
}

// WriteFileWith is [WriteFile] with options.
func WriteFileWith(path string, opt FileOptions, write func(io.Writer) error) error {
	if err := writeFile(path, opt, write); err != nil {
		return fmt.Errorf("checkpoint: writing %q: %w", path, err)
	}
	return nil
}

// CheckWritable finds out, before long work, whether [WriteFile] could begin: it makes a temporary file where WriteFile would, and removes it.
func CheckWritable(path string) error {
	f, _, _, err := create(path)
	if err == nil {
		f.Close()
		err = cause(os.Remove(f.Name()))
	}
	if err != nil {
		return fmt.Errorf("checkpoint: writing %q: %w", path, err)
	}
	return nil
}

// create makes the temporary file that is to become the target that path stands for; perm is the target's if it exists.
func create(path string) (f *os.File, target string, perm fs.FileMode, err error) {
	if target, perm, err = resolve(path); err != nil {
		return nil, "", 0, err
	}
	folder := filepath.Dir(target)
	f, err = os.OpenFile(filepath.Join(folder, ".rebasin-"+rand.Text()+".tmp"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, "", 0, inFolder(folder, cause(err))
	}
	return f, target, perm, nil
}

func writeFile(path string, opt FileOptions, write func(io.Writer) error) error {
	f, err := prepare(path, opt, write)
	if err != nil {
		return err
	}
	defer f.discard()
	if err := f.sync(); err != nil {
		return err
	}
	return f.place()
}

// pendingFile is a file that is whole under a temporary name.
type pendingFile struct {
	file           *os.File
	target         string
	noSync         bool
	closed, placed bool
}

// prepare writes a file up to the point where it would go onto the disk and take its name.
func prepare(path string, opt FileOptions, write func(io.Writer) error) (pending *pendingFile, err error) {
	f, target, perm, err := create(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if pending == nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if perm != 0 {
		if err := f.Chmod(perm); err != nil {
			return nil, cause(err)
		}
	}
	if err := fill(f, opt, write); err != nil {
		return nil, err
	}
	return &pendingFile{file: f, target: target, noSync: opt.NoSync}, nil
}

// rewrite puts other bytes in the place of the first ones.
func (p *pendingFile) rewrite(head []byte) error {
	_, err := p.file.WriteAt(head, 0)
	return cause(err)
}

// sync gets the content onto the disk, unless that is not wanted.
func (p *pendingFile) sync() error {
	if !p.noSync {
		if err := p.file.Sync(); err != nil {
			return cause(err)
		}
	}
	p.closed = true
	return cause(p.file.Close())
}

// place gives the file its name.
func (p *pendingFile) place() error {
	if err := os.Rename(p.file.Name(), p.target); err != nil {
		return cause(err)
	}
	p.placed = true
	if p.noSync {
		return nil
	}
	return syncFolder(filepath.Dir(p.target))
}

// discard removes a file that was not placed.
func (p *pendingFile) discard() {
	if !p.closed {
		p.file.Close()
	}
	if !p.placed {
		os.Remove(p.file.Name())
	}
}

// inFolder blames the folder for what kept a file from being created in it.
func inFolder(folder string, err error) error { return fmt.Errorf("folder %q: %w", folder, err) }

// resolve returns the file that path stands for, and its permissions if it exists.
func resolve(path string) (target string, perm fs.FileMode, err error) {
	if path == "" {
		return "", 0, errors.New("no file is named")
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path); err == nil {
			return "", 0, errors.New("a symbolic link to a file that does not exist")
		}
		return path, 0, nil
	}
	if err != nil {
		return "", 0, cause(err)
	}
	if err := mustBeRegular(info); err != nil {
		return "", 0, err
	}
	if target, err = filepath.EvalSymlinks(path); err != nil {
		return "", 0, cause(err)
	}
	return target, info.Mode().Perm(), nil
}

// fill has the content written to f.
func fill(f *os.File, opt FileOptions, write func(io.Writer) error) error {
	if err := reserve(f, opt.Size); err != nil {
		return cause(err)
	}
	t := &temporary{f: f, noSync: opt.NoSync}
	w := &buffered{bufio.NewWriterSize(t, 1<<16), t}
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if t.written < opt.Size {
		return cause(f.Truncate(t.written)) // which gives back the room that was taken in vain
	}
	return nil
}

// temporary writes a temporary file, whose name it keeps out of errors. The system is asked to bring what has been written onto the disk while more
// is made, so that the last sync of a large file finds little left to do.
type temporary struct {
	f       *os.File
	noSync  bool
	written int64 // bytes that are written, or somebody's to write

	mu            sync.Mutex
	landed, begun int64 // bytes that are written, and those of them that are on their way to the disk
}

// buffered is what content is written to.
type buffered struct {
	*bufio.Writer
	to *temporary
}

// Place implements [Placer].
func (w *buffered) Place(n int64) (io.WriterAt, error) {
	if err := w.Flush(); err != nil {
		return nil, err
	}
	p := &placed{w.to, w.to.written, n}
	w.to.written += n
	return p, nil
}

// placed is a run of bytes of a temporary file.
type placed struct {
	to    *temporary
	at, n int64
}

func (p *placed) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || int64(len(b)) > p.n-off {
		return 0, fmt.Errorf("%d bytes at %d do not fit into %d", len(b), off, p.n)
	}
	return p.to.writeAt(b, p.at+off)
}

// writeBehind is how many bytes are written before they are sent on their way.
const writeBehind = 32 << 20

func (t *temporary) Write(p []byte) (int, error) {
	n, err := t.writeAt(p, t.written)
	t.written += int64(n)
	return n, err
}

// writeAt may be called from several goroutines. As many bytes as have been written are about those at the beginning, since parts are written nearly in
// their order; what is not is left to the last sync.
func (t *temporary) writeAt(p []byte, at int64) (int, error) {
	n, err := t.f.WriteAt(p, at)
	t.mu.Lock()
	t.landed += int64(n)
	from, ready := t.begun, t.landed-t.begun
	begin := ready >= writeBehind && !t.noSync
	if begin {
		t.begun = t.landed
	}
	t.mu.Unlock()
	if begin {
		beginWriting(t.f, from, ready)
	}
	return n, cause(err)
}

// syncFolder makes a rename in folder durable, where the system has a way to.
func syncFolder(folder string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(folder)
	if err != nil {
		return inFolder(folder, cause(err))
	}
	defer d.Close()
	err = cause(d.Sync())
	if err == nil || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		return nil // some file systems know no sync of a folder
	}
	return inFolder(folder, err)
}
