package experiment

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/match"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

func TestSinglePass(t *testing.T) {
	r, err := SinglePass(t.Context(), SinglePassOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// By hand, with c² = 25/16: each pair's part of W₁, W₂ and W₃.
	const dead = 25. / 16
	const planted = (2 - 2*dead) + 18 + 16 + 20
	if r.Planted != planted {
		t.Errorf("the planted alignment has %v, by hand %v", r.Planted, planted)
	}
	want := []struct {
		name      string
		objective float64
		units     float64
	}{
		{MethodNone, 2*dead + 0 + 16 + 0, 0},
		// Layer 1: the first pair stays, by W₁, the last moves; layer 2 does as layer 1 did, by W₂.
		{MethodLayerByLayer, 2*dead + 18 + 16 + 2, .5},
		// Layer 1: W₂ keeps the first pair, the last moves; layer 2: both move, so that W₂ fits in the last pair alone.
		{MethodForward, 2*dead + 18 + 8 + 20, .75},
		// Layer 2: the first pair moves, W₂ keeps the last; layer 1: both move.
		{MethodBackward, 2 - 2*dead + 18 + 8 + 18, .75},
		{MethodDescent, planted, 1},
	}
	for i, m := range r.Methods {
		w := want[i]
		if m.Name != w.name || m.Objective != w.objective || m.Units != w.units || m.Exact != (w.units == 1) {
			t.Errorf("%+v, want %+v", m, w)
		}
		if m.Exact != (m.Deviation == 0) || !m.Exact && m.Deviation < .1 {
			t.Errorf("%s: midpoint deviates by %v", m.Name, m.Deviation)
		}
	}
	if len(r.Methods) != len(want) || r.Recovered != r.Descents || r.Descents != 20 {
		t.Errorf("%d methods; %d of %d descents recovered the alignment", len(r.Methods), r.Recovered, r.Descents)
	}
}

// TestSinglePassOptimum tries all 4!² alignments: the planted one is the best, and no other is as good.
func TestSinglePassOptimum(t *testing.T) {
	s, err := newSinglePass()
	if err != nil {
		t.Fatal(err)
	}
	best, count := 0., 0
	for _, p := range permutations(singlePassUnits) {
		for _, q := range permutations(singlePassUnits) {
			at := &symmetry.Alignment{Perms: map[string][]int32{"fc1": p, "fc2": q}}
			v, err := s.objective(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			if v > best {
				best, count = v, 0
			}
			if v == best {
				count++
			}
		}
	}
	planted, err := s.objective(t.Context(), s.planted)
	if err != nil || planted != best || count != 1 {
		t.Errorf("planted %v, best of all %v, %d times (%v)", planted, best, count, err)
	}
}

func permutations(n int) [][]int32 {
	if n == 0 {
		return [][]int32{nil}
	}
	var out [][]int32
	for _, p := range permutations(n - 1) {
		for at := range n {
			out = append(out, slices.Insert(slices.Clone(p), at, int32(n-1)))
		}
	}
	return out
}

// TestPlanted asks for alignments that must be found: of wide layers, without and with noise.
func TestPlanted(t *testing.T) {
	for _, noise := range []float64{0, .3} {
		cfg := zoo.Config{Arch: "mlp", Input: []int{32}, Hidden: []int{48, 48}, Classes: 10}
		opt := PlantedOptions{Config: &cfg, Noise: noise, Draws: 3, Seed: 7, Threads: 1}
		r, err := Planted(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		if r.Groups != 2 || r.Units != 96 || r.Parameters != 32*48+48+48*48+48+48*10+10 {
			t.Errorf("%d groups, %d units, %d parameters", r.Groups, r.Units, r.Parameters)
		}
		for _, w := range r.Ways {
			if w.Exact != 3 || w.Below != 0 || w.MeanUnits != 1 || math.Abs(w.MeanRatio-1) > 1e-6 {
				t.Errorf("noise %v, %s: %+v", noise, w.PlantedWay, w)
			}
		}
		opt.Threads = 2
		again, err := Planted(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		one, _ := json.Marshal(r)
		two, _ := json.Marshal(again)
		if string(one) != string(two) {
			t.Error("another number of threads, another result")
		}
	}
}

// TestPlantedLocalOptimum: in a network too small to tell its units apart by a part of their weights some draws end in local optima, which are told
// from recovered alignments.
func TestPlantedLocalOptimum(t *testing.T) {
	cfg := zoo.Config{Arch: "mlp", Input: []int{2}, Hidden: []int{10, 10, 10}, Classes: 2}
	r, err := Planted(t.Context(), PlantedOptions{Config: &cfg, Draws: 10, Threads: 1, Ways: []PlantedWay{{match.StartIdentity, 1}, {match.StartIdentity, 20}}})
	if err != nil {
		t.Fatal(err)
	}
	one, many := r.Ways[0], r.Ways[1]
	if one.Below == 0 || one.Exact+one.Below != 10 || one.MeanUnits >= 1 || one.MeanRatio >= 1 {
		t.Errorf("one descent: %d exact, %d below, %v of units, ratio %v", one.Exact, one.Below, one.MeanUnits, one.MeanRatio)
	}
	if many.MeanRatio < one.MeanRatio || many.Exact < one.Exact {
		t.Errorf("twenty descents are worse than one: %v below %v", many.MeanRatio, one.MeanRatio)
	}
	for _, d := range slices.Concat(one.Draws, many.Draws) {
		if d.Exact != (d.Units == 1) || d.Exact && math.Abs(d.Objective-d.Planted) > 1e-6*d.Planted || d.Objective > d.Planted*(1+1e-6) {
			t.Errorf("%+v", d)
		}
	}
}

// attentionGraph has heads and, inside each, two families.
func attentionGraph(t *testing.T) *graph.Graph {
	t.Helper()
	const tokens, d, heads, size = 3, 24, 3, 4
	b := graph.NewBuilder("attention")
	x := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(tokens), graph.Fixed(d))
	head := func(name string, perm ...int64) string {
		return b.Transpose(name+".t", b.Reshape(name+".r", b.MatMul(name+".m", x, b.Param(name+".weight", d, heads*size)), -1, tokens, heads, size), perm...)
	}
	p := b.Softmax("p", b.MatMul("scores", head("q", 0, 2, 1, 3), head("k", 0, 2, 3, 1)), -1)
	c := b.Reshape("c", b.Transpose("ct", b.MatMul("cm", p, head("v", 0, 2, 1, 3)), 0, 2, 1, 3), -1, tokens, heads*size)
	b.Output(b.MatMul("y", c, b.Param("o.weight", heads*size, 2)))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestPlantedFamilies(t *testing.T) {
	g := attentionGraph(t)
	r, err := Planted(t.Context(), PlantedOptions{Graph: g, Draws: 4, Threads: 1, Ways: []PlantedWay{{match.StartIdentity, 1}}})
	if err != nil {
		t.Fatal(err)
	}
	if w := r.Ways[0]; w.Exact != 4 || r.Groups != 3 || r.Units != 3+2*3*4 {
		t.Errorf("%d of 4 recovered; %d groups of %d units", w.Exact, r.Groups, r.Units)
	}
	params, err := RandomParams(g, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name := range params {
		if params[name], err = params[name].Convert(tensor.F64); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Planted(t.Context(), PlantedOptions{Graph: g, Params: params, Draws: 1, Threads: 1}); err != nil {
		t.Errorf("parameters of another precision: %v", err)
	}
}

// TestRecoveredUnits counts units of families only where their parents are in place.
func TestRecoveredUnits(t *testing.T) {
	g := attentionGraph(t)
	params, err := RandomParams(g, 1)
	if err != nil {
		t.Fatal(err)
	}
	sym, err := symmetry.Infer(g, params)
	if err != nil {
		t.Fatal(err)
	}
	answer, found := sym.Identity(), sym.Identity()
	if got := recoveredUnits(sym, answer, found); got != 1 {
		t.Errorf("all in place: %v", got)
	}
	for _, group := range sym.Groups {
		if len(group.Parents) > 0 {
			slices.Reverse(found.Perms[group.Name][:2]) // two dimensions of head 0
			break
		}
	}
	if got, want := recoveredUnits(sym, answer, found), 25./27; got != want {
		t.Errorf("two dimensions of 27 units exchanged: %v, want %v", got, want)
	}
	for _, group := range sym.Groups {
		if len(group.Parents) == 0 {
			slices.Reverse(found.Perms[group.Name][1:3]) // heads 1 and 2, and with them all of their dimensions
		}
	}
	if got, want := recoveredUnits(sym, answer, found), (1+8.-2)/27; got != want {
		t.Errorf("two heads exchanged, too: %v, want %v", got, want)
	}
}

func TestInnerProductIsTheObjective(t *testing.T) {
	cfg := zoo.Config{Arch: "resnet8", Width: .5, Classes: 10} // with running statistics, which do not count
	n, err := newPlantedNetwork(PlantedOptions{Config: &cfg})
	if err != nil {
		t.Fatal(err)
	}
	p, err := n.plant(1, .1)
	if err != nil {
		t.Fatal(err)
	}
	r, err := match.Weights(t.Context(), p.sym, p.a, p.b, match.WeightsOptions{Start: match.StartGiven, Init: p.answer, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(r.Trace[0]-p.objective) > 1e-9*p.objective {
		t.Errorf("objective %v, of the matcher %v", p.objective, r.Trace[0])
	}
}

func TestPlantedOptions(t *testing.T) {
	cfg := zoo.Config{Arch: "mlp", Input: []int{4}, Hidden: []int{4}, Classes: 2}
	g := attentionGraph(t)
	zero := match.Params{}
	for _, p := range g.Params {
		shape, _ := p.Shape.Fixed()
		zero[p.Name] = tensor.New(tensor.F32, shape)
	}
	for name, opt := range map[string]PlantedOptions{
		"nothing":        {},
		"both":           {Config: &cfg, Graph: g},
		"negative noise": {Config: &cfg, Noise: -1},
		"no noise":       {Config: &cfg, Noise: math.NaN()},
		"no draws":       {Config: &cfg, Draws: -1},
		"no restarts":    {Config: &cfg, Ways: []PlantedWay{{match.StartRandom, 0}}},
		"given start":    {Config: &cfg, Ways: []PlantedWay{{match.StartGiven, 1}}},
		"unknown start":  {Config: &cfg, Ways: []PlantedWay{{"middle", 1}}},
		"zero weights":   {Graph: g, Params: zero},
		"no such arch":   {Config: &zoo.Config{Arch: "lenet"}},
	} {
		if r, err := Planted(t.Context(), opt); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Planted(ctx, PlantedOptions{Config: &cfg}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestMatchTimes(t *testing.T) {
	networks := PaperMatchNetworks(32)
	if len(networks) != 8 || networks[6].PaperSeconds != 194 || networks[6].Config.Width != 32 || networks[7].PaperSeconds != 33 {
		t.Errorf("networks %+v", networks)
	}
	small := []MatchNetwork{
		{Name: "mlp", Config: zoo.Config{Arch: "mlp", Input: []int{16}, Hidden: []int{24, 24}, Classes: 4}},
		{Name: "resnet8", Config: zoo.Config{Arch: "resnet8", Norm: "layer", Width: .5, Classes: 10}},
	}
	r, err := MatchTimes(t.Context(), MatchTimesOptions{Networks: small, Runs: 2, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range r.Rows {
		if row.Name != small[i].Name || row.Objective <= row.Before || row.Sweeps == 0 || row.Status != string(match.Converged) {
			t.Errorf("%+v", row)
		}
		if row.Seconds <= 0 || row.Seconds < row.Similarity+row.Assignment+row.Moves || row.FLOPs <= 0 || row.FLOPs > row.FullFLOPs {
			t.Errorf("times of %+v", row)
		}
	}
	// Of the MLP: the matrices between pinned ends and hidden layers, the biases of layers, and the matrix between the layers.
	if got, want := r.Rows[0].MemoryBytes, int64(12*(16*24+24+24*24+24+24*4+4)+4*4*24*24); got != want {
		t.Errorf("memory of the MLP: %d bytes, want %d", got, want)
	}
	if _, err := MatchTimes(t.Context(), MatchTimesOptions{Runs: -1}); err == nil {
		t.Error("a negative number of runs is accepted")
	}
}
