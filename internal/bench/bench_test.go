package bench

import (
	"context"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/train"
	"github.com/rebasin/rebasin/zoo"
)

// Every kind is drawn again the same, has the entries it promises and is solved with a certificate.
func TestMatrices(t *testing.T) {
	const n = 40
	for _, kind := range Kinds() {
		m, err := Matrix(kind, n, 3)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Matrix(kind, n, 3)
		if err != nil {
			t.Fatal(err)
		}
		zeroRows := 0
		for i := range n {
			zero := true
			for j := range n {
				x := m[i*n+j]
				if x != again[i*n+j] {
					t.Fatalf("kind %s: entry %d,%d is %v and %v", kind, i, j, x, again[i*n+j])
				}
				zero = zero && x == 0
				if kind == "d1" && (x != float32(int(x)) || x < 0 || x > 99) {
					t.Errorf("kind d1: %v is no integer from 0 to 99", x)
				}
			}
			if zero {
				zeroRows++
			}
		}
		if want := map[string]int{"d2": 3 * n / 10}[kind]; zeroRows != want {
			t.Errorf("kind %s: %d rows are zero, want %d", kind, zeroRows, want)
		}
		r, err := SolveAssignment(context.Background(), m, n, n, true, 2)
		if err != nil {
			t.Fatal(err)
		}
		var largest float64
		for _, x := range m {
			largest = max(largest, math.Abs(float64(x)))
		}
		if bound := n * largest * 0x1p-22; r.DualGap < 0 || r.DualGap > bound || r.Seconds <= 0 || r.N != n {
			t.Errorf("kind %s: %+v, the gap may be %v", kind, r, bound)
		}
	}
	if _, err := Matrix("z", n, 0); err == nil {
		t.Error("an unknown kind was drawn")
	}
	if _, err := Matrix("a", maxSide+1, 0); err == nil {
		t.Error("a matrix beyond the limit was drawn")
	}
}

// A planted permutation under no more than little noise is found again.
func TestPlantedIsFound(t *testing.T) {
	const n = 64
	m, err := Matrix("c1", n, 1)
	if err != nil {
		t.Fatal(err)
	}
	r, err := SolveAssignment(context.Background(), m, n, n, true, 1)
	if err != nil {
		t.Fatal(err)
	}
	// Each unit's product with itself is about n, with another about 0.
	if r.Value < .8*n*n {
		t.Errorf("the value is %v, the planted one about %v", r.Value, n*n)
	}
}

func TestReadMatrix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.f32")
	var data []byte
	for _, x := range []float32{1, 2, 4, float32(math.NaN())} {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := ReadMatrix(path, 2, 2)
	if err != nil || m[1] != 2 || m[2] != 4 {
		t.Fatalf("%v, %v", m, err)
	}
	if _, err := SolveAssignment(context.Background(), m, 2, 2, false, 1); err == nil || !strings.Contains(err.Error(), "NaN") {
		t.Errorf("error %v, want one about NaN", err)
	}
	for _, n := range []int{0, 1, 3, maxSide + 1} {
		if _, err := ReadMatrix(path, n, n); err == nil {
			t.Errorf("n = %d was read from a file of 2 x 2", n)
		}
	}
}

func TestMultiplyMatrices(t *testing.T) {
	for _, trans := range []bool{false, true} {
		r, err := MultiplyMatrices(context.Background(), 7, 5, 9, trans, trans, 2)
		if err != nil || !(r.GFLOPS > 0) || !(r.Peak > 0) || r.Threads != 2 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if _, err := MultiplyMatrices(context.Background(), 0, 1, 1, false, false, 1); err == nil {
		t.Error("a product of nothing was timed")
	}
}

func TestTrainNetwork(t *testing.T) {
	cfg := zoo.Config{Arch: "mlp", Input: []int{6}, Hidden: []int{5}, Classes: 3}
	r, err := TrainNetwork(context.Background(), cfg, train.Optimizer{Name: "sgd"}, 4, 1, 1)
	if err != nil || !(r.ImagesPerSecond >= r.Median) || !(r.Median > 0) || r.Batch != 4 {
		t.Errorf("%+v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := TrainNetwork(ctx, cfg, train.Optimizer{}, 4, 1, 1); err == nil {
		t.Error("a cancelled timing went on")
	}
}

func TestMedian(t *testing.T) {
	for want, x := range map[float64][]float64{2: {3, 1, 2}, 1: {4, 1}} {
		if got := median(x); got != want {
			t.Errorf("median(%v) = %v, want %v", x, got, want)
		}
	}
}
