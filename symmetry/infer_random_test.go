package symmetry_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// randomNetwork draws networks of all operators that inference knows, rearranging and contracting at will: nobody derived their symmetries.
type randomNetwork struct {
	r      *rapid.T
	b      *graph.Builder
	values []string
	shapes map[string][]int // without the batch
	count  int
}

func (n *randomNetwork) fresh() string {
	n.count++
	return fmt.Sprintf("v%d", n.count)
}

func (n *randomNetwork) add(name string, shape []int) {
	n.values = append(n.values, name)
	n.shapes[name] = shape
}

// pick prefers late values, so that networks are deep.
func (n *randomNetwork) pick() string {
	back := rapid.IntRange(1, min(3, len(n.values))).Draw(n.r, "back")
	return n.values[len(n.values)-back]
}

func product(shape []int) int {
	p := 1
	for _, d := range shape {
		p *= d
	}
	return p
}

// param is a new parameter or, where the shape fits, sometimes an old one.
func (n *randomNetwork) param(shape ...int) string {
	name := fmt.Sprintf("w%v", shape)
	if rapid.Bool().Draw(n.r, "fresh parameter") {
		name = "p" + n.fresh()
	}
	return n.b.Param(name, shape...)
}

func (n *randomNetwork) step() {
	x := n.pick()
	shape, out := n.shapes[x], n.fresh()
	switch rapid.IntRange(0, 20).Draw(n.r, "step") {
	case 0:
		op := rapid.SampledFrom([]string{"Relu", "LeakyRelu", "Tanh", "Sigmoid", "Gelu", "Identity", "Dropout"}).Draw(n.r, "op")
		n.add(n.b.Op(op, out, nil, x), shape)
	case 1:
		n.reshape(x, out)
	case 2:
		n.transpose(x, out)
	case 3, 4:
		width := rapid.SampledFrom([]int{2, 3, 4, 6, 12}).Draw(n.r, "width")
		m := n.b.MatMul(out, x, n.param(shape[len(shape)-1], width))
		n.add(n.b.Tanh(out+".t", m), append(append([]int{}, shape[:len(shape)-1]...), width))
	case 5:
		n.add(n.b.Softmax(out, x, rapid.IntRange(1, len(shape)).Draw(n.r, "axis")), shape)
	case 6:
		axis := rapid.IntRange(1, len(shape)).Draw(n.r, "axis")
		n.add(n.b.LayerNorm(out, x, n.param(shape[axis-1:]...), n.param(shape[axis-1:]...), axis), shape)
	case 7:
		n.broadcast(x, out)
	case 8:
		n.gram(x, out)
	case 9:
		n.sum(x, out)
	case 11, 12:
		n.concat(x, out)
	case 13:
		n.padOrSlice(x, out)
	case 14, 15:
		n.convolve(x, out)
	case 16:
		n.normaliseChannels(x, out)
	case 17:
		n.choose(x, out)
	case 18:
		n.reduce(x, out)
	case 19:
		n.repeat(x, out)
	case 20:
		n.split(x, out)
	case 10:
		w := rapid.SampledFrom([]int{4, 6, 12}).Draw(n.r, "width")
		flat := n.b.Flatten(out+".f", x, 1)
		n.add(n.b.Gemm(out, flat, n.param(w, product(shape)), n.param(w)), []int{w})
	}
}

// reshape draws a factorisation of all elements of an example.
func (n *randomNetwork) reshape(x, out string) {
	left, shape := product(n.shapes[x]), []int{}
	target := []int64{0}
	for left > 1 && len(shape) < 3 {
		var divisors []int
		for d := 2; d <= left; d++ {
			if left%d == 0 {
				divisors = append(divisors, d)
			}
		}
		d := rapid.SampledFrom(divisors).Draw(n.r, "extent")
		shape, target, left = append(shape, d), append(target, int64(d)), left/d
	}
	if left > 1 || len(shape) == 0 {
		shape, target = append(shape, left), append(target, -1)
	}
	n.add(n.b.Reshape(out, x, target...), shape)
}

func (n *randomNetwork) transpose(x, out string) {
	old := n.shapes[x]
	order := rapid.Permutation(indexList(len(old))).Draw(n.r, "order")
	perm, shape := []int64{0}, []int{}
	for _, i := range order {
		perm, shape = append(perm, int64(i+1)), append(shape, old[i])
	}
	n.add(n.b.Transpose(out, x, perm...), shape)
}

func indexList(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// broadcast meets a parameter that lacks some axes.
func (n *randomNetwork) broadcast(x, out string) {
	shape := n.shapes[x]
	p := append([]int{}, shape[rapid.IntRange(0, len(shape)-1).Draw(n.r, "first axis"):]...)
	for i := range p {
		if rapid.Bool().Draw(n.r, "extent 1") {
			p[i] = 1
		}
	}
	op := rapid.SampledFrom([]string{"Add", "Sub", "Mul", "PRelu"}).Draw(n.r, "op")
	n.add(n.b.Op(op, out, nil, x, n.param(p...)), shape)
}

// concat puts a value beside another of which all axes but one agree, or beside itself.
func (n *randomNetwork) concat(x, out string) {
	shape := n.shapes[x]
	axis := rapid.IntRange(0, len(shape)-1).Draw(n.r, "axis")
	without := func(s []int) string { return fmt.Sprint(s[:axis], s[axis+1:]) }
	y := x
	for _, v := range n.values {
		if s := n.shapes[v]; v != x && len(s) == len(shape) && without(s) == without(shape) && rapid.Bool().Draw(n.r, "this one") {
			y = v
		}
	}
	sum := append([]int{}, shape...)
	sum[axis] += n.shapes[y][axis]
	if product(sum) <= 100 {
		n.add(n.b.Concat(out, axis+1, x, y), sum)
	}
}

func (n *randomNetwork) padOrSlice(x, out string) {
	shape := append([]int{}, n.shapes[x]...)
	axis := rapid.IntRange(0, len(shape)-1).Draw(n.r, "axis")
	a, b := rapid.IntRange(0, 4).Draw(n.r, "before"), rapid.IntRange(0, 4).Draw(n.r, "after")
	if rapid.Bool().Draw(n.r, "pad") {
		before, after := make([]int64, len(shape)+1), make([]int64, len(shape)+1)
		before[axis+1], after[axis+1] = int64(a), int64(b)
		shape[axis] += a + b
		n.add(n.b.Pad(out, x, before, after), shape)
		return
	}
	if shape[axis] <= a+b {
		return
	}
	n.b.Slice(out, x, []int64{int64(axis + 1)}, []int64{int64(a)}, []int64{int64(shape[axis] - b)}, []int64{1})
	shape[axis] -= a + b
	n.add(out, shape)
}

// groups draws a number of groups that both divide into.
func (n *randomNetwork) groups(a, b int) int {
	var common []int
	for d := 1; d <= min(a, b); d++ {
		if a%d == 0 && b%d == 0 {
			common = append(common, d)
		}
	}
	return rapid.SampledFrom(common).Draw(n.r, "groups")
}

// convolve takes the second axis for channels.
func (n *randomNetwork) convolve(x, out string) {
	shape := n.shapes[x]
	if len(shape) != 2 {
		return
	}
	channels := rapid.SampledFrom([]int{2, 4, 6, 8}).Draw(n.r, "channels")
	groups := n.groups(shape[0], channels)
	w, bias := n.param(channels, shape[0]/groups, 3), n.param(channels)
	c := n.b.Op("Conv", out, graph.Attrs{"pads": []int64{1, 1}, "group": int64(groups)}, x, w, bias)
	n.add(n.b.Tanh(out+".t", c), []int{channels, shape[1]})
	if rapid.Bool().Draw(n.r, "pool") {
		attrs := graph.Attrs{"kernel_shape": []int64{2}, "pads": []int64{1, 0}}
		n.add(n.b.Op(rapid.SampledFrom([]string{"MaxPool", "AveragePool"}).Draw(n.r, "op"), out+".p", attrs, out+".t"), []int{channels, shape[1]})
	}
}

func (n *randomNetwork) normaliseChannels(x, out string) {
	shape := n.shapes[x]
	if len(shape) < 2 {
		return
	}
	scale, bias := n.param(shape[0]), n.param(shape[0])
	if rapid.Bool().Draw(n.r, "instance") {
		n.add(n.b.Op("InstanceNormalization", out, nil, x, scale, bias), shape)
		return
	}
	groups := n.groups(shape[0], shape[0])
	if rapid.Bool().Draw(n.r, "opset 18") {
		scale, bias = n.param(groups), n.param(groups)
	}
	n.add(n.b.Op("GroupNormalization", out, graph.Attrs{"num_groups": int64(groups)}, x, scale, bias), shape)
}

func (n *randomNetwork) list(name string, v ...int64) string {
	return n.b.Constant(name, tensor.FromSlice(tensor.Shape{len(v)}, v))
}

// choose takes units by number, or one of two values by their signs.
func (n *randomNetwork) choose(x, out string) {
	shape := append([]int{}, n.shapes[x]...)
	switch rapid.IntRange(0, 2).Draw(n.r, "choice") {
	case 0:
		axis := rapid.IntRange(0, len(shape)-1).Draw(n.r, "axis")
		var rows []int64
		for range rapid.IntRange(1, 4).Draw(n.r, "rows") {
			rows = append(rows, int64(rapid.IntRange(0, shape[axis]-1).Draw(n.r, "row")))
		}
		shape[axis] = len(rows)
		n.add(n.b.Op("Gather", out, graph.Attrs{"axis": int64(axis + 1)}, x, n.list(out+".rows", rows...)), shape)
	case 1:
		positive := n.b.Op("Greater", out+".p", nil, x, n.b.Op("Neg", out+".n", nil, x))
		n.add(n.b.Op("Where", out, nil, positive, x, n.param(shape[len(shape)-1])), shape)
	case 2:
		if len(shape) > 1 {
			n.add(n.b.Op("Trilu", out, nil, x), shape)
		}
	}
}

func (n *randomNetwork) reduce(x, out string) {
	shape := n.shapes[x]
	if len(shape) < 2 {
		return
	}
	axis := rapid.IntRange(0, len(shape)-1).Draw(n.r, "axis")
	op := rapid.SampledFrom([]string{"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2"}).Draw(n.r, "op")
	n.b.Op(op, out, graph.Attrs{"keepdims": int64(0)}, x, n.list(out+".axes", int64(axis+1)))
	n.add(out, append(append([]int{}, shape[:axis]...), shape[axis+1:]...))
}

// repeat tiles an axis, or expands a new one.
func (n *randomNetwork) repeat(x, out string) {
	shape := append([]int{}, n.shapes[x]...)
	if product(shape) > 50 {
		return
	}
	axis := rapid.IntRange(0, len(shape)-1).Draw(n.r, "axis")
	times := make([]int64, len(shape)+1)
	for i := range times {
		times[i] = 1
	}
	if rapid.Bool().Draw(n.r, "tile") {
		times[axis+1], shape[axis] = 2, 2*shape[axis]
		n.add(n.b.Op("Tile", out, nil, x, n.list(out+".times", times...)), shape)
		return
	}
	u := n.b.Op("Unsqueeze", out+".u", nil, x, n.list(out+".at", int64(axis+1)))
	target := append(times, 1)
	target[axis+1] = 2
	shape = append(shape[:axis], append([]int{2}, shape[axis:]...)...)
	n.add(n.b.Op("Expand", out, nil, u, n.list(out+".to", target...)), shape)
}

// split cuts an axis in two or three parts, equal or not.
func (n *randomNetwork) split(x, out string) {
	shape := n.shapes[x]
	axis := rapid.IntRange(0, len(shape)-1).Draw(n.r, "axis")
	var outs []string
	var sizes []int64
	for left := shape[axis]; left > 0; {
		size := rapid.IntRange(1, left).Draw(n.r, "part")
		if left%3 == 0 && rapid.Bool().Draw(n.r, "a third") {
			size = left / 3
		}
		if len(sizes) == 2 {
			size = left
		}
		left -= size
		outs, sizes = append(outs, fmt.Sprintf("%s.%d", out, len(outs))), append(sizes, int64(size))
	}
	n.b.OpN("Split", outs, graph.Attrs{"axis": int64(axis + 1)}, x, n.list(out+".sizes", sizes...))
	for i, part := range outs {
		s := append([]int{}, shape...)
		s[axis] = int(sizes[i])
		n.add(part, s)
	}
}

// gram contracts a value with its own transpose.
func (n *randomNetwork) gram(x, out string) {
	shape := n.shapes[x]
	if len(shape) < 2 {
		return
	}
	rank := len(shape) + 1
	perm := make([]int64, rank)
	for i := range perm {
		perm[i] = int64(i)
	}
	perm[rank-1], perm[rank-2] = perm[rank-2], perm[rank-1]
	m := n.b.MatMul(out, x, n.b.Transpose(out+".x", x, perm...))
	square := append(append([]int{}, shape[:len(shape)-1]...), shape[len(shape)-2])
	n.add(n.b.Tanh(out+".t", m), square)
}

// sum adds another value of the same shape.
func (n *randomNetwork) sum(x, out string) {
	for _, y := range n.values[:len(n.values)-1] {
		if y != x && fmt.Sprint(n.shapes[x]) == fmt.Sprint(n.shapes[y]) {
			n.add(n.b.Op(rapid.SampledFrom([]string{"Add", "Mul", "Sub"}).Draw(n.r, "op"), out, nil, x, y), n.shapes[x])
			return
		}
	}
}

// networkDeviation is wider than for the cases derived by hand: these networks are deeper and add large values up.
const networkDeviation = 1e-8

// Whatever inference claims of a random network is true: alignments change nothing.
func TestInferenceIsNeverWrong(t *testing.T) {
	groups, families := 0, 0
	check := func(r *rapid.T) {
		b := graph.NewBuilder("random")
		n := &randomNetwork{r: r, b: b, shapes: map[string][]int{}}
		b.Input("x", tensor.F32, batch, graph.Fixed(6))
		h := b.Linear("stem", "x", "stem", 12, 6, true)
		n.add(h, []int{12})
		for range rapid.IntRange(1, 9).Draw(r, "steps") {
			n.step()
		}
		last := n.values[len(n.values)-1]
		b.Output(b.Linear("y", b.Flatten("flat", last, 1), "head", 2, product(n.shapes[last]), true))
		g, err := b.Graph()
		if err != nil {
			r.Fatal(err)
		}
		sym := infer(t, g)
		for _, group := range sym.Groups {
			if groups++; len(group.Parents) > 0 {
				families++
			}
		}
		params := randomParams(g, 1)
		run := runner(t, g)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 0))
		moved, err := sym.Apply(sym.Random(rng), params)
		if err != nil {
			r.Fatal(err)
		}
		want := run(params)
		if d := deviation(want, run(moved)); !(d < networkDeviation) {
			r.Fatalf("an alignment changes the outputs %v by %g; groups %s, layouts\n%s", want, d, groupsText(sym), layoutsText(g, sym))
		}
	}
	for range 5 { // what goes wrong in one network of a thousand is worth more than one round
		rapid.Check(t, check)
	}
	if groups == 0 || families == 0 {
		t.Errorf("%d groups and %d families were put to the test", groups, families)
	}
	t.Logf("%d groups and %d families", groups, families)
}
