package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// A Task is work cut into numbered parts that may run at the same time.
type Task interface{ Do(part int) }

// A Pool is a bounded set of worker threads. Its creator owns it and closes it. A nil Pool runs everything in the caller.
//
// A Pool may be shared: while one Run has the workers, another one (also one nested in a Do) runs serially in its own caller.
type Pool struct {
	threads int
	wake    chan struct{} // one token asks one worker to look for a job
	workers sync.WaitGroup

	running sync.Mutex   // held by the Run that has the workers
	next    atomic.Int64 // the next part of the current job

	mu       sync.Mutex // guards what follows
	left     sync.Cond  // signalled when the last helper leaves the job
	task     Task       // the current job, nil when there is none to join
	parts    int
	helpers  int // workers inside the current job
	panicked bool
	failure  any // the value of the first panic
}

// NewPool starts a pool that runs tasks on the given number of threads, the caller of Run being one of them. A number below one means
// GOMAXPROCS.
func NewPool(threads int) *Pool {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &Pool{threads: threads, wake: make(chan struct{}, threads)}
	p.left.L = &p.mu
	for range threads - 1 {
		p.workers.Go(p.work)
	}
	return p
}

// Threads is the number of threads tasks run on, one for a nil Pool.
func (p *Pool) Threads() int {
	if p == nil {
		return 1
	}
	return p.threads
}

// Close ends the workers and waits for them. No Run may be under way or follow.
func (p *Pool) Close() {
	if p == nil {
		return
	}
	close(p.wake)
	p.workers.Wait()
}

// Run calls t.Do(0) to t.Do(parts-1), each once, in any order and on any thread of the pool, and returns when all are done. It allocates
// nothing. When a Do panics, no further part is begun and Run panics with the same value once those under way have ended.
func (p *Pool) Run(parts int, t Task) {
	if p == nil || p.threads == 1 || parts <= 1 || !p.running.TryLock() {
		for part := range parts {
			t.Do(part)
		}
		return
	}
	defer p.finish()
	p.open(parts, t)
	p.drain(parts, t)
}

// open publishes the job and asks for as many helpers as it can use.
func (p *Pool) open(parts int, t Task) {
	p.next.Store(0)
	p.mu.Lock()
	p.task, p.parts = t, parts
	p.mu.Unlock()
	for range min(parts, p.threads) - 1 {
		select {
		case p.wake <- struct{}{}:
		default: // tokens enough are waiting already
		}
	}
}

// finish keeps late workers out of the job, waits for those inside, gives the workers back and raises the first panic.
func (p *Pool) finish() {
	p.mu.Lock()
	p.task = nil
	for p.helpers > 0 {
		p.left.Wait()
	}
	panicked, failure := p.panicked, p.failure
	p.panicked, p.failure = false, nil
	p.mu.Unlock()
	p.running.Unlock()
	if panicked {
		panic(failure)
	}
}

// work is the life of a worker: help whenever a token arrives.
func (p *Pool) work() {
	for range p.wake {
		p.help()
	}
}

// help joins the current job, if there still is one.
func (p *Pool) help() {
	p.mu.Lock()
	t, parts := p.task, p.parts
	if t != nil {
		p.helpers++
	}
	p.mu.Unlock()
	if t == nil {
		return
	}
	defer p.leave()
	p.drain(parts, t)
}

func (p *Pool) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.helpers--
	if p.helpers == 0 {
		p.left.Signal()
	}
}

// drain does parts until none is left. A panic is kept for Run to raise, and ends the job.
func (p *Pool) drain(parts int, t Task) {
	done := false
	defer func() {
		if done {
			return
		}
		failure := recover()
		if failure == nil { // runtime.Goexit, which a failing test calls
			failure = "kernel: Pool: a part ended its goroutine"
		}
		p.next.Store(int64(parts))
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.panicked {
			p.panicked, p.failure = true, failure
		}
	}()
	for {
		part := int(p.next.Add(1)) - 1
		if part >= parts {
			done = true
			return
		}
		t.Do(part)
	}
}
