package match

import (
	"context"
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/assign"
)

// A pairTerm is the similarity of a group together with one family inside it, from one block: S[(i,k),(j,l)] compares element k of A's unit i with
// element l of B's unit j. It lets the group's assignment use, for every pair of units, the best inner order they could have.
type pairTerm struct {
	block  *block
	family *unitGroup
	view   view // rows: the group's unit, then the family's
	s      []float32
	stale  bool
}

// addPairs finds the blocks on which a group's families can be solved together with it: the group has no parents, the family no other parent, each
// stands once, and no second family of the group moves the same elements. There the two-level assignment is exact given the rest; elsewhere families
// are carried along with their parent and improved on their own, in turns, and that is said.
func (d *descent) addPairs() {
	for _, g := range d.groups {
		if len(g.Parents) > 0 {
			continue
		}
		for _, b := range g.blocks {
			inside := d.familiesIn(b, g)
			switch {
			case len(inside) == 0:
			case len(inside) == 1 && len(inside[0].Parents) == 1 && len(b.positions(g.Name)) == 1 && len(b.positions(inside[0].Name)) == 1:
				f := inside[0]
				lead := []int{b.positions(g.Name)[0], b.positions(f.Name)[0]}
				g.pairs = append(g.pairs, &pairTerm{block: b, family: f, view: b.view(lead...), stale: true})
				if !slices.Contains(g.kids, f) {
					g.kids = append(g.kids, f)
				}
			default:
				d.note(fmt.Sprintf("group %q and the families inside it are improved in turns on tensor %q: their joint assignment has no exact solution here",
					g.Name, d.stacks[b.tensor].name))
			}
		}
	}
}

// familiesIn are the families below g that stand in the block.
func (d *descent) familiesIn(b *block, g *unitGroup) []*unitGroup {
	var out []*unitGroup
	for _, f := range d.groups {
		if slices.Contains(f.Parents, g.Name) && len(b.positions(f.Name)) > 0 {
			out = append(out, f)
		}
	}
	return out
}

func (d *descent) note(s string) {
	if !slices.Contains(d.notes, s) {
		d.notes = append(d.notes, s)
	}
}

// improveWithFamilies solves a group and the families inside it: for every pair of units the inner assignment, then the outer one on their values,
// O(n²k³ + n³).
func (d *descent) improveWithFamilies(ctx context.Context, g *unitGroup) (float64, error) {
	paired := func(t *term) bool {
		return slices.ContainsFunc(g.pairs, func(p *pairTerm) bool { return p.block == t.block })
	}
	plain := slices.Clone(d.similarity(g, func(t *term) bool { return !paired(t) }))
	joint := make([][]float32, len(g.kids))
	for k, f := range g.kids {
		joint[k] = make([]float32, g.Size*f.Size*g.Size*f.Size)
	}
	for _, p := range g.pairs {
		d.refreshPair(p, g)
		dst := joint[slices.Index(g.kids, p.family)]
		for i, x := range p.s {
			dst[i] += x
		}
	}
	sizes := make([]int, len(g.kids))
	for k, f := range g.kids {
		sizes[k] = f.Size
	}
	outer, inner, err := solveNested(ctx, &d.solver, g.Size, plain, sizes, joint)
	if err != nil {
		return 0, fmt.Errorf("match: group %q: %w", g.Name, err)
	}
	return d.moveNested(g, outer, inner), nil
}

func (d *descent) refreshPair(p *pairTerm, g *unitGroup) {
	if !p.stale {
		return
	}
	s := d.stacks[p.block.tensor]
	n := g.Size * p.family.Size
	p.s = grow(p.s, n*n)
	d.gram(p.s, n, p.view.cols, p.view.matrixOf(s.a, &d.scratchA), p.view.matrixOf(s.b, &d.scratchB))
	p.stale = false
}

// moveNested tries the outer and the inner moves one after the other and keeps them when together they gain.
func (d *descent) moveNested(g *unitGroup, outer []int32, inner [][]int32) float64 {
	if isIdentity(outer, g.Size) && !slices.ContainsFunc(g.kids, func(f *unitGroup) bool { return !isIdentity(inner[slices.Index(g.kids, f)], f.Size) }) {
		return 0
	}
	gain := d.tryMove(g, outer)
	before := d.alignment
	d.accept(g, outer)
	for k, f := range g.kids {
		gain += d.tryMove(f, inner[k])
		d.accept(f, inner[k])
	}
	if gain > 0 {
		return gain
	}
	// The linearisation promised more than there was: take the moves back, inner first.
	for k := len(g.kids) - 1; k >= 0; k-- {
		back := inverses(inner[k], g.kids[k].Size)
		d.tryMove(g.kids[k], back)
		d.accept(g.kids[k], back)
	}
	back := inverses(outer, g.Size)
	d.tryMove(g, back)
	d.accept(g, back)
	d.alignment = before
	g.dirty = false
	for _, f := range g.kids {
		f.dirty = false
	}
	return 0
}

// isIdentity says whether a sequence of permutations of n units moves nothing.
func isIdentity(perms []int32, n int) bool {
	for i, p := range perms {
		if int(p) != i%n {
			return false
		}
	}
	return true
}

// inverses inverts a sequence of permutations of n units each.
func inverses(perms []int32, n int) []int32 {
	inv := make([]int32, len(perms))
	for at := 0; at < len(perms); at += n {
		for i := range n {
			inv[at+int(perms[at+i])] = int32(i)
		}
	}
	return inv
}

// solveNested maximises Σ_i plain[i,σ(i)] + Σ_f Σ_i Σ_k joint_f[(i,k),(σ(i),τ_i(k))] over the order σ of n units and, for every family f of sizes[f]
// elements inside each unit, the orders τ. The inner problems of a pair do not depend on the other pairs, so the two levels are exact.
func solveNested(ctx context.Context, solver *assign.Solver[float32], n int, plain []float32, sizes []int, joint [][]float32) ([]int32, [][]int32, error) {
	value := slices.Clone(plain)
	best := make([][]int32, len(sizes)) // per family, per pair, the inner order
	for f, k := range sizes {
		best[f] = make([]int32, n*n*k)
		cost := make([]float32, k*k)
		for i := range n {
			for j := range n {
				for r := range k {
					from := ((i*k+r)*n + j) * k
					copy(cost[r*k:(r+1)*k], joint[f][from:from+k])
				}
				res, err := solver.Solve(ctx, k, k, cost, assign.Options{Maximize: true})
				if err != nil {
					return nil, nil, err
				}
				value[i*n+j] += float32(res.Value)
				for r, c := range res.RowToCol {
					best[f][(i*n+j)*k+r] = int32(c)
				}
			}
		}
	}
	res, err := solver.Solve(ctx, n, n, value, assign.Options{Maximize: true})
	if err != nil {
		return nil, nil, err
	}
	outer := make([]int32, n)
	inner := make([][]int32, len(sizes))
	for f, k := range sizes {
		inner[f] = make([]int32, 0, n*k)
	}
	for i, j := range res.RowToCol {
		outer[i] = int32(j)
		for f, k := range sizes {
			inner[f] = append(inner[f], best[f][(i*n+j)*k:(i*n+j+1)*k]...)
		}
	}
	return outer, inner, nil
}
