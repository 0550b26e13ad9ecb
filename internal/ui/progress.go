package ui

import (
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"golang.org/x/term"
)

// Plain lines of one task are at least sparseTime apart, and then only after sparseShare of its work, or after patience: whoever follows a log
// of a long run wants a sign of life. What is done in less than brief is not worth a line.
const (
	sparseTime  = 10 * time.Second
	sparseShare = 0.1
	patience    = time.Minute
	brief       = time.Second
)

// defaultWidth is assumed of a terminal that does not tell its own.
const defaultWidth = 80

// Options say how progress is shown. The zero value decides by what the writer is.
type Options struct {
	Quiet    bool             // show nothing
	ForceTTY bool             // draw bars although the writer is no terminal
	Width    int              // of what ForceTTY draws on; 0 is 80 columns
	Now      func() time.Time // nil is time.Now
}

// Progress shows the tasks of one command.
type Progress struct {
	w    io.Writer
	opt  Options
	bars bool

	mu    sync.Mutex
	tasks []*Task       // unfinished, in the order they began
	board *mpb.Progress // draws the bars; nil while there are none
}

// New returns a Progress that writes to w, usually standard error.
func New(w io.Writer, opt Options) *Progress {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Progress{w: w, opt: opt, bars: !opt.Quiet && (opt.ForceTTY || isTerminal(w) && os.Getenv("TERM") != "dumb")}
}

// TerminalWidth is the number of columns of the terminal that w is, or 0 when it is none.
func TerminalWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			return width
		}
	}
	return 0
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Task begins a task of total steps; a total of 0 or less is unknown.
func (p *Progress) Task(name string, total int64) *Task {
	if p == nil {
		return nil
	}
	t := &Task{progress: p, status: status{name: clean(name), total: max(total, 0)}, began: p.opt.Now()}
	t.lastLine = t.began
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tasks = append(p.tasks, t)
	if p.bars {
		p.addBar(t)
	}
	return t
}

// addBar puts a task on the board, setting one up for the first. Called with p.mu held.
func (p *Progress) addBar(t *Task) {
	if p.board == nil {
		p.board = mpb.New(
			mpb.WithOutput(p.w),
			mpb.WithWidth(p.width()),
			mpb.ContainerOptional(mpb.ForceTTY(), p.opt.ForceTTY),
			mpb.ContainerOptional(mpb.WithAutoRefresh(), p.opt.ForceTTY), // a buffer would not be redrawn
			mpb.PopCompletedMode(),                                       // a finished task leaves the board for the lines above it
		)
	}
	// The board never counts: the task knows its own state. An error means that the board cannot write; then nothing is shown.
	t.bar, _ = p.board.Add(0, t.filler(), mpb.BarFillerTrim())
}

func (p *Progress) width() int {
	if p.opt.Width > 0 {
		return p.opt.Width
	}
	return defaultWidth
}

// retire takes a finished task off. The board goes with its last task, so that nothing runs, and no line waits to be drawn, while there is none.
func (p *Progress) retire(t *Task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tasks = slices.DeleteFunc(p.tasks, func(other *Task) bool { return other == t })
	if t.bar != nil {
		t.bar.SetTotal(-1, true)
	}
	if len(p.tasks) == 0 && p.board != nil {
		p.board.Wait()
		p.board = nil
	}
}

// Log writes a line, above the bars where there are any.
func (p *Progress) Log(text string) {
	if p == nil || p.opt.Quiet {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.w
	if p.board != nil {
		w = p.board
	}
	// What progress cannot show is no reason to fail.
	_, _ = fmt.Fprintln(w, cleanLines(text))
}

// Wait draws the last state of everything. Tasks that nobody finished are shown as stopped.
func (p *Progress) Wait() {
	if p == nil {
		return
	}
	p.mu.Lock()
	left := slices.Clone(p.tasks)
	p.mu.Unlock()
	for _, t := range left {
		t.Abort()
	}
}
