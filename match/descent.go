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
	members []string
	a, b    []float32 // a is read only; b is the permuted copy P·B
	blocks  []block
}

// A term is a part of a group's similarity: the sum over the places whose blocks carry the same other groups of
//
//	S[i,j] = Σ_rest A[i,rest] (P·B)[j,rest]
//
// kept until one of those groups moves, if there is room. A family has one such matrix for every joint index of its parents.
type term struct {
	places []place
	names  []string // the groups that stand in the blocks, sorted, its own among them
	s      []float32
	stale  bool
	// square: the group stands on another axis of the blocks too, so its own moves change the term by more than an exchange of columns.
	square bool
	// corrections counts those since the term was computed in full.
	corrections int
}

// A unitGroup is the state of one group or family.
type unitGroup struct {
	symmetry.Group
	joint int // product of the parents' extents
	terms []*term
	dirty bool // something that its similarity depends on has moved since it was last solved
	fixed bool // keeps its starting point (WeightsOptions.Only)
	// inside is the problem of the families within pairs of units, made when it is first needed.
	inside *inside
	// extra is a similarity in the order of the original B that does not depend on other groups, and its weight relative to the parameters' (Blend).
	extra       []float32
	extraWeight float64
}

// descent is coordinate descent on <A, P·B>. It holds one permuted copy of B and solves for moves relative to it.
type descent struct {
	sym       *symmetry.Symmetry
	stacks    []*stack
	groups    []*unitGroup // parents before their families
	byName    map[string]*unitGroup
	alignment *symmetry.Alignment
	pool      *kernel.Pool
	solver    assign.Solver[float32]
	norm      float64 // ‖A‖‖B‖
	notes     []string
	work      Work
	// visit, unless nil, hears of a group before a sweep improves it, and of what the sweep has gained until then.
	visit func(g *unitGroup, gain float64)

	// room is how many more elements of similarities can be kept. What finds none is computed whenever it is needed: the first come keep theirs, as groups
	// are visited in turns, so that what was used longest ago is needed next.
	room int

	scratchA, scratchB, sum []float32
	lent                    []float32 // for the similarity of a term that is not kept
}

// SimilarityBytes is the most that one descent keeps of similarities from sweep to sweep: more than all of a ResNet20 of width 32 has. Beyond it are
// groups of thousands of units in dozens of layers, of which some are computed again in every sweep.
const SimilarityBytes = 4 << 30

const (
	keptElements = SimilarityBytes / 4
	// fewColumns is up to how many columns, of biases and norms, a product costs no more than the memory that would keep it.
	fewColumns = 4
)

// emptyDescent has the groups of the symmetry and no tensors yet.
func emptyDescent(sym *symmetry.Symmetry, pool *kernel.Pool) *descent {
	d := &descent{sym: sym, pool: pool, byName: map[string]*unitGroup{}, alignment: sym.Identity(), room: keptElements}
	for _, g := range sym.Groups {
		u := &unitGroup{Group: g, joint: len(d.alignment.Perms[g.Name]) / g.Size, dirty: true}
		d.groups = append(d.groups, u)
		d.byName[g.Name] = u
	}
	// All ancestors of a family are in its list of parents, so it has more of them than any of its parents.
	slices.SortStableFunc(d.groups, func(g, h *unitGroup) int { return len(g.Parents) - len(h.Parents) })
	return d
}

// newDescent puts A beside a copy of B.
func newDescent(sym *symmetry.Symmetry, a memory, b original, pool *kernel.Pool) (*descent, error) {
	d := emptyDescent(sym, pool)
	for _, name := range slices.Sorted(maps.Keys(sym.Layouts)) {
		layout, members, err := sym.Stack(name)
		if err != nil {
			return nil, fmt.Errorf("match: %w", err)
		}
		if slices.ContainsFunc(members, func(m string) bool { return slices.Contains(sym.Statistics, m) }) {
			continue
		}
		blocks := blocksOf(layout)
		if slices.ContainsFunc(members, func(m string) bool { _, ok := a[m]; return !ok }) {
			if slices.ContainsFunc(blocks, func(b block) bool { return len(d.groupNames(&b)) > 0 }) {
				d.note(fmt.Sprintf("tensor %q moves along but has no part in the objective: its dtype has no arithmetic here", name))
			}
			continue
		}
		s := &stack{members: members, a: joined(members, a), b: kernel.Make[float32](totalLen(members, b))}
		joinInto(s.b, members, b)
		if err := d.add(s, blocks); err != nil {
			return nil, fmt.Errorf("match: tensor %q: %w", name, err)
		}
	}
	d.setNorm()
	return d, nil
}

// joined returns the members' data as one array: the storage itself for a single one.
func joined(members []string, p memory) []float32 {
	if len(members) == 1 {
		return p[members[0]]
	}
	all := make([]float32, totalLen(members, p))
	joinInto(all, members, p)
	return all
}

func totalLen(members []string, p original) int {
	n := 0
	for _, m := range members {
		n += p.length(m)
	}
	return n
}

func joinInto(dst []float32, members []string, p original) {
	for _, m := range members {
		n := p.length(m)
		p.copyTo(dst[:n], m)
		dst = dst[n:]
	}
}

// add registers an array and everything that stands on it.
func (d *descent) add(s *stack, blocks []block) error {
	s.blocks = blocks
	d.stacks = append(d.stacks, s)
	for i := range blocks {
		b := &blocks[i]
		names := d.groupNames(b)
		for _, name := range names {
			positions := b.positions(name)
			for _, pos := range positions {
				p, err := newPlace(s, b, d.byName[name].Group, pos)
				if err != nil {
					return err
				}
				d.byName[name].addPlace(p, names, len(positions) > 1)
			}
		}
	}
	return nil
}

// groupNames are the groups that stand in a block, sorted.
func (d *descent) groupNames(b *block) []string {
	var names []string
	for _, n := range b.names {
		if d.byName[n] != nil && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

func (g *unitGroup) addPlace(p place, names []string, square bool) {
	for _, t := range g.terms {
		if t.square == square && slices.Equal(t.names, names) {
			t.places = append(t.places, p)
			return
		}
	}
	g.terms = append(g.terms, &term{places: []place{p}, names: names, stale: true, square: square})
}

func (d *descent) note(s string) {
	if !slices.Contains(d.notes, s) {
		d.notes = append(d.notes, s)
	}
}

func (d *descent) setNorm() {
	aa := d.sumOfStacks(func(s *stack) float64 { return kernel.Dot(s.a, s.a) })
	bb := d.sumOfStacks(func(s *stack) float64 { return kernel.Dot(s.b, s.b) })
	d.norm = math.Sqrt(aa) * math.Sqrt(bb)
}

// sumOfStacks adds up a value of every array.
func (d *descent) sumOfStacks(f func(s *stack) float64) float64 {
	values := make([]float64, len(d.stacks))
	d.pool.Run(len(values), partTask(func(k int) { values[k] = f(d.stacks[k]) }))
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum
}

// objective is <A, P·B> in float64, plus the blend's fixed part.
func (d *descent) objective() float64 {
	sum := d.sumOfStacks(func(s *stack) float64 { return kernel.Dot(s.a, s.b) })
	for _, g := range d.groups {
		if g.extra != nil {
			sum += g.extraWeight * g.extraValue(d.alignment.Perms[g.Name])
		}
	}
	return sum
}

// extraValue is Σ_i E[i, order[i]] of the fixed similarity E.
func (g *unitGroup) extraValue(order []int32) float64 {
	var sum float64
	for i, j := range order {
		sum += float64(g.extra[i*g.Size+int(j)])
	}
	return sum
}

// setReference replaces A: every similarity is out of date, the alignment stays.
func (d *descent) setReference(a memory) {
	for _, s := range d.stacks {
		s.a = joined(s.members, a)
	}
	d.markStale()
}

func (d *descent) markStale() {
	for _, g := range d.groups {
		g.dirty = true
		for _, t := range g.terms {
			t.stale = true
		}
	}
}

// setAlignment replaces P: the copy of B is permuted anew from the original. Families are indexed by the result's parents, so parents move first.
func (d *descent) setAlignment(p *symmetry.Alignment, b original) {
	for _, s := range d.stacks {
		joinInto(s.b, s.members, b)
	}
	for _, g := range d.groups {
		d.shift(move{g, p.Perms[g.Name]})
	}
	d.alignment = p.Clone()
	d.markStale()
}

// A move reorders the units of one group relative to the current alignment: unit i of the result is unit perm[i] of now.
type move struct {
	group *unitGroup
	perm  []int32
}

// back is the move that undoes m.
func (m move) back() move {
	n := m.group.Size
	inv := make([]int32, len(m.perm))
	for at := 0; at < len(inv); at += n {
		for i := range n {
			inv[at+int(m.perm[at+i])] = int32(i)
		}
	}
	return move{m.group, inv}
}

// isIdentity says whether nothing moves.
func (m move) isIdentity() bool {
	for i, p := range m.perm {
		if int(p) != i%m.group.Size {
			return false
		}
	}
	return true
}

// shift moves the units in P·B, and nothing else.
func (d *descent) shift(m move) {
	for _, t := range m.group.terms {
		for i := range t.places {
			t.places[i].move(d.pool, m.perm)
		}
	}
}

// measuredShift is shift, and returns what the objective gains. The gain of a group on two axes of a tensor is the sum of one axis after the
// other's.
func (d *descent) measuredShift(m move) float64 {
	var gain float64
	for _, t := range m.group.terms {
		for i := range t.places {
			gain += t.places[i].gain(d.pool, m.perm)
			t.places[i].move(d.pool, m.perm)
		}
	}
	if g := m.group; g.extra != nil {
		now := d.alignment.Perms[g.Name]
		then := make([]int32, len(now))
		for i, j := range m.perm {
			then[i] = now[j]
		}
		gain += g.extraWeight * (g.extraValue(then) - g.extraValue(now))
	}
	return gain
}

// try makes the moves one after the other. When together they do not gain they are taken back, and the gain is 0: the solver's promise rests on
// float32 and, where a group stands on two axes, on a linearisation.
func (d *descent) try(moves []move) float64 {
	defer d.work.clock(&d.work.Moves)()
	var gain float64
	for _, m := range moves {
		gain += d.measuredShift(m)
	}
	if gain > 0 {
		for _, m := range moves {
			// Where several groups have moved, P·B no longer shows what one of them changed.
			d.record(m, len(moves) == 1)
		}
		return gain
	}
	for _, m := range slices.Backward(moves) {
		d.shift(m.back())
	}
	return 0
}

// record brings alignment and similarities up to date with a move that has been made, the only one since the last record when alone is set.
func (d *descent) record(m move, alone bool) {
	then := d.sym.Identity()
	then.Perms[m.group.Name] = m.perm
	d.alignment = d.sym.Compose(d.alignment, then)
	for _, h := range d.groups {
		for _, t := range h.terms {
			switch {
			case !slices.Contains(t.names, m.group.Name):
			case h == m.group && !t.square:
				d.exchangeColumns(t, m)
			default:
				h.dirty = true
				t.stale = !alone || h == m.group || !d.correct(t, h, m)
			}
		}
	}
}

// exchangeColumns applies the group's own move to its similarity: column j of the new order is column perm[j] of the old.
func (d *descent) exchangeColumns(t *term, m move) {
	if t.stale {
		return
	}
	n := m.group.Size
	d.eachBlock(m.group.joint, n, func(q, first, end int) {
		perm := m.perm[q*n:][:n]
		moved := movedUnits(perm)
		old := make([]float32, len(moved))
		for at := first; at < end; at += n {
			gather(t.s[at:at+n], old, perm, moved)
		}
	})
}

// eachBlock calls f, on all threads, for every block of rows of a similarity: its joint index and where its elements begin and end.
func (d *descent) eachBlock(joint, n int, f func(q, first, end int)) {
	const rows = 64
	blocks := (n + rows - 1) / rows
	d.pool.Run(joint*blocks, partTask(func(k int) {
		q, r := k/blocks, k%blocks*rows
		f(q, (q*n+r)*n, (q*n+min(r+rows, n))*n)
	}))
}

// refresh recomputes a term's similarity when one of its groups has moved.
func (d *descent) refresh(t *term, g *unitGroup) {
	if !t.stale {
		return
	}
	n := g.Size
	d.work.FLOPs += t.flops(g)
	for i := range t.places {
		p := &t.places[i]
		beta := float32(min(i, 1)) // the first place overwrites
		if g.joint == 1 {
			d.gram(beta, t.s, n, p.view.cols, p.view.matrixOf(d.pool, p.stack.a, &d.scratchA), p.view.matrixOf(d.pool, p.stack.b, &d.scratchB))
			continue
		}
		cols := p.view.cols
		d.scratchA, d.scratchB = grow(d.scratchA, g.joint*n*cols), grow(d.scratchB, g.joint*n*cols)
		p.view.copyTo(d.pool, d.scratchA, cols, p.stack.a)
		p.view.copyTo(d.pool, d.scratchB, cols, p.stack.b)
		for q := range g.joint {
			d.gram(beta, t.s[q*n*n:(q+1)*n*n], n, cols, matrix{data: d.scratchA[q*n*cols:], ld: cols}, matrix{data: d.scratchB[q*n*cols:], ld: cols})
		}
	}
	t.stale, t.corrections = false, 0
}

// keeps says whether a term has memory of its own for its similarity, which it is given when there is room and it pays.
func (d *descent) keeps(t *term, g *unitGroup) bool {
	if t.s != nil {
		return true
	}
	columns, size := 0, g.joint*g.Size*g.Size
	for i := range t.places {
		columns += t.places[i].view.cols
	}
	if columns <= fewColumns || size > d.room {
		return false
	}
	d.room -= size
	t.s = kernel.Make[float32](size)
	return true
}

// flops is the cost of computing the term in full.
func (t *term) flops(g *unitGroup) float64 {
	var sum float64
	for i := range t.places {
		sum += 2 * float64(g.joint*g.Size) * float64(g.Size) * float64(t.places[i].view.cols)
	}
	return sum
}

// gram writes dst = beta·dst + A·Bᵀ for two n x k matrices.
func (d *descent) gram(beta float32, dst []float32, n, k int, a, b matrix) {
	kernel.Gemm(d.pool, a.transposed, !b.transposed, n, n, k, a.data, a.ld, b.data, b.ld, beta, dst, n)
}

// A filter says which blocks count, by the groups that stand in them; nil means all.
type filter func(names []string) bool

func (f filter) allows(names []string) bool { return f == nil || f(names) }

// similarity returns the sum of the group's terms in fixed order: joint matrices of Size x Size, relative to the current alignment.
func (d *descent) similarity(g *unitGroup, use filter) []float32 {
	defer d.work.clock(&d.work.Similarity)()
	size := g.joint * g.Size * g.Size
	d.sum = grow(d.sum, size)
	var terms []*term // not added up yet
	begun := false
	add := func() {
		d.eachBlock(g.joint, g.Size, func(_, first, end int) { sumTerms(d.sum[first:end], begun, terms, first, end) })
		begun, terms = true, terms[:0]
	}
	for _, t := range g.terms {
		if !use.allows(t.names) {
			continue
		}
		d.work.FullFLOPs += t.flops(g)
		if terms = append(terms, t); d.keeps(t, g) {
			d.refresh(t, g)
			continue
		}
		d.lent = grow(d.lent, size)
		t.s = d.lent
		d.refresh(t, g)
		add()
		t.s, t.stale = nil, true
	}
	if !begun || len(terms) > 0 {
		add()
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

// sumTerms adds a part of the terms' similarities, one after the other, to what is in dst, or to nothing when the sum has not begun.
func sumTerms(dst []float32, begun bool, terms []*term, first, end int) {
	switch {
	case begun:
	case len(terms) == 0:
		clear(dst)
	case len(terms) == 1:
		copy(dst, terms[0].s[first:end])
		terms = terms[1:]
	default:
		kernel.Add(dst, terms[0].s[first:end], terms[1].s[first:end])
		terms = terms[2:]
	}
	for _, t := range terms {
		kernel.Add(dst, dst, t.s[first:end])
	}
}

// solve returns the best moves of a group and of the families that are solved with it, everything else in place: those that move anything.
func (d *descent) solve(ctx context.Context, g *unitGroup, use filter) ([]move, error) {
	in, err := d.insideOf(g, use)
	if err != nil {
		return nil, err
	}
	s := d.similarity(g, func(names []string) bool { return use.allows(names) && !in.covers(names) })
	if err := in.addValues(ctx, s); err != nil {
		return nil, err
	}
	defer d.work.clock(&d.work.Assignment)()
	n := g.Size
	own := move{g, make([]int32, g.joint*n)}
	for q := range g.joint {
		r, err := d.solver.Solve(ctx, n, n, s[q*n*n:(q+1)*n*n], assign.Options{Maximize: true})
		if err != nil {
			return nil, fmt.Errorf("match: group %q: %w", g.Name, err)
		}
		for i, j := range r.RowToCol {
			own.perm[q*n+i] = int32(j)
		}
	}
	moves := append([]move{own}, in.moves(own)...)
	return slices.DeleteFunc(moves, move.isIdentity), nil
}

// improve solves for one group and moves it when that gains. It returns the gain.
func (d *descent) improve(ctx context.Context, g *unitGroup) (float64, error) {
	g.dirty = false
	if g.Size < 2 {
		return 0, nil
	}
	moves, err := d.solve(ctx, g, nil)
	if err != nil {
		return 0, err
	}
	gain := d.try(moves)
	if g.inside.isExact() && (gain > 0 || len(moves) == 0) {
		// Families and group moved as well as they can together, so that none of them has to look again because of the others. Only the
		// linearisation has to.
		for _, f := range g.inside.solved() {
			f.dirty = false
		}
		g.dirty = len(moves) > 0 && moves[0].group == g && slices.ContainsFunc(g.terms, func(t *term) bool { return t.square })
	}
	return gain, nil
}

// sweep improves every group that is out of date once, in the order given, and returns the gain and how many groups it looked at.
func (d *descent) sweep(ctx context.Context, order []*unitGroup) (gain float64, visited int, err error) {
	for _, g := range order {
		if !g.dirty || g.fixed {
			continue
		}
		if err := ctx.Err(); err != nil {
			return gain, visited, err
		}
		visited++
		if d.visit != nil {
			d.visit(g, gain)
		}
		delta, err := d.improve(ctx, g)
		if err != nil {
			return gain, visited, err
		}
		gain += delta
	}
	return gain, visited, nil
}

// settled says whether no group that may move is out of date.
func (d *descent) settled() bool {
	return !slices.ContainsFunc(d.groups, func(g *unitGroup) bool { return g.dirty && !g.fixed })
}

// shuffled returns the groups of the list in a random order.
func shuffled(groups []*unitGroup, rng *rand.Rand) []*unitGroup {
	out := slices.Clone(groups)
	rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}
