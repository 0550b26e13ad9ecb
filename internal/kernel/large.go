package kernel

import "unsafe"

const (
	hugePage = 2 << 20 // bytes of a large page of memory
	large    = 8 * hugePage
)

// Make returns n zero elements of a type without pointers. Where they are many the system is asked for large pages, before any is touched: a fault for each
// 4 KiB can take longer than what is done with them.
func Make[T any](n int) []T {
	s := make([]T, n)
	if n == 0 {
		return s
	}
	size := n * int(unsafe.Sizeof(s[0]))
	if size < large {
		return s
	}
	data := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), size)
	first := -int(uintptr(unsafe.Pointer(unsafe.SliceData(data)))) & (hugePage - 1)
	askForHugePages(data[first : first+(size-first)/hugePage*hugePage])
	return s
}
