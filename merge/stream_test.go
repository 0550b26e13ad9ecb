package merge_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
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
