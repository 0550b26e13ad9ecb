package assign

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// The sum, its sign and its rounding are those of arithmetic wide enough to be exact, also after cancellation and at the edges of
// the range.
func TestExpansionIsExact(t *testing.T) {
	term := rapid.OneOf(
		rapid.Float64Range(-0x1p980, 0x1p980),
		rapid.Custom(func(t *rapid.T) float64 {
			m := rapid.IntRange(-3, 3).Draw(t, "m")
			return math.Ldexp(float64(m), rapid.SampledFrom([]int{0, 52, 53, 54, 106, -1, -53, -1074, 970}).Draw(t, "e"))
		}),
	)
	rapid.Check(t, func(t *rapid.T) {
		terms := rapid.SliceOfN(term, 0, 30).Draw(t, "terms")
		if rapid.Bool().Draw(t, "cancel") {
			for _, x := range terms {
				terms = append(terms, -x)
			}
			terms = append(terms, term.Draw(t, "rest"))
		}
		var e expansion
		want := new(big.Float).SetPrec(2200)
		for _, x := range terms {
			e.add(x)
			want.Add(want, big.NewFloat(x))
		}
		if got := e.sign(); got != want.Sign() {
			t.Errorf("sign %d, want %d", got, want.Sign())
		}
		if rounded, _ := want.Float64(); e.round() != rounded {
			t.Errorf("rounds to %v, want %v", e.round(), rounded)
		}
	})
}

// A half in the last place is decided by what lies below it, however far below.
func TestExpansionRoundsOnce(t *testing.T) {
	for _, c := range []struct {
		terms []float64
		want  float64
	}{
		{[]float64{1, 0x1p-53}, 1},
		{[]float64{1, 0x1p-53, 0x1p-200}, 1 + 0x1p-52},
		{[]float64{1, 0x1p-53, -0x1p-200}, 1},
		{[]float64{1 + 0x1p-52, 0x1p-53, -0x1p-200}, 1 + 0x1p-52},
		{[]float64{-1, -0x1p-53, -0x1p-200}, -1 - 0x1p-52},
	} {
		var e expansion
		for _, x := range c.terms {
			e.add(x)
		}
		if got := e.round(); got != c.want {
			t.Errorf("sum of %v: %v, want %v", c.terms, got, c.want)
		}
	}
}
