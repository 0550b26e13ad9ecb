package kernel

import (
	"os"
	"slices"
	"unsafe"
)

//go:generate go -C gen run .

// limitVariable is the environment variable that lowers the choice of the instruction set. It is read once, at start.
const limitVariable = "REBASIN_CPU"

// An implementation is the kernels of one instruction set.
type implementation[T Float] struct {
	name string
	engine[T]
	vectors[T]
	gathers[T]
	norms[T]
	halves
	// peak does a known amount of multiply-adds on registers and returns it in floating-point operations.
	peak func(rounds int) float64
}

func portable[T Float]() *implementation[T] {
	return &implementation[T]{
		name: "portable", engine: portableEngine[T](), vectors: portableVectors[T](), gathers: portableGathers[T](), norms: portableNorms[T](),
		halves: portableHalves(),
		peak:   peakPortable[T],
	}
}

var (
	chosen64 = choose(offered64(), os.Getenv(limitVariable))
	chosen32 = choose(offered(), os.Getenv(limitVariable))
)

// Features names the set of float32 kernels in use: "portable", "avx2" or "avx512".
func Features() string { return chosen32.name }

// choose returns the best implementation not above the limit. A limit that is no name of a set is none.
func choose[T Float](offers []*implementation[T], limit string) *implementation[T] {
	names := []string{"portable", "avx2", "avx512"}
	highest := slices.Index(names, limit)
	if highest < 0 {
		highest = len(names) - 1
	}
	best := offers[0]
	for _, o := range offers {
		if slices.Index(names, o.name) <= highest {
			best = o
		}
	}
	return best
}

// current is the implementation kernels on T run on.
func current[T Float]() *implementation[T] {
	if isFloat32[T]() {
		return (*implementation[T])(unsafe.Pointer(chosen32))
	}
	return (*implementation[T])(unsafe.Pointer(chosen64))
}
