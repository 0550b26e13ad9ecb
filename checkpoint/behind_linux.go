package checkpoint

import (
	"errors"
	"os"
	"syscall"
)

// reserveAtLeast is the size of files that room is taken for: smaller ones are written as quickly without.
const reserveAtLeast = 1 << 20

// reserve takes room on the disk for so many bytes and leaves the file empty. Only a disk that has no room for them is an error: some file systems
// cannot do it. With blocks that are there, ext4 has less to do for every page that is written.
func reserve(f *os.File, size int64) error {
	if size < reserveAtLeast {
		return nil
	}
	const keepSize = 1 // FALLOC_FL_KEEP_SIZE of linux/falloc.h
	c, err := f.SyscallConn()
	if err != nil {
		return nil
	}
	var failed error
	err = c.Control(func(fd uintptr) {
		for {
			if failed = syscall.Fallocate(int(fd), keepSize, 0, size); !errors.Is(failed, syscall.EINTR) {
				return
			}
		}
	})
	if err == nil && (errors.Is(failed, syscall.ENOSPC) || errors.Is(failed, syscall.EDQUOT)) {
		return failed
	}
	return nil
}

// beginWriting has the system begin to write a part of a file, without waiting for it. It is advice: what fails is found by the sync at the end.
func beginWriting(f *os.File, from, n int64) {
	const write = 2 // SYNC_FILE_RANGE_WRITE of linux/fs.h
	c, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = c.Control(func(fd uintptr) { _ = syscall.SyncFileRange(int(fd), from, n, write) })
}
