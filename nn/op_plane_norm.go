package nn

import (
	"errors"
	"math"

	"github.com/rebasin/rebasin/internal/kernel"
)

// planeNorm normalises a value [N, C, ...] whose planes, one for each image and channel, fall into groups that share mean and variance:
// y = (x - mean)/sqrt(variance + epsilon)·scale + bias, scale and bias being those of the channel. A residual may be added and Relu applied
// behind it. A part of the work is a group, so that what the moments read is near when it is normalised.
//
// Moments are those of differences from one element of the group, summed in float64: a mean that is large against the deviation costs no
// precision. References: Ioffe, Szegedy, "Batch Normalization", 2015, arXiv:1502.03167; Ulyanov, Vedaldi, Lempitsky, "Instance
// Normalization", 2016, arXiv:1607.08022; Wu, He, "Group Normalization", 2018, arXiv:1803.08494.
type planeNorm[T Float] struct {
	images, channels, pixels int
	groups, perGroup         int  // perGroup planes belong to one group
	across                   bool // a group is a channel of all images, else a run of planes
	perScale                 int  // so many channels share one scale and bias
	epsilon                  float64

	x, scale, bias, y, dy *buffer[T]
	residual              *buffer[T] // nil where none is added
	relu                  bool
	given                 *statistics[T] // nil where they are the values' own

	mean, variance, inverse []float64 // of each group, inverse being that of the deviation
	sums, products          []float64 // backward, of each plane: Σ dy and Σ dy·(x - mean)
}

// statistics are those that a network keeps.
type statistics[T Float] struct{ mean, variance *buffer[T] }

func planeNormOperators[T Float]() map[string]operator[T] {
	return map[string]operator[T]{
		"BatchNormalization":    {compile: compileBatchNorm[T]},
		"InstanceNormalization": {compile: compileInstanceNorm[T]},
		"GroupNormalization":    {compile: compileGroupNorm[T]},
	}
}

// errOneValue is what normalisation by the batch's own statistics cannot do.
var errOneValue = errors.New("a batch with one value per channel has no variance to normalise by: training needs larger batches")

// errTrainedStatistics: nobody trains what running statistics are computed from, and no gradient of them is made.
var errTrainedStatistics = errors.New("its running statistics are computed from parameters: it can run, but not be trained")

// compileBatchNorm uses the running statistics, or those of the batch where Options.BatchStatistics says so.
func compileBatchNorm[T Float](c *call[T]) (step, error) {
	p := c.planeNorm()
	p.groups, p.perGroup, p.across = p.channels, p.images, true
	if c.wants(3) || c.wants(4) {
		return step{}, errTrainedStatistics
	}
	running := &statistics[T]{mean: c.x(3), variance: c.x(4)}
	if !c.planner.engine.opt.BatchStatistics {
		p.given = running
		return p.step(c), nil
	}
	if p.images*p.pixels == 1 {
		return step{}, errOneValue
	}
	s := p.step(c)
	if c.in[3].store.param && c.in[4].store.param {
		c.planner.plan.statistics = append(c.planner.plan.statistics, func(momentum float64) { p.fold(running, momentum) })
	}
	return s, nil
}

// fold moves running statistics towards those of the last batch as PyTorch does: the variance is the unbiased one.
func (p *planeNorm[T]) fold(running *statistics[T], momentum float64) {
	count := float64(p.perGroup * p.pixels)
	for g := range p.groups {
		mean, variance := &running.mean.data[g], &running.variance.data[g]
		*mean = T((1-momentum)*float64(*mean) + momentum*p.mean[g])
		*variance = T((1-momentum)*float64(*variance) + momentum*p.variance[g]*count/(count-1))
	}
}

func compileInstanceNorm[T Float](c *call[T]) (step, error) {
	p := c.planeNorm()
	p.groups, p.perGroup = p.images*p.channels, 1
	return p.step(c), nil
}

// compileGroupNorm takes scale and bias for each channel, or for each group as before opset 21.
func compileGroupNorm[T Float](c *call[T]) (step, error) {
	p := c.planeNorm()
	groups := int(c.node.Attrs.Int("num_groups", 1))
	p.groups, p.perGroup = p.images*groups, p.channels/groups
	p.perScale = p.channels / c.in[1].n
	return p.step(c), nil
}

// planeNorm reads what the operators have in common: inputs x, scale and bias, and the residual that was fused, which comes last.
func (c *call[T]) planeNorm() *planeNorm[T] {
	p := &planeNorm[T]{
		images: c.out.shape[0], channels: c.out.shape[1], pixels: elements(c.out.shape[2:]), perScale: 1,
		epsilon: c.node.Attrs.Float("epsilon", 1e-5),
		x:       c.x(0), scale: c.x(1), bias: c.x(2), y: c.y(), dy: c.dy(), relu: c.node.relu,
	}
	c.inPlace = []int{0}
	if i, ok := c.residual(); ok {
		p.residual = c.x(i)
		c.inPlace = append(c.inPlace, i)
	}
	return p
}

// residual is the input that was fused from an Add behind the node.
func (c *call[T]) residual() (i int, ok bool) { return len(c.in) - 1, c.node.residual }

func (p *planeNorm[T]) step(c *call[T]) step {
	p.mean, p.variance, p.inverse = make([]float64, p.groups), make([]float64, p.groups), make([]float64, p.groups)
	s := step{forward: c.parallel(p.groups, p.perGroup*p.pixels, p.forward)}
	if c.backward {
		s.backward = p.backward(c)
	}
	return s
}

func (p *planeNorm[T]) plane(b []T, plane int) []T { return b[plane*p.pixels:][:p.pixels] }

// scaleOf is the place of the scale and bias of a plane.
func (p *planeNorm[T]) scaleOf(plane int) int { return plane % p.channels / p.perScale }

func (p *planeNorm[T]) forward(lo, hi int) {
	for g := lo; g < hi; g++ {
		p.mean[g], p.variance[g] = p.moments(g)
		p.inverse[g] = 1 / math.Sqrt(p.variance[g]+p.epsilon)
		for i := range p.perGroup {
			p.normalise(g, p.planeOf(g, i))
		}
	}
}

// moments are the mean and the biased variance of a group.
func (p *planeNorm[T]) moments(g int) (mean, variance float64) {
	if p.given != nil {
		return float64(p.given.mean.data[g]), float64(p.given.variance.data[g])
	}
	x := p.x.data[p.planeOf(g, 0)*p.pixels:]
	n, stride, planes := p.perGroup*p.pixels, 0, 1
	if p.across {
		n, stride, planes = p.pixels, p.channels*p.pixels, p.images
	}
	shift := x[0]
	sum, squares := kernel.Moments(x, n, stride, planes, shift)
	count := float64(p.perGroup * p.pixels)
	mean = sum / count
	return mean + float64(shift), max(squares/count-mean*mean, 0) // of NaN, too, so that it shows
}

// affine is the normalisation of a plane. What rounding the mean loses goes to the bias.
func (p *planeNorm[T]) affine(g, plane int) kernel.Affine[T] {
	at := p.scaleOf(plane)
	scale, shift := float64(p.scale.data[at])*p.inverse[g], T(p.mean[g])
	return kernel.Affine[T]{
		Shift: shift, Scale: T(scale), Bias: T(float64(p.bias.data[at]) + (float64(shift)-p.mean[g])*scale),
	}
}

func (p *planeNorm[T]) normalise(g, plane int) {
	x, y, a := p.plane(p.x.data, plane), p.plane(p.y.data, plane), p.affine(g, plane)
	switch {
	case p.residual != nil && p.relu:
		a.AddRelu(y, x, p.plane(p.residual.data, plane))
	case p.residual != nil:
		a.Add(y, x, p.plane(p.residual.data, plane))
	case p.relu:
		a.Relu(y, x)
	default:
		a.Apply(y, x)
	}
}

// backward undoes Relu in the memory of dy, which then is the residual's gradient, and writes the gradient of x last.
func (p *planeNorm[T]) backward(c *call[T]) func() {
	p.sums, p.products = make([]float64, p.images*p.channels), make([]float64, p.images*p.channels)
	c.keepX(0)
	if p.relu && p.residual != nil {
		c.keepY()
	}
	c.order, c.reuse = []int{1, 2, 0}, []int{0}
	dX, dScale, dBias, dResidual := c.dx(0), c.dx(1), c.dx(2), (*sink[T])(nil)
	if i, ok := c.residual(); ok {
		dResidual = c.dx(i)
		c.order, c.reuse = []int{1, 2, i, 0}, []int{i, 0}
	}
	groups := c.parallel(p.groups, p.perGroup*p.pixels, func(lo, hi int) {
		for g := lo; g < hi; g++ {
			p.reduce(g, dResidual)
			if dX != nil {
				p.inputGrad(g, dX.begin())
			}
		}
	})
	return func() {
		groups()
		if dScale != nil || dBias != nil {
			p.paramGrads(dScale, dBias)
		}
		for _, s := range []*sink[T]{dScale, dBias, dResidual, dX} {
			if s != nil {
				s.end()
			}
		}
	}
}

// reduce makes dy that of the normalised value and sums it for each plane of a group.
func (p *planeNorm[T]) reduce(g int, dResidual *sink[T]) {
	for i := range p.perGroup {
		plane := p.planeOf(g, i)
		x, dy := p.plane(p.x.data, plane), p.plane(p.dy.data, plane)
		switch {
		case p.relu && p.residual != nil:
			kernel.ReluGrad(dy, dy, p.plane(p.y.data, plane))
		case p.relu:
			p.affine(g, plane).Mask(dy, dy, x)
		}
		if dResidual != nil {
			move(p.plane(dResidual.begin(), plane), dy)
		}
		shift := T(p.mean[g])
		sum, products := kernel.GradMoments(x, dy, p.pixels, p.pixels, 1, shift)
		p.sums[plane], p.products[plane] = sum, products+(float64(shift)-p.mean[g])*sum
	}
}

// inputGrad is inverse·(scale·dy - mean(scale·dy) - x̂·mean(scale·dy·x̂)), x̂ being the normalised x; with given statistics only the first
// term depends on x.
func (p *planeNorm[T]) inputGrad(g int, d []T) {
	sum, product := 0.0, 0.0
	if p.given == nil {
		for i := range p.perGroup {
			plane := p.planeOf(g, i)
			scale := float64(p.scale.data[p.scaleOf(plane)])
			sum += scale * p.sums[plane]
			product += scale * p.products[plane]
		}
	}
	inverse, count, shift := p.inverse[g], float64(p.perGroup*p.pixels), T(p.mean[g])
	b := -inverse * inverse * inverse * product / count
	constant := -inverse*sum/count + b*(float64(shift)-p.mean[g])
	for i := range p.perGroup {
		plane := p.planeOf(g, i)
		a := float64(p.scale.data[p.scaleOf(plane)]) * inverse
		kernel.AffineGrad(p.plane(d, plane), p.plane(p.dy.data, plane), p.plane(p.x.data, plane), shift, T(a), T(b), T(constant))
	}
}

// paramGrads sums the planes' sums for each scale and bias, image after image.
func (p *planeNorm[T]) paramGrads(dScale, dBias *sink[T]) {
	for at := range p.scale.n {
		scale, bias := 0.0, 0.0
		for image := range p.images {
			for i := range p.perScale {
				plane := image*p.channels + at*p.perScale + i
				scale += p.products[plane] * p.inverse[p.groupOf(plane)]
				bias += p.sums[plane]
			}
		}
		if dScale != nil {
			dScale.begin()[at] = T(scale)
		}
		if dBias != nil {
			dBias.begin()[at] = T(bias)
		}
	}
}

// planeOf is plane i of a group.
func (p *planeNorm[T]) planeOf(g, i int) int {
	if p.across {
		return i*p.channels + g
	}
	return g*p.perGroup + i
}

// groupOf is the group of a plane.
func (p *planeNorm[T]) groupOf(plane int) int {
	if p.across {
		return plane % p.channels
	}
	return plane / p.perGroup
}
