package cli

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/tensor"
)

// recordActivations writes arrays of samples x 16, whose column order[i] is column i of the same draw.
func recordActivations(t *testing.T, path string, order []int, names ...string) {
	t.Helper()
	const samples = 40
	rng := rand.New(rand.NewPCG(1, 2))
	var entries []checkpoint.Entry
	for _, name := range names {
		array := tensor.New(tensor.F32, tensor.Shape{samples, len(order)})
		for s := range samples {
			for _, column := range order {
				tensor.Of[float32](array)[s*len(order)+column] = float32(rng.NormFloat64())
			}
		}
		entries = append(entries, checkpoint.Entry{
			Info: checkpoint.Info{Name: name, DType: tensor.F32, Shape: array.Shape()},
			Load: func() (*tensor.Tensor, error) { return array, nil },
		})
	}
	if err := checkpoint.WriteSafetensors(context.Background(), path, entries, nil); err != nil {
		t.Fatal(err)
	}
}

// Activations recorded elsewhere give the order that was planted in them: at the sites of a graph, and by the names of groups with a specification alone.
func TestAlignByRecordedActivations(t *testing.T) {
	inFolder(t)
	const units = 16
	same, order := make([]int, units), rand.New(rand.NewPCG(3, 4)).Perm(units)
	for i := range same {
		same[i] = i
	}
	spec := "layouts: {fc1.weight: one _, fc1.bias: one, fc2.weight: two one, fc2.bias: two, fc3.weight: _ two}"
	if err := os.WriteFile("net.yaml", []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		sites, groups []string
		flags         []string
	}{
		"graph":         {sites: []string{"h1", "h2"}, groups: []string{"fc1", "fc2"}, flags: []string{"--activations", "act-a.safetensors,act-b.safetensors"}},
		"two flags":     {sites: []string{"h1", "h2"}, groups: []string{"fc1", "fc2"}, flags: []string{"--activations", "act-a.safetensors", "--activations", "act-b.safetensors"}},
		"specification": {sites: []string{"one", "two"}, groups: []string{"one", "two"}, flags: []string{"--symmetry", "net.yaml", "--no-verify", "--activations", "act-a.safetensors,act-b.safetensors"}},
	} {
		t.Run(name, func(t *testing.T) {
			recordActivations(t, "act-a.safetensors", same, tt.sites...)
			recordActivations(t, "act-b.safetensors", order, tt.sites...)
			args := append([]string{
				"align", "a.safetensors", "b.safetensors", "-o", "ba.safetensors", "--method", "activation", "--alignment-out", "p.json",
			}, tt.flags...)
			if code, _, stderr := quiet(1<<30, args...); code != exitDone {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			perms := alignmentFile(t, "p.json")
			for _, g := range tt.groups {
				if !slices.Equal(perms[g], order) {
					t.Errorf("group %s: %v, want %v", g, perms[g], order)
				}
			}
		})
	}
}

func TestRecordedActivationsErrors(t *testing.T) {
	inFolder(t)
	same := make([]int, 16)
	for i := range same {
		same[i] = i
	}
	recordActivations(t, "good.safetensors", same, "h1")
	recordActivations(t, "other.safetensors", same, "h9")
	for flag, want := range map[string]string{
		"good.safetensors":                   "two files are needed",
		"good.safetensors,none.safetensors":  "none.safetensors",
		"good.safetensors,other.safetensors": `no activations of B at "h1"`,
		"other.safetensors,good.safetensors": `"h9" is neither a site nor a group of the symmetry; there are the sites [h1 h2]`,
	} {
		code, _, stderr := quiet(1<<30, "align", "a.safetensors", "b.safetensors", "-o", "ba.safetensors", "--method", "activation", "--activations", flag)
		if code == exitDone || !strings.Contains(stderr, want) {
			t.Errorf("--activations %s: exit code %d, %s; want %q", flag, code, stderr, want)
		}
	}
}

// alignmentFile reads the permutation of each group.
func alignmentFile(t *testing.T, path string) map[string][]int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name string
			Perm []int
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	out := map[string][]int{}
	for _, g := range file.Groups {
		out[g.Name] = g.Perm
	}
	return out
}
