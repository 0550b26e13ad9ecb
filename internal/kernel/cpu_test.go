package kernel

import "testing"

func TestLimitOnlyLowersTheChoice(t *testing.T) {
	all := []*implementation[float32]{{name: "portable"}, {name: "avx2"}, {name: "avx512"}}
	for _, c := range []struct {
		offers      []*implementation[float32]
		limit, want string
	}{
		{all, "", "avx512"},
		{all, "avx512", "avx512"},
		{all, "avx2", "avx2"},
		{all, "portable", "portable"},
		{all, "unknown", "avx512"},
		{all[:2], "avx512", "avx2"},
		{all[:1], "avx2", "portable"},
	} {
		if got := choose(c.offers, c.limit).name; got != c.want {
			t.Errorf("limit %q on %d sets chooses %s, want %s", c.limit, len(c.offers), got, c.want)
		}
	}
}

func TestFeaturesAreOffered(t *testing.T) {
	for _, o := range offered() {
		if o.name == Features() {
			return
		}
	}
	t.Errorf("%q is in use but not offered", Features())
}

func TestPeak(t *testing.T) {
	for _, e := range offered() {
		if got := e.peak(1000); got < 2*1000*8 {
			t.Errorf("%s: %v operations in 1000 rounds", e.name, got)
		}
	}
	if got := Peak(nil); !(got > 1e6) {
		t.Errorf("the peak is %v operations a second", got)
	}
}
