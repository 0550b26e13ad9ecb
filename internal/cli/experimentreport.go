package cli

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/experiment"
)

func (a *app) experimentReport(f *experimentFlags) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "report [RUN]...",
		Short: "Make a page of finished runs: figures, numbers, verdicts",
		Long: `Makes one page, report.html, of the runs named, or of all finished runs in the folder,
beside its figures as SVG and PNG and its numbers as CSV. The page needs nothing else
and works without a network.`,
		Example: `  rebasin experiment report
  rebasin experiment report interpolation-laptop width-laptop --out page`,
		RunE: func(_ *cobra.Command, args []string) error { return a.runReport(f, args, output) },
	}
	c.Flags().StringVar(&output, "out", "", "`FOLDER` to write to; empty is report in the folder of the runs")
	return c
}

func (a *app) runReport(f *experimentFlags, names []string, output string) error {
	if output == "" {
		output = filepath.Join(f.dir, "report")
	}
	if err := f.known(names); err != nil {
		return err
	}
	var runs []*experiment.Finished
	var all []string
	for _, name := range names {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	if len(names) == 0 {
		var err error
		if all, err = experiment.RunNames(f.dir); err != nil {
			return err
		}
	}
	for _, name := range all {
		r, err := experiment.ReadRun(experiment.RunDir(f.dir, name))
		if errors.Is(err, experiment.ErrNotFinished) && len(names) == 0 {
			a.warn("run %q is not finished", name)
			continue
		}
		if err != nil {
			return err
		}
		runs = append(runs, r)
	}
	if len(names) == 0 {
		order := experiment.Experiments() // that of the paper
		slices.SortStableFunc(runs, func(a, b *experiment.Finished) int {
			return cmp.Compare(slices.Index(order, a.Spec.Experiment), slices.Index(order, b.Spec.Experiment))
		})
	}
	if len(runs) == 0 {
		return fmt.Errorf("no finished runs in %q", f.dir)
	}
	files, err := experiment.WriteReport(output, runs)
	if err != nil {
		return err
	}
	if a.json {
		return writeJSON(a.stdout, struct {
			Report string   `json:"report"`
			Files  []string `json:"files"`
		}{filepath.Join(output, experiment.ReportFile), files})
	}
	a.printf("%s, %s beside it\n", filepath.Join(output, experiment.ReportFile), counted(len(files)-1, "file"))
	return nil
}
