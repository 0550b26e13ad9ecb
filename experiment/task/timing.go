package task

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// Timing is how long a task took, and on what: one line of the store's timing.jsonl. It is kept apart from results, which do not depend on it.
type Timing struct {
	Key     string  `json:"key"`
	Kind    string  `json:"kind"`
	Label   string  `json:"label"`
	Work    float64 `json:"work"`
	Seconds float64 `json:"seconds"`
	Threads int     `json:"threads"`
	// Resumed tasks went on from what an earlier run had left: the seconds are not those of all the work.
	Resumed bool `json:"resumed,omitempty"`
	// Processors of the machine, its operating system and instruction set.
	Processors  int       `json:"processors"`
	System      string    `json:"system"`
	Environment string    `json:"environment"`
	Finished    time.Time `json:"finished"`
	Version     string    `json:"version"`
}

// noteTime appends a line. A line that a crash cut short is passed over when lines are read.
func (s *Store) noteTime(t *Task, environment string, took time.Duration, threads int, resumed bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rates = nil
	text, err := json.Marshal(Timing{
		Key: t.Key, Kind: t.Kind.Name, Label: t.Label, Work: t.work(), Seconds: took.Seconds(), Threads: threads, Resumed: resumed,
		Processors: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Environment: environment,
		Finished: time.Now().UTC().Truncate(time.Second), Version: s.version,
	})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, timingFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(append([]byte{'\n'}, text...), '\n')) // a new line first, in case the last one was cut short
	return errors.Join(err, f.Close())
}

// Timings reads how long tasks took, the last time that each was done. Lines that are no timings are passed over.
func (v *View) Timings() (map[string]Timing, error) {
	f, err := os.Open(filepath.Join(v.dir, timingFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readTimings(f)
}

// maxTiming bounds the bytes of a line of timings.
const maxTiming = 1 << 16

func readTimings(from io.Reader) (map[string]Timing, error) {
	out := map[string]Timing{}
	lines := bufio.NewReaderSize(from, maxTiming)
	for long := false; ; { // long: what comes next is the rest of a line that was too long
		line, err := lines.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return nil, err
		}
		var t Timing
		if !long && err != bufio.ErrBufferFull && json.Unmarshal(line, &t) == nil && t.Key != "" {
			out[t.Key] = t
		}
		if err == io.EOF {
			return out, nil
		}
		long = err == bufio.ErrBufferFull
	}
}

// maxSeconds is more than anybody waits and less than a Duration holds: a hundred years.
const maxSeconds = 100 * 365 * 24 * 3600

// Estimate foresees how long the tasks take on a number of threads, from how long tasks of their kinds and of similar size took, or from the kinds' own rates: all
// their work, as if it could always be shared.
func (v *View) Estimate(tasks []*Task, threads int) (time.Duration, error) {
	rates, err := v.measured()
	if err != nil {
		return 0, err
	}
	seconds := 0.0
	for _, t := range tasks {
		seconds += t.seconds(rates)
	}
	return time.Duration(min(seconds/float64(max(1, threads)), maxSeconds) * float64(time.Second)), nil
}

// EstimateTask is [View.Estimate] of one task on one thread.
func (v *View) EstimateTask(t *Task) (time.Duration, error) {
	return v.Estimate([]*Task{t}, 1)
}

// similar is the ratio of the works of two tasks up to which the rate of one says something about the other: small tasks are held up by what does not
// grow with their work.
const similar = 8

// seconds foreseen on one thread, from the tasks of its kind that were timed and are of a similar size, or from the kind's own rate.
func (t *Task) seconds(measured map[string][]Timing) float64 {
	work, rate := t.work(), t.Kind.Rate
	sum, seconds := 0.0, 0.0
	for _, m := range measured[t.Kind.Name] {
		if m.Work <= similar*work && work <= similar*m.Work {
			sum += m.Work
			seconds += m.Seconds * float64(m.Threads)
		}
	}
	if r := sum / seconds; r > 0 && !math.IsInf(r, 0) {
		rate = r
	}
	if rate <= 0 {
		return 0
	}
	return work / rate
}

// measured are the timings of each kind.
func (v *View) measured() (map[string][]Timing, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.rates == nil {
		timings, err := v.Timings()
		if err != nil {
			return nil, err
		}
		v.rates = byKind(timings)
	}
	return v.rates, nil
}

// byKind sorts out timings that say something about rates.
func byKind(timings map[string]Timing) map[string][]Timing {
	out := map[string][]Timing{}
	for _, key := range slices.Sorted(maps.Keys(timings)) { // sums depend on the order
		if t := timings[key]; !t.Resumed && t.Work > 0 && t.Seconds > 0 && t.Threads > 0 {
			out[t.Kind] = append(out[t.Kind], t)
		}
	}
	return out
}
