package task

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// rename tries for two seconds: a folder cannot be renamed while anybody, such as a scanner for viruses, reads what has just been written into it.
func rename(from, to string) error {
	for wait := time.Millisecond; ; wait *= 2 {
		err := os.Rename(from, to)
		if wait > time.Second || !errors.Is(err, windows.ERROR_ACCESS_DENIED) && !errors.Is(err, windows.ERROR_SHARING_VIOLATION) {
			return err
		}
		time.Sleep(wait)
	}
}
