package match

import (
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/symmetry"
)

// A block is a strided array inside a tensor whose axes are the factors of a layout: one combination of segments, one for each axis of the tensor.
// Without concatenations a tensor is a single block. All the work of matching is done on blocks: units stand on one of their axes.
type block struct {
	names   []string // per axis of the block, the group, family or fixed name; "" for an anonymous extent
	axes    []int    // the axis of the tensor that it is a factor of
	dims    []int
	strides []int // in elements of the tensor
	offset  int
}

// blocksOf cuts a tensor of this layout into its blocks; those without elements are left out.
func blocksOf(layout symmetry.Layout) []block {
	strides := denseStrides(layout.Shape())
	blocks := []block{{}}
	for k, axis := range layout {
		var next []block
		for _, b := range blocks {
			start := 0
			for _, seg := range axis {
				next = append(next, b.with(seg, k, start, strides[k]))
				start += seg.Len()
			}
		}
		blocks = next
	}
	return slices.DeleteFunc(blocks, func(b block) bool { return slices.Contains(b.dims, 0) })
}

// with appends the factors of a segment that begins at position start of the tensor's axis k.
func (b block) with(seg symmetry.Segment, k, start, unit int) block {
	c := block{
		names: slices.Clone(b.names), axes: slices.Clone(b.axes), dims: slices.Clone(b.dims), strides: slices.Clone(b.strides),
		offset: b.offset + start*unit,
	}
	for i, f := range seg {
		c.names = append(c.names, f.Name)
		c.axes = append(c.axes, k)
		c.dims = append(c.dims, f.Size)
		c.strides = append(c.strides, unit*seg[i+1:].Len())
	}
	return c
}

// denseStrides are those of a row-major array.
func denseStrides(dims []int) []int {
	strides := make([]int, len(dims))
	stride := 1
	for k := len(dims) - 1; k >= 0; k-- {
		strides[k] = stride
		stride *= dims[k]
	}
	return strides
}

// positions are the axes of the block on which the name stands.
func (b *block) positions(name string) []int {
	var out []int
	for i, n := range b.names {
		if n == name {
			out = append(out, i)
		}
	}
	return out
}

// parentsOf returns the positions of the parents of a family that stands at pos, by the rule of package symmetry: a parent in the family's own
// product is meant, otherwise the one on another axis.
func (b *block) parentsOf(g symmetry.Group, pos int) ([]int, error) {
	var out []int
	for _, parent := range g.Parents {
		all := b.positions(parent)
		own := slices.DeleteFunc(slices.Clone(all), func(k int) bool { return b.axes[k] != b.axes[pos] })
		switch {
		case len(own) == 1:
			out = append(out, own[0])
		case len(own) == 0 && len(all) == 1:
			out = append(out, all[0])
		default:
			return nil, fmt.Errorf("which %q is the parent of family %q is not clear", parent, g.Name)
		}
	}
	return out, nil
}

// A view is a block seen as a matrix: rows are the joint index of the leading axes, columns that of all the others in their order.
type view struct {
	leadDims, leadStrides []int
	restDims, restStrides []int
	offset                int
	rows, cols            int
}

func (b *block) view(lead ...int) view {
	v := view{offset: b.offset, rows: 1, cols: 1}
	for _, k := range lead {
		v.leadDims, v.leadStrides = append(v.leadDims, b.dims[k]), append(v.leadStrides, b.strides[k])
		v.rows *= b.dims[k]
	}
	for k := range b.dims {
		if !slices.Contains(lead, k) {
			v.restDims, v.restStrides = append(v.restDims, b.dims[k]), append(v.restStrides, b.strides[k])
			v.cols *= b.dims[k]
		}
	}
	v.leadDims, v.leadStrides = joinAxes(v.leadDims, v.leadStrides)
	v.restDims, v.restStrides = joinAxes(v.restDims, v.restStrides)
	return v
}

// joinAxes joins neighbouring axes that are contiguous to each other and drops those of extent one, so that copies run over long stretches and a
// plain matrix is recognised. At least one axis remains.
func joinAxes(dims, strides []int) (d, s []int) {
	for k := range dims {
		if dims[k] == 1 {
			continue
		}
		if n := len(d); n > 0 && s[n-1] == strides[k]*dims[k] {
			d[n-1] *= dims[k]
			s[n-1] = strides[k]
			continue
		}
		d, s = append(d, dims[k]), append(s, strides[k])
	}
	if len(d) == 0 {
		return []int{1}, []int{1}
	}
	return d, s
}

// matrix is a view's storage as GEMM takes it: data is rows x cols with leading dimension ld or, when transposed, cols x rows.
type matrix struct {
	data       []float32
	ld         int
	transposed bool
}

// matrixOf returns the view of the tensor's data, without a copy where the storage is a matrix already, else copied into scratch, which is grown.
func (v *view) matrixOf(pool *kernel.Pool, data []float32, scratch *[]float32) matrix {
	if len(v.leadDims) == 1 && len(v.restDims) == 1 {
		switch {
		case v.restStrides[0] == 1 || v.restDims[0] == 1:
			return matrix{data: data[v.offset:], ld: max(v.leadStrides[0], v.cols)}
		case v.leadStrides[0] == 1 || v.leadDims[0] == 1:
			return matrix{data: data[v.offset:], ld: max(v.restStrides[0], v.rows), transposed: true}
		}
	}
	*scratch = grow(*scratch, v.rows*v.cols)
	v.copyTo(pool, *scratch, v.cols, data)
	return matrix{data: *scratch, ld: v.cols}
}

// copyTo writes the view's rows, ld elements apart.
func (v *view) copyTo(pool *kernel.Pool, dst []float32, ld int, data []float32) {
	if len(v.leadDims) == 1 && len(v.restDims) == 2 && v.restStrides[1] == 1 && v.leadStrides[0] < v.restStrides[0] {
		parts := (v.rows + tileRows - 1) / tileRows
		pool.Run(parts, partTask(func(k int) { v.copyTile(k, dst, ld, data) }))
		return
	}
	dense := denseStrides(v.restDims)
	at := 0
	odometer(v.leadDims, v.leadStrides, v.offset, func(offset int) {
		copyStrided(dst, at, dense, data, offset, v.restStrides, v.restDims)
		at += ld
	})
}

// Units of the second axis, as the input channels of a convolution, are copied in tiles of tileRows units by tileCols positions of the first, so that
// both the lines read and the lines written stay in the cache until they are used up.
const (
	tileRows = 64
	tileCols = 16
)

// copyTile copies the k-th tileRows rows of a view whose columns are runs of neighbours with the rows between them.
func (v *view) copyTile(k int, dst []float32, ld int, data []float32) {
	outer, run := v.restDims[0], v.restDims[1]
	first, end := k*tileRows, min((k+1)*tileRows, v.rows)
	for from := 0; from < outer; from += tileCols {
		to := min(from+tileCols, outer)
		for i := first; i < end; i++ {
			at, source := i*ld+from*run, v.offset+i*v.leadStrides[0]+from*v.restStrides[0]
			for range to - from {
				copy(dst[at:at+run], data[source:source+run])
				at += run
				source += v.restStrides[0]
			}
		}
	}
}

// A partTask is work for a pool in parts.
type partTask func(part int)

// Do is [kernel.Task].
func (t partTask) Do(part int) { t(part) }

// Work on all elements of a view is cut along the first axis of its rest into parts of at least partSize elements and at most maxParts of them: a
// partition that depends on the view alone, so that sums do not depend on the number of threads.
const (
	partSize = 1 << 15
	maxParts = 32
)

func (v *view) parts() int {
	return max(1, min(maxParts, v.restDims[0], v.rows*v.cols/partSize))
}

// part is the rest of the view in its k-th part: where it begins relative to the whole, and its extents.
func (v *view) part(k, parts int) (offset int, dims []int) {
	n := v.restDims[0]
	first, end := k*n/parts, (k+1)*n/parts
	dims = slices.Clone(v.restDims)
	dims[0] = end - first
	return first * v.restStrides[0], dims
}

// odometer visits the storage offsets of a strided array in row-major order.
func odometer(dims, strides []int, offset int, f func(int)) {
	if len(dims) == 0 {
		f(offset)
		return
	}
	for i := range dims[0] {
		odometer(dims[1:], strides[1:], offset+i*strides[0], f)
	}
}

// copyStrided copies an array of the given extents, at least one, between two storages.
func copyStrided(dst []float32, to int, dstStrides []int, src []float32, from int, srcStrides, dims []int) {
	n, ds, ss := dims[0], dstStrides[0], srcStrides[0]
	switch {
	case len(dims) > 1:
		for i := range n {
			copyStrided(dst, to+i*ds, dstStrides[1:], src, from+i*ss, srcStrides[1:], dims[1:])
		}
	case ds == 1 && ss == 1:
		copy(dst[to:to+n], src[from:from+n])
	default:
		for i := range n {
			dst[to+i*ds] = src[from+i*ss]
		}
	}
}

// gainStrided is Σ A·(B there - B here) over arrays of the same extents and strides, in float64: what <A, B> gains when the array there comes here.
func gainStrided(a, b []float32, here, there int, strides, dims []int) float64 {
	n, s := dims[0], strides[0]
	var sum float64
	switch {
	case len(dims) > 1:
		for i := range n {
			sum += gainStrided(a, b, here+i*s, there+i*s, strides[1:], dims[1:])
		}
	case s == 1 && n >= longRun:
		return kernel.Dot(a[here:here+n], b[there:there+n]) - kernel.Dot(a[here:here+n], b[here:here+n])
	case s == 1:
		return gainRun(a[here:here+n], b[here:here+n], b[there:there+n])
	default:
		for i := range n {
			sum += float64(a[here+i*s]) * (float64(b[there+i*s]) - float64(b[here+i*s]))
		}
	}
	return sum
}

// longRun is the length from which a kernel's call pays.
const longRun = 64

// gainRun is [gainStrided] of a few neighbours, in three sums: a kernel of convolution has 9.
func gainRun(a, here, there []float32) float64 {
	here, there = here[:len(a)], there[:len(a)]
	var s0, s1, s2 float64
	for len(a) >= 3 && len(here) >= 3 && len(there) >= 3 {
		s0 += float64(a[0]) * (float64(there[0]) - float64(here[0]))
		s1 += float64(a[1]) * (float64(there[1]) - float64(here[1]))
		s2 += float64(a[2]) * (float64(there[2]) - float64(here[2]))
		a, here, there = a[3:], here[3:], there[3:]
	}
	for i := range a {
		s0 += float64(a[i]) * (float64(there[i]) - float64(here[i]))
	}
	return s0 + s1 + s2
}

// A place is one position of one block where a group stands.
type place struct {
	stack *stack
	block *block
	pos   int
	view  view // rows: the parents' joint index, then the unit

	parentDims, parentStrides []int
}

func newPlace(s *stack, b *block, g symmetry.Group, pos int) (place, error) {
	parents, err := b.parentsOf(g, pos)
	if err != nil {
		return place{}, err
	}
	p := place{stack: s, block: b, pos: pos, view: b.view(append(slices.Clone(parents), pos)...)}
	for _, k := range parents {
		p.parentDims, p.parentStrides = append(p.parentDims, b.dims[k]), append(p.parentStrides, b.strides[k])
	}
	return p, nil
}

// members calls f for every joint index of the parents with the storage offset of its first unit and its part of perm.
func (p *place) members(perm []int32, f func(base int, perm []int32)) {
	n := p.block.dims[p.pos]
	odometer(p.parentDims, p.parentStrides, p.block.offset, func(base int) {
		f(base, perm[:n])
		perm = perm[n:]
	})
}

// gain is what <A, P·B> gains when the units here are reordered: unit i of the result is unit perm[i] of now. It is summed in float64 over the
// units that move, part by part.
func (p *place) gain(pool *kernel.Pool, perm []int32) float64 {
	parts := p.view.parts()
	sums := make([]float64, parts)
	pool.Run(parts, partTask(func(k int) {
		offset, dims := p.view.part(k, parts)
		p.members(perm, func(base int, perm []int32) { sums[k] += p.partGain(perm, base+offset, dims) })
	}))
	var sum float64
	for _, s := range sums {
		sum += s
	}
	return sum
}

// partGain is gain for one joint index of the parents over a part of the rest.
func (p *place) partGain(perm []int32, base int, dims []int) (sum float64) {
	a, b, n, stride, moved := p.stack.a, p.stack.b, len(perm), p.unitStride(), movedUnits(perm)
	if stride == 1 {
		odometer(dims, p.view.restStrides, base, func(o int) { sum += rowGain(a[o:o+n], b[o:o+n], perm, moved) })
		return sum
	}
	p.eachRow(base, dims, func(base int, strides, dims []int) {
		for _, i := range moved {
			sum += gainStrided(a, b, base+int(i)*stride, base+int(perm[i])*stride, strides, dims)
		}
	})
	return sum
}

// rowGain is gain where units are neighbours in memory, in two sums.
func rowGain(a, b []float32, perm, moved []int32) float64 {
	var even, odd float64
	for len(moved) >= 2 {
		i, j := moved[0], moved[1]
		even += float64(a[i]) * (float64(b[perm[i]]) - float64(b[i]))
		odd += float64(a[j]) * (float64(b[perm[j]]) - float64(b[j]))
		moved = moved[2:]
	}
	for _, i := range moved {
		even += float64(a[i]) * (float64(b[perm[i]]) - float64(b[i]))
	}
	return even + odd
}

// movedUnits are the units that a permutation puts elsewhere.
func movedUnits(perm []int32) []int32 {
	moved := make([]int32, 0, len(perm))
	for i, j := range perm {
		if int32(i) != j {
			moved = append(moved, int32(i))
		}
	}
	return moved
}

// gather reorders the units of a row: unit i becomes unit perm[i], for those that moved. There is room for them in old.
func gather(row, old []float32, perm, moved []int32) {
	for k, i := range moved {
		old[k] = row[perm[i]]
	}
	for k, i := range moved {
		row[i] = old[k]
	}
}

func (p *place) unitStride() int { return p.block.strides[p.pos] }

// eachRow visits a part of the rest in the order of memory: where units lie inside the first axis of the rest, f has all units at one position of that
// axis after the other; else all of them at once.
func (p *place) eachRow(base int, dims []int, f func(base int, strides, dims []int)) {
	strides := p.view.restStrides
	if p.unitStride() > strides[0] {
		f(base, strides, dims)
		return
	}
	n, step := dims[0], strides[0]
	if dims, strides = dims[1:], strides[1:]; len(dims) == 0 {
		dims, strides = []int{1}, []int{1}
	}
	for range n {
		f(base, strides, dims)
		base += step
	}
}

// move reorders the units of P·B here, in place.
func (p *place) move(pool *kernel.Pool, perm []int32) {
	parts := p.view.parts()
	pool.Run(parts, partTask(func(k int) {
		offset, dims := p.view.part(k, parts)
		p.members(perm, func(base int, perm []int32) { p.movePart(perm, base+offset, dims) })
	}))
}

// movePart is move for one joint index of the parents over a part of the rest, with room for one row of units or one unit. Units that are not neighbours
// go round the cycles of the permutation: one is set aside, the others move up.
func (p *place) movePart(perm []int32, base int, dims []int) {
	b, n, stride := p.stack.b, len(perm), p.unitStride()
	if stride == 1 {
		moved := movedUnits(perm)
		old := make([]float32, len(moved))
		odometer(dims, p.view.restStrides, base, func(o int) { gather(b[o:o+n], old, perm, moved) })
		return
	}
	cycles := cyclesOf(perm)
	var aside []float32
	p.eachRow(base, dims, func(base int, strides, dims []int) {
		dense := denseStrides(dims)
		aside = grow(aside, dense[0]*dims[0])
		for _, units := range cycles {
			copyStrided(aside, 0, dense, b, base+int(units[0])*stride, strides, dims)
			last := len(units) - 1
			for i, to := range units[:last] {
				copyStrided(b, base+int(to)*stride, strides, b, base+int(units[i+1])*stride, strides, dims)
			}
			copyStrided(b, base+int(units[last])*stride, strides, aside, 0, dense, dims)
		}
	})
}

// cyclesOf are the cycles of a permutation, of more than one unit, each unit followed by the one that comes to its place.
func cyclesOf(perm []int32) (cycles [][]int32) {
	done := make([]bool, len(perm))
	for start, next := range perm {
		if done[start] || int(next) == start {
			continue
		}
		cycle := []int32{int32(start)}
		for ; int(next) != start; next = perm[next] {
			cycle = append(cycle, next)
			done[next] = true
		}
		cycles = append(cycles, cycle)
	}
	return cycles
}

// grow returns a slice of n elements, reusing the storage when it is large enough. Its contents are unspecified.
func grow(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}
