package graph

import (
	"fmt"
	"maps"
	"math"

	"github.com/rebasin/rebasin/tensor"
)

// operator is what the package knows of one ONNX operator.
type operator struct {
	inputs, outputs arity
	attrs           map[string]string // attribute name -> ONNX type
	// infer gives the values of the outputs, in order; names are filled in by the caller. It may return fewer than the node has: what is left
	// over must not be used by anybody.
	infer func(*call) ([]Value, error)
	// optional says that the first output may be absent.
	optional bool
}

// arity is the least and greatest number of inputs or outputs. Of the inputs, the first min must not be absent.
type arity struct{ min, max int }

var (
	none = arity{0, 0}
	one  = arity{1, 1}
	two  = arity{2, 2}
)

// many is the greatest number of inputs of operators that take any number.
const many = math.MaxInt

func between(least, most int) arity { return arity{least, most} }

func (a arity) String() string {
	switch {
	case a.min == a.max:
		return fmt.Sprint(a.min)
	case a.max == many:
		return fmt.Sprintf("at least %d", a.min)
	}
	return fmt.Sprintf("%d to %d", a.min, a.max)
}

// operators is the registry: one map per family of operators, each in a file of its own.
var operators = union(attentionOperators, contractionOperators, elementwiseOperators, indexOperators, linearOperators, normalisationOperators,
	partOperators, recurrentOperators, reduceOperators, shapeOperators, spatialOperators, windowOperators)

func union(families ...map[string]operator) map[string]operator {
	all := map[string]operator{}
	for _, f := range families {
		maps.Copy(all, f)
	}
	return all
}

// call is one node whose inputs' values are known.
type call struct {
	node      *Node
	in        []Value // a zero Value for an absent input
	constants map[string]*tensor.Tensor
	lists     map[string]Shape // what is known of lists of extents in which symbols stand, and of such scalars, as lists of one
}

func (c *call) shape(i int) Shape { return c.in[i].Shape }

func (c *call) has(i int) bool { return c.node.Input(i) != "" }

// result is the usual outcome: one output of the type of the first input.
func (c *call) result(s Shape) ([]Value, error) {
	return []Value{{DType: c.in[0].DType, Shape: s}}, nil
}

// sameType demands that all present inputs have the type of the first.
func (c *call) sameType() error {
	for i, v := range c.in {
		if c.has(i) && v.DType != c.in[0].DType {
			return fmt.Errorf("inputs %q (%v) and %q (%v) differ in type", c.node.Input(0), c.in[0].DType, c.node.Input(i), v.DType)
		}
	}
	return nil
}

func unary(c *call) ([]Value, error) { return c.result(c.shape(0)) }
