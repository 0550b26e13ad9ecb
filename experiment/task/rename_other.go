//go:build !windows

package task

import "os"

func rename(from, to string) error { return os.Rename(from, to) }
