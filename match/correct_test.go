package match

import (
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// A similarity corrected for the few units of a neighbour that moved is the one computed in full, within the rounding of float32 sums.
func TestCorrectionsEqualRecomputing(t *testing.T) {
	// Sums of up to 4·24 products of standard normals, corrected up to maxCorrections times.
	const tolerance = 1e-4
	for name, net := range map[string]network{
		"linear layers":      {"h=24 g=20", "a.w: h 5", "a.b: h", "b.w: g h", "b.b: g", "c.w: 4 g"},
		"flattened channels": {"h=24 g=20", "a.w: h 5", "b.w: g (h 3)", "c.w: 4 (2 g)"},
		"concatenation":      {"h=24 g=20 k=16", "a.w: h 5", "a.b: g", "b.w: k (h + g)", "c.w: 4 k"},
	} {
		t.Run(name, func(t *testing.T) {
			sym := net.symmetry(t)
			rng := newRand(5)
			a, b := gaussian(sym, rng), gaussian(sym, rng)
			d := testDescent(t, sym, a, b)
			for _, g := range d.groups {
				d.similarity(g, nil)
			}
			corrected := 0
			for range 40 {
				g := d.groups[rng.IntN(len(d.groups))]
				perm := d.sym.Identity().Perms[g.Name]
				i, j := rng.IntN(g.Size), rng.IntN(g.Size)
				perm[i], perm[j] = perm[j], perm[i]
				m := move{g, perm}
				d.shift(m)
				d.record(m, true)
				for _, h := range d.groups {
					for _, term := range h.terms {
						if !term.stale && term.corrections > 0 {
							corrected++
							compareWithFull(t, d, term, h, tolerance)
						}
						if term.s != nil {
							d.refresh(term, h)
						}
					}
				}
			}
			if corrected == 0 {
				t.Error("no similarity was corrected")
			}
		})
	}
}

func compareWithFull(t *testing.T, d *descent, term *term, g *unitGroup, tolerance float64) {
	t.Helper()
	full := *term
	full.s, full.stale = make([]float32, len(term.s)), true
	d.refresh(&full, g)
	for i, x := range full.s {
		if diff := math.Abs(float64(x) - float64(term.s[i])); !(diff <= tolerance) {
			t.Fatalf("group %q after %d corrections: entry %d is %v, in full %v", g.Name, term.corrections, i, term.s[i], x)
		}
	}
}

// A correction is refused where it would not pay or would be wrong.
func TestCorrectionsRefused(t *testing.T) {
	sym := network{"h=24 g=20", "a.w: h 5", "b.w: g h", "c.w: 5 g"}.symmetry(t)
	rng := newRand(6)
	d := testDescent(t, sym, gaussian(sym, rng), gaussian(sym, rng))
	for _, g := range d.groups {
		d.similarity(g, nil)
	}
	h := d.byName["h"]
	swap := d.sym.Identity().Perms["h"]
	swap[0], swap[1] = 1, 0
	d.shift(move{h, swap})
	d.record(move{h, swap}, false)
	for _, term := range d.byName["g"].terms {
		if len(term.names) == 2 && !term.stale {
			t.Error("a term was kept after one of several moves made together")
		}
		d.refresh(term, d.byName["g"])
	}
	all := d.sym.Random(rng).Perms["h"]
	d.shift(move{h, all})
	d.record(move{h, all}, true)
	for _, term := range d.byName["g"].terms {
		if len(term.names) == 2 && !term.stale {
			t.Error("a term was corrected for a move of nearly all units")
		}
	}
}

// Arrays large enough to be worked on in several parts: a move gains what the objective says, to the last bit the same on any number of threads, and
// its way back restores every element; a similarity, copied in tiles, is the sum that defines it.
func TestPartsOfLargeArrays(t *testing.T) {
	sym := network{"c=70 h=90", "in: c 40 3 3", "conv: h c 3 3", "mix: (c h) 7", "out: 50 h"}.symmetry(t)
	rng := newRand(17)
	a, b := gaussian(sym, rng), gaussian(sym, rng)
	random := sym.Random(rng)
	var gains []float64
	for threads := 1; threads <= 3; threads++ {
		pool := kernel.NewPool(threads)
		d, err := newDescent(sym, mustFloats(t, a), mustFloats(t, b), pool)
		if err != nil {
			t.Fatal(err)
		}
		for i, g := range d.groups {
			before := d.objective()
			m := move{g, random.Perms[g.Name]}
			gain := d.measuredShift(m)
			if after := d.objective(); !near(after-before, gain, d.norm) {
				t.Errorf("group %q gains %v, the objective goes from %v to %v", g.Name, gain, before, after)
			}
			if gains = append(gains, gain); gain != gains[i] {
				t.Errorf("group %q gains %v on %d threads, %v on one", g.Name, gain, threads, gains[i])
			}
			compareWithSums(t, d, g)
			d.shift(m.back())
		}
		for _, s := range d.stacks {
			if !slices.Equal(s.b, tensor.Of[float32](b[s.members[0]])) {
				t.Errorf("tensor %q is not as it was", s.members[0])
			}
		}
		pool.Close()
	}
}

// compareWithSums compares some entries of a group's similarity with what defines them.
func compareWithSums(t *testing.T, d *descent, g *unitGroup) {
	t.Helper()
	const tolerance = 1e-3 // sums of about a thousand products of standard normals in float32
	s := d.similarity(g, nil)
	d.markStale()
	for _, at := range []int{0, 1, len(s) * 2 / 3, len(s) - 1} {
		i, j := at/g.Size, at%g.Size
		want := 0.0
		for _, term := range g.terms {
			for k := range term.places {
				p := &term.places[k]
				odometer(p.view.restDims, p.view.restStrides, p.block.offset, func(o int) {
					want += float64(p.stack.a[o+i*p.unitStride()]) * float64(p.stack.b[o+j*p.unitStride()])
				})
			}
		}
		if diff := math.Abs(want - float64(s[at])); !(diff <= tolerance) {
			t.Errorf("group %q: similarity of %d and %d is %v, want %v", g.Name, i, j, s[at], want)
		}
	}
}

// Similarities that find no room are computed whenever they are needed: the descent comes to the same end, and no more is kept than there is room for.
func TestDescentWithoutRoom(t *testing.T) {
	sym := network{
		"r=24 h1=40 h2=33 h3=40", "in: r 7", "up1: h1 r", "b1: h1", "down1: r h1", "up2: h2 r", "b2: h2", "down2: r h2", "up3: h3 r", "b3: h3",
		"down3: r h3", "out: 5 r",
	}.symmetry(t)
	rng := newRand(5)
	a := gaussian(sym, rng)
	b := apply(t, sym, sym.Random(rng), a)
	full := descend(t, sym, a, b, keptElements)
	for _, room := range []int{0, 24 * 24, 3000} {
		d := descend(t, sym, a, b, room)
		if !reflect.DeepEqual(d.alignment.Perms, full.alignment.Perms) {
			t.Errorf("with room for %d elements the alignment is another one", room)
		}
		if d.work.FLOPs <= full.work.FLOPs {
			t.Errorf("with room for %d elements %v operations, with all of it %v", room, d.work.FLOPs, full.work.FLOPs)
		}
		kept := 0
		for _, g := range d.groups {
			for _, term := range g.terms {
				kept += len(term.s)
			}
			compareWithSums(t, d, g)
		}
		if kept > room {
			t.Errorf("%d elements are kept where there is room for %d", kept, room)
		}
	}
}

// descend runs one descent with room for so many elements of similarities.
func descend(t *testing.T, sym *symmetry.Symmetry, a, b Params, room int) *descent {
	t.Helper()
	d := testDescent(t, sym, a, b)
	d.room = room
	opt := WeightsOptions{Seed: 3}
	if err := opt.defaults(sym); err != nil {
		t.Fatal(err)
	}
	if _, err := d.run(t.Context(), stored(b), 0, opt); err != nil {
		t.Fatal(err)
	}
	return d
}
