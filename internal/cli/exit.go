package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
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

// exitCode says what went wrong with the command c, in one line, and maps it to a code.
func (a *app) exitCode(c *cobra.Command, err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errSilent):
		return exitFailed
	case c.Context().Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(a.stderr, "rebasin: interrupted"+a.afterInterrupt)
		return exitInterrupted
	case errors.As(err, &usage):
		fmt.Fprintf(a.stderr, "rebasin: %s (see %s --help)\n", oneLine(err), c.CommandPath())
		return exitUsage
	}
	fmt.Fprintf(a.stderr, "rebasin: %s\n", oneLine(err))
	return exitFailed
}

// oneLine joins the lines of an error.
func oneLine(err error) string {
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, " ")
}
