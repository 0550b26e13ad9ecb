//go:build amd64 && !purego

package kernel

func gathersAVX2() gathers[float32] {
	return gathers[float32]{gather: gatherAVX2, scatter: scatterAVX2}
}

func gatherAVX2(dst []float32, width int, src []float32, offsets []int32, lanes int) {
	switch {
	case len(offsets) == 0:
	case lanes == 32:
		gather32AVX2(dst, width, src, offsets)
	case lanes == 16:
		gather16AVX2(dst, width, src, offsets)
	case lanes == 8:
		gather8AVX2(dst, width, src, offsets)
	case lanes == 4:
		gather4AVX2(dst, width, src, offsets)
	case lanes == 2:
		gather2AVX2(dst, width, src, offsets)
	default:
		gatherRuns(dst, width, src, offsets, lanes)
	}
}

func scatterAVX2(dst []float32, offsets []int32, src []float32, width, lanes int) {
	switch {
	case len(offsets) == 0:
	case lanes == 32:
		scatter32AVX2(dst, offsets, src, width)
	case lanes == 16:
		scatter16AVX2(dst, offsets, src, width)
	case lanes == 8:
		scatter8AVX2(dst, offsets, src, width)
	case lanes == 4:
		scatter4AVX2(dst, offsets, src, width)
	case lanes == 2:
		scatter2AVX2(dst, offsets, src, width)
	default:
		scatterRuns(dst, offsets, src, width, lanes)
	}
}

// storeEdgeAVX2 leaves numbers of columns that are no multiple of four to Go.
func storeEdgeAVX2(c []float32, ldc int, tile []float32, width, rows, cols int, accumulate bool) {
	if rows == 0 || cols == 0 || cols%4 != 0 {
		storeEdge(c, ldc, tile, width, rows, cols, accumulate)
		return
	}
	holdsMatrix("storeEdge", "c", len(c), rows, cols, ldc)
	holdsMatrix("storeEdge", "tile", len(tile), rows, cols, width)
	if accumulate {
		addRowsAVX2(c, ldc, tile, width, rows, cols/4)
	} else {
		storeRowsAVX2(c, ldc, tile, width, rows, cols/4)
	}
}
