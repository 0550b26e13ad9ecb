package symmetry

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rebasin/rebasin/tensor"
)

func TestGroupLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSymmetry(t)
		a, b, c := drawAlignment(t, s, "a"), drawAlignment(t, s, "b"), drawAlignment(t, s, "c")
		id := s.Identity()
		ab := s.Compose(a, b)
		if err := s.CheckAlignment(ab); err != nil {
			t.Fatalf("closure: %v", err)
		}
		if !s.Compose(ab, c).Equal(s.Compose(a, s.Compose(b, c))) {
			t.Fatalf("not associative\n%v", describe(s))
		}
		if !s.Compose(a, id).Equal(a) || !s.Compose(id, a).Equal(a) {
			t.Fatal("the identity is not neutral")
		}
		inverse := s.Invert(a)
		if !s.IsIdentity(s.Compose(a, inverse)) || !s.IsIdentity(s.Compose(inverse, a)) || !s.Invert(inverse).Equal(a) {
			t.Fatalf("not inverse\n%v", describe(s))
		}
		if !s.Invert(ab).Equal(s.Compose(s.Invert(b), inverse)) {
			t.Fatal("(ab)^-1 is not b^-1 a^-1")
		}
	})
}

// The formula for one family, written out: (σ∘σ′, τ_{σ′[i]}∘τ′_i).
func TestComposeFamily(t *testing.T) {
	s := mustParse(t, "layouts: {w: '(h d[h])'}\nsizes: {h: 2}", map[string]tensor.Shape{"w": {6}})
	sigma, tau := []int32{1, 0}, [][]int32{{1, 2, 0}, {0, 2, 1}}
	sigma2, tau2 := []int32{1, 0}, [][]int32{{2, 1, 0}, {1, 0, 2}}
	first := &Alignment{Perms: map[string][]int32{"h": sigma, "d": append(append([]int32{}, tau[0]...), tau[1]...)}}
	then := &Alignment{Perms: map[string][]int32{"h": sigma2, "d": append(append([]int32{}, tau2[0]...), tau2[1]...)}}
	got := s.Compose(first, then)
	for i := range 2 {
		if want := sigma[sigma2[i]]; got.Perms["h"][i] != want {
			t.Errorf("h[%d] = %d, want %d", i, got.Perms["h"][i], want)
		}
		for j := range 3 {
			if want := tau[sigma2[i]][tau2[i][j]]; got.Perms["d"][3*i+j] != want {
				t.Errorf("d_%d[%d] = %d, want %d", i, j, got.Perms["d"][3*i+j], want)
			}
		}
	}
}

func TestRandomIsSeededAndUniform(t *testing.T) {
	s := mustParse(t, "layouts: {w: h, v: '(h d[h])'}", map[string]tensor.Shape{"w": {3}, "v": {6}})
	draw := func(seed uint64) *Alignment { return s.Random(rand.New(rand.NewPCG(seed, 0))) }
	if !draw(7).Equal(draw(7)) {
		t.Error("the same seed gives another alignment")
	}
	const draws = 6000
	seen := map[[3]int32]int{}
	r := rand.New(rand.NewPCG(1, 2))
	for range draws {
		seen[[3]int32(s.Random(r).Perms["h"])]++
	}
	// Six permutations, 1000 each; five deviations of the binomial are 144.
	for perm, n := range seen {
		if math.Abs(float64(n-draws/6)) > 144 {
			t.Errorf("%v was drawn %d times of %d", perm, n, draws)
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d permutations of 6", len(seen))
	}
}

func TestCheckAlignment(t *testing.T) {
	s := mustParse(t, "layouts: {w: h, v: '(h d[h])'}", map[string]tensor.Shape{"w": {2}, "v": {4}})
	for want, perms := range map[string]map[string][]int32{
		`group "d": the alignment has no permutation`:   {"h": {0, 1}},
		`group "x": the symmetry has no such group`:     {"h": {0, 1}, "d": {0, 1, 0, 1}, "x": {0}},
		`group "d": 2 entries where 2 units need 4`:     {"h": {0, 1}, "d": {0, 1}},
		`group "h": entry 1 is 2, units are 0 to 1`:     {"h": {0, 2}, "d": {0, 1, 0, 1}},
		`group "h": entry 0 is -1`:                      {"h": {-1, 0}, "d": {0, 1, 0, 1}},
		`group "d": entry 3 is 1, which is there twice`: {"h": {0, 1}, "d": {0, 1, 1, 1}},
	} {
		if err := s.CheckAlignment(&Alignment{Perms: perms}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", perms, err, want)
		}
	}
}

func TestComposePanicsOnForeignAlignments(t *testing.T) {
	s := mustParse(t, "layouts: {w: h}", map[string]tensor.Shape{"w": {2}})
	defer func() {
		if r := recover(); r == nil || !strings.Contains(r.(string), `symmetry: Compose: group "h"`) {
			t.Errorf("recovered %v", r)
		}
	}()
	s.Compose(s.Identity(), &Alignment{})
}

func TestCloneIsDeep(t *testing.T) {
	s := mustParse(t, "layouts: {w: h}", map[string]tensor.Shape{"w": {2}})
	a := s.Identity()
	b := a.Clone()
	b.Perms["h"][0], b.Perms["h"][1] = 1, 0
	if !s.IsIdentity(a) || s.IsIdentity(b) || a.Equal(b) {
		t.Errorf("%v %v", a, b)
	}
}
