package report

// field is a rectangular grid of values, row-major, NaN where there is none.
type field struct {
	cols, rows int
	z          []float64
}

func (f *field) at(c, r int) float64 { return f.z[r*f.cols+c] }

// sample interpolates the field between its points; c and r are in units of the grid, inside it. It is NaN where one of the
// four points around is.
func (f *field) sample(c, r float64) float64 {
	c0, r0 := min(int(c), f.cols-2), min(int(r), f.rows-2)
	tc, tr := c-float64(c0), r-float64(r0)
	low := (1-tc)*f.at(c0, r0) + tc*f.at(c0+1, r0)
	high := (1-tc)*f.at(c0, r0+1) + tc*f.at(c0+1, r0+1)
	return (1-tr)*low + tr*high
}

// refine returns the field sampled at times as many steps in both directions.
func (f *field) refine(times int) *field {
	out := &field{cols: (f.cols-1)*times + 1, rows: (f.rows-1)*times + 1}
	out.z = make([]float64, 0, out.cols*out.rows)
	for r := range out.rows {
		for c := range out.cols {
			out.z = append(out.z, f.sample(float64(c)/float64(times), float64(r)/float64(times)))
		}
	}
	return out
}

// crossing names an edge of the grid on which a contour passes: from the point with index at, to the right or upwards.
type crossing struct {
	at int
	up bool
}

// gridPoint is a position in units of the grid.
type gridPoint struct{ c, r float64 }

// contour returns the lines on which the field has a level, by marching squares (Lorensen, Cline (1987), Marching Cubes,
// DOI 10.1145/37401.37422, in the plane). Cells with a NaN have no line. The order of the lines is that of the cells in which they begin,
// so it is the same each time; the contours of gonum/plot come in the order of a map.
func (f *field) contour(level float64) [][]gridPoint {
	links := map[crossing][]crossing{} // looked up only
	var order []crossing
	join := func(a, b crossing) {
		for _, e := range []crossing{a, b} {
			if len(links[e]) == 0 {
				order = append(order, e)
			}
		}
		links[a] = append(links[a], b)
		links[b] = append(links[b], a)
	}
	for r := range f.rows - 1 {
		for c := range f.cols - 1 {
			f.march(c, r, level, join)
		}
	}
	seen := map[crossing]bool{}
	var lines [][]gridPoint
	follow := func(start crossing) {
		var line []gridPoint
		for e, more := start, true; more; {
			seen[e] = true
			line = append(line, f.place(e, level))
			more = false
			for _, next := range links[e] {
				if !seen[next] {
					e, more = next, true
					break
				}
			}
		}
		if len(links[start]) == 2 {
			line = append(line, line[0]) // a ring: the open lines are gone when rings are followed
		}
		lines = append(lines, line)
	}
	for _, ends := range []int{1, 2} { // open lines from one of their ends, then rings
		for _, e := range order {
			if !seen[e] && len(links[e]) == ends {
				follow(e)
			}
		}
	}
	return lines
}

// march joins the edges of one cell between which the level passes.
func (f *field) march(c, r int, level float64, join func(a, b crossing)) {
	bl, br, tl, tr := f.at(c, r), f.at(c+1, r), f.at(c, r+1), f.at(c+1, r+1)
	if sum := bl + br + tl + tr; sum != sum { // a NaN
		return
	}
	i := r*f.cols + c
	bottom, top := crossing{i, false}, crossing{i + f.cols, false}
	left, right := crossing{i, true}, crossing{i + 1, true}
	var cut []crossing // counterclockwise
	for _, e := range []struct {
		a, b float64
		on   crossing
	}{{bl, br, bottom}, {br, tr, right}, {tr, tl, top}, {tl, bl, left}} {
		if (e.a < level) != (e.b < level) {
			cut = append(cut, e.on)
		}
	}
	switch {
	case len(cut) == 2:
		join(cut[0], cut[1])
	case len(cut) == 4 && (bl < level) == ((bl+br+tl+tr)/4 < level): // a saddle: the middle tells which corners belong together
		join(bottom, right)
		join(top, left)
	case len(cut) == 4:
		join(bottom, left)
		join(top, right)
	}
}

// place returns where on the edge the level is met.
func (f *field) place(e crossing, level float64) gridPoint {
	c, r := e.at%f.cols, e.at/f.cols
	if e.up {
		a, b := f.at(c, r), f.at(c, r+1)
		return gridPoint{float64(c), float64(r) + (level-a)/(b-a)}
	}
	a, b := f.at(c, r), f.at(c+1, r)
	return gridPoint{float64(c) + (level-a)/(b-a), float64(r)}
}
