package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/symmetry"
)

func (a *app) verify() *cobra.Command {
	var models modelFlags
	var data dataFlags
	c := &cobra.Command{
		Use:   "verify A B",
		Short: "Do A and B compute the same function?",
		Long: `Runs both networks in float64 on the same inputs and compares the outputs: the
test part of --data, else random inputs. The deviation is max|Δ| / max(1, max|y|);
networks are equivalent when it is at most 1e-6. The exit code is 1 when they are
not. The two may name their tensors differently, as an ONNX file and a state dict
with --graph: their inputs and outputs are told by their order.`,
		Example: `  rebasin verify b.safetensors b-aligned.safetensors
  rebasin verify b.safetensors b-aligned.safetensors --data mnist --json`,
		Args: arguments(2, 2, "two models, A and B, are"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.runVerify(c.Context(), &models, &data, args[0], args[1])
		},
	}
	models.register(c)
	data.register(c, "whose test part is compared on")
	data.registerSamples(c, "samples", 0, "samples to compare on; 0 is the whole test part, or 32 random inputs")
	return c
}

func (a *app) runVerify(ctx context.Context, models *modelFlags, data *dataFlags, pathA, pathB string) error {
	if err := data.check(); err != nil {
		return err
	}
	pair, err := models.openApart(ctx, pathA, pathB)
	if err != nil {
		return err
	}
	defer pair.close()
	a.noteModels(pair...)
	deviation, samples, err := a.compare(ctx, data, pair[0], pair[1])
	if err != nil {
		return err
	}
	equivalent := deviation <= symmetry.Tolerance
	a.finish()
	if a.json {
		err = writeJSON(a.stdout, struct {
			Equivalent   bool    `json:"equivalent"`
			MaxDeviation float64 `json:"max_deviation"`
			Samples      int     `json:"samples"`
		}{equivalent, deviation, samples})
	} else {
		verdict := "the same function"
		if !equivalent {
			verdict = "different functions"
		}
		a.printf("%s: the outputs deviate by at most %.2e over %d samples\n", verdict, deviation, samples)
	}
	if err == nil && !equivalent {
		return errSilent
	}
	return err
}

// verifyBatch is how many samples are compared at once: memory in float64 stays small.
const verifyBatch = 1000

// compare runs both networks on the data in pieces, or on random inputs, and returns the largest deviation of their outputs.
func (a *app) compare(ctx context.Context, data *dataFlags, ma, mb *model.Model) (worst float64, samples int, err error) {
	pa, err := ma.GraphParams(ctx)
	if err != nil {
		return 0, 0, err
	}
	pb, err := mb.GraphParams(ctx)
	if err != nil {
		return 0, 0, err
	}
	run := func(x []float32, n int) (float64, int, error) {
		return symmetry.Equivalent(ctx, ma.Graph, pa, pb, x, n)
	}
	if sameKind(ma, mb) != nil {
		run = func(x []float32, n int) (float64, int, error) {
			deviation, samples, err := symmetry.SameFunction(ctx, ma.Graph, pa, mb.Graph, pb, x, n)
			if err != nil {
				err = fmt.Errorf("%q and %q: %w", ma.Path, mb.Path, err)
			}
			return deviation, samples, err
		}
	}
	if data.name == "" {
		return run(nil, data.samples)
	}
	set, err := data.open(ctx, a, dataset.Test, ma)
	if err != nil {
		return 0, 0, err
	}
	set = set.Sample(data.samples)
	for start := 0; start < set.Len(); start += verifyBatch {
		n := min(verifyBatch, set.Len()-start)
		deviation, count, err := run(pixels(set, start, n), n)
		if err != nil {
			return 0, 0, err
		}
		worst, samples = max(worst, deviation), samples+count
		a.report("comparing", samples, set.Len(), "")
	}
	return worst, samples, nil
}

// pixels are n samples from start on, one after the other.
func pixels(set *dataset.Set, start, n int) []float32 {
	indices := make([]int, n)
	for i := range indices {
		indices[i] = start + i
	}
	x := make([]float32, n*product(set.Shape()))
	set.Fill(indices, x, make([]int32, n))
	return x
}
