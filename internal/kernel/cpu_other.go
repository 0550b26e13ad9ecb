//go:build !amd64 || purego

package kernel

// offered lists what there is: no assembly.
func offered() []*implementation[float32] { return []*implementation[float32]{portable[float32]()} }

// offered64 lists the same for float64.
func offered64() []*implementation[float64] { return []*implementation[float64]{portable[float64]()} }
