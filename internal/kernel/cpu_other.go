//go:build !amd64 || purego

package kernel

// offered lists what there is: no assembly.
func offered() []*implementation[float32] { return []*implementation[float32]{portable[float32]()} }
