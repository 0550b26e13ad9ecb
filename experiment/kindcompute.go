package experiment

import (
	"context"
	"encoding/json"
	"os"

	"github.com/rebasin/rebasin/experiment/task"
)

// timesOf is the file of an artifact with times that its result leaves out, since they differ from run to run.
const timesOf = "times.json"

func writeTimes(job *task.Job, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(job.Path(timesOf), append(text, '\n'), 0o644)
}

func (l *Lab) counterexampleKind() *task.Kind {
	return &task.Kind{Name: "counterexample", Recipe: 1, Rate: 1, Run: func(ctx context.Context, job *task.Job) error {
		var o CounterexampleOptions
		if err := job.Decode(&o); err != nil {
			return err
		}
		r, err := Counterexample(ctx, o)
		if err != nil {
			return err
		}
		return job.WriteResult(r)
	}}
}

func (l *Lab) singlePassKind() *task.Kind {
	return &task.Kind{Name: "singlepass", Recipe: 2, Rate: 1, Run: func(ctx context.Context, job *task.Job) error {
		var o SinglePassOptions
		if err := job.Decode(&o); err != nil {
			return err
		}
		r, err := SinglePass(ctx, o)
		if err != nil {
			return err
		}
		return job.WriteResult(r)
	}}
}

// plantedTask determines draws of planted alignments in one network.
type plantedTask struct {
	Network MatchNetwork `json:"network"`
	Noise   float64      `json:"noise"`
	Draws   int          `json:"draws"`
	Seed    uint64       `json:"seed"`
}

func (l *Lab) plantedKind() *task.Kind {
	return &task.Kind{Name: "planted", Recipe: 1, Rate: .05, Run: func(ctx context.Context, job *task.Job) error {
		var o plantedTask
		if err := job.Decode(&o); err != nil {
			return err
		}
		r, err := Planted(ctx, PlantedOptions{
			Config: &o.Network.Config, Noise: o.Noise, Draws: o.Draws, Seed: o.Seed, Threads: job.Threads,
			Progress: func(_ string, done, total int, note string) { job.Progress(done, total, note) },
		})
		if err != nil {
			return err
		}
		return job.WriteResult(r)
	}}
}

// matchTimeTask determines one timing of weight matching.
type matchTimeTask struct {
	Network MatchNetwork `json:"network"`
	Runs    int          `json:"runs"`
	Seed    uint64       `json:"seed"`
}

func (l *Lab) matchTimeKind() *task.Kind {
	return &task.Kind{Name: "matchtime", Recipe: 1, Rate: .05, Run: func(ctx context.Context, job *task.Job) error {
		var o matchTimeTask
		if err := job.Decode(&o); err != nil {
			return err
		}
		r, err := MatchTimes(ctx, MatchTimesOptions{Networks: []MatchNetwork{o.Network}, Runs: o.Runs, Seed: o.Seed, Threads: job.Threads})
		if err != nil {
			return err
		}
		row := r.Rows[0]
		if err := writeTimes(job, MatchSeconds{row.Seconds, row.Similarity, row.Assignment, row.Moves, job.Threads}); err != nil {
			return err
		}
		row.Seconds, row.Similarity, row.Assignment, row.Moves = 0, 0, 0, 0
		return job.WriteResult(row)
	}}
}

// MatchSeconds is how long one matching took, and its parts.
type MatchSeconds struct {
	Seconds    float64 `json:"seconds"`
	Similarity float64 `json:"similarity"`
	Assignment float64 `json:"assignment"`
	Moves      float64 `json:"moves"`
	Threads    int     `json:"threads"`
}
