package task

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestThreads executes random plans, in bubbles whose clocks stand still while anybody is at work: no task begins before those that it needs are
// done, each is done once, there never are more threads than given, and no thread is idle while a task could use it.
func TestThreads(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testThreads(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func testThreads(t *testing.T, r *rand.Rand) {
	threads := 1 + r.IntN(5)
	var mu sync.Mutex
	inUse := 0
	begun, ended := map[string]bool{}, map[string]bool{}
	p := NewPlan("")
	needs := map[string][]*Task{}
	kind := &Kind{Name: "sleep", Run: func(_ context.Context, job *Job) error {
		mu.Lock()
		inUse += job.Threads
		if inUse > threads || job.Threads < 1 {
			t.Errorf("%q with %d threads makes %d of %d", job.Label, job.Threads, inUse, threads)
		}
		if begun[job.Label] {
			t.Errorf("%q is done twice", job.Label)
		}
		begun[job.Label] = true
		for i, n := range needs[job.Label] {
			if !ended[n.Label] || job.Needs[i].Key != n.Key {
				t.Errorf("%q begins before %q has ended", job.Label, n.Label)
			}
		}
		mu.Unlock()
		job.Progress(1, 2, "")
		var ticks int
		if err := job.Decode(&ticks); err != nil {
			return err
		}
		time.Sleep(time.Duration(ticks%10) * time.Second)
		err := writeAll(job)
		mu.Lock()
		defer mu.Unlock()
		inUse -= job.Threads
		ended[job.Label] = true
		return err
	}}
	for i := range 12 {
		label := fmt.Sprint(i)
		for _, n := range p.Tasks() {
			if r.IntN(5) == 0 {
				needs[label] = append(needs[label], n)
			}
		}
		add(t, p, kind, label, 10*i+1+r.IntN(3), needs[label]...)
	}
	tasks := p.Tasks()
	wanted := map[string]bool{}
	for i := len(tasks) - 1; i >= 0; i-- {
		if i >= 8 || wanted[tasks[i].Label] {
			wanted[tasks[i].Label] = true
			for _, n := range tasks[i].Needs {
				wanted[n.Label] = true
			}
		}
	}
	s := open(t, t.TempDir())
	finished := make(chan struct{})
	var monitor sync.WaitGroup
	monitor.Go(func() { // looks half a second after each event
		for time.Sleep(time.Second / 2); ; time.Sleep(time.Second) {
			select {
			case <-finished:
				return
			default:
			}
			mu.Lock()
			for _, task := range p.Tasks() {
				ready := wanted[task.Label] && !begun[task.Label]
				for _, n := range task.Needs {
					ready = ready && ended[n.Label]
				}
				if ready && inUse < threads {
					t.Errorf("%q waits while %d of %d threads are in use", task.Label, inUse, threads)
				}
			}
			mu.Unlock()
		}
	})
	err := s.Execute(t.Context(), p, tasks[8:], ExecuteOptions{Threads: threads})
	close(finished)
	monitor.Wait()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "done", ended, wanted)
}

// TestShares: tasks that begin together share all threads, as evenly as can be.
func TestShares(t *testing.T) {
	for _, c := range []struct {
		threads, tasks int
		want           []int
	}{
		{1, 1, []int{1}}, {5, 1, []int{5}}, {2, 2, []int{1, 1}}, {3, 2, []int{1, 2}}, {8, 3, []int{2, 3, 3}}, {0, 1, []int{1}}, {-1, 1, []int{1}},
	} {
		s := open(t, t.TempDir())
		got := make([]int, c.tasks)
		var together sync.WaitGroup
		together.Add(c.tasks)
		kind := &Kind{Name: "k", Run: func(_ context.Context, job *Job) error {
			var i int
			if err := job.Decode(&i); err != nil {
				return err
			}
			got[i] = job.Threads
			together.Done()
			together.Wait()
			return nil
		}}
		p := NewPlan("")
		for i := range c.tasks {
			add(t, p, kind, "", i)
		}
		if err := s.Execute(t.Context(), p, p.Tasks(), ExecuteOptions{Threads: c.threads}); err != nil {
			t.Fatal(err)
		}
		expect(t, fmt.Sprintf("%d tasks on %d threads", c.tasks, c.threads), got, c.want)
	}
}

// TestThreadsDoNotShow: the same artifacts, manifests included, whatever the number of threads.
func TestThreadsDoNotShow(t *testing.T) {
	var want map[string]string
	for _, threads := range []int{1, 2, 7} {
		dir := t.TempDir()
		s := open(t, dir)
		var c counted
		p := NewPlan("")
		var all []*Task
		for i := range 10 {
			all = append(all, add(t, p, c.kind(), fmt.Sprint(i), i, all[i/2:]...))
		}
		if err := s.Execute(t.Context(), p, all, ExecuteOptions{Threads: threads}); err != nil {
			t.Fatal(err)
		}
		got := files(t, filepath.Join(dir, artifactsDir))
		if want == nil {
			want = got
		}
		expect(t, fmt.Sprint(threads, " threads"), got, want)
	}
}

// fake is a runner of functions by label.
type fake map[string]func(ctx context.Context, job *Job) error

func (f fake) Run(ctx context.Context, _ *Kind, job *Job) error {
	if run := f[job.Label]; run != nil {
		return run(ctx, job)
	}
	return writeAll(job)
}

// three tasks: a and b beside each other, and one that needs both.
func three(t *testing.T) (p *Plan, a, b, ab *Task) {
	p = NewPlan("")
	k := &Kind{Name: "k"}
	a, b = add(t, p, k, "a", 1), add(t, p, k, "b", 2)
	return p, a, b, add(t, p, k, "ab", 3, a, b)
}

func events(into *[]string) func(Event) {
	states := []string{"started", "working", "finished", "failed", "interrupted"}
	return func(e Event) {
		line := fmt.Sprintf("%s %s, %d of %d", e.Task.Label, states[e.State], e.Done, e.Total)
		if e.State == Working {
			line += fmt.Sprintf(": step %d of %d, %s", e.Step, e.Steps, e.Note)
		}
		*into = append(*into, line)
	}
}

func TestEvents(t *testing.T) {
	s := open(t, t.TempDir())
	p, _, _, ab := three(t)
	var got []string
	run := fake{"b": func(_ context.Context, job *Job) error {
		job.Progress(0, 2, "early")
		job.Progress(1, 2, "late")
		return writeAll(job)
	}}
	if err := s.Execute(t.Context(), p, []*Task{ab}, ExecuteOptions{Runner: run, Observer: events(&got)}); err != nil {
		t.Fatal(err)
	}
	expect(t, "events", got, []string{
		"a started, 0 of 3", "a finished, 1 of 3",
		"b started, 1 of 3", "b working, 1 of 3: step 0 of 2, early", "b working, 1 of 3: step 1 of 2, late", "b finished, 2 of 3",
		"ab started, 2 of 3", "ab finished, 3 of 3",
	})
}

// TestLateProgress: a task leaves behind a goroutine that goes on reporting, while Execute is at work and after its end. It neither is heard nor hangs.
func TestLateProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir())
		p, _, _, ab := three(t)
		var got []string
		run := fake{
			"a": func(_ context.Context, job *Job) error {
				go func() {
					for range 20 {
						time.Sleep(time.Second)
						job.Progress(7, 7, "late")
					}
				}()
				return writeAll(job)
			},
			"b": func(_ context.Context, job *Job) error {
				time.Sleep(5500 * time.Millisecond)
				return writeAll(job)
			},
		}
		if err := s.Execute(t.Context(), p, []*Task{ab}, ExecuteOptions{Threads: 2, Runner: run, Observer: events(&got)}); err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(got, "\n"); strings.Contains(all, "late") || len(got) != 6 {
			t.Errorf("events:\n%s", all)
		}
		time.Sleep(time.Minute) // the bubble ends in a deadlock where the goroutine hangs
	})
}

// TestFirstError: it names the task, interrupts the others and comes after them; what was finished is kept, what was not leaves its scratch.
func TestFirstError(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	p, a, b, ab := three(t)
	c := add(t, p, a.Kind, "c", 4)
	broken := errors.New("the data is broken")
	bWorks, bEnded := make(chan struct{}), false
	run := fake{
		"a": func(_ context.Context, job *Job) error {
			<-bWorks
			return errors.Join(os.WriteFile(job.Path("half"), nil, 0o644), broken)
		},
		"b": func(ctx context.Context, job *Job) error {
			if err := os.WriteFile(filepath.Join(job.Scratch, "snapshot"), []byte("1"), 0o644); err != nil {
				return err
			}
			close(bWorks)
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), broken) {
				t.Errorf("b hears of %v", context.Cause(ctx))
			}
			bEnded = true
			return fmt.Errorf("training: %w", ctx.Err())
		},
	}
	var got []string
	err := s.Execute(t.Context(), p, []*Task{c, ab}, ExecuteOptions{Threads: 3, Runner: run, Observer: events(&got)})
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "a: ") || strings.Contains(err.Error(), "training") || !bEnded {
		t.Errorf("error %v; b has ended: %t", err, bEnded)
	}
	all := strings.Join(got, "\n")
	for _, want := range []string{"a failed", "b interrupted", "c finished"} {
		if strings.Count(all, want) != 1 {
			t.Errorf("not once %q in\n%s", want, all)
		}
	}
	if strings.Contains(all, "ab ") {
		t.Errorf("ab was begun:\n%s", all)
	}
	expect(t, "unfinished", files(t, filepath.Join(dir, partialDir)), map[string]string{b.Key + ".scratch/snapshot": "1"})

	// The next run goes on from there.
	resumed := false
	run = fake{
		"b": func(_ context.Context, job *Job) error {
			_, err := os.Stat(filepath.Join(job.Scratch, "snapshot"))
			resumed = err == nil
			return writeAll(job)
		},
		"c": func(context.Context, *Job) error { return errors.New("c is done again") },
	}
	if err := s.Execute(t.Context(), p, []*Task{c, ab}, ExecuteOptions{Runner: run}); err != nil || !resumed {
		t.Errorf("error %v, resumed %t", err, resumed)
	}
	expect(t, "unfinished", files(t, filepath.Join(dir, partialDir)), map[string]string{})
}

// TestCancel: finished tasks are kept, those that finish in spite of it too, nothing is begun, and the error is the context's own.
func TestCancel(t *testing.T) {
	for name, answer := range map[string]func(ctx context.Context, job *Job) error{
		"stops":              func(ctx context.Context, _ *Job) error { return ctx.Err() },
		"stops, with words":  func(ctx context.Context, _ *Job) error { return fmt.Errorf("epoch 3: %w", ctx.Err()) },
		"stops with a cause": func(ctx context.Context, _ *Job) error { return context.Cause(ctx) },
		"finishes":           func(_ context.Context, job *Job) error { return writeAll(job) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			p, a, b, ab := three(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			run := fake{"b": func(ctx context.Context, job *Job) error {
				cancel(errors.New("interrupt"))
				job.Progress(1, 2, "nobody may listen any more")
				return answer(ctx, job)
			}}
			var got []string
			err := s.Execute(ctx, p, []*Task{ab}, ExecuteOptions{Runner: run, Observer: events(&got)})
			if err != context.Canceled { //nolint:errorlint // as documented: the very error
				t.Errorf("error %v", err)
			}
			for _, task := range []*Task{a, b, ab} {
				want := task == a || task == b && name == "finishes"
				if _, ok, err := s.Lookup(task.Key); ok != want || err != nil {
					t.Errorf("%s is there: %t, %v", task.Label, ok, err)
				}
			}
			if all := strings.Join(got, "\n"); strings.Contains(all, "failed") || strings.Contains(all, "b interrupted") == (name == "finishes") {
				t.Errorf("events:\n%s", all)
			}
			if err := s.Execute(ctx, p, []*Task{ab}, ExecuteOptions{Runner: fake{"ab": func(context.Context, *Job) error { panic("begun") }}}); !errors.Is(err, context.Canceled) {
				t.Errorf("a context that is cancelled already: %v", err)
			}
		})
	}
}

// TestOwnDeadline: a task whose own context has ended has failed; nobody interrupted it.
func TestOwnDeadline(t *testing.T) {
	s := open(t, t.TempDir())
	p, a, _, _ := three(t)
	run := fake{"a": func(context.Context, *Job) error { return context.DeadlineExceeded }}
	if err := s.Execute(t.Context(), p, []*Task{a}, ExecuteOptions{Runner: run}); !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "a: ") {
		t.Errorf("error %v", err)
	}
}

// TestBrokenTasks fail with their names; nothing of them is kept, and nothing hangs.
func TestBrokenTasks(t *testing.T) {
	for name, c := range map[string]struct {
		run  func(ctx context.Context, job *Job) error
		want []string
	}{
		"panic":          {func(context.Context, *Job) error { panic("index out of range") }, []string{"panic: index out of range", "execute_test.go"}},
		"goroutine ends": {func(context.Context, *Job) error { runtime.Goexit(); return nil }, []string{"ended its goroutine"}},
		"a folder":       {func(_ context.Context, job *Job) error { return os.Mkdir(job.Path("sub"), 0o755) }, []string{`made "sub"`}},
		"a manifest": {func(_ context.Context, job *Job) error {
			return os.WriteFile(job.Path(manifestFile), []byte("{}"), 0o644)
		}, []string{`made "manifest.json"`}},
		"its folder":   {func(_ context.Context, job *Job) error { return os.Remove(job.Dir) }, []string{filepath.Join(partialDir, "")}},
		"not a number": {func(_ context.Context, job *Job) error { return job.WriteResult(func() {}) }, []string{`result of "a"`}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			p, a, _, ab := three(t)
			err := s.Execute(t.Context(), p, []*Task{ab}, ExecuteOptions{Runner: fake{"a": c.run}, Threads: 2})
			if err == nil || !strings.HasPrefix(err.Error(), "a: ") {
				t.Fatalf("error %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in the error %v", want, err)
				}
			}
			expect(t, "unfinished", files(t, filepath.Join(dir, partialDir)), map[string]string{})
			if s.Exists(a.Key) {
				t.Error("the artifact is kept")
			}
		})
	}
}

// TestDiskFails where an artifact is to be made durable: it is not kept, and the next run makes it.
func TestDiskFails(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	p, a, _, _ := three(t)
	full := errors.New("no space left on device")
	for _, where := range []string{"out.txt", manifestFile, a.Key} {
		s.sync = func(path string) error {
			if filepath.Base(path) == where {
				return full
			}
			return nil
		}
		if err := s.Execute(t.Context(), p, []*Task{a}, ExecuteOptions{Runner: fake{}}); !errors.Is(err, full) || !strings.HasPrefix(err.Error(), "a: ") {
			t.Errorf("%s: error %v", where, err)
		}
		expect(t, "kept", files(t, dir), map[string]string{artifactsDir + "/": "", partialDir + "/": "", lockFile: ""})
	}
	s.sync = syncPath
	if err := s.Execute(t.Context(), p, []*Task{a}, ExecuteOptions{Runner: fake{}}); err != nil {
		t.Fatal(err)
	}
}

// TestPlaceTaken: what came to the artifact's place while its task was at work does not cost that work.
func TestPlaceTaken(t *testing.T) {
	s := open(t, t.TempDir())
	p, a, _, _ := three(t)
	run := fake{"a": func(_ context.Context, job *Job) error {
		return errors.Join(writeAll(job), os.Mkdir(s.artifactPath(a.Key), 0o755), os.WriteFile(filepath.Join(s.artifactPath(a.Key), "x"), nil, 0o644))
	}}
	if err := s.Execute(t.Context(), p, []*Task{a}, ExecuteOptions{Runner: run}); err != nil {
		t.Fatal(err)
	}
	s.setSound(a.Key, false)
	if _, ok, err := s.Lookup(a.Key); !ok || err != nil {
		t.Errorf("found %t, %v", ok, err)
	}
}

func TestResult(t *testing.T) {
	s := open(t, t.TempDir())
	type result struct{ Loss, Accuracy float64 }
	want := result{.1, 1. / 3}
	k := &Kind{Name: "k", Run: func(_ context.Context, job *Job) error { return job.WriteResult(want) }}
	p := NewPlan("")
	a := add(t, p, k, "a", nil)
	execute(t, s, p, a)
	artifact, ok, err := s.Lookup(a.Key)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	var got result
	if err := artifact.Result(&got); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
	if err := artifact.Result(new(string)); err == nil || !strings.Contains(err.Error(), ResultFile) {
		t.Errorf("a result of another type: %v", err)
	}
	if err := (Artifact{Dir: t.TempDir()}).Result(&got); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no result: %v", err)
	}
}

// TestEstimateDuring: a user interface estimates and reads timings while tasks are at work.
func TestEstimateDuring(t *testing.T) {
	s := open(t, t.TempDir())
	p, _, _, ab := three(t)
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_, err := s.Estimate(p.Tasks(), 2)
			if _, err2 := s.Timings(); errors.Join(err, err2) != nil {
				t.Error(err, err2)
			}
		}
	})
	err := s.Execute(t.Context(), p, []*Task{ab}, ExecuteOptions{Runner: fake{}, Threads: 2})
	close(stop)
	reader.Wait()
	if err != nil {
		t.Fatal(err)
	}
}
