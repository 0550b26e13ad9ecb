package kernel

// A lattice is where the elements of a padded image of some channels lie: by channel, phase of row and column, then row and column. With a stride
// of s, element (y, x) has phase (y mod s, x mod s) and position (y/s, x/s) in its plane, so that the elements at one place of neighbouring patches
// are neighbours. Without padding and strides it is the image itself.
type lattice struct {
	channels     int
	size         [2]int // of the image
	stride, pads [2]int // pads: above, left
	plane        [2]int // of one phase
	elements     int
	isImage      bool
	rows         []stretch
	taps         []int32 // the offset of each element of a patch from the first, by channel, row and column of the kernel
}

// newLattice holds what out patches of the kernel touch, and no more.
func newLattice(channels int, size, out, kernel, stride, dilation, pads [2]int) lattice {
	l := lattice{channels: channels, size: size, stride: stride, pads: pads, isImage: pads == [2]int{}}
	for i := range 2 {
		reach := (out[i]-1)*stride[i] + (kernel[i]-1)*dilation[i] + 1
		l.plane[i] = ceilDiv(reach, stride[i])
		l.isImage = l.isImage && stride[i] == 1 && reach == size[i]
	}
	l.elements = channels * stride[0] * stride[1] * l.plane[0] * l.plane[1]
	l.rows = l.stretches()
	for c := range channels {
		for y := range kernel[0] {
			for x := range kernel[1] {
				l.taps = append(l.taps, int32(l.offset(c, y*dilation[0], x*dilation[1])))
			}
		}
	}
	return l
}

// offset of an element of the padded image.
func (l *lattice) offset(channel, y, x int) int {
	phase := (channel*l.stride[0]+y%l.stride[0])*l.stride[1] + x%l.stride[1]
	return (phase*l.plane[0]+y/l.stride[0])*l.plane[1] + x/l.stride[1]
}

// A stretch is a part of the image's rows that lies in one piece in the lattice: count elements, stride apart in the image from x on, from place on
// in the lattice, both in the first channel.
type stretch struct{ x, place, count int }

// stretches lists them for the rows and the phases of the columns.
func (l *lattice) stretches() []stretch {
	var list []stretch
	for y := range l.size[0] {
		padded := y + l.pads[0]
		if padded/l.stride[0] >= l.plane[0] {
			break
		}
		for phase := range l.stride[1] {
			x := ((phase-l.pads[1])%l.stride[1] + l.stride[1]) % l.stride[1]
			at := (x + l.pads[1]) / l.stride[1]
			if count := min(ceilDiv(l.size[1]-x, l.stride[1]), l.plane[1]-at); count > 0 {
				list = append(list, stretch{y*l.size[1] + x, l.offset(0, padded, x+l.pads[1]), count})
			}
		}
	}
	return list
}

// fillLattice copies an image into a lattice, with zeros around it.
func fillLattice[T Float](e *implementation[T], l *lattice, dst, x []T) {
	clear(dst[:l.elements])
	stride, image, channel := l.stride[1], l.size[0]*l.size[1], l.elements/l.channels
	for c := range l.channels {
		to, from := dst[c*channel:][:channel], x[c*image:][:image]
		if l.stride == [2]int{1, 1} && len(l.rows) > 0 { // stretches of one length, one for each row
			s := l.rows[0]
			e.storeEdge(to[s.place:], l.plane[1], from[s.x:], l.size[1], len(l.rows), s.count, false)
			continue
		}
		for _, s := range l.rows {
			at := s.x
			for i := range to[s.place:][:s.count] {
				to[s.place+i] = from[at]
				at += stride
			}
		}
	}
}

// emptyLattice copies a lattice back into the image, or adds it. Elements that no patch touches become zero.
func emptyLattice[T Float](l *lattice, dst, src []T, add bool) {
	stride, image, channel := l.stride[1], l.size[0]*l.size[1], l.elements/l.channels
	if !add {
		clear(dst[:l.channels*image])
	}
	for c := range l.channels {
		to, from := dst[c*image:][:image], src[c*channel:][:channel]
		for _, s := range l.rows {
			at := s.x
			for _, v := range from[s.place:][:s.count] {
				to[at] += v
				at += stride
			}
		}
	}
}

// A run is a number of neighbouring columns of a panel whose patches are neighbours in memory.
type run struct{ lane, base, lanes int }

// A columnMap says where the columns of a part of a convolution start: pixel after pixel, image after image.
type columnMap struct {
	width, pixels int     // of a panel; of an image
	panels        [][]run // the columns of each panel
}

// newColumnMap maps count images that lie imageStep apart, whose pixels' patches lie rowStep and 1 apart.
func newColumnMap(width, count, imageStep int, out [2]int, rowStep int) columnMap {
	m := columnMap{width: width, pixels: out[0] * out[1]}
	base := func(column int) int {
		pixel := column % m.pixels
		return column/m.pixels*imageStep + pixel/out[1]*rowStep + pixel%out[1]
	}
	columns := count * m.pixels
	for first := 0; first < columns; first += width {
		end := min(first+width, columns)
		var runs []run
		for column := first; column < end; {
			n, most := 1, min(maxLanes, end-column, m.pixels-column%m.pixels)
			for n < most && base(column+n) == base(column)+n {
				n++
			}
			n = lanesOf(n)
			runs = append(runs, run{lane: column - first, base: base(column), lanes: n})
			column += n
		}
		m.panels = append(m.panels, runs)
	}
	return m
}

// store writes rows of a tile whose columns are those of a panel from first on, of columns in all, to images [row][pixel] that lie imageStep apart, or
// adds them.
func storeColumns[T Float](e *implementation[T], m *columnMap, y []T, imageStep int, tile []T, width, rows, first, columns int, accumulate bool) {
	for column := first; column < min(first+width, columns); {
		pixel := column % m.pixels
		n := min(m.pixels-pixel, min(first+width, columns)-column)
		e.storeEdge(y[column/m.pixels*imageStep+pixel:], m.pixels, tile[column-first:], width, rows, n, accumulate)
		column += n
	}
}
