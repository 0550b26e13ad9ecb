package kernel

const (
	partialElements = 1 << 22 // bounds the sums over some of the images, of all parts together
	maxPartials     = 32
	weightParts     = 8       // as many parts at least, where there is work enough
	weightWork      = 1 << 16 // multiplications for each pixel that a part is worth
)

// weightGrad is the gradient of the weights: for each group the product [rows x pixels] by [pixels x depth], whose sum runs over the pixels of all
// images. For it images are turned around so that the channels of a pixel are neighbours: the elements of a patch then lie in few pieces. A part sums
// over some of the images; the parts' sums are added in order.
type weightGrad[T Float] struct {
	impl                     *implementation[T]
	batch, groups            int
	in, rows, depth          int
	out                      [2]int
	size, pads               [2]int
	turned                   [2]int // of a padded, turned image
	imageStep, gradImageStep int
	images                   int     // of a unit, whose pixels are summed over at once
	unitRows                 int     // rows of pixels of a unit, all of them where it has several images
	pixels                   []int32 // where the patches of a unit's pixels start in the turned images
	pieces                   []weightPiece
	partials, splits         int // parts by images, parts by pieces
	taps                     int
	rowStep                  int // from a patch to the one a row below

	// of the run under way
	ws         *Workspace[T]
	x, dy, dw  []T
	accumulate bool
	adding     bool
}

// A weightPiece is a panel of the depth: elements of a patch that are neighbours in a turned image.
type weightPiece struct{ from, at, have int } // offset in the image, position in the depth, elements

func newWeightGrad[T Float](e *implementation[T], s *ConvShape) weightGrad[T] {
	g := weightGrad[T]{
		impl: e, batch: s.Batch, groups: s.Groups, in: s.In / s.Groups, out: s.OutSize(), size: s.Size, pads: [2]int{s.Pads[0], s.Pads[1]},
		taps: s.Kernel[0] * s.Kernel[1],
	}
	g.rows, g.depth = s.inner()
	for i := range 2 {
		g.turned[i] = (g.out[i]-1)*s.Stride[i] + (s.Kernel[i]-1)*s.Dilation[i] + 1
	}
	pixels := g.out[0] * g.out[1]
	g.imageStep, g.gradImageStep = s.In*s.Size[0]*s.Size[1], s.Out*pixels
	g.images = min(max(1, convDepth/pixels), s.Batch)
	g.unitRows = g.out[0]
	if g.images == 1 {
		g.unitRows = min(g.out[0], max(1, convDepth/g.out[1]))
	}
	for i := range g.images {
		for y := range g.unitRows {
			for x := range g.out[1] {
				g.pixels = append(g.pixels, int32(((i*g.turned[0]+y*s.Stride[0])*g.turned[1]+x*s.Stride[1])*g.in))
			}
		}
	}
	g.rowStep = s.Stride[0] * g.turned[1] * g.in
	g.cutDepth(s)
	g.partials = min(max(1, partialElements/(s.Out*g.depth)), maxPartials, ceilDiv(s.Batch, g.images))
	g.splits = min(ceilDiv(weightParts, g.partials), max(1, g.rows*g.depth/weightWork), len(g.pieces))
	return g
}

// cutDepth cuts the elements of a patch, by row, column and channel, into panels.
func (g *weightGrad[T]) cutDepth(s *ConvShape) {
	columns, length := s.Kernel[1], g.in
	if s.Dilation[1] == 1 {
		columns, length = 1, s.Kernel[1]*g.in
	}
	for y := range s.Kernel[0] {
		for x := range columns {
			start := (y*s.Dilation[0]*g.turned[1] + x*s.Dilation[1]) * g.in
			for at := 0; at < length; at += g.impl.nr {
				g.pieces = append(g.pieces, weightPiece{start + at, (y*columns+x)*length + at, min(g.impl.nr, length-at)})
			}
		}
	}
}

func (g *weightGrad[T]) run(p *Pool, ws *Workspace[T], x, dy, dw []T, accumulate bool) {
	g.ws, g.x, g.dy, g.dw, g.accumulate = ws, x, dy, dw, accumulate
	ws.partial = grow(ws.partial, g.partials*g.groups*g.rows*g.depth)
	g.adding = false
	p.Run(g.partials*g.splits*g.groups, g)
	g.adding = true
	p.Run(g.groups*g.rows, g)
	g.ws, g.x, g.dy, g.dw = nil, nil, nil, nil
}

// Do implements Task.
func (g *weightGrad[T]) Do(part int) {
	if g.adding {
		g.add(part)
		return
	}
	s := g.ws.take()
	defer g.ws.give(s)
	group, part := part%g.groups, part/g.groups
	partial, split := part/g.splits, part%g.splits
	sum := g.ws.partial[(partial*g.groups+group)*g.rows*g.depth:][:g.rows*g.depth]
	pieces := g.pieces[split*len(g.pieces)/g.splits : (split+1)*len(g.pieces)/g.splits]
	units := ceilDiv(g.batch, g.images)
	first, end := partial*units/g.partials, (partial+1)*units/g.partials
	for unit := first; unit < end; unit++ {
		have := min(g.images, g.batch-unit*g.images)
		g.turn(s, unit*g.images, have, group)
		for row := 0; row < g.out[0]; row += g.unitRows {
			rows := min(g.unitRows, g.out[0]-row)
			g.packGrads(s, unit*g.images, have, group, row*g.out[1], rows*g.out[1])
			turned := s.turned[row*g.rowStep:]
			g.sumUnit(s, turned, sum, pieces, have*rows*g.out[1], unit > first || row > 0)
		}
	}
}

// turn makes the turned images of a unit: [row][column][channel], padded.
func (g *weightGrad[T]) turn(s *convScratch[T], first, have, group int) {
	size := g.size[0] * g.size[1]
	elements := g.turned[0] * g.turned[1] * g.in
	s.turned = grow(s.turned, g.images*elements)
	padded := g.pads != [2]int{} || g.turned != g.size
	for i := range have {
		x := g.x[(first+i)*g.imageStep+group*g.in*size:]
		dst := s.turned[i*elements:][:elements]
		if !padded {
			g.impl.packLines(dst, g.in, g.in, x, size, size)
			continue
		}
		clear(dst)
		columns := min(g.size[1], g.turned[1]-g.pads[1])
		for y := range min(g.size[0], g.turned[0]-g.pads[0]) {
			if columns > 0 {
				at := ((y+g.pads[0])*g.turned[1] + g.pads[1]) * g.in
				g.impl.packLines(dst[at:][:columns*g.in], g.in, g.in, x[y*g.size[1]:], size, columns)
			}
		}
	}
}

// packGrads packs the gradients of count pixels of each image, from a pixel on, as panels of rows.
func (g *weightGrad[T]) packGrads(s *convScratch[T], first, have, group, pixel, count int) {
	mr, pixels := g.impl.mr, g.out[0]*g.out[1]
	depth := have * count
	s.rows = grow(s.rows, ceilDiv(g.rows, mr)*mr*len(g.pixels))
	for row := 0; row < g.rows; row += mr {
		dst := s.rows[row*depth:]
		for i := range have {
			dy := g.dy[(first+i)*g.gradImageStep+(group*g.rows+row)*pixels+pixel:]
			g.impl.packLines(dst[i*count*mr:], mr, min(mr, g.rows-row), dy, pixels, count)
		}
	}
}

// sumUnit adds the products of a unit of so many pixels.
func (g *weightGrad[T]) sumUnit(s *convScratch[T], turned, sum []T, pieces []weightPiece, depth int, accumulate bool) {
	e := g.impl
	s.panel = grow(s.panel, e.nr*len(g.pixels))
	s.edge = grow(s.edge, e.nr*e.mr)
	for _, piece := range pieces {
		for lane := 0; lane < piece.have; {
			lanes := lanesOf(piece.have - lane)
			e.gather(s.panel[lane:], e.nr, turned[piece.from+lane:], g.pixels[:depth], lanes)
			lane += lanes
		}
		for row := 0; row < g.rows; row += e.mr {
			rows := min(e.mr, g.rows-row)
			multiply, height, width := e.smallest(rows, piece.have)
			a := s.rows[row*depth:][:e.mr*depth]
			to := sum[row*g.depth+piece.at:]
			if rows == height && piece.have == width {
				multiply(depth, a, s.panel, to, g.depth, accumulate)
				continue
			}
			multiply(depth, a, s.panel, s.edge, width, false)
			e.storeEdge(to, g.depth, s.edge, width, rows, piece.have, accumulate)
		}
	}
}

// add sums the parts of one row and puts its elements back into the order of the weights.
func (g *weightGrad[T]) add(row int) {
	all := g.groups * g.rows * g.depth
	sum := g.ws.partial[row*g.depth:][:g.depth]
	for p := 1; p < g.partials; p++ {
		Add(sum, sum, g.ws.partial[p*all+row*g.depth:][:g.depth])
	}
	dw := g.dw[row*g.depth:][:g.depth]
	if !g.accumulate {
		clear(dw)
	}
	for t := range g.taps {
		at := t
		for _, v := range sum[t*g.in:][:g.in] {
			dw[at] += v
			at += g.taps
		}
	}
}
