package experiment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/experiment/task"
)

// Folders and files beside the store of artifacts.
const (
	runsDir     = "runs"          // runs/NAME/: one run of an experiment
	specFile    = "spec.yaml"     // what was declared, defaults filled in
	recordsFile = "records.jsonl" // what came out
	notRunFile  = "not-run.json"  // cases without data
	keysFile    = "keys.json"     // the keys of all its artifacts, for cleaning up
	timesFile   = "times.json"    // what each task took, by its key
	secondsFile = "seconds.json"  // how long what was timed took, by the key of its task
	// divergedFile has the keys of the trainings whose loss was no longer finite, if there are any.
	divergedFile = "diverged.json"
)

// RunDir is the folder of a run in a folder of experiments.
func RunDir(dir, name string) string { return filepath.Join(dir, runsDir, name) }

// Run executes a plan in a folder of experiments and writes its records; what is in the store is not done again. When it is interrupted what was finished is kept.
func Run(ctx context.Context, store *task.Store, dir string, p *Plan, opt task.ExecuteOptions) ([]Record, error) {
	run := RunDir(dir, p.Spec.Name)
	if err := os.MkdirAll(run, 0o755); err != nil {
		return nil, err
	}
	spec, err := p.Spec.YAML()
	if err != nil {
		return nil, err
	}
	// Records of another plan of this name would be taken for this one's. What they were made of stays in the store until it is cleaned.
	if declared, err := os.ReadFile(filepath.Join(run, specFile)); err != nil || !bytes.Equal(declared, spec) || p.Replaces(dir) {
		if err := os.Remove(filepath.Join(run, recordsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if err := writeWhole(filepath.Join(run, specFile), spec); err != nil {
		return nil, err
	}
	if err := writeKeys(run, p); err != nil {
		return nil, err
	}
	if err := store.Execute(ctx, p.Tasks, p.Wanted(), opt); err != nil {
		return nil, err
	}
	records, err := p.Records(store)
	if err != nil {
		return nil, err
	}
	return records, writeRun(store, run, p, records)
}

// Replaces tells whether the folder of a plan's run has records that are not those of the plan.
func (p *Plan) Replaces(dir string) bool {
	run := RunDir(dir, p.Spec.Name)
	if _, err := os.Stat(filepath.Join(run, recordsFile)); err != nil {
		return false
	}
	keys, err := runKeys(run)
	return err == nil && !slices.Equal(keys, p.keys())
}

// keys are those of all tasks, in order.
func (p *Plan) keys() []string {
	keys := []string{}
	for _, t := range p.Tasks.Tasks() {
		keys = append(keys, t.Key)
	}
	return keys
}

// writeWhole writes a small file, whole or not at all.
func writeWhole(path string, content []byte) error {
	return checkpoint.WriteFile(path, func(w io.Writer) error { _, err := w.Write(content); return err })
}

// writeKeys notes the keys of all artifacts of a run, those that other runs share among them.
func writeKeys(run string, p *Plan) error {
	text, err := json.MarshalIndent(p.keys(), "", " ")
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(run, keysFile), append(text, '\n'))
}

// Records are the results of a plan whose tasks are all done, in the order of the plan.
func (p *Plan) Records(store *task.Store) ([]Record, error) {
	var out []Record
	for _, e := range p.entries {
		a, ok, err := store.Lookup(e.task.Key)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("experiment: %q has not been done", e.task.Label)
		}
		r := Record{
			Experiment: p.Spec.Experiment, Kind: e.task.Kind.Name, Recipe: e.task.Kind.Recipe, Key: e.task.Key, Row: e.row,
			Environment: p.Tasks.Environment(), Options: e.task.Options,
		}
		for _, n := range e.task.Needs {
			r.Needs = append(r.Needs, n.Key)
		}
		if r.Version, err = store.Version(e.task.Key); err != nil {
			return nil, err
		}
		if err := a.Result(&r.Result); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// writeRun writes what a finished run is known by: records, the cases not run, and times.
func writeRun(store *task.Store, run string, p *Plan, records []Record) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	for i := range records {
		if err := e.Encode(&records[i]); err != nil {
			return err
		}
	}
	if err := writeWhole(filepath.Join(run, recordsFile), text.Bytes()); err != nil {
		return err
	}
	notRun, err := json.MarshalIndent(slices.Concat([]NotRun{}, p.NotRun), "", " ")
	if err != nil {
		return err
	}
	if err := writeWhole(filepath.Join(run, notRunFile), append(notRun, '\n')); err != nil {
		return err
	}
	all, err := store.Timings()
	if err != nil {
		return err
	}
	times := map[string]task.Timing{}
	for _, t := range p.Tasks.Tasks() {
		if timing, ok := all[t.Key]; ok {
			times[t.Key] = timing
		}
	}
	timesText, err := json.MarshalIndent(times, "", " ")
	if err != nil {
		return err
	}
	if err := writeWhole(filepath.Join(run, timesFile), append(timesText, '\n')); err != nil {
		return err
	}
	if err := writeSeconds(store, run, p); err != nil {
		return err
	}
	return writeDiverged(store, run, p)
}

// writeDiverged notes which trainings came to nothing: no record is that of a training.
func writeDiverged(store *task.Store, run string, p *Plan) error {
	var keys []string
	for _, t := range p.Tasks.Tasks() {
		if t.Kind.Name != "train" {
			continue
		}
		a, ok, err := store.View.Lookup(t.Key) // one that is damaged is nobody's need any more, and is left alone
		if err != nil {
			return err
		}
		var r Trained
		if !ok { // nothing needed it any more
			continue
		}
		if err := a.Result(&r); err != nil {
			return err
		}
		if r.Diverged {
			keys = append(keys, t.Key)
		}
	}
	return writeIfAny(filepath.Join(run, divergedFile), keys, len(keys))
}

// writeIfAny writes n things as JSON, or removes the file that an earlier run may have left where there are none.
func writeIfAny(path string, v any, n int) error {
	if n == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return writeWhole(path, append(text, '\n'))
}

// writeSeconds gathers what tasks timed themselves.
func writeSeconds(store *task.Store, run string, p *Plan) error {
	seconds := map[string]json.RawMessage{}
	for _, e := range p.entries {
		artifact, _, err := store.Lookup(e.task.Key)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(artifact.Path(timesOf))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		seconds[e.task.Key] = text
	}
	return writeIfAny(filepath.Join(run, secondsFile), seconds, len(seconds))
}

// Finished is a run that was read from its folder.
type Finished struct {
	Spec    Spec
	Records []Record
	NotRun  []NotRun
	// Times of tasks by key. They are from one machine and one day, and nothing but what they say depends on them.
	Times map[string]task.Timing
	// Seconds are those of timed matchings by key.
	Seconds map[string]MatchSeconds
	// Diverged are the keys of trainings whose loss was no longer finite.
	Diverged []string
}

// cases are those that were run.
func (f *Finished) cases() []*Case {
	var out []*Case
	for i := range f.Spec.Cases {
		c := &f.Spec.Cases[i]
		if !slices.ContainsFunc(f.NotRun, func(n NotRun) bool { return n.Case == c.Name }) {
			out = append(out, c)
		}
	}
	return out
}

// find finds a case by its name.
func (f *Finished) find(name string) *Case {
	i := slices.IndexFunc(f.Spec.Cases, func(c Case) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &f.Spec.Cases[i]
}

// ErrNotFinished says that a run has no records yet.
var ErrNotFinished = errors.New("the run is not finished")

// ReadRun reads a finished run from its folder.
func ReadRun(run string) (*Finished, error) {
	var f Finished
	s, err := readSpecFile(filepath.Join(run, specFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(run); err == nil {
			return nil, fmt.Errorf("experiment: %q: %w", run, ErrNotFinished) // it was stopped before it began
		}
		return nil, fmt.Errorf("experiment: %q: there is no run", run)
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w", run, err)
	}
	f.Spec = *s
	text, err := os.ReadFile(filepath.Join(run, recordsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("experiment: %q: %w", run, ErrNotFinished)
	}
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	for d.More() {
		var r Record
		if err := d.Decode(&r); err != nil {
			return nil, fmt.Errorf("%q: record %d: %w", filepath.Join(run, recordsFile), len(f.Records)+1, err)
		}
		if r.Pair < 0 || r.Pair >= maxPairs {
			return nil, fmt.Errorf("%q: record %d: pair %d is not from 0 to %d", filepath.Join(run, recordsFile), len(f.Records)+1, r.Pair, maxPairs-1)
		}
		f.Records = append(f.Records, r)
	}
	for name, into := range map[string]any{notRunFile: &f.NotRun, timesFile: &f.Times, secondsFile: &f.Seconds, divergedFile: &f.Diverged} {
		text, err := os.ReadFile(filepath.Join(run, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, into); err != nil {
			return nil, fmt.Errorf("%q: %w", filepath.Join(run, name), err)
		}
	}
	return &f, nil
}

// RunNames are the runs in a folder of experiments, finished or not, by name.
func RunNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, runsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && isFolderName(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// Keys are those of all artifacts of all runs in a folder of experiments.
func Keys(dir string) (map[string]bool, error) {
	names, err := RunNames(dir)
	if err != nil {
		return nil, err
	}
	keys := map[string]bool{}
	for _, name := range names {
		list, err := runKeys(RunDir(dir, name))
		if err != nil {
			return nil, err
		}
		for _, k := range list {
			keys[k] = true
		}
	}
	return keys, nil
}

// runKeys are the keys of the artifacts of a run.
func runKeys(run string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(run, keysFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var keys []string
	if err := json.Unmarshal(text, &keys); err != nil {
		return nil, fmt.Errorf("%q: %w", filepath.Join(run, keysFile), err)
	}
	return keys, nil
}
