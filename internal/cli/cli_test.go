package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/internal/ui"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/train"
)

// TestExamples begins every example of every --help: what has no mistake in its flags and files is interrupted, not refused.
func TestExamples(t *testing.T) {
	useCache(t)
	a := &app{stdout: &checkedWriter{Writer: io.Discard}, stderr: io.Discard}
	commands := a.root().Commands()
	for _, c := range commands {
		commands = append(commands, c.Commands()...)
	}
	for _, c := range commands {
		if c.Name() == "help" || c.Name() == "completion" || c.Parent().Name() == "completion" {
			continue // for a shell
		}
		if c.Example == "" || c.Short == "" {
			t.Errorf("%s has no example or no description", c.Name())
		}
		for line := range strings.Lines(c.Example) {
			command, _, _ := strings.Cut(line, " > ")
			args := words(command)
			t.Run(strings.TrimSpace(line), func(t *testing.T) { beginExample(t, args[1:]) })
		}
	}
}

// words are the words of a command line, of which some are in single quotes.
func words(line string) []string {
	var out []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

func beginExample(t *testing.T, args []string) {
	inFolder(t)
	for path, options := range map[string]string{"b-aligned.safetensors": "seed=3", "merged.safetensors": "seed=4", "torch.safetensors": "nobias plain"} {
		var f mlpFixture
		if err := errors.Join(f.parse(strings.Fields(options)), f.write(path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("net.yaml", []byte("layouts: {fc1.weight: h1 _, fc1.bias: h1, fc2.weight: _ h1}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("evaluate.sh", []byte("#!/bin/sh\ntest -s \"$1\" && echo '{\"loss\": 1}'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"act-a.safetensors", "act-b.safetensors"} {
		recordActivations(t, path, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, "h1", "h2")
	}
	photos := imageFixture{classes: []string{"cat", "dog"}, train: 2, test: 1}
	for _, path := range []string{"photos.zip", "cifar10-images.zip"} {
		if err := photos.write(path); err != nil {
			t.Fatal(err)
		}
	}
	switch {
	case args[0] == "experiment":
		beginExperiments(t)
	case slices.Contains(args, "costs.f32"):
		if err := os.WriteFile("costs.f32", make([]byte, 4*2048*2048), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if args[len(args)-1] == "--resume" {
		if err := (&train.Snapshot{}).Save(context.Background(), "a.safetensors.snapshot"); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, stderr := quiet(2, args...); code != exitDone && code != exitInterrupted {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// beginExperiments leaves a specification and the finished runs that examples name.
func beginExperiments(t *testing.T) {
	const spec = "experiment: counterexample\nname: mine\n"
	if err := os.WriteFile("my.yaml", []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"interpolation-laptop", "width-laptop"} {
		if err := os.WriteFile(name+".yaml", []byte(strings.ReplaceAll(spec, "mine", name)), 0o644); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := quiet(1<<30, "experiment", "run", name+".yaml"); code != exitDone {
			t.Fatal(stderr)
		}
	}
	for i, run := range []string{"rebasin-experiments/runs/narrow", "rebasin-experiments/runs/wide", "other/runs/wide"} {
		if err := os.MkdirAll(run, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{
			"records.jsonl": "",
			"spec.yaml":     fmt.Sprintf("experiment: width\ncases:\n- {name: case %d, network: {arch: mlp, hidden: [%d]}, data: {name: mnist}, training: {epochs: 1}, series: mlp, x: %[2]d}\n", min(i, 1), i+1),
		} {
			if err := os.WriteFile(filepath.Join(run, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestExitCodes maps errors to codes and lines.
func TestExitCodes(t *testing.T) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		err  error
		code int
		line string
	}{
		{"done", context.Background(), nil, 0, ""},
		{"failed", context.Background(), errors.New("two\n  - lines"), 1, "rebasin: two - lines\n"},
		{"silent", context.Background(), errSilent, 1, ""},
		{"usage", context.Background(), usagef("no %w", os.ErrNotExist), 2, "rebasin: no file does not exist (see x --help)\n"},
		{"interrupted", cancelled, errors.Join(context.Canceled, os.ErrInvalid), 130, "rebasin: interrupted; go on\n"},
		{"failed before the interrupt", cancelled, os.ErrInvalid, 1, "rebasin: invalid argument\n"},
		{"cancelled by nobody", context.Background(), context.Canceled, 1, "rebasin: context canceled\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			a := &app{stderr: &stderr, afterInterrupt: "; go on"}
			c := &cobra.Command{Use: "x"}
			c.SetContext(tt.ctx)
			if code := a.exitCode(c, tt.err); code != tt.code || stderr.String() != tt.line {
				t.Errorf("code %d and %q, want %d and %q", code, stderr.String(), tt.code, tt.line)
			}
		})
	}
}

// TestReport: stages end in the order in which they began, and an interrupted one is told as stopped.
func TestReport(t *testing.T) {
	var stderr bytes.Buffer
	a := &app{stderr: &stderr, progress: ui.New(&stderr, ui.Options{})}
	for _, name := range []string{"zeta", "alpha", "mu"} {
		a.report(name, 1, 0, "")
	}
	a.report("counted", 1, 2, "")
	a.report("counted", 2, 2, "") // done at once: not worth a line
	if len(a.stages) != 3 {
		t.Errorf("%d stages are left, want 3", len(a.stages))
	}
	a.finish()
	a.finish()
	const want = "zeta: stopped at 1 after 0:00\nalpha: stopped at 1 after 0:00\nmu: stopped at 1 after 0:00\n"
	if stderr.String() != want {
		t.Errorf("got %q, want %q", stderr.String(), want)
	}
}

func TestWarnAndSay(t *testing.T) {
	for _, silent := range []bool{false, true} {
		var stderr bytes.Buffer
		a := &app{stderr: &stderr, quiet: silent, progress: ui.New(&stderr, ui.Options{Quiet: silent})}
		a.sayOnce("a line")
		a.sayOnce("a line")
		a.warn("%d groups", 2)
		want := "a line\nwarning: 2 groups\n"
		if silent {
			want = "warning: 2 groups\n"
		}
		if stderr.String() != want {
			t.Errorf("quiet %v: got %q, want %q", silent, stderr.String(), want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 1 << 20: "1 MiB", 5 << 40: "5 TiB", 1 << 60: "1048576 TiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestForeseen(t *testing.T) {
	for seconds, want := range map[float64]string{0: "less than 0.1 s", .1: "about 0.1 s", 9.94: "about 9.9 s", 140: "about 140 s"} {
		if got := foreseen(seconds); got != want {
			t.Errorf("foreseen(%v) = %q, want %q", seconds, got, want)
		}
	}
}

// TestMatchingWork foresees the similarities of a chain of two layers: h stands on two axes of three tensors.
func TestMatchingWork(t *testing.T) {
	shapes := map[string]tensor.Shape{"w": {4, 3}, "b": {4}, "v": {2, 4}}
	s, err := symmetry.ParseSpec([]byte("layouts:\n  w: h _\n  b: h\n  v: _ h\n"), shapes)
	if err != nil {
		t.Fatal(err)
	}
	bytes, flops := matchingWork(s)
	if wantBytes, wantFlops := int64(3*4*4*4), float64(2*4*(12+4+8)); bytes != wantBytes || flops != wantFlops {
		t.Errorf("%d bytes and %v operations, want %d and %v", bytes, flops, wantBytes, wantFlops)
	}
}

// TestLostResult: a result that could not be printed is no success.
func TestLostResult(t *testing.T) {
	var stderr bytes.Buffer
	code := run(context.Background(), []string{"--version"}, failing{}, &stderr)
	if want := "rebasin: writing standard output: file already closed\n"; code != exitFailed || stderr.String() != want {
		t.Errorf("code %d and %q, want %q", code, stderr.String(), want)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }
