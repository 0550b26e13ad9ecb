//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package task

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// lockPath makes a file that must not be there yet. It stays behind a process that was killed, where the system has no locks that end with it.
func lockPath(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w, or was killed: remove %q if there is none", ErrLocked, path)
	}
	if err != nil {
		return nil, err
	}
	return &made{f, path}, nil
}

// made is a lock file that goes with its lock.
type made struct {
	*os.File
	path string
}

func (m *made) Close() error { return errors.Join(m.File.Close(), os.Remove(m.path)) }
