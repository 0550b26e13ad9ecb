package kernel

import "testing"

func TestMake(t *testing.T) {
	for _, n := range []int{0, 1, large/8 - 1, large / 8, large/8 + hugePage/8 + 1} {
		s := Make[float64](n)
		if len(s) != n {
			t.Fatalf("%d elements, want %d", len(s), n)
		}
		for i, v := range s {
			if v != 0 {
				t.Fatalf("element %d of %d is %v", i, n, v)
			}
			s[i] = 1
		}
	}
}
