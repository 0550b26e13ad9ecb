package nn

import (
	"github.com/rebasin/rebasin/internal/kernel"
)

// channelNorm is LayerNormalization over the channels of a value [N, C, ...], each pixel by itself, with a residual and Relu behind it where
// they were fused. Its parts are blocks of pixels of an image, whose channels are rows.
//
// The first channel is subtracted before anything is summed, so that a mean that is large against the deviation costs no precision, and the
// variance is summed after the mean is known.
type channelNorm[T Float] struct {
	channels, pixels int // of one image
	block, blocks    int // pixels of a part, parts of an image
	epsilon          float64
	relu             bool

	x, scale, bias, y, dy *buffer[T]
	residual              *buffer[T] // bias and residual may be nil
	// Of each pixel: the first channel, the mean of the differences from it, the inverse deviation.
	first, mean, inverse *buffer[T]
	// Backward, of each pixel: sums over channels; the normalised row in work.
	sum, product, work *buffer[T]
	partial            []float64 // of each piece and channel: the gradient of the scale and that of the bias
	pieceParts         int       // parts of one piece
}

// channelBlock is the number of elements of a part, as far as whole pixels allow: x, dy and dx of it stay in the second-level cache.
const channelBlock = 1 << 14

func compileChannelNorm[T Float](c *call[T]) (step, error) {
	images := c.out.shape[0]
	l := &channelNorm[T]{
		channels: c.out.shape[1], pixels: elements(c.out.shape[2:]), epsilon: c.node.Attrs.Float("epsilon", 1e-5), relu: c.node.relu,
		x: c.x(0), scale: c.x(1), y: c.y(), dy: c.dy(),
	}
	l.block = min(l.pixels, max(64, channelBlock/l.channels&^15))
	l.blocks = (l.pixels + l.block - 1) / l.block
	norm := images * l.pixels
	l.first, l.mean, l.inverse = c.scratch(norm), c.stash(norm), c.stash(norm)
	c.inPlace = []int{0}
	i, residual := c.residual()
	if residual {
		l.residual = c.x(i)
	}
	if c.has(2) && (!residual || i > 2) {
		l.bias = c.x(2)
	}
	s := step{forward: c.parallel(images*l.blocks, l.channels*l.block, func(lo, hi int) {
		for part := lo; part < hi; part++ {
			l.forward(part)
		}
	})}
	if c.backward {
		s.backward = l.backward(c, images)
	}
	return s, nil
}

// area is the pixels of a part: of one image from lo to hi.
type area struct{ image, lo, hi int }

func (l *channelNorm[T]) area(part int) area {
	lo := part % l.blocks * l.block
	return area{image: part / l.blocks, lo: lo, hi: min(lo+l.block, l.pixels)}
}

// row is the part's pixels of one channel.
func (l *channelNorm[T]) row(b []T, a area, channel int) []T {
	at := (a.image*l.channels + channel) * l.pixels
	return b[at+a.lo : at+a.hi]
}

// perPixel is the part's pixels of what has one element for each pixel.
func (l *channelNorm[T]) perPixel(b *buffer[T], a area) []T {
	return b.data[a.image*l.pixels+a.lo : a.image*l.pixels+a.hi]
}

func (l *channelNorm[T]) biasOf(channel int) T {
	if l.bias == nil {
		return 0
	}
	return l.bias.data[channel]
}

func (l *channelNorm[T]) forward(part int) {
	a := l.area(part)
	r := kernel.NormRows[T]{First: l.perPixel(l.first, a), Mean: l.perPixel(l.mean, a), Inverse: l.perPixel(l.inverse, a)}
	copy(r.First, l.row(l.x.data, a, 0)) // y may take the memory of x
	l.moments(a, r)
	for channel := range l.channels {
		y := l.row(l.y.data, a, channel)
		r.Apply(y, l.row(l.x.data, a, channel), l.scale.data[channel], l.biasOf(channel))
		l.finish(y, a, channel)
	}
}

// moments fills mean and inverse deviation.
func (l *channelNorm[T]) moments(a area, r kernel.NormRows[T]) {
	count := 1 / T(l.channels)
	clear(r.Mean)
	clear(r.Inverse)
	for channel := range l.channels {
		kernel.AddDifference(r.Mean, l.row(l.x.data, a, channel), r.First)
	}
	kernel.Scale(count, r.Mean)
	for channel := range l.channels {
		kernel.AddSquare(r.Inverse, l.row(l.x.data, a, channel), r.First, r.Mean)
	}
	kernel.InverseRoot(r.Inverse, count, T(l.epsilon))
}

// finish adds the residual to a row and applies Relu.
func (l *channelNorm[T]) finish(y []T, a area, channel int) {
	switch {
	case l.residual != nil && l.relu:
		kernel.SumRelu(y, y, l.row(l.residual.data, a, channel))
	case l.residual != nil:
		kernel.Add(y, y, l.row(l.residual.data, a, channel))
	case l.relu:
		kernel.Relu(y, y)
	}
}

// backward undoes Relu in the memory of dy, which then is the residual's gradient, and writes the gradient of x last.
func (l *channelNorm[T]) backward(c *call[T], images int) func() {
	c.keepX(0)
	if l.relu {
		c.keepY()
	}
	c.order, c.reuse = []int{0}, []int{0}
	dX, dScale, dBias, dResidual := c.dx(0), c.dx(1), (*sink[T])(nil), (*sink[T])(nil)
	if i, ok := c.residual(); ok {
		dResidual = c.dx(i)
		c.order, c.reuse = []int{i, 0}, []int{i, 0}
	}
	if l.bias != nil {
		dBias = c.dx(2)
		c.order = append([]int{2}, c.order...)
	}
	c.order = append([]int{1}, c.order...)
	norm, parts := images*l.pixels, images*l.blocks
	l.sum, l.product, l.work = c.scratchBack(norm), c.scratchBack(norm), c.scratchBack(norm)
	l.pieceParts = max(1, pieceSize/(l.channels*l.block))
	pieces := &pieces{n: parts, size: l.pieceParts, body: func(lo, hi int) { l.backwardParts(lo, hi, dX, dResidual) }}
	count, pool := (parts+l.pieceParts-1)/l.pieceParts, c.planner.engine.pool
	l.partial = make([]float64, 2*count*l.channels)
	return func() {
		pool.Run(count, pieces)
		l.paramGrads(dScale, dBias, count)
		for _, s := range []*sink[T]{dScale, dBias, dResidual, dX} {
			if s != nil {
				s.end()
			}
		}
	}
}

// backwardParts are the parts of one piece, which share sums for the parameters.
func (l *channelNorm[T]) backwardParts(lo, hi int, dX, dResidual *sink[T]) {
	partial := l.partial[lo/l.pieceParts*2*l.channels:][:2*l.channels]
	clear(partial)
	for part := lo; part < hi; part++ {
		a := l.area(part)
		r := kernel.NormRows[T]{First: l.row(l.x.data, a, 0), Mean: l.perPixel(l.mean, a), Inverse: l.perPixel(l.inverse, a)}
		l.reduce(a, r, dResidual, partial)
		if dX != nil {
			l.inputGrad(a, r, dX.begin())
		}
	}
}

// reduce makes dy that of the normalised value and sums it: for each pixel Σ g and Σ g·x̂ over the channels, with g = dy·scale and x̂ the
// normalised x, and for each channel Σ dy·x̂ and Σ dy over the pixels.
func (l *channelNorm[T]) reduce(a area, r kernel.NormRows[T], dResidual *sink[T], partial []float64) {
	sum, product, work := l.perPixel(l.sum, a), l.perPixel(l.product, a), l.perPixel(l.work, a)
	clear(sum)
	clear(product)
	for channel := range l.channels {
		dy, scale := l.row(l.dy.data, a, channel), l.scale.data[channel]
		if l.relu {
			kernel.ReluGrad(dy, dy, l.row(l.y.data, a, channel))
		}
		if dResidual != nil {
			move(l.row(dResidual.begin(), a, channel), dy)
		}
		r.Apply(work, l.row(l.x.data, a, channel), 1, 0)
		kernel.Axpy(scale, dy, sum)
		kernel.AddProduct(product, dy, work, scale)
		dBias, dScale := kernel.GradMoments(work, dy, len(dy), len(dy), 1, 0)
		partial[2*channel] += dScale
		partial[2*channel+1] += dBias
	}
}

// inputGrad is (g - mean(g) - x̂·mean(g·x̂))/deviation, the means being over the channels.
func (l *channelNorm[T]) inputGrad(a area, r kernel.NormRows[T], d []T) {
	count := 1 / T(l.channels)
	u, v := l.perPixel(l.sum, a), l.perPixel(l.product, a)
	kernel.Mul(u, u, r.Inverse)
	kernel.Scale(count, u)
	kernel.Mul(v, v, r.Inverse)
	kernel.Mul(v, v, r.Inverse)
	kernel.Scale(count, v)
	for channel := range l.channels {
		r.Grad(l.row(d, a, channel), l.row(l.dy.data, a, channel), l.row(l.x.data, a, channel), u, v, l.scale.data[channel])
	}
}

// paramGrads adds the pieces' sums in order.
func (l *channelNorm[T]) paramGrads(dScale, dBias *sink[T], pieces int) {
	for channel := range l.channels {
		var sums [2]float64
		for piece := range pieces {
			sums[0] += l.partial[2*(piece*l.channels+channel)]
			sums[1] += l.partial[2*(piece*l.channels+channel)+1]
		}
		for i, s := range []*sink[T]{dScale, dBias} {
			if s != nil {
				s.begin()[channel] = T(sums[i])
			}
		}
	}
}
