package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/landscape"
	"github.com/rebasin/rebasin/match"
	"github.com/rebasin/rebasin/model"
)

// evalCommand is the user's own evaluation: a program in any framework, run on one candidate file after the other.
type evalCommand struct{ text string }

const (
	placeholder   = "{}"
	maxEvalOutput = 1 << 20         // of which the last line counts
	killDelay     = 5 * time.Second // for the command to end when interrupted
)

func (e *evalCommand) register(c *cobra.Command, use string) {
	c.Flags().StringVar(&e.text, "eval-command", "", "your own evaluation, "+use+": run by the shell, with the name of a candidate file in place of {}; "+
		`the last line it prints is {"loss": x, "accuracy": y}, either or both`)
}

func (e *evalCommand) active() bool { return e.text != "" }

// check finds mistakes in the flag before anything is opened.
func (e *evalCommand) check() error {
	if e.active() && !strings.Contains(e.text, placeholder) {
		return usagef("--eval-command %q: it must contain {}, which the name of the file takes the place of", e.text)
	}
	return nil
}

// measured is what a user's evaluation says of a file.
type measured struct {
	Loss     *float64 `json:"loss"`
	Accuracy *float64 `json:"accuracy"`
}

// criterion is what is to be made small: the loss, or where only the accuracy is known the share that is wrong.
func (m measured) criterion() float64 {
	if m.Loss != nil {
		return *m.Loss
	}
	return 1 - *m.Accuracy
}

// measure has write make a candidate file with the ending of like's name, and runs the command on it.
func (e *evalCommand) measure(ctx context.Context, like string, write func(path string) error) (measured, error) {
	dir, err := os.MkdirTemp("", "rebasin-candidate-")
	if err != nil {
		return measured{}, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "candidate"+filepath.Ext(like))
	if err := write(path); err != nil {
		return measured{}, err
	}
	command := strings.ReplaceAll(e.text, placeholder, shellQuote(path))
	shell, option := "/bin/sh", "-c"
	if runtime.GOOS == "windows" {
		shell, option = "cmd", "/C"
	}
	run := exec.CommandContext(ctx, shell, option, command)
	run.Cancel = func() error { return run.Process.Signal(os.Interrupt) }
	run.WaitDelay = killDelay
	out := &tail{most: maxEvalOutput}
	messages := &tail{most: maxEvalOutput}
	run.Stdout, run.Stderr = out, messages
	if err := run.Run(); err != nil {
		if ctx.Err() != nil {
			return measured{}, ctx.Err()
		}
		return measured{}, fmt.Errorf("--eval-command: %q: %w%s", command, err, lastLines(messages.data, 3))
	}
	m, err := parseMeasured(out.data)
	if err != nil {
		return measured{}, fmt.Errorf("--eval-command: %q: %w", command, err)
	}
	return m, nil
}

// shellQuote makes a file's name one word of the shell.
func shellQuote(path string) string {
	if runtime.GOOS == "windows" {
		return `"` + path + `"`
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// notFinite is how programs print numbers that JSON has no word for.
var notFinite = regexp.MustCompile(`-?\b(NaN|Infinity)\b`)

// parseMeasured reads the last line that is not empty. A loss or accuracy that is not finite, or null, is worse than any other.
func parseMeasured(out []byte) (measured, error) {
	text := bytes.TrimSpace(out)
	line := text[bytes.LastIndexByte(text, '\n')+1:]
	if len(line) == 0 {
		return measured{}, errors.New(`it printed nothing; the last line should be {"loss": x, "accuracy": y}`)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(notFinite.ReplaceAll(line, []byte("null")), &fields); err != nil {
		return measured{}, fmt.Errorf(`its last line should be {"loss": x, "accuracy": y}, and is %.200q`, line)
	}
	loss, err := number(fields, "loss", math.Inf(1))
	if err != nil {
		return measured{}, err
	}
	accuracy, err := number(fields, "accuracy", math.Inf(-1))
	if err != nil {
		return measured{}, err
	}
	if loss == nil && accuracy == nil {
		return measured{}, fmt.Errorf("its last line has neither a loss nor an accuracy: %.200q", line)
	}
	return measured{loss, accuracy}, nil
}

// number is a field, nil where it is not there, and worst where it is null.
func number(fields map[string]json.RawMessage, name string, worst float64) (*float64, error) {
	raw, ok := fields[name]
	if !ok {
		return nil, nil
	}
	x := worst
	if string(raw) == "null" {
		return &x, nil
	}
	if err := json.Unmarshal(raw, &x); err != nil {
		return nil, fmt.Errorf("its %s is %.200q, not a number", name, raw)
	}
	return &x, nil
}

// A tail keeps the end of what is written to it.
type tail struct {
	data []byte
	most int
}

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if over := len(t.data) - t.most; over > 0 {
		t.data = append(t.data[:0], t.data[over:]...)
	}
	return len(p), nil
}

// lastLines are the last of a program's messages, to stand behind an error.
func lastLines(text []byte, most int) string {
	trimmed := strings.TrimSpace(string(text))
	if trimmed == "" {
		return ""
	}
	lines := strings.Split(trimmed, "\n")
	return ": " + strings.Join(lines[max(0, len(lines)-most):], "; ")
}

// measuredPoint is a point of a curve that the user's evaluation measured.
type measuredPoint struct {
	Lambda   float64  `json:"lambda"`
	Loss     *float64 `json:"loss"`
	Accuracy *float64 `json:"accuracy"`
}

// measuredCurve is what interpolate --json prints with --eval-command.
type measuredCurve struct {
	Points  []measuredPoint    `json:"points"`
	Barrier *landscape.Barrier `json:"barrier"` // of the loss; null where the command gives none
}

// newMeasuredCurve adds the barrier.
func newMeasuredCurve(points []measuredPoint) measuredCurve {
	var lambdas, losses []float64
	for _, p := range points {
		if p.Loss == nil {
			return measuredCurve{Points: points}
		}
		lambdas, losses = append(lambdas, p.Lambda), append(losses, *p.Loss)
	}
	b := landscape.LossBarrier(lambdas, losses)
	return measuredCurve{points, &b}
}

// commandJudge is the loss that the user's evaluation finds, for choosing between alignments.
type commandJudge struct {
	*evalCommand
	like *model.Model
}

// Score implements match.Judge.
func (j *commandJudge) Score(ctx context.Context, params match.Params) (float64, error) {
	m, err := j.measure(ctx, j.like.Path, func(path string) error {
		return model.SaveAs(ctx, path, params, j.like.Config, j.like.Metadata(), j.like.Form())
	})
	if err != nil {
		return 0, err
	}
	return m.criterion(), nil
}
