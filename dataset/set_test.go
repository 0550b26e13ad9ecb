package dataset

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// colours is a set of four images of 2 channels, 1 row and 3 columns, whose pixels are all different.
func colours(t *testing.T, norm *Normalization) *Set {
	t.Helper()
	pixels := make([]uint8, 4*2*1*3)
	for i := range pixels {
		pixels[i] = uint8(10 * i)
	}
	set, err := New("colours", 2, 1, 3, pixels, []uint8{2, 0, 1, 2}, []string{"red", "green", "blue"}, norm)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestFill(t *testing.T) {
	set := colours(t, nil)
	if set.Name() != "colours" || set.Len() != 4 || set.Classes() != 3 || !slices.Equal(set.Shape(), []int{2, 1, 3}) {
		t.Fatalf("set is %q, %d images of %v, %d classes", set.Name(), set.Len(), set.Shape(), set.Classes())
	}
	x, labels := make([]float32, 13), make([]int32, 3)
	x[12], labels[2] = -1, -1
	set.Fill([]int{3, 1}, x, labels)
	for row, image := range []int{3, 1} {
		for p := range 6 {
			if want := float32(10*(6*image+p)) / 255; x[6*row+p] != want {
				t.Errorf("image %d pixel %d is %v, want %v", image, p, x[6*row+p], want)
			}
		}
	}
	if !slices.Equal(labels, []int32{2, 0, -1}) || x[12] != -1 {
		t.Errorf("labels %v, float beyond the batch %v", labels, x[12])
	}
}

func TestFillNormalizes(t *testing.T) {
	norm := &Normalization{Mean: []float32{.5, .25}, Std: []float32{2}}
	set := colours(t, norm)
	x := make([]float32, 6)
	set.Fill([]int{2}, x, nil)
	for p := range x {
		pixel := float64(10*(6*2+p)) / 255
		if want := (pixel - float64(norm.Mean[p/3])) / 2; math.Abs(float64(x[p])-want) > 1e-7 { // a few float32 roundings below 1
			t.Errorf("pixel %d is %v, want %v", p, x[p], want)
		}
	}
}

func TestFillAllocatesNothing(t *testing.T) {
	set := colours(t, nil)
	indices, x, labels := []int{0, 1, 2, 3}, make([]float32, 24), make([]int32, 4)
	if n := testing.AllocsPerRun(100, func() { set.Fill(indices, x, labels) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFillPanicsOnShortBuffers(t *testing.T) {
	set := colours(t, nil)
	tests := []struct {
		name   string
		x      []float32
		labels []int32
		want   string
	}{
		{"floats", make([]float32, 11), make([]int32, 2), "dataset: Fill: 2 images of 6 pixels do not fit 11 floats"},
		{"labels", make([]float32, 12), make([]int32, 1), "dataset: Fill: 2 labels do not fit 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if got := recover(); got != tt.want {
					t.Errorf("panic %v, want %q", got, tt.want)
				}
			}()
			set.Fill([]int{0, 1}, tt.x, tt.labels)
		})
	}
}

func TestSubset(t *testing.T) {
	set := colours(t, nil)
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.SliceOfN(rapid.IntRange(0, 3), 1, 6).Draw(t, "first")
		then := rapid.SliceOfN(rapid.IntRange(0, len(first)-1), 0, 6).Draw(t, "then")
		sub := set.Subset(first).Subset(then)
		if sub.Len() != len(then) {
			t.Fatalf("%d images, want %d", sub.Len(), len(then))
		}
		got, want := make([]float32, 6), make([]float32, 6)
		for i, j := range then {
			sub.Fill([]int{i}, got, nil)
			set.Fill([]int{first[j]}, want, nil)
			if !slices.Equal(got, want) || sub.Label(i) != set.Label(first[j]) {
				t.Fatalf("image %d is not image %d of the set", i, first[j])
			}
		}
	})
}

// TestSample has samples that are parts of one another, and parts that are held out and are disjoint from the rest.
func TestSample(t *testing.T) {
	set := colours(t, nil)
	many := set.Subset([]int{0, 1, 2, 3, 0, 1, 2, 3, 0, 1})
	for _, n := range []int{-1, 0, 10, 11} {
		if many.Sample(n) != many {
			t.Errorf("a sample of %d of 10 is not the set", n)
		}
	}
	if few, more := many.Sample(3), many.Sample(7); few.Len() != 3 || more.Len() != 7 || !slices.Equal(few.index, more.index[:3]) {
		t.Errorf("samples %v and %v", few.index, more.index)
	}
	for n, want := range map[int]int{-1: 3, 0: 3, 1: 1, 3: 3, 4: 3} {
		rest, held := many.HeldOut(n, 5)
		if held.Len() != want || rest.Len() != 10-want {
			t.Errorf("%d held out: %d, and %d others", n, held.Len(), rest.Len())
		}
		all := slices.Sorted(slices.Values(slices.Concat(rest.index, held.index)))
		if !slices.Equal(all, slices.Sorted(slices.Values(many.index))) {
			t.Errorf("%d held out: together %v", n, all)
		}
	}
	_, one := many.HeldOut(3, 5)
	if _, other := many.HeldOut(3, 6); slices.Equal(one.index, other.index) {
		t.Errorf("two seeds hold out the same: %v", one.index)
	}
}

func TestSubsetLabels(t *testing.T) {
	sub := colours(t, nil).SubsetLabels(2, 1)
	x, labels := make([]float32, 3*6), make([]int32, 3)
	sub.Fill([]int{0, 1, 2}, x, labels)
	if sub.Len() != 3 || sub.Classes() != 3 || !slices.Equal(labels, []int32{2, 1, 2}) {
		t.Errorf("%d images of classes %v out of %d", sub.Len(), labels, sub.Classes())
	}
	if x[0] != 0 || x[6] != float32(120)/255 || x[12] != float32(180)/255 {
		t.Errorf("images start with %v, %v, %v", x[0], x[6], x[12])
	}
}

func TestNewRefuses(t *testing.T) {
	names := []string{"a", "b"}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	tests := []struct {
		name    string
		c, h, w int
		pixels  int
		labels  []uint8
		norm    *Normalization
		want    string
	}{
		{"pixels", 1, 2, 3, 11, []uint8{0, 1}, nil, "2 labels of 1x2x3 images do not fit 11 pixels"},
		{"shape", 1, -2, 3, 0, nil, nil, "images of 1x-2x3"},
		{"label", 1, 1, 1, 3, []uint8{0, 1, 2}, nil, "label 2 of image 2: there are 2 classes"},
		{"means", 3, 1, 1, 3, []uint8{0}, &Normalization{Mean: []float32{1, 2}, Std: []float32{1}}, "2 values of mean for 3 channels"},
		{"no std", 1, 1, 1, 1, []uint8{0}, &Normalization{Mean: []float32{1}}, "0 values of standard deviation"},
		{"zero std", 1, 1, 1, 1, []uint8{0}, &Normalization{Mean: []float32{1}, Std: []float32{0}}, "is not positive"},
		{"nan", 1, 1, 1, 1, []uint8{0}, &Normalization{Mean: []float32{nan}, Std: []float32{1}}, "mean NaN is not finite"},
		{"inf", 1, 1, 1, 1, []uint8{0}, &Normalization{Mean: []float32{0}, Std: []float32{inf}}, "is not finite"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New("colours", tt.c, tt.h, tt.w, make([]uint8, tt.pixels), tt.labels, names, tt.norm)
			if err == nil || !strings.HasPrefix(err.Error(), "dataset: colours: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestOrderIsAPermutation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 300).Draw(t, "n")
		seed := rapid.Uint64().Draw(t, "seed")
		epoch := rapid.IntRange(0, 1000).Draw(t, "epoch")
		order := Order(n, seed, epoch)
		if !slices.Equal(order, Order(n, seed, epoch)) {
			t.Fatal("the same arguments give two orders")
		}
		if n > 100 && (slices.Equal(order, Order(n, seed, epoch+1)) || slices.Equal(order, Order(n, seed+1, epoch))) {
			t.Fatal("the next epoch or seed has the same order")
		}
		slices.Sort(order)
		for i, v := range order {
			if i != v {
				t.Fatalf("%d occurs where %d should", v, i)
			}
		}
	})
}

// The orders are part of what a seed means: a training resumed by a later version must see the same batches.
func TestOrderIsPinned(t *testing.T) {
	if got, want := Order(10, 1, 2), []int{3, 4, 9, 5, 0, 7, 6, 2, 1, 8}; !slices.Equal(got, want) {
		t.Errorf("Order(10, 1, 2) = %v, want %v", got, want)
	}
}

func BenchmarkFill(b *testing.B) {
	const n, size, batch = 2000, 784, 500
	set, err := New("bench", 1, 28, 28, make([]uint8, n*size), make([]uint8, n), []string{"a"}, nil)
	if err != nil {
		b.Fatal(err)
	}
	indices := Order(n, 1, 0)[:batch]
	x, labels := make([]float32, batch*size), make([]int32, batch)
	b.SetBytes(4 * batch * size)
	for b.Loop() {
		set.Fill(indices, x, labels)
	}
}
