package nn

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// sequence is a reference for one example and direction, after the equations of the ONNX specification, on plain slices.
type sequence struct {
	op      string
	linear  bool
	w, r    [][]float64 // [G·H][I], [G·H][H]
	wb, rb  []float64
	p       []float64 // [3·H], or nil
	h, c    []float64
	outputs [][]float64
}

func dotRow(row, x []float64) float64 {
	s := 0.0
	for i := range row {
		s += row[i] * x[i]
	}
	return s
}

func (s *sequence) step(x []float64) {
	n := len(s.h)
	sigmoid := func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }
	in := func(gate, i int) float64 { return dotRow(s.w[gate*n+i], x) + s.wb[gate*n+i] }
	state := func(gate, i int, h []float64) float64 { return dotRow(s.r[gate*n+i], h) + s.rb[gate*n+i] }
	next := make([]float64, n)
	for i := range n {
		switch s.op {
		case "RNN":
			next[i] = math.Tanh(in(0, i) + state(0, i, s.h))
		case "GRU":
			z := sigmoid(in(0, i) + state(0, i, s.h))
			var held []float64 // r ⊙ h, of all units
			for j := range n {
				held = append(held, sigmoid(in(1, j)+state(1, j, s.h))*s.h[j])
			}
			candidate := math.Tanh(in(2, i) + state(2, i, held))
			if s.linear {
				candidate = math.Tanh(in(2, i) + sigmoid(in(1, i)+state(1, i, s.h))*state(2, i, s.h))
			}
			next[i] = (1-z)*candidate + z*s.h[i]
		case "LSTM":
			hole := func(k int, c float64) float64 {
				if s.p == nil {
					return 0
				}
				return s.p[k*n+i] * c
			}
			old := s.c[i]
			s.c[i] = sigmoid(in(2, i)+state(2, i, s.h)+hole(2, old))*old + sigmoid(in(0, i)+state(0, i, s.h)+hole(0, old))*math.Tanh(in(3, i)+state(3, i, s.h))
			next[i] = sigmoid(in(1, i)+state(1, i, s.h)+hole(1, s.c[i])) * math.Tanh(s.c[i])
		}
	}
	s.h = next
	s.outputs = append(s.outputs, next)
}

// rowsOf cuts a list.
func rowsOf(list []float64, n int) [][]float64 {
	var out [][]float64
	for len(list) > 0 {
		out, list = append(out, list[:n]), list[n:]
	}
	return out
}

func TestRecurrent(t *testing.T) {
	const time, batch, in, hidden = 3, 2, 4, 3
	for _, op := range []string{"RNN", "GRU", "LSTM"} {
		for _, direction := range []string{"forward", "reverse", "bidirectional"} {
			for _, full := range []bool{false, true} { // with biases, first states and peepholes
				t.Run(fmt.Sprint(op, " ", direction, " ", full), func(t *testing.T) {
					directions, gates := 1, graph.Gates(op)
					if direction == "bidirectional" {
						directions = 2
					}
					params := map[string][]int{"w": {directions, gates * hidden, in}, "r": {directions, gates * hidden, hidden}}
					attrs := graph.Attrs{"direction": direction, "hidden_size": int64(hidden)}
					inputs := []string{"xt", "w", "r"}
					outs := []string{"", "last"}
					if full {
						params["b"], params["h"] = []int{directions, 2 * gates * hidden}, []int{directions, batch, hidden}
						inputs, outs = append(inputs, "b", "", "h"), []string{"y", "last"}
						if op == "LSTM" {
							params["c"], params["p"] = []int{directions, batch, hidden}, []int{directions, 3 * hidden}
							inputs, outs = append(inputs, "c", "p"), []string{"y", "last", "cell"}
						}
						if op == "GRU" {
							attrs["linear_before_reset"] = int64(1)
						}
					}
					g := graphOf(t, func(b *graph.Builder) {
						b.Transpose("xt", b.Input("x", tensor.F32, graph.Fixed(batch), graph.Fixed(time), graph.Fixed(in)), 1, 0, 2)
						for _, name := range sortedKeys(params) {
							b.Param(name, params[name]...)
						}
						b.OpN(op, outs, attrs, inputs...)
						for _, out := range outs {
							if out != "" {
								b.Output(out)
							}
						}
					})
					e := newEngine[float64](t, g, Options{Threads: 1})
					values, x := randomParams(g, 1), random[float64](batch*time*in, 2)
					forward(t, e, x, batch)
					of := func(name string, d, n int) []float64 { return tensor.Of[float64](values[name])[d*n:][:n] }
					for d := range directions {
						for example := range batch {
							s := &sequence{op: op, linear: full && op == "GRU", w: rowsOf(of("w", d, gates*hidden*in), in), r: rowsOf(of("r", d, gates*hidden*hidden), hidden)}
							s.wb, s.rb, s.h, s.c = make([]float64, gates*hidden), make([]float64, gates*hidden), make([]float64, hidden), make([]float64, hidden)
							if full {
								both := of("b", d, 2*gates*hidden)
								s.wb, s.rb = both[:gates*hidden], both[gates*hidden:]
								s.h = of("h", d*batch+example, hidden)
								if op == "LSTM" {
									copy(s.c, of("c", d*batch+example, hidden))
									s.p = of("p", d, 3*hidden)
								}
							}
							places := make([]int, time)
							for i := range places {
								places[i] = i
								if direction == "reverse" || d == 1 {
									places[i] = time - 1 - i
								}
								s.step(x[(example*time+places[i])*in:][:in])
							}
							at := (d*batch + example) * hidden
							last, _ := e.Value("last")
							if dev := deviation(last[at:at+hidden], s.h); dev > 1e-12 {
								t.Errorf("direction %d, example %d: the last state deviates by %g", d, example, dev)
							}
							if cell, _ := e.Value("cell"); cell != nil && deviation(cell[at:at+hidden], s.c) > 1e-12 {
								t.Errorf("direction %d, example %d: the last cell deviates", d, example)
							}
							if y, _ := e.Value("y"); y != nil {
								for i, place := range places {
									if dev := deviation(y[((place*directions+d)*batch+example)*hidden:][:hidden], s.outputs[i]); dev > 1e-12 {
										t.Errorf("direction %d, example %d, time %d: deviates by %g", d, example, place, dev)
									}
								}
							}
						}
					}
					if _, err := New[float64](g, Options{Training: true, Threads: 1}); err == nil || !strings.Contains(err.Error(), "not be trained") {
						t.Errorf("training: error %v", err)
					}
				})
			}
		}
	}
}
