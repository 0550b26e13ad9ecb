package kernel

// spread is the gradient of the input of a convolution with strides: the product [depth x rows] weights by [rows x pixels] gradients of the output
// is added to the image, patch upon patch (col2im).
type spread[T Float] struct {
	impl                     *implementation[T]
	batch, groups            int
	in, rows, depth          int
	block                    int // of the rows, which the product sums over
	lattice                  lattice
	columns, grads           columnMap // the patches in the lattice, the pixels in dy
	gradTaps                 []int32
	images                   int
	imageStep, gradImageStep int

	// of the run under way
	ws         *Workspace[T]
	dy, w, dx  []T
	accumulate bool
	packing    bool
}

func newSpread[T Float](e *implementation[T], s *ConvShape) *spread[T] {
	c := &spread[T]{impl: e, batch: s.Batch, groups: s.Groups, in: s.In / s.Groups}
	c.rows, c.depth = s.inner()
	out := s.OutSize()
	pixels := out[0] * out[1]
	c.lattice = newLattice(c.in, s.Size, out, s.Kernel, s.Stride, s.Dilation, [2]int{s.Pads[0], s.Pads[1]})
	c.block = ceilDiv(c.rows, ceilDiv(c.rows, convDepth))
	c.imageStep, c.gradImageStep = s.In*s.Size[0]*s.Size[1], s.Out*pixels
	c.images = imagesOfTask(s.Batch, pixels)
	c.columns = newColumnMap(e.nr, c.images, c.lattice.elements, out, c.lattice.plane[1])
	c.grads = newColumnMap(e.nr, c.images, c.gradImageStep, out, out[1])
	for row := range c.rows {
		c.gradTaps = append(c.gradTaps, int32(row*pixels))
	}
	return c
}

func (c *spread[T]) run(p *Pool, ws *Workspace[T], dy, w, dx []T, accumulate bool) {
	c.ws, c.dy, c.w, c.dx, c.accumulate = ws, dy, w, dx, accumulate
	ws.packed = grow(ws.packed, c.groups*c.panels()*c.impl.mr*c.rows)
	c.packing = true
	p.Run(c.groups*c.panels(), c)
	c.packing = false
	p.Run(ceilDiv(c.batch, c.images)*c.groups, c)
	c.ws, c.dy, c.w, c.dx = nil, nil, nil, nil
}

// panels is the number of panels that the elements of a patch make.
func (c *spread[T]) panels() int { return ceilDiv(c.depth, c.impl.mr) }

// Do implements Task.
func (c *spread[T]) Do(part int) {
	mr := c.impl.mr
	if c.packing {
		group, at := part/c.panels(), part%c.panels()*mr
		c.impl.packRows(c.ws.packed[part*mr*c.rows:], mr, min(mr, c.depth-at), c.w[group*c.rows*c.depth+at:], c.depth, c.rows)
		return
	}
	s := c.ws.take()
	defer c.ws.give(s)
	first, group := part/c.groups*c.images, part%c.groups
	have := min(c.images, c.batch-first)
	s.image = grow(s.image, c.images*c.lattice.elements)
	clear(s.image)
	s.panel = grow(s.panel, c.impl.nr*c.rows)
	s.rows = grow(s.rows, c.panels()*mr*c.impl.nr)
	dy := c.dy[first*c.gradImageStep+group*c.rows*c.columns.pixels:]
	for q := range ceilDiv(have*c.columns.pixels, c.impl.nr) {
		c.spreadPanel(s, dy, q, have*c.columns.pixels, group)
	}
	for i := range have {
		dx := c.dx[(first+i)*c.imageStep+group*c.in*c.lattice.size[0]*c.lattice.size[1]:]
		emptyLattice(&c.lattice, dx, s.image[i*c.lattice.elements:], c.accumulate)
	}
}

// spreadPanel adds the patches of one panel of pixels to the images.
func (c *spread[T]) spreadPanel(s *convScratch[T], dy []T, panel, columns, group int) {
	e := c.impl
	for _, r := range c.grads.panels[panel] {
		if panel*e.nr+r.lane < columns {
			e.gather(s.panel[r.lane:], e.nr, dy[r.base:], c.gradTaps, r.lanes)
		}
	}
	for at := range c.panels() {
		a := c.ws.packed[(group*c.panels()+at)*e.mr*c.rows:]
		for row := 0; row < c.rows; row += c.block {
			depth := min(c.block, c.rows-row)
			e.multiply(depth, a[row*e.mr:][:depth*e.mr], s.panel[row*e.nr:], s.rows[at*e.mr*e.nr:], e.nr, row > 0)
		}
	}
	for _, r := range c.columns.panels[panel] {
		if panel*e.nr+r.lane < columns {
			e.scatter(s.image[r.base:], c.lattice.taps, s.rows[r.lane:], e.nr, r.lanes)
		}
	}
}
