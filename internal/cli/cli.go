package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/internal/ui"
)

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// usageError is a mistake in how the command was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errSilent ends with exit code 1 after everything has been said: verify found a difference.
var errSilent = errors.New("")

// Main runs the command line and returns its exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second Ctrl-C ends the process at once, should something not listen.
	context.AfterFunc(ctx, stop)
	app := &app{stdout: stdout, stderr: stderr}
	root := app.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	app.finish()
	return app.exitCode(ctx, err)
}

// exitCode says what went wrong, in one line, and maps it to a code.
func (a *app) exitCode(ctx context.Context, err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errSilent):
		return exitFailed
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(a.stderr, "rebasin: interrupted"+a.afterInterrupt)
		return exitInterrupted
	case errors.As(err, &usage):
		fmt.Fprintf(a.stderr, "rebasin: %s\n", oneLine(err))
		return exitUsage
	}
	fmt.Fprintf(a.stderr, "rebasin: %s\n", oneLine(err))
	return exitFailed
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// app is what all subcommands share.
type app struct {
	stdout, stderr io.Writer
	json, quiet    bool
	threads        int
	dataDir        string
	progress       *ui.Progress
	tasks          map[string]*ui.Task
	// afterInterrupt is appended to the line that says so: how to go on.
	afterInterrupt string
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "rebasin",
		Short: "Align and merge neural networks that were trained apart",
		Long: `rebasin puts the units of one network in the order of another's, which changes nothing about what it computes, and merges the two in weight space:
Ainsworth, Hayase, Srinivasa, "Git Re-Basin: Merging Models modulo Permutation Symmetries" (ICLR 2023, arXiv:2209.04836).`,
		Example: `  rebasin demo
  rebasin train --arch mlp --data mnist --epochs 10 --seed 1 -o a.safetensors
  rebasin merge a.safetensors b.safetensors -o merged.safetensors
  rebasin eval merged.safetensors --data mnist`,
		Version:           version(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: false},
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.prepare() },
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usagef("%w (see %s --help)", err, c.CommandPath()) })
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print one JSON object on standard output")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress")
	f.IntVar(&a.threads, "threads", 0, "threads to use; 0 is one for each processor. Results do not depend on it")
	f.StringVar(&a.dataDir, "data-dir", "", "folder with data sets, looked in first")
	root.AddCommand(a.demo(), a.train(), a.align(), a.merge(), a.interpolate(), a.eval(), a.inspect(), a.symmetries(), a.verify())
	for _, c := range root.Commands() {
		c.Args = usageArgs(c.Args)
	}
	return root
}

// usageArgs makes a wrong number of arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usagef("%s: %w (see %s --help)", c.Name(), err, c.CommandPath())
		}
		return nil
	}
}

func (a *app) prepare() error {
	if a.threads < 0 {
		return usagef("--threads %d: it must be 0 or more", a.threads)
	}
	if a.threads == 0 {
		a.threads = runtime.GOMAXPROCS(0)
	}
	a.progress = ui.New(a.stderr, ui.Options{Quiet: a.quiet})
	a.tasks = map[string]*ui.Task{}
	return nil
}

// report is the adapter from the libraries' progress to tasks on the terminal: a stage begins when it is first heard of.
func (a *app) report(stage string, done, total int, note string) {
	t := a.tasks[stage]
	if t == nil {
		t = a.progress.Task(stage, int64(total))
		a.tasks[stage] = t
	}
	t.Note(note)
	t.Set(int64(done))
	if total > 0 && done >= total {
		t.Done()
		delete(a.tasks, stage)
	}
}

// settle ends the stages whose end could not be foreseen.
func (a *app) settle() {
	for _, t := range a.tasks {
		t.Done()
	}
	clear(a.tasks)
}

// finish takes the bars down before the last words.
func (a *app) finish() {
	if a.progress == nil {
		return
	}
	for _, t := range a.tasks {
		t.Abort()
	}
	a.progress.Wait()
}

// say prints a line above the bars, on standard error.
func (a *app) say(format string, args ...any) {
	if !a.quiet {
		a.progress.Log(fmt.Sprintf(format, args...))
	}
}

// warn prints a line on standard error even when quiet: it is about the result.
func (a *app) warn(format string, args ...any) {
	if a.quiet {
		fmt.Fprintf(a.stderr, "warning: "+format+"\n", args...)
		return
	}
	a.progress.Log("warning: " + fmt.Sprintf(format, args...))
}

// version is the module's version as the build knows it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// checkOutput finds out, before long work, that the output can be written and is none of the inputs.
func checkOutput(path string, inputs ...string) error {
	if path == "" {
		return usagef("an output file is needed: -o FILE")
	}
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("output %q: %w", path, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("output %q: %q is not a folder", path, dir)
	}
	out, err := os.Stat(path)
	if err == nil {
		if out.IsDir() {
			return fmt.Errorf("output %q is a folder", path)
		}
		for _, in := range inputs {
			if i, err := os.Stat(in); err == nil && os.SameFile(i, out) {
				return usagef("output %q is an input too; inputs are never changed", path)
			}
		}
	}
	probe, err := os.CreateTemp(dir, ".rebasin-*")
	if err != nil {
		return fmt.Errorf("output %q: %w", path, err)
	}
	probe.Close()
	return os.Remove(probe.Name())
}
