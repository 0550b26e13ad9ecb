package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
)

func (a *app) eval() *cobra.Command {
	var models modelFlags
	var data dataFlags
	var split string
	c := &cobra.Command{
		Use:   "eval M --data NAME",
		Short: "Measure loss, accuracy and calibration of a model",
		Example: `  rebasin eval merged.safetensors --data mnist
  rebasin eval torch.safetensors --arch mlp --data mnist --normalize 0.1307:0.3081 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			part, ok := map[string]dataset.Split{"train": dataset.Train, "test": dataset.Test}[split]
			if !ok {
				return usagef("--split %q: there are train and test", split)
			}
			return a.runEval(c.Context(), &models, &data, part, args[0])
		},
	}
	models.register(c)
	data.register(c, "to measure on")
	c.Flags().StringVar(&split, "split", "test", "part of the data: train, test")
	return c
}

func (a *app) runEval(ctx context.Context, models *modelFlags, data *dataFlags, split dataset.Split, path string) error {
	m, err := models.open(path)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.CheckFinite(ctx); err != nil {
		return err
	}
	set, err := data.open(ctx, a, split, m)
	if err != nil {
		return err
	}
	params, err := m.GraphParams(ctx)
	if err != nil {
		return err
	}
	runner, err := eval.NewRunner(m.Graph, a.threads)
	if err != nil {
		return err
	}
	defer runner.Close()
	if err := runner.SetParams(params); err != nil {
		return err
	}
	r, err := runner.Report(ctx, set, 5)
	if err != nil {
		return err
	}
	a.finish()
	if a.json {
		return writeJSON(a.stdout, struct {
			Loss             float64 `json:"loss"`
			Accuracy         float64 `json:"accuracy"`
			Count            int     `json:"count"`
			TopK             float64 `json:"top_k"`
			K                int     `json:"k"`
			CalibrationError float64 `json:"calibration_error"`
		}{r.Loss, r.Accuracy, r.Count, r.TopK, r.K, r.CalibrationError})
	}
	fmt.Fprintf(a.stdout, "loss               %.4f\naccuracy           %.2f %%\ntop-%d accuracy     %.2f %%\ncalibration error  %.4f\nsamples            %d\n",
		r.Loss, 100*r.Accuracy, r.K, 100*r.TopK, r.CalibrationError, r.Count)
	return nil
}
