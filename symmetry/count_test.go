package symmetry

import (
	"fmt"
	"math"
	"testing"

	"github.com/rebasin/rebasin/tensor"
)

// The paper prints 10^3498 for this network: each layer's 1166.54 rounded down.
func TestLog10OfThePapersMLP(t *testing.T) {
	s := mustParse(t, "layouts: {fc1: h1 _, fc2: h2 h1, fc3: h3 h2, fc4: _ h3}",
		map[string]tensor.Shape{"fc1": {512, 784}, "fc2": {512, 512}, "fc3": {512, 512}, "fc4": {10, 512}})
	if got := fmt.Sprintf("%.2f", s.Log10()); got != "3499.62" {
		t.Errorf("log10 is %s, not 3499.62", got)
	}
	paper := 0.0
	for range s.Groups {
		paper += math.Floor(log10Factorial(512))
	}
	if paper != 3498 {
		t.Errorf("rounded down by layer it is %v, the paper has 3498", paper)
	}
}

func TestLog10IsTheSumOfLogarithms(t *testing.T) {
	sum := 0.0
	for n := 1; n <= 5000; n++ {
		sum += math.Log10(float64(n))
		if got := log10Factorial(n); math.Abs(got-sum) > 1e-12*max(1, sum) {
			t.Fatalf("log10 %d! is %v, want %v", n, got, sum)
		}
	}
}

// 2! orders of the heads, 3! of the dimensions in each; 2! of h in each direction.
func TestLog10CountsFamiliesOncePerParent(t *testing.T) {
	s := mustParse(t, "layouts: {w: '(heads dk[heads])', v: '(direction h[direction])', u: heads}\nfixed: {direction: 2}",
		map[string]tensor.Shape{"w": {6}, "v": {4}, "u": {2}})
	if got, want := s.Log10(), math.Log10(2*6*6*2*2); math.Abs(got-want) > 1e-12 {
		t.Errorf("log10 is %v, want %v", got, want)
	}
}
