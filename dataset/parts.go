package dataset

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Part is part i of n random parts of the set: they are disjoint, together they are all of it, and their sizes differ by at most one. Which images it has
// depends on n, i, seed and the number of images alone; they keep their order. It panics unless 0 ≤ i < n.
func (s *Set) Part(i, n int, seed uint64) *Set {
	if i < 0 || i >= n {
		panic(fmt.Sprintf("dataset: part %d of %d", i, n))
	}
	order := shuffled("dataset.Part", s.Len(), seed, 0)
	indices := order[i*s.Len()/n : (i+1)*s.Len()/n]
	slices.Sort(indices)
	return s.Subset(indices)
}

// SplitByLabel cuts the set in two disjoint ones that together are all of it, biased by class: a has the share, from 0 to 1, of the images of each class
// given, and 1-share of those of every other class; b has what is left. Which images go where is random in each class; all keep their order. With half of
// the classes and a share of .2 it is how Git Re-Basin splits a training set (S. Ainsworth, J. Hayase, S. Srinivasa, ICLR 2023, arXiv:2209.04836,
// section 5.4).
func (s *Set) SplitByLabel(classes []int, share float64, seed uint64) (a, b *Set) {
	if !(share >= 0 && share <= 1) {
		panic(fmt.Sprintf("dataset: a share of %v", share))
	}
	byClass := make([][]int, s.Classes())
	for i := range s.Len() {
		byClass[s.Label(i)] = append(byClass[s.Label(i)], i)
	}
	var first, second []int
	for class, indices := range byClass {
		part := share
		if !slices.Contains(classes, class) {
			part = 1 - share
		}
		cut := int(math.Round(part * float64(len(indices))))
		for k, at := range shuffled("dataset.SplitByLabel", len(indices), seed, uint64(class)) {
			if k < cut {
				first = append(first, indices[at])
			} else {
				second = append(second, indices[at])
			}
		}
	}
	slices.Sort(first)
	slices.Sort(second)
	return s.Subset(first), s.Subset(second)
}

// shuffled is a permutation of 0..n-1 for one purpose.
func shuffled(purpose string, n int, seed, stream uint64) []int {
	key := [32]byte{}
	copy(key[16:], purpose)
	binary.LittleEndian.PutUint64(key[0:], seed)
	binary.LittleEndian.PutUint64(key[8:], stream)
	return rand.New(rand.NewChaCha8(key)).Perm(n)
}
