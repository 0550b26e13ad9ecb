package nn

import (
	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/tensor"
)

func linearOperators[T Float]() map[string]operator[T] {
	return map[string]operator[T]{
		"Gemm":   {compile: compileGemm[T]},
		"MatMul": {compile: compileMatMul[T]},
	}
}

// product is Y = op(A)·op(B), op(A) being m x k and op(B) k x n; A is m x k or, transposed, k x m, and so on.
type product[T Float] struct {
	pool           *kernel.Pool
	transA, transB bool
	m, n, k        int
}

func (p *product[T]) lda() int {
	if p.transA {
		return p.m
	}
	return p.k
}

func (p *product[T]) ldb() int {
	if p.transB {
		return p.k
	}
	return p.n
}

func (p *product[T]) forward(y, a, b []T) {
	kernel.Gemm(p.pool, p.transA, p.transB, p.m, p.n, p.k, a, p.lda(), b, p.ldb(), 0, y, p.n)
}

// gradA stores beta·dA plus the gradient of A: dY·op(B)ᵀ or its transpose.
func (p *product[T]) gradA(dA, dY, b []T, beta T) {
	if p.transA {
		kernel.Gemm(p.pool, p.transB, true, p.k, p.m, p.n, b, p.ldb(), dY, p.n, beta, dA, p.m)
		return
	}
	kernel.Gemm(p.pool, false, !p.transB, p.m, p.k, p.n, dY, p.n, b, p.ldb(), beta, dA, p.k)
}

// gradB stores beta·dB plus the gradient of B: op(A)ᵀ·dY or its transpose.
func (p *product[T]) gradB(dB, dY, a []T, beta T) {
	if p.transB {
		kernel.Gemm(p.pool, true, p.transA, p.n, p.k, p.m, dY, p.n, a, p.lda(), beta, dB, p.k)
		return
	}
	kernel.Gemm(p.pool, !p.transA, false, p.k, p.n, p.m, a, p.lda(), dY, p.n, beta, dB, p.n)
}

// compileGemm makes Y = alpha·op(A)·op(B) + beta·C, with the Relu behind it where one was fused.
func compileGemm[T Float](c *call[T]) (step, error) {
	attrs := c.node.Attrs
	p := &product[T]{
		pool:   c.planner.engine.pool,
		transA: attrs.Int("transA", 0) != 0, transB: attrs.Int("transB", 0) != 0,
		m: c.out.shape[0], n: c.out.shape[1],
	}
	p.k = c.shape(0)[1]
	if p.transA {
		p.k = c.shape(0)[0]
	}
	alpha := T(attrs.Float("alpha", 1))
	finish := c.gemmFinish(alpha, T(attrs.Float("beta", 1)))
	a, b, y := c.x(0), c.x(1), c.y()
	s := step{forward: func() {
		p.forward(y.data, a.data, b.data)
		finish()
	}}
	if c.backward {
		s.backward = c.gemmBackward(p, alpha, T(attrs.Float("beta", 1)))
	}
	return s, nil
}

// gemmFinish makes what follows the product: scaling, addition of C, Relu.
func (c *call[T]) gemmFinish(alpha, beta T) func() {
	y := c.y()
	rows, cols := c.out.shape[0], c.out.shape[1]
	relu := func(lo, hi int) {}
	if c.node.relu {
		relu = func(lo, hi int) { kernel.Relu(y.data[lo*cols:hi*cols], y.data[lo*cols:hi*cols]) }
	}
	if !c.has(2) || beta == 0 {
		if alpha == 1 && !c.node.relu {
			return func() {}
		}
		return c.parallel(rows, cols, func(lo, hi int) {
			scale(alpha, y.data[lo*cols:hi*cols])
			relu(lo, hi)
		})
	}
	rep, bias := repeat(c.shape(2), c.out.shape), c.x(2)
	if _, _, row := rep.rows(); row && beta == 1 && alpha == 1 {
		add := kernel.AddRow[T]
		if c.node.relu {
			add = kernel.AddRowRelu[T]
		}
		return c.parallel(rows, cols, func(lo, hi int) { add(y.data[lo*cols:hi*cols], hi-lo, cols, bias.data) })
	}
	whole := c.scratch(c.out.n)
	run := c.parallel(rows, cols, func(lo, hi int) {
		d := y.data[lo*cols : hi*cols]
		scale(alpha, d)
		kernel.Axpy(beta, whole.data[lo*cols:hi*cols], d)
		relu(lo, hi)
	})
	return func() {
		expand(whole.data, bias.data, rep)
		run()
	}
}

// scale multiplies x by alpha, which mostly is 1.
func scale[T Float](alpha T, x []T) {
	if alpha != 1 {
		kernel.Scale(alpha, x)
	}
}

// gemmBackward writes the gradient of C first, so that the gradient of Y can then be scaled by alpha where it lies.
func (c *call[T]) gemmBackward(p *product[T], alpha, beta T) func() {
	a, b, y, dy := c.x(0), c.x(1), c.y(), c.dy()
	dA, dB := c.dx(0), c.dx(1)
	c.adds, c.order = true, []int{2, 1, 0}
	unRelu := func() {}
	if c.node.relu {
		c.keepY()
		unRelu = c.parallel(c.out.n, 1, func(lo, hi int) { kernel.ReluGrad(dy.data[lo:hi], dy.data[lo:hi], y.data[lo:hi]) })
	}
	biasGrad := func() {}
	if c.wants(2) {
		biasGrad = c.biasGrad(beta)
	}
	if dA != nil {
		c.keepX(1)
	}
	if dB != nil {
		c.keepX(0)
	}
	return func() {
		unRelu()
		biasGrad()
		scale(alpha, dy.data)
		if dB != nil {
			p.gradB(dB.into.data, dy.data, a.data, dB.beta())
		}
		if dA != nil {
			p.gradA(dA.into.data, dy.data, b.data, dA.beta())
		}
	}
}

// biasGrad makes the gradient of C: beta times the sum of dY over the axes along which C is repeated.
func (c *call[T]) biasGrad(beta T) func() {
	dC, dy := c.dx(2), c.dy()
	rep := repeat(c.shape(2), c.out.shape)
	if rows, cols, row := rep.rows(); row && beta == 1 {
		return c.sumRows(func() []T { return dC.into.data }, dy, rows, cols, dC.beta)
	}
	sum := c.scratchBack(c.in[2].n)
	return func() {
		reduce(sum.data, dy.data, rep)
		if !dC.add {
			clear(dC.into.data)
		}
		kernel.Axpy(beta, sum.data, dC.into.data)
	}
}

// batchedProduct is a product for each index of the batch axes, along which operands may be repeated.
type batchedProduct[T Float] struct {
	product[T]
	offsetA, offsetB []int  // of the matrices of each product
	firstA, firstB   []bool // whether it is the first product with that matrix
}

// compileMatMul follows numpy.matmul.
func compileMatMul[T Float](c *call[T]) (step, error) {
	p := newBatchedProduct[T](c.shape(0), c.shape(1))
	p.pool = c.planner.engine.pool
	a, b, y := c.x(0), c.x(1), c.y()
	sizeY := p.m * p.n
	s := step{forward: func() {
		for i, offset := range p.offsetA {
			p.forward(y.data[i*sizeY:(i+1)*sizeY], a.data[offset:], b.data[p.offsetB[i]:])
		}
	}}
	if !c.backward {
		return s, nil
	}
	dA, dB, dy := c.dx(0), c.dx(1), c.dy()
	c.adds = true
	if dA != nil {
		c.keepX(1)
	}
	if dB != nil {
		c.keepX(0)
	}
	s.backward = func() {
		if dA != nil {
			p.allGradA(dA, dy.data, b.data)
		}
		if dB != nil {
			p.allGradB(dB, dy.data, a.data)
		}
	}
	return s, nil
}

func (p *batchedProduct[T]) allGradA(dA *sink[T], dy, b []T) {
	size := p.m * p.n
	for i, offset := range p.offsetA {
		beta := T(1)
		if p.firstA[i] {
			beta = dA.beta()
		}
		p.gradA(dA.into.data[offset:], dy[i*size:(i+1)*size], b[p.offsetB[i]:], beta)
	}
}

func (p *batchedProduct[T]) allGradB(dB *sink[T], dy, a []T) {
	size := p.m * p.n
	for i, offset := range p.offsetB {
		beta := T(1)
		if p.firstB[i] {
			beta = dB.beta()
		}
		p.gradB(dB.into.data[offset:], dy[i*size:(i+1)*size], a[p.offsetA[i]:], beta)
	}
}

// newBatchedProduct makes the products of operands of these shapes. A matrix on the right that is the same for all batches makes one tall
// product.
func newBatchedProduct[T Float](a, b tensor.Shape) *batchedProduct[T] {
	if len(a) == 1 {
		a = tensor.Shape{1, a[0]}
	}
	if len(b) == 1 {
		b = tensor.Shape{b[0], 1}
	}
	batchA, batchB := a[:len(a)-2], b[:len(b)-2]
	p := &batchedProduct[T]{product: product[T]{m: a[len(a)-2], k: a[len(a)-1], n: b[len(b)-1]}}
	if elements(batchB) == 1 {
		p.m *= elements(batchA)
		batchA = nil
	}
	batch := broadcastShape(batchA, batchB)
	p.offsetA, p.firstA = offsets(batchA, batch, p.m*p.k)
	p.offsetB, p.firstB = offsets(batchB, batch, p.k*p.n)
	return p
}

// offsets lists where the matrix of each product lies, matrices of size elements being repeated from one batch shape to another, and which
// product is the first to use it.
func offsets(from, to tensor.Shape, size int) (offset []int, first []bool) {
	matrices := make([]int, elements(from))
	for i := range matrices {
		matrices[i] = i
	}
	offset = make([]int, elements(to))
	expand(offset, matrices, repeat(from, to))
	first = make([]bool, len(offset))
	seen := make([]bool, len(matrices))
	for i, m := range offset {
		first[i], seen[m] = !seen[m], true
		offset[i] = m * size
	}
	return offset, first
}
