package cli

import (
	"context"
	"errors"
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
		Long: `Runs both networks in float64 on the same inputs and compares the outputs: the test part of --data, else random inputs. The deviation is
max|Δ| / max(1, max|y|); networks are equivalent when it is at most 1e-6. The exit code is 1 when they are not.`,
		Example: `  rebasin verify b.safetensors b-aligned.safetensors
  rebasin verify b.safetensors b-aligned.safetensors --data mnist --json`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return a.runVerify(c.Context(), &models, &data, args[0], args[1])
		},
	}
	models.register(c)
	data.register(c, "whose test part is compared on")
	c.Flags().IntVar(&data.samples, "samples", 0, "samples to compare on; 0 is the whole test part")
	return c
}

func (a *app) runVerify(ctx context.Context, models *modelFlags, data *dataFlags, pathA, pathB string) error {
	ma, mb, err := models.openPair(ctx, pathA, pathB)
	if err != nil {
		return err
	}
	defer ma.Close()
	defer mb.Close()
	pa, err := ma.GraphParams(ctx)
	if err != nil {
		return err
	}
	pb, err := mb.GraphParams(ctx)
	if err != nil {
		return err
	}
	deviation, samples, err := a.compare(ctx, data, ma, func(x []float32, n int) (float64, int, error) {
		return symmetry.Equivalent(ctx, ma.Graph, pa, pb, x, n)
	})
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
		_, err = fmt.Fprintf(a.stdout, "%s: the outputs deviate by at most %.2e over %d samples\n", verdict, deviation, samples)
	}
	if err == nil && !equivalent {
		return errSilent
	}
	return err
}

// verifyBatch is how many samples are compared at once: memory in float64 stays small.
const verifyBatch = 1000

// compare runs the comparison over the data in pieces and returns the largest deviation.
func (a *app) compare(ctx context.Context, data *dataFlags, net *model.Model, run func(x []float32, n int) (float64, int, error)) (worst float64, samples int, err error) {
	if data.name == "" {
		return run(nil, data.samples)
	}
	if data.samples < 0 {
		return 0, 0, usageError{errors.New("--samples must not be negative")}
	}
	set, err := data.open(ctx, a, dataset.Test, net)
	if err != nil {
		return 0, 0, err
	}
	set = subset(set, data.samples)
	size := 1
	for _, n := range set.Shape() {
		size *= n
	}
	for start := 0; start < set.Len(); start += verifyBatch {
		n := min(verifyBatch, set.Len()-start)
		indices := make([]int, n)
		for i := range indices {
			indices[i] = start + i
		}
		x := make([]float32, n*size)
		set.Fill(indices, x, make([]int32, n))
		d, count, err := run(x, n)
		if err != nil {
			return 0, 0, err
		}
		worst, samples = max(worst, d), samples+count
		a.report("comparing", samples, set.Len(), "")
	}
	return worst, samples, nil
}
