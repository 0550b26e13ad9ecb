// Package tensor holds dense arrays the way checkpoint files hold them.
//
// A [Tensor] is a dtype, a shape and bytes: row-major (the last axis varies fastest), little-endian, and starting at an address that is a
// multiple of eight. [Of] views those bytes as a typed slice without copying. The view is only right on a little-endian host, so the package
// refuses to compile for any other; see host.go.
//
// Two kinds of dtype exist. Those with arithmetic here (F64, F32, F16, BF16, the signed integers, U8 and Bool) can be converted to a float
// dtype with [Tensor.Convert]. The carried ones (U16, U32, U64, F8E4M3, F8E5M2) are copied, gathered, compared and written, never computed
// with. What only moves elements about, such as [Tensor.Take], works on every dtype by element size.
//
// Mistakes of a caller (a slice of the wrong length, a view of the wrong type) panic with a message that names the function. Whatever may come
// from a file is an error: [ParseDType], [Shape.Elements], [DType.Bytes], [FromBytes], [Tensor.Convert] and [Tensor.Take].
//
// A tensor has no lock. Concurrent reads are safe; a write through [Of] or [Tensor.Bytes] must not meet any other use.
package tensor
