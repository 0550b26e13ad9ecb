package nn

import (
	"bytes"
	"encoding/gob"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/internal/kernel"
)

// instructionsFile is the environment variable that names the file a test process of one instruction set leaves its results in.
const instructionsFile = "REBASIN_TEST_INSTRUCTIONS"

// instructionsTolerance is relative to the largest magnitude: sums of some hundred products, each within 6e-8, which mostly cancel.
const instructionsTolerance = 2e-6

// TestInstructionSets runs networks forward and backward in a process for each set of instructions, as the set is chosen once, at start. What comes out
// agrees within rounding with float64, which has kernels of its own.
func TestInstructionSets(t *testing.T) {
	networks := []*graph.Graph{wideNetwork(t), planeNetwork(t)}
	if path := os.Getenv(instructionsFile); path != "" {
		var all []float32
		for _, g := range networks {
			all = append(all, outputsAndGradients[float32](t, g)...)
		}
		writeResults(t, path, instructionsResults{kernel.Features(), all})
		return
	}
	for _, set := range []string{"portable", "avx2", "avx512"} {
		t.Run(set, func(t *testing.T) {
			r := resultsUnder(t, set)
			if set == "portable" && r.Features != set {
				t.Errorf("kernels are %s", r.Features)
			}
			got := r.Numbers
			for i, g := range networks {
				want := outputsAndGradients[float64](t, g)
				if len(got) < len(want) {
					t.Fatalf("network %d: %d results, want %d more", i, len(got), len(want))
				}
				if d := deviation(got[:len(want)], want); d > instructionsTolerance {
					t.Errorf("network %d on %s: off by %g", i, r.Features, d)
				}
				got = got[len(want):]
			}
		})
	}
}

// outputsAndGradients are those of one training step. Parameters are small, so that the outputs are.
func outputsAndGradients[T Float](t *testing.T, g *graph.Graph) []T {
	t.Helper()
	const batch = 7
	e := newEngine[T](t, g, Options{Threads: 2, Training: true})
	for i := range e.Params() {
		e.Params()[i] *= 0.125
	}
	logits := forward(t, e, inputFor[T](t, g, batch), batch)
	out := append([]T(nil), logits...)
	dlogits := make([]T, len(logits))
	CrossEntropy(logits, labelsFor(batch, len(logits)/batch), len(logits)/batch, dlogits)
	if err := e.Backward(dlogits); err != nil {
		t.Fatal(err)
	}
	return append(out, e.Grads()...)
}

// instructionsResults is what the process of one instruction set reports: the set it used, and its numbers.
type instructionsResults struct {
	Features string
	Numbers  []float32
}

func writeResults(t *testing.T, path string, r instructionsResults) {
	t.Helper()
	var data bytes.Buffer
	if err := gob.NewEncoder(&data).Encode(r); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// resultsUnder runs this test in a process of its own, which may use the instruction set and those below it.
func resultsUnder(t *testing.T, set string) (r instructionsResults) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "results")
	c := exec.Command(os.Args[0], "-test.run=^TestInstructionSets$")
	c.Env = append(os.Environ(), "REBASIN_CPU="+set, instructionsFile+"="+path)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}
