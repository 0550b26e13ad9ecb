package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/internal/ui"
)

// checkedWriter remembers the first failure to write, so that results that got lost are not called a success.
type checkedWriter struct {
	io.Writer
	err error
}

func (w *checkedWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err == nil {
		return n, nil
	}
	if w.err == nil {
		w.err = fmt.Errorf("writing standard output: %w", err)
	}
	return n, w.err
}

// printf prints a part of the result. A failure to write is noticed at the end.
func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.stdout, format, args...) }

// table prints a table that fits the terminal.
func (a *app) table(header []string, rows [][]string) error {
	return ui.Table(a.stdout, header, rows, ui.TableOptions{Width: ui.TerminalWidth(a.stdout.Writer)})
}

// checkOutputs finds out, before long work, that the outputs can be written, and that none is an input or another output. Empty names are none.
func checkOutputs(outputs, inputs []string) error {
	outputs = slices.DeleteFunc(slices.Clone(outputs), func(path string) bool { return path == "" })
	for i, out := range outputs {
		if slices.ContainsFunc(inputs, func(in string) bool { return sameFile(in, out) }) {
			return usagef("output %q is an input too; inputs are never changed", out)
		}
		if slices.ContainsFunc(outputs[:i], func(other string) bool { return filepath.Clean(other) == filepath.Clean(out) || sameFile(other, out) }) {
			return usagef("output %q is named twice", out)
		}
		if err := checkpoint.CheckWritable(out); err != nil {
			return err
		}
	}
	return nil
}

// checkOutput is checkOutputs for a command that cannot do without its one output.
func checkOutput(path string, inputs ...string) error {
	if path == "" {
		return usagef("an output file is needed: -o FILE")
	}
	return checkOutputs([]string{path}, inputs)
}

func sameFile(x, y string) bool {
	a, errA := os.Stat(x)
	b, errB := os.Stat(y)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// checkFolder finds out that a folder can be written to, or made.
func checkFolder(dir string) error {
	at := filepath.Clean(dir)
	for {
		if _, err := os.Stat(at); err == nil {
			return checkpoint.CheckWritable(filepath.Join(at, "rebasin-output"))
		} else if !os.IsNotExist(err) || at == filepath.Dir(at) {
			return fmt.Errorf("output folder %q: %w", dir, err)
		}
		at = filepath.Dir(at)
	}
}

// writeBytes writes a file, whole or not at all.
func writeBytes(path string, data []byte) error {
	return checkpoint.WriteFile(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// size is a number of bytes for people.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	x, i := float64(n), 0
	for x >= 1024 && i < len(units)-1 {
		x, i = x/1024, i+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", x), ".0") + " " + units[i]
}

// counted is a number of things.
func counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// foreseen is a length of time that is only guessed.
func foreseen(seconds float64) string {
	switch {
	case seconds < .1:
		return "less than 0.1 s"
	case seconds < 10:
		return fmt.Sprintf("about %.1f s", seconds)
	}
	return fmt.Sprintf("about %.0f s", seconds)
}
