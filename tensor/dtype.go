package tensor

import (
	"fmt"
	"math"
)

// DType is the type of the elements of a tensor. The zero value is no dtype.
type DType uint8

// The dtypes, by the bits of one element. Those after Bool are carried: they have no arithmetic here.
const (
	F64    DType = iota + 1 // IEEE 754 binary64
	F32                     // IEEE 754 binary32
	F16                     // IEEE 754 binary16
	BF16                    // the upper half of a binary32
	I64                     // two's complement
	I32                     // two's complement
	I16                     // two's complement
	I8                      // two's complement
	U8                      // unsigned
	Bool                    // one byte, 0 or 1
	U16                     // carried
	U32                     // carried
	U64                     // carried
	F8E4M3                  // carried: 4 bits of exponent, 3 of mantissa
	F8E5M2                  // carried: 5 bits of exponent, 2 of mantissa
	dtypeEnd
)

// dtypes holds the spelling, which is that of safetensors, and the bytes of an element. Index 0 is no dtype.
var dtypes = [dtypeEnd]struct {
	name string
	size int
}{
	F64: {"F64", 8}, F32: {"F32", 4}, F16: {"F16", 2}, BF16: {"BF16", 2},
	I64: {"I64", 8}, I32: {"I32", 4}, I16: {"I16", 2}, I8: {"I8", 1}, U8: {"U8", 1}, Bool: {"BOOL", 1},
	U16: {"U16", 2}, U32: {"U32", 4}, U64: {"U64", 8}, F8E4M3: {"F8_E4M3", 1}, F8E5M2: {"F8_E5M2", 1},
}

// DTypes returns all dtypes, in the order of their declaration.
func DTypes() []DType {
	all := make([]DType, 0, dtypeEnd-1)
	for d := F64; d < dtypeEnd; d++ {
		all = append(all, d)
	}
	return all
}

// ParseDType reads the safetensors spelling of a dtype: "F32", "BF16", "BOOL", "F8_E4M3".
func ParseDType(s string) (DType, error) {
	for d := F64; d < dtypeEnd; d++ {
		if dtypes[d].name == s {
			return d, nil
		}
	}
	return 0, fmt.Errorf("tensor: unknown dtype %q", s)
}

// Valid reports whether d is one of the declared dtypes.
func (d DType) Valid() bool { return d > 0 && d < dtypeEnd }

// Size returns the bytes of one element. It panics when d is not a declared dtype.
func (d DType) Size() int {
	if !d.Valid() {
		panic("tensor: Size of " + d.String())
	}
	return dtypes[d].size
}

// String returns the safetensors spelling.
func (d DType) String() string {
	if !d.Valid() {
		return fmt.Sprintf("DType(%d)", uint8(d))
	}
	return dtypes[d].name
}

// IsFloat reports whether d is a floating-point dtype with arithmetic here: F64, F32, F16 or BF16. The carried F8 dtypes are not.
func (d DType) IsFloat() bool { return d >= F64 && d <= BF16 }

// Bytes returns the bytes of a dense tensor of dtype d and shape s, or an error when d is no dtype, an extent is negative or the size does not
// fit an int64.
func (d DType) Bytes(s Shape) (int, error) {
	if !d.Valid() {
		return 0, fmt.Errorf("tensor: %v is not a dtype", d)
	}
	n, err := s.Elements()
	if err != nil {
		return 0, err
	}
	if n > math.MaxInt64/d.Size() {
		return 0, fmt.Errorf("tensor: shape %v of %v: size overflows int64", s, d)
	}
	return n * d.Size(), nil
}
