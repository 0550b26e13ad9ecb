package tensor

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Shape is the extent of every axis, outermost first. The empty shape is that of a scalar.
type Shape []int

// String returns the extents in brackets: "[3 4]", "[]".
func (s Shape) String() string {
	var b strings.Builder
	b.WriteByte('[')
	for i, n := range s {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Itoa(n))
	}
	b.WriteByte(']')
	return b.String()
}

// Elements returns the number of elements: the product of the extents, 1 for a scalar. A negative extent is an error, and so is a product that
// does not fit an int64. A zero extent makes the product zero but excuses no overflow among the others, so that the product of any subset of the
// extents of an accepted shape fits too.
func (s Shape) Elements() (int, error) {
	product, empty := 1, false
	for _, n := range s {
		switch {
		case n < 0:
			return 0, fmt.Errorf("tensor: shape %v has a negative extent", s)
		case n == 0:
			empty = true
		case product > math.MaxInt64/n:
			return 0, fmt.Errorf("tensor: shape %v: number of elements overflows int64", s)
		default:
			product *= n
		}
	}
	if empty {
		return 0, nil
	}
	return product, nil
}

// Equal reports whether s and t have the same rank and extents.
func (s Shape) Equal(t Shape) bool { return slices.Equal(s, t) }

// Clone returns a copy that shares nothing with s.
func (s Shape) Clone() Shape { return append(make(Shape, 0, len(s)), s...) }
