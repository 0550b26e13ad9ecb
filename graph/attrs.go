package graph

import (
	"errors"
	"fmt"

	"github.com/rebasin/rebasin/tensor"
)

// Attrs are the attributes of a node: int64, float64, string, []int64, []float64, []string or *tensor.Tensor by name.
//
// The accessors return the default when the attribute is absent. On an attribute of another type they return the default, too: Validate
// checks the types of the attributes that known operators define, so that after it the accessors tell the truth.
type Attrs map[string]any

// Int returns the integer attribute of that name, or def.
func (a Attrs) Int(name string, def int64) int64 { return attr(a, name, def) }

// Float returns the float attribute of that name, or def.
func (a Attrs) Float(name string, def float64) float64 { return attr(a, name, def) }

// String returns the string attribute of that name, or def.
func (a Attrs) String(name, def string) string { return attr(a, name, def) }

// Ints returns the attribute of that name, a list of integers, or nil.
func (a Attrs) Ints(name string) []int64 { return attr[[]int64](a, name, nil) }

// Floats returns the attribute of that name, a list of floats, or nil.
func (a Attrs) Floats(name string) []float64 { return attr[[]float64](a, name, nil) }

// Strings returns the attribute of that name, a list of strings, or nil.
func (a Attrs) Strings(name string) []string { return attr[[]string](a, name, nil) }

// Tensor returns the tensor attribute of that name, or nil.
func (a Attrs) Tensor(name string) *tensor.Tensor { return attr[*tensor.Tensor](a, name, nil) }

// Has says whether the attribute is present.
func (a Attrs) Has(name string) bool {
	_, ok := a[name]
	return ok
}

func attr[T any](a Attrs, name string, def T) T {
	if v, ok := a[name].(T); ok {
		return v
	}
	return def
}

// attrType names the type of an attribute's value as ONNX does, or says false for one that attributes cannot have.
func attrType(v any) (string, bool) {
	switch v := v.(type) {
	case int64:
		return "INT", true
	case float64:
		return "FLOAT", true
	case string:
		return "STRING", true
	case []int64:
		return "INTS", true
	case []float64:
		return "FLOATS", true
	case []string:
		return "STRINGS", true
	case *tensor.Tensor:
		return "TENSOR", v != nil
	}
	return fmt.Sprintf("%T", v), false
}

var errNoValue = errors.New("none of the attributes value, value_int, value_ints, value_float and value_floats is present")

// constant makes the tensor that the attributes of a Constant node describe. Floats are F32 as ONNX has it.
func (a Attrs) constant() (*tensor.Tensor, error) {
	switch {
	case a.Tensor("value") != nil:
		return a.Tensor("value"), nil
	case a.Has("value_int"):
		return tensor.FromSlice(tensor.Shape{}, []int64{a.Int("value_int", 0)}), nil
	case a.Has("value_ints"):
		v := append([]int64{}, a.Ints("value_ints")...)
		return tensor.FromSlice(tensor.Shape{len(v)}, v), nil
	case a.Has("value_float"):
		return tensor.FromSlice(tensor.Shape{}, []float32{float32(a.Float("value_float", 0))}), nil
	case a.Has("value_floats"):
		v := make([]float32, len(a.Floats("value_floats")))
		for i, f := range a.Floats("value_floats") {
			v[i] = float32(f)
		}
		return tensor.FromSlice(tensor.Shape{len(v)}, v), nil
	}
	return nil, errNoValue
}
