package match

import (
	"slices"

	"github.com/rebasin/rebasin/internal/kernel"
)

const (
	// fewMoved is the largest part of a group's units that may move for a neighbour's similarity to be corrected rather than recomputed: a correction
	// has to gather columns first, which a product of whole matrices does not.
	fewMoved = .6
	// maxCorrections is how often a term is corrected before it is recomputed in full, so that rounding cannot build up.
	maxCorrections = 16
)

// correct brings a term of group g up to date with a move of another group that has been made and moved few units, by the difference of the columns that
// moved alone:
//
//	S[i,j] += Σ_u Σ_rest A[i,u,rest] ((P·B)new[j,u,rest] - (P·B)old[j,u,rest])
//
// over the units u that moved, O(n²·moved) in place of O(n²·n). It says whether it could.
func (d *descent) correct(t *term, g *unitGroup, m move) bool {
	moved := movedUnits(m.perm)
	switch {
	case t.stale, t.square, g.joint > 1, m.group.joint > 1, t.corrections >= maxCorrections, float64(len(moved)) > fewMoved*float64(m.group.Size):
		return false
	case slices.ContainsFunc(t.places, func(p place) bool { return len(p.block.positions(m.group.Name)) != 1 }):
		return false
	}
	before := m.back().perm
	for i := range t.places {
		d.correctPlace(&t.places[i], t.s, m.group.Name, moved, before)
	}
	t.corrections++
	return true
}

// correctPlace adds one place's part of a correction. The columns that moved are gathered in the order of memory: as rows of one column where the
// other group's units are farther apart than the group's own, else as rows of one unit of the group.
func (d *descent) correctPlace(p *place, s []float32, other string, moved, before []int32) {
	b := p.block
	k := b.positions(other)[0]
	offsets := b.offsets(p.pos, k)
	g := gathering{
		place: p, moved: moved, before: before, offsets: offsets, n: b.dims[p.pos], step: b.strides[k],
		columns: len(moved) * len(offsets),
	}
	g.a, g.delta = grow(d.scratchA, g.n*g.columns), grow(d.scratchB, g.n*g.columns)
	d.scratchA, d.scratchB = g.a, g.delta
	byColumn := b.strides[k] > b.strides[p.pos]
	ld := g.columns
	if byColumn {
		ld = g.n
		d.pool.Run(len(moved), partTask(g.column))
	} else {
		d.pool.Run(g.n, partTask(g.unit))
	}
	kernel.Gemm(d.pool, byColumn, !byColumn, g.n, g.n, g.columns, g.a, ld, g.delta, ld, 1, s, g.n)
	d.work.FLOPs += 2 * float64(g.n) * float64(g.n) * float64(g.columns)
}

// offsets are the places of a block relative to its beginning, at the first index of two of its axes.
func (b *block) offsets(skip, too int) []int {
	var dims, strides, offsets []int
	for axis := range b.dims {
		if axis != skip && axis != too {
			dims, strides = append(dims, b.dims[axis]), append(strides, b.strides[axis])
		}
	}
	odometer(dims, strides, b.offset, func(o int) { offsets = append(offsets, o) })
	return offsets
}

// A gathering collects the columns of A that belong to units of another group that moved, and the differences of those of P·B.
type gathering struct {
	place   *place
	moved   []int32 // the units of the other group
	before  []int32 // where the unit that is now there came from
	offsets []int   // of the columns of one such unit
	n       int     // units of the place's group
	step    int     // between units of the other group
	columns int

	a, delta []float32
}

// column gathers the columns of the r-th unit that moved, as rows of n.
func (g *gathering) column(r int) {
	a, b, stride := g.place.stack.a, g.place.stack.b, g.place.unitStride()
	now := int(g.moved[r]) * g.step
	then := int(g.before[g.moved[r]]) * g.step
	first := r * len(g.offsets) * g.n
	for i := range g.n {
		at := first + i
		for _, o := range g.offsets {
			g.a[at] = a[now+o]
			g.delta[at] = b[now+o] - b[then+o]
			at += g.n
		}
		now += stride
		then += stride
	}
}

// unit gathers all columns of unit i, as one row.
func (g *gathering) unit(i int) {
	a, b := g.place.stack.a, g.place.stack.b
	base, at := i*g.place.unitStride(), i*g.columns
	for _, u := range g.moved {
		now, then := base+int(u)*g.step, base+int(g.before[u])*g.step
		for _, o := range g.offsets {
			g.a[at] = a[now+o]
			g.delta[at] = b[now+o] - b[then+o]
			at++
		}
	}
}
