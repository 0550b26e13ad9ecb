package task

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// Event is one report of an execution.
type Event struct {
	Task *Task
	// Done of Total tasks are finished.
	Done, Total int
	// State of the task.
	State State
	// Step of Steps of the task, and a note; Steps is 0 while it is not known.
	Step, Steps int
	Note        string
}

// State of a task in an execution.
type State int

// The states. A task is Started, may be heard of while it is Working, and comes to one of three ends: Finished, Failed, or Interrupted since the
// execution was cancelled or another task failed.
const (
	Started State = iota
	Working
	Finished
	Failed
	Interrupted
)

// ExecuteOptions say how a plan is executed; they do not change what comes out.
type ExecuteOptions struct {
	// Threads that tasks share; 0 means one.
	Threads int
	// Runner does the tasks; nil is [Local].
	Runner Runner
	// Observer, which may be nil, hears of events, one at a time.
	Observer func(Event)
}

// Execute does what is missing so that all wanted tasks have artifacts, several tasks at a time where there are several. At the first error, which
// names the task, it interrupts the others at work, waits for them and returns; what was finished is kept. A task that panics has failed, with its
// stack in the error. Cancelling returns ctx.Err().
func (s *Store) Execute(ctx context.Context, p *Plan, wanted []*Task, opt ExecuteOptions) error {
	missing, err := s.Missing(ctx, p, wanted)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	opt.Threads = max(1, opt.Threads)
	if opt.Runner == nil {
		opt.Runner = Local{}
	}
	e := &execution{
		store: s, plan: p, opt: opt,
		waiting: missing, running: map[*Task]int{}, total: len(missing),
		finished: make(chan outcome, min(opt.Threads, len(missing))), events: make(chan Event),
	}
	return e.run(ctx, cancel)
}

// execution is the state of Execute. Tasks are done and their artifacts hashed in goroutines of their own; everything else happens in Execute's.
type execution struct {
	store *Store
	plan  *Plan
	opt   ExecuteOptions

	waiting     []*Task // in the order of the plan
	running     map[*Task]int
	done, total int
	finished    chan outcome // with room for all who run, so that none of them ever waits for Execute
	events      chan Event
}

type outcome struct {
	task    *Task
	took    time.Duration
	resumed bool
	err     error
}

func (e *execution) run(ctx context.Context, cancel context.CancelCauseFunc) error {
	var first error
	fail := func(err error) {
		if first == nil && err != nil {
			first = err
			cancel(err)
		}
	}
	for {
		if first == nil && ctx.Err() == nil {
			fail(e.start(ctx))
		}
		if len(e.running) == 0 {
			break
		}
		fail(e.end(ctx, e.next()))
	}
	if first != nil {
		return first
	}
	return ctx.Err()
}

// next waits for a task to end, and passes on what is heard of tasks until then.
func (e *execution) next() outcome {
	for {
		select {
		case ev := <-e.events:
			if _, ok := e.running[ev.Task]; ok { // a task may leave behind a goroutine that goes on reporting
				e.observe(ev)
			}
		case o := <-e.finished:
			return o
		}
	}
}

func (e *execution) observe(ev Event) {
	ev.Done, ev.Total = e.done, e.total
	if e.opt.Observer != nil {
		e.opt.Observer(ev)
	}
}

// start begins as many waiting tasks as there are threads, in the order of the plan, and shares the free threads among them.
func (e *execution) start(ctx context.Context) error {
	free := e.opt.Threads
	for _, n := range e.running {
		free -= n
	}
	if free < 1 {
		return nil
	}
	ready := e.ready()
	for i, t := range ready {
		if free < 1 {
			break
		}
		threads := max(1, free/(len(ready)-i))
		free -= threads
		if err := e.begin(ctx, t, threads); err != nil {
			return fmt.Errorf("%s: %w", t.Label, err)
		}
	}
	return nil
}

// ready takes nothing from the list: tasks that wait for no other.
func (e *execution) ready() []*Task {
	open := map[*Task]bool{}
	for _, t := range e.waiting {
		open[t] = true
	}
	for t := range e.running {
		open[t] = true
	}
	var out []*Task
	for _, t := range e.waiting {
		if !slices.ContainsFunc(t.Needs, func(n *Task) bool { return open[n] }) {
			out = append(out, t)
		}
	}
	return out
}

func (e *execution) begin(ctx context.Context, t *Task, threads int) error {
	job := &Job{Label: t.Label, Options: t.Options, Threads: threads}
	for _, n := range t.Needs {
		a, ok, err := e.store.Lookup(n.Key)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("the artifact of %q is gone", n.Label)
		}
		job.Needs = append(job.Needs, a)
	}
	var resumed bool
	var err error
	if job.Dir, job.Scratch, resumed, err = e.store.begin(t.Key); err != nil {
		return err
	}
	job.Progress = func(done, total int, note string) {
		select {
		case e.events <- Event{Task: t, State: Working, Step: done, Steps: total, Note: note}:
		case <-ctx.Done():
		}
	}
	e.waiting = slices.DeleteFunc(e.waiting, func(w *Task) bool { return w == t })
	e.running[t] = threads
	e.observe(Event{Task: t, State: Started})
	id := e.plan.identity(t)
	go func() {
		o := outcome{task: t, resumed: resumed, err: errors.New("the task ended its goroutine")} // as runtime.Goexit does
		defer func() {
			if v := recover(); v != nil {
				o.err = fmt.Errorf("panic: %v\n\n%s", v, debug.Stack())
			}
			e.finished <- o
		}()
		began := time.Now()
		o.err = e.opt.Runner.Run(ctx, t.Kind, job)
		o.took = time.Since(began)
		if o.err == nil {
			o.err = e.store.seal(t, id)
		}
	}()
	return nil
}

// end keeps what a task made.
func (e *execution) end(ctx context.Context, o outcome) error {
	threads := e.running[o.task]
	delete(e.running, o.task)
	if o.err == nil {
		o.err = e.store.place(o.task.Key)
	}
	if o.err == nil {
		o.err = e.store.noteTime(o.task, e.plan.environment, o.took, threads, o.resumed)
	}
	if o.err == nil {
		e.done++
		e.observe(Event{Task: o.task, State: Finished})
		return nil
	}
	e.store.abandon(o.task.Key)
	if ctx.Err() != nil && (errors.Is(o.err, ctx.Err()) || errors.Is(o.err, context.Cause(ctx))) {
		e.observe(Event{Task: o.task, State: Interrupted})
		return nil // Execute knows why
	}
	e.observe(Event{Task: o.task, State: Failed, Note: o.err.Error()})
	return fmt.Errorf("%s: %w", o.task.Label, o.err)
}
