package graph

import (
	"fmt"
	"slices"
	"strings"
)

// contractionOperators contract axes that an equation names.
var contractionOperators = map[string]operator{
	"Einsum": {inputs: arity{1, many}, outputs: one, attrs: map[string]string{"equation": "STRING"}, infer: einsum},
}

// Equation is what an Einsum node says: its labels, numbered, of each axis of each input and of the output. All labels that the output lacks are summed
// over.
type Equation struct {
	Inputs [][]int
	Output []int
	Labels int
}

// EquationOf reads the equation of an Einsum node. Without an arrow the output has the labels that stand once, in alphabetical order. An ellipsis is not read.
func EquationOf(n *Node) (Equation, error) {
	text := strings.ReplaceAll(n.Attrs.String("equation", ""), " ", "")
	if strings.Contains(text, ".") {
		return Equation{}, fmt.Errorf("equation %q has an ellipsis: %w", text, ErrUnknownOperator)
	}
	left, right, arrow := strings.Cut(text, "->")
	terms := strings.Split(left, ",")
	if len(terms) != len(n.Inputs) {
		return Equation{}, fmt.Errorf("equation %q is of %d inputs, not %d", text, len(terms), len(n.Inputs))
	}
	if !arrow {
		right = ""
		for _, r := range slices.Sorted(slices.Values([]rune(strings.ReplaceAll(left, ",", "")))) {
			if strings.Count(left, string(r)) == 1 {
				right += string(r)
			}
		}
	}
	e, numbers := Equation{}, map[rune]int{}
	number := func(term string, define bool) ([]int, error) {
		labels := []int{}
		for _, r := range term {
			if _, ok := numbers[r]; !ok && define && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
				numbers[r] = len(numbers)
			}
			k, ok := numbers[r]
			if !ok || !define && slices.Contains(labels, k) {
				return nil, fmt.Errorf("equation %q: %q has no meaning in %q", text, r, term)
			}
			labels = append(labels, k)
		}
		return labels, nil
	}
	for _, term := range terms {
		labels, err := number(term, true)
		if err != nil {
			return Equation{}, err
		}
		e.Inputs = append(e.Inputs, labels)
	}
	var err error
	e.Output, err = number(right, false)
	e.Labels = len(numbers)
	return e, err
}

func einsum(c *call) ([]Value, error) {
	if err := c.sameType(); err != nil {
		return nil, err
	}
	e, err := EquationOf(c.node)
	if err != nil {
		return nil, err
	}
	extents := make([]Dim, e.Labels)
	for i, labels := range e.Inputs {
		s := c.shape(i)
		if len(labels) != s.Rank() {
			return nil, fmt.Errorf("equation %q does not fit %q of shape %s", c.node.Attrs.String("equation", ""), c.node.Input(i), s)
		}
		for axis, k := range labels {
			if extents[k].Size == 0 {
				extents[k] = s[axis]
			}
			if extents[k] != s[axis] {
				return nil, fmt.Errorf("equation %q: axis %d of %q of shape %s is not of extent %s",
					c.node.Attrs.String("equation", ""), axis, c.node.Input(i), s, extents[k])
			}
		}
	}
	out := Shape{}
	for _, k := range e.Output {
		out = append(out, extents[k])
	}
	return c.result(out)
}
