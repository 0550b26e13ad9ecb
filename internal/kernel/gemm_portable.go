package kernel

// portableEngine is the engine in Go.
func portableEngine[T Float]() engine[T] {
	return engine[T]{
		mr: 4, nr: 4, blocks: blocking{depth: 384, span: 1024, rows: 96, cols: 256},
		multiply: multiply4x4[T], multiplyHalf: multiply4x2[T], packLines: packLines[T], packRows: packRows[T], storeEdge: storeEdge[T],
	}
}

// multiply4x4 computes two rows of the tile at a time, whose sums fit into registers.
func multiply4x4[T Float](depth int, a, b, c []T, ldc int, accumulate bool) {
	for i := 0; i < 4; i += 2 {
		var c00, c01, c02, c03, c10, c11, c12, c13 T
		for p := range depth {
			ap, bp := a[p*4+i:][:2], b[p*4:][:4]
			c00 += ap[0] * bp[0]
			c01 += ap[0] * bp[1]
			c02 += ap[0] * bp[2]
			c03 += ap[0] * bp[3]
			c10 += ap[1] * bp[0]
			c11 += ap[1] * bp[1]
			c12 += ap[1] * bp[2]
			c13 += ap[1] * bp[3]
		}
		storePair(c[i*ldc:], c00, c01, accumulate)
		storePair(c[i*ldc+2:], c02, c03, accumulate)
		storePair(c[(i+1)*ldc:], c10, c11, accumulate)
		storePair(c[(i+1)*ldc+2:], c12, c13, accumulate)
	}
}

// multiply4x2 computes the left half of a tile.
func multiply4x2[T Float](depth int, a, b, c []T, ldc int, accumulate bool) {
	var c00, c01, c10, c11, c20, c21, c30, c31 T
	for p := range depth {
		ap, bp := a[p*4:][:4], b[p*4:][:2]
		c00 += ap[0] * bp[0]
		c01 += ap[0] * bp[1]
		c10 += ap[1] * bp[0]
		c11 += ap[1] * bp[1]
		c20 += ap[2] * bp[0]
		c21 += ap[2] * bp[1]
		c30 += ap[3] * bp[0]
		c31 += ap[3] * bp[1]
	}
	storePair(c, c00, c01, accumulate)
	storePair(c[ldc:], c10, c11, accumulate)
	storePair(c[2*ldc:], c20, c21, accumulate)
	storePair(c[3*ldc:], c30, c31, accumulate)
}

func storePair[T Float](c []T, x, y T, accumulate bool) {
	c = c[:2]
	if accumulate {
		x, y = c[0]+x, c[1]+y
	}
	c[0], c[1] = x, y
}

// packLines transposes, four lines at a time.
func packLines[T Float](dst []T, width, have int, src []T, ld, depth int) {
	i := 0
	for ; i+4 <= have; i += 4 {
		l0, l1, l2, l3 := src[i*ld:][:depth], src[(i+1)*ld:][:depth], src[(i+2)*ld:][:depth], src[(i+3)*ld:][:depth]
		at := i
		for p, v := range l0 {
			to := dst[at:][:4]
			to[0], to[1], to[2], to[3] = v, l1[p], l2[p], l3[p]
			at += width
		}
	}
	for ; i < have; i++ {
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
