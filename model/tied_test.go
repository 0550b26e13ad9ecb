package model_test

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// TestNamesOfTiedTensors: the graph has one table, the state dict two names for it. Both move, so that they stay one weight.
func TestNamesOfTiedTensors(t *testing.T) {
	n, err := model.OpenNames(filepath.Join("testdata", "tied.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	m := open(t, filepath.Join("testdata", "tied.pt"), model.Options{Names: n})
	s, err := model.Symmetry(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Groups) != 2 || s.Layouts["head.weight"] == nil || s.Layouts["embed.weight"] == nil || len(s.Statistics) != 1 {
		t.Fatalf("groups %v, layouts %v, %v do not count", s.Groups, s.Layouts, s.Statistics)
	}
	inGraph, err := m.GraphParams(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	proof, err := symmetry.Verify(t.Context(), m.Graph, s, inGraph, symmetry.VerifyOptions{})
	if err != nil || len(proof.Unproven) > 0 || len(proof.Inert) > 0 || proof.Untried > 0 {
		t.Errorf("proof %+v, error %v", proof, err)
	}
	all, err := m.Params(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a := s.Identity()
	for _, g := range s.Groups {
		for i, j := range rand.New(rand.NewPCG(1, 1)).Perm(g.Size) {
			a.Perms[g.Name][i] = int32(j)
		}
	}
	moved, err := s.Apply(a, all)
	if err != nil {
		t.Fatal(err)
	}
	if !moved["head.weight"].Equal(moved["embed.weight"]) || moved["head.weight"].Equal(all["head.weight"]) {
		t.Error("the two names of the table are not moved alike")
	}
	// What is written is one network with the graph again.
	path := filepath.Join(t.TempDir(), "moved.pt")
	if err := model.SaveAs(t.Context(), path, moved, nil, nil, m.Form()); err != nil {
		t.Fatal(err)
	}
	open(t, path, model.Options{Names: n})
}

// TestNamesOfTensorsThatAreNotTied: values that differ are an error, for which the graph has one weight.
func TestNamesOfTensorsThatAreNotTied(t *testing.T) {
	all, err := open(t, filepath.Join("testdata", "tied.pt"), model.Options{Tensors: true}).Params(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all["head.weight"] = all["head.weight"].Clone()
	tensor.Of[float32](all["head.weight"])[3] += 1
	path := filepath.Join(t.TempDir(), "untied.pt")
	if err := model.SaveAs(context.Background(), path, all, nil, nil, checkpoint.Form{}); err != nil {
		t.Fatal(err)
	}
	for want, file := range map[string]string{
		`for which it may stand too, has none`: "", `are one weight in the graph "testdata/tied.onnx", but have different values here`: "testdata/tied.pt",
	} {
		n, err := model.OpenNames(filepath.Join("testdata", "tied.onnx"))
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		if file != "" {
			if err := n.Bind(file, model.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := model.Open(path, model.Options{Names: n}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("bound to %q: error %v, want %q", file, err, want)
		}
	}
}
