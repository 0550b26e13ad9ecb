package kernel

import (
	"fmt"
	"math"
	"sync"
)

// A ConvShape is the geometry of a two-dimensional convolution of a batch: the input is [Batch, In, Size...], the weights are
// [Out, In/Groups, Kernel...], the output is [Batch, Out, OutSize...], all stored by rows. Pairs are rows, columns.
type ConvShape struct {
	Batch, In, Out, Groups         int
	Size, Kernel, Stride, Dilation [2]int
	Pads                           [4]int // top, left, bottom, right
}

// OutSize is the size of an output image.
func (s *ConvShape) OutSize() [2]int {
	var out [2]int
	for i := range out {
		out[i] = (s.Size[i]+s.Pads[i]+s.Pads[i+2]-s.Dilation[i]*(s.Kernel[i]-1)-1)/s.Stride[i] + 1
	}
	return out
}

// check panics for a geometry without output, and for one whose images are beyond 32-bit offsets.
func (s *ConvShape) check() {
	for i := range s.Size {
		reach := s.Size[i] + s.Pads[i] + s.Pads[i+2] - s.Dilation[i]*(s.Kernel[i]-1)
		if s.Stride[i] < 1 || s.Dilation[i] < 1 || s.Kernel[i] < 1 || reach < 1 || s.Pads[i] < 0 || s.Pads[i+2] < 0 {
			panic(fmt.Sprintf("kernel: Conv: %+v", *s))
		}
	}
	if s.Batch < 1 || s.In < 1 || s.Out < 1 || s.Groups < 1 || s.In%s.Groups != 0 || s.Out%s.Groups != 0 {
		panic(fmt.Sprintf("kernel: Conv: %+v", *s))
	}
	if !s.Fits() {
		panic(fmt.Sprintf("kernel: Conv: an image of %+v is too large", *s))
	}
}

// Fits says that offsets of 32 bits reach all of the images that a part of the work covers, which is many only where they are small.
func (s *ConvShape) Fits() bool {
	in, out, pixels := float64(s.In), float64(s.Out), [2]float64{1, 1}
	for i, n := range s.OutSize() {
		in *= float64(s.Size[i]) + float64(s.Pads[i]) + float64(s.Pads[i+2]) + float64(s.Stride[i])
		out *= float64(n)
		pixels[0] *= float64(s.Size[i])
		pixels[1] *= float64(n)
	}
	return max(in, out)*max(1, columnsOfTask/min(pixels[0], pixels[1])) <= math.MaxInt32
}

const (
	convDepth     = 256 // of a block: a panel of columns and one of rows stay in the first-level cache
	columnsOfTask = 256 // about as many pixels does a part of a convolution cover where images are small
	panelsOfBlock = 32  // panels of columns that are finished one after the other
)

// A Conv is a convolution of one geometry: forward, the gradients of its input and of its weights. It is implicit matrix multiplication: panels
// of the matrix whose columns are the patches of the image (im2col) are made a few at a time, where they are needed, and multiplied by the
// micro-kernels of [Gemm]. Only where each channel is convolved by itself it is done directly.
//
// The work is cut into parts that depend on the geometry alone, so that the results do not depend on the number of threads. A Conv is not safe for
// concurrent use.
//
// Reference: K. Chellapilla, S. Puri, P. Simard (2006), High Performance Convolutional Neural Networks for Document Processing, for the patches as a
// matrix; M. Dukhan (2019), The Indirect Convolution Algorithm, arXiv:1907.02129, for offsets in place of copies of it. Departures: pixels, not channels,
// run fastest; a strided image is split into planes of one phase each, in which patches have neighbours again.
type Conv[T Float] struct {
	shape   ConvShape
	ws      *Workspace[T]
	forward patches[T]
	flipped *patches[T] // the gradient of the input as a convolution, where it is one
	back    *spread[T]  // the gradient of the input otherwise
	direct  *depthwise[T]
	weights weightGrad[T]
}

// NewConv plans a convolution. Convolutions that run one after the other share a workspace.
func NewConv[T Float](shape ConvShape, ws *Workspace[T]) *Conv[T] {
	shape.check()
	return &Conv[T]{shape: shape, ws: ws}
}

// holds panics where the slices of a pass are too short: the copies that it consists of do not look.
func (s *ConvShape) holds(pass string, x, w, y int) {
	needX, needW, needY := s.lengths()
	if x < needX || w < needW || y < needY {
		panic(fmt.Sprintf("kernel: Conv.%s: slices of %d, %d and %d elements, of %+v needed are %d, %d and %d", pass, x, w, y, *s, needX, needW, needY))
	}
}

// lengths are the elements of input, weights and output.
func (s *ConvShape) lengths() (x, w, y int) {
	out := s.OutSize()
	return s.Batch * s.In * s.Size[0] * s.Size[1], s.Out * s.In / s.Groups * s.Kernel[0] * s.Kernel[1], s.Batch * s.Out * out[0] * out[1]
}

// inner are the rows and columns of the matrices: channels of a group out, and elements of a patch.
func (s *ConvShape) inner() (rows, depth int) {
	return s.Out / s.Groups, s.In / s.Groups * s.Kernel[0] * s.Kernel[1]
}

// Forward computes y = w * x + bias, [Out], which may be nil.
func (c *Conv[T]) Forward(p *Pool, x, w, bias, y []T) { c.forwardWith(current[T](), p, x, w, bias, y) }

func (c *Conv[T]) forwardWith(e *implementation[T], p *Pool, x, w, bias, y []T) {
	s := &c.shape
	s.holds("Forward", len(x), len(w), len(y))
	if bias != nil {
		holdsMatrix("Conv.Forward", "bias", len(bias), 1, s.Out, s.Out)
	}
	c.planForward(e)
	if c.direct != nil {
		c.direct.run(p, c.ws, depthwiseForward, x, w, bias, y, false)
		return
	}
	c.forward.run(p, c.ws, x, weightLines[T]{w: w, groups: s.Groups}, bias, y, false)
}

func (c *Conv[T]) planForward(e *implementation[T]) {
	if c.planDirect(e) {
		return
	}
	if s := &c.shape; c.forward.impl != e {
		c.forward = newPatches(e, s.Batch, s.In, s.Out, s.Groups, s.Size, s.OutSize(), s.Kernel, s.Stride, s.Dilation, [2]int{s.Pads[0], s.Pads[1]})
	}
}

// planDirect is false where the convolution is a product of matrices.
func (c *Conv[T]) planDirect(e *implementation[T]) bool {
	if !c.shape.isDepthwise() {
		return false
	}
	if c.direct == nil || c.direct.impl != e {
		c.direct = newDepthwise(e, &c.shape)
	}
	return true
}

// ForwardMemory is what Forward takes of the workspace.
func (c *Conv[T]) ForwardMemory() WorkspaceMemory {
	c.planForward(current[T]())
	if c.direct != nil {
		return c.direct.memory()
	}
	f := &c.forward
	m := WorkspaceMemory{packed: f.groups * f.panelRows() * f.impl.mr * f.depth, panel: f.impl.nr * f.block, edge: f.impl.nr * f.impl.mr}
	if !f.lattice.isImage {
		m.image = f.latticeLen
	}
	return m
}

// InputGrad computes dx = beta*dx + the gradient of the input.
func (c *Conv[T]) InputGrad(p *Pool, dy, w, dx []T, beta T) {
	c.inputGradWith(current[T](), p, dy, w, dx, beta)
}

// flippedPads is the padding above and to the left of dy with which the gradient of the input is a convolution of it. It is none where strides left
// something out, where x was padded by more than a kernel reaches over, and where offsets of 32 bits do not reach all of dy with its padding.
func (s *ConvShape) flippedPads() (pads [2]int, ok bool) {
	elements := float64(s.Out)
	for i := range pads {
		reach := s.Dilation[i] * (s.Kernel[i] - 1)
		pads[i] = reach - s.Pads[i]
		if s.Stride[i] != 1 || pads[i] < 0 {
			return pads, false
		}
		elements *= float64(s.Size[i]) + float64(reach)
	}
	return pads, elements <= math.MaxInt32
}

// inputGradWith is a convolution of dy with the weights turned around where it can be; else products are spread over the image.
func (c *Conv[T]) inputGradWith(e *implementation[T], p *Pool, dy, w, dx []T, beta T) {
	s := &c.shape
	s.holds("InputGrad", len(dx), len(w), len(dy))
	if c.planDirect(e) {
		c.direct.run(p, c.ws, depthwiseInput, dx, w, nil, dy, beta == 1)
		return
	}
	if pads, ok := s.flippedPads(); ok {
		if c.flipped == nil || c.flipped.impl != e {
			flipped := newPatches(e, s.Batch, s.Out, s.In, s.Groups, s.OutSize(), s.Size, s.Kernel, s.Stride, s.Dilation, pads)
			c.flipped = &flipped
		}
		c.flipped.run(p, c.ws, dy, weightLines[T]{w: w, groups: s.Groups, flipped: true, taps: s.Kernel[0] * s.Kernel[1]}, nil, dx, beta == 1)
		return
	}
	if c.back == nil || c.back.impl != e {
		c.back = newSpread(e, s)
	}
	c.back.run(p, c.ws, dy, w, dx, beta == 1)
}

// WeightGrad computes dw = beta*dw + the gradient of the weights.
func (c *Conv[T]) WeightGrad(p *Pool, x, dy, dw []T, beta T) {
	c.weightGradWith(current[T](), p, x, dy, dw, beta)
}

func (c *Conv[T]) weightGradWith(e *implementation[T], p *Pool, x, dy, dw []T, beta T) {
	c.shape.holds("WeightGrad", len(x), len(dw), len(dy))
	if c.planDirect(e) {
		c.direct.run(p, c.ws, depthwiseWeights, x, dw, nil, dy, beta == 1)
		return
	}
	if c.weights.impl != e {
		c.weights = newWeightGrad(e, &c.shape)
	}
	c.weights.run(p, c.ws, x, dy, dw, beta == 1)
}

// A Workspace is memory that convolutions use while they run. In steady state it does not grow.
type Workspace[T Float] struct {
	packed, partial []T // of the convolution that runs

	mu   sync.Mutex
	free []*convScratch[T]
}

// A convScratch is what one part of a convolution needs.
type convScratch[T Float] struct{ image, turned, panel, rows, edge []T }

func (w *Workspace[T]) take() *convScratch[T] {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.free); n > 0 {
		s := w.free[n-1]
		w.free = w.free[:n-1]
		return s
	}
	return new(convScratch[T])
}

func (w *Workspace[T]) give(s *convScratch[T]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.free = append(w.free, s)
}

// Len is the number of elements that the workspace holds. No convolution may run.
func (w *Workspace[T]) Len() int {
	n := cap(w.packed) + cap(w.partial)
	for _, s := range w.free {
		n += cap(s.image) + cap(s.turned) + cap(s.panel) + cap(s.rows) + cap(s.edge)
	}
	return n
}

// WorkspaceMemory is the elements that convolutions take of a workspace: the packed weights and, for each thread, copies of images, a panel of patches
// and a tile of the product.
type WorkspaceMemory struct{ packed, image, panel, edge int }

// Max is what convolutions take that run one after the other.
func (m WorkspaceMemory) Max(o WorkspaceMemory) WorkspaceMemory {
	return WorkspaceMemory{max(m.packed, o.packed), max(m.image, o.image), max(m.panel, o.panel), max(m.edge, o.edge)}
}

// Elements is the sum on a number of threads.
func (m WorkspaceMemory) Elements(threads int) int {
	return m.packed + threads*(m.image+m.panel+m.edge)
}

// imagesOfTask is how many images of so many pixels a part of a convolution covers.
func imagesOfTask(batch, pixels int) int {
	return min(max(1, columnsOfTask/pixels), max(1, batch/4))
}

// ceilDiv is a/b, rounded up.
func ceilDiv(a, b int) int { return (a + b - 1) / b }
