//go:build amd64 && !purego

package kernel

// engineAVX512 multiplies 12 x 32 tiles in 24 registers of 16 elements.
func engineAVX512() engine[float32] {
	return engine[float32]{
		mr: 12, nr: 32, blocks: blocking{depth: 384, span: 1024, rows: 96, cols: 256},
		multiply: multiply12x32AVX512, multiplyHalf: multiply12x16AVX512,
		short:     []shortTile[float32]{{4, multiply4x32AVX512, multiply4x16AVX512}, {8, multiply8x32AVX512, multiply8x16AVX512}},
		packLines: packLinesAVX2, packRows: packRowsAVX2, storeEdge: storeEdgeAVX2,
	}
}

// engineAVX2 multiplies 6 x 16 tiles in 12 registers of 8 elements. Tiles of four rows make the most of what is left of 16 or 64 channels.
// A panel of B of depth 256 and two of A fill 28 of the 32 KiB of the first-level cache, and the panels of A of a tile 192 of 512 KiB of the second.
func engineAVX2() engine[float32] {
	return engine[float32]{
		mr: 6, nr: 16, blocks: blocking{depth: 256, span: 1024, rows: 192, cols: 256},
		multiply: multiply6x16AVX2, multiplyHalf: multiply6x8AVX2,
		short:     []shortTile[float32]{{4, multiply4x16AVX2, multiply4x8AVX2}},
		packLines: packLinesAVX2, packRows: packRowsAVX2, storeEdge: storeEdgeAVX2, prefetch: prefetchLines,
	}
}

// doubleAVX512 multiplies 12 x 16 tiles in 24 registers of 8 elements. Blocks of half the depth are as large as those of float32.
func doubleAVX512() engine[float64] {
	return engine[float64]{
		mr: 12, nr: 16, blocks: blocking{depth: 192, span: 768, rows: 96, cols: 128},
		multiply: multiplyDouble12x16AVX512, multiplyHalf: multiplyDouble12x8AVX512,
		short:     []shortTile[float64]{{4, multiplyDouble4x16AVX512, multiplyDouble4x8AVX512}},
		packLines: packLines[float64], packRows: packRows[float64], storeEdge: storeEdge[float64],
	}
}

// doubleAVX2 multiplies 6 x 8 tiles in 12 registers of 4 elements.
func doubleAVX2() engine[float64] {
	return engine[float64]{
		mr: 6, nr: 8, blocks: blocking{depth: 128, span: 512, rows: 192, cols: 128},
		multiply: multiplyDouble6x8AVX2, multiplyHalf: multiplyDouble6x4AVX2,
		packLines: packLines[float64], packRows: packRows[float64], storeEdge: storeEdge[float64],
	}
}

// rowMask is the masks of all numbers of lines: those of h lines begin at 32-h.
var rowMask = func() (m [64]int32) {
	for i := range 32 {
		m[i] = -1
	}
	return m
}()

func packSomeRowsAVX2(dst []float32, width, have int, src []float32, ld, depth int) {
	if depth == 0 {
		return
	}
	mask := &rowMask[32-have]
	switch width {
	case 6:
		packSomeRows6AVX2(dst, src, ld, depth, mask)
	case 12:
		packSomeRows12AVX2(dst, src, ld, depth, mask)
	case 16:
		packSomeRows16AVX2(dst, src, ld, depth, mask)
	default:
		packSomeRows32AVX2(dst, src, ld, depth, mask)
	}
}

// packLinesAVX2 transposes four lines at a time, the last four together with what is left over, and leaves fewer lines and depths to Go.
func packLinesAVX2(dst []float32, width, have int, src []float32, ld, depth int) {
	quads, sixteens := have/4, depth/16
	done := 0 // depths
	if quads > 0 && sixteens > 0 {
		packQuadsAVX2(dst, width, src, ld, quads, sixteens)
		if first := have - 4; first > 4*(quads-1) {
			packQuadsAVX2(dst[first:], width, src[first*ld:], ld, 1, sixteens)
		}
		done = 16 * sixteens
	}
	if fours := (depth - done) / 4; quads > 0 && fours > 0 {
		packFoursAVX2(dst[done*width:], width, src[done:], ld, quads, fours)
		if first := have - 4; first > 4*(quads-1) {
			packFoursAVX2(dst[done*width+first:], width, src[first*ld+done:], ld, 1, fours)
		}
		done += 4 * fours
	}
	if done < depth {
		for i := range have {
			packLine(dst[done*width+i:], width, src[i*ld+done:][:depth-done])
		}
	}
	if have < width {
		clearLines(dst, width, have, depth)
	}
}

func packRowsAVX2(dst []float32, width, have int, src []float32, ld, depth int) {
	switch {
	case have < width:
		packSomeRowsAVX2(dst, width, have, src, ld, depth)
	case width == 6:
		packRows6AVX2(dst, src, ld, depth)
	case width == 12:
		packRows12AVX2(dst, src, ld, depth)
	case width == 16:
		packRows16AVX2(dst, src, ld, depth)
	default:
		packRows32AVX2(dst, src, ld, depth)
	}
}
