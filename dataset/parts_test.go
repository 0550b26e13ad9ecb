package dataset

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Parts are disjoint, together they are the set, in its order, and their sizes differ by at most one.
func TestPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(1, 60).Draw(t, "images")
		n := rapid.IntRange(1, 7).Draw(t, "parts")
		seed := rapid.Uint64().Draw(t, "seed")
		set := numbered(t, count)
		seen := make([]int, count)
		for i := range n {
			part := set.Part(i, n, seed)
			if part.Len() < count/n || part.Len() > (count+n-1)/n {
				t.Fatalf("part %d of %d has %d of %d images", i, n, part.Len(), count)
			}
			if !slices.IsSorted(part.index) || !slices.Equal(part.index, set.Part(i, n, seed).index) {
				t.Fatalf("part %d is %v", i, part.index)
			}
			for _, at := range part.index {
				seen[at]++
			}
		}
		if slices.Min(seen) != 1 || slices.Max(seen) != 1 {
			t.Fatalf("images occur %v times", seen)
		}
	})
	set := numbered(t, 100)
	if slices.Equal(set.Part(0, 2, 1).index, set.Part(0, 2, 2).index) {
		t.Error("another seed gives the same part")
	}
}

// numbered is a set of images of one pixel, of three classes in turn.
func numbered(t interface{ Fatal(...any) }, n int) *Set {
	pixels, labels := make([]uint8, n), make([]uint8, n)
	for i := range pixels {
		pixels[i], labels[i] = uint8(i), uint8(i%3)
	}
	set, err := New("numbered", 1, 1, 1, pixels, labels, []string{"a", "b", "c"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// The first set has the share of the chosen classes and the rest of the others; the second has what is left.
func TestSplitByLabel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(0, 60).Draw(t, "images")
		share := rapid.Float64Range(0, 1).Draw(t, "share")
		chosen := rapid.SliceOfDistinct(rapid.IntRange(0, 2), rapid.ID[int]).Draw(t, "classes")
		set := numbered(t, count)
		a, b := set.SplitByLabel(chosen, share, rapid.Uint64().Draw(t, "seed"))
		all := slices.Concat(a.index, b.index)
		slices.Sort(all)
		if !slices.Equal(all, upTo(count)) || !slices.IsSorted(a.index) || !slices.IsSorted(b.index) {
			t.Fatalf("of %d images, one set has %v and the other %v", count, a.index, b.index)
		}
		for class := range 3 {
			total, got := set.SubsetLabels(class).Len(), a.SubsetLabels(class).Len()
			want := share * float64(total)
			if !slices.Contains(chosen, class) {
				want = (1 - share) * float64(total)
			}
			if math.Abs(float64(got)-want) > .5+1e-9 { // whole images
				t.Fatalf("class %d: %d of %d images, want %v", class, got, total, want)
			}
		}
	})
}
