package kernel

// gathers are the copies that convolutions consist of beside multiplying: runs of neighbouring elements that lie at given offsets. The lanes of
// a run are 1, 2, 4, 8, 16 or 32. The caller sees to it that all runs lie within their slices.
type gathers[T Float] struct {
	// gather copies runs: dst[p*width+i] = src[offsets[p]+i].
	gather func(dst []T, width int, src []T, offsets []int32, lanes int)
	// scatter adds runs: dst[offsets[p]+i] += src[p*width+i]. The runs of one call may lie anywhere, also upon one another.
	scatter func(dst []T, offsets []int32, src []T, width, lanes int)
}

func portableGathers[T Float]() gathers[T] {
	return gathers[T]{gather: gatherRuns[T], scatter: scatterRuns[T]}
}

func gatherRuns[T Float](dst []T, width int, src []T, offsets []int32, lanes int) {
	for p, o := range offsets {
		copy(dst[p*width:][:lanes], src[o:])
	}
}

func scatterRuns[T Float](dst []T, offsets []int32, src []T, width, lanes int) {
	for p, o := range offsets {
		to, from := dst[o:][:lanes], src[p*width:][:lanes]
		for i, v := range from {
			to[i] += v
		}
	}
}

// maxLanes is the longest run.
const maxLanes = 32

// lanesOf is the longest run that n neighbours allow.
func lanesOf(n int) int {
	lanes := maxLanes
	for lanes > n {
		lanes /= 2
	}
	return lanes
}
