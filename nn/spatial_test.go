package nn

import (
	"math"
	"slices"
	"strings"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// spatialCases enlarge and fold images, and contract by equations.
func spatialCases() []testCase {
	type shape = []int
	ints := func(list ...int64) []int64 { return list }
	var cases []testCase
	add := func(name string, build func(b *graph.Builder)) {
		cases = append(cases, testCase{name: name, batch: 2, build: build})
	}
	add("ConvTranspose", operands("ConvTranspose", nil, shape{2, 3, 4, 3}, shape{3, 2, 3, 2}))
	add("ConvTranspose/stride", operands("ConvTranspose", graph.Attrs{"strides": ints(2, 3), "pads": ints(1, 0, 1, 1)}, shape{2, 3, 4, 3}, shape{3, 2, 3, 2}, shape{2}))
	add("ConvTranspose/groups", operands("ConvTranspose", graph.Attrs{"strides": ints(2, 2), "group": int64(2), "output_padding": ints(1, 0)},
		shape{1, 4, 3, 3}, shape{4, 3, 2, 2}, shape{6}))
	add("ConvTranspose/dilation", operands("ConvTranspose", graph.Attrs{"dilations": ints(2, 1)}, shape{1, 2, 3, 3}, shape{2, 2, 2, 3}))
	add("ConvTranspose/one axis", operands("ConvTranspose", graph.Attrs{"strides": ints(2)}, shape{2, 3, 4}, shape{3, 2, 3}, shape{2}))
	add("ConvTranspose/output read twice", func(b *graph.Builder) {
		b.Input("x", tensor.F32, graph.Sym("N"))
		p := b.Op("Tanh", "t", nil, b.Param("p", 1, 2, 3, 3))
		b.Output(b.Mul("y", b.Op("ConvTranspose", "c", graph.Attrs{"pads": ints(1, 1, 1, 1)}, p, b.Param("w", 2, 2, 3, 3)), p))
	})
	resize := func(name string, attrs graph.Attrs, in shape, scales []float32, sizes []int64) {
		add("Resize/"+name, func(b *graph.Builder) {
			b.Input("x", tensor.F32, graph.Sym("N"))
			inputs := []string{b.Param("p", in...), ""}
			if scales != nil {
				inputs = append(inputs, b.Constant("scales", tensor.FromSlice(tensor.Shape{len(scales)}, scales)))
			} else {
				inputs = append(inputs, "", list(b, "sizes", sizes...))
			}
			b.Output(b.Op("Resize", "y", attrs, inputs...))
		})
	}
	resize("nearest", graph.Attrs{"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, shape{1, 2, 2, 3}, []float32{1, 1, 2, 2}, nil)
	resize("shrink", graph.Attrs{}, shape{1, 2, 5, 3}, []float32{1, 1, .6, 1}, nil)
	for _, mode := range []string{"half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric"} {
		resize("linear "+mode, graph.Attrs{"mode": "linear", "coordinate_transformation_mode": mode}, shape{1, 2, 3, 2}, nil, ints(1, 2, 5, 3))
	}
	resize("one", graph.Attrs{"mode": "linear", "coordinate_transformation_mode": "align_corners"}, shape{1, 1, 3, 2}, nil, ints(1, 1, 1, 4))
	for _, mode := range []string{"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"} {
		resize(mode, graph.Attrs{"nearest_mode": mode}, shape{1, 1, 4, 3}, nil, ints(1, 1, 6, 2))
	}
	resize("axes", graph.Attrs{"mode": "linear", "axes": ints(3)}, shape{1, 2, 3, 2}, nil, ints(5))
	add("DepthToSpace", operands("DepthToSpace", graph.Attrs{"blocksize": int64(2)}, shape{1, 8, 2, 3}))
	add("DepthToSpace/CRD", operands("DepthToSpace", graph.Attrs{"blocksize": int64(2), "mode": "CRD"}, shape{2, 8, 2, 3}))
	add("SpaceToDepth", operands("SpaceToDepth", graph.Attrs{"blocksize": int64(2)}, shape{1, 3, 4, 6}))
	einsum := func(equation string, shapes ...[]int) {
		add("Einsum/"+equation, operands("Einsum", graph.Attrs{"equation": equation}, shapes...))
	}
	einsum("bhid,bhjd->bhij", shape{2, 2, 3, 4}, shape{2, 2, 5, 4})
	einsum("ij,jk", shape{3, 4}, shape{4, 2})
	einsum("ij, kj, k -> ki", shape{3, 4}, shape{2, 4}, shape{2})
	einsum("ii->i", shape{3, 3})
	einsum("iij->j", shape{3, 3, 2})
	einsum("ij->ji", shape{3, 2})
	einsum("i,j->ij", shape{3}, shape{2})
	einsum("ij,ij->", shape{3, 2}, shape{3, 2})
	einsum("ij,k->i", shape{3, 2}, shape{4})
	return cases
}

func referenceSpatial(n *graph.Node, in []array, shape []int) (array, bool) {
	attr := func(name string, i, otherwise int) int {
		if list := n.Attrs.Ints(name); list != nil {
			return int(list[i])
		}
		return otherwise
	}
	switch n.Op {
	case "ConvTranspose": // every element of the input adds a kernel to the output
		x, w := in[0], in[1]
		out := generate(shape, func(i []int) float64 {
			if len(in) > 2 {
				return in[2].data[i[1]]
			}
			return 0
		})
		groups := int(n.Attrs.Int("group", 1))
		generate(x.shape, func(i []int) float64 {
			generate(w.shape[1:], func(k []int) float64 {
				group := i[1] / (x.shape[1] / groups)
				at := []int{i[0], group*w.shape[1] + k[0]}
				for s := range k[1:] {
					at = append(at, i[2+s]*attr("strides", s, 1)+k[1+s]*attr("dilations", s, 1)-attr("pads", s, 0))
				}
				place := 0
				for s, v := range at {
					if v < 0 || v >= shape[s] {
						return 0
					}
					place = place*shape[s] + v
				}
				out.data[place] += x.at(i) * w.at(append([]int{i[1]}, k...))
				return 0
			})
			return 0
		})
		return out, true
	case "Resize":
		return referenceResize(n, in, shape), true
	case "DepthToSpace":
		b := int(n.Attrs.Int("blocksize", 1))
		return generate(shape, func(i []int) float64 {
			channel := (i[2]%b*b+i[3]%b)*shape[1] + i[1]
			if n.Attrs.String("mode", "DCR") == "CRD" {
				channel = i[1]*b*b + i[2]%b*b + i[3]%b
			}
			return in[0].at([]int{i[0], channel, i[2] / b, i[3] / b})
		}), true
	case "SpaceToDepth":
		b, channels := int(n.Attrs.Int("blocksize", 1)), in[0].shape[1]
		return generate(shape, func(i []int) float64 {
			block := i[1] / channels
			return in[0].at([]int{i[0], i[1] % channels, i[2]*b + block/b, i[3]*b + block%b})
		}), true
	case "Einsum":
		return referenceEinsum(n, in, shape), true
	}
	return array{}, false
}

// referenceEinsum tries all values of all letters.
func referenceEinsum(n *graph.Node, in []array, shape []int) array {
	text := strings.ReplaceAll(n.Attrs.String("equation", ""), " ", "")
	left, right, found := strings.Cut(text, "->")
	if !found {
		right = "ik" // of the one case without an arrow
	}
	terms, sizes, letters := strings.Split(left, ","), map[byte]int{}, ""
	for i, term := range terms {
		for axis := range term {
			if sizes[term[axis]] == 0 {
				letters += term[axis : axis+1]
			}
			sizes[term[axis]] = in[i].shape[axis]
		}
	}
	var extents []int
	for _, l := range []byte(letters) {
		extents = append(extents, sizes[l])
	}
	at := func(term string, value []int) []int {
		index := []int{}
		for _, l := range []byte(term) {
			index = append(index, value[strings.IndexByte(letters, l)])
		}
		return index
	}
	return generate(shape, func(i []int) float64 {
		sum := 0.0
		generate(extents, func(value []int) float64 {
			if !slices.Equal(at(right, value), i) {
				return 0
			}
			product := 1.0
			for k, term := range terms {
				product *= in[k].at(at(term, value))
			}
			sum += product
			return 0
		})
		return sum
	})
}

// referenceResize follows the specification's text: where an element comes from, and the nearest of the elements or the line between two of them.
func referenceResize(n *graph.Node, in []array, shape []int) array {
	x := in[0]
	place := func(axis, i int) float64 {
		from, to := float64(x.shape[axis]), float64(shape[axis])
		scale := to / from
		if n.Input(2) != "" {
			scale = in[2].data[axis]
		}
		switch n.Attrs.String("coordinate_transformation_mode", "half_pixel") {
		case "asymmetric":
			return float64(i) / scale
		case "align_corners":
			if to == 1 {
				return 0
			}
			return float64(i) * (from - 1) / (to - 1)
		}
		return (float64(i)+.5)/scale - .5 // the other modes agree where the scale is that of the sizes
	}
	clamp := func(v float64, axis int) int { return int(math.Max(0, math.Min(v, float64(x.shape[axis]-1)))) }
	var read func(i []int, axis int) float64
	read = func(i []int, axis int) float64 {
		if axis == len(i) {
			return x.at(i)
		}
		at := place(axis, i[axis])
		if n.Attrs.String("mode", "nearest") == "linear" {
			low := math.Floor(at)
			return (1-at+low)*read(with(i, axis, clamp(low, axis)), axis+1) + (at-low)*read(with(i, axis, clamp(low+1, axis)), axis+1)
		}
		switch n.Attrs.String("nearest_mode", "round_prefer_floor") {
		case "floor":
			at = math.Floor(at)
		case "ceil":
			at = math.Ceil(at)
		case "round_prefer_ceil":
			at = math.Floor(at + .5)
		default:
			at = math.Ceil(at - .5)
		}
		return read(with(i, axis, clamp(at, axis)), axis+1)
	}
	return generate(shape, func(i []int) float64 { return read(i, 0) })
}

// functionCases are about operators that are functions of others.
func functionCases() []testCase {
	type shape = []int
	var cases []testCase
	add := func(name string, build func(b *graph.Builder)) {
		cases = append(cases, testCase{name: name, batch: 2, build: build})
	}
	for _, axis := range []int64{-1, 1} {
		add("RMSNormalization", operands("RMSNormalization", graph.Attrs{"axis": axis, "epsilon": .01}, shape{2, 3, 4}, shape{2, 3, 4}[(axis+3)%3:]))
	}
	rotary := func(name string, attrs graph.Attrs, x, table shape, places []int64) {
		add("RotaryEmbedding/"+name, func(b *graph.Builder) {
			b.Input("x", tensor.F32, graph.Sym("N"))
			in := []string{b.Param("p", x...), b.Param("cos", table...), b.Param("sin", table...)}
			if places != nil {
				in = append(in, b.Constant("places", tensor.FromSlice(tensor.Shape{x[0], len(places) / x[0]}, places)))
			}
			b.Output(b.Op("RotaryEmbedding", "y", attrs, in...))
		})
	}
	rotary("halves", graph.Attrs{}, shape{2, 2, 3, 4}, shape{2, 3, 2}, nil)
	rotary("neighbours", graph.Attrs{"interleaved": int64(1)}, shape{2, 2, 3, 4}, shape{2, 3, 2}, nil)
	rotary("part", graph.Attrs{"rotary_embedding_dim": int64(4)}, shape{1, 2, 3, 6}, shape{1, 3, 2}, nil)
	rotary("flat, by places", graph.Attrs{"num_heads": int64(2)}, shape{2, 3, 8}, shape{5, 2}, []int64{0, 4, 1, 2, 2, 3})
	attention := func(name string, attrs graph.Attrs, q, k, v shape, more ...shape) {
		add("Attention/"+name, func(b *graph.Builder) {
			b.Input("x", tensor.F32, graph.Sym("N"))
			in := []string{b.Param("q", q...), b.Param("k", k...), b.Param("v", v...)}
			for i, s := range more {
				if s == nil {
					in = append(in, "")
				} else {
					in = append(in, b.Param(string(rune('d'+i)), s...))
				}
			}
			b.Output(b.Op("Attention", "y", attrs, in...))
		})
	}
	attention("4D", nil, shape{2, 2, 3, 4}, shape{2, 2, 5, 4}, shape{2, 2, 5, 3})
	attention("3D", graph.Attrs{"q_num_heads": int64(4), "kv_num_heads": int64(2)}, shape{2, 3, 8}, shape{2, 5, 4}, shape{2, 5, 6}, shape{3, 5})
	attention("causal", graph.Attrs{"is_causal": int64(1), "scale": .7, "softcap": 2.5}, shape{1, 2, 4, 3}, shape{1, 2, 4, 3}, shape{1, 2, 4, 3})
	attention("past", nil, shape{1, 2, 2, 3}, shape{1, 2, 2, 3}, shape{1, 2, 2, 4}, nil, shape{1, 2, 3, 3}, shape{1, 2, 3, 4})
	return cases
}

func referenceFunction(n *graph.Node, in []array, shape []int) (array, bool) {
	x := array{}
	if len(in) > 0 {
		x = in[0]
	}
	switch n.Op {
	case "RMSNormalization":
		axis := (int(n.Attrs.Int("axis", -1)) + len(shape)) % len(shape)
		return generate(shape, func(i []int) float64 {
			over := generate(shape[axis:], func(j []int) float64 { return x.at(slices.Concat(i[:axis], j)) })
			mean := sum(over.data, func(v float64) float64 { return v * v }) / float64(len(over.data))
			return x.at(i) / math.Sqrt(mean+n.Attrs.Float("epsilon", 1e-5)) * in[1].at(i[axis:])
		}), true
	case "RotaryEmbedding":
		return referenceRotary(n, in, shape), true
	case "Attention":
		return referenceAttention(n, in, shape), true
	}
	return array{}, false
}

// headed reads element e of a head at a time from [N, heads, T, size] or [N, T, heads·size].
func headed(a array, size, n, head, t, e int) float64 {
	if len(a.shape) == 4 {
		return a.at([]int{n, head, t, e})
	}
	return a.at([]int{n, t, head*size + e})
}

func referenceRotary(n *graph.Node, in []array, shape []int) array {
	x, size := in[0], shape[len(shape)-1]
	if len(shape) == 3 {
		size /= int(n.Attrs.Int("num_heads", 1))
	}
	turned := size
	if d := n.Attrs.Int("rotary_embedding_dim", 0); d > 0 {
		turned = int(d)
	}
	return generate(shape, func(i []int) float64 {
		example, head, t, e := i[0], 0, 0, i[len(i)-1]
		if len(i) == 4 {
			head, t = i[1], i[2]
		} else {
			head, t, e = e/size, i[1], e%size
		}
		if e >= turned {
			return x.at(i)
		}
		pair, second := e%(turned/2), e >= turned/2
		one, two := pair, pair+turned/2
		if n.Attrs.Int("interleaved", 0) == 1 {
			pair, second = e/2, e%2 == 1
			one, two = 2*pair, 2*pair+1
		}
		at := []int{example, t, pair}
		if len(in) > 3 {
			at = []int{int(in[3].at([]int{example, t})), pair}
		}
		cos, sin := in[1].at(at), in[2].at(at)
		a, b := headed(x, size, example, head, t, one), headed(x, size, example, head, t, two)
		if second {
			return sin*a + cos*b
		}
		return cos*a - sin*b
	})
}

func referenceAttention(n *graph.Node, in []array, shape []int) array {
	heads, shared := int(n.Attrs.Int("q_num_heads", 0)), int(n.Attrs.Int("kv_num_heads", 0))
	if len(in[0].shape) == 4 {
		heads, shared = in[0].shape[1], in[1].shape[1]
	}
	sizeOf := func(a array, heads int) (times, size int) {
		if len(a.shape) == 4 {
			return a.shape[2], a.shape[3]
		}
		return a.shape[1], a.shape[2] / heads
	}
	_, d := sizeOf(in[0], heads)
	now, dv := sizeOf(in[2], shared)
	past := 0
	if len(in) > 4 {
		past = in[4].shape[2]
	}
	read := func(i, size, example, head, t, e int) float64 {
		if t < past {
			return in[i+3].at([]int{example, head, t, e})
		}
		return headed(in[i], size, example, head, t-past, e)
	}
	return generate(shape, func(i []int) float64 {
		example, head, t, e := i[0], 0, 0, i[len(i)-1]
		if len(i) == 4 {
			head, t = i[1], i[2]
		} else {
			head, t, e = e/dv, i[1], e%dv
		}
		of := head / (heads / shared)
		total, out := 0.0, 0.0
		for s := range past + now {
			if n.Attrs.Int("is_causal", 0) == 1 && s > t {
				if n.Attrs.Float("softcap", 0) == 0 {
					continue
				}
			}
			score := 0.0
			for k := range d {
				score += headed(in[0], d, example, head, t, k) * read(1, d, example, of, s, k)
			}
			score *= n.Attrs.Float("scale", 1/math.Sqrt(float64(d)))
			if n.Attrs.Int("is_causal", 0) == 1 && s > t {
				score = math.Inf(-1)
			}
			if len(in) > 3 && n.Input(3) != "" {
				score += in[3].at([]int{t, s})
			}
			if c := n.Attrs.Float("softcap", 0); c > 0 {
				score = c * math.Tanh(score/c)
			}
			total += math.Exp(score)
			out += math.Exp(score) * read(2, dv, example, of, s, e)
		}
		return out / total
	})
}
