package nn

// recurrentBack is the backward pass: every example goes through its sequence again, and back. Reference: Werbos, "Backpropagation Through Time: What It
// Does and How to Do It", Proceedings of the IEEE 78(10), 1990, doi:10.1109/5.58337.
type recurrentBack[T Float] struct {
	*recurrent[T]
	dy             *buffer[T]
	inputs         []int             // those that want a gradient
	gradients      map[int][]float64 // by input, of all that there are, wanted or not
	dh, dc, before []float64         // of the state after a step, and of that before it
	in, state      []float64         // of what each gate adds up: of the input's product, and of the state's
	dkept          []float64
}

// The inputs of a recurrent node.
const (
	recurrentX, recurrentW, recurrentR, recurrentB, recurrentH, recurrentC, recurrentP = 0, 1, 2, 3, 5, 6, 7
)

func newRecurrentBack[T Float](n *recurrent[T]) *recurrentBack[T] {
	rows := n.gates * n.hidden
	b := &recurrentBack[T]{
		recurrent: n, dy: n.call.dy(), gradients: map[int][]float64{}, dh: make([]float64, n.hidden), dc: make([]float64, n.hidden),
		before: make([]float64, n.hidden), in: make([]float64, rows), state: make([]float64, rows), dkept: make([]float64, n.hidden),
	}
	for _, i := range []int{recurrentX, recurrentW, recurrentR, recurrentB, recurrentH, recurrentC, recurrentP} {
		if !n.call.has(i) {
			continue
		}
		n.call.keepX(i)
		b.gradients[i] = make([]float64, n.call.in[i].n)
		if n.call.wants(i) {
			b.inputs = append(b.inputs, i)
		}
	}
	return b
}

func (b *recurrentBack[T]) run() {
	for _, g := range b.gradients {
		clear(g)
	}
	b.each(b.example)
	for _, i := range b.inputs {
		dx := b.call.dx(i)
		keepState(dx.begin(), b.gradients[i])
		dx.end()
	}
}

// example is one example in one direction.
func (b *recurrentBack[T]) example(d, example int) {
	b.follow(d, example, nil)
	dy := b.dy.data
	slot, at := b.call.node.slot, b.recurrent.state(d, example)
	for i := range b.dh {
		b.dh[i], b.dc[i] = 0, 0
		switch slot {
		case 1:
			b.dh[i] = float64(dy[at+i])
		case 2:
			b.dc[i] = float64(dy[at+i])
		}
	}
	for step := b.time - 1; step >= 0; step-- {
		t := b.place(d, step)
		if slot == 0 {
			for i, v := range dy[b.output(d, t, example):][:b.hidden] {
				b.dh[i] += float64(v)
			}
		}
		m := &b.moments[step]
		clear(b.before)
		switch b.call.node.Op {
		case "LSTM":
			b.lstm(d, m)
		case "GRU":
			b.gru(d, m)
		default:
			for i, v := range b.dh {
				b.in[i] = v * m.slope[i]
			}
			copy(b.state, b.in)
		}
		b.spread(d, t, example, m)
		copy(b.dh, b.before)
	}
	b.add(recurrentH, at, b.dh)
	b.add(recurrentC, at, b.dc)
}

// add adds to the gradient of an input, from a place on, if it has one.
func (b *recurrentBack[T]) add(input, at int, by []float64) {
	if g := b.gradients[input]; g != nil {
		for i, v := range by {
			g[at+i] += v
		}
	}
}

// lstm makes the gradients of the gates' arguments and of the cell before the step.
func (b *recurrentBack[T]) lstm(d int, m *moment) {
	n := b.hidden
	holes := b.gradients[recurrentP]
	for i, dh := range b.dh {
		in, out, forget, cell := lstmInput*n+i, lstmOutput*n+i, lstmForget*n+i, lstmCell*n+i
		last := b.last.of(m.cell[i])
		b.in[out] = dh * last * m.slope[out]
		dc := b.dc[i] + dh*m.value[out]*b.last.slope(last) + b.in[out]*b.hole(d, lstmOutput, i)
		b.in[in] = dc * m.value[cell] * m.slope[in]
		b.in[forget] = dc * m.c[i] * m.slope[forget]
		b.in[cell] = dc * m.value[in] * m.slope[cell]
		b.dc[i] = dc*m.value[forget] + b.in[in]*b.hole(d, lstmInput, i) + b.in[forget]*b.hole(d, lstmForget, i)
		if holes != nil {
			at := d*3*n + i
			holes[at+lstmInput*n] += b.in[in] * m.c[i]
			holes[at+lstmForget*n] += b.in[forget] * m.c[i]
			holes[at+lstmOutput*n] += b.in[out] * m.cell[i]
		}
	}
	copy(b.state, b.in)
}

// gru makes the gradients of the gates' arguments, and what reaches the state before the step other than through the gates.
func (b *recurrentBack[T]) gru(d int, m *moment) {
	n := b.hidden
	clear(b.dkept)
	for i, dh := range b.dh {
		update, fresh := gruUpdate*n+i, gruNew*n+i
		b.in[update] = dh * (m.h[i] - m.value[fresh]) * m.slope[update]
		b.in[fresh] = dh * (1 - m.value[update]) * m.slope[fresh]
		b.before[i] += dh * m.value[update]
		if !b.linearFirst {
			for j, w := range b.rowOf(d, fresh) {
				b.dkept[j] += float64(w) * b.in[fresh]
			}
		}
	}
	for i := range b.dh {
		reset, fresh := gruReset*n+i, gruNew*n+i
		r := m.value[reset]
		if b.linearFirst {
			b.in[reset] = b.in[fresh] * m.linear[i] * m.slope[reset]
		} else {
			b.in[reset] = b.dkept[i] * m.h[i] * m.slope[reset]
			b.before[i] += b.dkept[i] * r
		}
	}
	copy(b.state, b.in)
	if b.linearFirst {
		for i := range b.dh {
			b.state[gruNew*n+i] *= m.value[gruReset*n+i]
		}
	}
}

// spread takes the gradients of the gates' arguments to the input, the state before the step, and the parameters.
func (b *recurrentBack[T]) spread(d, t, example int, m *moment) {
	rows := b.gates * b.hidden
	x := b.xOf(t, example)
	dx := b.gradients[recurrentX][(t*b.batch+example)*b.input:][:b.input]
	for row := range rows {
		from := (d*rows + row) * b.input
		dw := b.gradients[recurrentW][from:][:b.input]
		for i, w := range b.w.data[from:][:b.input] {
			dw[i] += b.in[row] * float64(x[i])
			dx[i] += b.in[row] * float64(w)
		}
		state, reset := m.h, b.call.node.Op == "GRU" && !b.linearFirst && row >= gruNew*b.hidden
		if reset {
			state = m.kept
		}
		dr := b.gradients[recurrentR][(d*rows+row)*b.hidden:][:b.hidden]
		for i, w := range b.rowOf(d, row) {
			dr[i] += b.state[row] * state[i]
			if !reset { // what was reset has had its own
				b.before[i] += b.state[row] * float64(w)
			}
		}
	}
	b.add(recurrentB, d*2*rows, b.in)
	b.add(recurrentB, d*2*rows+rows, b.state)
}
