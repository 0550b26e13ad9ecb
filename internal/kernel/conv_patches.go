package kernel

// patches is a convolution as a product: [rows x depth] weights by [depth x pixels] patches of each image and group.
type patches[T Float] struct {
	impl                  *implementation[T]
	batch, groups         int
	in, rows, depth       int // channels of a group in and out, elements of a patch
	block                 int // of the depth
	lattice               lattice
	columns               columnMap
	images                int // of a part
	imageStep, latticeLen int // elements of an input image, of the lattices of a part

	// of the run under way
	ws         *Workspace[T]
	x, bias, y []T
	lines      weightLines[T]
	accumulate bool
	packing    bool
}

func newPatches[T Float](e *implementation[T], batch, in, out, groups int, size, outSize, kernel, stride, dilation, pads [2]int) patches[T] {
	c := patches[T]{impl: e, batch: batch, groups: groups, in: in / groups, rows: out / groups}
	c.lattice = newLattice(c.in, size, outSize, kernel, stride, dilation, pads)
	c.depth = len(c.lattice.taps)
	c.block = ceilDiv(c.depth, ceilDiv(c.depth, convDepth))
	c.imageStep = in * size[0] * size[1]
	c.images = imagesOfTask(batch, outSize[0]*outSize[1])
	step := c.lattice.elements
	if c.lattice.isImage {
		step = c.imageStep
	}
	c.latticeLen = step * c.images
	c.columns = newColumnMap(e.nr, c.images, step, outSize, c.lattice.plane[1])
	return c
}

// weightLines are the weights as the rows of the product, one for each channel out of a group.
type weightLines[T Float] struct {
	w       []T
	groups  int
	flipped bool // the channels' roles exchanged, and the kernel turned around
	taps    int  // of the kernel
}

func (c *patches[T]) run(p *Pool, ws *Workspace[T], x []T, lines weightLines[T], bias, y []T, accumulate bool) {
	c.ws, c.x, c.bias, c.y, c.lines, c.accumulate = ws, x, bias, y, lines, accumulate || bias != nil
	ws.packed = grow(ws.packed, c.groups*c.panelRows()*c.impl.mr*c.depth)
	c.packing = true
	p.Run(c.groups*c.panelRows(), c)
	c.packing = false
	p.Run(ceilDiv(c.batch, c.images)*c.groups, c)
	c.ws, c.x, c.bias, c.y, c.lines.w = nil, nil, nil, nil, nil
}

// panelRows is the number of panels that the rows of a group make.
func (c *patches[T]) panelRows() int { return ceilDiv(c.rows, c.impl.mr) }

// Do implements Task.
func (c *patches[T]) Do(part int) {
	if c.packing {
		c.packRows(part/c.panelRows(), part%c.panelRows())
		return
	}
	s := c.ws.take()
	defer c.ws.give(s)
	first := part / c.groups * c.images
	c.product(s, first, min(c.images, c.batch-first), part%c.groups)
}

// packRows packs one panel of weights.
func (c *patches[T]) packRows(group, panel int) {
	mr := c.impl.mr
	dst := c.ws.packed[(group*c.panelRows()+panel)*mr*c.depth:][:mr*c.depth]
	row := panel * mr
	have := min(mr, c.rows-row)
	if !c.lines.flipped {
		c.impl.packLines(dst, mr, have, c.lines.w[(group*c.rows+row)*c.depth:], c.depth, c.depth)
		return
	}
	// Line i, element (o, t) is w[o][row+i][last-t], o being a channel of the group.
	taps := c.lines.taps
	step := c.rows * taps
	for o := range c.in {
		w := c.lines.w[(group*c.in+o)*step+row*taps:][:have*taps]
		for t := range taps {
			to := dst[(o*taps+t)*mr:][:mr]
			at := taps - 1 - t
			for i := range have {
				to[i] = w[at]
				at += taps
			}
			clear(to[have:])
		}
	}
}

// product computes some images of one group.
func (c *patches[T]) product(s *convScratch[T], first, have, group int) {
	pixels := c.columns.pixels
	x := c.x[first*c.imageStep+group*c.in*c.lattice.size[0]*c.lattice.size[1]:]
	y := c.y[(first*c.groups+group)*c.rows*pixels:]
	if c.bias != nil {
		c.startWithBias(y, have, c.bias[group*c.rows:][:c.rows])
	}
	if !c.lattice.isImage {
		s.image = grow(s.image, c.latticeLen)
		for i := range have {
			fillLattice(c.impl, &c.lattice, s.image[i*c.lattice.elements:], x[i*c.imageStep:])
		}
		x = s.image
	}
	s.panel = grow(s.panel, c.impl.nr*c.block)
	s.edge = grow(s.edge, c.impl.nr*c.impl.mr)
	panels := ceilDiv(have*pixels, c.impl.nr)
	for begin := 0; begin < panels; begin += panelsOfBlock {
		for depth0 := 0; depth0 < c.depth; depth0 += c.block {
			taps := c.lattice.taps[depth0:min(depth0+c.block, c.depth)]
			for q := begin; q < min(begin+panelsOfBlock, panels); q++ {
				for _, r := range c.columns.panels[q] {
					if q*c.impl.nr+r.lane < have*pixels {
						c.impl.gather(s.panel[r.lane:], c.impl.nr, x[r.base:], taps, r.lanes)
					}
				}
				c.multiplyPanel(s, y, q, have*pixels, group, depth0, len(taps))
			}
		}
	}
}

// startWithBias writes the bias of each channel to all of its pixels.
func (c *patches[T]) startWithBias(y []T, have int, bias []T) {
	pixels := c.columns.pixels
	for i := range have {
		for row, b := range bias {
			Fill(y[(i*c.groups*c.rows+row)*pixels:][:pixels], b)
		}
	}
}

// multiplyPanel multiplies all rows by a packed panel of columns, of so many in all.
func (c *patches[T]) multiplyPanel(s *convScratch[T], y []T, panel, columns, group, depth0, depth int) {
	e, pixels := c.impl, c.columns.pixels
	first := panel * e.nr
	cols := min(e.nr, columns-first)
	imageStep := c.groups * c.rows * pixels
	accumulate := c.accumulate || depth0 > 0
	for row := 0; row < c.rows; row += e.mr {
		rows := min(e.mr, c.rows-row)
		multiply, height, width := e.smallest(rows, cols)
		a := c.ws.packed[(group*c.panelRows()+row/e.mr)*e.mr*c.depth+depth0*e.mr:][:depth*e.mr]
		out := y[row*pixels:]
		if rows == height && cols == width && first%pixels+width <= pixels {
			multiply(depth, a, s.panel, out[first/pixels*imageStep+first%pixels:], pixels, accumulate)
			continue
		}
		multiply(depth, a, s.panel, s.edge, width, false)
		storeColumns(e, &c.columns, out, imageStep, s.edge, width, rows, first, columns, accumulate)
	}
}

// Fill sets all elements.
func Fill[T Float](x []T, v T) {
	if len(x) == 0 {
		return
	}
	x[0] = v
	for n := 1; n < len(x); n *= 2 {
		copy(x[n:], x[:n])
	}
}
