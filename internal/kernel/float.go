package kernel

import "unsafe"

// Float is what the kernels compute in.
type Float interface{ float32 | float64 }

// asFloat32 views x as float32 when that is what T is, which is where assembly takes over from the portable kernels.
func asFloat32[T Float](x []T) ([]float32, bool) {
	var zero T
	if unsafe.Sizeof(zero) != 4 {
		return nil, false
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(x))), len(x)), true
}
