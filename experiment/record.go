package experiment

import (
	"encoding/json"
	"fmt"

	"github.com/rebasin/rebasin/experiment/task"
)

// Record is one result of an experiment: a line of its records.jsonl. It says what was done, with all seeds, and what came of it; how long it took
// stands elsewhere, so that equal runs have equal records.
type Record struct {
	Experiment string `json:"experiment"`
	// Kind of task, its recipe, and the key of its artifact.
	Kind   string `json:"kind"`
	Recipe int    `json:"recipe"`
	Key    string `json:"key"`
	// Needs are the keys of the artifacts that it was made from.
	Needs []string `json:"needs,omitempty"`
	Row
	// Environment and Version of the program that made the artifact.
	Environment string `json:"environment"`
	Version     string `json:"version"`
	// Options and Result of the task.
	Options json.RawMessage `json:"options"`
	Result  json.RawMessage `json:"result"`
}

// Row is what an experiment knows its tasks by.
type Row struct {
	Case   string   `json:"case,omitempty"`
	Series string   `json:"series,omitempty"`
	X      *float64 `json:"x,omitempty"`
	Pair   int      `json:"pair"`
	Seeds  []uint64 `json:"seeds,omitempty"`
	Method string   `json:"method,omitempty"`
	Repair string   `json:"repair,omitempty"`
	Epoch  int      `json:"epoch,omitempty"`
	// Role tells apart what the rest does not: "merged", "ensemble", "input".
	Role string `json:"role,omitempty"`
}

// entry is a task whose result is recorded.
type entry struct {
	task *task.Task
	row  Row
}

// decode reads the result.
func (r *Record) decode(into any) error {
	if err := json.Unmarshal(r.Result, into); err != nil {
		return fmt.Errorf("experiment: record %s: %w", r.Key, err)
	}
	return nil
}

// curve is the result of a measurement between two networks.
func (r *Record) curve() (c Curve, err error) {
	if err := r.decode(&c); err != nil {
		return c, err
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("experiment: record %s: %w", r.Key, err)
	}
	return c, nil
}

// NotRun is a case whose data is not there.
type NotRun struct {
	Case string `json:"case"`
	Why  string `json:"why"`
}
