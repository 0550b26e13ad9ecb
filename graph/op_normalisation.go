package graph

import (
	"errors"
	"fmt"
)

// normalisationOperators relate the elements along some axes to each other.
var normalisationOperators = map[string]operator{
	"Softmax":    {inputs: one, outputs: one, attrs: map[string]string{"axis": "INT"}, infer: softmax},
	"LogSoftmax": {inputs: one, outputs: one, attrs: map[string]string{"axis": "INT"}, infer: softmax},
	"LayerNormalization": {
		inputs: between(2, 3), outputs: between(1, 3),
		attrs: map[string]string{"axis": "INT", "epsilon": "FLOAT", "stash_type": "INT"},
		infer: layerNormalization,
	},
	"BatchNormalization": {
		inputs: arity{5, 5}, outputs: between(1, 3),
		attrs: map[string]string{"epsilon": "FLOAT", "momentum": "FLOAT", "training_mode": "INT"},
		infer: batchNormalization,
	},
	"InstanceNormalization": {inputs: arity{3, 3}, outputs: one, attrs: map[string]string{"epsilon": "FLOAT"}, infer: instanceNormalization},
	"GroupNormalization": {
		inputs: arity{3, 3}, outputs: one,
		attrs: map[string]string{"epsilon": "FLOAT", "num_groups": "INT", "stash_type": "INT"},
		infer: groupNormalization,
	},
}

// perChannel demands that input 0 is [N, C, ...], of at least so many axes, and all others have the shape [C].
func (c *call) perChannel(least int) error {
	if err := c.sameType(); err != nil {
		return err
	}
	if c.shape(0).Rank() < least {
		return fmt.Errorf("input %q of shape %s has less than %d axes", c.node.Input(0), c.shape(0), least)
	}
	for i := 1; i < len(c.in); i++ {
		if c.has(i) && !c.shape(i).Equal(c.shape(0)[1:2]) {
			return fmt.Errorf("input %q has shape %s, not that of the channels, %s", c.node.Input(i), c.shape(i), c.shape(0)[1:2])
		}
	}
	return nil
}

// batchNormalization has the inputs X, scale, bias, mean, variance. Graphs are stored in inference form; that mean and variance of the batch are
// used in training is an option of the engine.
func batchNormalization(c *call) ([]Value, error) {
	if c.node.Attrs.Int("training_mode", 0) != 0 {
		return nil, errors.New("attribute training_mode is set, but graphs have the form of inference")
	}
	if err := c.perChannel(2); err != nil {
		return nil, err
	}
	return unary(c)
}

func instanceNormalization(c *call) ([]Value, error) {
	if err := c.perChannel(3); err != nil {
		return nil, err
	}
	return unary(c)
}

// groupNormalization has a scale and a bias for each channel, as since opset 21, or for each group, as in opset 18: that form has other
// parameters, which no conversion could keep.
func groupNormalization(c *call) ([]Value, error) {
	if err := c.sameType(); err != nil {
		return nil, err
	}
	s := c.shape(0)
	if s.Rank() < 2 {
		return nil, fmt.Errorf("input %q of shape %s has no channels", c.node.Input(0), s)
	}
	groups := c.node.Attrs.Int("num_groups", 0)
	if groups < 1 || groups > maxWindow {
		return nil, fmt.Errorf("attribute num_groups is %d", groups)
	}
	g := Fixed(int(groups))
	if _, ok := s[1].Div(g); !ok {
		return nil, fmt.Errorf("input %q of shape %s: %s channels do not make %d groups", c.node.Input(0), s, s[1], groups)
	}
	for i := 1; i < 3; i++ {
		if v := c.shape(i); !v.Equal(s[1:2]) && !v.Equal(Shape{g}) {
			return nil, fmt.Errorf("input %q has shape %s, not that of the channels, %s, or of the groups, [%d]", c.node.Input(i), v, s[1:2], groups)
		}
	}
	return unary(c)
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
