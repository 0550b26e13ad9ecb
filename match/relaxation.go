package match

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/rebasin/rebasin/assign"
	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/symmetry"
)

// relaxation is Σ_{i<j} <X_i·A_i, X_j·A_j> as a function of doubly stochastic matrices, one for every model and plain group. The models are taken as
// the crowd has them, so that all matrices are relative to where it stands.
type relaxation struct {
	sym      *symmetry.Symmetry
	pool     *kernel.Pool
	names    []string // of the groups
	models   int
	anchored bool // the first model stays as it is
	matrices [][]stochastic
	blocks   []*mixedBlock
	norm     float64

	mix                [][]float32 // per group, what the matrices of one model are between two points
	buffers            [2][]float32
	sum, others, mixed []float32
}

// stochastic is the doubly stochastic matrix X of one model and group: unit i of the result is Σ_j X[i,j]·(unit j).
type stochastic struct {
	n      int
	x      []float32
	grad   []float32
	vertex []int32   // of the oracle: X[i, vertex[i]] = 1
	prices []float64 // of the last assignment
	solver assign.Solver[float32]
}

// A mixedBlock is a block with the axes on which relaxed groups stand in the last places, in the storage of each model.
type mixedBlock struct {
	groups []int       // of the last axes
	dims   []int       // the extent of everything else, then those of the groups
	size   int         // the product of dims
	w, y   [][]float32 // per model: as it was, and mixed by the matrices as they are
}

// newRelaxation takes the models from the crowd.
func newRelaxation(c *crowd, groups []string, anchored bool) *relaxation {
	x := &relaxation{sym: c.sym, pool: c.pool, names: groups, models: len(c.current), anchored: anchored, norm: c.norm}
	x.matrices = make([][]stochastic, x.models)
	for i := range x.matrices {
		if i == 0 && anchored {
			continue
		}
		for _, name := range groups {
			g, _ := c.sym.Group(name)
			x.matrices[i] = append(x.matrices[i], stochastic{n: g.Size, x: make([]float32, g.Size*g.Size), grad: make([]float32, g.Size*g.Size)})
		}
	}
	for _, name := range groups {
		g, _ := c.sym.Group(name)
		x.mix = append(x.mix, make([]float32, g.Size*g.Size))
	}
	largest := 0
	for k, s := range c.d.stacks {
		for i := range s.blocks {
			if b := x.newBlock(&s.blocks[i]); len(b.groups) > 0 {
				b.load(&s.blocks[i], x.isRelaxed, c.current, k)
				x.blocks = append(x.blocks, b)
				largest = max(largest, b.size)
			}
		}
	}
	for k := range x.buffers {
		x.buffers[k] = make([]float32, largest)
	}
	x.sum, x.others, x.mixed = make([]float32, largest), make([]float32, largest), make([]float32, largest)
	return x
}

func (x *relaxation) isRelaxed(name string) bool { return slices.Contains(x.names, name) }

func (x *relaxation) newBlock(b *block) *mixedBlock {
	m := &mixedBlock{dims: []int{1}, size: 1}
	for k, name := range b.names {
		m.size *= b.dims[k]
		if g := slices.Index(x.names, name); g >= 0 {
			m.groups, m.dims = append(m.groups, g), append(m.dims, b.dims[k])
		} else {
			m.dims[0] *= b.dims[k]
		}
	}
	return m
}

// load copies the block of every model, stack k of them, with the relaxed axes last.
func (m *mixedBlock) load(b *block, relaxed func(string) bool, current [][][]float32, k int) {
	var dims, strides, lastDims, lastStrides []int
	for axis, name := range b.names {
		if relaxed(name) {
			lastDims, lastStrides = append(lastDims, b.dims[axis]), append(lastStrides, b.strides[axis])
		} else {
			dims, strides = append(dims, b.dims[axis]), append(strides, b.strides[axis])
		}
	}
	dims, strides = append(dims, lastDims...), append(strides, lastStrides...)
	dense := denseStrides(dims)
	for i := range current {
		w := make([]float32, m.size)
		copyStrided(w, 0, dense, current[i][k], b.offset, strides, dims)
		m.w, m.y = append(m.w, w), append(m.y, w)
	}
}

func identityPerm(n int) []int32 {
	p := make([]int32, n)
	for i := range p {
		p[i] = int32(i)
	}
	return p
}

func (m *stochastic) setPermutation(perm []int32) {
	clear(m.x)
	for i, j := range perm {
		m.x[i*m.n+int(j)] = 1
	}
}

// setBarycentre is (1-noise)/n in every place and noise more where a random permutation is 1.
func (m *stochastic) setBarycentre(noise float64, rng *rand.Rand) {
	kernel.Fill(m.x, float32((1-noise)/float64(m.n)))
	for i, j := range rng.Perm(m.n) {
		m.x[i*m.n+j] += float32(noise)
	}
}

// moves says whether a model's matrices are free.
func (x *relaxation) moves(model int) bool { return len(x.matrices[model]) > 0 }

// apply multiplies the axis of a block on which its k-th group stands by a matrix, from src to dst.
func (x *relaxation) apply(b *mixedBlock, k int, matrix, dst, src []float32) {
	n := b.dims[k+1]
	outer, inner := 1, 1
	for _, d := range b.dims[:k+1] {
		outer *= d
	}
	for _, d := range b.dims[k+2:] {
		inner *= d
	}
	if inner == 1 {
		kernel.Gemm(x.pool, false, true, outer, n, n, src, n, matrix, n, 0, dst, n)
		return
	}
	for o := range outer {
		at := o * n * inner
		kernel.Gemm(x.pool, false, false, n, inner, n, matrix, n, src[at:at+n*inner], inner, 0, dst[at:at+n*inner], inner)
	}
}

// gather is apply with the matrix of a permutation.
func (x *relaxation) gather(b *mixedBlock, k int, perm []int32, dst, src []float32) {
	n := b.dims[k+1]
	inner := 1
	for _, d := range b.dims[k+2:] {
		inner *= d
	}
	x.pool.Run(max(1, min(maxParts, b.size/(n*inner))), partTask(func(part int) {
		outer, parts := b.size/(n*inner), max(1, min(maxParts, b.size/(n*inner)))
		for o := part * outer / parts; o < (part+1)*outer/parts; o++ {
			from, to := src[o*n*inner:(o+1)*n*inner], dst[o*n*inner:(o+1)*n*inner]
			for i, j := range perm {
				copy(to[i*inner:(i+1)*inner], from[int(j)*inner:(int(j)+1)*inner])
			}
		}
	}))
}

// through writes a model's block to dst with all its groups but the skip-th gone through f, which takes the group's place among the block's.
func (x *relaxation) through(b *mixedBlock, model, skip int, dst []float32, f func(k int, dst, src []float32)) {
	var todo []int
	for k := range b.groups {
		if k != skip {
			todo = append(todo, k)
		}
	}
	src := b.w[model]
	for i, k := range todo {
		to := dst
		if i < len(todo)-1 {
			to = x.buffers[i%2][:b.size]
		}
		f(k, to, src)
		src = to
	}
	if len(todo) == 0 {
		copy(dst, src)
	}
}

// none is no group of a block.
const none = -1

// gradient computes all mixed blocks, the gradient by every matrix, and the objective.
func (x *relaxation) gradient(ctx context.Context) (f float64, err error) {
	for i := range x.matrices {
		for g := range x.matrices[i] {
			clear(x.matrices[i][g].grad)
		}
	}
	for _, b := range x.blocks {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		for i := range x.models {
			if x.moves(i) {
				if &b.y[i][0] == &b.w[i][0] { // the first time
					b.y[i] = make([]float32, b.size)
				}
				x.through(b, i, none, b.y[i], func(k int, dst, src []float32) { x.apply(b, k, x.matrices[i][b.groups[k]].x, dst, src) })
			}
		}
		sum := x.sum[:b.size]
		sumOf(sum, b.y)
		f += pairsOf(sum, b.y, sum, b.y) / 2
		for i := range x.models {
			if x.moves(i) {
				x.addGradient(b, i, sum)
			}
		}
	}
	return f, nil
}

func sumOf(dst []float32, ys [][]float32) {
	copy(dst, ys[0])
	for _, y := range ys[1:] {
		kernel.Add(dst, dst, y)
	}
}

// pairsOf is Σ_{i≠j} <y_i, z_j>, given the sums over the models: what stands on two sides of a model is taken off.
func pairsOf(sumY []float32, y [][]float32, sumZ []float32, z [][]float32) float64 {
	v := kernel.Dot(sumY, sumZ)
	for i := range y {
		v -= kernel.Dot(y[i], z[i])
	}
	return v
}

// addGradient adds a block's part to the gradients of a model.
func (x *relaxation) addGradient(b *mixedBlock, model int, sum []float32) {
	others, mixed := x.others[:b.size], x.mixed[:b.size]
	kernel.Sub(others, sum, b.y[model])
	for p, g := range b.groups {
		z := b.w[model]
		if len(b.groups) > 1 {
			x.through(b, model, p, mixed, func(k int, dst, src []float32) { x.apply(b, k, x.matrices[model][b.groups[k]].x, dst, src) })
			z = mixed
		}
		n := b.dims[p+1]
		outer, inner := 1, 1
		for _, d := range b.dims[:p+1] {
			outer *= d
		}
		for _, d := range b.dims[p+2:] {
			inner *= d
		}
		grad := x.matrices[model][g].grad
		if inner == 1 {
			kernel.Gemm(x.pool, true, false, n, n, outer, others, n, z, n, 1, grad, n)
			continue
		}
		for o := range outer {
			at := o * n * inner
			kernel.Gemm(x.pool, false, true, n, n, inner, others[at:at+n*inner], inner, z[at:at+n*inner], inner, 1, grad, n)
		}
	}
}

// each calls f for every matrix, on all threads.
func (x *relaxation) each(f func(m *stochastic) error) error {
	var all []*stochastic
	for i := range x.matrices {
		for g := range x.matrices[i] {
			all = append(all, &x.matrices[i][g])
		}
	}
	errs := make([]error, len(all))
	x.pool.Run(len(all), partTask(func(k int) { errs[k] = f(all[k]) }))
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// oracle finds for every matrix the vertex that the gradient likes best.
func (x *relaxation) oracle(ctx context.Context) error {
	return x.each(func(m *stochastic) error { return m.assign(ctx, m.grad) })
}

// assign solves for the vertex with the largest inner product with s. The prices of the last time make it faster.
func (m *stochastic) assign(ctx context.Context, s []float32) error {
	r, err := m.solver.Solve(ctx, m.n, m.n, s, assign.Options{Maximize: true, Prices: m.prices})
	if err != nil {
		return fmt.Errorf("match: Frank–Wolfe: %w", err)
	}
	m.vertex = grownPerm(m.vertex, m.n)
	for i, j := range r.RowToCol {
		m.vertex[i] = int32(j)
	}
	m.prices = slices.Clone(r.V)
	return nil
}

func grownPerm(p []int32, n int) []int32 {
	if cap(p) < n {
		return make([]int32, n)
	}
	return p[:n]
}

// lineSearch finds the best step towards the vertices, and what it gains.
func (x *relaxation) lineSearch(ctx context.Context) (t, gain float64, err error) {
	var f stepPolynomial
	for _, b := range x.blocks {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		x.addNodes(&f, b)
	}
	t, gain = f.maximum()
	return t, gain, nil
}

// addNodes adds a block's part of the objective on the way to the vertices: from the mixed blocks at the m+1 nodes 0, 1/m, ..., 1.
func (x *relaxation) addNodes(f *stepPolynomial, b *mixedBlock) {
	m := len(b.groups)
	sums, ys := make([][]float32, m+1), make([][][]float32, m+1)
	for k := range ys {
		ys[k] = slices.Clone(b.y)
		if k > 0 {
			for i := range x.models {
				if x.moves(i) {
					ys[k][i] = make([]float32, b.size)
					x.onTheWay(b, i, k, ys[k][i])
				}
			}
		}
		sums[k] = make([]float32, b.size)
		sumOf(sums[k], ys[k])
	}
	for k := range ys {
		for l := range k + 1 {
			v := pairsOf(sums[k], ys[k], sums[l], ys[l]) / 2
			f.add(m, k, l, v)
			if k != l {
				f.add(m, l, k, v)
			}
		}
	}
}

// onTheWay is a model's block with all matrices k m-ths of the way to their vertices.
func (x *relaxation) onTheWay(b *mixedBlock, model, k int, dst []float32) {
	m := len(b.groups)
	if k == m {
		x.through(b, model, none, dst, func(at int, dst, src []float32) { x.gather(b, at, x.matrices[model][b.groups[at]].vertex, dst, src) })
		return
	}
	x.through(b, model, none, dst, func(at int, dst, src []float32) {
		g := b.groups[at]
		copy(x.mix[g], x.matrices[model][g].x)
		towards(x.mix[g], x.matrices[model][g].vertex, float64(k)/float64(m))
		x.apply(b, at, x.mix[g], dst, src)
	})
}

// towards goes from a matrix the part t of the way to a permutation's.
func towards(x []float32, perm []int32, t float64) {
	kernel.Scale(float32(1-t), x)
	n := len(perm)
	for i, j := range perm {
		x[i*n+int(j)] += float32(t)
	}
}

// step moves all matrices towards their vertices. A full step ends there to the bit.
func (x *relaxation) step(t float64) {
	for i := range x.matrices {
		for g := range x.matrices[i] {
			towards(x.matrices[i][g].x, x.matrices[i][g].vertex, t)
		}
	}
}

// project returns for every model the permutations nearest to its matrices.
func (x *relaxation) project(ctx context.Context) ([]*symmetry.Alignment, error) {
	err := x.each(func(m *stochastic) error {
		m.prices = nil
		return m.assign(ctx, m.x)
	})
	if err != nil {
		return nil, err
	}
	out := make([]*symmetry.Alignment, x.models)
	for i := range out {
		out[i] = x.sym.Identity()
		for g := range x.matrices[i] {
			out[i].Perms[x.names[g]] = slices.Clone(x.matrices[i][g].vertex)
		}
	}
	return out, nil
}

// stepPolynomial is f(t) = Σ_m Σ_kl G_m[k,l]·ℓ_k(t)·ℓ_l(t) with Lagrange's ℓ at the nodes k/m: what the inner products of blocks that are polynomials of
// degree m in t sum up to.
type stepPolynomial struct {
	products [][]float64 // per m: (m+1) x (m+1)
}

func (f *stepPolynomial) add(m, k, l int, v float64) {
	for len(f.products) <= m {
		n := len(f.products) + 1
		f.products = append(f.products, make([]float64, n*n))
	}
	f.products[m][k*(m+1)+l] += v
}

func (f *stepPolynomial) at(t float64) float64 {
	var sum float64
	for m := 1; m < len(f.products); m++ {
		l := lagrange(m, t)
		for i := range l {
			for j := range l {
				sum += f.products[m][i*(m+1)+j] * l[i] * l[j]
			}
		}
	}
	return sum
}

// lagrange are the m+1 basis polynomials at t: ℓ_k is 1 at k/m and 0 at the other nodes.
func lagrange(m int, t float64) []float64 {
	out := make([]float64, m+1)
	for k := range out {
		out[k] = 1
		for j := range out {
			if j != k {
				out[k] *= (t*float64(m) - float64(j)) / float64(k-j)
			}
		}
	}
	return out
}

// maximum is where on [0, 1] the polynomial is largest, and by how much it is larger there than at 0. Its degree is small, so that a grid of 64 cells
// brackets the maximum; at the vertices, which are often best, it is exact.
func (f *stepPolynomial) maximum() (t, gain float64) {
	const cells, narrowings = 64, 40
	start, best := f.at(0), 0
	value := start
	for k := 1; k <= cells; k++ {
		if v := f.at(float64(k) / cells); v > value {
			best, value = k, v
		}
	}
	t = float64(best) / cells
	lo, hi := max(0, t-1.0/cells), min(1, t+1.0/cells)
	ratio := (math.Sqrt(5) - 1) / 2
	for range narrowings {
		left, right := hi-ratio*(hi-lo), lo+ratio*(hi-lo)
		if f.at(left) >= f.at(right) {
			hi = right
		} else {
			lo = left
		}
	}
	if v := f.at((lo + hi) / 2); v > value {
		t, value = (lo+hi)/2, v
	}
	return t, value - start
}
