package kernel

// portableEngine is the engine in Go.
func portableEngine[T Float]() engine[T] {
	return engine[T]{
		name: "portable", mr: 4, nr: 4,
		multiply: multiplyPortable[T], packLines: packLinesPortable[T], packDepth: packDepthPortable[T],
	}
}

var (
	portable32 = portableEngine[float32]()
	portable64 = portableEngine[float64]()
)

func multiplyPortable[T Float](depth int, a, b, c []T, ldc int, accumulate bool) {
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

func packLinesPortable[T Float](dst []T, width int, src []T, ld, depth int) {
	packEdgeLines(dst, width, width, src, ld, depth)
}

func packDepthPortable[T Float](dst []T, width int, src []T, ld, depth int) {
	packEdgeDepth(dst, width, width, src, ld, depth)
}

// packEdgeLines packs a panel of which only the first have lines exist.
func packEdgeLines[T Float](dst []T, width, have int, src []T, ld, depth int) {
	if have < width {
		clear(dst)
	}
	for i := range have {
		at := i
		for _, v := range src[i*ld:][:depth] {
			dst[at] = v
			at += width
		}
	}
}

// packEdgeDepth packs a panel of which only the first have lines exist.
func packEdgeDepth[T Float](dst []T, width, have int, src []T, ld, depth int) {
	for p := range depth {
		to := dst[p*width:][:width]
		copy(to, src[p*ld:][:have])
		clear(to[have:])
	}
}
