package nn

import (
	"errors"
	"fmt"
	"math"

	"github.com/rebasin/rebasin/graph"
)

// recurrentOperators go through sequences. They run, and have no gradients.
func recurrentOperators[T Float]() map[string]operator[T] {
	op := operator[T]{compile: compileRecurrent[T]}
	return map[string]operator[T]{"RNN": op, "GRU": op, "LSTM": op}
}

// recurrent is one such node. Its inputs are those that graph describes; the state of all examples is h and, for LSTM, c, both [N, H].
type recurrent[T Float] struct {
	call                              *call[T]
	time, batch, input, hidden, gates int
	f, g, last                        func(float64) float64
	linearFirst                       bool // of GRU: the state is multiplied before it is reset
	bound                             float64
	w, r, bias, firstH, firstC, holes *buffer[T]
	h, c                              []float64
	sums, mixed                       []float64 // of each gate: that of the input with both biases, and that of the state
}

// errNoGradient: only running is supported.
var errNoGradient = errors.New("recurrent operators can run, but not be trained")

func compileRecurrent[T Float](c *call[T]) (step, error) {
	if c.backward {
		return step{}, errNoGradient
	}
	if c.has(4) {
		return step{}, errors.New("sequences of different lengths are not supported")
	}
	if c.node.Attrs.Int("input_forget", 0) != 0 {
		return step{}, errors.New("attribute input_forget is not supported")
	}
	shape, r := c.shape(0), c.shape(2)
	n := &recurrent[T]{
		call: c, time: shape[0], batch: shape[1], input: shape[2], hidden: r[2], gates: graph.Gates(c.node.Op),
		linearFirst: c.node.Attrs.Int("linear_before_reset", 0) != 0, bound: c.node.Attrs.Float("clip", 0), w: c.x(1), r: c.x(2),
	}
	for i, b := range map[int]**buffer[T]{3: &n.bias, 5: &n.firstH, 6: &n.firstC, 7: &n.holes} {
		if c.has(i) {
			*b = c.x(i)
		}
	}
	directions := r[0]
	functions, err := c.recurrentFunctions(directions)
	if err != nil {
		return step{}, err
	}
	n.h, n.c = make([]float64, n.batch*n.hidden), make([]float64, n.batch*n.hidden)
	n.sums, n.mixed = make([]float64, n.gates*n.hidden), make([]float64, n.gates*n.hidden)
	c.y()
	return step{forward: func() {
		for d := range directions {
			of := functions[d*len(functions)/directions:]
			n.f, n.g, n.last = of[0], of[min(1, len(of)-1)], of[min(2, len(of)-1)]
			n.run(d, directions)
		}
	}}, nil
}

// recurrentFunctions are the activations of each direction: f for RNN, f and g for GRU, f, g and h for LSTM.
func (c *call[T]) recurrentFunctions(directions int) ([]func(float64) float64, error) {
	names := c.node.Attrs.Strings("activations")
	usual := map[string][]string{"RNN": {"Tanh"}, "GRU": {"Sigmoid", "Tanh"}, "LSTM": {"Sigmoid", "Tanh", "Tanh"}}[c.node.Op]
	if names == nil {
		for range directions {
			names = append(names, usual...)
		}
	}
	if len(names) != directions*len(usual) {
		return nil, fmt.Errorf("activations %v are not %d for each direction", names, len(usual))
	}
	var list []func(float64) float64
	for _, name := range names {
		f, ok := map[string]func(float64) float64{
			"Sigmoid": logistic, "Tanh": math.Tanh, "Relu": func(x float64) float64 { return max(x, 0) }, "Softplus": softplus,
		}[name]
		if !ok {
			return nil, fmt.Errorf("activation %q is not supported", name)
		}
		list = append(list, f)
	}
	return list, nil
}

// run goes through the sequence in one direction.
func (n *recurrent[T]) run(d, directions int) {
	size := n.batch * n.hidden
	load := func(state []float64, from *buffer[T]) {
		clear(state)
		if from != nil {
			for i := range state {
				state[i] = float64(from.data[d*size+i])
			}
		}
	}
	load(n.h, n.firstH)
	load(n.c, n.firstC)
	backwards := n.call.node.Attrs.String("direction", "forward") == "reverse" || d == 1
	y := n.call.y().data
	for step := range n.time {
		t := step
		if backwards {
			t = n.time - 1 - step
		}
		for example := range n.batch {
			n.advance(d, t, example)
		}
		if n.call.node.slot == 0 {
			keepState(y[(t*directions+d)*size:], n.h)
		}
	}
	switch n.call.node.slot {
	case 1:
		keepState(y[d*size:], n.h)
	case 2:
		keepState(y[d*size:], n.c)
	}
}

func keepState[T Float](dst []T, src []float64) {
	for i, v := range src {
		dst[i] = T(v)
	}
}

// advance moves one example a step on.
func (n *recurrent[T]) advance(d, t, example int) {
	rows := n.gates * n.hidden
	x := n.call.x(0).data[(t*n.batch+example)*n.input:][:n.input]
	h, c := n.h[example*n.hidden:][:n.hidden], n.c[example*n.hidden:][:n.hidden]
	for row := range rows {
		sum := 0.0
		for i, v := range n.w.data[(d*rows+row)*n.input:][:n.input] {
			sum += float64(v) * float64(x[i])
		}
		n.sums[row] = sum + n.biasOf(d, row)
		n.mixed[row] = n.product(d, row, h) + n.biasOf(d, rows+row)
	}
	switch n.call.node.Op {
	case "LSTM":
		n.lstm(d, h, c)
	case "GRU":
		n.gru(d, h)
	default:
		for i := range h {
			h[i] = n.f(n.clip(n.sums[i] + n.mixed[i]))
		}
	}
}

// product is a row of the matrix of the state times a state.
func (n *recurrent[T]) product(d, row int, state []float64) float64 {
	sum := 0.0
	for i, v := range n.r.data[(d*n.gates*n.hidden+row)*n.hidden:][:n.hidden] {
		sum += float64(v) * state[i]
	}
	return sum
}

// biasOf is an element of the biases: those of the input, then those of the state.
func (n *recurrent[T]) biasOf(d, i int) float64 {
	if n.bias == nil {
		return 0
	}
	return float64(n.bias.data[d*2*n.gates*n.hidden+i])
}

func (n *recurrent[T]) clip(x float64) float64 {
	if n.bound > 0 {
		return min(max(x, -n.bound), n.bound)
	}
	return x
}

// lstm has the gates i, o, f, c, and peepholes of i, o, f. Reference: Hochreiter, Schmidhuber, "Long Short-Term Memory", Neural Computation 9, 1997,
// doi:10.1162/neco.1997.9.8.1735; Gers, Schmidhuber, "Recurrent Nets that Time and Count", IJCNN 2000, for the peepholes.
func (n *recurrent[T]) lstm(d int, h, c []float64) {
	gate := func(k, i int) float64 { return n.sums[k*n.hidden+i] + n.mixed[k*n.hidden+i] }
	hole := func(k, i int, cell float64) float64 {
		if n.holes == nil {
			return 0
		}
		return float64(n.holes.data[(d*3+k)*n.hidden+i]) * cell
	}
	for i, old := range c {
		in := n.f(n.clip(gate(0, i) + hole(0, i, old)))
		forget := n.f(n.clip(gate(2, i) + hole(2, i, old)))
		c[i] = forget*old + in*n.g(n.clip(gate(3, i)))
		h[i] = n.f(n.clip(gate(1, i)+hole(1, i, c[i]))) * n.last(c[i])
	}
}

// gru has the gates z, r, h. Reference: Cho and others, "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014, arXiv:1406.1078.
func (n *recurrent[T]) gru(d int, h []float64) {
	update, reset := make([]float64, n.hidden), make([]float64, n.hidden)
	for i := range h {
		update[i] = n.f(n.clip(n.sums[i] + n.mixed[i]))
		reset[i] = n.f(n.clip(n.sums[n.hidden+i] + n.mixed[n.hidden+i]))
	}
	kept := make([]float64, n.hidden)
	for i, v := range h {
		kept[i] = reset[i] * v
	}
	next := make([]float64, n.hidden)
	for i := range h {
		row := 2*n.hidden + i
		state := reset[i] * n.mixed[row]
		if !n.linearFirst {
			state = n.product(d, row, kept) + n.biasOf(d, n.gates*n.hidden+row)
		}
		next[i] = (1-update[i])*n.g(n.clip(n.sums[row]+state)) + update[i]*h[i]
	}
	copy(h, next)
}
