package match

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// Whatever the network, the objective never falls and is what it says, the alignment is one, and nobody writes to the inputs.
func TestWeightsInvariants(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.SampledFrom(networkNames()).Draw(rt, "network")
		sym := allNetworks[name].symmetry(t)
		rng := newRand(rapid.Uint64().Draw(rt, "seed"))
		a, b := gaussian(sym, rng), gaussian(sym, rng)
		keepA, keepB := cloneParams(a), cloneParams(b)
		opt := WeightsOptions{
			Start:     rapid.SampledFrom([]Start{StartIdentity, StartRandom, StartGreedy, StartGiven}).Draw(rt, "start"),
			Init:      sym.Random(rng),
			Seed:      rapid.Uint64().Draw(rt, "order"),
			Tolerance: rapid.SampledFrom([]float64{0, untilStill}).Draw(rt, "tolerance"),
			Threads:   1,
		}
		r := mustWeights(t, sym, a, b, opt)
		if err := sym.CheckAlignment(r.Alignment); err != nil {
			rt.Fatal(err)
		}
		if !slices.IsSorted(r.Trace) || len(r.Trace) != r.Sweeps+1 {
			rt.Errorf("%d sweeps, trace %v", r.Sweeps, r.Trace)
		}
		scale := scaleOf(a, b)
		want := innerProduct(t, sym, a, b, r.Alignment)
		if !near(r.Objective, want, scale) || !near(r.Trace[len(r.Trace)-1], want, scale) {
			rt.Errorf("objective %v at the end of %v, recomputed %v", r.Objective, r.Trace, want)
		}
		if got, err := InnerProduct(sym, a, b, r.Alignment); err != nil || !near(got, want, scale) {
			rt.Errorf("InnerProduct %v, %v, want %v", got, err, want)
		}
		starts := map[Start]*symmetry.Alignment{StartIdentity: sym.Identity(), StartGiven: opt.Init}
		if p := starts[opt.Start]; p != nil && !near(r.Trace[0], innerProduct(t, sym, a, b, p), scale) {
			rt.Errorf("the trace begins at %v, the start is worth %v", r.Trace[0], innerProduct(t, sym, a, b, p))
		}
		for name := range a {
			if !a[name].Equal(keepA[name]) || !b[name].Equal(keepB[name]) {
				rt.Errorf("tensor %q was written to", name)
			}
		}
		if r.Status == Converged && opt.Tolerance == untilStill {
			// Whoever solves for a group anew, with nothing kept from before, finds nothing to gain.
			d := testDescent(t, sym, a, b)
			d.setAlignment(r.Alignment, mustFloats(t, b))
			for _, g := range d.groups {
				if gain, err := d.improve(t.Context(), g); err != nil || gain > 1e-9*scale {
					rt.Errorf("group %q still gains %v, %v", g.Name, gain, err)
				}
			}
		}
	})
}

func mustFloats(t testing.TB, p Params) memory {
	t.Helper()
	f, err := floats(p)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The end of a descent is an optimum of every group by itself: no permutation of its units, those of other groups in place, is better. That holds
// for groups on one axis of every tensor; of others only the linearisation is at its optimum.
func TestWeightsOptimalInEveryCoordinate(t *testing.T) {
	small := map[string]network{
		"mlp":       {"h1=4 h2=5 h3=3", "w1: h1 3", "b1: h1", "w2: h2 h1", "b2: h2", "w3: h3 h2", "w4: 2 h3"},
		"products":  {"c=4 h=5", "conv: c 2 2", "fc: h (c 2 2)", "out: 2 h"},
		"concat":    {"a=4 b=3 h=4", "wa: a 3", "wb: b 2", "cat: h (a + b + 2)", "out: 2 h"},
		"attention": {"heads=3 dk=2 dv=3", "qkv: ((heads dk[heads]) + (heads dk[heads]) + (heads dv[heads])) 3", "o: 3 (heads dv[heads])"},
		"grouped":   {"g=3 o=3 i=2", "conv: (g o[g]) i[g] 2", "before: (g i[g]) 3", "after: 2 (g o[g])"},
		"queries":   {"kv=2 q=2 dk=3", "wq: (kv q[kv] dk[kv]) 4", "wk: (kv dk[kv]) 4", "wo: 4 (kv q[kv])"},
		"nested":    {"x=2 q=2 a=3", "w: (a q[a] x[a,q]) 3", "b: (a q[a])"},
		"experts":   {"f=3 e=3 h=4", "gate: e h", "experts.{e}.up: f[e] h", "in: h 2"},
		"lstm":      {"direction!=2 h=4", "w: (direction h[direction]) 3", "u: h0 (direction h[direction])", "i: h0 3"},
	}
	small["lstm"][0] += " h0=3"
	for name, w := range small {
		t.Run(name, func(t *testing.T) {
			sym := w.symmetry(t)
			for seed := range uint64(10) {
				rng := newRand(seed)
				a, b := gaussian(sym, rng), gaussian(sym, rng)
				r := mustWeights(t, sym, a, b, WeightsOptions{Tolerance: untilStill, Seed: seed, Threads: 1})
				if r.Status != Converged {
					t.Fatalf("status %q", r.Status)
				}
				for _, g := range sym.Groups {
					then := sym.Identity()
					everyPerm(g.Size, len(then.Perms[g.Name])/g.Size, func(perm []int32) {
						then.Perms[g.Name] = perm
						if other := innerProduct(t, sym, a, b, sym.Compose(r.Alignment, then)); other > r.Objective+1e-5 {
							t.Fatalf("group %q by itself gets from %v to %v", g.Name, r.Objective, other)
						}
					})
				}
			}
		})
	}
}

// Where a descent has nothing to take turns with it finds the best of all alignments: with one group, with a group and one family in it, and with
// families within each other.
func TestWeightsGlobalOptimum(t *testing.T) {
	for name, w := range map[string]network{
		"one group":                {"h=6", "w1: h 3", "b: h", "w2: 2 h"},
		"one group twice":          {"h=5", "cat: 3 (h + h)", "w: (h 2) 2"},
		"one family":               {"d!=3 h=4", "w: (d h[d]) 2"},
		"group and family":         {"dk=3 heads=3", "q: (heads dk[heads]) 2", "b: (heads dk[heads])", "gate: heads"},
		"two families apart":       {"heads=3 dk=2 dv=3", "q: (heads dk[heads]) 2", "v: 2 (heads dv[heads])"},
		"families in each other":   {"x=2 q=2 a=3", "w: (a q[a] x[a,q]) 2", "b: (a q[a])", "g: a"},
		"cross-axis":               {"i=3 g=3", "conv: (g 2) i[g] 2"},
		"virtual stack":            {"f=3 e=3", "gate: e", "experts.{e}.up: f[e] 2"},
		"family of a fixed parent": {"k=2 d!=2 h=3", "w: (d h[d] k[d,h]) 2"},
	} {
		t.Run(name, func(t *testing.T) {
			sym := w.symmetry(t)
			for seed := range uint64(4) {
				rng := newRand(seed)
				a, b := gaussian(sym, rng), gaussian(sym, rng)
				r := mustWeights(t, sym, a, b, WeightsOptions{Tolerance: untilStill, Threads: 1})
				if want := bruteForce(t, sym, a, b); !(math.Abs(r.Objective-want) <= 1e-5) {
					t.Errorf("seed %d: objective %v, the best is %v", seed, r.Objective, want)
				}
				if len(r.Notes) > 0 {
					t.Errorf("notes about approximations: %q", r.Notes)
				}
				if r.Sweeps != 1 {
					t.Errorf("seed %d: %d sweeps, though the first was exact", seed, r.Sweeps)
				}
			}
		})
	}
}

func TestWeightsRecoverPlantedAlignments(t *testing.T) {
	for _, name := range networkNames() {
		t.Run(name, func(t *testing.T) {
			sym := allNetworks[name].symmetry(t)
			for seed := range uint64(5) {
				a, b, want := planted(t, sym, .1, newRand(seed))
				r := mustWeights(t, sym, a, b, WeightsOptions{Restarts: 10, Start: StartRandom, Threads: 1})
				if !r.Alignment.Equal(want) {
					t.Errorf("seed %d: objective %v, that of the planted alignment %v", seed, r.Objective, innerProduct(t, sym, a, b, want))
				}
			}
		})
	}
}

// From the pinned ends a chain of layers falls into place in one pass, and nothing is left to do.
func TestWeightsGreedyStart(t *testing.T) {
	for _, name := range []string{"mlp", "products", "concat", "attention", "nested", "experts"} {
		sym := allNetworks[name].symmetry(t)
		a, b, want := planted(t, sym, .1, newRand(3))
		r := mustWeights(t, sym, a, b, WeightsOptions{Start: StartGreedy, Threads: 1})
		if !r.Alignment.Equal(want) || r.Trace[0] != r.Trace[len(r.Trace)-1] {
			t.Errorf("%s: trace %v, the planted alignment has %v", name, r.Trace, innerProduct(t, sym, a, b, want))
		}
	}
}

// What is kept from one move to the next changes nothing: each step of a descent is the same when every similarity is computed anew.
func TestWeightsCaching(t *testing.T) {
	for _, name := range networkNames() {
		t.Run(name, func(t *testing.T) {
			sym := allNetworks[name].symmetry(t)
			rng := newRand(11)
			a, b := gaussian(sym, rng), gaussian(sym, rng)
			kept, anew := testDescent(t, sym, a, b), testDescent(t, sym, a, b)
			if len(kept.groups) == 0 {
				return
			}
			gained := 0
			for step := range 60 {
				if step%4 == 0 { // away from where no group can gain any more
					i := rng.IntN(len(kept.groups))
					random := sym.Random(rng).Perms[kept.groups[i].Name]
					for _, d := range []*descent{kept, anew} {
						d.shift(move{d.groups[i], random})
						d.record(move{d.groups[i], random}, true)
					}
				}
				i := rng.IntN(len(kept.groups))
				anew.markStale()
				gain, err := kept.improve(t.Context(), kept.groups[i])
				if err != nil {
					t.Fatal(err)
				}
				again, err := anew.improve(t.Context(), anew.groups[i])
				if err != nil {
					t.Fatal(err)
				}
				if gain != again || !kept.alignment.Equal(anew.alignment) {
					t.Fatalf("step %d, group %q: gains %v and %v", step, kept.groups[i].Name, gain, again)
				}
				if gain > 0 {
					gained++
				}
			}
			if gained < 5 {
				t.Errorf("only %d moves: the test shows little", gained)
			}
		})
	}
}

func testDescent(t *testing.T, sym *symmetry.Symmetry, a, b Params) *descent {
	t.Helper()
	if err := check(sym, a, b); err != nil {
		t.Fatal(err)
	}
	d, err := newDescent(sym, mustFloats(t, a), stored(b), nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// holds says whether the descent's copy of B is B under its alignment.
func (d *descent) holds(t *testing.T, b Params) bool {
	t.Helper()
	want := mustFloats(t, apply(t, d.sym, d.alignment, b))
	return !slices.ContainsFunc(d.stacks, func(s *stack) bool { return !slices.Equal(s.b, joined(s.members, want)) })
}

// setAlignment is the definition of an alignment, also where families are listed before their parents.
func TestSetAlignment(t *testing.T) {
	for _, name := range networkNames() {
		sym := allNetworks[name].symmetry(t)
		rng := newRand(5)
		a, b := gaussian(sym, rng), gaussian(sym, rng)
		d := testDescent(t, sym, a, b)
		for range 3 {
			d.setAlignment(sym.Random(rng), mustFloats(t, b))
			if !d.holds(t, b) {
				t.Fatalf("%s: the copy is not B under the alignment", name)
			}
		}
	}
}

// Moves, taken back or not, leave the copy of B and the alignment in step, and a gain is the difference of the objective.
func TestTry(t *testing.T) {
	for _, name := range networkNames() {
		t.Run(name, func(t *testing.T) {
			sym := allNetworks[name].symmetry(t)
			rng := newRand(9)
			a, b := gaussian(sym, rng), gaussian(sym, rng)
			d := testDescent(t, sym, a, b)
			accepted, refused := 0, 0
			for range 60 {
				random := sym.Random(rng)
				var moves []move
				for _, g := range d.groups { // parents first
					if rng.IntN(2) == 0 {
						moves = append(moves, move{g, random.Perms[g.Name]})
					}
				}
				before, kept := d.objective(), d.alignment
				gain := d.try(moves)
				if !d.holds(t, b) {
					t.Fatal("the copy is not B under the alignment")
				}
				if gain > 0 {
					accepted++
				} else {
					refused++
					if gain != 0 || !d.alignment.Equal(kept) {
						t.Fatalf("gain %v and the alignment moved", gain)
					}
				}
				if !near(d.objective()-before, gain, d.norm) {
					t.Fatalf("gain %v, the objective rose by %v", gain, d.objective()-before)
				}
			}
			if len(d.groups) > 0 && (accepted == 0 || refused == 0) {
				t.Errorf("%d moves accepted, %d refused: the test shows nothing", accepted, refused)
			}
		})
	}
}

// The linearisation at a group on two axes promises gains that are none: the move is then taken back.
func TestWeightsSquareGroupTakesBack(t *testing.T) {
	sym := network{"r=6", "mix: r r"}.symmetry(t)
	refused := false
	for seed := range uint64(40) {
		rng := newRand(seed)
		a, b := gaussian(sym, rng), gaussian(sym, rng)
		d := testDescent(t, sym, a, b)
		moves, err := d.solve(t.Context(), d.groups[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(moves) == 0 {
			continue
		}
		before := d.objective()
		if gain := d.try(moves); gain == 0 {
			refused = true
			if d.objective() != before {
				t.Errorf("seed %d: objective %v, then %v", seed, before, d.objective())
			}
		}
	}
	if !refused {
		t.Error("no move was refused: the test shows nothing")
	}
}

func TestWeightsRestarts(t *testing.T) {
	sym := mlp.symmetry(t)
	rng := newRand(2)
	a, b := gaussian(sym, rng), gaussian(sym, rng)
	for _, start := range []Start{StartIdentity, StartRandom} {
		var traces [][]float64
		best := math.Inf(-1)
		for count := 1; count <= 6; count++ {
			ends := map[int]float64{}
			r := mustWeights(t, sym, a, b, WeightsOptions{Start: start, Restarts: count, Threads: 1, Observer: func(e Event) { ends[e.Restart] = e.Objective }})
			if len(ends) != count {
				t.Fatalf("%d restarts were reported, want %d", len(ends), count)
			}
			var trace []float64
			for i := range count {
				trace = append(trace, ends[i])
			}
			traces = append(traces, trace)
			best = max(best, trace[count-1])
			if !near(r.Objective, best, scaleOf(a, b)) {
				t.Errorf("start %q, %d restarts ended at %v, the best was kept at %v", start, count, trace, r.Objective)
			}
			if count > 1 && !slices.Equal(traces[count-2], trace[:count-1]) {
				t.Errorf("start %q: the first restarts of %d differ from those of %d: %v, %v", start, count, count-1, trace, traces[count-2])
			}
		}
		if slices.Max(traces[5]) == slices.Min(traces[5]) {
			t.Errorf("start %q: all restarts ended at %v, which shows nothing", start, best)
		}
	}
}

func TestWeightsStatus(t *testing.T) {
	sym := mlp.symmetry(t)
	rng := newRand(8)
	a, b := gaussian(sym, rng), gaussian(sym, rng)
	full := mustWeights(t, sym, a, b, WeightsOptions{Tolerance: untilStill, Threads: 1})
	if full.Status != Converged || full.Sweeps < 3 {
		t.Fatalf("%q after %d sweeps", full.Status, full.Sweeps)
	}
	short := mustWeights(t, sym, a, b, WeightsOptions{MaxSweeps: 1, Threads: 1})
	if short.Status != SweepLimit || short.Sweeps != 1 || short.Objective >= full.Objective {
		t.Errorf("%q after %d sweeps at %v, without a limit %v", short.Status, short.Sweeps, short.Objective, full.Objective)
	}
	// A tolerance of everything is reached by the first sweep.
	loose := mustWeights(t, sym, a, b, WeightsOptions{Tolerance: 1, Threads: 1})
	if loose.Status != Converged || loose.Sweeps != 1 || !slices.Equal(loose.Trace, short.Trace) {
		t.Errorf("%q after %d sweeps", loose.Status, loose.Sweeps)
	}
	// At its end a descent from the same place has nothing to do but to see that.
	again := mustWeights(t, sym, a, b, WeightsOptions{Start: StartGiven, Init: full.Alignment, Threads: 1})
	if !again.Alignment.Equal(full.Alignment) || again.Status != Converged || again.Sweeps != 1 {
		t.Errorf("%q after %d sweeps at %v, began at %v", again.Status, again.Sweeps, again.Objective, full.Objective)
	}
	if again.Alignment.Perms["h1"][0] = -1; full.Alignment.Perms["h1"][0] == -1 {
		t.Error("the result shares memory with the alignment that was given")
	}
	nothing := rigid.symmetry(t)
	a = gaussian(nothing, rng)
	if r := mustWeights(t, nothing, a, a, WeightsOptions{}); r.Status != Converged || r.Sweeps != 0 || len(r.Trace) != 1 {
		t.Errorf("without groups: %+v", r)
	}
}

// A sweep reports the groups that it comes to and then its end; the last report's total is what was done.
func TestWeightsProgress(t *testing.T) {
	sym := mlp.symmetry(t)
	rng := newRand(8)
	a, b := gaussian(sym, rng), gaussian(sym, rng)
	var ends []Event
	var groups []string
	last := math.Inf(-1)
	r := mustWeights(t, sym, a, b, WeightsOptions{Threads: 1, Observer: func(e Event) {
		if e.Objective < last {
			t.Errorf("the objective falls from %v to %v", last, e.Objective)
		}
		last = e.Objective
		if e.Group == "" {
			ends = append(ends, e)
			return
		}
		if want := (Event{Stage: "weight matching", Done: len(ends), Group: e.Group, Objective: e.Objective}); e != want {
			t.Errorf("group's report %+v, want %+v", e, want)
		}
		if len(ends) == 0 {
			groups = append(groups, e.Group)
		}
	}})
	if slices.Sort(groups); !slices.Equal(groups, []string{"h1", "h2"}) {
		t.Errorf("the first sweep reports the groups %q", groups)
	}
	if len(ends) != r.Sweeps {
		t.Fatalf("%d reports of %d sweeps", len(ends), r.Sweeps)
	}
	for i, e := range ends {
		want := Event{Stage: "weight matching", Done: i + 1, Objective: r.Trace[i+1]}
		if i == len(ends)-1 {
			want.Total = r.Sweeps
		}
		if e != want {
			t.Errorf("report %d: %+v, want %+v", i, e, want)
		}
	}
}

func TestWeightsCancelled(t *testing.T) {
	sym := mlp.symmetry(t)
	rng := newRand(8)
	a, b := gaussian(sym, rng), gaussian(sym, rng)
	ctx, cancel := context.WithCancel(t.Context())
	reports := 0
	_, err := Weights(ctx, sym, a, b, WeightsOptions{Restarts: 5, Observer: func(Event) { reports++; cancel() }})
	if !errors.Is(err, context.Canceled) || reports != 1 {
		t.Errorf("error %v after %d reports", err, reports)
	}
	if _, err := Weights(ctx, rigid.symmetry(t), gaussian(rigid.symmetry(t), rng), gaussian(rigid.symmetry(t), rng), WeightsOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v where there is nothing to do", err)
	}
}

func TestWeightsSameForAnyThreads(t *testing.T) {
	for _, name := range networkNames() {
		sym := allNetworks[name].symmetry(t)
		rng := newRand(13)
		a, b := gaussian(sym, rng), gaussian(sym, rng)
		var first *Result
		for threads := 1; threads <= 3; threads++ {
			r := mustWeights(t, sym, a, b, WeightsOptions{Start: StartRandom, Restarts: 2, Seed: 4, Threads: threads})
			if first == nil {
				first = r
			}
			if !r.Alignment.Equal(first.Alignment) || !slices.Equal(r.Trace, first.Trace) {
				t.Errorf("%s: trace %v with %d threads, %v with one", name, r.Trace, threads, first.Trace)
			}
		}
	}
}

// Only keeps every other group where it started, and with a family left out its units keep their order inside their parents.
func TestWeightsOnly(t *testing.T) {
	for _, c := range []struct {
		name network
		only []string
	}{{mlp, []string{"h2"}}, {attention, []string{"heads"}}, {attention, []string{"dk"}}, {nested, []string{"a", "x"}}, {nested, []string{"q"}}} {
		sym := c.name.symmetry(t)
		rng := newRand(6)
		a, b := gaussian(sym, rng), gaussian(sym, rng)
		for _, start := range []Start{StartGiven, StartRandom, StartGreedy} {
			from := sym.Identity()
			if start == StartGiven {
				from = sym.Random(rng)
			}
			r := mustWeights(t, sym, a, b, WeightsOptions{Only: c.only, Start: start, Init: from, Tolerance: untilStill, Threads: 1})
			then := sym.Compose(sym.Invert(from), r.Alignment)
			for _, g := range sym.Groups {
				identity := slices.Equal(then.Perms[g.Name], sym.Identity().Perms[g.Name])
				if !slices.Contains(c.only, g.Name) && !identity {
					t.Errorf("only %v from %q: %q moved", c.only, start, g.Name)
				} else if slices.Contains(c.only, g.Name) && identity {
					t.Errorf("only %v from %q: %q did not move", c.only, start, g.Name)
				}
			}
		}
	}
}

// A group whose families are left out is still at its own optimum, they being carried along.
func TestWeightsOnlyCarriesFamilies(t *testing.T) {
	sym := network{"heads=4 dk=2", "q: (heads dk[heads]) 3", "o: 2 heads"}.symmetry(t)
	for seed := range uint64(5) {
		rng := newRand(seed)
		a, b := gaussian(sym, rng), gaussian(sym, rng)
		r := mustWeights(t, sym, a, b, WeightsOptions{Only: []string{"heads"}, Tolerance: untilStill})
		best, p := math.Inf(-1), sym.Identity()
		everyPerm(4, 1, func(perm []int32) {
			p.Perms["heads"] = perm
			best = max(best, innerProduct(t, sym, a, b, p))
		})
		if math.Abs(best-r.Objective) > 1e-5 {
			t.Errorf("seed %d: objective %v, best %v", seed, r.Objective, best)
		}
	}
}

// Where families move the same elements two descents are tried inside every pair of units, and either can be the better one.
func TestFamiliesHaveTwoStarts(t *testing.T) {
	sym := queries.symmetry(t)
	first, second := 0, 0
	for seed := range uint64(100) {
		rng := newRand(seed)
		d := testDescent(t, sym, gaussian(sym, rng), gaussian(sym, rng))
		in, err := d.insideOf(d.byName["kv"], nil)
		if err != nil {
			t.Fatal(err)
		}
		for k := range in.slabs {
			in.slabs[k].load(in.slabs[k].inner.a, in.slabs[k].outer.a, 0)
		}
		var values [2]float64
		for i, greedy := range []bool{false, true} {
			if err := in.descend(t.Context(), 1, greedy); err != nil {
				t.Fatal(err)
			}
			values[i] = in.d.objective()
		}
		value, order, err := in.solvePair(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if value != max(values[0], values[1]) {
			t.Errorf("value %v of the starts' %v", value, values)
		}
		if err := in.d.sym.CheckAlignment(order); err != nil {
			t.Error(err)
		}
		if values[0] > values[1] {
			first++
		} else if values[1] > values[0] {
			second++
		}
	}
	if first == 0 || second == 0 {
		t.Errorf("the first start was better %d times, the second %d times", first, second)
	}
}

// Half-precision networks are matched in float32, also one against the other.
func TestWeightsDtypes(t *testing.T) {
	sym := mlp.symmetry(t)
	a, b, want := planted(t, sym, .1, newRand(4))
	for _, types := range [][2]tensor.DType{{tensor.F16, tensor.F16}, {tensor.BF16, tensor.F32}, {tensor.F64, tensor.F16}} {
		ca, cb := converted(t, a, types[0]), converted(t, b, types[1])
		r := mustWeights(t, sym, ca, cb, WeightsOptions{Restarts: 5})
		if !r.Alignment.Equal(want) {
			t.Errorf("%v: not the planted alignment", types)
		}
		if got, err := InnerProduct(sym, ca, cb, r.Alignment); err != nil || !near(got, r.Objective, scaleOf(a, b)) {
			t.Errorf("%v: InnerProduct %v, %v; objective %v", types, got, err, r.Objective)
		}
	}
}

func converted(t *testing.T, p Params, to tensor.DType) Params {
	t.Helper()
	out := Params{}
	for name, x := range p {
		c, err := x.Convert(to)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = c
	}
	return out
}

// Tensors without arithmetic move along with their group and do not count; that they do not is said.
func TestWeightsCarriesIntegers(t *testing.T) {
	sym := network{"h=6", "w: h 5", "v: 4 h", "index: h", "steps: 1"}.symmetry(t)
	a, b, want := planted(t, sym, .1, newRand(4))
	for _, p := range []Params{a, b} {
		p["index"] = tensor.FromSlice(tensor.Shape{6}, []int64{6, 5, 4, 3, 2, 1})
		p["steps"] = tensor.FromSlice(tensor.Shape{1}, []int64{1 << 40})
	}
	r := mustWeights(t, sym, a, b, WeightsOptions{})
	if !r.Alignment.Equal(want) {
		t.Error("not the planted alignment")
	}
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], `"index"`) {
		t.Errorf("notes %q", r.Notes)
	}
	if got, err := InnerProduct(sym, a, b, want); err != nil || !near(got, r.Objective, scaleOf(map[string]*tensor.Tensor{"w": a["w"]}, b)) {
		t.Errorf("InnerProduct %v, %v; objective %v", got, err, r.Objective)
	}
}

// Running statistics move with their channels and have no say in where those go, however large they are.
func TestWeightsLeavesStatisticsOut(t *testing.T) {
	sym := network{"h=6", "w: h 5", "mean: h", "var: h", "out: 3 h"}.symmetry(t)
	rng := newRand(21)
	a, b := gaussian(sym, rng), gaussian(sym, rng)
	without, err := Weights(t.Context(), network{"h=6", "w: h 5", "out: 3 h"}.symmetry(t), subset(a, "w", "out"), subset(b, "w", "out"), WeightsOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Params{a, b} {
		for i := range tensor.Of[float32](p["var"]) {
			tensor.Of[float32](p["var"])[i] *= 1e4
		}
	}
	sym.Statistics = []string{"mean", "var"}
	r, err := Weights(t.Context(), sym, a, b, WeightsOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(r.Alignment, without.Alignment) || r.Objective != without.Objective {
		t.Errorf("with statistics %v, %v; without them %v, %v", r.Alignment, r.Objective, without.Alignment, without.Objective)
	}
	if v, err := InnerProduct(sym, a, b, r.Alignment); err != nil || v != r.Objective {
		t.Errorf("InnerProduct %v, %v, want %v", v, err, r.Objective)
	}
}

// subset is a part of a network.
func subset(p Params, names ...string) Params {
	out := Params{}
	for _, n := range names {
		out[n] = p[n]
	}
	return out
}

func TestWeightsNotesApproximations(t *testing.T) {
	for name, want := range map[string]string{
		"queries": `"kv"`, "grouped": `"g"`, "own parents": "two axes", "mlp": "", "attention": "", "nested": "", "experts": "",
	} {
		sym := allNetworks[name].symmetry(t)
		a := gaussian(sym, newRand(1))
		r := mustWeights(t, sym, a, a, WeightsOptions{})
		if notes := strings.Join(r.Notes, "; "); (want == "") != (notes == "") || !strings.Contains(notes, want) {
			t.Errorf("%s: notes %q, want %q", name, notes, want)
		}
		if !r.Alignment.Equal(sym.Identity()) {
			t.Errorf("%s: A against itself moved", name)
		}
	}
}

// Two names for equal data are two tensors; one tensor on which a group stands in two roles counts once.
func TestWeightsTiedTensors(t *testing.T) {
	sym := network{"d=8 h=6", "embed: 12 d", "head: 12 d", "w1: h d", "w2: d h"}.symmetry(t)
	a, b, want := planted(t, sym, .1, newRand(4))
	a["head"], b["head"] = a["embed"], b["embed"]
	r := mustWeights(t, sym, a, b, WeightsOptions{Restarts: 5})
	if !r.Alignment.Equal(want) || !near(r.Objective, innerProduct(t, sym, a, b, want), scaleOf(a, b)) {
		t.Errorf("objective %v, planted %v", r.Objective, innerProduct(t, sym, a, b, want))
	}
}

func TestWeightsErrors(t *testing.T) {
	sym := mlp.symmetry(t)
	with := func(p Params, name string, x *tensor.Tensor) Params {
		p = cloneParams(p)
		delete(p, name)
		if x != nil {
			p[name] = x
		}
		return p
	}
	good := gaussian(sym, newRand(1))
	spoilt := func(v float32) *tensor.Tensor {
		x := good["w2"].Clone()
		tensor.Of[float32](x)[7] = v
		return x
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	huge := tensor.New(tensor.F64, good["b1"].Shape())
	tensor.Of[float64](huge)[3] = 1e300
	bad := sym.Identity()
	bad.Perms["h1"][0] = 3
	broken := mlp.symmetry(t)
	broken.Groups[0].Size = 3
	extra := tensor.New(tensor.F32, tensor.Shape{2})
	for _, c := range []struct {
		name     string
		sym      *symmetry.Symmetry
		a, b     Params
		opt      WeightsOptions
		want     string
		mismatch bool
	}{
		{"NaN in A", sym, with(good, "w2", spoilt(nan)), good, WeightsOptions{}, `tensor "w2" of A: element 7 is NaN`, false},
		{"Inf in B", sym, good, with(good, "w2", spoilt(inf)), WeightsOptions{}, `tensor "w2" of B: element 7 is +Inf`, false},
		{"too large", sym, good, with(good, "b1", huge), WeightsOptions{}, `tensor "b1" of B: element 3 is +Inf`, false},
		{"missing in B", sym, good, with(good, "w2", nil), WeightsOptions{}, `tensor "w2" is in A only`, true},
		{"missing in A", sym, with(good, "w2", nil), good, WeightsOptions{}, `tensor "w2" is in B only`, true},
		{"missing in both", sym, with(good, "w2", nil), with(good, "w2", nil), WeightsOptions{}, `tensor "w2" of the symmetry`, true},
		{"another shape", sym, good, with(good, "w2", extra), WeightsOptions{}, `tensor "w2" has shape [9 12] in A and [2] in B`, true},
		{"another shape in both", sym, with(good, "w2", extra), with(good, "w2", extra), WeightsOptions{}, `tensor "w2" has shape [2]`, true},
		{"float against integer", sym, good, with(good, "b1", tensor.New(tensor.I32, tensor.Shape{12})), WeightsOptions{}, `tensor "b1" is F32 in A and I32 in B`, true},
		{"no start", sym, good, good, WeightsOptions{Start: "elsewhere"}, `unknown start "elsewhere"`, false},
		{"nothing given", sym, good, good, WeightsOptions{Start: StartGiven}, "none was given", false},
		{"no alignment", sym, good, good, WeightsOptions{Start: StartGiven, Init: bad}, `group "h1"`, false},
		{"no such group", sym, good, good, WeightsOptions{Only: []string{"h9"}}, `no group "h9"`, false},
		{"negative restarts", sym, good, good, WeightsOptions{Restarts: -1}, "-1 restarts", false},
		{"no tolerance", sym, good, good, WeightsOptions{Tolerance: math.NaN()}, "NaN", false},
		{"no symmetry", broken, good, good, WeightsOptions{}, "h1", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Weights(t.Context(), c.sym, c.a, c.b, c.opt)
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrMismatch) != c.mismatch {
				t.Errorf("error %v, want %q, mismatch %v", err, c.want, c.mismatch)
			}
		})
	}
	if _, err := InnerProduct(sym, good, good, bad); err == nil || !strings.Contains(err.Error(), `group "h1"`) {
		t.Errorf("InnerProduct with a broken alignment: %v", err)
	}
}

func ExampleWeights() {
	shapes := map[string]tensor.Shape{"fc1.weight": {4, 2}, "fc1.bias": {4}, "fc2.weight": {1, 4}}
	sym, err := symmetry.ParseSpec([]byte("layouts: {fc1.weight: h _, fc1.bias: h, fc2.weight: _ h}"), shapes)
	if err != nil {
		fmt.Println(err)
		return
	}
	a := Params{
		"fc1.weight": tensor.FromSlice(shapes["fc1.weight"], []float32{1, 0, 0, 1, -1, 0, 0, -1}),
		"fc1.bias":   tensor.FromSlice(shapes["fc1.bias"], []float32{.1, .2, .3, .4}),
		"fc2.weight": tensor.FromSlice(shapes["fc2.weight"], []float32{5, 6, 7, 8}),
	}
	// B is the same network with its hidden units in another order.
	b, err := sym.Apply(&symmetry.Alignment{Perms: map[string][]int32{"h": {2, 0, 3, 1}}}, a)
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := Weights(context.Background(), sym, a, b, WeightsOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Alignment.Perms["h"], r.Status, "after", r.Sweeps, "sweep")
	back, err := sym.Apply(r.Alignment, b)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("same again:", back["fc2.weight"].Equal(a["fc2.weight"]))
	// Output:
	// [1 3 0 2] converged after 1 sweep
	// same again: true
}

func BenchmarkWeights(b *testing.B) {
	sym := network{
		"h1=512 h2=512 h3=512", "w1: h1 784", "b1: h1", "w2: h2 h1", "b2: h2", "w3: h3 h2", "b3: h3", "w4: 10 h3", "b4: 10",
	}.symmetry(b)
	rng := newRand(1)
	pa, pb := gaussian(sym, rng), gaussian(sym, rng)
	b.ReportAllocs()
	for b.Loop() {
		mustWeights(b, sym, pa, pb, WeightsOptions{MaxSweeps: 10})
	}
}

// A residual stream that is held by three inputs and outputs alone: descents from B all end below the planted alignment, whatever their order, and
// the greedy one finds it. The first of varied descents is the one from B.
func TestWeightsVariedStarts(t *testing.T) {
	sym := network{"s=30 h=50 i=50", "embed: s 3", "up: h s", "down: s h", "up2: i s", "down2: s i", "head: 3 s"}.symmetry(t)
	a, b, want := planted(t, sym, 0, newRand(2))
	best, err := InnerProduct(sym, a, b, want)
	if err != nil {
		t.Fatal(err)
	}
	same := mustWeights(t, sym, a, b, WeightsOptions{Restarts: 2})
	if same.Objective > .99*best {
		t.Fatalf("from the identity alone: %v of %v; the network is too easy", same.Objective, best)
	}
	if r := mustWeights(t, sym, a, b, WeightsOptions{Start: StartVaried, Restarts: 2}); !r.Alignment.Equal(want) {
		t.Errorf("varied starts: %v of %v", r.Objective, best)
	}
	first := mustWeights(t, sym, a, b, WeightsOptions{Restarts: 1})
	if r := mustWeights(t, sym, a, b, WeightsOptions{Start: StartVaried}); !r.Alignment.Equal(first.Alignment) {
		t.Error("one descent is not the one from the identity")
	}
}
