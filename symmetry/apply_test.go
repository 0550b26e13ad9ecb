package symmetry

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/tensor"
)

// naiveApply is the definition: for each position of the result, each factor's index goes through the permutation that
// belongs to the result's parents, and the element comes from there.
func naiveApply(t *rapid.T, s *Symmetry, a *Alignment, in map[string]*tensor.Tensor) map[string]*tensor.Tensor {
	out := map[string]*tensor.Tensor{}
	for name, x := range in {
		out[name] = x.Clone()
	}
	for key := range s.Layouts {
		st, err := s.stackOf(key, s.names())
		if err != nil {
			t.Fatal(err)
		}
		shape := st.layout.Shape()
		for at := range grid(shape) {
			target, source := locate(shape, at, len(st.virtual)), locate(shape, naiveSource(s, a, st.layout, at), len(st.virtual))
			tensor.Of[int32](out[st.members[target[0]]])[target[1]] = tensor.Of[int32](in[st.members[source[0]]])[source[1]]
		}
	}
	return out
}

// locate splits a position of a stack into the member and the element in it.
func locate(shape tensor.Shape, at []int, virtual int) [2]int {
	var index [2]int
	for k, n := range shape {
		part := 0
		if k >= virtual {
			part = 1
		}
		index[part] = index[part]*n + at[k]
	}
	return index
}

func naiveSource(s *Symmetry, a *Alignment, layout Layout, at []int) []int {
	here := make([]map[string]int, len(layout)) // the index of every name where the position is
	for k, axis := range layout {
		segment, _, rest := segmentAt(axis, at[k])
		here[k] = map[string]int{}
		for i := len(segment) - 1; i >= 0; i-- {
			here[k][segment[i].Name] = rest % segment[i].Size
			rest /= segment[i].Size
		}
	}
	index := func(k int, name string) int {
		if i, ok := here[k][name]; ok {
			return i
		}
		for _, other := range here {
			if i, ok := other[name]; ok {
				return i
			}
		}
		panic("no index of " + name)
	}
	from := make([]int, len(layout))
	for k, axis := range layout {
		segment, start, rest := segmentAt(axis, at[k])
		strides := make([]int, len(segment))
		stride := 1
		for i := len(segment) - 1; i >= 0; i-- {
			strides[i] = stride
			stride *= segment[i].Size
		}
		from[k] = start
		for i, f := range segment {
			digit := rest / strides[i] % f.Size
			if g, ok := s.Group(f.Name); ok {
				joint := 0
				for _, p := range g.Parents {
					joint = joint*s.names().extent(p) + index(k, p)
				}
				digit = int(a.Perms[f.Name][joint*g.Size+digit])
			}
			from[k] += digit * strides[i]
		}
	}
	return from
}

func segmentAt(axis Axis, r int) (segment Segment, start, rest int) {
	for _, segment = range axis {
		if r < start+segment.Len() {
			return segment, start, r - start
		}
		start += segment.Len()
	}
	panic("beyond the axis")
}

func TestApplyIsTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSymmetry(t)
		a := drawAlignment(t, s, "alignment")
		in := numbered(s)
		if err := sameTensors(mustApply(t, s, a, in), naiveApply(t, s, a, in)); err != nil {
			t.Fatalf("%v\n%v%v", err, describe(s), a)
		}
	})
}

// A wrong order of composition, or an index by the source's parent, fails here.
func TestApplyIsAGroupAction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSymmetry(t)
		first, then := drawAlignment(t, s, "first"), drawAlignment(t, s, "then")
		in := numbered(s)
		one := mustApply(t, s, first, in)
		if err := sameTensors(mustApply(t, s, then, one), mustApply(t, s, s.Compose(first, then), in)); err != nil {
			t.Fatalf("%v\n%v", err, describe(s))
		}
		if err := sameTensors(mustApply(t, s, s.Invert(first), one), in); err != nil {
			t.Fatalf("inverse: %v\n%v", err, describe(s))
		}
		if err := sameTensors(mustApply(t, s, s.Identity(), in), in); err != nil {
			t.Fatalf("identity: %v", err)
		}
	})
}

func TestApplyFromIsApply(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSymmetry(t)
		a := drawAlignment(t, s, "alignment")
		in := numbered(s)
		load := func(name string) (*tensor.Tensor, error) { return in[name], nil }
		out := map[string]*tensor.Tensor{}
		for name := range in {
			var err error
			if out[name], err = s.ApplyFrom(a, name, load); err != nil {
				t.Fatal(err)
			}
		}
		if err := sameTensors(out, mustApply(t, s, a, in)); err != nil {
			t.Fatal(err)
		}
	})
}

// AxisIndex and Take for each axis are ApplyTensor wherever there is an index.
func TestAxisIndexIsApply(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSymmetry(t)
		a := drawAlignment(t, s, "alignment")
		for name, x := range numbered(s) {
			layout, ok := s.Layouts[name]
			if !ok {
				continue
			}
			want, err := s.ApplyTensor(a, name, x)
			if err != nil {
				t.Fatal(err)
			}
			cross := false
			for axis := range layout {
				index, ok := s.AxisIndex(a, layout, axis)
				if !ok {
					cross = true
					continue
				}
				if x, err = x.Take(axis, index); err != nil {
					t.Fatal(err)
				}
			}
			if !cross && !x.Equal(want) {
				t.Fatalf("tensor %q: %s", name, s.Format(layout))
			}
		}
	})
}

func TestApplyMovesEveryDType(t *testing.T) {
	s := &Symmetry{
		Groups:  []Group{{Name: "g", Size: 2}, {Name: "i", Size: 3, Parents: []string{"g"}}, {Name: "h", Size: 3}},
		Layouts: map[string]Layout{"cross": {GroupAxis("g", 2), GroupAxis("i", 3)}, "plain": {GroupAxis("h", 3), FixedAxis(2)}},
		Shapes:  map[string]tensor.Shape{"cross": {2, 3}, "plain": {3, 2}},
	}
	a := &Alignment{Perms: map[string][]int32{"g": {1, 0}, "i": {1, 2, 0, 2, 1, 0}, "h": {2, 0, 1}}}
	want := map[string][]byte{"cross": {4, 5, 3, 2, 1, 0}, "plain": {4, 5, 0, 1, 2, 3}}
	for _, dtype := range tensor.DTypes() {
		in := map[string]*tensor.Tensor{}
		for name, shape := range s.Shapes {
			x, err := tensor.FromBytes(dtype, shape, spread([]byte{0, 1, 2, 3, 4, 5}, dtype))
			if err != nil {
				t.Fatal(err)
			}
			in[name] = x
		}
		out := mustApply(t, s, a, in)
		for name := range want {
			if got := out[name].Bytes(); out[name].DType() != dtype || !slices.Equal(got, spread(want[name], dtype)) {
				t.Errorf("%v %s: %v", dtype, name, got)
			}
		}
	}
}

// spread makes elements whose bytes tell the values apart; a BOOL has but two.
func spread(values []byte, dtype tensor.DType) []byte {
	var out []byte
	for _, v := range values {
		if dtype == tensor.Bool {
			v %= 2
		}
		for k := range dtype.Size() {
			out = append(out, v+byte(16*k))
		}
	}
	return out
}

func TestApplyLeavesTheRestAlone(t *testing.T) {
	s := mustParse(t, "layouts: {w: h 2, b: k}", map[string]tensor.Shape{"w": {3, 2}, "b": {2}, "other": {4}})
	in := numbered(s)
	in["unknown"] = tensor.New(tensor.F32, tensor.Shape{1})
	a := s.Identity()
	a.Perms["h"] = []int32{1, 2, 0}
	out := mustApply(t, s, a, in)
	for _, name := range []string{"b", "other", "unknown"} {
		if out[name] != in[name] {
			t.Errorf("%s is a copy", name)
		}
	}
	if out["w"] == in["w"] || len(out) != 4 {
		t.Errorf("w did not move, or tensors are lost: %v", out)
	}
	delete(in, "w")
	if out := mustApply(t, s, a, in); len(out) != 3 {
		t.Errorf("an absent tensor appeared: %v", out)
	}
}

func TestApplyErrors(t *testing.T) {
	shapes := map[string]tensor.Shape{"w": {3, 2}, "e.0.w": {2}, "e.1.w": {2}}
	s := mustParse(t, "layouts: {w: h 2, 'e.{e}.w': 'f[e]'}", shapes)
	swap := s.Identity()
	swap.Perms["e"] = []int32{1, 0}
	bad := s.Identity()
	bad.Perms["h"] = []int32{0, 0, 1}
	in := numbered(s)
	missing := map[string]*tensor.Tensor{"e.0.w": in["e.0.w"]}
	for want, run := range map[string]func() error{
		`group "h": entry 1 is 0, which is there twice`: func() error { _, err := s.Apply(bad, in); return err },
		`no alignment`: func() error { _, err := s.Apply(nil, in); return err },
		`tensor "w": shape [2], the symmetry has [3 2]`: func() error {
			_, err := s.Apply(swap, map[string]*tensor.Tensor{"w": in["e.0.w"]})
			return err
		},
		`tensor "e.1.w" is missing`: func() error { _, err := s.Apply(swap, missing); return err },
		`tensor "e.0.w": is made of tensor "e.1.w" of its virtual stack`: func() error {
			_, err := s.ApplyTensor(swap, "e.0.w", in["e.0.w"])
			return err
		},
		`group "h": entry 1`: func() error { _, err := s.ApplyTensor(bad, "w", in["w"]); return err },
	} {
		if err := run(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A virtual stack whose members' order depends on another axis mixes members element by element.
func TestStackWithAParentInside(t *testing.T) {
	s := mustParse(t, "layouts: {'e.{e[g]}.w': g}", map[string]tensor.Shape{"e.0.w": {2}, "e.1.w": {2}})
	in := map[string]*tensor.Tensor{
		"e.0.w": tensor.FromSlice(tensor.Shape{2}, []int32{1, 2}),
		"e.1.w": tensor.FromSlice(tensor.Shape{2}, []int32{3, 4}),
	}
	a := &Alignment{Perms: map[string][]int32{"g": {1, 0}, "e": {1, 0, 0, 1}}}
	out := mustApply(t, s, a, in)
	if got := fmt.Sprint(tensor.Of[int32](out["e.0.w"]), tensor.Of[int32](out["e.1.w"])); got != "[4 1] [2 3]" {
		t.Errorf("got %s", got)
	}
	in["e.1.w"] = tensor.New(tensor.I64, tensor.Shape{2})
	if _, err := s.Apply(a, in); err == nil || !strings.Contains(err.Error(), "dtypes") {
		t.Errorf("two dtypes in one stack: %v", err)
	}
}

func BenchmarkApplyCrossAxis(b *testing.B) {
	shapes := map[string]tensor.Shape{"w": {64, 256, 9}}
	s := mustParse(b, "layouts: {w: '(g o[g]) i[g] 9'}\nsizes: {g: 8}", shapes)
	a := s.Random(rand.New(rand.NewPCG(1, 2)))
	in := map[string]*tensor.Tensor{"w": tensor.New(tensor.F32, shapes["w"])}
	b.SetBytes(int64(len(in["w"].Bytes())))
	for b.Loop() {
		mustApply(b, s, a, in)
	}
}
