package nn

import (
	"cmp"
	"math"
	"slices"
)

// forever is the end of a buffer that stays readable after the run.
const forever = math.MaxInt

// alignment of buffers and parameters, in elements: 64 bytes of float32, a cache line and a vector register of AVX-512.
const alignment = 16

func align(n int) int { return (n + alignment - 1) / alignment * alignment }

// buffer is memory for n elements that are needed from time start to time end, both included.
type buffer[T Float] struct {
	data       []T
	n          int
	start, end int
	own        bool       // data lies elsewhere: input, parameters, constants
	into       *buffer[T] // the buffer whose memory this one takes over
	offset     int        // in the arena of the plan
}

func newBuffer[T Float](n int) *buffer[T] { return &buffer[T]{n: n, start: -1, end: -1} }

func ownBuffer[T Float](data []T) *buffer[T] {
	return &buffer[T]{data: data, n: len(data), own: true}
}

// touch says that the buffer is read or written at time t.
func (b *buffer[T]) touch(t int) {
	if b.start < 0 || t < b.start {
		b.start = t
	}
	b.end = max(b.end, t)
}

// root is the buffer at the end of the chain of takeovers.
func (b *buffer[T]) root() *buffer[T] {
	for b.into != nil {
		b = b.into
	}
	return b
}

// takeOver lets b, which is first written at time t, use the memory of a buffer that is last read then. It does nothing where that cannot
// be.
func (b *buffer[T]) takeOver(from *buffer[T], t int) {
	r := from.root()
	if r == b || r.own || b.own || b.into != nil || r.n != b.n || r.end != t || b.start != t {
		return
	}
	b.into = r
	r.end = max(r.end, b.end)
}

// place gives every buffer an offset such that no two that live at one time overlap, and returns the elements needed in all. Largest first,
// each at the lowest offset that is free during its life: the greedy-by-size of Pisarchyk and Lee, "Efficient Memory Management for Deep
// Neural Net Inference", 2020, arXiv:2001.03288.
func place[T Float](buffers []*buffer[T]) int {
	var order []*buffer[T]
	for _, b := range buffers {
		if !b.own && b.into == nil && b.start >= 0 {
			order = append(order, b)
		}
	}
	slices.SortStableFunc(order, func(a, b *buffer[T]) int { return cmp.Compare(b.n, a.n) })
	size := 0
	for i, b := range order {
		b.offset = lowestGap(order[:i], b)
		size = max(size, b.offset+align(b.n))
	}
	return size
}

func lowestGap[T Float](placed []*buffer[T], b *buffer[T]) int {
	var rivals []*buffer[T]
	for _, r := range placed {
		if r.start <= b.end && b.start <= r.end {
			rivals = append(rivals, r)
		}
	}
	slices.SortFunc(rivals, func(a, b *buffer[T]) int { return cmp.Compare(a.offset, b.offset) })
	offset := 0
	for _, r := range rivals {
		if offset+align(b.n) <= r.offset {
			break
		}
		offset = max(offset, r.offset+align(r.n))
	}
	return offset
}

// bind hands out the arena.
func bind[T Float](buffers []*buffer[T], arena []T) {
	for _, b := range buffers {
		if r := b.root(); !b.own && r.start >= 0 {
			b.data = arena[r.offset : r.offset+b.n : r.offset+b.n]
		}
	}
}
