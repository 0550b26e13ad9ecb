package dataset

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// openReal opens a real set without touching the user's own cache.
func openReal(t *testing.T, src *source, split Split) *Set {
	t.Helper()
	env := hostEnvironment()
	env.userCacheDir = func() (string, error) { return "", errors.New("no cache in this test") }
	set, err := open(context.Background(), src, split, Options{Offline: true}, env)
	if notFound := (*NotFoundError)(nil); errors.As(err, &notFound) && src == &fashionMNIST {
		t.Skipf("Fashion-MNIST is not on this machine: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestRealSets(t *testing.T) {
	tests := []struct {
		src    *source
		split  Split
		first  []int
		counts []int
	}{
		{&mnist, Train, []int{5, 0, 4, 1, 9}, []int{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949}},
		{&mnist, Test, []int{7, 2, 1, 0, 4}, []int{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}},
		{&fashionMNIST, Train, []int{9, 0, 0, 3, 0}, slices.Repeat([]int{6000}, 10)},
		{&fashionMNIST, Test, []int{9, 2, 1, 1, 6}, slices.Repeat([]int{1000}, 10)},
	}
	for _, tt := range tests {
		t.Run(tt.src.name+"-"+tt.split.String(), func(t *testing.T) {
			set := openReal(t, tt.src, tt.split)
			if set.Name() != tt.src.name || set.Classes() != 10 || !slices.Equal(set.Shape(), []int{1, 28, 28}) {
				t.Errorf("%q: images of %v in %d classes", set.Name(), set.Shape(), set.Classes())
			}
			for i, want := range tt.first {
				if got := set.Label(i); got != want {
					t.Errorf("label %d is %d, want %d", i, got, want)
				}
			}
			counts := make([]int, 10)
			for i := range set.Len() {
				counts[set.Label(i)]++
			}
			if !slices.Equal(counts, tt.counts) {
				t.Errorf("%d images, by class %v, want %v", set.Len(), counts, tt.counts)
			}
		})
	}
}

// The test images have mean 0.13251 and deviation 0.31048; normalised by these, 0 and 1.
func TestMNISTNormalized(t *testing.T) {
	env := hostEnvironment()
	env.userCacheDir = func() (string, error) { return "", errors.New("no cache in this test") }
	norm := &Normalization{Mean: []float32{.13251}, Std: []float32{.31048}}
	set, err := open(context.Background(), &mnist, Test, Options{Offline: true, Normalize: norm}, env)
	if err != nil {
		t.Fatal(err)
	}
	var sum, squares float64
	x := make([]float32, 784)
	for i := range set.Len() {
		set.Fill([]int{i}, x, nil)
		for _, v := range x {
			sum += float64(v)
			squares += float64(v) * float64(v)
		}
	}
	n := float64(set.Len() * len(x))
	mean, square := sum/n, squares/n
	if math.Abs(mean) > 1e-4 || math.Abs(square-1) > 1e-4 { // the constants above have five digits
		t.Errorf("normalised pixels have mean %v and mean square %v", mean, square)
	}
}

// Files of MNIST where Fashion-MNIST is sought have the right names and lengths: the error says what they are.
func TestAnotherSetsFiles(t *testing.T) {
	env := hostEnvironment()
	dirs := append(moduleCacheDirs(env), filepath.Join(filepath.Dir(moduleSourceFile()), "data"))
	at := slices.IndexFunc(dirs, func(dir string) bool {
		_, err := os.Stat(dir)
		return err == nil
	})
	if at < 0 {
		t.Fatalf("MNIST is in none of %q", dirs)
	}
	opt := Options{DataDir: dirs[at], Offline: true}
	_, err := open(context.Background(), &fashionMNIST, Test, opt, newFakeHost(t).environment())
	if err == nil || !strings.Contains(err.Error(), "has the wrong checksum: it is mnist's t10k-images-idx3-ubyte") {
		t.Errorf("error %v", err)
	}
}

// go.mod and the search must speak of the same version.
func TestModuleVersion(t *testing.T) {
	b, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), modulePath+" "+moduleVersion) {
		t.Errorf("go.mod does not require %s %s", modulePath, moduleVersion)
	}
}
