package task

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// ResultFile is the file of an artifact that holds its result as JSON.
const ResultFile = "result.json"

// Job is a task as its [Kind] sees it.
type Job struct {
	Label   string
	Options json.RawMessage
	// Needs are the artifacts of the tasks that this one needs, in their order.
	Needs []Artifact
	// Dir is the empty folder in which to put the artifact's files.
	Dir string
	// Scratch is a folder that outlives an interrupted run, for what is needed to go on; it is removed when the task is done.
	Scratch string
	// Threads to use.
	Threads int
	// Progress, never nil, hears of the work: done of total steps, and a note.
	Progress func(done, total int, note string)
}

// Decode reads the options.
func (j *Job) Decode(into any) error {
	if err := decodeStrict(j.Options, into); err != nil {
		return fmt.Errorf("options of %q: %w", j.Label, err)
	}
	return nil
}

// Path is that of a file of the artifact to be made.
func (j *Job) Path(name string) string { return filepath.Join(j.Dir, name) }

// WriteResult writes the artifact's [ResultFile].
func (j *Job) WriteResult(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("result of %q: %w", j.Label, err)
	}
	return os.WriteFile(j.Path(ResultFile), append(text, '\n'), 0o644)
}

// Artifact is what a task made: a folder of files, not to be changed.
type Artifact struct {
	Key, Dir string
}

// Path is that of a file of the artifact.
func (a Artifact) Path(name string) string { return filepath.Join(a.Dir, name) }

// Result reads the artifact's [ResultFile].
func (a Artifact) Result(into any) error {
	text, err := os.ReadFile(a.Path(ResultFile))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%q: %w", a.Path(ResultFile), err)
	}
	return nil
}

// Runner does one task.
type Runner interface {
	Run(ctx context.Context, kind *Kind, job *Job) error
}

// Local does tasks in this process.
type Local struct{}

// Run calls the kind's function.
func (Local) Run(ctx context.Context, kind *Kind, job *Job) error { return kind.Run(ctx, job) }
