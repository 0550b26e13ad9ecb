package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// taskFunc makes a function a Task.
type taskFunc func(part int)

func (f taskFunc) Do(part int) { f(part) }

func TestPoolRunsEachPartOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 3, 7} {
		pool := NewPool(threads)
		for _, parts := range []int{0, 1, 2, 5, 100} {
			for range 50 {
				counts := make([]atomic.Int32, parts)
				pool.Run(parts, taskFunc(func(part int) { counts[part].Add(1) }))
				for i := range counts {
					if n := counts[i].Load(); n != 1 {
						t.Fatalf("%d threads: part %d of %d ran %d times", threads, i, parts, n)
					}
				}
			}
		}
		pool.Close()
	}
}

func TestPoolUsesItsThreads(t *testing.T) {
	const threads = 3
	pool := NewPool(threads)
	defer pool.Close()
	var together sync.WaitGroup
	together.Add(threads)
	pool.Run(threads, taskFunc(func(int) { // returns only when all parts run at once
		together.Done()
		together.Wait()
	}))
}

func TestNilPool(t *testing.T) {
	var pool *Pool
	defer pool.Close()
	if pool.Threads() != 1 {
		t.Errorf("a nil Pool has %d threads", pool.Threads())
	}
	next := 0
	pool.Run(10, taskFunc(func(part int) {
		if part != next {
			t.Errorf("part %d ran, want %d", part, next)
		}
		next++
	}))
	if next != 10 {
		t.Errorf("%d parts ran, want 10", next)
	}
}

func TestPoolThreads(t *testing.T) {
	for want, threads := range map[int]int{4: 4, 1: 1, runtime.GOMAXPROCS(0): 0} {
		pool := NewPool(threads)
		if pool.Threads() != want {
			t.Errorf("NewPool(%d) has %d threads, want %d", threads, pool.Threads(), want)
		}
		pool.Close()
	}
}

func TestPoolNestedAndShared(t *testing.T) {
	pool := NewPool(3)
	defer pool.Close()
	var count atomic.Int32
	inner := taskFunc(func(int) { count.Add(1) })
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for range 20 {
				pool.Run(5, taskFunc(func(int) { pool.Run(5, inner) }))
			}
		})
	}
	users.Wait()
	if got := count.Load(); got != 4*20*5*5 {
		t.Errorf("%d inner parts ran, want %d", got, 4*20*5*5)
	}
}

func TestPoolRaisesPanics(t *testing.T) {
	for _, threads := range []int{1, 2, 4} {
		pool := NewPool(threads)
		for bad := range 8 {
			mustPanic(t, "broken", func() {
				pool.Run(8, taskFunc(func(part int) {
					if part == bad {
						panic("broken")
					}
				}))
			})
			var count atomic.Int32
			pool.Run(8, taskFunc(func(int) { count.Add(1) }))
			if count.Load() != 8 {
				t.Fatalf("%d threads: %d parts ran after a panic, want 8", threads, count.Load())
			}
		}
		pool.Close()
	}
}

func TestPoolSurvivesGoexit(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	var both sync.WaitGroup
	both.Add(2)
	done := make(chan any)
	go func() {
		defer func() { done <- recover() }()
		main := make(chan struct{}, 1)
		pool.Run(2, taskFunc(func(int) {
			both.Done()
			both.Wait() // one part on each thread
			select {
			case main <- struct{}{}:
				runtime.Goexit()
			default:
			}
		}))
	}()
	if got, want := <-done, any("kernel: Pool: a part ended its goroutine"); got != want {
		t.Errorf("recovered %v, want %v", got, want)
	}
}

func TestPoolRunAllocatesNothing(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	var count atomic.Int32
	var task Task = taskFunc(func(int) { count.Add(1) })
	if n := testing.AllocsPerRun(200, func() { pool.Run(10, task) }); n != 0 {
		t.Errorf("%v allocations a run", n)
	}
}
