package kernel

import "unsafe"

// Features names the set of kernels in use: "portable", "avx2" or "avx512".
func Features() string { return selected32.name }

// selected32 is the engine float32 products run on.
var selected32 = &portable32

// currentEngine is the engine products of T run on.
func currentEngine[T Float]() *engine[T] {
	var zero T
	if unsafe.Sizeof(zero) == 4 {
		return (*engine[T])(unsafe.Pointer(selected32))
	}
	return (*engine[T])(unsafe.Pointer(&portable64))
}
