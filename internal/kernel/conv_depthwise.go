package kernel

// depthwise is a convolution each of whose channels out reads one channel in, done directly: as a product it would fill one row of a register tile and
// waste the others.
//
// A padded channel of an image lies in a lattice, where the outputs' patches are neighbours, rows a pitch apart. With outputs at the same pitch, what lies
// between their rows being waste, each element of the kernel is one operation on vectors as long as the plane: forward adds a multiple of the lattice,
// from the element's offset on, to the outputs; the gradient of the input adds a multiple of the outputs' gradient to the lattice; the gradient of the
// weights is an inner product of the two. Where images are small and without strides, several lie one after the other.
type depthwise[T Float] struct {
	impl     *implementation[T]
	shape    ConvShape
	lattice  lattice // of one channel of one image
	out      [2]int
	per      int // channels out that read one channel in
	images   int // of a part
	channels int // in, of a part
	sums     []float64

	// of the run under way
	pass          depthwisePass
	ws            *Workspace[T]
	x, w, bias, y []T // or their gradients
	accumulate    bool
}

type depthwisePass uint8

const (
	depthwiseForward depthwisePass = iota
	depthwiseInput
	depthwiseWeights
)

const (
	depthwisePlane = 512     // elements that operations on vectors cover at least, where images are small
	depthwisePart  = 1 << 15 // elements of lattices that a part covers about
	// depthwiseOut is how many channels out may read one in: the product then fills enough of its register tiles.
	depthwiseOut = 2
)

// isDepthwise says that the convolution is better done directly.
func (s *ConvShape) isDepthwise() bool { return s.In == s.Groups && s.Out <= depthwiseOut*s.Groups }

func newDepthwise[T Float](e *implementation[T], s *ConvShape) *depthwise[T] {
	d := &depthwise[T]{impl: e, shape: *s, out: s.OutSize(), per: s.Out / s.Groups, images: 1}
	d.lattice = newLattice(1, s.Size, d.out, s.Kernel, s.Stride, s.Dilation, [2]int{s.Pads[0], s.Pads[1]})
	if s.Stride == [2]int{1, 1} {
		d.images = min(ceilDiv(depthwisePlane, d.lattice.elements), s.Batch)
	}
	d.channels = min(ceilDiv(depthwisePart, d.images*d.lattice.elements), s.In)
	d.sums = make([]float64, s.Out*len(d.lattice.taps))
	return d
}

// memory is what a part takes of the workspace.
func (d *depthwise[T]) memory() WorkspaceMemory {
	n := d.images * d.lattice.elements
	return WorkspaceMemory{image: n, panel: n}
}

func (d *depthwise[T]) run(p *Pool, ws *Workspace[T], pass depthwisePass, x, w, bias, y []T, accumulate bool) {
	d.pass, d.ws, d.x, d.w, d.bias, d.y, d.accumulate = pass, ws, x, w, bias, y, accumulate
	parts := ceilDiv(d.shape.In, d.channels)
	if pass != depthwiseWeights {
		parts *= d.blocks()
	}
	p.Run(parts, d)
	d.ws, d.x, d.w, d.bias, d.y = nil, nil, nil, nil, nil
}

// blocks is the number of parts that the images make.
func (d *depthwise[T]) blocks() int { return ceilDiv(d.shape.Batch, d.images) }

// Do implements Task.
func (d *depthwise[T]) Do(part int) {
	s := d.ws.take()
	defer d.ws.give(s)
	need := d.memory()
	s.image, s.panel = grow(s.image, need.image), grow(s.panel, need.panel)
	if d.pass == depthwiseWeights {
		d.weightGrads(s, part*d.channels)
		return
	}
	first, channel := part%d.blocks()*d.images, part/d.blocks()*d.channels
	have := min(d.images, d.shape.Batch-first)
	for ; channel < d.shape.In && channel < (part/d.blocks()+1)*d.channels; channel++ {
		if d.pass == depthwiseForward {
			d.outputs(s, first, have, channel)
		} else {
			d.inputGrads(s, first, have, channel)
		}
	}
}

// length is how far the outputs of so many images reach, at the pitch of the lattice.
func (d *depthwise[T]) length(images int) int {
	return (images-1)*d.lattice.elements + (d.out[0]-1)*d.lattice.plane[1] + d.out[1]
}

// channelIn and channelOut are one channel of an image in or out.
func (d *depthwise[T]) channelIn(x []T, image, channel int) []T {
	n := d.shape.Size[0] * d.shape.Size[1]
	return x[(image*d.shape.In+channel)*n:][:n]
}

func (d *depthwise[T]) channelOut(y []T, image, channel int) []T {
	n := d.out[0] * d.out[1]
	return y[(image*d.shape.Out+channel)*n:][:n]
}

// weights are those of one channel out.
func (d *depthwise[T]) weights(w []T, channel int) []T {
	taps := len(d.lattice.taps)
	return w[channel*taps:][:taps]
}

// fill puts one channel of some images into their lattices.
func (d *depthwise[T]) fill(s *convScratch[T], first, have, channel int) {
	for i := range have {
		fillLattice(d.impl, &d.lattice, s.image[i*d.lattice.elements:], d.channelIn(d.x, first+i, channel))
	}
}

// stretch puts one channel of the outputs of some images at the lattice's pitch, with zeros between rows.
func (d *depthwise[T]) stretch(flat []T, first, have, channel int) {
	clear(flat)
	for i := range have {
		d.rows(flat, d.channelOut(d.y, first+i, channel), i, func(at, row []T) { copy(at, row) })
	}
}

// rows calls f with each row of an image's outputs, where it lies at the lattice's pitch and where in the image.
func (d *depthwise[T]) rows(flat, image []T, i int, f func(at, row []T)) {
	pitch, width := d.lattice.plane[1], d.out[1]
	for row := range d.out[0] {
		f(flat[i*d.lattice.elements+row*pitch:][:width], image[row*width:][:width])
	}
}

func (d *depthwise[T]) outputs(s *convScratch[T], first, have, channel int) {
	d.fill(s, first, have, channel)
	n := d.length(have)
	flat := s.panel[:n]
	for o := channel * d.per; o < (channel+1)*d.per; o++ {
		bias := T(0)
		if d.bias != nil {
			bias = d.bias[o]
		}
		Fill(flat, bias)
		for t, w := range d.weights(d.w, o) {
			d.impl.axpy(w, s.image[d.lattice.taps[t]:][:n], flat)
		}
		for i := range have {
			d.rows(flat, d.channelOut(d.y, first+i, o), i, func(at, row []T) { copy(row, at) })
		}
	}
}

func (d *depthwise[T]) inputGrads(s *convScratch[T], first, have, channel int) {
	clear(s.image)
	n := d.length(have)
	flat := s.panel[:n]
	for o := channel * d.per; o < (channel+1)*d.per; o++ {
		d.stretch(flat, first, have, o)
		for t, w := range d.weights(d.w, o) {
			d.impl.axpy(w, flat, s.image[d.lattice.taps[t]:][:n])
		}
	}
	for i := range have {
		d.empty(s.image[i*d.lattice.elements:], d.channelIn(d.x, first+i, channel))
	}
}

// empty copies a lattice back into a channel of an image, or adds it.
func (d *depthwise[T]) empty(from, to []T) {
	if d.lattice.stride[1] != 1 {
		emptyLattice(&d.lattice, to, from, d.accumulate)
		return
	}
	if !d.accumulate {
		clear(to)
	}
	for _, s := range d.lattice.rows {
		row, add := to[s.x:][:s.count], from[s.place:][:s.count]
		if d.accumulate {
			d.impl.add(row, row, add)
		} else {
			copy(row, add)
		}
	}
}

// weightGrads sums over the images in order, for the channels of a part.
func (d *depthwise[T]) weightGrads(s *convScratch[T], channel int) {
	taps := len(d.lattice.taps)
	end := min(channel+d.channels, d.shape.In)
	clear(d.sums[channel*d.per*taps : end*d.per*taps])
	for ; channel < end; channel++ {
		for first := 0; first < d.shape.Batch; first += d.images {
			have := min(d.images, d.shape.Batch-first)
			d.fill(s, first, have, channel)
			n := d.length(have)
			flat := s.panel[:n]
			for o := channel * d.per; o < (channel+1)*d.per; o++ {
				d.stretch(flat, first, have, o)
				for t, offset := range d.lattice.taps {
					d.sums[o*taps+t] += d.impl.dot(flat, s.image[offset:][:n])
				}
			}
		}
		for o := channel * d.per; o < (channel+1)*d.per; o++ {
			for t, sum := range d.sums[o*taps:][:taps] {
				dw := &d.weights(d.w, o)[t]
				if d.accumulate {
					sum += float64(*dw)
				}
				*dw = T(sum)
			}
		}
	}
}
