//go:build !linux

package kernel

// askForHugePages does nothing: other systems decide by themselves.
func askForHugePages([]byte) {}
