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
func (v *view) matrixOf(data []float32, scratch *[]float32) matrix {
	if len(v.leadDims) == 1 && len(v.restDims) == 1 {
		switch {
		case v.restStrides[0] == 1 || v.restDims[0] == 1:
			return matrix{data: data[v.offset:], ld: max(v.leadStrides[0], v.cols)}
		case v.leadStrides[0] == 1 || v.leadDims[0] == 1:
			return matrix{data: data[v.offset:], ld: max(v.restStrides[0], v.rows), transposed: true}
		}
	}
	*scratch = grow(*scratch, v.rows*v.cols)
	v.copyTo(*scratch, v.cols, data)
	return matrix{data: *scratch, ld: v.cols}
}

// copyTo writes the view's rows, ld elements apart.
func (v *view) copyTo(dst []float32, ld int, data []float32) {
	dense := denseStrides(v.restDims)
	at := 0
	odometer(v.leadDims, v.leadStrides, v.offset, func(offset int) {
		copyStrided(dst, at, dense, data, offset, v.restStrides, v.restDims)
		at += ld
	})
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

// dotStrided is the inner product of two arrays of the same extents and strides, in float64.
func dotStrided(a []float32, atA int, b []float32, atB int, strides, dims []int) float64 {
	n, s := dims[0], strides[0]
	var sum float64
	switch {
	case len(dims) > 1:
		for i := range n {
			sum += dotStrided(a, atA+i*s, b, atB+i*s, strides[1:], dims[1:])
		}
	case s == 1:
		return kernel.Dot(a[atA:atA+n], b[atB:atB+n])
	default:
		for i := range n {
			sum += float64(a[atA+i*s]) * float64(b[atB+i*s])
		}
	}
	return sum
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
// units that move.
func (p *place) gain(perm []int32) float64 {
	a, b, stride, v := p.stack.a, p.stack.b, p.block.strides[p.pos], &p.view
	var sum float64
	p.members(perm, func(base int, perm []int32) {
		n := len(perm)
		if stride == 1 {
			odometer(v.restDims, v.restStrides, base, func(o int) { sum += rowGain(a[o:o+n], b[o:o+n], perm) })
			return
		}
		for i, j := range perm {
			if at, from := base+i*stride, base+int(j)*stride; at != from {
				sum += dotStrided(a, at, b, from, v.restStrides, v.restDims) - dotStrided(a, at, b, at, v.restStrides, v.restDims)
			}
		}
	})
	return sum
}

// rowGain is [place.gain] where units are neighbours in memory.
func rowGain(a, b []float32, perm []int32) float64 {
	var sum float64
	b = b[:len(a)]
	for i, j := range perm[:len(a)] {
		sum += float64(a[i]) * (float64(b[j]) - float64(b[i]))
	}
	return sum
}

// move reorders the units of P·B here, in place, with room for one unit or one row of units in scratch.
func (p *place) move(perm []int32, scratch *[]float32) {
	b, stride, v := p.stack.b, p.block.strides[p.pos], &p.view
	p.members(perm, func(base int, perm []int32) {
		n := len(perm)
		if stride == 1 {
			*scratch = grow(*scratch, n)
			odometer(v.restDims, v.restStrides, base, func(o int) {
				old := *scratch
				copy(old, b[o:o+n])
				for i, j := range perm {
					b[o+i] = old[j]
				}
			})
			return
		}
		*scratch = grow(*scratch, v.cols)
		p.moveCycles(b, base, perm, *scratch)
	})
}

// moveCycles follows the cycles of a permutation of units that are far apart: one unit is set aside, the others move up.
func (p *place) moveCycles(b []float32, base int, perm []int32, aside []float32) {
	stride, strides, dims := p.block.strides[p.pos], p.view.restStrides, p.view.restDims
	dense := denseStrides(dims)
	done := make([]bool, len(perm))
	for start := range perm {
		if done[start] || int(perm[start]) == start {
			continue
		}
		copyStrided(aside, 0, dense, b, base+start*stride, strides, dims)
		i := start
		for {
			done[i] = true
			j := int(perm[i])
			if j == start {
				break
			}
			copyStrided(b, base+i*stride, strides, b, base+j*stride, strides, dims)
			i = j
		}
		copyStrided(b, base+i*stride, strides, aside, 0, dense, dims)
	}
}

// grow returns a slice of n elements, reusing the storage when it is large enough. Its contents are unspecified.
func grow(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}
