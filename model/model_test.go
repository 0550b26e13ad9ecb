package model_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

type params = map[string]*tensor.Tensor

var small = zoo.Config{Arch: "mlp", Input: []int{4}, Hidden: []int{6, 5}, Classes: 3}

// initial are the parameters of a network.
func initial(t testing.TB, cfg zoo.Config, seed uint64) params {
	t.Helper()
	g, err := zoo.Build(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p, err := zoo.Init(g, cfg, seed)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// plain are the tensors of a network trained elsewhere: fc1.weight to fc4.weight, no biases.
func plain() params {
	rng := rand.New(rand.NewPCG(1, 2))
	p := params{}
	for i, shape := range []tensor.Shape{{7, 9}, {6, 7}, {5, 6}, {3, 5}} {
		data := make([]float32, shape[0]*shape[1])
		for k := range data {
			data[k] = float32(rng.NormFloat64())
		}
		p[fmt.Sprintf("fc%d.weight", i+1)] = tensor.FromSlice(shape, data)
	}
	return p
}

func save(t testing.TB, p params, cfg *zoo.Config, meta map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "net.safetensors")
	if err := model.Save(context.Background(), path, p, cfg, meta); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path string, opt model.Options) *model.Model {
	t.Helper()
	m, err := model.Open(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// TestRoundTrip saves a network and opens it again: tensors, metadata, and the graph that the metadata describes.
func TestRoundTrip(t *testing.T) {
	ctx := context.Background()
	for _, cfg := range []zoo.Config{
		small,
		{Arch: "mlp", Input: []int{1, 2, 2}, Hidden: []int{6}, Classes: 3, Norm: "layer", Activation: "prelu", NoBias: true, Dropout: .1, Init: "torch"},
	} {
		p := initial(t, cfg, 1)
		meta := map[string]string{"rebasin.seed": "1"}
		m := open(t, save(t, p, &cfg, meta), model.Options{})
		if len(meta) != 1 {
			t.Errorf("Save changed the caller's metadata: %v", meta)
		}
		want, err := cfg.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(&want, m.Config); d != "" {
			t.Errorf("architecture (-saved +opened):\n%s", d)
		}
		if m.Metadata()["rebasin.seed"] != "1" || m.Metadata()[zoo.MetadataKey] == "" {
			t.Errorf("metadata %v", m.Metadata())
		}
		all, err := m.Params(ctx)
		if err != nil {
			t.Fatal(err)
		}
		own, err := m.GraphParams(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != len(p) || len(own) != len(p) || len(m.Infos()) != len(p) || len(m.Shapes()) != len(p) {
			t.Errorf("%d tensors saved, opened %d", len(p), len(all))
		}
		for name, x := range p {
			one, err := m.Tensor(name)
			if err != nil || !one.Equal(x) || !all[name].Equal(x) || !own[name].Equal(x) || !m.Shapes()[name].Equal(x.Shape()) {
				t.Errorf("tensor %q came back as %v, error %v", name, all[name], err)
			}
		}
		if err := m.CheckFinite(ctx); err != nil {
			t.Error(err)
		}
	}
}

// TestTorchvisionFile opens a file of torchvision's names and no metadata: PyTorch's counters of batches are carried and stay where they are.
func TestTorchvisionFile(t *testing.T) {
	cfg := zoo.Config{Arch: "resnet8", Width: .25, Shortcut: "conv1", Classes: 3}
	p := initial(t, cfg, 1)
	p["bn1.num_batches_tracked"] = tensor.FromSlice(tensor.Shape{}, []int64{7})
	m := open(t, save(t, p, nil, nil), model.Options{Arch: "resnet8"})
	want, err := cfg.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&want, m.Config); d != "" {
		t.Errorf("architecture (-saved +detected):\n%s", d)
	}
	s, err := model.Symmetry(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Groups) != 6 || len(s.Statistics) == 0 {
		t.Errorf("%d groups, statistics %v; want 3 interiors and 3 stages", len(s.Groups), s.Statistics)
	}
	if !slices.ContainsFunc(s.Pinned, func(p symmetry.Pin) bool { return p.Tensor == "bn1.num_batches_tracked" }) {
		t.Error("the counter of batches is not pinned")
	}
}

// TestSaveIsDeterministic saves one network twice.
func TestSaveIsDeterministic(t *testing.T) {
	p := initial(t, small, 1)
	var files [2][]byte
	for i := range files {
		var err error
		if files[i], err = os.ReadFile(save(t, p, &small, map[string]string{"b": "1", "a": "2"})); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(files[0], files[1]) {
		t.Error("two files differ")
	}
}

// TestThirdParty opens a file without metadata: a bag of tensors without --arch, a network with it.
func TestThirdParty(t *testing.T) {
	ctx := context.Background()
	path := save(t, plain(), nil, nil)
	bag := open(t, path, model.Options{})
	if bag.Graph != nil || bag.Config != nil {
		t.Errorf("a graph from nowhere: %v", bag.Config)
	}
	if _, err := bag.GraphParams(ctx); !errors.Is(err, model.ErrNoGraph) || !strings.Contains(err.Error(), "net.safetensors") {
		t.Errorf("error %v", err)
	}
	if _, err := model.Symmetry(ctx, bag); !errors.Is(err, model.ErrNoGraph) {
		t.Errorf("error %v", err)
	}
	m := open(t, path, model.Options{Arch: "mlp"})
	if !m.Config.NoBias || !slices.Equal(m.Config.Hidden, []int{7, 6, 5}) || !slices.Equal(m.Config.Input, []int{9}) || m.Config.Classes != 3 {
		t.Errorf("detected %+v", m.Config)
	}
	s, err := model.Symmetry(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Groups) != 3 {
		t.Errorf("groups %v", s.Groups)
	}
	own, err := m.GraphParams(ctx)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := symmetry.Verify(ctx, m.Graph, s, own, symmetry.VerifyOptions{})
	if err != nil || len(proof.Unproven) != 0 {
		t.Errorf("proof %+v, error %v", proof, err)
	}
}

// TestArchOverrulesMetadata: what the user says counts.
func TestArchOverrulesMetadata(t *testing.T) {
	cfg := small
	cfg.Activation = "tanh"
	path := save(t, initial(t, cfg, 1), &cfg, nil)
	if got := open(t, path, model.Options{}).Config.Activation; got != "tanh" {
		t.Errorf("activation %q by the metadata", got)
	}
	if got := open(t, path, model.Options{Arch: "mlp"}).Config.Activation; got != "relu" {
		t.Errorf("activation %q by detection, which assumes relu", got)
	}
}

// TestOpenErrors names file and tensor.
func TestOpenErrors(t *testing.T) {
	meta := func(text string) map[string]string { return map[string]string{zoo.MetadataKey: text} }
	with := func(name string, x *tensor.Tensor) params {
		p := initial(t, small, 1)
		if x == nil {
			delete(p, name)
		} else {
			p[name] = x
		}
		return p
	}
	const arch = `{"arch":"mlp","input":[4],"hidden":[6,5],"classes":3}`
	layers := strings.Repeat("1,", 1<<13)
	for name, tt := range map[string]struct {
		params params
		meta   map[string]string
		opt    model.Options
		want   string
	}{
		"missing": {
			with("fc2.bias", nil), meta(arch),
			model.Options{},
			`tensor "fc2.bias" of the mlp is missing`,
		},
		"shape": {
			with("fc2.weight", tensor.New(tensor.F32, tensor.Shape{6, 5})), meta(arch),
			model.Options{},
			`tensor "fc2.weight" has shape [6 5], the mlp needs [5 6]`,
		},
		"rank": {
			with("fc2.bias", tensor.New(tensor.F32, tensor.Shape{5, 1})), meta(arch),
			model.Options{},
			`tensor "fc2.bias" has shape [5 1], the mlp needs [5]`,
		},
		"integers": {
			with("fc3.bias", tensor.New(tensor.I32, tensor.Shape{3})), meta(arch),
			model.Options{},
			`tensor "fc3.bias" is I32, the mlp needs a floating-point type`,
		},
		"carried dtype": {
			with("fc3.bias", tensor.New(tensor.F8E4M3, tensor.Shape{3})), meta(arch),
			model.Options{},
			`tensor "fc3.bias" is F8_E4M3`,
		},
		"unknown arch": {
			initial(t, small, 1), nil,
			model.Options{Arch: "vgg17"},
			`unknown architecture "vgg17"`,
		},
		"not an mlp": {
			params{"conv.weight": tensor.New(tensor.F32, tensor.Shape{2, 2, 3, 3})},
			nil,
			model.Options{Arch: "mlp"},
			"as mlp: ",
		},
		"gap": {
			with("fc2.weight", nil), nil,
			model.Options{Arch: "mlp"},
			`tensor "fc2.weight" is missing`,
		},
		"left over": {
			with("ema.weight", tensor.New(tensor.F32, tensor.Shape{2})), nil,
			model.Options{Arch: "mlp"},
			`tensor "ema.weight" of shape [2] has no place`,
		},
		"no JSON": {
			initial(t, small, 1), meta("mlp"),
			model.Options{},
			"architecture",
		},
		"unknown field": {
			initial(t, small, 1), meta(`{"arch":"mlp","input":[4],"classes":3,"experts":8}`),
			model.Options{},
			`unknown field "experts"`,
		},
		"unknown in it": {
			initial(t, small, 1), meta(`{"arch":"transformer","input":[4],"classes":3}`),
			model.Options{},
			`unknown architecture "transformer"`,
		},
		"huge width": {
			initial(t, small, 1), meta(`{"arch":"mlp","input":[4],"classes":3,"width":4000000}`),
			model.Options{},
			`tensor "fc1.weight" has shape [6 4], the mlp needs`,
		},
		"overflow": {
			initial(t, small, 1), meta(`{"arch":"mlp","input":[2147483648,2147483648,2147483648],"classes":3}`),
			model.Options{},
			"input",
		},
		"too wide": {
			initial(t, small, 1), meta(`{"arch":"mlp","input":[4],"hidden":[9000000000000000000],"classes":3}`),
			model.Options{},
			"is not possible",
		},
		"negative": {
			initial(t, small, 1), meta(`{"arch":"mlp","input":[4],"hidden":[-6,5],"classes":3}`),
			model.Options{},
			"extent -6",
		},
		"too deep": {
			initial(t, small, 1), meta(`{"arch":"mlp","input":[4],"hidden":[` + layers + `1],"classes":3}`),
			model.Options{},
			"hidden layers exceed",
		},
		"huge but legal": {
			initial(t, small, 1), meta(`{"arch":"mlp","input":[2147483648],"hidden":[2147483648,2147483648],"classes":2147483648}`),
			model.Options{},
			`tensor "fc1.weight" has shape [6 4]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := save(t, tt.params, nil, tt.meta)
			m, err := model.Open(path, tt.opt)
			if err == nil {
				m.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "net.safetensors") {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := model.Open(filepath.Join(t.TempDir(), "absent"), model.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v of an absent file", err)
	}
}

// TestCheckFinite finds NaN and infinities in every float dtype, and looks at nothing else.
func TestCheckFinite(t *testing.T) {
	ctx := context.Background()
	for _, d := range []tensor.DType{tensor.F64, tensor.F32, tensor.F16, tensor.BF16} {
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			x, err := tensor.FromSlice(tensor.Shape{2, 2}, []float64{0, 1, bad, 2}).Convert(d)
			if err != nil {
				t.Fatal(err)
			}
			p := params{"a": tensor.New(tensor.F32, tensor.Shape{3}), "ids": tensor.FromSlice(tensor.Shape{2}, []int64{-1, math.MaxInt64}), "w": x}
			err = open(t, save(t, p, nil, nil), model.Options{}).CheckFinite(ctx)
			if err == nil || !strings.Contains(err.Error(), `net.safetensors": tensor "w": element 2 is not finite`) {
				t.Errorf("%v of %v: error %v", bad, d, err)
			}
		}
	}
}

func TestSameTensors(t *testing.T) {
	a := open(t, save(t, plain(), nil, nil), model.Options{})
	change := func(f func(p params)) *model.Model {
		p := plain()
		f(p)
		return open(t, save(t, p, nil, nil), model.Options{})
	}
	if err := model.SameTensors(a, change(func(params) {})); err != nil {
		t.Errorf("equal models: %v", err)
	}
	for _, tt := range []struct {
		tensor, want string
		b            *model.Model
	}{
		{"fc3.weight", "and not in", change(func(p params) { delete(p, "fc3.weight") })},
		{"extra", "and not in", change(func(p params) { p["extra"] = tensor.New(tensor.F32, tensor.Shape{}) })},
		{"fc3.weight", "has shape", change(func(p params) { p["fc3.weight"] = tensor.New(tensor.F32, tensor.Shape{6, 5}) })},
		{"fc3.weight", "is F32 in", change(func(p params) { p["fc3.weight"] = tensor.New(tensor.F16, tensor.Shape{5, 6}) })},
	} {
		for i, err := range []error{model.SameTensors(a, tt.b), model.SameTensors(tt.b, a)} {
			want := []string{fmt.Sprintf("tensor %q", tt.tensor), a.Path, tt.b.Path}
			if i == 0 {
				want = append(want, tt.want)
			}
			for _, w := range want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("error %v, want %q", err, w)
				}
			}
		}
	}
}

// TestSameNetwork: how a network was made is no part of what it is.
func TestSameNetwork(t *testing.T) {
	of := func(change func(c *zoo.Config)) *model.Model {
		cfg := small
		change(&cfg)
		return open(t, save(t, initial(t, cfg, 1), &cfg, nil), model.Options{})
	}
	a := of(func(*zoo.Config) {})
	bag := open(t, save(t, initial(t, small, 1), nil, nil), model.Options{})
	for name, b := range map[string]*model.Model{
		"the same":       of(func(*zoo.Config) {}),
		"initialisation": of(func(c *zoo.Config) { c.Init = "torch" }),
		"dropout":        of(func(c *zoo.Config) { c.Dropout = .5 }),
		"defaults given": of(func(c *zoo.Config) { c.Activation, c.Norm = "relu", "none" }),
		"no graph":       bag,
	} {
		if err := errors.Join(model.SameNetwork(a, b), model.SameNetwork(b, a)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string]*model.Model{
		"activation": of(func(c *zoo.Config) { c.Activation = "tanh" }),
		"input":      of(func(c *zoo.Config) { c.Input = []int{2, 2} }),
		"norm":       of(func(c *zoo.Config) { c.Norm = "layer" }),
	} {
		err := model.SameNetwork(a, b)
		if err == nil || !strings.Contains(err.Error(), a.Path) || !strings.Contains(err.Error(), b.Path) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestExtraTensors that the graph does not use are carried through everything, in their order, and said to be pinned.
func TestExtraTensors(t *testing.T) {
	ctx := context.Background()
	p := initial(t, small, 1)
	p["ema.weight"] = tensor.FromSlice(tensor.Shape{6}, []float64{1, 2, 3, 4, 5, 6})
	p["step"] = tensor.FromSlice(tensor.Shape{}, []int64{12})
	m := open(t, save(t, p, &small, nil), model.Options{})
	own, err := m.GraphParams(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(own) != len(p)-2 || own["step"] != nil {
		t.Errorf("the graph runs on %d of %d tensors", len(own), len(p))
	}
	s, err := model.Symmetry(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	var pinned []string
	for _, pin := range s.Pinned {
		if strings.Contains(pin.Why, "does not use") {
			pinned = append(pinned, pin.Tensor)
		}
	}
	if !slices.Equal(pinned, []string{"ema.weight", "step"}) {
		t.Errorf("pinned are %v", pinned)
	}
	all, err := m.Params(ctx)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := s.Apply(s.Random(rand.New(rand.NewPCG(1, 1))), all)
	if err != nil {
		t.Fatal(err)
	}
	if moved["fc1.weight"].Equal(p["fc1.weight"]) || !moved["ema.weight"].Equal(p["ema.weight"]) || !moved["step"].Equal(p["step"]) {
		t.Error("an alignment moves what it should not, or nothing")
	}
	again := open(t, save(t, moved, m.Config, m.Metadata()), model.Options{})
	if err := model.SameTensors(m, again); err != nil {
		t.Error(err)
	}
}

// TestSymmetryOfSeveral takes what is equal in all models for something that was never trained.
func TestSymmetryOfSeveral(t *testing.T) {
	ctx := context.Background()
	a, b := initial(t, small, 1), initial(t, small, 2)
	b["fc2.weight"] = a["fc2.weight"]
	ma, mb := open(t, save(t, a, &small, nil), model.Options{}), open(t, save(t, b, &small, nil), model.Options{})
	both, err := model.Symmetry(ctx, ma, mb)
	if err != nil {
		t.Fatal(err)
	}
	one, err := model.Symmetry(ctx, ma)
	if err != nil {
		t.Fatal(err)
	}
	if len(one.Groups) != 2 || len(both.Groups) >= len(one.Groups) {
		t.Errorf("groups %v of one, %v of two with an equal layer", one.Groups, both.Groups)
	}
	if _, err := model.Symmetry(ctx); err == nil {
		t.Error("no error for no model")
	}
}

// TestCancelled reading stops between tensors, and can be begun again.
func TestCancelled(t *testing.T) {
	m := open(t, save(t, plain(), nil, nil), model.Options{Arch: "mlp"})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Params(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := m.CheckFinite(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if p, err := m.Params(context.Background()); err != nil || len(p) != 4 {
		t.Errorf("%d tensors, error %v", len(p), err)
	}
	folder := t.TempDir()
	if err := model.Save(ctx, filepath.Join(folder, "x"), plain(), nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Save: error %v", err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestConcurrentReading is for the race detector.
func TestConcurrentReading(t *testing.T) {
	ctx := context.Background()
	want := plain()
	m := open(t, save(t, want, nil, nil), model.Options{Arch: "mlp"})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for _, name := range slices.Sorted(maps.Keys(want)) {
				if x, err := m.Tensor(name); err != nil || !x.Equal(want[name]) {
					t.Errorf("tensor %q: error %v", name, err)
				}
				if worker%2 == 0 {
					if p, err := m.Params(ctx); err != nil || !p[name].Equal(want[name]) {
						t.Errorf("tensor %q: error %v", name, err)
					}
				}
			}
		})
	}
	wg.Wait()
	if _, err := m.Tensor("fc9.weight"); err == nil || !strings.Contains(err.Error(), `"fc9.weight"`) {
		t.Errorf("error %v of an unknown tensor", err)
	}
}

// TestGraphIsThatOfTheConfig, so that whoever has one has the other.
func TestGraphIsThatOfTheConfig(t *testing.T) {
	m := open(t, save(t, initial(t, small, 1), &small, nil), model.Options{})
	want, err := zoo.Build(small)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want.Params, m.Graph.Params); d != "" {
		t.Error(d)
	}
	ops := func(g *graph.Graph) (out []string) {
		for _, n := range g.Nodes {
			out = append(out, n.Op)
		}
		return out
	}
	if !slices.Equal(ops(m.Graph), ops(want)) {
		t.Errorf("operators %v, want %v", ops(m.Graph), ops(want))
	}
}

// A file of PyTorch is a model like any other; its key is an option.
func TestOpenTorch(t *testing.T) {
	path := filepath.Join("..", "checkpoint", "testdata", "torch", "ema.pt")
	if _, err := model.Open(path, model.Options{}); err == nil || !strings.Contains(err.Error(), `"model" (9), "ema" (9)`) {
		t.Errorf("without a key: error %v", err)
	}
	m, err := model.Open(path, model.Options{Key: "ema"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got := m.Shapes()["conv.weight"]; !slices.Equal(got, tensor.Shape{4, 1, 3, 3}) || m.Form().Format != checkpoint.FormatTorch {
		t.Errorf("conv.weight has shape %v, the format is %q", got, m.Form().Format)
	}
}
