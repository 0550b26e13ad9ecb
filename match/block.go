package match

import (
	"slices"

	"github.com/rebasin/rebasin/symmetry"
)

// A block is a strided array inside a tensor whose axes are the factors of a layout: one combination of segments, one for each axis of the tensor.
// Without concatenations a tensor is a single block. All the work of matching is done on blocks: units stand on one of their axes.
type block struct {
	tensor  int      // index into the problem's tensors
	names   []string // per axis, the group, family or fixed name; "" for an anonymous extent
	dims    []int
	strides []int // in elements of the tensor
	offset  int
}

// blocksOf cuts a tensor of this layout into its blocks.
func blocksOf(id int, layout symmetry.Layout) []block {
	shape := layout.Shape()
	blocks := []block{{tensor: id}}
	stride := 1
	axisStride := make([]int, len(shape))
	for k := len(shape) - 1; k >= 0; k-- {
		axisStride[k] = stride
		stride *= shape[k]
	}
	for k, axis := range layout {
		var next []block
		for _, b := range blocks {
			start := 0
			for _, seg := range axis {
				next = append(next, b.with(seg, b.offset+start*axisStride[k], axisStride[k]))
				start += seg.Len()
			}
		}
		blocks = next
	}
	return blocks
}

// with appends the factors of a segment as axes.
func (b block) with(seg symmetry.Segment, offset, unit int) block {
	c := block{tensor: b.tensor, offset: offset, names: slices.Clone(b.names), dims: slices.Clone(b.dims), strides: slices.Clone(b.strides)}
	stride := unit * seg.Len()
	for _, f := range seg {
		if f.Size > 0 {
			stride /= f.Size
		}
		c.names = append(c.names, f.Name)
		c.dims = append(c.dims, f.Size)
		c.strides = append(c.strides, stride)
	}
	return c
}

// positions are the axes on which the name stands.
func (b *block) positions(name string) []int {
	var out []int
	for i, n := range b.names {
		if n == name {
			out = append(out, i)
		}
	}
	return out
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
	v.leadDims, v.leadStrides = merge(v.leadDims, v.leadStrides)
	v.restDims, v.restStrides = merge(v.restDims, v.restStrides)
	return v
}

// merge joins neighbouring axes that are contiguous to each other and drops those of extent one, so that copies run over long stretches and a
// plain matrix is recognised.
func merge(dims, strides []int) (d, s []int) {
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
	v.copyTo(*scratch, data)
	return matrix{data: *scratch, ld: v.cols}
}

// copyTo writes the view as a dense rows x cols matrix.
func (v *view) copyTo(dst, data []float32) {
	at := 0
	v.each(func(row int) {
		at = gather(dst, at, data, row, v.restDims, v.restStrides)
	})
}

// each calls f with the storage offset of every row, in order.
func (v *view) each(f func(offset int)) {
	odometer(v.leadDims, v.leadStrides, v.offset, f)
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

// gather appends the strided array at src[offset] to dst[at:] and returns the position after it.
func gather(dst []float32, at int, src []float32, offset int, dims, strides []int) int {
	if len(dims) > 1 {
		for i := range dims[0] {
			at = gather(dst, at, src, offset+i*strides[0], dims[1:], strides[1:])
		}
		return at
	}
	n, s := dims[0], strides[0]
	if s == 1 {
		copy(dst[at:at+n], src[offset:offset+n])
		return at + n
	}
	for i := range n {
		dst[at+i] = src[offset+i*s]
	}
	return at + n
}

// move writes dst = the block of src with the units of the axis at position pos reordered: unit i of the result is unit perm[i] of the source.
// For a family, parents are the positions of its parents, and perm holds one permutation per joint index of theirs. Elements outside the block
// are left alone.
func (b *block) move(dst, src []float32, perm []int32, pos int, parents []int) {
	n := b.dims[pos]
	var restDims, restStrides, leadDims, leadStrides []int
	for _, k := range parents {
		leadDims, leadStrides = append(leadDims, b.dims[k]), append(leadStrides, b.strides[k])
	}
	for k := range b.dims {
		if k != pos && !slices.Contains(parents, k) {
			restDims, restStrides = append(restDims, b.dims[k]), append(restStrides, b.strides[k])
		}
	}
	restDims, restStrides = merge(restDims, restStrides)
	joint := 0
	odometer(leadDims, leadStrides, b.offset, func(base int) {
		p := perm[joint*n : (joint+1)*n]
		joint++
		b.moveUnits(dst, src, p, base, b.strides[pos], restDims, restStrides)
	})
}

// moveUnits reorders the units of one family member. The loop over units is innermost where the units are the fastest axis.
func (b *block) moveUnits(dst, src []float32, p []int32, base, stride int, dims, strides []int) {
	if stride == 1 {
		odometer(dims, strides, base, func(o int) {
			d, s := dst[o:o+len(p)], src[o:o+len(p)]
			for i, j := range p {
				d[i] = s[j]
			}
		})
		return
	}
	for i, j := range p {
		copyStrided(dst, src, base+i*stride, base+int(j)*stride, dims, strides)
	}
}

func copyStrided(dst, src []float32, to, from int, dims, strides []int) {
	if len(dims) > 1 {
		for i := range dims[0] {
			copyStrided(dst, src, to+i*strides[0], from+i*strides[0], dims[1:], strides[1:])
		}
		return
	}
	n, s := dims[0], strides[0]
	if s == 1 {
		copy(dst[to:to+n], src[from:from+n])
		return
	}
	for i := range n {
		dst[to+i*s] = src[from+i*s]
	}
}

// grow returns a slice of n elements, reusing the storage when it is large enough. Its contents are unspecified.
func grow(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}
