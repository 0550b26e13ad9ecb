package assign

// expansion is an exact sum of float64s: non-overlapping parts of increasing magnitude whose sum it is (Shewchuk 1997, section
// 2.4, with zero parts left out). The zero value is the sum zero. It does not grow with the number of terms, only with the range
// of their exponents.
type expansion struct{ parts []float64 }

// reset makes e zero.
func (e *expansion) reset() { e.parts = e.parts[:0] }

// add adds x, a finite number.
func (e *expansion) add(x float64) {
	kept := 0
	for _, y := range e.parts {
		high, low := twoSum(x, y)
		if low != 0 {
			e.parts[kept] = low
			kept++
		}
		x = high
	}
	e.parts = e.parts[:kept]
	if x != 0 {
		e.parts = append(e.parts, x)
	}
}

// sign is -1, 0 or 1, that of the part of the largest magnitude.
func (e *expansion) sign() int {
	if len(e.parts) == 0 {
		return 0
	}
	if e.parts[len(e.parts)-1] < 0 {
		return -1
	}
	return 1
}

// round is the float64 nearest to the sum, to even where two are equally near.
func (e *expansion) round() float64 {
	k := len(e.parts)
	if k == 0 {
		return 0
	}
	k--
	high, low := e.parts[k], 0.0
	for k > 0 && low == 0 {
		k--
		high, low = twoSum(high, e.parts[k])
	}
	// Where low is just half a unit in the last place of high, rounding went to even without having seen the parts below, which
	// break the tie.
	if k > 0 && low != 0 && (low < 0) == (e.parts[k-1] < 0) {
		if up := high + 2*low; up-high == 2*low {
			high = up
		}
	}
	return high
}

// twoSum is a + b in two parts: the rounded sum and its error, exact whatever the magnitudes (D. E. Knuth, "The Art of Computer
// Programming", volume 2, section 4.2.2, theorem B).
func twoSum(a, b float64) (sum, err float64) {
	sum = a + b
	t := sum - a
	return sum, (a - (sum - t)) + (b - t)
}
