package match

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// untilStill lets a descent go on until no group can move, so that tests may ask for an optimum.
const untilStill = -1

// rounding is the relative error allowed between float64 sums of the same products in different orders.
const rounding = 1e-9

// A network is a symmetry in text: "name=size" for groups and families in the order in which they are to be listed, "name!=size" for fixed names,
// then layouts, "tensor: layout". Shapes follow from the sizes.
type network []string

func (w network) symmetry(t testing.TB) *symmetry.Symmetry {
	t.Helper()
	sizes := map[string]int{}
	s := &symmetry.Symmetry{Fixed: map[string]int{}, Layouts: map[string]symmetry.Layout{}, Shapes: map[string]tensor.Shape{}}
	for _, field := range strings.Fields(w[0]) {
		name, size, _ := strings.Cut(field, "=")
		n, err := strconv.Atoi(size)
		if err != nil {
			t.Fatal(err)
		}
		if fixed, ok := strings.CutSuffix(name, "!"); ok {
			s.Fixed[fixed], sizes[fixed] = n, n
			continue
		}
		s.Groups = append(s.Groups, symmetry.Group{Name: name, Size: n})
		sizes[name] = n
	}
	for _, line := range w[1:] {
		key, text, _ := strings.Cut(line, ": ")
		layout, parents, err := symmetry.ParseLayout(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, axis := range layout {
			for _, seg := range axis {
				for i := range seg {
					if seg[i].Name != "" {
						seg[i].Size = sizes[seg[i].Name]
					}
				}
			}
		}
		for i := range s.Groups {
			if p := parents[s.Groups[i].Name]; p != nil {
				s.Groups[i].Parents = p
			}
		}
		s.Layouts[key] = layout
		for _, member := range membersOf(key, sizes) {
			s.Shapes[member] = layout.Shape()
		}
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

func membersOf(key string, sizes map[string]int) []string {
	before, rest, ok := strings.Cut(key, "{")
	if !ok {
		return []string{key}
	}
	name, after, _ := strings.Cut(rest, "}")
	var out []string
	for i := range sizes[name] {
		out = append(out, before+strconv.Itoa(i)+after)
	}
	return out
}

// Networks with everything that layouts can say. Small ones are small enough to try all their alignments.
var (
	mlp       = network{"h1=12 h2=9", "w1: h1 7", "b1: h1", "w2: h2 h1", "b2: h2", "w3: 5 h2"}
	products  = network{"c=6 h=8", "conv: c 3 2 2", "cb: c", "fc: h (c 3 3)", "out: 4 h"}
	concat    = network{"a=5 b=6 h=7", "wa: a 4", "wb: b 6", "cat: h (a + b + 2)", "out: 3 h"}
	residual  = network{"r=8 h=6", "in: r 5", "up: h r", "down: r h", "out: 4 r"}
	square    = network{"r=7", "in: r 6", "mix: r r", "out: 4 r"}
	attention = network{
		"heads=4 dk=3 dv=5", "qkv: ((heads dk[heads]) + (heads dk[heads]) + (heads dv[heads])) 6",
		"bias: ((heads dk[heads]) + (heads dk[heads]) + (heads dv[heads]))", "o: 6 (heads dv[heads])",
	}
	ownParents = network{"h=4 k=3 v=2", "bilinear: (h k[h]) (h v[h])", "q: (h k[h]) 6", "o: 5 (h v[h])"}
	grouped    = network{"g=3 o=4 i=3", "conv: (g o[g]) i[g] 2 2", "before: (g i[g]) 7", "after: 5 (g o[g])"}
	queries    = network{
		"kv=3 q=2 dk=3 dv=4", "wq: (kv q[kv] dk[kv]) 9", "wk: (kv dk[kv]) 9", "wv: (kv dv[kv]) 9", "wo: 9 (kv q[kv] dv[kv])",
	}
	nested   = network{"x=2 q=3 a=3", "w: (a q[a] x[a,q]) 6", "u: 5 (a q[a] x[a,q])", "b: (a q[a])"}
	experts  = network{"f=4 e=5 h=6", "gate: e h", "experts.{e}.up: f[e] h", "experts.{e}.down: h f[e]", "in: h 5"}
	lstm     = network{"direction!=2 h=5", "w: (direction h[direction]) 6", "u: 4 (direction h[direction])"}
	withOnes = network{"one=1 h=5 k=1", "w: (h k[h]) one 4", "v: one h", "out: 3 (h k[h])"}
	rigid    = network{"", "w: 3 4", "b: 3"}

	allNetworks = map[string]network{
		"mlp": mlp, "products": products, "concat": concat, "residual": residual, "square": square, "attention": attention,
		"own parents": ownParents, "grouped": grouped, "queries": queries, "nested": nested, "experts": experts, "lstm": lstm,
		"sizes of one": withOnes, "rigid": rigid,
	}
)

func networkNames() []string { return slices.Sorted(maps.Keys(allNetworks)) }

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// gaussian fills a network of the symmetry's shapes with normal numbers.
func gaussian(sym *symmetry.Symmetry, rng *rand.Rand) Params {
	p := Params{}
	for _, name := range slices.Sorted(maps.Keys(sym.Shapes)) {
		t := tensor.New(tensor.F32, sym.Shapes[name])
		for i := range tensor.Of[float32](t) {
			tensor.Of[float32](t)[i] = float32(rng.NormFloat64())
		}
		p[name] = t
	}
	return p
}

// planted returns A, a permuted and slightly disturbed B, and the alignment that puts B back.
func planted(t testing.TB, sym *symmetry.Symmetry, noise float64, rng *rand.Rand) (a, b Params, answer *symmetry.Alignment) {
	t.Helper()
	a = gaussian(sym, rng)
	hidden := sym.Random(rng)
	b = apply(t, sym, hidden, a)
	for name, d := range gaussian(sym, rng) {
		b[name] = b[name].Clone()
		for i, x := range tensor.Of[float32](d) {
			tensor.Of[float32](b[name])[i] += float32(noise) * x
		}
	}
	return a, b, sym.Invert(hidden)
}

func apply(t testing.TB, sym *symmetry.Symmetry, p *symmetry.Alignment, b Params) Params {
	t.Helper()
	out, err := sym.Apply(p, b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func cloneParams(p Params) Params {
	out := Params{}
	for name, t := range p {
		out[name] = t.Clone()
	}
	return out
}

// innerProduct is <A, P·B> by its definition.
func innerProduct(t testing.TB, sym *symmetry.Symmetry, a, b Params, p *symmetry.Alignment) float64 {
	t.Helper()
	var sum float64
	for name, x := range apply(t, sym, p, b) {
		for i, v := range tensor.Of[float32](x) {
			sum += float64(v) * float64(tensor.Of[float32](a[name])[i])
		}
	}
	return sum
}

func near(x, y, scale float64) bool { return math.Abs(x-y) <= rounding*(1+scale) }

// scaleOf is ‖A‖‖B‖, which the errors of inner products are relative to.
func scaleOf(a, b Params) float64 {
	var aa, bb float64
	for name := range a {
		for i, x := range tensor.Of[float32](a[name]) {
			y := tensor.Of[float32](b[name])[i]
			aa += float64(x) * float64(x)
			bb += float64(y) * float64(y)
		}
	}
	return math.Sqrt(aa * bb)
}

// permutations of n.
func permutations(n int) [][]int32 {
	if n == 0 {
		return [][]int32{{}}
	}
	var out [][]int32
	for _, p := range permutations(n - 1) {
		for at := range n {
			out = append(out, slices.Insert(slices.Clone(p), at, int32(n-1)))
		}
	}
	return out
}

// everyPerm calls f with every permutation sequence of a group: one for each joint index of its parents.
func everyPerm(size, joint int, f func([]int32)) {
	all := permutations(size)
	perm := make([]int32, size*joint)
	var rec func(q int)
	rec = func(q int) {
		if q == joint {
			f(perm)
			return
		}
		for _, p := range all {
			copy(perm[q*size:], p)
			rec(q + 1)
		}
	}
	rec(0)
}

// bruteForce is the best objective over all alignments.
func bruteForce(t testing.TB, sym *symmetry.Symmetry, a, b Params) float64 {
	best := math.Inf(-1)
	p := sym.Identity()
	var rec func(k int)
	rec = func(k int) {
		if k == len(sym.Groups) {
			best = max(best, innerProduct(t, sym, a, b, p))
			return
		}
		g := sym.Groups[k]
		everyPerm(g.Size, len(p.Perms[g.Name])/g.Size, func(perm []int32) {
			p.Perms[g.Name] = slices.Clone(perm)
			rec(k + 1)
		})
	}
	rec(0)
	return best
}

func mustWeights(t testing.TB, sym *symmetry.Symmetry, a, b Params, opt WeightsOptions) *Result {
	t.Helper()
	r, err := Weights(t.Context(), sym, a, b, opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
