package task

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTimings(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	none, err := s.Timings()
	if len(none) != 0 || err != nil {
		t.Errorf("timings of an empty store: %v, %v", none, err)
	}
	var c counted
	k := c.kind()
	k.Work = func(json.RawMessage) float64 { return 7 }
	p := NewPlan("avx2")
	a, b := add(t, p, k, "a", 1), add(t, p, k, "b", 2)
	execute(t, s, p, a)
	// A crash while a line was written, with what file systems leave behind, and lines that are something else.
	path := filepath.Join(dir, timingFile)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	rest := "[]\n{\"work\":1}\nnull\n" + strings.Repeat("y", 3*maxTiming) + "\n" + strings.Repeat("\x00", 2*maxTiming) + `{"key":"` + b.Key + `","work`
	if _, err := f.WriteString(rest); err != nil {
		t.Fatal(err)
	}
	f.Close()
	execute(t, s, p, b)
	got, err := s.Timings()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "number", len(got), 2)
	for _, task := range []*Task{a, b} {
		g := got[task.Key]
		if g.Kind != "write" || g.Label != task.Label || g.Work != 7 || g.Threads < 1 || g.Environment != "avx2" || g.Version != "v1" || g.Resumed || time.Since(g.Finished) > time.Hour {
			t.Errorf("timing %+v", g)
		}
	}
	if _, err := NewView(filepath.Join(dir, "nowhere")).Timings(); err != nil {
		t.Error(err)
	}
}

func TestReadTimings(t *testing.T) {
	long := strings.Repeat("x", maxTiming)
	got, err := readTimings(strings.NewReader(`{"key":"a","seconds":1}` + "\n" + long + `{"key":"b"}` + "\n" + `{"key":"a","seconds":2}` + "\n\n" + `{"key":"c"}`))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "timings", got, map[string]Timing{"a": {Key: "a", Seconds: 2}, "c": {Key: "c"}}) // the last of a; nothing of the long line; no newline at the end
}

func TestEstimate(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	p := NewPlan("")
	work := func(options json.RawMessage) float64 {
		var w float64
		if err := json.Unmarshal(options, &w); err != nil {
			return math.NaN()
		}
		return w
	}
	timed, new, silent := &Kind{Name: "timed", Rate: 1, Work: work}, &Kind{Name: "new", Rate: 2, Work: work}, &Kind{Name: "silent"}
	tasks := []*Task{add(t, p, timed, "", 30), add(t, p, new, "", 8), add(t, p, silent, "", 1)}
	estimate := func(threads int, tasks ...*Task) time.Duration {
		t.Helper()
		d, err := s.Estimate(tasks, threads)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	expect(t, "by the kinds' own rates", estimate(2, tasks...), 17*time.Second) // (30/1 + 8/2 + 0) / 2
	expect(t, "no threads", estimate(0, tasks...), 34*time.Second)

	// 60 units in (2 s · 2 threads + 6 s) = 10 thread-seconds. Resumed tasks took longer than they say; the rest is no timing anybody took.
	s.rates = nil
	lines := `
{"key":"1","kind":"timed","work":40,"seconds":2,"threads":2}
{"key":"2","kind":"timed","work":20,"seconds":6,"threads":1}
{"key":"3","kind":"timed","work":1000,"seconds":1,"threads":1,"resumed":true}
{"key":"4","kind":"timed","work":1000,"seconds":-5,"threads":1}
{"key":"5","kind":"timed","work":1000,"seconds":5,"threads":-1}
{"key":"6","kind":"timed","work":-1000,"seconds":5,"threads":1}
{"key":"7","kind":"new","work":1e308,"seconds":1e-308,"threads":1}
`
	if err := os.WriteFile(filepath.Join(dir, timingFile), []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	expect(t, "measured", estimate(1, tasks...), 9*time.Second) // 30/6 + 8/2
	if d, err := s.EstimateTask(tasks[0]); d != 5*time.Second || err != nil {
		t.Errorf("one task: %v, %v", d, err)
	}
	expect(t, "of another size", estimate(1, add(t, p, timed, "", 900)), 900*time.Second) // 40 and 20 say nothing about it
	for name, options := range map[string]any{"no work": 0, "negative": -1, "NaN": "x"} {
		expect(t, name, estimate(1, add(t, p, timed, "", options)), 0)
	}
	expect(t, "for ever", estimate(1, add(t, p, timed, "", 1e300)), time.Duration(maxSeconds)*time.Second)
}

// TestEstimateLearns: a task that was done just now counts.
func TestEstimateLearns(t *testing.T) {
	s := open(t, t.TempDir())
	var c counted
	k := c.kind()
	k.Rate = 1. / 4096
	p := NewPlan("")
	a, b := add(t, p, k, "a", 1), add(t, p, k, "b", 2)
	before, err := s.EstimateTask(b)
	if err != nil {
		t.Fatal(err)
	}
	execute(t, s, p, a)
	after, err := s.EstimateTask(b)
	if before != 4096*time.Second || after >= before || after <= 0 || err != nil {
		t.Errorf("%v, then %v, error %v", before, after, err)
	}
}
