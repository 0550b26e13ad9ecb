package merge_test

import (
	"math"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/tensor"
)

func TestMeanOfMany(t *testing.T) {
	models := []map[string]*tensor.Tensor{mixed(t, 1), mixed(t, 2), mixed(t, -3)}
	weights := []float64{2, 1, 1}
	got, err := merge.MeanParams(models, weights)
	if err != nil {
		t.Fatal(err)
	}
	var sources []merge.Source
	for _, m := range models {
		sources = append(sources, source("m", m, mixedNames...))
	}
	plan, err := merge.NewPlan(sources, merge.Lerp, weights)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range plan.Entries(nil) {
		fromPlan, err := e.Load()
		if err != nil {
			t.Fatal(err)
		}
		if !fromPlan.Equal(got[e.Name]) {
			t.Errorf("tensor %q: the plan and MeanParams differ", e.Name)
		}
		if fromPlan.DType() != models[0][e.Name].DType() {
			t.Errorf("tensor %q became %v", e.Name, fromPlan.DType())
		}
	}
	for i, x := range tensor.Of[float32](got["f32"]) {
		if want := 1 + float64(i)*(2*1+2-3)/4; math.Abs(float64(x)-want) > 1e-6 {
			t.Errorf("element %d is %v, want %v", i, x, want)
		}
	}
	if !got["ids"].Equal(models[0]["ids"]) {
		t.Error("equal integers are not the first model's")
	}
}

func TestMeanOfManyErrors(t *testing.T) {
	a := source("a", mixed(t, 1), mixedNames...)
	other := mixed(t, 1)
	other["ids"] = tensor.FromSlice(tensor.Shape{3}, []int64{1, 2, 4})
	few := mixed(t, 1)
	delete(few, "f16")
	for want, run := range map[string]func() error{
		"2 weights for 3": func() error { _, err := merge.NewPlan([]merge.Source{a, a, a}, merge.Lerp, half2); return err },
		"by slerp": func() error {
			_, err := merge.NewPlan([]merge.Source{a, a, a}, merge.Slerp, []float64{1, 1, 1})
			return err
		},
		`tensor "f16" is in "a" and not in "c"`: func() error {
			_, err := merge.NewPlan([]merge.Source{a, a, source("c", few, "ids", "f64", "f32", "bf16")}, merge.Lerp, []float64{1, 1, 1})
			return err
		},
		`tensor "ids"`: func() error {
			_, err := merge.MeanParams([]map[string]*tensor.Tensor{mixed(t, 1), mixed(t, 2), other}, []float64{1, 1, 1})
			return err
		},
		`tensor "f16" is missing in model 3`: func() error {
			_, err := merge.MeanParams([]map[string]*tensor.Tensor{mixed(t, 1), mixed(t, 2), few}, []float64{1, 1, 1})
			return err
		},
	} {
		if err := run(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}
