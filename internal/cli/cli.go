package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/internal/ui"
)

// Main runs the command line until it is done or interrupted, and returns its exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	// Nearly all memory is tensors, which are few and without pointers: looking for garbage when memory has grown by a quarter rather than by the whole
	// costs little, and saves up to three quarters of a large network. Whoever sets GOGC knows better.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(25)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second Ctrl-C ends the process at once, should something not listen.
	context.AfterFunc(ctx, stop)
	return run(ctx, args, stdout, stderr)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	a := &app{stdout: &checkedWriter{Writer: stdout}, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	c, err := root.ExecuteContextC(ctx)
	a.finish()
	if err == nil {
		err = a.stdout.err
	}
	return a.exitCode(c, err)
}

// app is what all subcommands share.
type app struct {
	stdout      *checkedWriter
	stderr      io.Writer
	json, quiet bool
	threads     int
	dataDir     string
	progress    *ui.Progress
	stages      []stage
	said        map[string]bool
	// afterInterrupt is appended to the line that says so: how to go on.
	afterInterrupt string
}

// maxThreads bounds --threads: a thread costs memory before it does anything.
const maxThreads = 1024

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "rebasin",
		Short: "Align and merge neural networks that were trained apart",
		Long: `rebasin puts the units of one network in the order of another's, which changes
nothing about what it computes, and merges the two in weight space: Ainsworth,
Hayase, Srinivasa, "Git Re-Basin: Merging Models modulo Permutation Symmetries"
(ICLR 2023, arXiv:2209.04836).`,
		Example: `  rebasin demo
  rebasin train --arch mlp --data mnist --epochs 10 --seed 1 -o a.safetensors
  rebasin merge a.safetensors b.safetensors -o merged.safetensors
  rebasin eval merged.safetensors --data mnist`,
		Version:           version(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.prepare() },
		Args:              knownCommand,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },

		SuggestionsMinimumDistance: 2,
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages ", fmt.Sprintf(".FlagUsagesWrapped %d ", a.helpWidth())))
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print one JSON object on standard output")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress")
	f.IntVar(&a.threads, "threads", 0, "threads to use; 0 is one for each processor. Results do not depend on it")
	f.StringVar(&a.dataDir, "data-dir", "", "folder with data sets, looked in first")
	root.AddCommand(a.demo(), a.train(), a.align(), a.merge(), a.interpolate(), a.eval(), a.inspect(), a.convert(), a.symmetries(), a.verify(), a.bench(), a.experiment(), a.completion())
	root.SetHelpCommand(a.help())
	return root
}

// helpWidth is the width that the help of flags is wrapped to.
func (a *app) helpWidth() int {
	const usual = 100
	if width := ui.TerminalWidth(a.stdout.Writer); width > 0 {
		return min(width, usual)
	}
	return usual
}

func (a *app) prepare() error {
	if a.threads < 0 || a.threads > maxThreads {
		return usagef("--threads %d: it must be from 0 to %d", a.threads, maxThreads)
	}
	if a.threads == 0 {
		a.threads = runtime.GOMAXPROCS(0)
	}
	a.progress = ui.New(a.stderr, ui.Options{Quiet: a.quiet})
	return nil
}

// knownCommand refuses what no subcommand is called, and says what may have been meant.
func knownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if similar := root.SuggestionsFor(args[0]); len(similar) > 0 {
		hint = fmt.Sprintf("; did you mean %s?", strings.Join(similar, " or "))
	}
	return usagef("unknown command %q%s", args[0], hint)
}

// arguments checks the number of arguments, which what names.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= most {
			return nil
		}
		if most == 0 {
			return usagef("%q: no argument is expected", args[0])
		}
		return usagef("%s expected, %d given", what, len(args))
	}
}

// choices offers values of a flag to shell completion.
func choices(c *cobra.Command, flag string, values ...string) {
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // a flag that the command does not have
	}
}

func (a *app) help() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show the help of a command",
		RunE: func(c *cobra.Command, args []string) error {
			about, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return knownCommand(c.Root(), args)
			}
			return about.Help()
		},
	}
}

func (a *app) completion() *cobra.Command {
	shells := map[string]func(root *cobra.Command) error{
		"bash":       func(root *cobra.Command) error { return root.GenBashCompletionV2(a.stdout, true) },
		"fish":       func(root *cobra.Command) error { return root.GenFishCompletion(a.stdout, true) },
		"powershell": func(root *cobra.Command) error { return root.GenPowerShellCompletionWithDesc(a.stdout) },
		"zsh":        func(root *cobra.Command) error { return root.GenZshCompletion(a.stdout) },
	}
	const names = "bash, fish, powershell or zsh"
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a script that completes commands and flags in a shell",
		Long:  "Prints a script for " + names + ".",
		Example: `  source <(rebasin completion bash)
  rebasin completion zsh > "${fpath[1]}/_rebasin"
  rebasin completion fish > ~/.config/fish/completions/rebasin.fish`,
		ValidArgs: []string{"bash", "fish", "powershell", "zsh"},
		Args:      arguments(1, 1, "one shell ("+names+") is"),
		RunE: func(c *cobra.Command, args []string) error {
			generate, ok := shells[args[0]]
			if !ok {
				return usagef("unknown shell %q; there are %s", args[0], names)
			}
			return generate(c.Root())
		},
	}
}

// version is the module's version as the build knows it, else the revision it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}
