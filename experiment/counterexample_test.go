package experiment

import (
	"context"
	"errors"
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// TestCounterexample holds the exact errors to those derived by hand in the comment of Counterexample.
func TestCounterexample(t *testing.T) {
	r, err := Counterexample(t.Context(), CounterexampleOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r.EndpointErrors != [2]float64{} || r.MinBarrier != .25 || len(r.Paths) != 4 {
		t.Errorf("ends %v, least barrier %v of %d paths; want 0, 1/4, 4", r.EndpointErrors, r.MinBarrier, len(r.Paths))
	}
	quarter := func(float64) float64 { return .25 }
	for i, want := range []struct {
		swapped []string
		at      float64 // the first λ of the barrier
		error   func(r float64) float64
	}{
		{[]string{}, 1. / 64, quarter},
		{[]string{"fc2"}, 1. / 64, quarter},
		{[]string{"fc1"}, .5, func(r float64) float64 { return (1/(2*r) + r/(1+r*r)) / 4 }},
		{[]string{"fc1", "fc2"}, .5, func(r float64) float64 { return 1 / (4 * r) }},
	} {
		p := r.Paths[i]
		if !slices.Equal(p.Swapped, want.swapped) || p.Barrier != .25 || p.BarrierLambda != want.at {
			t.Errorf("swapped %v: barrier %v at %v, want %v: 1/4 at %v", p.Swapped, p.Barrier, p.BarrierLambda, want.swapped, want.at)
		}
		for k, lambda := range r.Lambda {
			ratio := max(lambda, 1-lambda) / min(lambda, 1-lambda)
			e := 0.
			if k > 0 && k < len(r.Lambda)-1 {
				e = want.error(ratio)
			}
			if math.Abs(p.Error[k]-e) > 1e-15 {
				t.Errorf("swapped %v, λ = %v: error %v (%s), by hand %v", p.Swapped, lambda, p.Error[k], p.Exact[k], e)
			}
		}
	}
	if got := r.Paths[3].Exact[16]; got != "1/12" { // r = 3
		t.Errorf("error at λ = 1/4 with both swapped: %s, want 1/12", got)
	}
}

func TestCounterexampleRegions(t *testing.T) {
	r, err := Counterexample(t.Context(), CounterexampleOptions{Steps: 2, Cells: 8})
	if err != nil {
		t.Fatal(err)
	}
	label := DecisionRegion{"11110000", "11110000", "11110000", "11110000", "00000000", "00000000", "00000000", "00000000"}
	if !reflect.DeepEqual(r.A, label) || !reflect.DeepEqual(r.B, label) {
		t.Errorf("ends predict\n%s\nand\n%s", strings.Join(r.A, "\n"), strings.Join(r.B, "\n"))
	}
	none := strings.Repeat("0", 8)
	for i, p := range r.Paths {
		for row, line := range p.Midpoint {
			want := none
			if i >= 2 { // half of the square, above x₂ = x₁
				want = strings.Repeat("1", 8-row) + strings.Repeat("0", row)
			}
			if line != want {
				t.Errorf("midpoint with %v swapped, row %d: %s, want %s", p.Swapped, row, line, want)
			}
		}
	}
}

// TestCounterexampleIsOneNetwork runs every alignment of B: all of them, A, and the label agree wherever the point is not on an axis.
func TestCounterexampleIsOneNetwork(t *testing.T) {
	net, a, b, err := counterexampleNetworks()
	if err != nil {
		t.Fatal(err)
	}
	sym, err := symmetry.Infer(net)
	if err != nil {
		t.Fatal(err)
	}
	if got := math.Pow(10, sym.Log10()); math.Abs(got-4) > 1e-9 {
		t.Errorf("%v alignments, want 4", got)
	}
	e, err := nn.New[float64](net, nn.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	const n = 1000
	rng := rand.New(rand.NewPCG(1, 2))
	x := make([]float64, 2*n)
	for i := range x {
		x[i] = 2*rng.Float64() - 1
	}
	for range 8 {
		aligned, err := sym.Apply(sym.Random(rng), b)
		if err != nil {
			t.Fatal(err)
		}
		for _, params := range []map[string]*tensor.Tensor{a, aligned} {
			if err := e.SetParams(params); err != nil {
				t.Fatal(err)
			}
			f, err := e.Forward(x, n)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range f {
				if got, label := v >= 0, x[2*i] < 0 && x[2*i+1] > 0; got != label {
					t.Fatalf("at (%v, %v): f = %v", x[2*i], x[2*i+1], v)
				}
			}
		}
	}
}

// TestExactAreas compares areas of decision regions with random points, for networks of random weights.
func TestExactAreas(t *testing.T) {
	net, a, _, err := counterexampleNetworks()
	if err != nil {
		t.Fatal(err)
	}
	const n = 20000
	rng := rand.New(rand.NewPCG(3, 4))
	e, err := nn.New[float64](net, nn.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	x := make([]float64, 2*n)
	mixed := 0
	for range 40 {
		params := map[string]*tensor.Tensor{}
		for _, name := range slices.Sorted(maps.Keys(a)) { // in order, for the numbers to be the same in every run
			w := tensor.New(tensor.F32, a[name].Shape())
			for i := range tensor.Of[float32](w) {
				tensor.Of[float32](w)[i] = float32(rng.NormFloat64())
			}
			params[name] = w
		}
		for i := range x {
			x[i] = 2*rng.Float64() - 1
		}
		if err := e.SetParams(params); err != nil {
			t.Fatal(err)
		}
		f, err := e.Forward(x, n)
		if err != nil {
			t.Fatal(err)
		}
		hits := 0
		for _, v := range f {
			if v >= 0 {
				hits++
			}
		}
		exactNet, err := newExactNetwork(params, counterexampleLayers...)
		if err != nil {
			t.Fatal(err)
		}
		sum := new(big.Rat)
		for _, polygon := range exactNet.positive(rectangle(-1, -1, 1, 1)) {
			sum.Add(sum, area(polygon))
		}
		share, _ := sum.Float64()
		share /= 4
		if sampled := float64(hits) / n; math.Abs(sampled-share) > 4*.5/math.Sqrt(n) { // four standard errors
			t.Errorf("area %v, of random points %v", share, sampled)
		}
		if share > .05 && share < .95 {
			mixed++
		}
	}
	if mixed < 5 {
		t.Errorf("only %d of the networks predict both labels", mixed)
	}
}

func TestCounterexampleOptions(t *testing.T) {
	for _, opt := range []CounterexampleOptions{{Steps: -1}, {Cells: 3}, {Cells: -2}, {Cells: 1 << 20}, {Steps: 1 << 20}} {
		if _, err := Counterexample(t.Context(), opt); err == nil {
			t.Errorf("%+v is accepted", opt)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Counterexample(ctx, CounterexampleOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
