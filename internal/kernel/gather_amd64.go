//go:build amd64 && !purego

package kernel

func gathersAVX2() gathers[float32] {
	return gathers[float32]{gather: gatherAVX2, scatter: scatterAVX2}
}

func gatherAVX2(dst []float32, width int, src []float32, offsets []int32, lanes int) {
	switch {
	case len(offsets) == 0:
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
