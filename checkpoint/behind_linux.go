package checkpoint

import (
	"os"
	"syscall"
)

// beginWriting has the system begin to write a part of a file, without waiting for it. It is advice: what fails is found by the sync at the end.
func beginWriting(f *os.File, from, n int64) {
	const write = 2 // SYNC_FILE_RANGE_WRITE of linux/fs.h
	c, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = c.Control(func(fd uintptr) { _ = syscall.SyncFileRange(int(fd), from, n, write) })
}
