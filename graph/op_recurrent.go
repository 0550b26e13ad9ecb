package graph

import (
	"errors"
	"fmt"

	"github.com/rebasin/rebasin/tensor"
)

// recurrentOperators go through a sequence, step by step. Any of their outputs may be absent.
var recurrentOperators = map[string]operator{
	"RNN":  {inputs: between(3, 6), outputs: between(1, 2), attrs: recurrentAttrs(nil), infer: recurrent, optional: true},
	"GRU":  {inputs: between(3, 6), outputs: between(1, 2), attrs: recurrentAttrs(map[string]string{"linear_before_reset": "INT"}), infer: recurrent, optional: true},
	"LSTM": {inputs: between(3, 8), outputs: between(1, 3), attrs: recurrentAttrs(map[string]string{"input_forget": "INT"}), infer: recurrent, optional: true},
}

func recurrentAttrs(more map[string]string) map[string]string {
	attrs := map[string]string{
		"activation_alpha": "FLOATS", "activation_beta": "FLOATS", "activations": "STRINGS", "clip": "FLOAT", "direction": "STRING", "hidden_size": "INT",
		"layout": "INT",
	}
	for name, kind := range more {
		attrs[name] = kind
	}
	return attrs
}

// Gates is the number of matrices that a recurrent operator keeps one below the other: 4 for LSTM, 3 for GRU, 1 for RNN, 0 for others.
func Gates(op string) int { return map[string]int{"LSTM": 4, "GRU": 3, "RNN": 1}[op] }

// recurrent has the inputs X [T, N, I], W [D, G*H, I], R [D, G*H, H], B [D, 2*G*H], the lengths of sequences [N], the first state [D, N, H] and, for LSTM,
// the first cell [D, N, H] and peepholes [D, 3*H]; the outputs are Y [T, D, N, H], the last state and the last cell, [D, N, H]. D is 2 for both
// directions, else 1; G is the number of gates.
func recurrent(c *call) ([]Value, error) {
	if c.node.Attrs.Int("layout", 0) != 0 {
		return nil, fmt.Errorf("attribute layout is set: %w", ErrUnknownOperator)
	}
	directions := map[string]int{"forward": 1, "reverse": 1, "bidirectional": 2}[c.node.Attrs.String("direction", "forward")]
	if directions == 0 {
		return nil, fmt.Errorf("attribute direction is %q", c.node.Attrs.String("direction", ""))
	}
	x, r := c.shape(0), c.shape(2)
	if x.Rank() != 3 || r.Rank() != 3 || !r[2].IsFixed() {
		return nil, fmt.Errorf("inputs of shapes %s and %s are not [T N I] and [D G*H H]", x, r)
	}
	h, d := r[2], Fixed(directions)
	if n := c.node.Attrs.Int("hidden_size", int64(h.Size)); n != int64(h.Size) {
		return nil, fmt.Errorf("attribute hidden_size is %d, %q has shape %s", n, c.node.Input(2), r)
	}
	times := func(n int) Dim {
		m, err := h.Mul(Fixed(n))
		if err != nil {
			m = Dim{}
		}
		return m
	}
	gates := Gates(c.node.Op)
	state := Shape{d, x[1], h}
	want := []Shape{x, {d, times(gates), x[2]}, {d, times(gates), h}, {d, times(2 * gates)}, {x[1]}, state, state, {d, times(3)}}
	for i := range c.in {
		if !c.has(i) {
			continue
		}
		if !c.shape(i).Equal(want[i]) {
			return nil, fmt.Errorf("input %d, %q, has shape %s, not %s", i, c.node.Input(i), c.shape(i), want[i])
		}
		if i == 4 && c.in[i].DType != tensor.I32 || i != 4 && c.in[i].DType != c.in[0].DType {
			return nil, errors.New("inputs differ in type")
		}
	}
	dtype := c.in[0].DType
	return []Value{{DType: dtype, Shape: Shape{x[0], d, x[1], h}}, {DType: dtype, Shape: state}, {DType: dtype, Shape: state}}, nil
}
