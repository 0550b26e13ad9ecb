package graph

import (
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/tensor"
)

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
	"HardSwish":  {inputs: one, outputs: one, infer: unary},
	"Identity":   {inputs: one, outputs: one, infer: unary},
	"Sqrt":       {inputs: one, outputs: one, infer: unary},
	"Reciprocal": {inputs: one, outputs: one, infer: unary},
	"Erf":        {inputs: one, outputs: one, infer: unary},
	"Exp":        {inputs: one, outputs: one, infer: unary},
	"Log":        {inputs: one, outputs: one, infer: unary},
	"Neg":        {inputs: one, outputs: one, infer: unary},
	"Abs":        {inputs: one, outputs: one, infer: unary},
	"Sign":       {inputs: one, outputs: one, infer: unary},
	"Floor":      {inputs: one, outputs: one, infer: unary},
	"Ceil":       {inputs: one, outputs: one, infer: unary},
	"Sin":        {inputs: one, outputs: one, infer: unary},
	"Cos":        {inputs: one, outputs: one, infer: unary},
	"Elu":        {inputs: one, outputs: one, attrs: map[string]string{"alpha": "FLOAT"}, infer: unary},
	"Softplus":   {inputs: one, outputs: one, infer: unary},
	"Mish":       {inputs: one, outputs: one, infer: unary},
	"Not":        {inputs: one, outputs: one, infer: logical},
	"Pow":        {inputs: two, outputs: one, infer: power},
	"Min":        {inputs: arity{1, many}, outputs: one, infer: broadcastAll},
	"Max":        {inputs: arity{1, many}, outputs: one, infer: broadcastAll},
	"Sum":        {inputs: arity{1, many}, outputs: one, infer: broadcastAll},

	"Equal":          {inputs: two, outputs: one, infer: comparison},
	"Less":           {inputs: two, outputs: one, infer: comparison},
	"LessOrEqual":    {inputs: two, outputs: one, infer: comparison},
	"Greater":        {inputs: two, outputs: one, infer: comparison},
	"GreaterOrEqual": {inputs: two, outputs: one, infer: comparison},
	"And":            {inputs: two, outputs: one, infer: logical},
	"Or":             {inputs: two, outputs: one, infer: logical},
	"Xor":            {inputs: two, outputs: one, infer: logical},
	"Where":          {inputs: arity{3, 3}, outputs: one, infer: where},
	"Cast":           {inputs: one, outputs: one, attrs: map[string]string{"to": "INT", "saturate": "INT", "round_mode": "STRING"}, infer: cast},
	"Dropout":        {inputs: between(1, 3), outputs: between(1, 2), attrs: map[string]string{"seed": "INT"}, infer: dropout},
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

// broadcastAll takes any number of operands.
func broadcastAll(c *call) ([]Value, error) {
	if i := slices.Index(c.node.Inputs, ""); i >= 0 {
		return nil, fmt.Errorf("input %d is absent", i)
	}
	if err := c.sameType(); err != nil {
		return nil, err
	}
	return c.broadcastTo(c.in[0].DType)
}

// broadcastTo is one output of a type, of the shape to which all inputs broadcast.
func (c *call) broadcastTo(dtype tensor.DType) ([]Value, error) {
	out := c.shape(0)
	for i := 1; i < len(c.in); i++ {
		var err error
		if out, err = Broadcast(out, c.shape(i)); err != nil {
			return nil, err
		}
	}
	return []Value{{DType: dtype, Shape: out}}, nil
}

// power has an exponent of any type; the result has the type of the base.
func power(c *call) ([]Value, error) { return c.broadcastTo(c.in[0].DType) }

func comparison(c *call) ([]Value, error) {
	if err := c.sameType(); err != nil {
		return nil, err
	}
	return c.broadcastTo(tensor.Bool)
}

func (c *call) isBool(i int) error {
	if c.in[i].DType != tensor.Bool {
		return fmt.Errorf("input %q is %v, not BOOL", c.node.Input(i), c.in[i].DType)
	}
	return nil
}

func logical(c *call) ([]Value, error) {
	for i := range c.in {
		if err := c.isBool(i); err != nil {
			return nil, err
		}
	}
	return c.broadcastTo(tensor.Bool)
}

// where takes elements of its second input where the first one holds, else of the third.
func where(c *call) ([]Value, error) {
	if err := c.isBool(0); err != nil {
		return nil, err
	}
	if c.in[1].DType != c.in[2].DType {
		return nil, fmt.Errorf("inputs %q (%v) and %q (%v) differ in type", c.node.Input(1), c.in[1].DType, c.node.Input(2), c.in[2].DType)
	}
	return c.broadcastTo(c.in[1].DType)
}

// castTypes are ONNX's numbers of types (TensorProto.DataType).
var castTypes = map[int64]tensor.DType{
	1: tensor.F32, 2: tensor.U8, 3: tensor.I8, 5: tensor.I16, 6: tensor.I32, 7: tensor.I64, 9: tensor.Bool, 10: tensor.F16, 11: tensor.F64,
	16: tensor.BF16,
}

func cast(c *call) ([]Value, error) {
	to := c.node.Attrs.Int("to", 0)
	dtype, ok := castTypes[to]
	if !ok {
		return nil, fmt.Errorf("attribute to is %d, no type that is known here", to)
	}
	return []Value{{DType: dtype, Shape: c.shape(0)}}, nil
}
