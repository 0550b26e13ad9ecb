package graph

import (
	"errors"
	"fmt"

	"github.com/rebasin/rebasin/tensor"
)

// attentionOperators are functions of simpler operators, which [Graph.Lowered] writes out.
var attentionOperators = map[string]operator{
	"Attention": {
		inputs: between(3, 6), outputs: between(1, 4),
		attrs: map[string]string{
			"is_causal": "INT", "kv_num_heads": "INT", "q_num_heads": "INT", "qk_matmul_output_mode": "INT", "scale": "FLOAT", "softcap": "FLOAT",
			"softmax_precision": "INT",
		},
		infer: attention,
	},
	"RMSNormalization": {
		inputs: two, outputs: one, attrs: map[string]string{"axis": "INT", "epsilon": "FLOAT", "stash_type": "INT"}, infer: layerNormalization,
	},
	"RotaryEmbedding": {
		inputs: between(3, 4), outputs: one,
		attrs: map[string]string{"interleaved": "INT", "num_heads": "INT", "rotary_embedding_dim": "INT"},
		infer: rotaryEmbedding,
	},
}

// heads is the shape [N, heads, T, size] of a value, or that of [N, T, heads*size] taken apart.
func heads(s Shape, count int64) (Shape, error) {
	switch {
	case s.Rank() == 4:
		return s, nil
	case s.Rank() != 3 || count < 1 || count > maxWindow:
		return nil, fmt.Errorf("shape %s does not make %d heads", s, count)
	}
	size, ok := s[2].Div(Fixed(int(count)))
	if !ok {
		return nil, fmt.Errorf("shape %s does not make %d heads", s, count)
	}
	return Shape{s[0], Fixed(int(count)), s[1], size}, nil
}

// attentionShapes are those of queries, keys and values, [N, heads, T, size], the past put before the latter two.
func attentionShapes(n *Node, shape func(i int) Shape) (q, k, v Shape, err error) {
	all := [3]Shape{}
	for i := range all {
		count := n.Attrs.Int("kv_num_heads", 0)
		if i == 0 {
			count = n.Attrs.Int("q_num_heads", 0)
		}
		if all[i], err = heads(shape(i), count); err != nil {
			return nil, nil, nil, fmt.Errorf("input %q: %w", n.Input(i), err)
		}
	}
	q, k, v = all[0], all[1], all[2]
	for i, s := range []*Shape{&k, &v} {
		past := shape(4 + i)
		if n.Input(4+i) == "" {
			continue
		}
		if past.Rank() != 4 {
			return nil, nil, nil, fmt.Errorf("input %q of shape %s is not [N heads T size]", n.Input(4+i), past)
		}
		sum, err := past[2].plus((*s)[2])
		if err != nil {
			return nil, nil, nil, err
		}
		*s = Shape{(*s)[0], (*s)[1], sum, (*s)[3]}
	}
	if _, ok := q[1].Div(k[1]); !ok || k[1] != v[1] || q[0] != k[0] || k[0] != v[0] || k[2] != v[2] || q[3] != k[3] {
		return nil, nil, nil, fmt.Errorf("queries %s, keys %s and values %s do not fit", q, k, v)
	}
	return q, k, v, nil
}

// attention has the outputs Y, like the queries, the keys and the values with their past, and the scores.
func attention(c *call) ([]Value, error) {
	shape := func(i int) Shape {
		if !c.has(i) {
			return nil
		}
		return c.shape(i)
	}
	q, k, v, err := attentionShapes(c.node, shape)
	if err != nil {
		return nil, err
	}
	if c.has(4) != c.has(5) {
		return nil, errors.New("one of past_key and past_value is absent")
	}
	scores := Shape{q[0], q[1], q[2], k[2]}
	if c.has(3) && !c.shape(3).BroadcastsTo(scores) {
		return nil, fmt.Errorf("mask %q of shape %s does not broadcast to %s", c.node.Input(3), c.shape(3), scores)
	}
	y := Shape{q[0], q[1], q[2], v[3]}
	if c.shape(0).Rank() == 3 {
		width, err := q[1].Mul(v[3])
		if err != nil {
			return nil, err
		}
		y = Shape{q[0], q[2], width}
	}
	dtype := c.in[0].DType
	return []Value{{DType: dtype, Shape: y}, {DType: dtype, Shape: k}, {DType: dtype, Shape: v}, {DType: dtype, Shape: scores}}, nil
}

// rotaryEmbedding turns pairs of elements of [N, heads, T, size], or [N, T, heads*size], by angles whose cos and sin are in tables: [places, size/2] and
// chosen by position_ids [N, T], or [N, T, size/2].
func rotaryEmbedding(c *call) ([]Value, error) {
	x, err := heads(c.shape(0), c.node.Attrs.Int("num_heads", 0))
	if err != nil {
		return nil, fmt.Errorf("input %q: %w", c.node.Input(0), err)
	}
	turned := c.node.Attrs.Int("rotary_embedding_dim", 0)
	if turned == 0 {
		turned = int64(x[3].Size)
	}
	want := Shape{x[0], x[2], Fixed(int(turned / 2))}
	if c.has(3) {
		if c.in[3].DType != tensor.I64 || !c.shape(3).BroadcastsTo(want[:2]) {
			return nil, fmt.Errorf("position_ids %q, %v %s, are not I64 %s", c.node.Input(3), c.in[3].DType, c.shape(3), want[:2])
		}
		if c.shape(1).Rank() != 2 {
			return nil, fmt.Errorf("table %q of shape %s is not one of places", c.node.Input(1), c.shape(1))
		}
		want = Shape{c.shape(1)[0], want[2]}
	}
	if !x[3].IsFixed() || turned < 2 || turned%2 != 0 || turned > int64(x[3].Size) {
		return nil, fmt.Errorf("%d of %s elements cannot be turned", turned, x[3])
	}
	for i := 1; i < 3; i++ {
		if s := c.shape(i); s.Rank() != len(want) || !s.BroadcastsTo(want) {
			return nil, fmt.Errorf("table %q of shape %s does not fit %s", c.node.Input(i), s, want)
		}
	}
	return unary(c)
}
