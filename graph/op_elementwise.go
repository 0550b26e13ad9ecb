package graph

import "fmt"

// elementwiseOperators work on each element by itself, two operands being broadcast after NumPy.
var elementwiseOperators = map[string]operator{
	"Add":       {inputs: two, outputs: one, infer: broadcast},
	"Sub":       {inputs: two, outputs: one, infer: broadcast},
	"Mul":       {inputs: two, outputs: one, infer: broadcast},
	"Div":       {inputs: two, outputs: one, infer: broadcast},
	"Relu":      {inputs: one, outputs: one, infer: unary},
	"LeakyRelu": {inputs: one, outputs: one, attrs: map[string]string{"alpha": "FLOAT"}, infer: unary},
	"PRelu":     {inputs: two, outputs: one, infer: prelu},
	"Tanh":      {inputs: one, outputs: one, infer: unary},
	"Sigmoid":   {inputs: one, outputs: one, infer: unary},
	"Gelu":      {inputs: one, outputs: one, attrs: map[string]string{"approximate": "STRING"}, infer: gelu},
	"Clip":      {inputs: between(1, 3), outputs: one, infer: clip},
	"HardSigmoid": {
		inputs: one, outputs: one, attrs: map[string]string{"alpha": "FLOAT", "beta": "FLOAT"}, infer: unary,
	},
	"HardSwish": {inputs: one, outputs: one, infer: unary},
	"Identity":  {inputs: one, outputs: one, infer: unary},
	"Dropout":   {inputs: between(1, 3), outputs: between(1, 2), attrs: map[string]string{"seed": "INT"}, infer: dropout},
}

func broadcast(c *call) ([]Value, error) {
	if err := c.sameType(); err != nil {
		return nil, err
	}
	s, err := Broadcast(c.shape(0), c.shape(1))
	if err != nil {
		return nil, err
	}
	return c.result(s)
}

// prelu broadcasts the slope to the input, never the other way round.
func prelu(c *call) ([]Value, error) {
	if err := c.sameType(); err != nil {
		return nil, err
	}
	if !c.shape(1).BroadcastsTo(c.shape(0)) {
		return nil, fmt.Errorf("slope %q of shape %s does not broadcast to %q of shape %s",
			c.node.Input(1), c.shape(1), c.node.Input(0), c.shape(0))
	}
	return unary(c)
}

func gelu(c *call) ([]Value, error) {
	if a := c.node.Attrs.String("approximate", "none"); a != "none" && a != "tanh" {
		return nil, fmt.Errorf("attribute approximate is %q, not none or tanh", a)
	}
	return unary(c)
}

// clip has the scalars least and greatest; either may be absent.
func clip(c *call) ([]Value, error) {
	if err := c.sameType(); err != nil {
		return nil, err
	}
	for i := 1; i < len(c.in); i++ {
		if c.has(i) && c.shape(i).Rank() != 0 {
			return nil, fmt.Errorf("input %q of shape %s is not a scalar", c.node.Input(i), c.shape(i))
		}
	}
	return unary(c)
}

// dropout has the inputs data, ratio and training_mode, the last two scalars. Its second output, the mask, is refused when used: nothing that
// networks do in inference needs it.
func dropout(c *call) ([]Value, error) {
	for i := 1; i < len(c.in); i++ {
		if n, err := c.shape(i).Elements(); c.has(i) && (err != nil || !n.IsOne()) {
			return nil, fmt.Errorf("input %q of shape %s is not a scalar", c.node.Input(i), c.shape(i))
		}
	}
	return unary(c)
}
