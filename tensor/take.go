package tensor

import "fmt"

// Take returns the slices of t along an axis in the order of idx: out[..., j, ...] = t[..., idx[j], ...], as numpy.take along an axis does.
// An index may occur any number of times. It works on every dtype. An error says that the axis or an index is out of range.
//
// Cost: one pass over the result. Blocks behind the axis are moved whole; on the last axis elements are gathered one at a time.
func (t *Tensor) Take(axis int, idx []int32) (*Tensor, error) {
	if axis < 0 || axis >= len(t.shape) {
		return nil, fmt.Errorf("tensor: Take: axis %d of shape %v", axis, t.shape)
	}
	extent := t.shape[axis]
	for j, i := range idx {
		if i < 0 || int(i) >= extent {
			return nil, fmt.Errorf("tensor: Take: index %d at position %d is outside axis %d of shape %v", i, j, axis, t.shape)
		}
	}
	shape := t.shape.Clone()
	shape[axis] = len(idx)
	if _, err := t.dtype.Bytes(shape); err != nil {
		return nil, err
	}
	out := New(t.dtype, shape)
	if out.len == 0 {
		return out, nil
	}
	block := t.dtype.Size()
	for _, n := range t.shape[axis+1:] {
		block *= n
	}
	switch block {
	case 1:
		gather(out.data, t.data, extent, idx)
	case 2:
		gather(view[uint16](out.data), view[uint16](t.data), extent, idx)
	case 4:
		gather(view[uint32](out.data), view[uint32](t.data), extent, idx)
	case 8:
		gather(view[uint64](out.data), view[uint64](t.data), extent, idx)
	default:
		gatherBlocks(out.data, t.data, block, extent, idx)
	}
	return out, nil
}

// gather fills rows of len(idx) elements of dst from rows of extent elements of src.
func gather[T uint8 | uint16 | uint32 | uint64](dst, src []T, extent int, idx []int32) {
	for len(dst) > 0 {
		from, to := src[:extent], dst[:len(idx)]
		for j, i := range idx {
			to[j] = from[i]
		}
		src, dst = src[extent:], dst[len(idx):]
	}
}

// gatherBlocks is gather for elements of any number of bytes.
func gatherBlocks(dst, src []byte, block, extent int, idx []int32) {
	for len(dst) > 0 {
		for _, i := range idx {
			at := int(i) * block
			copy(dst[:block], src[at:at+block])
			dst = dst[block:]
		}
		src = src[extent*block:]
	}
}
