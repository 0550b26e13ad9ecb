package match

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/rebasin/rebasin/assign"
	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/symmetry"
)

// A stack is one array of the objective: a tensor or, for a virtual stack, its members one after the other.
type stack struct {
	name    string
	members []string
	layout  symmetry.Layout
	a, b    []float32 // b is the permuted copy P·B
	next    []float32 // the candidate for b, valid while a move is tried
}

// A term is the part of a group's similarity that comes from one position of one block:
//
//	S[i,j] = Σ_rest A[i,rest] (P·B)[j,rest]
//
// kept until another group of the block moves. A family has one such matrix for every joint index of its parents.
type term struct {
	block   *block
	parents []int // positions of the family's parents
	view    view  // rows: parents' joint index, then the unit
	s       []float32
	stale   bool
	// square: the group stands on another axis of the block too, so its own moves change the term by more than an exchange of columns.
	square bool
}

// A unitGroup is the state of one group or family.
type unitGroup struct {
	symmetry.Group
	joint  int // product of the parents' extents
	terms  []*term
	blocks []*block // where it stands
	pairs  []*pairTerm
	kids   []*unitGroup // families whose only parent is this group
	dirty  bool
	// extra is a fixed similarity in the order of the original B, and its weight relative to the parameters (Blend).
	extra       []float32
	extraWeight float64
}

// descent is coordinate descent on <A, P·B>. It holds one permuted copy of B and solves for moves relative to it.
type descent struct {
	sym       *symmetry.Symmetry
	stacks    []*stack
	groups    []*unitGroup
	byName    map[string]*unitGroup
	alignment *symmetry.Alignment
	pool      *kernel.Pool
	solver    assign.Solver[float32]
	norm      float64 // ‖A‖‖B‖
	notes     []string

	scratchA, scratchB, sum, row []float32
}

func newDescent(sym *symmetry.Symmetry, a, b map[string][]float32, pool *kernel.Pool) (*descent, error) {
	d := &descent{sym: sym, pool: pool, byName: map[string]*unitGroup{}, alignment: sym.Identity()}
	for _, g := range sym.Groups {
		u := &unitGroup{Group: g, joint: 1, dirty: true}
		for _, p := range g.Parents {
			u.joint *= d.extent(p)
		}
		d.groups = append(d.groups, u)
		d.byName[g.Name] = u
	}
	for _, name := range slices.Sorted(maps.Keys(sym.Layouts)) {
		if err := d.addStack(name, a, b); err != nil {
			return nil, err
		}
	}
	d.addPairs()
	d.setNorm()
	return d, nil
}

func (d *descent) extent(name string) int {
	if g, ok := d.sym.Group(name); ok {
		return g.Size
	}
	return d.sym.Fixed[name]
}

// addStack registers the tensors of one layout, unless they are not floating-point: those move along but have no inner product.
func (d *descent) addStack(name string, a, b map[string][]float32) error {
	layout, members, err := d.sym.Stack(name)
	if err != nil {
		return err
	}
	s := &stack{name: name, members: members, layout: layout}
	for _, m := range members {
		if _, ok := a[m]; !ok {
			return nil
		}
	}
	s.a, s.b = joined(members, a), joined(members, b)
	if len(members) == 1 {
		s.b = slices.Clone(s.b)
	}
	id := len(d.stacks)
	d.stacks = append(d.stacks, s)
	blocks := blocksOf(id, layout)
	for i := range blocks {
		if err := d.addBlock(&blocks[i]); err != nil {
			return err
		}
	}
	return nil
}

// joined returns the members' data as one array: the storage itself for a single one.
func joined(members []string, p map[string][]float32) []float32 {
	if len(members) == 1 {
		return p[members[0]]
	}
	var all []float32
	for _, m := range members {
		all = append(all, p[m]...)
	}
	return all
}

func (d *descent) addBlock(b *block) error {
	seen := map[string]bool{}
	for _, name := range b.names {
		g := d.byName[name]
		if g == nil || seen[name] {
			continue
		}
		seen[name] = true
		parents, err := b.parentsOf(g)
		if err != nil {
			return fmt.Errorf("match: tensor %q: %w", d.stacks[b.tensor].name, err)
		}
		g.blocks = append(g.blocks, b)
		positions := b.positions(name)
		for _, pos := range positions {
			t := &term{block: b, parents: parents, view: b.view(append(slices.Clone(parents), pos)...), stale: true, square: len(positions) > 1}
			g.terms = append(g.terms, t)
		}
	}
	return nil
}

// parentsOf returns the positions of a family's parents in the block.
func (b *block) parentsOf(g *unitGroup) ([]int, error) {
	var out []int
	for _, p := range g.Parents {
		at := b.positions(p)
		if len(at) != 1 {
			return nil, fmt.Errorf("family %q needs its parent %q once in every combination of segments, it stands there %d times", g.Name, p, len(at))
		}
		out = append(out, at[0])
	}
	return out, nil
}

func (d *descent) setNorm() {
	var aa, bb float64
	for _, s := range d.stacks {
		aa += kernel.Dot(s.a, s.a)
		bb += kernel.Dot(s.b, s.b)
	}
	d.norm = math.Sqrt(aa) * math.Sqrt(bb)
}

// objective is <A, P·B> in float64, plus the blend's fixed part.
func (d *descent) objective() float64 {
	var sum float64
	for _, s := range d.stacks {
		sum += kernel.Dot(s.a, s.b)
	}
	for _, g := range d.groups {
		if g.extra != nil {
			sum += g.extraWeight * g.extraGain(nil, d.alignment.Perms[g.Name])
		}
	}
	return sum
}

// extraGain is Σ_i E[i, order[rel[i]]] - E[i, order[i]] of the fixed similarity E, or Σ_i E[i, order[i]] when rel is nil.
func (g *unitGroup) extraGain(rel []int, order []int32) float64 {
	var sum float64
	n := g.Size
	for i := range n {
		if rel == nil {
			sum += float64(g.extra[i*n+int(order[i])])
		} else if rel[i] != i {
			sum += float64(g.extra[i*n+int(order[rel[i]])]) - float64(g.extra[i*n+int(order[i])])
		}
	}
	return sum
}

// setReference replaces A: every similarity is out of date, the alignment stays.
func (d *descent) setReference(a map[string][]float32) {
	for _, s := range d.stacks {
		s.a = joined(s.members, a)
	}
	for _, g := range d.groups {
		g.markStale()
	}
}

func (g *unitGroup) markStale() {
	g.dirty = true
	for _, t := range g.terms {
		t.stale = true
	}
	for _, p := range g.pairs {
		p.stale = true
	}
}

// setAlignment replaces P: the copy of B is permuted anew from the original.
func (d *descent) setAlignment(p *symmetry.Alignment, original map[string][]float32) {
	for _, s := range d.stacks {
		copy(s.b, joined(s.members, original))
	}
	d.alignment = d.sym.Identity()
	for _, g := range d.groups {
		perm := p.Perms[g.Name]
		d.tryMove(g, perm)
		d.commit(g)
		d.alignment.Perms[g.Name] = slices.Clone(perm)
	}
	for _, g := range d.groups {
		g.markStale()
	}
}

// tryMove computes the copies of B that would result from the relative move and returns the gain in <A, P·B>, summed in float64 over the
// elements that move.
func (d *descent) tryMove(g *unitGroup, perm []int32) float64 {
	touched := map[int]bool{}
	var gain float64
	for _, b := range g.blocks {
		s := d.stacks[b.tensor]
		if !touched[b.tensor] {
			touched[b.tensor] = true
			s.next = grow(s.next, len(s.b))
			copy(s.next, s.b)
		}
		parents, _ := b.parentsOf(g)
		for k, pos := range b.positions(g.Name) {
			src := s.b
			if k > 0 {
				src = slices.Clone(s.next)
			}
			b.move(s.next, src, perm, pos, parents)
		}
	}
	for id, s := range d.stacks {
		if touched[id] {
			gain += gainOf(s.a, s.b, s.next)
		}
	}
	return gain
}

// gainOf is Σ a (next - now); where nothing moved the difference is exactly zero.
func gainOf(a, now, next []float32) float64 {
	var sum float64
	now, next = now[:len(a)], next[:len(a)]
	for i, x := range a {
		sum += float64(x) * (float64(next[i]) - float64(now[i]))
	}
	return sum
}

// commit makes the tried copies current.
func (d *descent) commit(g *unitGroup) {
	done := map[int]bool{}
	for _, b := range g.blocks {
		if s := d.stacks[b.tensor]; !done[b.tensor] {
			done[b.tensor] = true
			s.b, s.next = s.next, s.b
		}
	}
}

// accept makes a tried move current and brings alignment and similarities up to date.
func (d *descent) accept(g *unitGroup, perm []int32) {
	d.commit(g)
	then := d.sym.Identity()
	then.Perms[g.Name] = perm
	d.alignment = d.sym.Compose(d.alignment, then)
	for _, h := range d.groups {
		for _, t := range h.terms {
			switch {
			case !slices.Contains(t.block.names, g.Name):
			case h == g && !t.square:
				d.exchangeColumns(t, g, perm)
			default:
				t.stale, h.dirty = true, true
			}
		}
		for _, p := range h.pairs {
			if slices.Contains(p.block.names, g.Name) {
				p.stale = true
			}
		}
	}
}

// exchangeColumns applies the group's own move to its similarity: column j of the new order is column perm[j] of the old.
func (d *descent) exchangeColumns(t *term, g *unitGroup, perm []int32) {
	if t.stale {
		return
	}
	n := g.Size
	d.row = grow(d.row, n)
	for q := range g.joint {
		p := perm[q*n : (q+1)*n]
		for i := range n {
			row := t.s[(q*n+i)*n : (q*n+i+1)*n]
			copy(d.row, row)
			for j, from := range p {
				row[j] = d.row[from]
			}
		}
	}
}

// refresh recomputes a term's similarity when another group has moved.
func (d *descent) refresh(t *term, g *unitGroup) {
	if !t.stale {
		return
	}
	s := d.stacks[t.block.tensor]
	n, rest := g.Size, t.view.cols
	t.s = grow(t.s, g.joint*n*n)
	if g.joint == 1 {
		d.gram(t.s, n, rest, t.view.matrixOf(s.a, &d.scratchA), t.view.matrixOf(s.b, &d.scratchB))
	} else {
		d.scratchA, d.scratchB = grow(d.scratchA, g.joint*n*rest), grow(d.scratchB, g.joint*n*rest)
		t.view.copyTo(d.scratchA, s.a)
		t.view.copyTo(d.scratchB, s.b)
		for q := range g.joint {
			ma := matrix{data: d.scratchA[q*n*rest:], ld: rest}
			mb := matrix{data: d.scratchB[q*n*rest:], ld: rest}
			d.gram(t.s[q*n*n:(q+1)*n*n], n, rest, ma, mb)
		}
	}
	t.stale = false
}

// gram writes dst = A·Bᵀ for two n x k matrices.
func (d *descent) gram(dst []float32, n, k int, a, b matrix) {
	kernel.Gemm(d.pool, a.transposed, !b.transposed, n, n, k, a.data, a.ld, b.data, b.ld, 0, dst, n)
}

// similarity returns the sum of the group's terms in fixed order: joint matrices of Size x Size, relative to the current alignment.
func (d *descent) similarity(g *unitGroup, use func(*term) bool) []float32 {
	d.sum = grow(d.sum, g.joint*g.Size*g.Size)
	clear(d.sum)
	for _, t := range g.terms {
		if use != nil && !use(t) {
			continue
		}
		d.refresh(t, g)
		kernel.Add(d.sum, d.sum, t.s)
	}
	if g.extra != nil {
		order := d.alignment.Perms[g.Name]
		w := float32(g.extraWeight)
		for i := range g.Size {
			row, extra := d.sum[i*g.Size:(i+1)*g.Size], g.extra[i*g.Size:(i+1)*g.Size]
			for j, from := range order {
				row[j] += w * extra[from]
			}
		}
	}
	return d.sum
}

// improve solves for one group and moves it when that gains. It returns the gain.
func (d *descent) improve(ctx context.Context, g *unitGroup) (float64, error) {
	g.dirty = false
	if g.Size < 2 {
		return 0, nil
	}
	if len(g.pairs) > 0 {
		return d.improveWithFamilies(ctx, g)
	}
	s := d.similarity(g, nil)
	perm := make([]int32, g.joint*g.Size)
	moved := false
	var extra float64
	for q := range g.joint {
		n := g.Size
		r, err := d.solver.Solve(ctx, n, n, s[q*n*n:(q+1)*n*n], assign.Options{Maximize: true})
		if err != nil {
			return 0, fmt.Errorf("match: group %q: %w", g.Name, err)
		}
		for i, j := range r.RowToCol {
			perm[q*n+i] = int32(j)
			moved = moved || i != j
		}
		if g.extra != nil {
			extra = g.extraWeight * g.extraGain(r.RowToCol, d.alignment.Perms[g.Name])
		}
	}
	if !moved {
		return 0, nil
	}
	gain := d.tryMove(g, perm) + extra
	if gain <= 0 {
		return 0, nil
	}
	d.accept(g, perm)
	return gain, nil
}

// sweep improves every group that is out of date once, in the order given, and returns the gain and how many groups it looked at.
func (d *descent) sweep(ctx context.Context, order []*unitGroup) (gain float64, visited int, err error) {
	for _, g := range order {
		if !g.dirty {
			continue
		}
		if err := ctx.Err(); err != nil {
			return gain, visited, err
		}
		visited++
		delta, err := d.improve(ctx, g)
		if err != nil {
			return gain, visited, err
		}
		gain += delta
	}
	return gain, visited, nil
}

// shuffled returns the groups of the list in a random order.
func shuffled(groups []*unitGroup, rng *rand.Rand) []*unitGroup {
	out := slices.Clone(groups)
	rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}
