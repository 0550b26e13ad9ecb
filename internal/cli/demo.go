package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/experiment"
)

func (a *app) demo() *cobra.Command {
	var opt experiment.DemoOptions
	c := &cobra.Command{
		Use:   "demo",
		Short: "Train two networks apart, align them three ways, merge them, show that it worked",
		Long: `Trains two fully connected networks on MNIST from different seeds, aligns the
second with the first by matching activations, by matching weights and by the
straight-through estimator, merges them, and compares with the naive average.
Takes about a minute on two cores.`,
		Example: `  rebasin demo
  rebasin demo --out /tmp/demo --seed 7
  rebasin demo --hidden 32,32,32 --json`,
		Args: arguments(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error { return a.runDemo(c.Context(), opt) },
	}
	f := c.Flags()
	f.StringVar(&opt.Dir, "out", "rebasin-demo", "`FOLDER` for the models, the figure and the report")
	f.Uint64Var(&opt.Seed, "seed", 0, "seed of everything")
	f.IntSliceVar(&opt.Hidden, "hidden", []int{512, 512, 512}, "widths of the hidden layers")
	f.IntVar(&opt.Epochs, "epochs", 10, "epochs of training")
	f.IntVar(&opt.Points, "points", 11, "points of the curves")
	f.IntVar(&opt.Steps, "steps", 40, "steps of the straight-through estimator")
	f.IntVar(&opt.Subset, "subset", 10000, "training images on which losses are measured")
	return c
}

func (a *app) runDemo(ctx context.Context, opt experiment.DemoOptions) error {
	if opt.Epochs < 1 || opt.Points < 2 || opt.Steps < 1 || opt.Subset < 1 {
		return usagef("--epochs, --steps and --subset must be at least 1, --points at least 2")
	}
	if len(opt.Hidden) == 0 || slices.Min(opt.Hidden) < 1 {
		return usagef("--hidden %v: one width or more are needed, each at least 1", opt.Hidden)
	}
	if err := checkFolder(opt.Dir); err != nil {
		return err
	}
	opt.Data = dataset.Options{DataDir: a.dataDir, Log: a.sayOnce}
	opt.Threads, opt.Version, opt.Progress = a.threads, version(), a.report
	r, err := experiment.Demo(ctx, opt)
	if err != nil {
		return err
	}
	a.finish()
	if a.json {
		return writeJSON(a.stdout, r)
	}
	return a.printDemo(r)
}

func (a *app) printDemo(r *experiment.DemoResult) error {
	header, rows := r.Table()
	if err := a.table(header, rows); err != nil {
		return err
	}
	naive, best := r.Methods["naive"].Midpoint.Test, r.Methods[r.Best].Midpoint.Test
	a.printf("\nAveraged as they are, the two networks have a test loss of %.3f; aligned first (%s), %.3f.\n", naive.Loss, r.Best, best.Loss)
	a.printf("The network has 10^%.2f symmetries. Took %.0f s.\n\n", r.Log10, r.Seconds)
	for _, f := range []struct{ what, path string }{
		{"report", r.Files.Report}, {"curve", r.Files.Curve}, {"merged model", r.Files.Merged}, {"aligned model B", r.Files.Aligned},
	} {
		a.printf("%-16s %s\n", f.what, f.path)
	}
	return nil
}
