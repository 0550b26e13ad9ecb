package task

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
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
	// Processors of the machine, its operating system and instruction set.
	Processors  int       `json:"processors"`
	System      string    `json:"system"`
	Environment string    `json:"environment"`
	Finished    time.Time `json:"finished"`
	Version     string    `json:"version"`
}

// noteTime appends a line. A line that a crash cut short is passed over when lines are read.
func (s *Store) noteTime(t *Task, took time.Duration, threads int) error {
	id, err := readManifest(s.artifactPath(t.Key))
	if err != nil {
		return err
	}
	text, err := json.Marshal(Timing{
		Key: t.Key, Kind: t.Kind.Name, Label: t.Label, Work: t.work(), Seconds: took.Seconds(), Threads: threads,
		Processors: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Environment: id.Environment,
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

// Timings reads how long tasks took, the last time that each was done.
func (s *Store) Timings() (map[string]Timing, error) { return ReadTimings(s.dir) }

// ReadTimings is [Store.Timings] of the store in a folder, which may be at work.
func ReadTimings(dir string) (map[string]Timing, error) {
	f, err := os.Open(filepath.Join(dir, timingFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]Timing{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var t Timing
		if json.Unmarshal(lines.Bytes(), &t) == nil && t.Key != "" {
			out[t.Key] = t
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", timingFile, err)
	}
	return out, nil
}

// Estimate foresees how long the tasks take on a number of threads, from how long tasks of their kinds took, or from the kinds' own rates: all
// their work, as if it could always be shared.
func (s *Store) Estimate(tasks []*Task, threads int) (time.Duration, error) {
	rates, err := s.rates()
	if err != nil {
		return 0, err
	}
	seconds := 0.0
	for _, t := range tasks {
		seconds += t.seconds(rates)
	}
	return time.Duration(seconds / float64(max(1, threads)) * float64(time.Second)), nil
}

// EstimateTask is [Store.Estimate] of one task on one thread.
func (s *Store) EstimateTask(t *Task) (time.Duration, error) {
	return s.Estimate([]*Task{t}, 1)
}

func (t *Task) seconds(rates map[string]float64) float64 {
	rate, ok := rates[t.Kind.Name]
	if !ok {
		rate = t.Kind.Rate
	}
	if rate <= 0 {
		return 0
	}
	return t.work() / rate
}

// rates are work by thread and second of each kind that has been timed.
func (s *Store) rates() (map[string]float64, error) {
	timings, err := s.Timings()
	if err != nil {
		return nil, err
	}
	work, seconds := map[string]float64{}, map[string]float64{}
	for _, t := range timings {
		work[t.Kind] += t.Work
		seconds[t.Kind] += t.Seconds * float64(t.Threads)
	}
	rates := map[string]float64{}
	for kind, w := range work {
		if s := seconds[kind]; s > 0 && w > 0 {
			rates[kind] = w / s
		}
	}
	return rates, nil
}

// Exists tells whether the store in a folder, which may be at work, has an artifact; its files are not checked.
func Exists(dir, key string) bool {
	_, err := os.Stat(filepath.Join(dir, artifactsDir, key))
	return err == nil
}
