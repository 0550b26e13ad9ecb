package experiment

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/match"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// SinglePassOptions are the options of [SinglePass].
type SinglePassOptions struct {
	// Descents is the number of coordinate descents, each with its own random orders of layers. 0 means 20.
	Descents int
	Seed     uint64
}

// SinglePassResult compares ways to match two networks that are the same but for the order of their units.
type SinglePassResult struct {
	// Planted is the objective <A, P·B> of the alignment that was planted. It is the highest there is.
	Planted float64 `json:"planted"`
	// Methods are, in this order, no alignment, layer by layer, one sweep from the first layer, one sweep from the last, and the worst of the
	// coordinate descents.
	Methods []SinglePassMethod `json:"methods"`
	// Descents is how many coordinate descents were run, Recovered how many found the planted alignment.
	Descents  int `json:"descents"`
	Recovered int `json:"recovered"`
}

// SinglePassMethod is what one way of matching came to.
type SinglePassMethod struct {
	Name      string  `json:"name"`
	Objective float64 `json:"objective"`
	// Units is the share of hidden units that came to their place, Exact whether all did.
	Units float64 `json:"units"`
	Exact bool    `json:"exact"`
	// Deviation is the largest difference between the outputs of A and of the midpoint of A and P·B, relative to the largest output of A, on random
	// inputs.
	Deviation float64 `json:"deviation"`
	Sweeps    int     `json:"sweeps"`
}

// The names of the methods of [SinglePass].
const (
	MethodNone         = "not aligned"
	MethodLayerByLayer = "layer by layer"
	MethodForward      = "one sweep, first layer first"
	MethodBackward     = "one sweep, last layer first"
	MethodDescent      = "coordinate descent"
)

// SinglePass shows two networks of one function on which every single pass of matching fails, and coordinate descent to convergence does not
// (Ainsworth, Hayase, Srinivasa, "Git Re-Basin", ICLR 2023, arXiv:2209.04836, appendix A.7.2).
//
// A is f(x) = W₃ relu(W₂ relu(W₁x)) with two hidden layers of four units, five inputs, of which the last is 0 in all data, and four outputs:
//
//	W₁ = 1 0 0 0  c    W₂ = 2 0 0 0    W₃ = 3 0 0 0    c = 5/4
//	     0 1 0 0 -c         0 2 0 0         0 3 0 0
//	     0 0 3 0  0         0 0 2 0         0 0 1 0
//	     0 0 0 3  0         0 0 0 2         0 0 0 1
//
// B is A with -c for c, in the weights of the dead input, and then the first two units of each hidden layer exchanged, and the last two. Which of the
// first two units is which only the last layer says clearly: 2·9 for exchanging them in layer 2, against 2·4 of W₂ where layer 1 is not placed. Of
// the last two only the first layer: 2·9 for exchanging them in layer 1. And of the first two in layer 1 the weights of the dead input say the wrong
// thing, 4c² - 2 = 4.25, so that they come right only after layer 2 has, by W₂'s 2·4.
//
//   - Layer by layer: each layer by its incoming weights, given the layers before it, as a layer-wise fusion does (Singh and Jaggi, "Model Fusion via
//     Optimal Transport", NeurIPS 2020, arXiv:1910.05653). It believes the dead input.
//   - One sweep of coordinate descent, by incoming and outgoing weights. From the first layer on, W₂ keeps the first two units of layer 1 where they
//     are; from the last layer back, W₂ keeps the last two of layer 2. Each leaves one pair, which a second sweep would put right: its neighbours
//     are in place by then.
//   - Coordinate descent until nothing moves: [match.Weights].
func SinglePass(ctx context.Context, opt SinglePassOptions) (*SinglePassResult, error) {
	if opt.Descents == 0 {
		opt.Descents = 20
	}
	if opt.Descents < 1 {
		return nil, fmt.Errorf("experiment: single pass: %d descents", opt.Descents)
	}
	s, err := newSinglePass()
	if err != nil {
		return nil, err
	}
	r := &SinglePassResult{Descents: opt.Descents}
	if r.Planted, err = s.objective(ctx, s.planted); err != nil {
		return nil, err
	}
	for _, m := range []struct {
		name  string
		match func(context.Context) (*symmetry.Alignment, error)
	}{
		{MethodNone, func(context.Context) (*symmetry.Alignment, error) { return s.sym.Identity(), nil }},
		{MethodLayerByLayer, s.layerByLayer},
		{MethodForward, func(ctx context.Context) (*symmetry.Alignment, error) { return s.sweep(ctx, "fc1", "fc2") }},
		{MethodBackward, func(ctx context.Context) (*symmetry.Alignment, error) { return s.sweep(ctx, "fc2", "fc1") }},
	} {
		at, err := m.match(ctx)
		if err != nil {
			return nil, err
		}
		sweeps := 1
		if m.name == MethodNone {
			sweeps = 0
		}
		method, err := s.judge(ctx, m.name, at, sweeps)
		if err != nil {
			return nil, err
		}
		r.Methods = append(r.Methods, method)
	}
	var worst *match.Result
	for i := range opt.Descents {
		found, err := match.Weights(ctx, s.sym, s.a, s.b, match.WeightsOptions{Seed: opt.Seed + uint64(i), Threads: 1})
		if err != nil {
			return nil, err
		}
		if found.Alignment.Equal(s.planted) {
			r.Recovered++
		}
		if worst == nil || found.Objective < worst.Objective {
			worst = found
		}
	}
	method, err := s.judge(ctx, MethodDescent, worst.Alignment, worst.Sweeps)
	if err != nil {
		return nil, err
	}
	r.Methods = append(r.Methods, method)
	return r, nil
}

// singlePass is the pair of networks.
type singlePass struct {
	net     *graph.Graph
	sym     *symmetry.Symmetry
	a, b    match.Params
	planted *symmetry.Alignment
}

// The extents of the networks of [SinglePass].
const (
	singlePassInputs = 5
	singlePassUnits  = 4
	// singlePassDead is the weight of the dead input, c: between 1/√2, above which layer 1 by itself is wrong, and √2.5, above which layer 2 cannot
	// tell it otherwise.
	singlePassDead = 1.25
)

func newSinglePass() (*singlePass, error) {
	build := graph.NewBuilder("single pass")
	h := build.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(singlePassInputs))
	h = build.Relu("h1", build.Linear("z1", h, "fc1", singlePassUnits, singlePassInputs, false))
	h = build.Relu("h2", build.Linear("z2", h, "fc2", singlePassUnits, singlePassUnits, false))
	build.Output(build.Linear("f", h, "fc3", singlePassUnits, singlePassUnits, false))
	net, err := build.Graph()
	if err != nil {
		return nil, err
	}
	params := func(dead float32) match.Params {
		diagonal := func(columns int, d ...float32) *tensor.Tensor {
			w := tensor.New(tensor.F32, tensor.Shape{len(d), columns})
			for i, v := range d {
				tensor.Of[float32](w)[i*columns+i] = v
			}
			return w
		}
		w1 := diagonal(singlePassInputs, 1, 1, 3, 3)
		tensor.Of[float32](w1)[singlePassInputs-1] = dead
		tensor.Of[float32](w1)[2*singlePassInputs-1] = -dead
		return match.Params{"fc1.weight": w1, "fc2.weight": diagonal(singlePassUnits, 2, 2, 2, 2), "fc3.weight": diagonal(singlePassUnits, 3, 3, 1, 1)}
	}
	s := &singlePass{net: net, a: params(singlePassDead)}
	other := params(-singlePassDead)
	// The graph alone: layers that are the same in both networks would count as not trained.
	if s.sym, err = symmetry.Infer(net); err != nil {
		return nil, err
	}
	s.planted = s.sym.Identity()
	for _, perm := range s.planted.Perms {
		slices.Reverse(perm[:2])
		slices.Reverse(perm[2:])
	}
	s.b, err = s.sym.Apply(s.planted, other) // which is its own inverse
	return s, err
}

// objective is <A, P·B>: that of a descent which may not move.
func (s *singlePass) objective(ctx context.Context, at *symmetry.Alignment) (float64, error) {
	placed, err := s.sym.Apply(at, s.b)
	if err != nil {
		return 0, err
	}
	return innerProduct(s.sym, s.a, placed), ctx.Err()
}

// layerByLayer places each layer by its incoming weights alone: A without the others says nothing of them.
func (s *singlePass) layerByLayer(ctx context.Context) (*symmetry.Alignment, error) {
	at := s.sym.Identity()
	for _, layer := range []string{"fc1", "fc2"} {
		incoming := match.Params{}
		for name, t := range s.a {
			if name != layer+".weight" {
				t = tensor.New(tensor.F32, t.Shape())
			}
			incoming[name] = t
		}
		var err error
		if at, err = s.place(ctx, incoming, at, layer); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// sweep places each layer once by all its weights.
func (s *singlePass) sweep(ctx context.Context, layers ...string) (*symmetry.Alignment, error) {
	at := s.sym.Identity()
	for _, layer := range layers {
		var err error
		if at, err = s.place(ctx, s.a, at, layer); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// place moves the units of one layer from where they are.
func (s *singlePass) place(ctx context.Context, a match.Params, at *symmetry.Alignment, layer string) (*symmetry.Alignment, error) {
	r, err := match.Weights(ctx, s.sym, a, s.b, match.WeightsOptions{Start: match.StartGiven, Init: at, Only: []string{layer}, Threads: 1})
	if err != nil {
		return nil, err
	}
	return r.Alignment, nil
}

func (s *singlePass) judge(ctx context.Context, name string, at *symmetry.Alignment, sweeps int) (SinglePassMethod, error) {
	m := SinglePassMethod{Name: name, Sweeps: sweeps, Exact: at.Equal(s.planted), Units: recoveredUnits(s.sym, s.planted, at)}
	var err error
	if m.Objective, err = s.objective(ctx, at); err != nil {
		return m, err
	}
	m.Deviation, err = s.deviation(at)
	return m, err
}

// singlePassSamples is the number of random inputs on which midpoints are compared.
const singlePassSamples = 256

// deviation compares the midpoint with A on inputs that are uniform on [-1, 1], but for the dead one.
func (s *singlePass) deviation(at *symmetry.Alignment) (float64, error) {
	placed, err := s.sym.Apply(at, s.b)
	if err != nil {
		return 0, err
	}
	engine, err := nn.New[float64](s.net, nn.Options{Threads: 1})
	if err != nil {
		return 0, err
	}
	defer engine.Close()
	rng := rand.New(rand.NewPCG(0, 0))
	x := make([]float64, singlePassSamples*singlePassInputs)
	for i := range x {
		if i%singlePassInputs != singlePassInputs-1 {
			x[i] = 2*rng.Float64() - 1
		}
	}
	run := func(p match.Params) ([]float64, error) {
		if err := engine.SetParams(p); err != nil {
			return nil, err
		}
		y, err := engine.Forward(x, singlePassSamples)
		return slices.Clone(y), err
	}
	want, err := run(s.a)
	if err != nil {
		return 0, err
	}
	got, err := run(mean(s.a, placed))
	if err != nil {
		return 0, err
	}
	largest, deviation := 0., 0.
	for i := range want {
		largest, deviation = max(largest, math.Abs(want[i])), max(deviation, math.Abs(got[i]-want[i]))
	}
	return deviation / largest, nil
}
