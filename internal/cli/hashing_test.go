package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/tensor"
)

// A hash is not given for a file that was changed after its model was opened, and without hashes the change is found as well.
func TestHashingChanged(t *testing.T) {
	x := tensor.New(tensor.F32, tensor.Shape{3})
	entry := checkpoint.Entry{
		Info: checkpoint.Info{Name: "w", DType: x.DType(), Shape: x.Shape()},
		Load: func() (*tensor.Tensor, error) { return x, nil },
	}
	path := filepath.Join(t.TempDir(), "a.safetensors")
	if err := checkpoint.WriteSafetensors(t.Context(), path, []checkpoint.Entry{entry}, nil); err != nil {
		t.Fatal(err)
	}
	m, err := model.Open(path, model.Options{Tensors: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for what, start := range map[string]func(context.Context, ...*model.Model) *hashing{
		"hashes":    newHashing,
		"no hashes": func(_ context.Context, models ...*model.Model) *hashing { return noHashing(models...) },
	} {
		if _, err := start(t.Context(), m).wait(); err != nil {
			t.Errorf("%s: error %v", what, err)
		}
	}
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*hashing{newHashing(t.Context(), m), noHashing(m)} {
		if sums, err := h.wait(); err == nil || !strings.Contains(err.Error(), "changed while it was read") || !strings.Contains(err.Error(), path) {
			t.Errorf("hashes %v, error %v", sums, err)
		}
	}
}
