package ui

import (
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// A phase is where a task is in its life.
type phase uint8

const (
	running phase = iota
	done
	stopped
)

// A status is all that a line about a task tells.
type status struct {
	name    string
	note    string
	current int64
	total   int64 // 0 is unknown
	elapsed time.Duration
	phase   phase
}

// Task is one piece of work whose progress is shown.
type Task struct {
	progress *Progress
	bar      *mpb.Bar // nil where no bars are drawn
	began    time.Time

	mu       sync.Mutex
	status   status    // elapsed only once finished
	lastLine time.Time // of plain lines
	lastAt   int64     // current at lastLine
}

// Add records that n more steps are done.
func (t *Task) Add(n int64) {
	t.update(func(s *status) { s.current += n })
}

// Set records how many steps are done.
func (t *Task) Set(current int64) {
	t.update(func(s *status) { s.current = current })
}

// Note sets the text that follows the numbers, such as the current loss.
func (t *Task) Note(text string) {
	if t == nil {
		return
	}
	text = clean(text)
	t.update(func(s *status) { s.note = text })
}

// Done ends the task as accomplished. Whatever is called after Done or Abort has no effect.
func (t *Task) Done() { t.finish(done) }

// Abort ends the task as stopped before its end.
func (t *Task) Abort() { t.finish(stopped) }

func (t *Task) update(change func(*status)) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.status.phase != running {
		return
	}
	change(&t.status)
	if !t.progress.bars && !t.progress.opt.Quiet {
		t.maybeLine()
	}
}

// maybeLine writes a plain line if one is due. Called with t.mu held.
func (t *Task) maybeLine() {
	now := t.progress.opt.Now()
	since := now.Sub(t.lastLine)
	moved := t.status.total > 0 && float64(t.status.current-t.lastAt) >= sparseShare*float64(t.status.total)
	if since < sparseTime || !moved && since < patience {
		return
	}
	t.lastLine, t.lastAt = now, t.status.current
	t.progress.Log(plainLine(t.snapshot(now)))
}

func (t *Task) finish(as phase) {
	if t == nil || !t.end(as) {
		return
	}
	t.progress.retire(t)
}

// end marks the task as finished, and tells whether it was not.
func (t *Task) end(as phase) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.status.phase != running {
		return false
	}
	now := t.progress.opt.Now()
	t.status.elapsed = now.Sub(t.began)
	t.status.phase = as
	if !t.progress.bars && (as == stopped || t.status.elapsed >= brief) {
		t.progress.Log(plainLine(t.status))
	}
	return true
}

// snapshot is the status at a time. Called with t.mu held.
func (t *Task) snapshot(now time.Time) status {
	s := t.status
	if s.phase == running {
		s.elapsed = now.Sub(t.began)
	}
	return s
}

// filler draws the whole line of a task.
func (t *Task) filler() mpb.BarFiller {
	bar := mpb.BarStyle().Build()
	return mpb.BarFillerFunc(func(w io.Writer, stat decor.Statistics) error {
		t.mu.Lock()
		s := t.snapshot(t.progress.opt.Now())
		t.mu.Unlock()
		// A character in the last column makes some terminals wrap, which would leave rubbish behind at the next redraw.
		_, err := io.WriteString(w, barLine(s, stat.AvailableWidth-1, bar))
		return err
	})
}
