//go:build !(amd64 || arm64 || loong64 || riscv64 || ppc64le || mips64le || wasm)

package tensor

// Tensors are little-endian bytes seen through typed slices, and extents are 64-bit ints. On any other host the numbers would be silently
// wrong, so the build stops here instead: the undeclared name is the message.
var _ = tensor_needs_a_little_endian_64_bit_host
