package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
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
		Args: arguments(1, 1, "one model is"),
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
	choices(c, "split", "train", "test")
	return c
}

func (a *app) runEval(ctx context.Context, models *modelFlags, data *dataFlags, split dataset.Split, path string) error {
	if err := data.require(); err != nil {
		return err
	}
	m, err := models.openFinite(ctx, path)
	if err != nil {
		return err
	}
	defer m.Close()
	a.noteModels(m)
	set, err := data.openLabelled(ctx, a, split, m)
	if err != nil {
		return err
	}
	params, err := m.GraphParams(ctx)
	if err != nil {
		return err
	}
	runner, err := a.newRunner(m.Graph, params)
	if err != nil {
		return err
	}
	defer runner.Close()
	r, err := runner.Report(ctx, set, 5)
	if err != nil {
		return err
	}
	a.finish()
	return a.reportEval(r)
}

// newRunner makes what measures a network with these parameters. Close it.
func (a *app) newRunner(g *graph.Graph, params map[string]*tensor.Tensor) (*eval.Runner, error) {
	r, err := eval.NewRunner(g, a.threads)
	if err != nil {
		return nil, err
	}
	if err := r.SetParams(params); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (a *app) reportEval(r eval.Report) error {
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
	a.printf("loss               %.4f\naccuracy           %.2f %%\n", r.Loss, 100*r.Accuracy)
	a.printf("top-%d accuracy     %.2f %%\n", r.K, 100*r.TopK)
	a.printf("calibration error  %.4f\nsamples            %d\n", r.CalibrationError, r.Count)
	return nil
}
