package kernel

// MaxPairs stores in y the greatest elements of windows of two rows and two columns that lie side by side: y[j] is the greatest of top[2j], top[2j+1],
// bottom[2j] and bottom[2j+1], the first of equal ones, or NaN if one of them is.
func MaxPairs[T Float](y, top, bottom []T) {
	sameLength("MaxPairs", 2*len(y), len(top), len(bottom))
	current[T]().maxPairs(y, top, bottom)
}

// MaxPairsGrad stores in dTop and dBottom the gradient of [MaxPairs] given that of y: the first greatest element of a window, or the first NaN, takes
// all of it.
func MaxPairsGrad[T Float](dTop, dBottom, dy, top, bottom []T) {
	sameLength("MaxPairsGrad", 2*len(dy), len(top), len(bottom))
	sameLength("MaxPairsGrad", 2*len(dy), len(dTop), len(dBottom))
	current[T]().maxPairsGrad(dTop, dBottom, dy, top, bottom)
}

// firstGreatest is the greatest element and its place.
func firstGreatest[T Float](a, b, c, d T) (best T, place int) {
	best = a
	if better(b, best) {
		best, place = b, 1
	}
	if better(c, best) {
		best, place = c, 2
	}
	if better(d, best) {
		best, place = d, 3
	}
	return best, place
}

// better says whether v comes before the best so far: NaN comes before numbers.
func better[T Float](v, best T) bool { return v > best || v != v && best == best }

func maxPairs[T Float](y, top, bottom []T) {
	for j := range y {
		y[j], _ = firstGreatest(top[2*j], top[2*j+1], bottom[2*j], bottom[2*j+1])
	}
}

func maxPairsGrad[T Float](dTop, dBottom, dy, top, bottom []T) {
	for j, d := range dy {
		_, place := firstGreatest(top[2*j], top[2*j+1], bottom[2*j], bottom[2*j+1])
		dTop[2*j], dTop[2*j+1], dBottom[2*j], dBottom[2*j+1] = 0, 0, 0, 0
		if place < 2 {
			dTop[2*j+place] = d
		} else {
			dBottom[2*j+place-2] = d
		}
	}
}
