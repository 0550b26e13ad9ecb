package nn

import (
	"fmt"
	"math"
	"slices"
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
	// functions are those of the gates, Sigmoid and Tanh where there are none; clip is 0 where there is no bound.
	functions []func(float64) float64
	clip      float64
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
	gate := func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }
	inner, outer := math.Tanh, math.Tanh
	if f := s.functions; s.op == "RNN" && len(f) > 0 {
		inner = f[0]
	} else if len(f) > 0 {
		gate, inner, outer = f[0], f[1], f[len(f)-1]
	}
	clipped := func(f func(float64) float64) func(float64) float64 {
		return func(v float64) float64 {
			if s.clip > 0 {
				v = min(max(v, -s.clip), s.clip)
			}
			return f(v)
		}
	}
	sigmoid, tanh := clipped(gate), clipped(inner)
	in := func(gate, i int) float64 { return dotRow(s.w[gate*n+i], x) + s.wb[gate*n+i] }
	state := func(gate, i int, h []float64) float64 { return dotRow(s.r[gate*n+i], h) + s.rb[gate*n+i] }
	next := make([]float64, n)
	for i := range n {
		switch s.op {
		case "RNN":
			next[i] = tanh(in(0, i) + state(0, i, s.h))
		case "GRU":
			z := sigmoid(in(0, i) + state(0, i, s.h))
			var held []float64 // r ⊙ h, of all units
			for j := range n {
				held = append(held, sigmoid(in(1, j)+state(1, j, s.h))*s.h[j])
			}
			candidate := tanh(in(2, i) + state(2, i, held))
			if s.linear {
				candidate = tanh(in(2, i) + sigmoid(in(1, i)+state(1, i, s.h))*state(2, i, s.h))
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
			s.c[i] = sigmoid(in(2, i)+state(2, i, s.h)+hole(2, old))*old + sigmoid(in(0, i)+state(0, i, s.h)+hole(0, old))*tanh(in(3, i)+state(3, i, s.h))
			next[i] = sigmoid(in(1, i)+state(1, i, s.h)+hole(1, s.c[i])) * outer(s.c[i])
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
				})
			}
		}
	}
}

// recurrentCases are networks for the tests of gradients: all outputs of a node, one at a time and together, with and without biases, first states and
// peepholes, with clipped gates and other activations.
func recurrentCases() []testCase {
	const time, batch, in, hidden = 4, 2, 3, 3
	var cases []testCase
	add := func(name, op string, directions int, attrs graph.Attrs, full bool, outs ...string) {
		gates := graph.Gates(op)
		attrs["hidden_size"] = int64(hidden)
		cases = append(cases, testCase{name: op + "/" + name, batch: batch, build: func(b *graph.Builder) {
			x := b.Input("x", tensor.F32, graph.Fixed(batch), graph.Fixed(time*in))
			// Projected, so that the gradient of the node's input shows in that of a parameter.
			x = b.Op("MatMul", "p", nil, x, b.Param("project", time*in, time*in))
			x = b.Transpose("xt", b.Reshape("xr", x, batch, time, in), 1, 0, 2)
			inputs := []string{x, b.Param("w", directions, gates*hidden, in), b.Param("r", directions, gates*hidden, hidden)}
			if full {
				inputs = append(inputs, b.Param("b", directions, 2*gates*hidden), "", b.Param("h", directions, batch, hidden))
				if op == "LSTM" {
					inputs = append(inputs, b.Param("c", directions, batch, hidden), b.Param("peep", directions, 3*hidden))
				}
			}
			b.OpN(op, outs, attrs, inputs...)
			flat := make([]string, 0, len(outs))
			for _, out := range outs {
				if out != "" {
					flat = append(flat, b.Reshape("flat."+out, out, batch, -1))
				}
			}
			b.Output(b.Op("Concat", "all", graph.Attrs{"axis": int64(1)}, flat...))
		}})
	}
	for _, op := range []string{"RNN", "GRU", "LSTM"} {
		outs := []string{"y", "last", "cell"}[:map[string]int{"RNN": 2, "GRU": 2, "LSTM": 3}[op]]
		add("plain", op, 1, graph.Attrs{}, false, "y")
		add("reverse", op, 1, graph.Attrs{"direction": "reverse"}, true, "y")
		add("last", op, 1, graph.Attrs{}, true, "", "last")
		add("both directions", op, 2, graph.Attrs{"direction": "bidirectional"}, true, outs...)
		add("clipped", op, 1, graph.Attrs{"clip": .6}, true, outs...)
	}
	add("cell", "LSTM", 1, graph.Attrs{}, true, "", "", "cell")
	add("linear first", "GRU", 1, graph.Attrs{"linear_before_reset": int64(1)}, true, "y")
	add("linear first in both directions", "GRU", 2, graph.Attrs{"direction": "bidirectional", "linear_before_reset": int64(1)}, true, "y", "last")
	add("activations", "LSTM", 1, graph.Attrs{"activations": []string{"Sigmoid", "Softplus", "Relu"}}, true, "y", "", "cell")
	add("relu", "RNN", 1, graph.Attrs{"activations": []string{"Relu"}}, true, "y", "last")
	return cases
}

// referenceRecurrent computes the outputs of a recurrent node.
func referenceRecurrent(n *graph.Node, in []array, values map[string]array) bool {
	if n.Op != "RNN" && n.Op != "GRU" && n.Op != "LSTM" {
		return false
	}
	time, batch, size := in[0].shape[0], in[0].shape[1], in[0].shape[2]
	directions, hidden, gates := in[2].shape[0], in[2].shape[2], graph.Gates(n.Op)
	part := func(i, d, length int) []float64 {
		if i >= len(in) || in[i].data == nil {
			return make([]float64, length)
		}
		return slices.Clone(in[i].data[d*length:][:length])
	}
	y := array{[]int{time, directions, batch, hidden}, make([]float64, time*directions*batch*hidden)}
	h, c := array{shape: []int{directions, batch, hidden}}, array{shape: []int{directions, batch, hidden}}
	for d := range directions {
		for example := range batch {
			both := part(3, d, 2*gates*hidden)
			s := &sequence{
				op: n.Op, linear: n.Attrs.Int("linear_before_reset", 0) != 0, clip: n.Attrs.Float("clip", 0), w: rowsOf(part(1, d, gates*hidden*size), size),
				r: rowsOf(part(2, d, gates*hidden*hidden), hidden), wb: both[:gates*hidden], rb: both[gates*hidden:], p: part(7, d, 3*hidden),
				h: part(5, d*batch+example, hidden), c: part(6, d*batch+example, hidden),
			}
			for _, name := range n.Attrs.Strings("activations") {
				s.functions = append(s.functions, map[string]func(float64) float64{
					"Sigmoid": func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }, "Softplus": func(v float64) float64 { return math.Log(1 + math.Exp(v)) },
					"Relu": func(v float64) float64 { return math.Max(v, 0) },
				}[name])
			}
			for step := range time {
				t := step
				if n.Attrs.String("direction", "forward") == "reverse" || d == 1 {
					t = time - 1 - step
				}
				s.step(in[0].data[(t*batch+example)*size:][:size])
				copy(y.data[((t*directions+d)*batch+example)*hidden:], s.h)
			}
			h.data, c.data = append(h.data, s.h...), append(c.data, s.c...)
		}
	}
	for i, name := range n.Outputs {
		if name != "" {
			values[name] = []array{y, h, c}[i]
		}
	}
	return true
}
