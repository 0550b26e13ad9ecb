package match

import (
	"context"
	"math/rand/v2"
)

// Start says where coordinate descent begins.
type Start string

// The starting points of [Weights].
const (
	// StartIdentity begins at B as it is.
	StartIdentity Start = ""
	// StartRandom begins at a random alignment, another one for every restart.
	StartRandom Start = "random"
	// StartGreedy places one group after the other from the pinned ends, using only tensors whose other groups are placed.
	StartGreedy Start = "greedy"
	// StartVaried begins at B as it is, the second of several descents as StartGreedy does, and further ones at B again. Descents from B differ by the
	// order of groups alone and end in one another's neighbourhood; the greedy one leaves it.
	StartVaried Start = "varied"
	// StartGiven begins at WeightsOptions.Init: an alignment from a file, or from Activations.
	StartGiven Start = "given"
)

// begin puts the descent at its starting point. Groups that are left out of it keep their order, also at a random start.
func (d *descent) begin(ctx context.Context, b original, restart int, opt WeightsOptions, rng *rand.Rand) error {
	at := d.sym.Identity()
	switch opt.Start {
	case StartRandom:
		random := d.sym.Random(rng)
		for _, g := range d.groups {
			if !g.fixed {
				at.Perms[g.Name] = random.Perms[g.Name]
			}
		}
	case StartGiven:
		at = opt.Init
	}
	d.setAlignment(at, b)
	if opt.Start == StartGreedy || opt.Start == StartVaried && restart == 1 {
		return d.greedy(ctx)
	}
	return nil
}

// greedy places the groups one by one: always the one with the largest part of its elements in blocks whose other groups are placed (at first those
// that touch the pinned ends), by the similarity of those blocks alone. A group is placed with the families inside it; groups that are left out of
// the descent count as placed.
func (d *descent) greedy(ctx context.Context) error {
	placed := map[string]bool{}
	for _, g := range d.groups {
		placed[g.Name] = g.fixed || g.Size < 2
	}
	for g := d.nextToPlace(placed); g != nil; g = d.nextToPlace(placed) {
		ready := d.ready(g, placed)
		moves, err := d.solve(ctx, g, ready)
		if err != nil {
			return err
		}
		for _, m := range moves {
			d.shift(m)
			d.record(m, false)
		}
		placed[g.Name] = true
		for _, f := range d.familiesOf(g) {
			placed[f.Name] = true
		}
	}
	return nil
}

// ready allows the blocks that hold, beside the group and the families inside it, only groups that are placed.
func (d *descent) ready(g *unitGroup, placed map[string]bool) filter {
	own := map[string]bool{g.Name: true}
	for _, f := range d.familiesOf(g) {
		own[f.Name] = true
	}
	return func(names []string) bool {
		for _, n := range names {
			if !own[n] && !placed[n] {
				return false
			}
		}
		return true
	}
}

// nextToPlace is the first of the groups with the largest share, nil when all are placed.
func (d *descent) nextToPlace(placed map[string]bool) *unitGroup {
	var best *unitGroup
	share := -1.0
	for _, g := range d.groups {
		if placed[g.Name] {
			continue
		}
		ready := d.ready(g, placed)
		usable, all := 0, 0
		for _, t := range g.terms {
			for _, p := range t.places {
				size := p.view.rows * p.view.cols
				all += size
				if ready(t.names) {
					usable += size
				}
			}
		}
		if part := float64(usable) / float64(max(all, 1)); part > share {
			best, share = g, part
		}
	}
	return best
}
