package kernel

// portableEngine is the engine in Go.
func portableEngine[T Float]() engine[T] {
	return engine[T]{
		mr: 4, nr: 4,
		multiply: multiply4x4[T], packLines: packLines[T], packRows: packRows[T],
	}
}

// multiply4x4 computes two rows of the tile at a time, whose sums fit into registers.
func multiply4x4[T Float](depth int, a, b, c []T, ldc int, accumulate bool) {
	for i := 0; i < 4; i += 2 {
		var c00, c01, c02, c03, c10, c11, c12, c13 T
		for p := 0; p < depth; p++ {
			bp := b[p*4 : p*4+4 : p*4+4]
			a0, a1 := a[p*4+i], a[p*4+i+1]
			c00 += a0 * bp[0]
			c01 += a0 * bp[1]
			c02 += a0 * bp[2]
			c03 += a0 * bp[3]
			c10 += a1 * bp[0]
			c11 += a1 * bp[1]
			c12 += a1 * bp[2]
			c13 += a1 * bp[3]
		}
		r0, r1 := c[i*ldc:][:4], c[(i+1)*ldc:][:4]
		if accumulate {
			c00, c01, c02, c03 = r0[0]+c00, r0[1]+c01, r0[2]+c02, r0[3]+c03
			c10, c11, c12, c13 = r1[0]+c10, r1[1]+c11, r1[2]+c12, r1[3]+c13
		}
		r0[0], r0[1], r0[2], r0[3] = c00, c01, c02, c03
		r1[0], r1[1], r1[2], r1[3] = c10, c11, c12, c13
	}
}

// packLines transposes.
func packLines[T Float](dst []T, width, have int, src []T, ld, depth int) {
	for i := range have {
		packLine(dst[i:], width, src[i*ld:][:depth])
	}
	clearLines(dst, width, have, depth)
}

// packLine stores the elements of a line width apart.
func packLine[T Float](dst []T, width int, line []T) {
	at := 0
	for _, v := range line {
		dst[at] = v
		at += width
	}
}

// clearLines zeroes the lines of a panel from the given one on.
func clearLines[T Float](dst []T, width, from, depth int) {
	for p := range depth {
		clear(dst[p*width+from : (p+1)*width])
	}
}

func packRows[T Float](dst []T, width, have int, src []T, ld, depth int) {
	for p := range depth {
		copy(dst[p*width:][:width], src[p*ld:][:have])
	}
	clearLines(dst, width, have, depth)
}
