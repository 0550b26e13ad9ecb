package eval_test

import (
	"context"
	"runtime"
	"slices"
	"testing"

	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// deep is a network of several layers of 200 units, with parameters of float64, and the values of its layers.
func deep(t *testing.T) (g *graph.Graph, params map[string]*tensor.Tensor, values []string) {
	t.Helper()
	b := graph.NewBuilder("deep")
	h := b.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(200))
	for i := range 8 {
		name := string(rune('a' + i))
		h = b.Linear(name, h, "fc"+name, 200, 200, true)
		values = append(values, h)
	}
	b.Output(h)
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	params = map[string]*tensor.Tensor{}
	for _, p := range g.Params {
		shape, _ := p.Shape.Fixed()
		params[p.Name] = tensor.New(tensor.F64, shape)
		tensor.Of[float64](params[p.Name])[0] = .5
	}
	return g, params, values
}

// TestThroughSetsWhatWasReplaced replaces a parameter ahead of each value, and looks at what that made of the value.
func TestThroughSetsWhatWasReplaced(t *testing.T) {
	g, params, values := deep(t)
	s := eval.Values{Data: randomSamples(3, 200, 2, 1), Threads: 1}
	at := 0
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ok, err := s.Through(context.Background(), g, params, values, func(name string, _ tensor.Shape, x []float32) error {
		if at > 0 && x[1] != float32(at) {
			t.Errorf("%s has %v, want %d", name, x[1], at)
		}
		at++
		if at < len(values) {
			bias := tensor.New(tensor.F64, tensor.Shape{200})
			tensor.Of[float64](bias)[1] = float64(at)
			params["fc"+values[at]+".bias"] = bias
		}
		return nil
	})
	runtime.ReadMemStats(&after)
	if !ok || err != nil || at != len(values) {
		t.Fatalf("%v after %d values, error %v", ok, at, err)
	}
	// The parameters are 320,000 numbers: they are converted once, in the arena, and never again as a whole.
	if bytes := after.TotalAlloc - before.TotalAlloc; bytes > 4<<20 {
		t.Errorf("%d bytes were allocated", bytes)
	}
	_, err = s.Through(context.Background(), g, params, values, func(string, tensor.Shape, []float32) error {
		params["fca.bias"] = tensor.New(tensor.F64, tensor.Shape{3})
		return nil
	})
	if want := `nn: graph "deep": tensor "fca.bias" has shape [3], not [200]`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestThroughCountsParameters: 3 samples take little, the network does not.
func TestThroughCountsParameters(t *testing.T) {
	g, params, values := deep(t)
	visited := 0
	visit := func(string, tensor.Shape, []float32) error { visited++; return nil }
	for _, c := range []struct {
		memory int
		want   bool
	}{{4 * 320_000, false}, {2 * 4 * 320_000, true}} {
		visited = 0
		s := eval.Values{Data: randomSamples(3, 200, 2, 1), Threads: 1, Memory: c.memory}
		ok, err := s.Through(context.Background(), g, params, slices.Clone(values), visit)
		if ok != c.want || err != nil || ok != (visited > 0) {
			t.Errorf("within %d bytes: %v, %d values, error %v", c.memory, ok, visited, err)
		}
	}
}
