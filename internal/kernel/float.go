package kernel

import "unsafe"

// Float is what the kernels compute in.
type Float interface{ float32 | float64 }

// isFloat32 reports whether T is float32.
func isFloat32[T Float]() bool {
	var zero T
	return unsafe.Sizeof(zero) == unsafe.Sizeof(float32(0))
}
