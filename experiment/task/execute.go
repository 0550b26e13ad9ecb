package task

import (
	"context"
	"errors"
	"fmt"
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

// The states.
const (
	Started State = iota
	Working
	Finished
	Failed
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

// Execute does what is missing so that all wanted tasks have artifacts, several tasks at a time where there are several. It stops at the first
// error, which names the task, after those at work have come to an end; what was finished is kept. Cancelling returns ctx.Err().
func (s *Store) Execute(ctx context.Context, p *Plan, wanted []*Task, opt ExecuteOptions) error {
	missing, err := s.Missing(p, wanted)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e := &execution{store: s, plan: p, opt: opt, waiting: missing, total: len(missing), finished: make(chan outcome), events: make(chan Event)}
	if e.opt.Runner == nil {
		e.opt.Runner = Local{}
	}
	e.opt.Threads = max(1, e.opt.Threads)
	return e.run(ctx, cancel)
}

// execution is the state of Execute; everything but the tasks' work happens in its goroutine.
type execution struct {
	store *Store
	plan  *Plan
	opt   ExecuteOptions

	waiting     []*Task // in the order of the plan
	running     map[*Task]int
	done, total int
	finished    chan outcome
	events      chan Event
}

type outcome struct {
	task *Task
	took time.Duration
	err  error
}

func (e *execution) run(ctx context.Context, cancel context.CancelCauseFunc) error {
	e.running = map[*Task]int{}
	var first error
	fail := func(err error) {
		if first == nil {
			first = err
			cancel(err)
		}
	}
	for {
		if first == nil && ctx.Err() == nil {
			if err := e.start(ctx); err != nil {
				fail(err)
			}
		}
		if len(e.running) == 0 {
			break
		}
		select {
		case ev := <-e.events:
			e.observe(ev)
		case o := <-e.finished:
			if err := e.end(o); err != nil {
				fail(err)
			}
		}
	}
	if first != nil {
		return first
	}
	return ctx.Err()
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
	ready := e.ready()
	for i, t := range ready {
		if free < 1 {
			break
		}
		threads := max(1, free/(len(ready)-i))
		free -= threads
		if err := e.begin(ctx, t, threads); err != nil {
			return err
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
tasks:
	for _, t := range e.waiting {
		for _, n := range t.Needs {
			if open[n] {
				continue tasks
			}
		}
		out = append(out, t)
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
			return fmt.Errorf("%s: the artifact of %q is gone", t.Label, n.Label)
		}
		job.Needs = append(job.Needs, a)
	}
	var err error
	if job.Dir, job.Scratch, err = e.store.begin(t.Key); err != nil {
		return err
	}
	job.Progress = func(done, total int, note string) {
		select {
		case e.events <- Event{Task: t, State: Working, Step: done, Steps: total, Note: note}:
		case <-ctx.Done():
		}
	}
	for i, w := range e.waiting {
		if w == t {
			e.waiting = append(e.waiting[:i:i], e.waiting[i+1:]...)
			break
		}
	}
	e.running[t] = threads
	e.observe(Event{Task: t, State: Started})
	go func() {
		begin := time.Now()
		err := e.opt.Runner.Run(ctx, t.Kind, job)
		e.finished <- outcome{t, time.Since(begin), err}
	}()
	return nil
}

// end keeps what a task made.
func (e *execution) end(o outcome) error {
	threads := e.running[o.task]
	delete(e.running, o.task)
	if o.err == nil {
		_, o.err = e.store.finish(o.task, e.plan.identity(o.task))
	}
	if o.err == nil {
		o.err = e.store.noteTime(o.task, o.took, threads)
	}
	if o.err != nil {
		e.observe(Event{Task: o.task, State: Failed, Note: o.err.Error()})
		if errors.Is(o.err, context.Canceled) {
			return o.err
		}
		return fmt.Errorf("%s: %w", o.task.Label, o.err)
	}
	e.done++
	e.observe(Event{Task: o.task, State: Finished})
	return nil
}
