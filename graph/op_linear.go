package graph

import "fmt"

// linearOperators contract axes.
var linearOperators = map[string]operator{
	"Gemm": {
		inputs: between(2, 3), outputs: one,
		attrs: map[string]string{"alpha": "FLOAT", "beta": "FLOAT", "transA": "INT", "transB": "INT"},
		infer: gemm,
	},
	"MatMul": {inputs: two, outputs: one, infer: matmul},
}

// gemm is alpha*A'B' + beta*C, A' being A of shape [M, K] or its transpose, B' of shape [K, N], C broadcast to [M, N].
func gemm(c *call) ([]Value, error) {
	if err := c.sameType(); err != nil {
		return nil, err
	}
	for i := range 2 {
		if c.shape(i).Rank() != 2 {
			return nil, fmt.Errorf("input %q of shape %s is not a matrix", c.node.Input(i), c.shape(i))
		}
	}
	m, ka := flip(c.shape(0), c.node.Attrs.Int("transA", 0) != 0)
	kb, n := flip(c.shape(1), c.node.Attrs.Int("transB", 0) != 0)
	if ka != kb {
		return nil, c.contraction(ka, kb)
	}
	out := Shape{m, n}
	if c.has(2) && !c.shape(2).BroadcastsTo(out) {
		return nil, fmt.Errorf("input %q of shape %s does not broadcast to %s", c.node.Input(2), c.shape(2), out)
	}
	return c.result(out)
}

func flip(s Shape, transposed bool) (rows, cols Dim) {
	if transposed {
		return s[1], s[0]
	}
	return s[0], s[1]
}

func (c *call) contraction(a, b Dim) error {
	return fmt.Errorf("%q of shape %s and %q of shape %s do not multiply: %s against %s",
		c.node.Input(0), c.shape(0), c.node.Input(1), c.shape(1), a, b)
}

// matmul is numpy.matmul: the last axis of A against the last but one of B, the axes before broadcast; an operand of rank 1 is a row on the
// left and a column on the right, and its axis vanishes from the result.
func matmul(c *call) ([]Value, error) {
	if err := c.sameType(); err != nil {
		return nil, err
	}
	a, b := c.shape(0), c.shape(1)
	if a.Rank() == 0 || b.Rank() == 0 {
		return nil, fmt.Errorf("inputs of shapes %s and %s: a scalar has no axis to contract", a, b)
	}
	var rows, cols Shape // of the result, empty for vectors
	if a.Rank() > 1 {
		rows = a[a.Rank()-2 : a.Rank()-1]
	}
	kb, batchB := b[0], Shape{}
	if b.Rank() > 1 {
		kb, cols, batchB = b[b.Rank()-2], b[b.Rank()-1:], b[:b.Rank()-2]
	}
	if ka := a[a.Rank()-1]; ka != kb {
		return nil, c.contraction(ka, kb)
	}
	out, err := Broadcast(a[:max(a.Rank()-2, 0)], batchB)
	if err != nil {
		return nil, err
	}
	return c.result(append(append(out, rows...), cols...))
}
