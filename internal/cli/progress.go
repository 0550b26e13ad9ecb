package cli

import (
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/internal/ui"
)

// stage is a piece of a library's work whose progress is shown.
type stage struct {
	name string
	task *ui.Task
}

// report is the adapter from the libraries' progress to tasks on the terminal: a stage begins when it is first heard of, and ends with its last step.
// One whose total is 0 ends with [app.settle].
func (a *app) report(name string, done, total int, note string) {
	i := slices.IndexFunc(a.stages, func(s stage) bool { return s.name == name })
	if i < 0 {
		i = len(a.stages)
		a.stages = append(a.stages, stage{name, a.progress.Task(name, int64(total))})
	}
	t := a.stages[i].task
	t.Note(note)
	t.Set(int64(done))
	if total > 0 && done >= total {
		t.Done()
		a.stages = slices.Delete(a.stages, i, i+1)
	}
}

// settle ends the stages whose end could not be foreseen.
func (a *app) settle() {
	for _, s := range a.stages {
		s.task.Done()
	}
	a.stages = nil
}

// finish takes everything off the terminal before the last words; stages that are not done were stopped.
func (a *app) finish() {
	a.progress.Wait()
	a.stages = nil
}

// say prints a line on standard error, above the bars.
func (a *app) say(format string, args ...any) {
	a.progress.Log(fmt.Sprintf(format, args...))
}

// sayOnce prints a line unless it has been printed: what is said of each file of a data set need not be said four times.
func (a *app) sayOnce(line string) {
	if a.said[line] {
		return
	}
	if a.said == nil {
		a.said = map[string]bool{}
	}
	a.said[line] = true
	a.say("%s", line)
}

// warn prints a line on standard error even when quiet: it is about the result.
func (a *app) warn(format string, args ...any) {
	if a.quiet {
		fmt.Fprintf(a.stderr, "warning: "+format+"\n", args...)
		return
	}
	a.say("warning: "+format, args...)
}
