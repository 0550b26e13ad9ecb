package kernel

// transposeBlock is the side of the square blocks Transpose works in: two of them stay in the first-level cache.
const transposeBlock = 16

// Transpose stores in dst, cols x rows, the transpose of src, rows x cols. They must not overlap.
func Transpose[T Float](dst, src []T, rows, cols int) {
	sameLength("Transpose", rows*cols, len(dst), len(src))
	for r0 := 0; r0 < rows; r0 += transposeBlock {
		r1 := min(r0+transposeBlock, rows)
		for c0 := 0; c0 < cols; c0 += transposeBlock {
			c1 := min(c0+transposeBlock, cols)
			for r := r0; r < r1; r++ {
				for c, v := range src[r*cols+c0 : r*cols+c1] {
					dst[(c0+c)*rows+r] = v
				}
			}
		}
	}
}
