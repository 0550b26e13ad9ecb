package kernel

import "fmt"

// sameLength panics when a vector kernel was given slices of different lengths.
func sameLength(kernel string, want int, lengths ...int) {
	for _, n := range lengths {
		if n != want {
			panic(fmt.Sprintf("kernel: %s: slices of %d and %d elements", kernel, want, n))
		}
	}
}

// holdsMatrix panics when a slice is too short for a rows x cols matrix with leading dimension ld.
func holdsMatrix(kernel, name string, have, rows, cols, ld int) {
	if rows < 0 || cols < 0 {
		panic(fmt.Sprintf("kernel: %s: %s is %d x %d", kernel, name, rows, cols))
	}
	if rows == 0 || cols == 0 {
		return
	}
	if ld < cols {
		panic(fmt.Sprintf("kernel: %s: %s has %d columns but leading dimension %d", kernel, name, cols, ld))
	}
	if need := (rows-1)*ld + cols; have < need {
		panic(fmt.Sprintf("kernel: %s: %s has %d elements, needs %d", kernel, name, have, need))
	}
}
