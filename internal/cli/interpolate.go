package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/experiment"
	"github.com/rebasin/rebasin/landscape"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/report"
)

// interpolateFlags are the flags of interpolate.
type interpolateFlags struct {
	models modelFlags
	data   dataFlags
	repair repairFlags
	own    evalCommand
	points int
	output string
}

func (a *app) interpolate() *cobra.Command {
	var f interpolateFlags
	c := &cobra.Command{
		Use:   "interpolate A B [C] --data NAME",
		Short: "Measure the way between two models, or the plane through three",
		Long: `Measures loss and accuracy on training and test data along the straight line from
A to B, taken as they are, and the barrier between them. With a third model it
measures the plane through the three instead. -o draws the figure. --repair also
measures the way with the statistics of channels repaired at every point, its
ends among them. --eval-command measures by your own evaluation instead, in any
framework, on files in the form of A.`,
		Example: `  rebasin interpolate a.safetensors b-aligned.safetensors --data mnist -o curve.svg
  rebasin interpolate a.safetensors b.safetensors b-aligned.safetensors --data mnist --points 15 -o plane.png
  rebasin interpolate a.safetensors b-aligned.safetensors --points 5 --eval-command './evaluate.sh {}'`,
		Args: arguments(2, 3, "two models, A and B, or three are"),
		RunE: func(c *cobra.Command, args []string) error { return a.runInterpolate(c.Context(), &f, args) },
	}
	f.models.register(c)
	f.data.register(c, "to measure on")
	f.data.registerSamples(c, "samples", 0, "training samples to measure on, a fixed random part; 0 is all")
	f.repair.register(c, "")
	f.own.register(c, "in place of --data")
	c.Flags().IntVar(&f.points, "points", landscape.DefaultPoints, "points of the curve, or on each side of the plane")
	c.Flags().StringVarP(&f.output, "output", "o", "", "figure `FILE` to write: .svg or .png")
	return c
}

// check finds mistakes in the flags before anything is opened.
func (f *interpolateFlags) check(paths []string) error {
	if f.points < 2 {
		return usagef("--points %d: at least 2 are needed", f.points)
	}
	if ext := filepath.Ext(f.output); f.output != "" && ext != ".svg" && ext != ".png" {
		return usagef("--output %q: the name must end in .svg or .png", f.output)
	}
	if f.own.active() {
		return f.checkOwn(paths)
	}
	if err := f.data.require(); err != nil {
		return err
	}
	if err := f.repair.check(&f.data); err != nil {
		return err
	}
	if f.repair.active() && len(paths) == 3 {
		return usagef("--repair is for the way between two models, not for a plane")
	}
	return checkOutputs([]string{f.output}, append(slices.Clone(paths), f.models.graph))
}

// checkOwn is check where the user's own evaluation measures.
func (f *interpolateFlags) checkOwn(paths []string) error {
	switch {
	case len(paths) != 2:
		return usagef("--eval-command is for the way between two models, not for a plane")
	case f.data.name != "" || f.repair.active() || f.output != "":
		return usagef("--eval-command goes without --data, --repair and --output")
	}
	return f.own.check()
}

func (a *app) runInterpolate(ctx context.Context, f *interpolateFlags, paths []string) error {
	if err := f.check(paths); err != nil {
		return err
	}
	models, err := f.models.openAll(ctx, paths...)
	if err != nil {
		return err
	}
	defer models.close()
	a.noteModels(models...)
	if f.own.active() {
		return a.ownCurve(ctx, f, models)
	}
	if f.repair.active() {
		if err := f.repair.choose(a, f.data.name, models...); err != nil {
			return err
		}
	}
	split, err := f.split(ctx, a, models[0])
	if err != nil {
		return err
	}
	defer split.Runner.Close()
	thetas, err := models.thetas(ctx, split.Runner)
	if err != nil {
		return err
	}
	if len(paths) == 3 {
		return a.plane(ctx, f, thetas, split, paths)
	}
	return a.curve(ctx, f, models[0], thetas, split, paths)
}

// split opens the data, and an engine to measure networks like net on both parts of it.
func (f *interpolateFlags) split(ctx context.Context, a *app, net *model.Model) (*eval.Split, error) {
	train, err := f.data.openLabelled(ctx, a, dataset.Train, net)
	if err != nil {
		return nil, err
	}
	test, err := f.data.openLabelled(ctx, a, dataset.Test, net)
	if err != nil {
		return nil, err
	}
	runner, err := eval.NewRunner(net.Graph, a.threads)
	if err != nil {
		return nil, err
	}
	return &eval.Split{Runner: runner, Train: train.Sample(f.data.samples), Test: test}, nil
}

// thetas lays each model's parameters out as the runner's arena.
func (s modelSet) thetas(ctx context.Context, runner *eval.Runner) ([][]float32, error) {
	var out [][]float32
	for _, m := range s {
		params, err := m.GraphParams(ctx)
		if err != nil {
			return nil, err
		}
		if err := runner.SetParams(params); err != nil {
			return nil, err
		}
		out = append(out, slices.Clone(runner.Theta()))
	}
	return out, nil
}

// curve measures and draws the way between two models.
func (a *app) curve(ctx context.Context, f *interpolateFlags, net *model.Model, thetas [][]float32, split *eval.Split, paths []string) error {
	curve, err := landscape.Interpolate(ctx, "way", thetas[0], thetas[1], landscape.Lambdas(f.points), nil, split, func(done, total int) {
		a.report("measuring the way", done, total, "")
	})
	if err != nil {
		return err
	}
	curves := []landscape.Curve{curve}
	if f.repair.active() {
		mix, err := a.repairedMix(ctx, f, split, net, thetas)
		if err != nil {
			return err
		}
		name := f.repair.method
		repaired, err := landscape.Interpolate(ctx, name, thetas[0], thetas[1], landscape.Lambdas(f.points), mix, split, func(done, total int) {
			a.report("measuring the repaired way", done, total, "")
		})
		if err != nil {
			return err
		}
		curves = append(curves, repaired)
	}
	if f.output != "" {
		fig, err := report.CurveFigure(report.CurveOptions{
			EndLabels: [2]string{filepath.Base(paths[0]), filepath.Base(paths[1])},
			Caption:   "Mixtures (1−λ)A + λB of the two models, measured at every λ. Solid lines are test data, dashed lines training data.",
		}, curves)
		if err != nil {
			return err
		}
		if err := writeFigure(f.output, fig); err != nil {
			return err
		}
	}
	a.finish()
	return a.reportCurves(f, curves)
}

// curveJSON is what --json prints of a curve.
type curveJSON struct {
	Points  []landscape.Point       `json:"points"`
	Barrier experiment.SplitBarrier `json:"barrier"`
}

// repairedJSON is that of the repaired way.
type repairedJSON struct {
	Method  string `json:"method"`
	Augment string `json:"augment"`
	curveJSON
}

func newCurveJSON(curve landscape.Curve) curveJSON {
	out := curveJSON{Points: curve.Points}
	out.Barrier.Train, out.Barrier.Test = curve.Barriers()
	return out
}

// reportCurves prints the way as it is, and behind it the repaired one where there is one.
func (a *app) reportCurves(f *interpolateFlags, curves []landscape.Curve) error {
	if a.json {
		out := struct {
			curveJSON
			Repaired *repairedJSON `json:"repaired,omitempty"`
			Output   string        `json:"output,omitempty"`
		}{curveJSON: newCurveJSON(curves[0]), Output: f.output}
		if len(curves) > 1 {
			out.Repaired = &repairedJSON{f.repair.method, f.repair.augment, newCurveJSON(curves[1])}
		}
		return writeJSON(a.stdout, out)
	}
	for i, curve := range curves {
		if i > 0 {
			a.printf("\nwith --repair %s%s\n\n", f.repair.method, f.repair.onImages())
		}
		if err := a.printCurve(curve); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printCurve(curve landscape.Curve) error {
	var rows [][]string
	for _, p := range curve.Points {
		rows = append(rows, []string{
			fmt.Sprintf("%.3f", p.Lambda), fmt.Sprintf("%.4f", p.Train.Loss), fmt.Sprintf("%.2f", 100*p.Train.Accuracy),
			fmt.Sprintf("%.4f", p.Test.Loss), fmt.Sprintf("%.2f", 100*p.Test.Accuracy),
		})
	}
	if err := a.table([]string{"λ", "train loss", "train %", "test loss", "test %"}, rows); err != nil {
		return err
	}
	b := newCurveJSON(curve).Barrier
	a.printf("\nbarrier of the loss over the chord   train %.4f  test %.4f\n", b.Train.Chord, b.Test.Chord)
	a.printf("                    as in the paper  train %.4f  test %.4f\n", b.Train.Paper, b.Test.Paper)
	return nil
}

// ownCurve measures the way between two files by the user's own evaluation.
func (a *app) ownCurve(ctx context.Context, f *interpolateFlags, models modelSet) error {
	ma, mb := models[0], models[1]
	plan, err := merge.NewPlan([]merge.Source{
		{Name: ma.Path, Infos: ma.Infos(), Load: ma.Tensor, OpenSection: ma.OpenSection},
		{Name: mb.Path, Infos: mb.Infos(), Load: mb.Tensor, OpenSection: mb.OpenSection},
	}, merge.Lerp, []float64{.5, .5})
	if err != nil {
		return err
	}
	plan.Form, plan.NoSync = ma.Form(), true // of files that are measured and removed
	var points []measuredPoint
	for i, lambda := range landscape.Lambdas(f.points) {
		plan.SetLambda(lambda)
		m, err := f.own.measure(ctx, ma.Path, func(path string) error { return plan.Execute(ctx, path, checkpoint.Settled(ma.Metadata()), nil) })
		if err != nil {
			return err
		}
		points = append(points, measuredPoint{lambda, m.Loss, m.Accuracy})
		a.report("measuring the way", i+1, f.points, "")
	}
	a.finish()
	curve := newMeasuredCurve(points)
	if a.json {
		return writeJSON(a.stdout, curve)
	}
	return a.printMeasured(curve)
}

func (a *app) printMeasured(curve measuredCurve) error {
	number := func(x *float64, format string, scale float64) string {
		if x == nil {
			return ""
		}
		return fmt.Sprintf(format, scale**x)
	}
	var rows [][]string
	for _, p := range curve.Points {
		rows = append(rows, []string{fmt.Sprintf("%.3f", p.Lambda), number(p.Loss, "%.4f", 1), number(p.Accuracy, "%.2f", 100)})
	}
	if err := a.table([]string{"λ", "loss", "accuracy %"}, rows); err != nil {
		return err
	}
	if b := curve.Barrier; b != nil {
		a.printf("\nbarrier of the loss over the chord   %.4f\n                    as in the paper  %.4f\n", b.Chord, b.Paper)
	}
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
	a.printf("measured %d x %d points of the plane\n", len(p.X), len(p.Y))
	for i, c := range p.Corners {
		a.printf("%s at (%.4g, %.4g)\n", paths[i], c[0], c[1])
	}
	return nil
}

// writeFigure writes a figure in the format that the name's ending says.
func writeFigure(path string, fig *report.Figure) error {
	render := fig.SVG
	if filepath.Ext(path) == ".png" {
		render = fig.PNG
	}
	data, err := render()
	if err != nil {
		return err
	}
	return writeBytes(path, data)
}
