package experiment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/experiment/task"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/train"
	"github.com/rebasin/rebasin/zoo"
)

// trainOptions determine a trained network.
type trainOptions struct {
	Network  zoo.Config   `json:"network"`
	Data     Data         `json:"data"`
	Part     Part         `json:"part"`
	Training train.Config `json:"training"`
	// Checkpoints are epochs after which the network is kept, too.
	Checkpoints []int `json:"checkpoints,omitempty"`
}

// Trained is the result of a training.
type Trained struct {
	History []train.Epoch `json:"history"`
	Steps   int           `json:"steps"`
	Samples int           `json:"samples"`
	// Diverged says that the loss was no longer finite; the network is the one that it was initialised as then.
	Diverged bool `json:"diverged,omitempty"`
}

func (l *Lab) trainKind() *task.Kind {
	return &task.Kind{Name: "train", Recipe: 1, Work: l.trainWork, Rate: 5e10, Run: l.runTrain}
}

// runTrain trains a network, from where an interrupted run left it.
func (l *Lab) runTrain(ctx context.Context, job *task.Job) error {
	var o trainOptions
	if err := job.Decode(&o); err != nil {
		return err
	}
	cfg, g, err := l.network(ctx, o.Network, o.Data)
	if err != nil {
		return err
	}
	data, err := l.training(ctx, o.Data, o.Part)
	if err != nil {
		return err
	}
	initial, err := zoo.Init(g, cfg, o.Training.Seed)
	if err != nil {
		return err
	}
	subject, err := cfg.Encode()
	if err != nil {
		return err
	}
	save := func(path string, p map[string]*tensor.Tensor) error {
		return model.Save(context.WithoutCancel(ctx), path, p, &cfg, nil)
	}
	snapshot := filepath.Join(job.Scratch, "snapshot.safetensors")
	resume, err := resumable(job.Scratch, snapshot, o.Checkpoints)
	if err != nil {
		return err
	}
	r, err := train.Run(ctx, g, initial, data, o.Training, train.Options{
		Threads: job.Threads, Subject: subject, Resume: resume, CheckpointEpochs: o.Checkpoints,
		Progress: func(e train.Event) {
			job.Progress(e.Step, e.Steps, fmt.Sprintf("epoch %d, loss %.4f", e.Epoch, e.Loss))
		},
		// Checkpoints lie in the scratch folder until the training ends, since the artifact's folder does not outlive an interruption.
		Checkpoint: func(epoch int, p map[string]*tensor.Tensor) error {
			return save(filepath.Join(job.Scratch, epochFile(epoch)), p)
		},
		Snapshot: func(s *train.Snapshot) error { return s.Save(context.WithoutCancel(ctx), snapshot) },
	})
	if errors.Is(err, train.ErrDiverged) {
		if err := save(job.Path(paramsFile), initial); err != nil {
			return err
		}
		for _, epoch := range o.Checkpoints {
			if err := save(job.Path(epochFile(epoch)), initial); err != nil {
				return err
			}
		}
		return job.WriteResult(Trained{Samples: data.Len(), Diverged: true})
	}
	if err != nil {
		return err
	}
	for _, epoch := range o.Checkpoints {
		// A copy, since what is in the artifact's folder is lost if the disk is full or the run killed before the artifact is in its place.
		if err := copyFile(job.Path(epochFile(epoch)), filepath.Join(job.Scratch, epochFile(epoch))); err != nil {
			return err
		}
	}
	if err := save(job.Path(paramsFile), r.Params); err != nil {
		return err
	}
	return job.WriteResult(Trained{History: r.History, Steps: r.Steps, Samples: data.Len()})
}

// resumable reads the state that an interrupted training left, if it did. One that cannot be read, or that lacks a network on the way, is no loss but of time.
func resumable(scratch, path string, checkpoints []int) (*train.Snapshot, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	s, err := train.LoadSnapshot(path)
	if err != nil {
		return nil, os.Remove(path)
	}
	for _, epoch := range checkpoints {
		if _, err := os.Stat(filepath.Join(scratch, epochFile(epoch))); epoch <= len(s.History) && err != nil {
			return nil, os.Remove(path)
		}
	}
	return s, nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return checkpoint.WriteFile(to, func(w io.Writer) error { _, err := io.Copy(w, in); return err })
}

// trainWork is the number of floating-point operations of a training, forward and backward.
func (l *Lab) trainWork(options json.RawMessage) float64 {
	var o trainOptions
	if json.Unmarshal(options, &o) != nil {
		return 0
	}
	flops, samples := l.cost(o.Network, o.Data)
	if o.Part.Count > 0 {
		samples /= o.Part.Count
	} else if o.Part.Share > 0 {
		samples /= 2
	}
	return 3 * flops * float64(samples) * float64(o.Training.Epochs)
}
