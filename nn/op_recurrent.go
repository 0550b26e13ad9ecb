package nn

import (
	"errors"
	"fmt"
	"math"

	"github.com/rebasin/rebasin/graph"
)

// recurrentOperators go through sequences.
func recurrentOperators[T Float]() map[string]operator[T] {
	op := operator[T]{compile: compileRecurrent[T]}
	return map[string]operator[T]{"RNN": op, "GRU": op, "LSTM": op}
}

// recurrent is one such node. Its inputs are those that graph describes. One example goes through its sequence after the other, in float64.
type recurrent[T Float] struct {
	call                              *call[T]
	directions                        int
	time, batch, input, hidden, gates int
	functions                         []activation // of all directions
	f, g, last                        activation   // of the present one
	linearFirst                       bool         // of GRU: the state is multiplied before it is reset
	bound                             float64
	w, r, bias, firstH, firstC, holes *buffer[T]
	moments                           []moment // of a sequence where there is a backward pass, else one, used again
	h, c                              []float64
	sums, mixed                       []float64 // of each gate: that of the input with both biases, and that of the state
	back                              *recurrentBack[T]
}

// moment is what one step of one example's sequence has computed.
type moment struct {
	h, c         []float64 // the state before the step
	value, slope []float64 // of each gate: its activation, and the derivative of that
	cell         []float64 // of LSTM: the cell after the step
	kept, linear []float64 // of GRU: the state as it is reset, and what it is multiplied to where that comes first
}

// An activation has its derivative as a function of its value.
type activation struct{ of, slope func(float64) float64 }

var activations = map[string]activation{
	"Sigmoid":  {logistic, func(y float64) float64 { return y * (1 - y) }},
	"Tanh":     {math.Tanh, func(y float64) float64 { return 1 - y*y }},
	"Softplus": {softplus, func(y float64) float64 { return -math.Expm1(-y) }},
	"Relu": {func(x float64) float64 { return max(x, 0) }, func(y float64) float64 {
		if y > 0 {
			return 1
		}
		return 0
	}},
}

func compileRecurrent[T Float](c *call[T]) (step, error) {
	if c.has(4) {
		return step{}, errors.New("sequences of different lengths are not supported")
	}
	if c.node.Attrs.Int("input_forget", 0) != 0 {
		return step{}, errors.New("attribute input_forget is not supported")
	}
	shape, r := c.shape(0), c.shape(2)
	n := &recurrent[T]{
		call: c, time: shape[0], batch: shape[1], input: shape[2], directions: r[0], hidden: r[2], gates: graph.Gates(c.node.Op),
		linearFirst: c.node.Attrs.Int("linear_before_reset", 0) != 0, bound: c.node.Attrs.Float("clip", 0), w: c.x(1), r: c.x(2),
	}
	for i, b := range map[int]**buffer[T]{3: &n.bias, 5: &n.firstH, 6: &n.firstC, 7: &n.holes} {
		if c.has(i) {
			*b = c.x(i)
		}
	}
	var err error
	if n.functions, err = c.recurrentFunctions(n.directions); err != nil {
		return step{}, err
	}
	n.makeRoom()
	c.y()
	s := step{forward: func() { n.each(n.forward) }}
	if c.backward {
		n.back = newRecurrentBack(n)
		s.backward = n.back.run
	}
	return s, nil
}

func (n *recurrent[T]) makeRoom() {
	rows := n.gates * n.hidden
	n.h, n.c = make([]float64, n.hidden), make([]float64, n.hidden)
	n.sums, n.mixed = make([]float64, rows), make([]float64, rows)
	n.moments = make([]moment, 1)
	if n.call.backward {
		n.moments = make([]moment, n.time)
	}
	for i := range n.moments {
		all := make([]float64, 2*rows+5*n.hidden)
		cut := func(size int) []float64 {
			part := all[:size:size]
			all = all[size:]
			return part
		}
		n.moments[i] = moment{
			value: cut(rows), slope: cut(rows), h: cut(n.hidden), c: cut(n.hidden), cell: cut(n.hidden), kept: cut(n.hidden), linear: cut(n.hidden),
		}
	}
}

// recurrentFunctions are the activations of each direction: f for RNN, f and g for GRU, f, g and h for LSTM.
func (c *call[T]) recurrentFunctions(directions int) ([]activation, error) {
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
	var list []activation
	for _, name := range names {
		f, ok := activations[name]
		if !ok {
			return nil, fmt.Errorf("activation %q is not supported", name)
		}
		list = append(list, f)
	}
	return list, nil
}

// each calls f for every direction and example.
func (n *recurrent[T]) each(f func(d, example int)) {
	for d := range n.directions {
		of := n.functions[d*len(n.functions)/n.directions:]
		n.f, n.g, n.last = of[0], of[min(1, len(of)-1)], of[min(2, len(of)-1)]
		for example := range n.batch {
			f(d, example)
		}
	}
}

// state is where an example's state of one direction stands in a tensor of those of all.
func (n *recurrent[T]) state(d, example int) int { return (d*n.batch + example) * n.hidden }

// output is where an example's state after the step at a time stands in the output of all times.
func (n *recurrent[T]) output(d, t, example int) int {
	return ((t*n.directions+d)*n.batch + example) * n.hidden
}

// place is the time of a step: one direction goes backwards.
func (n *recurrent[T]) place(d, step int) int {
	if n.call.node.Attrs.String("direction", "forward") == "reverse" || d == 1 {
		return n.time - 1 - step
	}
	return step
}

// forward goes through the sequence of one example in one direction and keeps what the node puts out.
func (n *recurrent[T]) forward(d, example int) {
	y := n.call.y().data
	n.follow(d, example, func(t int) {
		if n.call.node.slot == 0 {
			keepState(y[n.output(d, t, example):], n.h)
		}
	})
	switch n.call.node.slot {
	case 1:
		keepState(y[n.state(d, example):], n.h)
	case 2:
		keepState(y[n.state(d, example):], n.c)
	}
}

// follow goes through the sequence of one example and calls seen, unless it is nil, after each step with its time.
func (n *recurrent[T]) follow(d, example int, seen func(t int)) {
	load := func(state []float64, from *buffer[T]) {
		clear(state)
		if from != nil {
			for i, v := range from.data[n.state(d, example):][:n.hidden] {
				state[i] = float64(v)
			}
		}
	}
	load(n.h, n.firstH)
	load(n.c, n.firstC)
	for step := range n.time {
		t := n.place(d, step)
		n.advance(d, t, example, &n.moments[min(step, len(n.moments)-1)])
		if seen != nil {
			seen(t)
		}
	}
}

func keepState[T Float](dst []T, src []float64) {
	for i, v := range src {
		dst[i] = T(v)
	}
}

// xOf is the input of one example at a time.
func (n *recurrent[T]) xOf(t, example int) []T {
	return n.call.x(0).data[(t*n.batch+example)*n.input:][:n.input]
}

// advance moves one example a step on.
func (n *recurrent[T]) advance(d, t, example int, m *moment) {
	rows := n.gates * n.hidden
	x := n.xOf(t, example)
	copy(m.h, n.h)
	copy(m.c, n.c)
	for row := range rows {
		sum := 0.0
		for i, v := range n.w.data[(d*rows+row)*n.input:][:n.input] {
			sum += float64(v) * float64(x[i])
		}
		n.sums[row] = sum + n.biasOf(d, row)
		n.mixed[row] = n.product(d, row, n.h) + n.biasOf(d, rows+row)
	}
	switch n.call.node.Op {
	case "LSTM":
		n.lstm(d, m)
	case "GRU":
		n.gru(d, m)
	default:
		for i := range n.h {
			n.h[i] = n.activate(m, n.f, i, n.sums[i]+n.mixed[i])
		}
	}
}

// activate computes a gate's activation, whose argument is clipped first.
func (n *recurrent[T]) activate(m *moment, f activation, row int, x float64) float64 {
	x, clipped := n.clip(x)
	y := f.of(x)
	m.value[row], m.slope[row] = y, 0
	if !clipped {
		m.slope[row] = f.slope(y)
	}
	return y
}

// rowOf is a row of the matrix of the state.
func (n *recurrent[T]) rowOf(d, row int) []T {
	return n.r.data[(d*n.gates*n.hidden+row)*n.hidden:][:n.hidden]
}

// product is a row of the matrix of the state times a state.
func (n *recurrent[T]) product(d, row int, state []float64) float64 {
	sum := 0.0
	for i, v := range n.rowOf(d, row) {
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

// hole is a peephole's weight.
func (n *recurrent[T]) hole(d, k, i int) float64 {
	if n.holes == nil {
		return 0
	}
	return float64(n.holes.data[(d*3+k)*n.hidden+i])
}

func (n *recurrent[T]) clip(x float64) (y float64, clipped bool) {
	if n.bound > 0 && math.Abs(x) > n.bound {
		return math.Copysign(n.bound, x), true
	}
	return x, false
}

// The gates in their order, and the peepholes of the first three of LSTM.
const (
	lstmInput, lstmOutput, lstmForget, lstmCell = 0, 1, 2, 3
	gruUpdate, gruReset, gruNew                 = 0, 1, 2
)

// lstm has the gates i, o, f, c, and peepholes of i, o, f. Reference: Hochreiter, Schmidhuber, "Long Short-Term Memory", Neural Computation 9, 1997,
// doi:10.1162/neco.1997.9.8.1735; Gers, Schmidhuber, "Recurrent Nets that Time and Count", IJCNN 2000, for the peepholes.
func (n *recurrent[T]) lstm(d int, m *moment) {
	gate := func(k, i int, f activation, cell float64) float64 {
		row := k*n.hidden + i
		return n.activate(m, f, row, n.sums[row]+n.mixed[row]+cell)
	}
	for i, old := range m.c {
		in := gate(lstmInput, i, n.f, n.hole(d, lstmInput, i)*old)
		forget := gate(lstmForget, i, n.f, n.hole(d, lstmForget, i)*old)
		n.c[i] = forget*old + in*gate(lstmCell, i, n.g, 0)
		m.cell[i] = n.c[i]
		n.h[i] = gate(lstmOutput, i, n.f, n.hole(d, lstmOutput, i)*n.c[i]) * n.last.of(n.c[i])
	}
}

// gru has the gates z, r, h. Reference: Cho and others, "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014, arXiv:1406.1078.
func (n *recurrent[T]) gru(d int, m *moment) {
	for i, old := range m.h {
		for k := range gruNew {
			row := k*n.hidden + i
			n.activate(m, n.f, row, n.sums[row]+n.mixed[row])
		}
		m.kept[i] = m.value[gruReset*n.hidden+i] * old
	}
	for i, old := range m.h {
		row := gruNew*n.hidden + i
		m.linear[i] = n.mixed[row]
		state := m.value[gruReset*n.hidden+i] * n.mixed[row]
		if !n.linearFirst {
			state = n.product(d, row, m.kept) + n.biasOf(d, n.gates*n.hidden+row)
		}
		update := m.value[gruUpdate*n.hidden+i]
		n.h[i] = (1-update)*n.activate(m, n.g, row, n.sums[row]+state) + update*old
	}
}
