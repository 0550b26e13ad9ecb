//go:build !amd64 || purego

package kernel

// scansNamed is the implementation for an instruction set: there is no assembly.
func scansNamed[T Float](string) *scans[T] { s := portableScans[T](); return &s }
