package merge_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/tensor"
)

// sectioned is a source that gives its tensors in parts, and never whole.
func sectioned(t testing.TB, name string, params map[string]*tensor.Tensor) merge.Source {
	s := merge.Source{Name: name, Load: func(name string) (*tensor.Tensor, error) {
		t.Errorf("%q is loaded whole", name)
		return params[name], nil
	}, OpenSection: func(name string) (checkpoint.Section, error) { return checkpoint.SectionOf(params[name]), nil }}
	for _, name := range []string{"large", "part", "small"} {
		s.Infos = append(s.Infos, checkpoint.Info{Name: name, DType: params[name].DType(), Shape: params[name].Shape()})
	}
	return s
}

// streamed are tensors of more than one part, of exactly one, and of three elements.
func streamed(t testing.TB, d tensor.DType, seed uint64) map[string]*tensor.Tensor {
	rng := rand.New(rand.NewPCG(seed, 0))
	params := map[string]*tensor.Tensor{}
	for name, n := range map[string]int{"large": 5<<17/d.Size()*2 + 7, "part": 1 << 18 / d.Size(), "small": 3} {
		values := make([]float64, n)
		for i := range values {
			values[i] = rng.NormFloat64() * math.Exp2(float64(rng.IntN(24)-20))
		}
		x, err := tensor.FromSlice(tensor.Shape{n}, values).Convert(d)
		if err != nil {
			t.Fatal(err)
		}
		params[name] = x
	}
	return params
}

// TestStream merges in parts, to the bytes that Combine gives for whole tensors, whatever the number of threads.
func TestStream(t *testing.T) {
	for _, d := range floats {
		a, b := streamed(t, d, 1), streamed(t, d, 2)
		for _, lambda := range []float64{0, .3, 1} {
			var first []byte
			for _, threads := range []int{1, 2, 5} {
				p := mustPlan(t, sectioned(t, "a", a), sectioned(t, "b", b), merge.Lerp, []float64{1 - lambda, lambda})
				p.Threads = threads
				path := filepath.Join(t.TempDir(), "out.safetensors")
				if err := p.Execute(context.Background(), path, checkpoint.Metadata{}, nil); err != nil {
					t.Fatal(err)
				}
				got, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if first == nil {
					first = got
					checkStreamed(t, path, a, b, p.Weights[1])
				}
				if !bytes.Equal(got, first) {
					t.Errorf("%v: %d threads write other bytes", d, threads)
				}
			}
		}
	}
}

// TestStreamNoSync: whether the disk is waited for changes no byte.
func TestStreamNoSync(t *testing.T) {
	a, b := streamed(t, tensor.BF16, 1), streamed(t, tensor.BF16, 2)
	var written [2][]byte
	for i := range written {
		p := mustPlan(t, sectioned(t, "a", a), sectioned(t, "b", b), merge.Lerp, []float64{1, 1})
		p.NoSync = i == 1
		path := filepath.Join(t.TempDir(), "out.safetensors")
		if err := p.Execute(context.Background(), path, checkpoint.Metadata{}, nil); err != nil {
			t.Fatal(err)
		}
		var err error
		if written[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(written[0], written[1]) {
		t.Error("other bytes are written without sync")
	}
}

// ending is a section that ends a context when its second part is read.
type ending struct {
	checkpoint.Section
	cancel func()
}

func (s ending) ReadAt(p []byte, at int64) (int, error) {
	if at > 0 {
		s.cancel()
	}
	return s.Section.ReadAt(p, at)
}

// TestStreamCancelled: the context ends a tensor between its parts, for any number of threads.
func TestStreamCancelled(t *testing.T) {
	for _, threads := range []int{1, 3} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		large := tensor.New(tensor.F16, tensor.Shape{10 << 20})
		read := 0
		source := func(name string) merge.Source {
			return merge.Source{
				Name: name, Infos: []checkpoint.Info{{Name: "large", DType: tensor.F16, Shape: large.Shape()}},
				Load: func(string) (*tensor.Tensor, error) { return large, nil },
				OpenSection: func(string) (checkpoint.Section, error) {
					return counting{ending{checkpoint.SectionOf(large), cancel}, &read, new(sync.Mutex)}, nil
				},
			}
		}
		p := mustPlan(t, source("a"), merge.Source{
			Name: "b", Infos: source("b").Infos, Load: source("b").Load,
			OpenSection: func(string) (checkpoint.Section, error) { return checkpoint.SectionOf(large), nil },
		}, merge.Lerp, []float64{1, 1})
		p.Threads = threads
		folder := t.TempDir()
		err := p.Execute(ctx, filepath.Join(folder, "out.safetensors"), checkpoint.Metadata{}, nil)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%d threads: error %v", threads, err)
		}
		if most := len(large.Bytes()) / 4; read > most {
			t.Errorf("%d threads: %d bytes were read after the end, of %d", threads, read, len(large.Bytes()))
		}
		if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

// counting counts what is read of a section.
type counting struct {
	checkpoint.Section
	read *int
	mu   *sync.Mutex
}

func (s counting) ReadAt(p []byte, at int64) (int, error) {
	s.mu.Lock()
	*s.read += len(p)
	s.mu.Unlock()
	return s.Section.ReadAt(p, at)
}

// TestStreamFirstNotFinite: of several values that are not finite the first is named, for any number of threads, and what of a part was merged already
// is not taken for one.
func TestStreamFirstNotFinite(t *testing.T) {
	for _, d := range []tensor.DType{tensor.F16, tensor.BF16} {
		wholeA, wholeB := streamed(t, d, 1), streamed(t, d, 2)
		for _, threads := range []int{1, 2, 5} {
			for _, c := range []struct {
				a, b []int
				want string
			}{
				{[]int{4567}, nil, `"a": tensor "large": element 4567 `},
				{nil, []int{300_001, 300_002}, `"b": tensor "large": element 300001 `},
				{[]int{5000}, []int{4000}, `"a": tensor "large": element 5000 `}, // of one part a's is named
				{[]int{200_000}, []int{4000}, `"b": tensor "large": element 4000 `},
			} {
				a, b := maps.Clone(wholeA), maps.Clone(wholeB)
				a["large"], b["large"] = a["large"].Clone(), b["large"].Clone()
				for _, i := range c.a {
					tensor.Halves(a["large"])[i] = 0xffff
				}
				for _, i := range c.b {
					tensor.Halves(b["large"])[i] = 0x7fff
				}
				p := mustPlan(t, sectioned(t, "a", a), sectioned(t, "b", b), merge.Lerp, []float64{1, 1})
				p.Threads = threads
				err := p.Execute(context.Background(), filepath.Join(t.TempDir(), "out.safetensors"), checkpoint.Metadata{}, nil)
				var bad *merge.NotFiniteError
				if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, %d threads: error %v, want %s", d, threads, err, c.want)
				}
			}
		}
	}
}

func checkStreamed(t *testing.T, path string, a, b map[string]*tensor.Tensor, lambda float64) {
	r, err := checkpoint.OpenSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for name := range a {
		got, err := r.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		want, err := merge.Combine(merge.Lerp, name, a[name], b[name], lambda)
		if err != nil {
			t.Fatal(err)
		}
		if !got.Equal(want) {
			t.Errorf("%v %q at %v is not what Combine gives", got.DType(), name, lambda)
		}
	}
}

// TestStreamRefuses: values that are not finite, cancelling and late metadata that fails leave nothing behind.
func TestStreamRefuses(t *testing.T) {
	late := errors.New("late")
	for name, c := range map[string]struct {
		spoil func(a, b map[string]*tensor.Tensor)
		late  error
		want  string
	}{
		"first":  {func(a, b map[string]*tensor.Tensor) { tensor.Of[float32](a["large"])[200001] = float32(math.NaN()) }, nil, `merge: "a": tensor "large": element 200001 is not finite`},
		"second": {func(a, b map[string]*tensor.Tensor) { tensor.Of[float32](b["small"])[2] = float32(math.Inf(1)) }, nil, `merge: "b": tensor "small": element 2 is not finite`},
		"late":   {func(a, b map[string]*tensor.Tensor) {}, late, "late"},
	} {
		for _, form := range []string{"out.safetensors", "out.safetensors.index.json"} {
			t.Run(name+" "+form, func(t *testing.T) {
				a, b := streamed(t, tensor.F32, 1), streamed(t, tensor.F32, 2)
				c.spoil(a, b)
				folder := t.TempDir()
				meta := checkpoint.Metadata{Late: func() (map[string]string, error) { return nil, c.late }}
				err := mustPlan(t, sectioned(t, "a", a), sectioned(t, "b", b), merge.Lerp, []float64{1, 1}).Execute(context.Background(), filepath.Join(folder, form), meta, nil)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v", err)
				}
				if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
					t.Errorf("left behind: %v, %v", left, err)
				}
			})
		}
	}
}
