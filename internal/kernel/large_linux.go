package kernel

import "syscall"

// askForHugePages is advice: a system that has none goes on as it is.
func askForHugePages(data []byte) { _ = syscall.Madvise(data, syscall.MADV_HUGEPAGE) }
