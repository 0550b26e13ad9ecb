package match

import (
	"slices"

	"github.com/rebasin/rebasin/internal/kernel"
)

const (
	// fewMoved is the largest part of a group's units that may move for a neighbour's similarity to be corrected rather than recomputed: a correction
	// reads columns that lie apart, which a product of whole matrices does not.
	fewMoved = .3
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
	moved := m.moved()
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

// correctPlace adds one place's part of a correction. The columns are gathered as rows of n units.
func (d *descent) correctPlace(p *place, s []float32, other string, moved []int, before []int32) {
	b := p.block
	k := b.positions(other)[0]
	n, step := b.dims[p.pos], b.strides[k]
	var dims, strides []int
	for axis := range b.dims {
		if axis != p.pos && axis != k {
			dims, strides = append(dims, b.dims[axis]), append(strides, b.strides[axis])
		}
	}
	dims, strides = joinAxes(dims, strides)
	rows := len(moved) * p.view.cols / b.dims[k]
	d.scratchA, d.scratchB = grow(d.scratchA, rows*n), grow(d.scratchB, rows*n)
	at := 0
	odometer(dims, strides, b.offset, func(base int) {
		for _, u := range moved {
			now, then := base+u*step, base+int(before[u])*step
			row, delta := d.scratchA[at:at+n], d.scratchB[at:at+n]
			for i := range n {
				o := i * b.strides[p.pos]
				row[i] = p.stack.a[now+o]
				delta[i] = p.stack.b[now+o] - p.stack.b[then+o]
			}
			at += n
		}
	})
	kernel.Gemm(d.pool, true, false, n, n, rows, d.scratchA, n, d.scratchB, n, 1, s, n)
	d.work.FLOPs += 2 * float64(n) * float64(n) * float64(rows)
}

// moved are the units of a plain group that a move puts elsewhere.
func (m move) moved() []int {
	var out []int
	for i, p := range m.perm {
		if int(p) != i {
			out = append(out, i)
		}
	}
	return out
}
