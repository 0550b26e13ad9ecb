package experiment

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/match"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

// PlantedOptions are the options of [Planted]. The network is Config, or Graph with or without Params or Init.
type PlantedOptions struct {
	// Config is an architecture of the zoo; every draw initialises it anew.
	Config *zoo.Config
	// Graph is any network. With Params, its own, all draws take those; without, every draw takes what Init draws, [RandomParams] where it is nil.
	Graph  *graph.Graph
	Params match.Params
	Init   func(g *graph.Graph, seed uint64) (map[string]*tensor.Tensor, error)
	// Noise is the deviation of what is added to B, relative to the root mean square of each tensor.
	Noise float64
	// Draws is the number of planted alignments. 0 means 20.
	Draws int
	// Ways are the ways to look for them. Nil means one descent from the identity, five, one and five from random starts, and one greedy pass with
	// its descent.
	Ways []PlantedWay
	// Seed of the first draw; the next has the next.
	Seed    uint64
	Threads int
	// Progress hears of every draw.
	Progress Progress
}

// PlantedWay is a start of weight matching and a number of restarts.
type PlantedWay struct {
	// Start is match.StartIdentity (""), match.StartVaried, match.StartRandom or match.StartGreedy.
	Start    match.Start `json:"start"`
	Restarts int         `json:"restarts"`
}

func (w PlantedWay) String() string {
	start := string(w.Start)
	if w.Start == match.StartIdentity {
		start = "identity"
	}
	return start + " x" + strconv.Itoa(w.Restarts)
}

// PlantedResult is how often planted alignments were found.
type PlantedResult struct {
	Groups     int     `json:"groups"`
	Units      int     `json:"units"` // of all groups and families, each index of their parents counted
	Parameters int     `json:"parameters"`
	Log10      float64 `json:"log10_symmetries"`
	Noise      float64 `json:"noise"`
	Seed       uint64  `json:"seed"`
	// Ways are in the order of PlantedOptions.Ways.
	Ways []PlantedSummary `json:"ways"`
}

// PlantedSummary is all draws of one way.
type PlantedSummary struct {
	PlantedWay
	Draws []PlantedDraw `json:"draws"`
	// Exact counts the draws of which every unit came to its place, Below those whose objective stayed below the planted one by more than rounding: a
	// local optimum.
	Exact int `json:"exact"`
	Below int `json:"below"`
	// MeanUnits is the share of units in place, and MeanRatio the objective found over the planted one, both averaged over the draws.
	MeanUnits float64 `json:"mean_units"`
	MeanRatio float64 `json:"mean_ratio"`
	// MeanSweeps are those of the best restart.
	MeanSweeps float64 `json:"mean_sweeps"`
}

// PlantedDraw is one planted alignment and what was found.
type PlantedDraw struct {
	Seed uint64 `json:"seed"`
	// Units is the share of units in their place, Exact whether all are.
	Units float64 `json:"units"`
	Exact bool    `json:"exact"`
	// Objective is <A, P·B> of the alignment found, Planted of the one planted.
	Objective float64 `json:"objective"`
	Planted   float64 `json:"planted"`
	Sweeps    int     `json:"sweeps"`
	Status    string  `json:"status"`
	// FLOPs are the operations done for similarities, all restarts together. Seconds are those of the matching; they alone differ from run to run,
	// and are no part of the record.
	FLOPs   float64 `json:"flops"`
	Seconds float64 `json:"-"`
}

// defaultPlantedWays are those of PlantedOptions.Ways.
var defaultPlantedWays = []PlantedWay{
	{match.StartIdentity, 1}, {match.StartIdentity, 5}, {match.StartRandom, 1}, {match.StartRandom, 5}, {match.StartGreedy, 1},
}

// plantedRounding is the relative difference of objectives that counts as none: they are sums of float32 products.
const plantedRounding = 1e-6

// Planted hides a random alignment and asks weight matching to find it: B is P·A, with noise, and the answer is the inverse of P (Ainsworth, Hayase,
// Srinivasa, "Git Re-Basin", ICLR 2023, arXiv:2209.04836, appendix A.5). Without noise the planted alignment has the highest objective there is,
// ‖A‖² by Cauchy and Schwarz, so that whatever falls short of it is a local optimum of coordinate descent. The same options give the same result
// but for seconds, whatever the number of threads.
func Planted(ctx context.Context, opt PlantedOptions) (*PlantedResult, error) {
	if opt.Draws == 0 {
		opt.Draws = 20
	}
	if opt.Ways == nil {
		opt.Ways = defaultPlantedWays
	}
	if opt.Draws < 1 || opt.Noise < 0 || math.IsInf(opt.Noise, 0) || math.IsNaN(opt.Noise) || len(opt.Ways) == 0 {
		return nil, fmt.Errorf("experiment: planted: %d draws with noise %v, %d ways", opt.Draws, opt.Noise, len(opt.Ways))
	}
	for _, w := range opt.Ways {
		if w.Restarts < 1 || w.Start == match.StartGiven {
			return nil, fmt.Errorf("experiment: planted: %d restarts from start %q", w.Restarts, w.Start)
		}
	}
	network, err := newPlantedNetwork(opt)
	if err != nil {
		return nil, err
	}
	r := &PlantedResult{Noise: opt.Noise, Seed: opt.Seed, Ways: make([]PlantedSummary, len(opt.Ways))}
	for i, w := range opt.Ways {
		r.Ways[i].PlantedWay = w
	}
	for draw := range opt.Draws {
		seed := opt.Seed + uint64(draw)
		p, err := network.plant(seed, opt.Noise)
		if err != nil {
			return nil, err
		}
		if draw == 0 {
			r.describe(p)
		}
		for i, w := range opt.Ways {
			d, err := p.find(ctx, w, opt.Threads)
			if err != nil {
				return nil, err
			}
			r.Ways[i].Draws = append(r.Ways[i].Draws, d)
		}
		opt.Progress.report("planted", draw+1, opt.Draws, "")
	}
	for i := range r.Ways {
		r.Ways[i].summarise()
	}
	return r, nil
}

// plantedNetwork gives the parameters of A for every seed.
type plantedNetwork struct {
	graph  *graph.Graph
	params func(seed uint64) (match.Params, error)
}

func newPlantedNetwork(opt PlantedOptions) (*plantedNetwork, error) {
	switch {
	case opt.Params != nil && opt.Init != nil:
	case opt.Config != nil && opt.Graph == nil && opt.Params == nil && opt.Init == nil:
		g, err := zoo.Build(*opt.Config)
		if err != nil {
			return nil, err
		}
		return &plantedNetwork{g, func(seed uint64) (match.Params, error) { return zoo.Init(g, *opt.Config, seed) }}, nil
	case opt.Config == nil && opt.Graph != nil && opt.Params != nil:
		params, err := inFloat32(opt.Params)
		return &plantedNetwork{opt.Graph, func(uint64) (match.Params, error) { return params, err }}, err
	case opt.Config == nil && opt.Graph != nil:
		draw := opt.Init
		if draw == nil {
			draw = RandomParams
		}
		return &plantedNetwork{opt.Graph, func(seed uint64) (match.Params, error) { return draw(opt.Graph, seed) }}, nil
	}
	return nil, errors.New("experiment: planted: give an architecture, or a graph with parameters, a way to draw them, or neither")
}

// inFloat32 converts tensors of other precisions, as weight matching does.
func inFloat32(params match.Params) (match.Params, error) {
	out := make(match.Params, len(params))
	for _, name := range slices.Sorted(maps.Keys(params)) {
		out[name] = params[name]
		if dtype := params[name].DType(); !dtype.IsFloat() || dtype == tensor.F32 {
			continue
		}
		t, err := params[name].Convert(tensor.F32)
		if err != nil {
			return nil, fmt.Errorf("experiment: parameter %q: %w", name, err)
		}
		out[name] = t
	}
	return out, nil
}

// RandomParams draws parameters for any graph of fixed shapes, for what looks at weights alone: those of two and more axes from a normal
// distribution of variance 1/(elements per unit of the first axis), vectors and scalars of variance 1/100 around 0. Each tensor has a generator of its
// own, seeded by seed and its name. Integers and truths are an error: nothing says what values they may have.
func RandomParams(g *graph.Graph, seed uint64) (map[string]*tensor.Tensor, error) {
	params := make(map[string]*tensor.Tensor, len(g.Params))
	for _, p := range g.Params {
		shape, fixed := p.Shape.Fixed()
		n, err := shape.Elements()
		if err != nil || !fixed || p.DType != tensor.F32 {
			return nil, fmt.Errorf("experiment: parameter %q: %v %s cannot be drawn", p.Name, p.DType, p.Shape)
		}
		scale := .1
		if len(shape) > 1 && n > 0 {
			scale = 1 / math.Sqrt(float64(n/shape[0]))
		}
		rng := namedRand(seed, p.Name)
		data := make([]float32, n)
		for i := range data {
			data[i] = float32(scale * rng.NormFloat64())
		}
		params[p.Name] = tensor.FromSlice(shape, data)
	}
	return params, nil
}

// namedRand is a stream for one tensor, so that no tensor's numbers depend on the presence of others.
func namedRand(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name)) // never fails
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// planted is a pair of networks with the answer.
type planted struct {
	sym       *symmetry.Symmetry
	a, b      match.Params
	answer    *symmetry.Alignment
	objective float64
	seed      uint64
}

// plant draws one. The symmetry is inferred from the graph alone: B is no other network.
func (n *plantedNetwork) plant(seed uint64, noise float64) (*planted, error) {
	a, err := n.params(seed)
	if err != nil {
		return nil, err
	}
	sym, err := symmetry.Infer(n.graph, a)
	if err != nil {
		return nil, err
	}
	hidden := sym.Random(namedRand(seed, "planted alignment"))
	b, err := sym.Apply(hidden, a)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if noise > 0 && b[name].DType() == tensor.F32 && !slices.Contains(sym.Statistics, name) {
			b[name] = disturbed(b[name], noise, namedRand(seed, "noise of "+name))
		}
	}
	p := &planted{sym: sym, a: a, b: b, answer: sym.Invert(hidden), seed: seed}
	placed, err := sym.Apply(p.answer, b)
	if err != nil {
		return nil, err
	}
	if p.objective = innerProduct(sym, a, placed); !(p.objective > 0) {
		return nil, fmt.Errorf("experiment: planted: the planted alignment of seed %d has the objective %v: weights of zero, not finite, or drowned in noise", seed, p.objective)
	}
	return p, nil
}

// disturbed adds normal noise of a deviation relative to the root mean square.
func disturbed(t *tensor.Tensor, noise float64, rng *rand.Rand) *tensor.Tensor {
	t = t.Clone()
	values, sum := tensor.Of[float32](t), 0.
	for _, v := range values {
		sum += float64(v) * float64(v)
	}
	deviation := noise * math.Sqrt(sum/float64(max(len(values), 1)))
	for i := range values {
		values[i] += float32(deviation * rng.NormFloat64())
	}
	return t
}

// innerProduct is <A, B> over the tensors that count in the objective of weight matching.
func innerProduct(sym *symmetry.Symmetry, a, b match.Params) float64 {
	sum := 0.
	for _, name := range slices.Sorted(maps.Keys(sym.Shapes)) {
		if a[name].DType() != tensor.F32 || slices.Contains(sym.Statistics, name) {
			continue
		}
		x, y := tensor.Of[float32](a[name]), tensor.Of[float32](b[name])
		for i := range x {
			sum += float64(x[i]) * float64(y[i])
		}
	}
	return sum
}

// find runs one way.
func (p *planted) find(ctx context.Context, w PlantedWay, threads int) (PlantedDraw, error) {
	start := time.Now()
	r, err := match.Weights(ctx, p.sym, p.a, p.b, match.WeightsOptions{Start: w.Start, Restarts: w.Restarts, Seed: p.seed, Threads: threads})
	if err != nil {
		return PlantedDraw{}, err
	}
	return PlantedDraw{
		Seed: p.seed, Units: recoveredUnits(p.sym, p.answer, r.Alignment), Exact: r.Alignment.Equal(p.answer),
		Objective: r.Objective, Planted: p.objective, Sweeps: r.Sweeps, Status: string(r.Status), FLOPs: r.Work.FLOPs, Seconds: time.Since(start).Seconds(),
	}, nil
}

// recoveredUnits is the share of units, of groups and of every copy of a family, that come from where the answer takes them from. A unit of a family
// counts where its parents do.
func recoveredUnits(sym *symmetry.Symmetry, answer, found *symmetry.Alignment) float64 {
	right, all := 0, 0
	inPlace := map[string][]bool{} // by group, over the joint index of its parents and its own
	for _, g := range parentsFirst(sym.Groups) {
		want, got := answer.Perms[g.Name], found.Perms[g.Name]
		ok := make([]bool, len(want))
		for i := range ok {
			ok[i] = want[i] == got[i] && parentsInPlace(sym, g, i/g.Size, inPlace)
			if ok[i] {
				right++
			}
		}
		all += len(ok)
		inPlace[g.Name] = ok
	}
	if all == 0 {
		return 1
	}
	return float64(right) / float64(all)
}

// parentsInPlace says of one joint index of a family's parents whether each of them is in place.
func parentsInPlace(sym *symmetry.Symmetry, g symmetry.Group, joint int, inPlace map[string][]bool) bool {
	index := map[string]int{} // of every parent
	for _, name := range slices.Backward(g.Parents) {
		size := sym.Fixed[name]
		if parent, ok := sym.Group(name); ok {
			size = parent.Size
		}
		index[name], joint = joint%size, joint/size
	}
	for _, name := range g.Parents {
		parent, ok := sym.Group(name)
		if !ok { // a fixed extent
			continue
		}
		at := 0 // the parent's own place: its parents are among those of g
		for _, outer := range parent.Parents {
			size := sym.Fixed[outer]
			if o, ok := sym.Group(outer); ok {
				size = o.Size
			}
			at = at*size + index[outer]
		}
		if !inPlace[name][at*parent.Size+index[name]] {
			return false
		}
	}
	return true
}

// parentsFirst orders groups so that each comes after its parents.
func parentsFirst(groups []symmetry.Group) []symmetry.Group {
	out := slices.Clone(groups)
	slices.SortStableFunc(out, func(a, b symmetry.Group) int { return len(a.Parents) - len(b.Parents) })
	return out
}

// describe notes the network.
func (r *PlantedResult) describe(p *planted) {
	r.Groups, r.Log10 = len(p.sym.Groups), p.sym.Log10()
	for _, perm := range p.answer.Perms {
		r.Units += len(perm)
	}
	for _, t := range p.a {
		n, _ := t.Shape().Elements() // it has as many
		r.Parameters += n
	}
}

func (s *PlantedSummary) summarise() {
	for _, d := range s.Draws {
		if d.Exact {
			s.Exact++
		}
		if d.Objective < d.Planted*(1-plantedRounding) {
			s.Below++
		}
		s.MeanUnits += d.Units / float64(len(s.Draws))
		s.MeanRatio += d.Objective / d.Planted / float64(len(s.Draws))
		s.MeanSweeps += float64(d.Sweeps) / float64(len(s.Draws))
	}
}
