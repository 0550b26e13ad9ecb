package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/experiment"
	"github.com/rebasin/rebasin/internal/ui"
	"github.com/rebasin/rebasin/landscape"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/report"
)

// interpolateFlags are the flags of interpolate.
type interpolateFlags struct {
	models          modelFlags
	data            dataFlags
	points, samples int
	output          string
}

func (a *app) interpolate() *cobra.Command {
	var f interpolateFlags
	c := &cobra.Command{
		Use:   "interpolate A B [C] --data NAME",
		Short: "Measure the way between two models, or the plane through three",
		Long: `Measures loss and accuracy on training and test data along the straight line from A to B, taken as they are, and the barrier between them.
With a third model it measures the plane through the three instead. -o draws the figure.`,
		Example: `  rebasin interpolate a.safetensors b-aligned.safetensors --data mnist -o curve.svg
  rebasin interpolate a.safetensors b.safetensors b-aligned.safetensors --data mnist --points 15 -o plane.png`,
		Args: cobra.RangeArgs(2, 3),
		RunE: func(c *cobra.Command, args []string) error { return a.runInterpolate(c.Context(), &f, args) },
	}
	f.models.register(c)
	f.data.register(c, "to measure on")
	c.Flags().IntVar(&f.points, "points", landscape.DefaultPoints, "points of the curve, or on each side of the plane")
	c.Flags().IntVar(&f.samples, "samples", 0, "training samples to measure on, a fixed random part; 0 is all")
	c.Flags().StringVarP(&f.output, "output", "o", "", "figure to write: .svg or .png")
	return c
}

func (a *app) runInterpolate(ctx context.Context, f *interpolateFlags, paths []string) error {
	if f.points < 2 {
		return usagef("--points %d: at least 2 are needed", f.points)
	}
	if f.output != "" {
		if ext := filepath.Ext(f.output); ext != ".svg" && ext != ".png" {
			return usagef("--output %q: the name must end in .svg or .png", f.output)
		}
		if err := checkOutput(f.output, paths...); err != nil {
			return err
		}
	}
	first, _, err := f.models.openPair(ctx, paths[0], paths[1])
	if err != nil {
		return err
	}
	first.Close()
	train, err := f.data.open(ctx, a, dataset.Train, first)
	if err != nil {
		return err
	}
	test, err := f.data.open(ctx, a, dataset.Test, first)
	if err != nil {
		return err
	}
	runner, err := eval.NewRunner(first.Graph, a.threads)
	if err != nil {
		return err
	}
	defer runner.Close()
	thetas, err := f.thetas(ctx, runner, first, paths)
	if err != nil {
		return err
	}
	split := &eval.Split{Runner: runner, Train: subset(train, f.samples), Test: test}
	if len(paths) == 3 {
		return a.plane(ctx, f, thetas, split, paths)
	}
	curve, err := landscape.Interpolate(ctx, "way", thetas[0], thetas[1], landscape.Lambdas(f.points), nil, split, func(done, total int) {
		a.report("measuring the way", done, total, "")
	})
	if err != nil {
		return err
	}
	return a.reportCurve(f, curve, paths)
}

// thetas lays the models' parameters out as the runner's arena.
func (f *interpolateFlags) thetas(ctx context.Context, runner *eval.Runner, first *model.Model, paths []string) ([][]float32, error) {
	var out [][]float32
	for _, path := range paths {
		_, m, err := f.models.openPair(ctx, first.Path, path)
		if err != nil {
			return nil, err
		}
		params, err := m.GraphParams(ctx)
		if err != nil {
			return nil, err
		}
		if err := runner.SetParams(params); err != nil {
			return nil, err
		}
		out = append(out, slices.Clone(runner.Theta()))
		m.Close()
	}
	return out, nil
}

func (a *app) reportCurve(f *interpolateFlags, curve landscape.Curve, paths []string) error {
	if f.output != "" {
		fig, err := report.CurveFigure(report.CurveOptions{
			EndLabels: [2]string{filepath.Base(paths[0]), filepath.Base(paths[1])},
			Caption:   "Mixtures (1−λ)A + λB of the two models, measured at every λ. Solid lines are test data, dashed lines training data.",
		}, []landscape.Curve{curve})
		if err != nil {
			return err
		}
		if err := writeFigure(f.output, fig); err != nil {
			return err
		}
	}
	var b experiment.SplitBarrier
	b.Train, b.Test = curve.Barriers()
	a.finish()
	if a.json {
		return writeJSON(a.stdout, struct {
			Points  []landscape.Point       `json:"points"`
			Barrier experiment.SplitBarrier `json:"barrier"`
			Output  string                  `json:"output,omitempty"`
		}{curve.Points, b, f.output})
	}
	var rows [][]string
	for _, p := range curve.Points {
		rows = append(rows, []string{
			fmt.Sprintf("%.3f", p.Lambda), fmt.Sprintf("%.4f", p.Train.Loss), fmt.Sprintf("%.2f", 100*p.Train.Accuracy),
			fmt.Sprintf("%.4f", p.Test.Loss), fmt.Sprintf("%.2f", 100*p.Test.Accuracy),
		})
	}
	if err := ui.Table(a.stdout, []string{"λ", "train loss", "train %", "test loss", "test %"}, rows, ui.TableOptions{}); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "\nbarrier of the loss    over the chord: train %.4f, test %.4f    as in the paper: train %.4f, test %.4f\n",
		b.Train.Chord, b.Test.Chord, b.Train.Paper, b.Test.Paper)
	return nil
}

// plane measures and draws the plane through three models.
func (a *app) plane(ctx context.Context, f *interpolateFlags, thetas [][]float32, split *eval.Split, paths []string) error {
	p, err := landscape.Plane(ctx, thetas[0], thetas[1], thetas[2], landscape.PlaneOptions{Width: f.points, Height: f.points}, split,
		func(done, total int) { a.report("measuring the plane", done, total, "") })
	if err != nil {
		return err
	}
	if f.output != "" {
		labels := [3]string{filepath.Base(paths[0]), filepath.Base(paths[1]), filepath.Base(paths[2])}
		fig, err := report.PlaneFigure(report.PlaneOptions{Labels: labels}, p)
		if err != nil {
			return err
		}
		if err := writeFigure(f.output, fig); err != nil {
			return err
		}
	}
	a.finish()
	if a.json {
		return writeJSON(a.stdout, p)
	}
	fmt.Fprintf(a.stdout, "measured %d x %d points of the plane\n", len(p.X), len(p.Y))
	for i, c := range p.Corners {
		fmt.Fprintf(a.stdout, "%s at (%.4g, %.4g)\n", paths[i], c[0], c[1])
	}
	return nil
}

// writeFigure writes a figure in the format that the name's ending says.
func writeFigure(path string, fig *report.Figure) error {
	render := fig.SVG
	if strings.HasSuffix(path, ".png") {
		render = fig.PNG
	}
	data, err := render()
	if err != nil {
		return err
	}
	return checkpoint.WriteFile(path, func(w io.Writer) error { _, err := w.Write(data); return err })
}
