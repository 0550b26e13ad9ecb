package match

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// recording is an ActivationSource of values that are kept in memory: per site those of A and of B, of shape [samples, rest...].
type recording struct {
	samples, batch int
	sites          map[string]values
	fail           error
}

type values struct {
	rest []int
	a, b []float32
}

func (r *recording) Batches() int { return (r.samples + r.batch - 1) / r.batch }

func (r *recording) Each(ctx context.Context, sites []string, visit func(shapes []tensor.Shape, a, b [][]float32) error) error {
	for start := 0; start < r.samples; start += r.batch {
		count := min(r.batch, r.samples-start)
		var shapes []tensor.Shape
		var a, b [][]float32
		for _, name := range sites {
			v, ok := r.sites[name]
			if !ok {
				return fmt.Errorf("no site %q", name)
			}
			each := 1
			for _, n := range v.rest {
				each *= n
			}
			shapes = append(shapes, append(tensor.Shape{count}, v.rest...))
			a, b = append(a, v.a[start*each:(start+count)*each]), append(b, v.b[start*each:min((start+count)*each, len(v.b))])
		}
		if err := visit(shapes, a, b); err != nil {
			return err
		}
	}
	return r.fail
}

// observe adds a site to the symmetry: its value's layout, whose first axis is the batch, for the groups named.
func observe(t testing.TB, sym *symmetry.Symmetry, value, text string, groups ...string) symmetry.Layout {
	t.Helper()
	layout, _, err := symmetry.ParseLayout(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, axis := range layout {
		for _, seg := range axis {
			for i := range seg {
				if g, ok := sym.Group(seg[i].Name); ok {
					seg[i].Size = g.Size
				}
			}
		}
	}
	if sym.Sites == nil {
		sym.Sites = map[string][]symmetry.Site{}
	}
	for _, g := range groups {
		sym.Sites[g] = append(sym.Sites[g], symmetry.Site{Value: value, Layout: layout})
	}
	return layout
}

// record draws values of the layout for A and gives B the same in the hidden order, with noise.
func record(t testing.TB, layout symmetry.Layout, sym *symmetry.Symmetry, hidden *symmetry.Alignment, samples int, noise float64, rng *rand.Rand) values {
	t.Helper()
	l := append(symmetry.Layout{symmetry.FixedAxis(samples)}, layout[1:]...)
	one := &symmetry.Symmetry{Groups: sym.Groups, Fixed: sym.Fixed, Layouts: map[string]symmetry.Layout{"v": l}, Shapes: map[string]tensor.Shape{"v": l.Shape()}}
	a := gaussian(one, rng)
	b := gaussian(one, rng)
	moved, err := one.Apply(hidden, a)
	if err != nil {
		t.Fatal(err)
	}
	v := values{rest: l.Shape()[1:], a: tensor.Of[float32](a["v"]), b: tensor.Of[float32](b["v"])}
	for i, x := range tensor.Of[float32](moved["v"]) {
		v.b[i] = x + float32(noise)*v.b[i]
	}
	return v
}

// observedNetworks have sites for all of their groups.
var observedNetworks = map[string]struct {
	net   network
	sites []string // "value: layout: groups"
}{
	"mlp":           {network{"h1=9 h2=7", "w1: h1 3", "w2: h2 h1", "w3: 2 h2"}, []string{"z1: _ h1: h1", "z2: _ h2: h2"}},
	"positions":     {network{"c=8", "conv: c 3 2 2", "out: 4 c"}, []string{"z: _ c 3 5: c"}},
	"channels last": {network{"c=8", "conv: c 3 2 2", "out: 4 c"}, []string{"z: _ 3 5 c: c"}},
	"several sites": {network{"r=8", "in: r 5", "out: 4 r"}, []string{"z1: _ r: r", "z2: _ r: r", "z3: _ 2 r: r"}},
	"concatenation": {network{"a=5 b=6", "wa: a 4", "wb: b 6"}, []string{"cat: _ (a + b + 2): a b"}},
	"flattened":     {network{"c=6", "conv: c 3 2 2", "fc: 4 (c 3 3)"}, []string{"flat: _ (c 3 3): c"}},
	"twice":         {network{"c=6", "w: c 3", "fc: 4 (c + c)"}, []string{"cat: _ (c + c): c"}},
	"heads": {
		network{"heads=4 dk=3 dv=2", "q: (heads dk[heads]) 6", "v: (heads dv[heads]) 6"},
		[]string{"q: _ 5 (heads dk[heads]): heads dk", "v: _ heads 5 dv[heads]: heads dv", "scores: _ heads 5 5: heads"},
	},
}

func observed(t testing.TB, name string, seed uint64, noise float64) (*symmetry.Symmetry, *recording, *symmetry.Alignment) {
	t.Helper()
	n := observedNetworks[name]
	sym := n.net.symmetry(t)
	rng := newRand(seed)
	hidden := sym.Random(rng)
	src := &recording{samples: 60, batch: 60, sites: map[string]values{}}
	for _, line := range n.sites {
		parts := strings.Split(line, ": ")
		layout := observe(t, sym, parts[0], parts[1], strings.Fields(parts[2])...)
		src.sites[parts[0]] = record(t, layout, sym, hidden, src.samples, noise, rng)
	}
	return sym, src, sym.Invert(hidden)
}

func mustActivations(t testing.TB, sym *symmetry.Symmetry, src ActivationSource, opt ActivationsOptions) *Result {
	t.Helper()
	p := gaussian(sym, newRand(99)) // the weights are not asked
	r, err := Activations(t.Context(), sym, p, p, src, opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestActivationsRecoverPlantedAlignments(t *testing.T) {
	for name := range observedNetworks {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(4) {
				sym, src, want := observed(t, name, seed, .3)
				for _, raw := range []bool{false, true} {
					r := mustActivations(t, sym, src, ActivationsOptions{Raw: raw})
					if !r.Alignment.Equal(want) || r.Status != Solved || len(r.Notes) > 0 {
						t.Errorf("seed %d, raw %v: %q, notes %q, objective %v", seed, raw, r.Status, r.Notes, r.Objective)
					}
					if !slices.Equal(r.Trace, []float64{r.Objective}) {
						t.Errorf("trace %v, objective %v", r.Trace, r.Objective)
					}
				}
			}
		})
	}
}

// Cutting the data into batches, with a remainder, moves sums by no more than rounding, and threads by nothing.
func TestActivationsBatchesAndThreads(t *testing.T) {
	for name := range observedNetworks {
		sym, src, _ := observed(t, name, 1, 1.5)
		one := mustActivations(t, sym, src, ActivationsOptions{Threads: 1})
		for _, batch := range []int{1, 7, 59} {
			src.batch = batch
			r := mustActivations(t, sym, src, ActivationsOptions{Threads: 1})
			if math.Abs(r.Objective-one.Objective) > 1e-4 {
				t.Errorf("%s: objective %v in batches of %d, %v at once", name, r.Objective, batch, one.Objective)
			}
			for threads := 2; threads <= 3; threads++ {
				if other := mustActivations(t, sym, src, ActivationsOptions{Threads: threads}); other.Objective != r.Objective || !other.Alignment.Equal(r.Alignment) {
					t.Errorf("%s: objective %v with %d threads, %v with one", name, other.Objective, threads, r.Objective)
				}
			}
		}
	}
}

// similarities of one group of n units at a site of [samples, n].
func similarities(t *testing.T, n, samples, batch int, raw bool, value func(sample, unit int) (a, b float32)) []float32 {
	t.Helper()
	sym := network{fmt.Sprintf("h=%d", n), "w: h 2"}.symmetry(t)
	observe(t, sym, "z", "_ h", "h")
	v := values{rest: []int{n}}
	for s := range samples {
		for i := range n {
			a, b := value(s, i)
			v.a, v.b = append(v.a, a), append(v.b, b)
		}
	}
	got, err := ActivationSimilarity(t.Context(), sym, &recording{samples: samples, batch: batch, sites: map[string]values{"z": v}}, ActivationsOptions{Raw: raw})
	if err != nil {
		t.Fatal(err)
	}
	return got["h"]
}

// The similarities are what their definitions say, in float64: correlations, or mean products with Raw.
func TestActivationSimilarityByDefinition(t *testing.T) {
	const n, samples = 5, 83
	rng := newRand(4)
	a, b := make([]float32, n*samples), make([]float32, n*samples)
	for i := range a {
		a[i], b[i] = float32(rng.NormFloat64()+1), float32(rng.NormFloat64()-2)
	}
	value := func(s, i int) (float32, float32) { return a[s*n+i], b[s*n+i] }
	for _, raw := range []bool{false, true} {
		got := similarities(t, n, samples, 10, raw, value)
		for i := range n {
			for j := range n {
				want := meanProduct(samples, func(s int) (float64, float64) { return float64(a[s*n+i]), float64(b[s*n+j]) }, raw)
				if math.Abs(float64(got[i*n+j])-want) > 1e-5 {
					t.Errorf("raw %v: similarity of %d and %d is %v, want %v", raw, i, j, got[i*n+j], want)
				}
			}
		}
	}
}

// meanProduct is E[xy], or the correlation of x and y.
func meanProduct(samples int, at func(s int) (x, y float64), raw bool) float64 {
	mean := func(f func(x, y float64) float64) float64 {
		var sum float64
		for s := range samples {
			sum += f(at(s))
		}
		return sum / float64(samples)
	}
	xy := mean(func(x, y float64) float64 { return x * y })
	if raw {
		return xy
	}
	mx, my := mean(func(x, _ float64) float64 { return x }), mean(func(_, y float64) float64 { return y })
	vx, vy := mean(func(x, _ float64) float64 { return (x - mx) * (x - mx) }), mean(func(_, y float64) float64 { return (y - my) * (y - my) })
	return (xy - mx*my) / math.Sqrt(vx*vy)
}

// Deviations a hundred thousand times smaller than the mean are still told apart.
func TestActivationsLargeMeans(t *testing.T) {
	const n, samples = 4, 400
	rng := newRand(7)
	signal := make([]float64, n*samples)
	for i := range signal {
		signal[i] = rng.NormFloat64()
	}
	for _, mean := range []float64{0, 1e3, 1e5} {
		got := similarities(t, n, samples, 32, false, func(s, i int) (float32, float32) {
			return float32(mean + signal[s*n+i]), float32(-3*mean + 5*signal[s*n+(i+1)%n])
		})
		for i := range n {
			for j := range n {
				want := meanProduct(samples, func(s int) (float64, float64) { return signal[s*n+i], signal[s*n+(j+1)%n] }, false)
				if math.Abs(float64(got[i*n+j])-want) > 3e-3 {
					t.Errorf("mean %v: correlation of %d and %d is %v, want %v", mean, i, j, got[i*n+j], want)
				}
			}
		}
	}
}

// Units that do not vary, whatever they are stuck at, or by no more than rounding, are like nothing; the others find each other.
func TestActivationsDeadUnits(t *testing.T) {
	const n, samples = 6, 50
	rng := newRand(7)
	signal := make([]float32, n*samples)
	for i := range signal {
		signal[i] = float32(rng.NormFloat64())
	}
	dead := map[int]func(s int) float32{
		1: func(int) float32 { return 0 },
		3: func(int) float32 { return 1e4 / 3 },
		4: func(s int) float32 { return math.Nextafter32(.1, float32(s%2)) }, // two neighbouring numbers
	}
	value := func(s, i int) (float32, float32) {
		if f := dead[i]; f != nil {
			return f(s), f(s)
		}
		return signal[s*n+i], signal[s*n+i]
	}
	for _, batch := range []int{samples, 7} {
		for at, x := range similarities(t, n, samples, batch, false, value) {
			i, j := at/n, at%n
			switch {
			case dead[i] != nil || dead[j] != nil:
				if x != 0 {
					t.Errorf("similarity of %d and %d is %v", i, j, x)
				}
			case i == j && math.Abs(float64(x)-1) > 1e-5, i != j && math.Abs(float64(x)) > .5:
				t.Errorf("similarity of %d and %d is %v", i, j, x)
			}
		}
	}
}

// What no site shows is matched by its weights, the rest in place, and that is said.
func TestActivationsFallBackOnWeights(t *testing.T) {
	sym := network{
		"h1=6 h2=5 heads=3 dk=2", "w1: h1 3", "w2: h2 h1", "w3: 4 h2", "q: (heads dk[heads]) 4", "k: (heads dk[heads]) 4",
	}.symmetry(t)
	rng := newRand(3)
	a, b, want := planted(t, sym, .1, rng)
	hidden := sym.Invert(want)
	src := &recording{samples: 50, batch: 20, sites: map[string]values{}}
	src.sites["z1"] = record(t, observe(t, sym, "z1", "_ h1", "h1"), sym, hidden, 50, .1, rng)
	// The positions of another group are no samples: they are not the same in both networks.
	src.sites["outer"] = record(t, observe(t, sym, "outer", "_ h2 h1", "h2"), sym, hidden, 50, .1, rng)
	src.sites["s"] = record(t, observe(t, sym, "s", "_ heads 3", "heads"), sym, hidden, 50, .1, rng)
	r, err := Activations(t.Context(), sym, a, b, src, ActivationsOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Alignment.Equal(want) {
		t.Error("not the planted alignment")
	}
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "[h2 dk]") {
		t.Errorf("notes %q", r.Notes)
	}
	if r.Status != Converged || r.Sweeps == 0 {
		t.Errorf("%q after %d sweeps", r.Status, r.Sweeps)
	}
	// Nothing at all can be observed: there is nothing to ask the source for.
	sym.Sites = nil
	if r, err := Activations(t.Context(), sym, a, b, nil, ActivationsOptions{}); err != nil || len(r.Notes) != 1 {
		t.Errorf("without sites: %v, %v", r, err)
	}
}

func TestActivationsProgress(t *testing.T) {
	sym, src, _ := observed(t, "mlp", 1, 0)
	src.batch = 25
	var events []Event
	mustActivations(t, sym, src, ActivationsOptions{Observer: func(e Event) { events = append(events, e) }})
	want := []Event{
		{Stage: "activation matching", Done: 1, Total: 3},
		{Stage: "activation matching", Done: 2, Total: 3},
		{Stage: "activation matching", Done: 3, Total: 3},
	}
	if !slices.Equal(events, want) {
		t.Errorf("%+v", events)
	}
}

func TestActivationsErrors(t *testing.T) {
	spoil := func(at int, v float32) func(*recording, *symmetry.Symmetry) {
		return func(r *recording, _ *symmetry.Symmetry) { r.sites["z1"].b[at] = v }
	}
	for name, c := range map[string]struct {
		change func(*recording, *symmetry.Symmetry)
		want   string
	}{
		"no data":        {func(r *recording, _ *symmetry.Symmetry) { r.samples = 0 }, "no data"},
		"NaN":            {spoil(30*9+4, float32(math.NaN())), `site "z1": the values of unit 4 of B are not finite`},
		"Inf":            {spoil(2, float32(math.Inf(-1))), `site "z1": the values of unit 2 of B are not finite`},
		"another rank":   {func(r *recording, _ *symmetry.Symmetry) { v := r.sites["z1"]; v.rest = []int{3, 3}; r.sites["z1"] = v }, `site "z1" has rank 3, its layout 2 axes`},
		"another extent": {func(r *recording, _ *symmetry.Symmetry) { r.sites["z1"], r.sites["z2"] = r.sites["z2"], r.sites["z1"] }, `axis 1 of site "z1" has extent 7, its layout 9`},
		"too few values": {func(r *recording, _ *symmetry.Symmetry) { v := r.sites["z2"]; v.b = v.b[:7]; r.sites["z2"] = v }, `site "z2": 7 values, shape [60 7]`},
		"source's own":   {func(r *recording, _ *symmetry.Symmetry) { r.fail = errors.New("disk on fire") }, "disk on fire"},
		"not the network": {func(_ *recording, s *symmetry.Symmetry) {
			s.Shapes["w1"] = tensor.Shape{9, 4}
			s.Layouts["w1"][1] = symmetry.FixedAxis(4)
		}, `tensor "w1" has shape [9 3]`},
	} {
		t.Run(name, func(t *testing.T) {
			sym, src, _ := observed(t, "mlp", 1, 0)
			p := gaussian(sym, newRand(1))
			c.change(src, sym)
			_, err := Activations(t.Context(), sym, p, p, src, ActivationsOptions{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	sym, src, _ := observed(t, "mlp", 1, 0)
	p := gaussian(sym, newRand(1))
	if _, err := Activations(t.Context(), sym, p, p, nil, ActivationsOptions{}); !errors.Is(err, errNoData) {
		t.Errorf("without a source: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	src.batch = 10
	done := 0
	_, err := Activations(ctx, sym, p, p, src, ActivationsOptions{Observer: func(e Event) { done = e.Done; cancel() }})
	if !errors.Is(err, context.Canceled) || done != 1 {
		t.Errorf("cancelled: %v after %d batches", err, done)
	}
}
