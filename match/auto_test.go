package match

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// blended is the blend's objective by its definition, with the deviations taken at B as it is.
func blended(t *testing.T, sym *symmetry.Symmetry, a, b Params, blend *Blend, p *symmetry.Alignment) float64 {
	t.Helper()
	sum := innerProduct(t, sym, a, b, p)
	d := testDescent(t, sym, a, b)
	for name, s := range blend.Similarity {
		n := d.byName[name].Size
		weights := slices.Clone(d.similarity(d.byName[name], nil))
		var matched float64
		for i, j := range p.Perms[name] {
			matched += float64(s[i*n+int(j)])
		}
		sum += blend.Mu / (1 - blend.Mu) * sample(weights) / sample(s) * matched
	}
	return sum
}

// sample is the standard deviation.
func sample(s []float32) float64 {
	var sum, sq float64
	for _, x := range s {
		sum += float64(x)
		sq += float64(x) * float64(x)
	}
	n := float64(len(s))
	return math.Sqrt(sq/n - sum*sum/n/n)
}

func TestBlend(t *testing.T) {
	for _, net := range []network{mlp, attention, residual, square} {
		sym := net.symmetry(t)
		rng := newRand(4)
		a, b := gaussian(sym, rng), gaussian(sym, rng)
		similarity := map[string][]float32{}
		hidden := sym.Random(rng)
		for _, g := range sym.Groups {
			if len(g.Parents) > 0 {
				continue
			}
			s := make([]float32, g.Size*g.Size)
			for i := range s {
				s[i] = float32(.1 * rng.NormFloat64())
			}
			for i, j := range hidden.Perms[g.Name] {
				s[i*g.Size+int(j)] += .5
			}
			similarity[g.Name] = s
		}
		plain := mustWeights(t, sym, a, b, WeightsOptions{Threads: 1})
		none := mustWeights(t, sym, a, b, WeightsOptions{Threads: 1, Blend: &Blend{Similarity: similarity}})
		if !slices.Equal(none.Trace, plain.Trace) || !none.Alignment.Equal(plain.Alignment) {
			t.Errorf("%v: a blend of 0 gives %v, weights alone %v", net[0], none.Trace, plain.Trace)
		}
		for _, mu := range []float64{.2, .5, .8, .999} {
			for seed := range uint64(5) {
				blend := &Blend{Mu: mu, Similarity: similarity}
				r := mustWeights(t, sym, a, b, WeightsOptions{Start: StartRandom, Seed: seed, Threads: 1, Blend: blend})
				if !slices.IsSorted(r.Trace) {
					t.Errorf("%v, μ=%v: the objective fell: %v", net[0], mu, r.Trace)
				}
				// The deviations come from float32 similarities.
				if want := blended(t, sym, a, b, blend, r.Alignment); math.Abs(r.Objective-want) > 1e-5*(1+math.Abs(want)) ||
					math.Abs(r.Trace[len(r.Trace)-1]-want) > 1e-5*(1+math.Abs(want)) {
					t.Errorf("%v, μ=%v: objective %v at the end of %v, by definition %v", net[0], mu, r.Objective, r.Trace, want)
				}
				if mu != .999 {
					continue
				}
				for name := range similarity {
					if !slices.Equal(r.Alignment.Perms[name], hidden.Perms[name]) {
						t.Errorf("%v: almost activations alone, and %q is not as they say", net[0], name)
					}
				}
			}
		}
	}
}

func TestBlendErrors(t *testing.T) {
	sym := attention.symmetry(t)
	a := gaussian(sym, newRand(1))
	for _, c := range []struct {
		blend Blend
		want  string
	}{
		{Blend{Mu: 1}, "blend 1 is not in [0, 1)"},
		{Blend{Mu: -.1}, "blend -0.1 is not in"},
		{Blend{Mu: math.NaN()}, "blend NaN is not in"},
		{Blend{Mu: .5, Similarity: map[string][]float32{"h9": nil}}, `no group "h9"`},
		{Blend{Mu: .5, Similarity: map[string][]float32{"heads": make([]float32, 5)}}, `group "heads" have 5 similarities, want 16`},
	} {
		if _, err := Weights(t.Context(), sym, a, a, WeightsOptions{Blend: &c.blend}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %q", c.blend, err, c.want)
		}
	}
	// Families, and groups whose units are all alike, are left to their weights.
	blend := &Blend{Mu: .5, Similarity: map[string][]float32{"dk": make([]float32, 9), "heads": make([]float32, 16)}}
	r := mustWeights(t, sym, a, a, WeightsOptions{Blend: blend})
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], `"dk"`) || !near(r.Objective, innerProduct(t, sym, a, a, r.Alignment), scaleOf(a, a)) {
		t.Errorf("notes %q, objective %v", r.Notes, r.Objective)
	}
}

func TestAuto(t *testing.T) {
	k := newTask(t)
	opt := AutoOptions{StraightThrough: StraightThroughOptions{Steps: 20, LearningRate: .01, Threads: 1}}
	var events []Event
	opt.Observer = func(e Event) { events = append(events, e) }
	r, tried, err := Auto(t.Context(), k.sym, k.a, k.b, k, k, k, opt)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"none", "weight", "activation", "weight from activation", "blend", "ste"}
	best := 0
	for i, c := range tried {
		if i >= len(want) || c.Method != want[i] {
			t.Fatalf("candidates %+v, want %v", tried, want)
		}
		if c.Loss < tried[best].Loss {
			best = i
		}
		if r.Trace[i] != c.Loss || events[i] != (Event{Stage: "auto", Done: i + 1, Total: len(want), Objective: c.Loss}) {
			t.Errorf("candidate %d: trace %v, report %+v, loss %v", i, r.Trace, events[i], c.Loss)
		}
	}
	if len(tried) != len(want) || r.Method != want[best] || r.Objective != tried[best].Loss {
		t.Errorf("%q with loss %v won among %+v", r.Method, r.Objective, tried)
	}
	if got := k.midpoint(r.Alignment); math.Abs(got-r.Objective) > 1e-6 {
		t.Errorf("the winner has loss %v at its midpoint, the result says %v", got, r.Objective)
	}
	if got := k.midpoint(k.sym.Identity()); math.Abs(got-tried[0].Loss) > 1e-6 || best == 0 {
		t.Errorf("without alignment the loss is %v, the candidate says %v", got, tried[0].Loss)
	}
}

// Without activations or gradients their candidates are left out; without anything to score on there is no choice.
func TestAutoWithLess(t *testing.T) {
	k := newTask(t)
	for _, c := range []struct {
		src  ActivationSource
		obj  Objective
		want string
	}{
		{nil, nil, "[none weight]"},
		{nil, k, "[none weight ste]"},
		{k, nil, "[none weight activation weight from activation blend]"},
	} {
		_, tried, err := Auto(t.Context(), k.sym, k.a, k.b, c.src, c.obj, k, AutoOptions{StraightThrough: StraightThroughOptions{Steps: 2}})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, x := range tried {
			names = append(names, x.Method)
		}
		if fmt.Sprint(names) != c.want {
			t.Errorf("candidates %v, want %v", names, c.want)
		}
	}
	if _, _, err := Auto(t.Context(), k.sym, k.a, k.b, k, k, nil, AutoOptions{}); err == nil {
		t.Error("no error without held-out data")
	}
	if _, _, err := Auto(t.Context(), k.sym, k.a, k.b, nil, nil, worthless{k}, AutoOptions{}); err == nil || !strings.Contains(err.Error(), "no candidate") {
		t.Errorf("losses of infinity: %v", err)
	}
	if _, _, err := Auto(t.Context(), k.sym, k.a, k.b, nil, nil, k, AutoOptions{Weights: WeightsOptions{Start: "x"}}); err == nil || !strings.Contains(err.Error(), `candidate "weight"`) {
		t.Errorf("a candidate's error: %v", err)
	}
	broken := cloneParams(k.b)
	delete(broken, "fc1.bias")
	if _, _, err := Auto(t.Context(), k.sym, k.a, broken, nil, nil, k, AutoOptions{}); !errors.Is(err, ErrMismatch) {
		t.Errorf("a missing tensor: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Auto(ctx, k.sym, k.a, k.b, nil, nil, k, AutoOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// half is a source of one batch: what two hidden units do on four samples, in B the other way round.
type half struct{}

func (half) Batches() int { return 1 }

func (half) Each(_ context.Context, _ []string, visit func(shapes []tensor.Shape, a, b [][]float32) error) error {
	return visit([]tensor.Shape{{4, 2}}, [][]float32{{1, 9, 2, 0, 3, 5, 4, 1}}, [][]float32{{9, 1, 0, 2, 5, 3, 1, 4}})
}

func ExampleActivations() {
	shapes := map[string]tensor.Shape{"fc1.weight": {2, 3}, "fc2.weight": {1, 2}}
	sym, err := symmetry.ParseSpec([]byte("layouts: {fc1.weight: h _, fc2.weight: _ h}"), shapes)
	if err != nil {
		fmt.Println(err)
		return
	}
	sym.Sites = map[string][]symmetry.Site{"h": {{Value: "relu", Layout: symmetry.Layout{symmetry.FixedAxis(0), symmetry.GroupAxis("h", 2)}}}}
	a := Params{"fc1.weight": tensor.New(tensor.F32, shapes["fc1.weight"]), "fc2.weight": tensor.New(tensor.F32, shapes["fc2.weight"])}
	// half gives the values of the hidden layer in both networks; with a real network it would run them on data.
	r, err := Activations(context.Background(), sym, a, a, half{}, ActivationsOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%v, correlations add up to %.3f\n", r.Alignment.Perms["h"], r.Objective)
	// Output: [1 0], correlations add up to 2.000
}
