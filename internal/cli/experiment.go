package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/experiment"
	"github.com/rebasin/rebasin/experiment/task"
)

// experimentFlags are those of the subcommands of experiment.
type experimentFlags struct {
	dir     string
	preset  string
	sources []string
	pairs   int
	seed    uint64
	all     bool
}

func (a *app) experiment() *cobra.Command {
	var f experimentFlags
	c := &cobra.Command{
		Use:   "experiment",
		Short: "Run the paper's experiments, and your own",
		Long: `Runs experiments with several pairs of networks, for error bars. What every step made
is kept in a folder under a key of all that determines it: a run that was stopped
goes on where it was, and experiments share trainings.

An experiment is one of the names that "rebasin experiment list" shows, at the
scale of a preset, or a YAML file: "rebasin experiment plan NAME --preset smoke --yaml" prints
one to begin with. Preset smoke takes seconds, laptop at most 40 minutes on two cores,
evening hours, and paper, the paper's own setting, days on a big machine.`,
		Example: `  rebasin experiment list
  rebasin experiment plan interpolation --preset laptop
  rebasin experiment run interpolation --preset laptop
  rebasin experiment run my.yaml --source cifar10=cifar10-images.zip
  rebasin experiment report`,
		Args: knownCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.PersistentFlags().StringVar(&f.dir, "dir", "rebasin-experiments", "`FOLDER` of all runs and what they made")
	c.AddCommand(a.experimentList(), a.experimentPlan(&f), a.experimentRun(&f), a.experimentStatus(&f), a.experimentReport(&f), a.experimentJoin(&f), a.experimentClean(&f))
	return c
}

// registerSpec adds the flags that say what to run.
func (f *experimentFlags) registerSpec(c *cobra.Command) {
	c.Flags().StringVar(&f.preset, "preset", experiment.Laptop, "scale of a named experiment: "+strings.Join(experiment.Presets(), ", "))
	c.Flags().StringArrayVar(&f.sources, "source", nil, "`NAME=PATH`: read the data set NAME from a folder or zip of images")
	c.Flags().IntVar(&f.pairs, "pairs", 0, "pairs of networks in each case; 0 is the preset's")
	c.Flags().Uint64Var(&f.seed, "seed", 0, "seed of the first network (default that of the preset or file)")
	choices(c, "preset", experiment.Presets()...)
}

// lab is where data is found.
func (f *experimentFlags) lab(a *app) (*experiment.Lab, error) {
	l := &experiment.Lab{Data: dataset.Options{DataDir: a.dataDir, Log: a.sayOnce}, Sources: map[string]string{}}
	for _, s := range f.sources {
		name, path, ok := strings.Cut(s, "=")
		if !ok || path == "" || !slices.Contains(dataset.Names(), name) {
			return nil, usagef("--source %q: the form is NAME=PATH, with one of the names %s", s, strings.Join(dataset.Names(), ", "))
		}
		if _, err := os.Stat(path); err != nil {
			return nil, usagef("--source %s: %w", name, err)
		}
		l.Sources[name] = path
	}
	return l, nil
}

// spec is the experiment that an argument names.
func (f *experimentFlags) spec(c *cobra.Command, arg string) (experiment.Spec, error) {
	if slices.Contains(experiment.Experiments(), arg) || !dataset.IsPath(arg) {
		s, err := experiment.Preset(arg, f.preset)
		if err != nil {
			return s, usageError{err}
		}
		return f.change(c, s)
	}
	if c.Flags().Changed("preset") {
		return experiment.Spec{}, usagef("--preset is for named experiments; %q says itself what to run", arg)
	}
	file, err := os.Open(arg)
	if err != nil {
		return experiment.Spec{}, err
	}
	defer file.Close()
	s, err := experiment.ReadSpec(file)
	if err != nil {
		return experiment.Spec{}, fmt.Errorf("%q: %w", arg, err)
	}
	// A file that names no run is called by its own name, where a run can have that.
	if s.Name == "" {
		named := *s
		named.Name = strings.TrimSuffix(filepath.Base(arg), filepath.Ext(arg))
		if named.Check() == nil {
			s = &named
		}
	}
	return f.change(c, *s)
}

// change is what flags say of an experiment.
func (f *experimentFlags) change(c *cobra.Command, s experiment.Spec) (experiment.Spec, error) {
	if f.pairs < 0 {
		return s, usagef("--pairs %d: it must not be negative", f.pairs)
	}
	if f.pairs > 0 {
		s.Pairs = f.pairs
	}
	if c.Flags().Changed("seed") {
		s.FirstSeed = f.seed
	}
	return s, s.Check()
}

// openStore opens the folder's store, and says what was damaged.
func (f *experimentFlags) openStore(a *app) (*task.Store, error) {
	store, err := task.Open(f.dir, version())
	if err != nil {
		return nil, err
	}
	store.Removed = func(key, why string) { a.warn("artifact %s is damaged (%s) and is made again", key, why) }
	return store, nil
}

func (a *app) experimentList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the experiments",
		Example: "  rebasin experiment list",
		Args:    arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			infos := experiment.List()
			if a.json {
				return writeJSON(a.stdout, struct {
					Experiments []experiment.Info `json:"experiments"`
				}{infos})
			}
			var rows [][]string
			for _, i := range infos {
				rows = append(rows, []string{i.Name, i.Title, i.Source})
			}
			if err := a.table([]string{"name", "what", "in the paper"}, rows); err != nil {
				return err
			}
			a.printf("\npresets: %s\n", strings.Join(experiment.Presets(), ", "))
			return nil
		},
	}
}

func (a *app) experimentPlan(f *experimentFlags) *cobra.Command {
	var yaml bool
	c := &cobra.Command{
		Use:   "plan NAME|FILE",
		Short: "Show what an experiment would do, what of it is done, and about how long the rest takes",
		Long: `Shows the tasks of an experiment, which of them are done, and about how long the others
take, from how long such tasks took before. Nothing is changed, and a run may be at work in
the folder.`,
		Example: `  rebasin experiment plan width --preset evening
  rebasin experiment plan interpolation --preset smoke --yaml > my.yaml`,
		Args: arguments(1, 1, "the name of an experiment, or a file, is"),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := f.spec(c, args[0])
			if err != nil {
				return err
			}
			if yaml {
				if !dataset.IsPath(args[0]) {
					s.Name = "" // what is changed is not the preset's run
				}
				text, err := s.YAML()
				if err != nil {
					return err
				}
				a.printf("%s", text)
				return nil
			}
			return a.runExperimentPlan(c.Context(), f, s)
		},
	}
	f.registerSpec(c)
	c.Flags().BoolVar(&yaml, "yaml", false, "print the experiment as a file, to change it")
	return c
}

// experimentPlanJSON is what --json prints of a plan.
type experimentPlanJSON struct {
	Experiment string              `json:"experiment"`
	Name       string              `json:"name"`
	Tasks      []plannedTaskJSON   `json:"tasks"`
	Missing    int                 `json:"missing"`
	Seconds    float64             `json:"seconds"`
	NotRun     []experiment.NotRun `json:"not_run"`
}

type plannedTaskJSON struct {
	Kind  string `json:"kind"`
	Label string `json:"label"`
	Key   string `json:"key"`
	Done  bool   `json:"done"`
	// Seconds foreseen on one thread, 0 where it is done.
	Seconds float64 `json:"seconds"`
}

func (a *app) runExperimentPlan(ctx context.Context, f *experimentFlags, s experiment.Spec) error {
	lab, err := f.lab(a)
	if err != nil {
		return err
	}
	plan, err := lab.Plan(ctx, s)
	if err != nil {
		return err
	}
	store := task.NewView(f.dir) // a run may be at work there
	store.Damaged = func(key, why string) { a.warn("artifact %s is damaged (%s); a run makes it again", key, why) }
	missing, err := store.Missing(ctx, plan.Tasks, plan.Wanted())
	if err != nil {
		return err
	}
	took, err := store.Estimate(missing, a.threads)
	if err != nil {
		return err
	}
	out := experimentPlanJSON{
		Experiment: s.Experiment, Name: plan.Spec.Name, Tasks: []plannedTaskJSON{}, Missing: len(missing), Seconds: took.Seconds(), NotRun: listed(plan.NotRun),
	}
	for _, t := range plan.Tasks.Tasks() {
		p := plannedTaskJSON{Kind: t.Kind.Name, Label: t.Label, Key: t.Key, Done: !slices.Contains(missing, t)}
		if !p.Done {
			d, err := store.EstimateTask(t)
			if err != nil {
				return err
			}
			p.Seconds = d.Seconds()
		}
		out.Tasks = append(out.Tasks, p)
	}
	a.finish()
	if a.json {
		return writeJSON(a.stdout, out)
	}
	return a.printTasks(&out)
}

func (a *app) printTasks(p *experimentPlanJSON) error {
	var rows [][]string
	for _, t := range p.Tasks {
		state := roughly(t.Seconds)
		if t.Done {
			state = "done"
		}
		rows = append(rows, []string{t.Label, state})
	}
	if err := a.table([]string{"task", "on one thread"}, rows); err != nil {
		return err
	}
	a.printf("\n%s, %d of them to be done", counted(len(p.Tasks), "task"), p.Missing)
	if p.Missing > 0 {
		a.printf(": about %s on %s", roughly(p.Seconds), counted(a.threads, "thread"))
	}
	a.printf("\n")
	a.printNotRun(p.NotRun)
	return nil
}

// listed is a list that JSON shows as one when it is empty.
func listed(cases []experiment.NotRun) []experiment.NotRun {
	return append([]experiment.NotRun{}, cases...)
}

func (a *app) printNotRun(cases []experiment.NotRun) {
	for _, n := range cases {
		a.printf("not run: %s: %s\n", n.Case, n.Why)
	}
}

// roughly writes a time that is not known well.
func roughly(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return "a second"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()+.5))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()+.5))
	}
	return fmt.Sprintf("%.1f h", d.Hours())
}

func (a *app) experimentRun(f *experimentFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "run NAME|FILE",
		Short: "Run an experiment, or go on with one",
		Long: `Runs what is missing of an experiment. Stop it with Ctrl-C, or lose power: the same
command goes on where it was. Records, one JSON object a line, are in
FOLDER/runs/NAME/records.jsonl; "rebasin experiment report" makes a page of them.`,
		Example: `  rebasin experiment run interpolation --preset smoke
  rebasin experiment run width --preset laptop --source cifar10=cifar10-images.zip
  rebasin experiment run my.yaml --dir experiments`,
		Args: arguments(1, 1, "the name of an experiment, or a file, is"),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := f.spec(c, args[0])
			if err != nil {
				return err
			}
			return a.runExperiment(c.Context(), f, s)
		},
	}
	f.registerSpec(c)
	return c
}

func (a *app) runExperiment(ctx context.Context, f *experimentFlags, s experiment.Spec) error {
	lab, err := f.lab(a)
	if err != nil {
		return err
	}
	plan, err := lab.Plan(ctx, s)
	if err != nil {
		return err
	}
	store, err := f.openStore(a)
	if err != nil {
		return err
	}
	defer store.Close()
	run := experiment.RunDir(f.dir, plan.Spec.Name)
	if plan.Replaces(f.dir) {
		a.warn("%s has records of another experiment or of other settings; they are replaced", run)
	}
	a.afterInterrupt = "; the same command goes on where it was"
	begin := time.Now()
	records, err := experiment.Run(ctx, store, f.dir, plan, task.ExecuteOptions{Threads: a.threads, Observer: a.watch})
	if err != nil {
		return err
	}
	a.finish()
	finished, err := experiment.ReadRun(run)
	if err != nil {
		return err
	}
	summary, err := finished.Summary()
	if err != nil {
		return err
	}
	if a.json {
		return writeJSON(a.stdout, struct {
			Run     string              `json:"run"`
			Records int                 `json:"records"`
			Seconds float64             `json:"seconds"`
			Verdict experiment.Verdict  `json:"verdict"`
			NotRun  []experiment.NotRun `json:"not_run"`
		}{run, len(records), time.Since(begin).Seconds(), summary.Verdict, listed(plan.NotRun)})
	}
	return a.printSummary(run, summary, plan.NotRun)
}

// printSummary prints what came out of a run.
func (a *app) printSummary(run string, s *experiment.Summary, notRun []experiment.NotRun) error {
	shown := 0
	for _, t := range s.Tables {
		if len(t.Rows) == 0 {
			continue
		}
		if shown++; shown > 1 {
			a.printf("\n")
		}
		if err := a.table(t.Header, t.Rows); err != nil {
			return err
		}
	}
	a.printf("\n%s: %s\n", s.Verdict.Word, s.Verdict.Why)
	a.printNotRun(notRun)
	a.printf("records in %s\n", run)
	return nil
}

// watch shows an execution: all tasks, and each that is at work, in hundredths, since what a task counts may change on its way.
func (a *app) watch(e task.Event) {
	const whole = 100
	switch e.State {
	case task.Working:
		if e.Steps > 0 {
			a.report(e.Task.Label, min(whole-1, whole*e.Step/e.Steps), whole, e.Note)
		}
	case task.Finished:
		a.report(e.Task.Label, whole, whole, "")
		a.report("all tasks", e.Done, e.Total, "")
	case task.Started, task.Failed:
	}
}

func (a *app) experimentStatus(f *experimentFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show the runs in a folder, those at work among them",
		Example: "  rebasin experiment status --dir experiments",
		Args:    arguments(0, 0, ""),
		RunE:    func(*cobra.Command, []string) error { return a.runStatus(f) },
	}
}

// statusJSON is what --json prints of a run.
type statusJSON struct {
	Name       string  `json:"name"`
	Experiment string  `json:"experiment"`
	Artifacts  int     `json:"artifacts"`
	Done       int     `json:"done"`
	Finished   bool    `json:"finished"`
	Records    int     `json:"records"`
	Seconds    float64 `json:"seconds"`
}

func (a *app) runStatus(f *experimentFlags) error {
	runs, err := experiment.Status(f.dir)
	if err != nil {
		return err
	}
	if a.json {
		out := []statusJSON{}
		for _, r := range runs {
			out = append(out, statusJSON{r.Name, r.Experiment, r.Artifacts, r.Done, r.Finished, r.Records, r.Seconds})
		}
		return writeJSON(a.stdout, struct {
			Runs []statusJSON `json:"runs"`
		}{out})
	}
	var rows [][]string
	for _, r := range runs {
		state := fmt.Sprintf("%d of %d tasks done", r.Done, r.Artifacts)
		if r.Finished {
			state = fmt.Sprintf("finished, %s", counted(r.Records, "record"))
		}
		rows = append(rows, []string{r.Name, r.Experiment, state, roughly(r.Seconds)})
	}
	if len(rows) == 0 {
		a.printf("no runs in %s\n", f.dir)
		return nil
	}
	return a.table([]string{"run", "experiment", "state", "time so far"}, rows)
}

func (a *app) experimentJoin(f *experimentFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "join NAME RUN RUN...",
		Short: "Make one run of several with different cases",
		Long: `Makes the run NAME of several finished ones that declare the same experiment with
different cases, as when several machines share the work. A run is named, or given by
the folder of its records, copied from elsewhere. Records say as before where each was
made, and the runs that are joined stay.`,
		Example: `  rebasin experiment join width narrow wide
  rebasin experiment join width narrow other/runs/wide`,
		Args: arguments(3, math.MaxInt, "a name, and two or more runs, are"),
		RunE: func(_ *cobra.Command, args []string) error { return a.runJoin(f, args[0], args[1:]) },
	}
}

func (a *app) runJoin(f *experimentFlags, name string, runs []string) error {
	var folders []string
	for _, run := range runs {
		if known, err := experiment.RunNames(f.dir); err != nil {
			return err
		} else if slices.Contains(known, run) {
			run = experiment.RunDir(f.dir, run)
		}
		folders = append(folders, run)
	}
	joined, err := experiment.Join(f.dir, name, folders...)
	if err != nil {
		return err
	}
	folder := experiment.RunDir(f.dir, name)
	if a.json {
		return writeJSON(a.stdout, struct {
			Run     string `json:"run"`
			Cases   int    `json:"cases"`
			Records int    `json:"records"`
		}{folder, len(joined.Spec.Cases), len(joined.Records)})
	}
	a.printf("%s: %s, %s\n", folder, counted(len(joined.Spec.Cases), "case"), counted(len(joined.Records), "record"))
	return nil
}

func (a *app) experimentClean(f *experimentFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "clean [RUN]...",
		Short: "Remove what no run needs any more",
		Long: `Removes artifacts that belong to no run in the folder, and what unfinished tasks left
to go on from. Runs that are named are removed first, with what no other run shares
with them. --all removes everything that can be made again, and leaves records.`,
		Example: `  rebasin experiment clean
  rebasin experiment clean interpolation-laptop
  rebasin experiment clean --all`,
		RunE: func(_ *cobra.Command, args []string) error { return a.runClean(f, args) },
	}
	c.Flags().BoolVar(&f.all, "all", false, "remove the artifacts of all runs")
	return c
}

// known finds names that are those of no runs.
func (f *experimentFlags) known(runs []string) error {
	known, err := experiment.RunNames(f.dir)
	if err != nil {
		return err
	}
	for _, run := range runs {
		if !slices.Contains(known, run) {
			return fmt.Errorf("there is no run %q in %q", run, f.dir)
		}
	}
	return nil
}

func (a *app) runClean(f *experimentFlags, runs []string) error {
	if _, err := os.Stat(f.dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%q: there is no such folder", f.dir)
	}
	if err := f.known(runs); err != nil {
		return err
	}
	store, err := f.openStore(a)
	if err != nil {
		return err
	}
	defer store.Close()
	for _, run := range runs {
		if err := os.RemoveAll(experiment.RunDir(f.dir, run)); err != nil {
			return err
		}
	}
	keep, err := experiment.Keys(f.dir)
	if err != nil {
		return err
	}
	if f.all {
		keep = nil
	}
	removed, bytes, err := store.Clean(func(key string) bool { return keep[key] })
	if err != nil {
		return err
	}
	if a.json {
		return writeJSON(a.stdout, struct {
			Removed int   `json:"removed"`
			Bytes   int64 `json:"bytes"`
		}{removed, bytes})
	}
	a.printf("removed %s, %.1f MB\n", counted(removed, "artifact"), float64(bytes)/1e6)
	return nil
}
