package train

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/zoo"
)

// pictures are a few noisy images with their classes.
func pictures(t *testing.T, n int) *dataset.Set {
	t.Helper()
	pixels, labels := make([]uint8, n*6*6), make([]uint8, n)
	for i := range pixels {
		pixels[i] = uint8(i * i * 37 >> 3)
	}
	for i := range labels {
		labels[i] = uint8(i % 3)
	}
	set, err := dataset.New("pictures", 1, 6, 6, pixels, labels, []string{"a", "b", "c"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestFeederFillsEveryStep compares each batch with what the data gives for it, from the beginning and from the middle of an epoch.
func TestFeederFillsEveryStep(t *testing.T) {
	data := pictures(t, 10)
	for _, augment := range []dataset.Augmentation{"", dataset.AugmentStandard, dataset.AugmentPaper} {
		cfg := Config{Epochs: 3, Batch: 4, Seed: 9, Augment: augment}
		for from := range 9 {
			f := newFeeder(data, cfg, from, 9)
			for step := from; step < 9; step++ {
				b := f.take()
				order := dataset.Order(10, 9, step/3)
				indices := order[step%3*4 : min(step%3*4+4, 10)]
				x, labels := make([]float32, len(indices)*36), make([]int32, len(indices))
				data.FillAugmented(augment, 9, step/3, indices, x, labels)
				if !slices.Equal(b.x, x) || !slices.Equal(b.labels, labels) {
					t.Errorf("%q: step %d of a feeder from %d is another batch", augment, step, from)
				}
				f.giveBack(b)
			}
			f.close()
		}
	}
}

// TestFeederStops leaves no goroutine behind, wherever it is stopped: the test's main function looks for them.
func TestFeederStops(t *testing.T) {
	for taken := range 4 {
		f := newFeeder(pictures(t, 10), Config{Epochs: 100, Batch: 4}, 0, 300)
		for range taken {
			f.giveBack(f.take())
		}
		f.close()
	}
}

// TestAugmentedResume interrupts an augmented training after every step: what is resumed ends in the same bytes, with another number of threads.
func TestAugmentedResume(t *testing.T) {
	g, params := network(t, zoo.Config{Input: []int{1, 6, 6}, Hidden: []int{8}, Classes: 3})
	data := pictures(t, 10)
	cfg := Config{Epochs: 2, Batch: 4, Seed: 1, Augment: dataset.AugmentPaper}
	want := mustRun(t, g, params, data, cfg, Options{Threads: 1})
	for after := 1; after < 6; after++ {
		ctx, cancel := context.WithCancel(context.Background())
		var last *Snapshot
		_, err := Run(ctx, g, params, data, cfg, Options{
			Threads: 1, Snapshot: func(s *Snapshot) error { last = s; return nil },
			Progress: func(e Event) {
				if e.Step == after {
					cancel()
				}
			},
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		last = throughFile(t, last)
		sameResult(t, mustRun(t, g, params, data, cfg, Options{Threads: 2, Resume: last}), want)
		other := cfg
		other.Augment = dataset.AugmentStandard
		if _, err := Run(context.Background(), g, params, data, other, Options{Resume: last}); err == nil || !strings.Contains(err.Error(), "it is of another run") {
			t.Errorf("resumed with another augmentation: error %v", err)
		}
	}
	// Another augmentation is another training; none is that of a configuration that says nothing.
	plain := mustRun(t, g, params, data, Config{Epochs: 2, Batch: 4, Seed: 1}, Options{})
	sameResult(t, mustRun(t, g, params, data, Config{Epochs: 2, Batch: 4, Seed: 1, Augment: dataset.AugmentNone}, Options{}), plain)
	if plain.Params["fc1.weight"].Equal(want.Params["fc1.weight"]) {
		t.Error("augmentation changes nothing")
	}
}

func TestOnlyImagesAreAugmented(t *testing.T) {
	g, params := network(t, zoo.Config{Input: []int{6}, Hidden: []int{8}, Classes: 3})
	for augment, want := range map[dataset.Augmentation]string{"standard": "train: only images can be augmented", "rotate": `unknown augmentation "rotate"`} {
		_, err := Run(context.Background(), g, params, newBlobs(9, 3, 1, 6), Config{Epochs: 1, Augment: augment}, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
