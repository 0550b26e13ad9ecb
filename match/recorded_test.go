package match

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

func arrayOf(data []float32, shape ...int) *tensor.Tensor {
	t := tensor.New(tensor.F32, tensor.Shape(shape))
	copy(tensor.Of[float32](t), data)
	return t
}

// Activations of B that are those of A in another order, named after the group, give that order; so do those of a convolution, [samples, units, pixels].
func TestRecordedFindsPlantedOrder(t *testing.T) {
	const samples, units, pixels = 7, 5, 3
	rng := rand.New(rand.NewPCG(1, 2))
	order := []int32{3, 0, 4, 1, 2} // unit i of A is unit order[i] of B
	a, b := make([]float32, samples*units*pixels), make([]float32, samples*units*pixels)
	for s := range samples {
		for u := range units {
			for p := range pixels {
				v := float32(rng.NormFloat64())
				a[(s*units+u)*pixels+p] = v
				b[(s*units+int(order[u]))*pixels+p] = v
			}
		}
	}
	sym, err := symmetry.ParseSpec([]byte("layouts: {w: h 4, v: 2 h}"), map[string]tensor.Shape{"w": {units, 4}, "v": {2, units}})
	if err != nil {
		t.Fatal(err)
	}
	params := Params{"w": arrayOf(make([]float32, units*4), units, 4), "v": arrayOf(make([]float32, 2*units), 2, units)}
	recorded := &Recorded{
		A: map[string]*tensor.Tensor{"h": arrayOf(a, samples, units, pixels)},
		B: map[string]*tensor.Tensor{"h": arrayOf(b, samples, units, pixels)},
	}
	observed, err := Observed(sym, map[string]tensor.Shape{"h": {samples, units, pixels}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Activations(t.Context(), observed, params, params, recorded, ActivationsOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Alignment.Perms["h"]; !slices.Equal(got, order) {
		t.Errorf("the order is %v, want %v", got, order)
	}
	if len(sym.Sites) != 0 {
		t.Error("the symmetry itself has changed")
	}
}

func TestObservedErrors(t *testing.T) {
	sym, err := symmetry.ParseSpec([]byte("layouts: {w: h 4, v: 2 h}"), map[string]tensor.Shape{"w": {5, 4}, "v": {2, 5}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		shape tensor.Shape
		want  string
	}{
		{"k", tensor.Shape{7, 5}, `"k" is neither a site nor a group of the symmetry; there are the sites [] and the groups [h]`},
		{"h", tensor.Shape{5, 7}, "no axis behind the first has its 5 units"},
		{"h", tensor.Shape{7, 5, 5}, "could stand on axis 1 or 2"},
		{"h", tensor.Shape{}, "no axis behind the first"},
	} {
		if _, err := Observed(sym, map[string]tensor.Shape{tt.name: tt.shape}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %v: error %v, want one that says %q", tt.name, tt.shape, err, tt.want)
		}
	}
}

func TestRecordedErrors(t *testing.T) {
	seven, eight := arrayOf(make([]float32, 35), 7, 5), arrayOf(make([]float32, 40), 8, 5)
	for want, r := range map[string]*Recorded{
		`no activations of A at "h"`: {B: map[string]*tensor.Tensor{"h": seven}},
		`no activations of B at "h"`: {A: map[string]*tensor.Tensor{"h": seven}},
		"shape [7 5] in A and [8 5]": {A: map[string]*tensor.Tensor{"h": seven}, B: map[string]*tensor.Tensor{"h": eight}},
	} {
		err := r.Each(t.Context(), []string{"h"}, func([]tensor.Shape, [][]float32, [][]float32) error { return nil })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}
