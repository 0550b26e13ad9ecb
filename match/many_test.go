package match

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// A mean or sum of models is rounded to float32, and so are mixed tensors.
const mixedRounding = 1e-5

// manyMatchers are the matchers of more than two models.
var manyMatchers = map[string]func(context.Context, *symmetry.Symmetry, []Params, uint64) (*ManyResult, error){
	"many": func(ctx context.Context, sym *symmetry.Symmetry, m []Params, seed uint64) (*ManyResult, error) {
		return Many(ctx, sym, m, ManyOptions{Seed: seed})
	},
	"cycle": func(ctx context.Context, sym *symmetry.Symmetry, m []Params, seed uint64) (*ManyResult, error) {
		return Cycle(ctx, sym, m, FrankWolfeOptions{Seed: seed})
	},
	"pairwise": func(ctx context.Context, sym *symmetry.Symmetry, m []Params, seed uint64) (*ManyResult, error) {
		return Pairwise(ctx, sym, m, func(ctx context.Context, a, b Params) (*Result, error) {
			return Weights(ctx, sym, a, b, WeightsOptions{Seed: seed, Restarts: 4})
		}, nil)
	},
}

// crowdOf returns n permuted and disturbed copies of one network, and the alignments that put them in the order of the first.
func crowdOf(t testing.TB, sym *symmetry.Symmetry, n int, noise float64, rng *rand.Rand) (models []Params, answer []*symmetry.Alignment) {
	t.Helper()
	base := gaussian(sym, rng)
	for range n {
		hidden := sym.Random(rng)
		m := apply(t, sym, hidden, base)
		for name, d := range gaussian(sym, rng) {
			m[name] = m[name].Clone()
			for i, x := range tensor.Of[float32](d) {
				tensor.Of[float32](m[name])[i] += float32(noise) * x
			}
		}
		models, answer = append(models, m), append(answer, sym.Invert(hidden))
	}
	return models, relativeToFirst(sym, answer)
}

// pairSum is Σ_{i<j} <P_i·A_i, P_j·A_j> by its definition.
func pairSum(t testing.TB, sym *symmetry.Symmetry, models []Params, p []*symmetry.Alignment) (sum, scale float64) {
	for j := range models {
		for i := range j {
			sum += innerProduct(t, sym, apply(t, sym, p[i], models[i]), models[j], p[j])
			scale += scaleOf(models[i], models[j])
		}
	}
	return sum, scale
}

func identities(sym *symmetry.Symmetry, n int) []*symmetry.Alignment {
	out := make([]*symmetry.Alignment, n)
	for i := range out {
		out[i] = sym.Identity()
	}
	return out
}

func TestManyInvariants(t *testing.T) {
	for name, matcher := range manyMatchers {
		for _, network := range networkNames() {
			sym := allNetworks[network].symmetry(t)
			rng := newRand(3)
			models, _ := crowdOf(t, sym, 4, .5, rng)
			before := make([]Params, len(models))
			for i, m := range models {
				before[i] = cloneParams(m)
			}
			r, err := matcher(t.Context(), sym, models, 1)
			if err != nil {
				t.Fatalf("%s, %s: %v", name, network, err)
			}
			for i, p := range r.Alignments {
				if err := sym.CheckAlignment(p); err != nil {
					t.Errorf("%s, %s: model %d: %v", name, network, i, err)
				}
				for tensorName, was := range before[i] {
					if !was.Equal(models[i][tensorName]) {
						t.Errorf("%s, %s: input %q of model %d has changed", name, network, tensorName, i)
					}
				}
			}
			if !sym.IsIdentity(r.Alignments[0]) {
				t.Errorf("%s, %s: the first model moves", name, network)
			}
			want, scale := pairSum(t, sym, models, r.Alignments)
			start, _ := pairSum(t, sym, models, identities(sym, 4))
			got, err := PairObjective(sym, models, r.Alignments)
			if err != nil || !near(r.Objective, want, scale) || !near(got, want, scale) {
				t.Errorf("%s, %s: objective %v, PairObjective %v (%v), want %v", name, network, r.Objective, got, err, want)
			}
			if name != "pairwise" && r.Objective < start-rounding*scale {
				t.Errorf("%s, %s: objective %v is below that at the start, %v", name, network, r.Objective, start)
			}
			if name == "many" {
				for i := 1; i < len(r.Trace); i++ {
					if r.Trace[i] < r.Trace[i-1]-mixedRounding*scale {
						t.Errorf("%s: trace %v falls", network, r.Trace)
					}
				}
			}
			if r.Status != Converged {
				t.Errorf("%s, %s: status %q", name, network, r.Status)
			}
		}
	}
}

// What is planted under a little noise is what Frank–Wolfe finds, whatever the order of the models and of their units.
func TestCyclePlanted(t *testing.T) {
	for _, network := range []string{"mlp", "products", "concat", "residual", "square", "attention", "grouped", "queries", "nested", "lstm"} {
		sym := allNetworks[network].symmetry(t)
		for seed := range uint64(5) {
			rng := newRand(100 + seed)
			models, answer := crowdOf(t, sym, 5, .1, rng)
			r, err := Cycle(t.Context(), sym, models, FrankWolfeOptions{Seed: seed})
			if err != nil {
				t.Fatal(err)
			}
			for i := range answer {
				if !r.Alignments[i].Equal(answer[i]) {
					t.Errorf("%s, seed %d: model %d is not aligned with the first as planted", network, seed, i)
				}
			}
			order, moves := rng.Perm(len(models)), make([]*symmetry.Alignment, len(models))
			var shuffledModels []Params
			for k, i := range order {
				moves[k] = sym.Random(rng)
				shuffledModels = append(shuffledModels, apply(t, sym, moves[k], models[i]))
			}
			s, err := Cycle(t.Context(), sym, shuffledModels, FrankWolfeOptions{Seed: seed + 50})
			if err != nil {
				t.Fatal(err)
			}
			var want []*symmetry.Alignment
			for k, i := range order { // back to the order in which it was, and from there to the first model's
				want = append(want, sym.Compose(sym.Invert(moves[k]), answer[i]))
			}
			want = relativeToFirst(sym, want)
			for k := range want {
				if !s.Alignments[k].Equal(want[k]) {
					t.Errorf("%s, seed %d: with models and units in another order, the alignment of model %d is another", network, seed, order[k])
				}
			}
		}
	}
}

// Of three copies of one network every matcher makes one network, where weight matching does not get stuck.
func TestManyPlantedExactly(t *testing.T) {
	for name, matcher := range manyMatchers {
		sym := attention.symmetry(t)
		models, _ := crowdOf(t, sym, 3, 0, newRand(7))
		r, err := matcher(t.Context(), sym, models, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range r.Alignments {
			for tensorName, got := range apply(t, sym, p, models[i]) {
				if !got.Equal(models[0][tensorName]) {
					t.Errorf("%s: tensor %q of model %d is not that of the first", name, tensorName, i)
				}
			}
		}
	}
}

// The gradient is the slope of the objective on the way to the vertices, the polynomial of the line search its value all along, and a step arrives there.
func TestRelaxationGradientAndLineSearch(t *testing.T) {
	for _, network := range networkNames() {
		for _, anchored := range []bool{false, true} {
			sym := allNetworks[network].symmetry(t)
			models, _ := crowdOf(t, sym, 3, 1, newRand(11))
			c, err := newCrowd(sym, models, nil, 2)
			if err != nil {
				t.Fatal(err)
			}
			plain, _ := relaxable(sym)
			x := newRelaxation(c, plain, anchored)
			opt := FrankWolfeOptions{Noise: .5}
			x.begin(opt, 0)
			for range 3 {
				f, err := x.gradient(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := x.oracle(t.Context()); err != nil {
					t.Fatal(err)
				}
				var slope float64
				for i := range x.matrices {
					for g := range x.matrices[i] {
						m := &x.matrices[i][g]
						slope -= kernel.Dot(m.grad, m.x)
						for i, j := range m.vertex {
							slope += float64(m.grad[i*m.n+int(j)])
						}
					}
				}
				if slope < -mixedRounding*x.norm {
					t.Errorf("%s: the oracle's way goes down: %v", network, slope)
				}
				var p stepPolynomial
				for _, b := range x.blocks {
					x.addNodes(&p, b)
				}
				const h = 1e-4
				if numeric := (p.at(h) - p.at(-h)) / (2 * h); math.Abs(numeric-slope) > mixedRounding*x.norm {
					t.Errorf("%s: slope %v by the gradient, %v by the polynomial", network, slope, numeric)
				}
				if math.Abs(p.at(0)-f) > mixedRounding*x.norm {
					t.Errorf("%s: the polynomial begins at %v, the objective is %v", network, p.at(0), f)
				}
				x.step(.3)
				after, err := x.gradient(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if math.Abs(after-p.at(.3)) > mixedRounding*x.norm {
					t.Errorf("%s: objective %v after a step, the polynomial says %v", network, after, p.at(.3))
				}
				for _, m := range slices.Concat(x.matrices...) {
					for i := range m.n {
						var row, column float64
						for j := range m.n {
							row, column = row+float64(m.x[i*m.n+j]), column+float64(m.x[j*m.n+i])
						}
						if math.Abs(row-1) > mixedRounding || math.Abs(column-1) > mixedRounding {
							t.Fatalf("%s: row and column %d sum to %v and %v", network, i, row, column)
						}
					}
				}
			}
			c.close()
		}
	}
}

func TestStepPolynomialMaximum(t *testing.T) {
	var f stepPolynomial
	f.add(1, 0, 0, 0)  // f(0) = 0
	f.add(1, 1, 1, -4) // f(1) = -4
	f.add(1, 0, 1, 1.5)
	f.add(1, 1, 0, 1.5) // f(t) = 3t(1-t) - 4t² = 3t - 7t², at most at 3/14
	if at, gain := f.maximum(); math.Abs(at-3./14) > 1e-6 || math.Abs(gain-9./28) > 1e-9 {
		t.Errorf("maximum at %v, gain %v", at, gain)
	}
	var up stepPolynomial
	up.add(1, 1, 1, 2)
	if at, gain := up.maximum(); at != 1 || gain != 2 {
		t.Errorf("of 2t²: maximum at %v, gain %v, want the end to the bit", at, gain)
	}
	var down stepPolynomial
	down.add(1, 1, 1, -2)
	if at, gain := down.maximum(); at > 1e-6 || gain != 0 {
		t.Errorf("of -2t²: maximum at %v, gain %v", at, gain)
	}
	var cubic stepPolynomial // a block of degree 2 with products (ℓ_0+2ℓ_1)·ℓ_2
	cubic.add(2, 0, 2, 1)
	cubic.add(2, 1, 2, 2)
	best, value := 0., 0.
	for k := range 100001 {
		if v := cubic.at(float64(k) / 100000); v > value {
			best, value = float64(k)/100000, v
		}
	}
	if at, gain := cubic.maximum(); math.Abs(at-best) > 1e-4 || math.Abs(gain-value) > 1e-8 {
		t.Errorf("maximum at %v, gain %v; a fine grid says %v, %v", at, gain, best, value)
	}
}

func TestFrankWolfePair(t *testing.T) {
	for _, network := range networkNames() {
		sym := allNetworks[network].symmetry(t)
		for seed := range uint64(3) {
			rng := newRand(seed)
			a, b, answer := planted(t, sym, .3, rng)
			start := sym.Random(rng)
			r, err := FrankWolfe(t.Context(), sym, a, b, FrankWolfeOptions{Init: []*symmetry.Alignment{start}, Seed: seed})
			if err != nil {
				t.Fatal(err)
			}
			scale := scaleOf(a, b)
			if got := innerProduct(t, sym, a, b, r.Alignment); !near(got, r.Objective, scale) || got < innerProduct(t, sym, a, b, start)-rounding*scale {
				t.Errorf("%s: objective %v, by definition %v, at the start %v", network, r.Objective, got, innerProduct(t, sym, a, b, start))
			}
			if r.Method != frankWolfeName || r.Status != Converged || r.Trace[len(r.Trace)-1] != r.Objective {
				t.Errorf("%s: %q ended with %q, trace %v, objective %v", network, r.Method, r.Status, r.Trace, r.Objective)
			}
			for i := 1; i < len(r.Trace)-1; i++ {
				if r.Trace[i] < r.Trace[i-1]-mixedRounding*scale {
					t.Errorf("%s: the relaxed objective falls: %v", network, r.Trace)
				}
			}
			again, err := FrankWolfe(t.Context(), sym, a, b, FrankWolfeOptions{Init: []*symmetry.Alignment{answer}})
			if err != nil {
				t.Fatal(err)
			}
			if want := innerProduct(t, sym, a, b, answer); again.Objective < want-rounding*scale {
				t.Errorf("%s: from the planted alignment %v comes %v", network, want, again.Objective)
			}
		}
	}
}

func TestFrankWolfeSmallIsBest(t *testing.T) {
	tiny := network{"h1=3 h2=4", "w1: h1 5", "w2: h2 h1", "w3: 2 h2"}
	sym := tiny.symmetry(t)
	for seed := range uint64(10) {
		a, b, _ := planted(t, sym, .5, newRand(seed))
		r, err := FrankWolfe(t.Context(), sym, a, b, FrankWolfeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if best := bruteForce(t, sym, a, b); r.Objective < best-rounding*scaleOf(a, b) {
			t.Errorf("seed %d: objective %v, the best alignment has %v", seed, r.Objective, best)
		}
	}
}

func TestManyFamiliesAreNoted(t *testing.T) {
	sym := experts.symmetry(t)
	models, _ := crowdOf(t, sym, 3, .1, newRand(1))
	r, err := Cycle(t.Context(), sym, models, FrankWolfeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "coordinate descent") && strings.Contains(n, "f, e") }) {
		t.Errorf("notes %q do not say that f and e are left to coordinate descent", r.Notes)
	}
}

func TestManyThreads(t *testing.T) {
	sym := network{"c=40 h=70", "conv: c 3 3 3", "fc: h (c 4 4)", "mix: h h", "out: 5 h"}.symmetry(t)
	models, _ := crowdOf(t, sym, 3, .7, newRand(5))
	for name, run := range map[string]func(threads int) (*ManyResult, error){
		"many": func(n int) (*ManyResult, error) { return Many(t.Context(), sym, models, ManyOptions{Threads: n}) },
		"cycle": func(n int) (*ManyResult, error) {
			return Cycle(t.Context(), sym, models, FrankWolfeOptions{Threads: n, MaxSteps: 20})
		},
	} {
		one, err := run(1)
		if err != nil {
			t.Fatal(err)
		}
		three, err := run(3)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(one.Trace, three.Trace) || !slices.EqualFunc(one.Alignments, three.Alignments, (*symmetry.Alignment).Equal) {
			t.Errorf("%s: another result with another number of threads", name)
		}
	}
}

// A tree of pairs: the mean of the aligned models is what pairwise merging makes.
func TestPairwiseIsATree(t *testing.T) {
	sym := mlp.symmetry(t)
	models, _ := crowdOf(t, sym, 5, .5, newRand(9))
	pair := func(ctx context.Context, a, b Params) (*Result, error) {
		return Weights(ctx, sym, a, b, WeightsOptions{})
	}
	r, err := Pairwise(t.Context(), sym, models, pair, nil)
	if err != nil {
		t.Fatal(err)
	}
	merge := func(a, b Params, lambda float64) Params {
		m, err := meanOf(a, apply(t, sym, mustWeights(t, sym, a, b, WeightsOptions{}).Alignment, b), lambda)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	want := merge(merge(merge(models[0], models[1], .5), merge(models[2], models[3], .5), .5), models[4], .2)
	for name := range want {
		for k, x := range tensor.Of[float32](want[name]) {
			var mean float64
			for i, p := range r.Alignments {
				mean += float64(tensor.Of[float32](apply(t, sym, p, models[i])[name])[k]) / 5
			}
			if math.Abs(mean-float64(x)) > mixedRounding {
				t.Fatalf("%s[%d] is %v in the mean of the aligned models, %v in the tree", name, k, mean, x)
			}
		}
	}
	if r.Sweeps != 4 || len(r.Trace) != 4 {
		t.Errorf("%d pairs, trace %v; five models are joined in 4", r.Sweeps, r.Trace)
	}
}

func TestManyBadInput(t *testing.T) {
	sym := mlp.symmetry(t)
	models, _ := crowdOf(t, sym, 3, .1, newRand(2))
	short := sym.Identity()
	short.Perms["h1"] = short.Perms["h1"][:3]
	other := cloneParams(models[1])
	other["w1"] = tensor.New(tensor.F32, tensor.Shape{12, 8})
	nan := cloneParams(models[2])
	tensor.Of[float32](nan["w2"])[5] = float32(math.NaN())
	for want, run := range map[string]func() error{
		"at least two": func() error { _, err := Many(t.Context(), sym, models[:1], ManyOptions{}); return err },
		"models 1 and 2": func() error {
			_, err := Many(t.Context(), sym, []Params{models[0], other, models[2]}, ManyOptions{})
			return err
		},
		"model 3: element 5": func() error {
			_, err := Cycle(t.Context(), sym, []Params{models[0], models[1], nan}, FrankWolfeOptions{})
			return err
		},
		"2 alignments": func() error {
			_, err := Many(t.Context(), sym, models, ManyOptions{Init: identities(sym, 2)})
			return err
		},
		"begin at, want 3": func() error {
			_, err := Cycle(t.Context(), sym, models, FrankWolfeOptions{Init: identities(sym, 2)})
			return err
		},
		"the start of model 2": func() error {
			_, err := Many(t.Context(), sym, models, ManyOptions{Init: []*symmetry.Alignment{sym.Identity(), short, sym.Identity()}})
			return err
		},
		"no alignment for model 2": func() error {
			_, err := Many(t.Context(), sym, models, ManyOptions{Init: []*symmetry.Alignment{sym.Identity(), nil, sym.Identity()}})
			return err
		},
		"begin at is missing": func() error {
			_, err := FrankWolfe(t.Context(), sym, models[0], models[1], FrankWolfeOptions{Init: []*symmetry.Alignment{nil}})
			return err
		},
		"noise NaN": func() error {
			_, err := Cycle(t.Context(), sym, models, FrankWolfeOptions{Noise: math.NaN()})
			return err
		},
		"-1 restarts": func() error {
			_, err := Cycle(t.Context(), sym, models, FrankWolfeOptions{Restarts: -1})
			return err
		},
		"-2 sweeps": func() error { _, err := Many(t.Context(), sym, models, ManyOptions{MaxSweeps: -2}); return err },
		"aligning model 2 with model 1": func() error {
			_, err := Pairwise(t.Context(), sym, models, func(context.Context, Params, Params) (*Result, error) {
				return nil, errors.New("no")
			}, nil)
			return err
		},
	} {
		if err := run(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

func TestManyIsCancelled(t *testing.T) {
	sym := mlp.symmetry(t)
	models, _ := crowdOf(t, sym, 3, .1, newRand(2))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, matcher := range manyMatchers {
		if _, err := matcher(ctx, sym, models, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
