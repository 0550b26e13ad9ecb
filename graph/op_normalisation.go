package graph

import "fmt"

// normalisationOperators relate the elements along some axes to each other.
var normalisationOperators = map[string]operator{
	"Softmax":    {inputs: one, outputs: one, attrs: map[string]string{"axis": "INT"}, infer: softmax},
	"LogSoftmax": {inputs: one, outputs: one, attrs: map[string]string{"axis": "INT"}, infer: softmax},
	"LayerNormalization": {
		inputs: between(2, 3), outputs: between(1, 3),
		attrs: map[string]string{"axis": "INT", "epsilon": "FLOAT", "stash_type": "INT"},
		infer: layerNormalization,
	},
}

func softmax(c *call) ([]Value, error) {
	if _, err := Axis(c.node.Attrs.Int("axis", -1), c.shape(0).Rank()); err != nil {
		return nil, err
	}
	return unary(c)
}

// layerNormalization normalises over all axes from axis on; scale and bias have the shape of these axes. The outputs mean and inverse
// deviation are refused when used.
func layerNormalization(c *call) ([]Value, error) {
	if err := c.sameType(); err != nil {
		return nil, err
	}
	axis, err := Axis(c.node.Attrs.Int("axis", -1), c.shape(0).Rank())
	if err != nil {
		return nil, err
	}
	normalised := c.shape(0)[axis:]
	for i := 1; i < len(c.in); i++ {
		if c.has(i) && !c.shape(i).Equal(normalised) {
			return nil, fmt.Errorf("input %q has shape %s, not that of the normalised axes, %s", c.node.Input(i), c.shape(i), normalised)
		}
	}
	return unary(c)
}
