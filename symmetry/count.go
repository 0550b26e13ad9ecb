package symmetry

import "math"

// Log10 is the decimal logarithm of the number of alignments: the sum over groups and families of the product of their
// parents' extents, times log10 n!.
//
// For the MLP 784-512-512-512-10 it is 3 log10 512! = 3499.62. Ainsworth, Hayase, Srinivasa (Git Re-Basin: Merging Models
// modulo Permutation Symmetries, ICLR 2023, arXiv 2209.04836) print 10^3498, which comes from rounding each layer's
// 1166.54 down.
func (s *Symmetry) Log10() float64 {
	names := s.names()
	sum := 0.0
	for _, g := range s.Groups {
		sum += float64(names.joint(g)) * log10Factorial(g.Size)
	}
	return sum
}

// log10Factorial has the relative accuracy of math.Lgamma, about 1e-15.
func log10Factorial(n int) float64 {
	lg, _ := math.Lgamma(float64(n) + 1)
	return lg / math.Ln10
}
