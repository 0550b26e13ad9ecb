package merge_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/tensor"
)

var half2 = []float64{.5, .5}

func pairOf(a, b merge.Source) []merge.Source { return []merge.Source{a, b} }

// source gives tensors from memory.
func source(name string, params map[string]*tensor.Tensor, order ...string) merge.Source {
	s := merge.Source{Name: name, Load: func(n string) (*tensor.Tensor, error) { return params[n], nil }}
	for _, n := range order {
		s.Infos = append(s.Infos, checkpoint.Info{Name: n, DType: params[n].DType(), Shape: params[n].Shape()})
	}
	return s
}

// mixed are tensors of several dtypes; k makes the floating-point ones differ.
func mixed(t testing.TB, k float32) map[string]*tensor.Tensor {
	t.Helper()
	ramp := make([]float32, 12)
	for i := range ramp {
		ramp[i] = float32(i)*k + 1
	}
	return map[string]*tensor.Tensor{
		"f32":  as(t, tensor.F32, tensor.Shape{3, 4}, ramp),
		"f16":  as(t, tensor.F16, tensor.Shape{12}, ramp),
		"f64":  as(t, tensor.F64, tensor.Shape{2, 6}, ramp),
		"bf16": as(t, tensor.BF16, tensor.Shape{4, 3}, ramp),
		"ids":  tensor.FromSlice(tensor.Shape{3}, []int64{1, 2, 3}),
	}
}

var mixedNames = []string{"ids", "f64", "f32", "f16", "bf16"}

func mustPlan(t testing.TB, a, b merge.Source, m merge.Method, w []float64) *merge.Plan {
	t.Helper()
	p, err := merge.NewPlan(pairOf(a, b), m, w)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlanWeights(t *testing.T) {
	s := source("a", mixed(t, 1), mixedNames...)
	for weights, lambda := range map[[2]float64]float64{
		{.5, .5}:       .5,
		{.7, .3}:       .3,
		{1, 3}:         .75,
		{1, 0}:         0,
		{0, 2}:         1,
		{1e308, 1e308}: .5,
	} {
		if got := mustPlan(t, s, s, merge.Lerp, weights[:]).Weights[1]; math.Abs(got-lambda) > 1e-15 {
			t.Errorf("weights %v: λ is %v, want %v", weights, got, lambda)
		}
	}
	for _, w := range [][2]float64{{0, 0}, {-1, 2}, {2, -1}, {math.NaN(), 1}, {1, math.NaN()}, {math.Inf(1), 1}, {1, math.Inf(1)}} {
		if _, err := merge.NewPlan(pairOf(s, s), merge.Lerp, w[:]); err == nil || !strings.Contains(err.Error(), "weights") {
			t.Errorf("weights %v: error %v", w, err)
		}
	}
}

func TestPlanErrors(t *testing.T) {
	a := source("a.safetensors", mixed(t, 1), mixedNames...)
	with := func(name string, x *tensor.Tensor) merge.Source {
		params := mixed(t, 2)
		params[name] = x
		return source("b.safetensors", params, mixedNames...)
	}
	extra := source("b.safetensors", mixed(t, 2), mixedNames...)
	extra.Infos = append(extra.Infos, checkpoint.Info{Name: "extra", DType: tensor.F32, Shape: tensor.Shape{1}})
	for want, b := range map[string]merge.Source{
		`tensor "f16" is in "a.safetensors" and not in "b.safetensors"`:                 source("b.safetensors", mixed(t, 2), "ids", "f64", "f32", "bf16"),
		`tensor "extra" is in "b.safetensors" and not in "a.safetensors"`:               extra,
		`tensor "f32" is F32 [3 4] in "a.safetensors" and F32 [4 3] in "b.safetensors"`: with("f32", tensor.New(tensor.F32, tensor.Shape{4, 3})),
		`tensor "ids" is I64 [3] in "a.safetensors" and I32 [3] in "b.safetensors"`:     with("ids", tensor.New(tensor.I32, tensor.Shape{3})),
	} {
		if _, err := merge.NewPlan(pairOf(a, b), merge.Lerp, half2); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := merge.NewPlan(pairOf(a, a), "ties", half2); err == nil || !strings.Contains(err.Error(), `unknown method "ties"`) {
		t.Errorf("error %v of an unknown method", err)
	}
	huge := merge.Source{Name: "huge", Infos: []checkpoint.Info{{Name: "w", DType: tensor.F32, Shape: tensor.Shape{math.MaxInt, 2}}}}
	if _, err := merge.NewPlan(pairOf(huge, huge), merge.Lerp, half2); err == nil || !strings.Contains(err.Error(), `tensor "w"`) {
		t.Errorf("error %v of a size that overflows", err)
	}
}

// TestPlanFigures are counted by hand: 12 elements of each float, 3 of int64.
func TestPlanFigures(t *testing.T) {
	s := source("a", mixed(t, 1), mixedNames...)
	p := mustPlan(t, s, s, merge.Lerp, half2)
	if want := int64(12*(8+4+2+2) + 3*8); p.Bytes != want {
		t.Errorf("%d bytes, want %d", p.Bytes, want)
	}
	var actions []string
	for i, step := range p.Tensors {
		actions = append(actions, step.Action)
		if step.Name != mixedNames[i] {
			t.Errorf("tensor %d is %q, want A's order", i, step.Name)
		}
	}
	if !slices.Equal(actions, []string{merge.ActionCopy, merge.ActionCombine, merge.ActionCombine, merge.ActionCombine, merge.ActionCombine}) {
		t.Errorf("actions %v", actions)
	}
	for name, want := range map[string]int64{
		"ids":  2 * 24, // both inputs; the result is one of them
		"f64":  3 * 96, // both inputs and the result
		"f32":  3 * 48, //
		"bf16": 3 * 24, // of which a part at a time is in float32
	} {
		one := source("a", mixed(t, 1), name)
		if got := memoryOf(t, mustPlan(t, one, one, merge.Lerp, half2), "m.safetensors"); got != want {
			t.Errorf("%s: memory %d, want %d", name, got, want)
		}
	}
	one := source("a", mixed(t, 1), "bf16") // on the great circle all three are in float32 too
	if got, want := memoryOf(t, mustPlan(t, one, one, merge.Slerp, half2), "m.safetensors"), int64(2*24+3*4*12); got != want {
		t.Errorf("slerp: memory %d, want %d", got, want)
	}
	if got, want := memoryOf(t, p, "m.safetensors"), int64(3*96); got != want {
		t.Errorf("memory %d, want that of the largest, %d", got, want)
	}
	if p.Seconds() <= 0 {
		t.Errorf("%v seconds", p.Seconds())
	}
}

func memoryOf(t testing.TB, p *merge.Plan, path string) int64 {
	t.Helper()
	m, err := p.Memory(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMemoryOfParts: what is streamed takes memory for the parts under way, however large the tensors are; what cannot be takes that of whole tensors.
func TestMemoryOfParts(t *testing.T) {
	a, b := streamed(t, tensor.F16, 1), streamed(t, tensor.F16, 2)
	p := mustPlan(t, sectioned(t, "a", a), sectioned(t, "b", b), merge.Lerp, half2)
	const part = 1 << 18
	large := int64(len(a["large"].Bytes()))
	for threads, want := range map[int]int64{1: 2 * part, 2: 2 * 2 * part, 7: 6 * 2 * part} { // large has six parts
		if p.Threads = threads; memoryOf(t, p, "m.safetensors") != want {
			t.Errorf("%d threads: memory %d, want %d", threads, memoryOf(t, p, "m.safetensors"), want)
		}
	}
	for _, zip := range []string{"m.npz", "m.pt"} {
		if got := memoryOf(t, p, zip); got != 3*large {
			t.Errorf("%s: memory %d, want %d", zip, got, 3*large)
		}
	}
	p.Sources[1].OpenSection = func(string) (checkpoint.Section, error) { return nil, nil }
	if got := memoryOf(t, p, "m.safetensors"); got != 3*large {
		t.Errorf("one in parts, one whole: memory %d, want %d", got, 3*large)
	}
	gone := errors.New("gone")
	p.Sources[1].OpenSection = func(string) (checkpoint.Section, error) { return nil, gone }
	if _, err := p.Memory("m.safetensors"); !errors.Is(err, gone) {
		t.Errorf("error %v of a source that cannot be opened", err)
	}
	three := source("a", map[string]*tensor.Tensor{"large": a["large"]}, "large")
	p, err := merge.NewPlan([]merge.Source{three, three, three}, merge.Lerp, []float64{1, 1, 1})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := memoryOf(t, p, "m.safetensors"), (2+4+2)*large; got != want { // two models, the sum in float64, one in float32
		t.Errorf("three models: memory %d, want %d", got, want)
	}
}

// TestMemoryIsWhatCombineTakes: what is allocated beside the inputs is what the plan foresees beside them.
func TestMemoryIsWhatCombineTakes(t *testing.T) {
	const n = 1 << 18
	for _, d := range floats {
		a, b := tensor.New(d, tensor.Shape{n}), tensor.New(d, tensor.Shape{n})
		params := map[string]*tensor.Tensor{"w": a}
		s := source("a", params, "w")
		foreseen := memoryOf(t, mustPlan(t, s, s, merge.Lerp, half2), "m.safetensors") - 2*int64(n*d.Size())
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		mustCombine(t, merge.Lerp, a, b, .5)
		runtime.ReadMemStats(&after)
		if got := int64(after.TotalAlloc - before.TotalAlloc); got < foreseen || got > foreseen+foreseen/20 {
			t.Errorf("%v: %d bytes are allocated, foreseen are %d", d, got, foreseen)
		}
	}
}

// TestMemoryIsWhatPartsTake: what is allocated while a tensor is streamed is what the plan foresees, and a buffer before the file.
func TestMemoryIsWhatPartsTake(t *testing.T) {
	s := sectioned(t, "a", streamed(t, tensor.F32, 1))
	s.Infos = s.Infos[:1] // the large one
	for _, threads := range []int{1, 3} {
		p := mustPlan(t, s, s, merge.Lerp, half2)
		p.Threads = threads
		path := filepath.Join(t.TempDir(), "m.safetensors")
		foreseen := memoryOf(t, p, path)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := p.Execute(context.Background(), path, checkpoint.Metadata{}, nil); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		const buffers = 128 << 10
		if got := int64(after.TotalAlloc - before.TotalAlloc); got < foreseen || got > foreseen+buffers {
			t.Errorf("%d threads: %d bytes are allocated, foreseen are %d", threads, got, foreseen)
		}
	}
}

// TestExecute writes each tensor's combination, one tensor after the other, and the same bytes every time.
func TestExecute(t *testing.T) {
	ctx := context.Background()
	pa, pb := mixed(t, 1), mixed(t, 2)
	var loads []string
	counted := func(s merge.Source) merge.Source {
		load := s.Load
		s.Load = func(name string) (*tensor.Tensor, error) {
			loads = append(loads, s.Name+" "+name)
			return load(name)
		}
		return s
	}
	a, b := counted(source("a", pa, mixedNames...)), counted(source("b", pb, "f16", "bf16", "f32", "f64", "ids"))
	p := mustPlan(t, a, b, merge.Lerp, []float64{.25, .75})
	var files [2][]byte
	for i := range files {
		loads = nil
		var progress []string
		path := filepath.Join(t.TempDir(), "merged.safetensors")
		err := p.Execute(ctx, path, checkpoint.Settled(map[string]string{"rebasin.method": "lerp"}), func(done, total int) {
			progress = append(progress, fmt.Sprintf("%d/%d", done, total))
			// Both models' tensors of the step have been asked for, and nothing of the next one.
			if len(loads) != 2*done || strings.TrimPrefix(loads[2*done-2], "a") != strings.TrimPrefix(loads[2*done-1], "b") {
				t.Errorf("at %d: loaded so far are %v", done, loads)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"1/5", "2/5", "3/5", "4/5", "5/5"}; !slices.Equal(progress, want) {
			t.Errorf("progress %v", progress)
		}
		if files[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		checkMerged(t, path, pa, pb)
	}
	if !slices.Equal(files[0], files[1]) {
		t.Error("two executions differ")
	}
}

func checkMerged(t *testing.T, path string, pa, pb map[string]*tensor.Tensor) {
	t.Helper()
	r, err := checkpoint.OpenSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Metadata()["rebasin.method"] != "lerp" {
		t.Errorf("metadata %v", r.Metadata())
	}
	inMemory, err := merge.Params(merge.Lerp, pa, pb, .75)
	if err != nil {
		t.Fatal(err)
	}
	for name := range pa {
		got, err := r.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		if want := mustCombineNamed(t, name, pa[name], pb[name]); !got.Equal(want) || !inMemory[name].Equal(want) {
			t.Errorf("tensor %q is %v in the file and %v in memory, want %v", name, got, inMemory[name], want)
		}
	}
}

func mustCombineNamed(t *testing.T, name string, a, b *tensor.Tensor) *tensor.Tensor {
	t.Helper()
	out, err := merge.Combine(merge.Lerp, name, a, b, .75)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestExecuteLeavesNothing behind when it fails or is cancelled half way.
func TestExecuteLeavesNothing(t *testing.T) {
	bad := errors.New("unreadable")
	for name, tt := range map[string]struct {
		at   func(cancel func(), s *merge.Source)
		want error
		text string
	}{
		"cancelled": {func(cancel func(), s *merge.Source) {
			load := s.Load
			s.Load = func(n string) (*tensor.Tensor, error) {
				if n == "f32" {
					cancel()
				}
				return load(n)
			}
		}, context.Canceled, ""},
		"unreadable": {func(_ func(), s *merge.Source) {
			load := s.Load
			s.Load = func(n string) (*tensor.Tensor, error) {
				if n == "f32" {
					return nil, bad
				}
				return load(n)
			}
		}, bad, `"f32"`},
	} {
		for side := range 2 {
			t.Run(fmt.Sprint(name, side), func(t *testing.T) {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				sources := [2]merge.Source{source("a", mixed(t, 1), mixedNames...), source("b", mixed(t, 2), mixedNames...)}
				tt.at(cancel, &sources[side])
				folder := t.TempDir()
				err := mustPlan(t, sources[0], sources[1], merge.Lerp, half2).Execute(ctx, filepath.Join(folder, "out"), checkpoint.Metadata{}, nil)
				if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("error %v", err)
				}
				if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
					t.Errorf("left behind: %v, %v", left, err)
				}
			})
		}
	}
}

func TestParamsErrors(t *testing.T) {
	a, b := mixed(t, 1), mixed(t, 2)
	b["extra"] = tensor.New(tensor.F32, tensor.Shape{1})
	if _, err := merge.Params(merge.Lerp, a, b, .5); err == nil || !strings.Contains(err.Error(), `tensor "extra" is missing in the first`) {
		t.Errorf("error %v", err)
	}
	if _, err := merge.Params(merge.Lerp, b, a, .5); err == nil || !strings.Contains(err.Error(), `tensor "extra" is missing in the second`) {
		t.Errorf("error %v", err)
	}
	b = mixed(t, 2)
	b["ids"] = tensor.FromSlice(tensor.Shape{3}, []int64{1, 2, 4})
	if _, err := merge.Params(merge.Lerp, a, b, .5); err == nil || !strings.Contains(err.Error(), `tensor "ids"`) {
		t.Errorf("error %v", err)
	}
}
