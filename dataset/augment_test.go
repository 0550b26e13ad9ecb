package dataset

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// noise is a set of n images whose pixels are all that bytes can be.
func noise(t testing.TB, n, channels, height, width int) *Set {
	t.Helper()
	d, pixels, labels := draws(5), make([]uint8, n*channels*height*width), make([]uint8, n)
	for i := range pixels {
		pixels[i] = uint8(d.next())
	}
	for i := range labels {
		labels[i] = uint8(i % 3)
	}
	set, err := New("noise", channels, height, width, pixels, labels, []string{"a", "b", "c"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

var active = []Augmentation{AugmentStandard, AugmentPaper}

// What an image becomes depends on the seed, the epoch and its index, and on nothing else: not on the batch, the order or the goroutine.
func TestAugmentationDependsOnTheSampleAlone(t *testing.T) {
	set := noise(t, 40, 3, 12, 10)
	const size = 3 * 12 * 10
	for _, a := range active {
		whole, labels := make([]float32, 40*size), make([]int32, 40)
		set.FillAugmented(a, 7, 3, upTo(40), whole, labels)
		rapid.Check(t, func(t *rapid.T) {
			indices := rapid.SliceOfN(rapid.IntRange(0, 39), 1, 9).Draw(t, "indices")
			x, got := make([]float32, len(indices)*size), make([]int32, len(indices))
			set.FillAugmented(a, 7, 3, indices, x, got)
			for row, i := range indices {
				if !slices.Equal(x[row*size:][:size], whole[i*size:][:size]) || got[row] != labels[i] {
					t.Fatalf("%s: image %d is another one in the batch %v", a, i, indices)
				}
			}
		})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				x := make([]float32, 40*size)
				set.FillAugmented(a, 7, 3, upTo(40), x, nil)
				if !slices.Equal(x, whole) {
					t.Errorf("%s: beside others it fills another batch", a)
				}
			})
		}
		wg.Wait()
		for _, other := range []struct {
			seed  uint64
			epoch int
		}{{8, 3}, {7, 4}} {
			x := make([]float32, 40*size)
			set.FillAugmented(a, other.seed, other.epoch, upTo(40), x, nil)
			same := 0
			for i := range 40 {
				if slices.Equal(x[i*size:][:size], whole[i*size:][:size]) {
					same++
				}
			}
			if same > 8 { // of 162 places and mirrorings, two in 40 draws coincide now and then
				t.Errorf("%s: %d of 40 images are the same with seed %d and epoch %d", a, same, other.seed, other.epoch)
			}
		}
	}
}

func TestNoAugmentation(t *testing.T) {
	set := noise(t, 3, 1, 4, 4)
	want, got := make([]float32, 48), make([]float32, 48)
	set.Fill([]int{2, 0, 1}, want, nil)
	for _, a := range []Augmentation{"", AugmentNone} {
		set.FillAugmented(a, 1, 1, []int{2, 0, 1}, got, make([]int32, 3))
		if !slices.Equal(got, want) || a.Active() || a.Check() != nil {
			t.Errorf("%q changes images", a)
		}
	}
	if err := Augmentation("rotate").Check(); err == nil || err.Error() != `dataset: unknown augmentation "rotate"; there are none, standard, paper` {
		t.Errorf("error %v", err)
	}
}

// Every result of the standard augmentation is one of the 81 crops of the padded image, or its mirror image, and each occurs about as often.
func TestStandardAugmentationCrops(t *testing.T) {
	const side, epochs = 5, 162 * 40
	set := noise(t, 1, 2, side, side)
	crops := map[string]int{}
	for dy := -4; dy <= 4; dy++ {
		for dx := -4; dx <= 4; dx++ {
			for _, mirror := range []bool{false, true} {
				crops[fmt.Sprint(cropped(set, side, dy, dx, mirror))] = 0
			}
		}
	}
	// In noise no two crops are alike, and none is its mirror image.
	if len(crops) != 162 {
		t.Fatalf("%d different crops", len(crops))
	}
	x := make([]float32, 2*side*side)
	for epoch := range epochs {
		set.FillAugmented(AugmentStandard, 3, epoch, []int{0}, x, nil)
		key := fmt.Sprint(x)
		if _, ok := crops[key]; !ok {
			t.Fatalf("epoch %d: %v is no crop", epoch, x)
		}
		crops[key]++
	}
	for _, n := range crops {
		if n < 12 || n > 76 { // 40 expected; five deviations of √40, rounded up
			t.Errorf("a crop occurs %d times of 40 expected", n)
		}
	}
}

// cropped computes a crop of the only image of a set from the definition.
func cropped(set *Set, side, dy, dx int, mirror bool) []float32 {
	full := make([]float32, 2*side*side)
	set.Fill([]int{0}, full, nil)
	out := make([]float32, len(full))
	for c := range 2 {
		for y := range side {
			for x := range side {
				sy, sx, to := y+dy, x+dx, x
				if mirror {
					to = side - 1 - x
				}
				if sy >= 0 && sy < side && sx >= 0 && sx < side {
					out[(c*side+y)*side+to] = full[(c*side+sy)*side+sx]
				}
			}
		}
	}
	return out
}

// The map of the paper's augmentation is a rotation by at most 30°, maybe mirrored, times a factor from 1/1.2 to 1/0.8, and keeps the crop within the
// resized image or the resized image within the crop.
func TestPaperMap(t *testing.T) {
	const h, w = 32, 24
	set := noise(t, 1, 1, h, w)
	mirrored, shrunk := 0, 0
	const draws = 4000
	for i := range draws {
		d := drawsFor(1, 2, i)
		m := set.paperMap(&d)
		one := float64(1 << affineBits)
		a, b, c, e := float64(m.dyy)/one, float64(m.dxy)/one, float64(m.dyx)/one, float64(m.dxx)/one
		det := a*e - b*c
		zoom := 1 / math.Sqrt(math.Abs(det))
		const rounding = 1e-4 // of entries in units of 2⁻¹⁶
		if zoom < .8-rounding || zoom > 1.2+rounding || a*zoom < math.Cos(paperRotation)-rounding {
			t.Fatalf("draw %d: factor %v, cosine %v", i, zoom, a*zoom)
		}
		if math.Abs(a*c+b*e) > rounding || math.Abs(math.Hypot(a, b)-math.Hypot(c, e)) > rounding {
			t.Fatalf("draw %d: [%v %v; %v %v] is no rotation", i, a, b, c, e)
		}
		if det < 0 {
			mirrored++
		}
		if zoom < 1 {
			shrunk++
		}
		// The centre of the result, in the resized image, is at most half the difference of the sizes from its centre.
		cy := (float64(m.y0)/one + a*(h-1)/2 + b*(w-1)/2 - (h-1)/2.) * zoom
		cx := (float64(m.x0)/one + c*(h-1)/2 + e*(w-1)/2 - (w-1)/2.) * zoom
		if math.Abs(cy) > math.Abs(zoom*h-h)/2+.01 || math.Abs(cx) > math.Abs(zoom*w-w)/2+.01 {
			t.Fatalf("draw %d: factor %v, centre (%v, %v)", i, zoom, cy, cx)
		}
	}
	// log(1/.8) of log(1.2/.8), and half; five deviations are 160.
	if math.Abs(float64(shrunk)-draws*math.Log(1/.8)/math.Log(1.5)) > 160 || math.Abs(float64(mirrored)-draws/2) > 160 {
		t.Errorf("of %d, %d were shrunk and %d mirrored", draws, shrunk, mirrored)
	}
}

// Resampling along the identity changes nothing, by half a pixel it means two pixels, and it is a bilinear mean of the four around a place anywhere.
func TestResample(t *testing.T) {
	const h, w = 6, 5
	set := noise(t, 1, 2, h, w)
	norm, err := set.Normalized(&Normalization{Mean: []float32{.3, .6}, Std: []float32{.2, .5}})
	if err != nil {
		t.Fatal(err)
	}
	one := 1 << affineBits
	maps := map[string]affine{
		"identity": {dyy: one, dxx: one},
		"half":     {x0: one / 2, dyy: one, dxx: one},
		"mirrored": {x0: (w - 1) * one, dyy: one, dxx: -one},
		"turned":   {y0: -one / 3, x0: one, dyy: one * 9 / 10, dxy: one / 4, dyx: -one / 4, dxx: one * 9 / 10},
		"away":     {y0: 100 * one, dyy: one, dxx: one},
	}
	for name, m := range maps {
		got := make([]float32, 2*h*w)
		norm.resample(got, norm.pixels, m)
		for c := range 2 {
			for y := range h {
				for x := range w {
					sy := float64(m.y0+y*m.dyy+x*m.dxy) / float64(one)
					sx := float64(m.x0+y*m.dyx+x*m.dxx) / float64(one)
					want := (bilinear(norm.pixels[c*h*w:][:h*w], h, w, sy, sx)/255 - []float64{.3, .6}[c]) / []float64{.2, .5}[c]
					// Weights are rounded down to 2⁻⁸, of values up to 1 divided by .2.
					if math.Abs(float64(got[(c*h+y)*w+x])-want) > 2*5/256. {
						t.Fatalf("%s: (%d, %d, %d) is %v, want %v", name, c, y, x, got[(c*h+y)*w+x], want)
					}
				}
			}
		}
		if name == "identity" {
			plain := make([]float32, 2*h*w)
			norm.Fill([]int{0}, plain, nil)
			for i := range plain {
				if math.Abs(float64(plain[i]-got[i])) > 1e-5 { // some float32 roundings of values below 5
					t.Errorf("the identity makes %v of %v", got[i], plain[i])
				}
			}
		}
	}
}

func bilinear(plane []uint8, h, w int, y, x float64) float64 {
	iy, ix := int(math.Floor(y)), int(math.Floor(x))
	fy, fx := y-float64(iy), x-float64(ix)
	at := func(y, x int) float64 { return float64(pixel(plane, h, w, y, x)) }
	return (1-fy)*((1-fx)*at(iy, ix)+fx*at(iy, ix+1)) + fy*((1-fx)*at(iy+1, ix)+fx*at(iy+1, ix+1))
}

func TestFillAugmentedAllocatesNothing(t *testing.T) {
	set := noise(t, 4, 3, 8, 8)
	x, labels, indices := make([]float32, 4*192), make([]int32, 4), upTo(4)
	for _, a := range active {
		if n := testing.AllocsPerRun(100, func() { set.FillAugmented(a, 1, 2, indices, x, labels) }); n != 0 {
			t.Errorf("%s: %v allocations", a, n)
		}
	}
}

// The streams of augmentations are part of what a seed means, as the orders are.
func TestDrawsArePinned(t *testing.T) {
	d := drawsFor(1, 2, 3)
	if got, want := []uint64{d.next(), d.next()}, []uint64{0x12588d809dce88a7, 0xdd034ea7d44e8739}; !slices.Equal(got, want) {
		t.Errorf("draws %#x, want %#x", got, want)
	}
	// Vigna's reference of SplitMix64 from 1234567.
	d = 1234567
	if got, want := []uint64{d.next(), d.next()}, []uint64{6457827717110365317, 3203168211198807973}; !slices.Equal(got, want) {
		t.Errorf("draws %d, want %d", got, want)
	}
}

func BenchmarkFillAugmented(b *testing.B) {
	set := noise(b, 512, 3, 32, 32)
	indices := Order(512, 1, 0)[:128]
	x, labels := make([]float32, 128*3072), make([]int32, 128)
	for _, a := range []Augmentation{AugmentNone, AugmentStandard, AugmentPaper} {
		b.Run(string(a), func(b *testing.B) {
			for b.Loop() {
				set.FillAugmented(a, 1, 2, indices, x, labels)
			}
			b.ReportMetric(float64(b.N)*128/b.Elapsed().Seconds(), "images/s")
		})
	}
}

// TestAugmentedSet holds the set of one epoch to what that epoch is filled with, sample by sample.
func TestAugmentedSet(t *testing.T) {
	set := noise(t, 10, 3, 12, 10)
	const size = 3 * 12 * 10
	for _, a := range []Augmentation{AugmentNone, AugmentStandard, AugmentPaper} {
		augmented := set.Augmented(a, 7, 3)
		if augmented.Len() != 10 || !slices.Equal(augmented.Shape(), set.Shape()) || augmented.Classes() != 3 {
			t.Errorf("%s: %d samples of %v in %d classes", a, augmented.Len(), augmented.Shape(), augmented.Classes())
		}
		want, labels := make([]float32, 10*size), make([]int32, 10)
		set.FillAugmented(a, 7, 3, upTo(10), want, labels)
		for i := range 10 {
			x, label := make([]float32, size), make([]int32, 1)
			augmented.Fill([]int{i}, x, label)
			if !slices.Equal(x, want[i*size:][:size]) || label[0] != labels[i] {
				t.Errorf("%s: sample %d is another one", a, i)
			}
		}
		plain := make([]float32, 10*size)
		set.Fill(upTo(10), plain, nil)
		if slices.Equal(plain, want) == a.Active() {
			t.Errorf("%s: the samples are changed, or are not", a)
		}
	}
}
