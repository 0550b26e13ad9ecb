package train

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

// A run of 3 epochs of 4 steps, the last of each smaller, with everything a snapshot has to remember: moments, a schedule and dropout.
const (
	runSteps     = 12
	stepsInEpoch = 4
)

func resumable(t *testing.T, opt Optimizer) (*graph.Graph, map[string]*tensor.Tensor, *blobs, Config) {
	t.Helper()
	g, params := network(t, zoo.Config{Input: []int{6}, Hidden: []int{16, 8}, Classes: 4, Dropout: .25})
	cfg := Config{Epochs: 3, Batch: 16, Seed: 3, Optimizer: opt, Schedule: Schedule{Name: "cosine", WarmupEpochs: .5}}
	return g, params, newBlobs(50, 4, 2, 6), cfg
}

// interrupted runs until the given number of steps is done, and returns the snapshots it was given.
func interrupted(t *testing.T, opt Optimizer, resume *Snapshot, after int) []*Snapshot {
	t.Helper()
	g, params, data, cfg := resumable(t, opt)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var snapshots []*Snapshot
	_, err := Run(ctx, g, params, data, cfg, Options{
		Threads: 1, Resume: resume,
		Progress: func(e Event) {
			if e.Step == after {
				cancel()
			}
		},
		Snapshot: func(s *Snapshot) error {
			snapshots = append(snapshots, s)
			return nil
		},
	})
	if err != context.Canceled { //nolint:errorlint // the very error is promised
		t.Fatalf("interrupted after step %d: error %v", after, err)
	}
	return snapshots
}

// throughFile saves and loads.
func throughFile(t *testing.T, s *Snapshot) *Snapshot {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run.snapshot")
	if err := s.Save(context.Background(), path); err != nil {
		t.Fatal(err)
	}
	got, err := LoadSnapshot(path)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestResume interrupts a training everywhere and goes on from the file of the snapshot: the result is that of an uninterrupted one, byte for byte.
func TestResume(t *testing.T) {
	for name, opt := range map[string]Optimizer{
		"adam":     {Name: "adam", LearningRate: .01},
		"momentum": {Name: "sgd", LearningRate: .1, Momentum: .9, WeightDecay: 1e-3},
		"sgd":      {Name: "sgd", LearningRate: .1},
	} {
		g, params, data, cfg := resumable(t, opt)
		want := mustRun(t, g, params, data, cfg, Options{Threads: 1})
		for after := 1; after < runSteps; after++ {
			t.Run(fmt.Sprintf("%s/after %d", name, after), func(t *testing.T) {
				snapshots := interrupted(t, opt, nil, after)
				// One at the end of each epoch, which serves an interruption there as well, and one within an epoch.
				if n := (after + stepsInEpoch - 1) / stepsInEpoch; len(snapshots) != n {
					t.Errorf("%d snapshots, want %d", len(snapshots), n)
				}
				last := throughFile(t, snapshots[len(snapshots)-1])
				if last.Step != after {
					t.Fatalf("snapshot of step %d after step %d", last.Step, after)
				}
				sameResult(t, mustRun(t, g, params, data, cfg, Options{Threads: 2, Resume: last}), want)
			})
		}
	}
}

// TestResumeAgain interrupts one training several times, once before it has begun again.
func TestResumeAgain(t *testing.T) {
	opt := Optimizer{Name: "adam", LearningRate: .01}
	g, params, data, cfg := resumable(t, opt)
	want := mustRun(t, g, params, data, cfg, Options{Threads: 1})
	var s *Snapshot
	for _, after := range []int{2, 3, 8, 11} {
		s = throughFile(t, slices.MaxFunc(interrupted(t, opt, s, after), func(a, b *Snapshot) int { return a.Step - b.Step }))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	again := 0
	_, err := Run(ctx, g, params, data, cfg, Options{Threads: 1, Resume: s, Snapshot: func(*Snapshot) error { again++; return nil }})
	if !errors.Is(err, context.Canceled) || again != 0 {
		t.Errorf("cancelled before its first step: error %v, %d snapshots of what is there already", err, again)
	}
	// Parameters given beside a snapshot do not count.
	sameResult(t, mustRun(t, g, nil, data, cfg, Options{Threads: 1, Resume: s}), want)
}

func TestResumeFinished(t *testing.T) {
	opt := Optimizer{Name: "adam"}
	g, params, data, cfg := resumable(t, opt)
	var last *Snapshot
	want := mustRun(t, g, params, data, cfg, Options{Threads: 1, Snapshot: func(s *Snapshot) error { last = s; return nil }})
	sameResult(t, mustRun(t, g, params, data, cfg, Options{Threads: 1, Resume: last}), want)
}

// TestCancelledBeforeTheFirstStep hands out the state once, so that nothing is lost.
func TestCancelledBeforeTheFirstStep(t *testing.T) {
	g, params, data, cfg := resumable(t, Optimizer{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var snapshots []*Snapshot
	_, err := Run(ctx, g, params, data, cfg, Options{Threads: 1, Snapshot: func(s *Snapshot) error { snapshots = append(snapshots, s); return nil }})
	if !errors.Is(err, context.Canceled) || len(snapshots) != 1 || snapshots[0].Step != 0 {
		t.Fatalf("error %v, snapshots %v", err, snapshots)
	}
	for name, p := range params {
		if !snapshots[0].Tensors["param/"+name].Equal(p) {
			t.Errorf("tensor %q is not the initial one", name)
		}
	}
	if _, err := Run(ctx, g, params, data, cfg, Options{Threads: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v without anybody to take the state", err)
	}
	full := errors.New("disk full")
	_, err = Run(ctx, g, params, data, cfg, Options{Threads: 1, Snapshot: func(*Snapshot) error { return full }})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, full) {
		t.Errorf("error %v does not say that the state is lost", err)
	}
}

// TestSnapshotIsACopy goes on training after each snapshot.
func TestSnapshotIsACopy(t *testing.T) {
	g, params, data, cfg := resumable(t, Optimizer{Name: "adam"})
	var first *Snapshot
	var bytes []byte
	mustRun(t, g, params, data, cfg, Options{Threads: 1, Snapshot: func(s *Snapshot) error {
		if first == nil {
			first, bytes = s, slices.Clone(s.Tensors["m/fc1.weight"].Bytes())
		}
		return nil
	}})
	if !slices.Equal(first.Tensors["m/fc1.weight"].Bytes(), bytes) || len(first.History) != 1 {
		t.Error("the first snapshot changed while the training went on")
	}
}

// TestOtherRun refuses snapshots of another run, and damaged ones.
func TestOtherRun(t *testing.T) {
	opt := Optimizer{Name: "adam"}
	g, params, data, cfg := resumable(t, opt)
	snapshots := interrupted(t, opt, nil, 6)
	good := snapshots[len(snapshots)-1]
	for want, change := range map[string]func(s *Snapshot, cfg *Config, data *blobs){
		"it is of another run: its configuration is": func(_ *Snapshot, cfg *Config, _ *blobs) { cfg.Seed++ },
		`"learning_rate":0.5`:                        func(_ *Snapshot, cfg *Config, _ *blobs) { cfg.Optimizer.LearningRate = .5 },
		"it trains a deeper net, asked for is ":      func(s *Snapshot, _ *Config, _ *blobs) { s.Subject = "a deeper net" },
		"on other data: 50 samples":                  func(_ *Snapshot, _ *Config, data *blobs) { *data = *newBlobs(50, 4, 3, 6) },
		"not 49 samples of [6] in 4 classes":         func(_ *Snapshot, _ *Config, data *blobs) { *data = *newBlobs(49, 4, 2, 6) },
		"it is at step -3 of a run of 12":            func(s *Snapshot, _ *Config, _ *blobs) { s.Step = -3 },
		"it is at step 13 of a run of 12":            func(s *Snapshot, _ *Config, _ *blobs) { s.Step = 13 },
		"after 2 epochs, and has the history of 1":   func(s *Snapshot, _ *Config, _ *blobs) { s.Step = 8 },
		"it has seen -1 samples":                     func(s *Snapshot, _ *Config, _ *blobs) { s.Seen = -1 },
		"33 of them answered correctly":              func(s *Snapshot, _ *Config, _ *blobs) { s.Correct = 33 },
		"-1 of them answered correctly":              func(s *Snapshot, _ *Config, _ *blobs) { s.Correct = -1 },
		"it has seen 32 samples, ":                   func(s *Snapshot, _ *Config, _ *blobs) { s.Step = 7 },
		"the sum of the losses is NaN":               func(s *Snapshot, _ *Config, _ *blobs) { s.Sum = math.NaN() },
		`tensor "v/fc2.bias" is missing`:             func(s *Snapshot, _ *Config, _ *blobs) { delete(s.Tensors, "v/fc2.bias") },
		`tensor "param/extra" is not the run's`: func(s *Snapshot, _ *Config, _ *blobs) {
			s.Tensors["param/extra"] = tensor.New(tensor.F32, tensor.Shape{1})
		},
		`tensor "m/fc2.bias" is F32 [9], the run has F32 [8]`: func(s *Snapshot, _ *Config, _ *blobs) {
			s.Tensors["m/fc2.bias"] = tensor.New(tensor.F32, tensor.Shape{9})
		},
		`tensor "m/fc1.bias" is F64 [16]`: func(s *Snapshot, _ *Config, _ *blobs) {
			s.Tensors["m/fc1.bias"] = tensor.New(tensor.F64, tensor.Shape{16})
		},
	} {
		t.Run(want, func(t *testing.T) {
			s, c, d := *good, cfg, *data
			s.Tensors = maps.Clone(good.Tensors)
			change(&s, &c, &d)
			_, err := Run(context.Background(), g, params, &d, c, Options{Threads: 1, Resume: &s})
			if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "train: snapshot: ") {
				t.Errorf("error %v, want %q", err, want)
			}
		})
	}
	loaded := throughFile(t, good)
	loaded.Step = -1
	_, err := Run(context.Background(), g, params, data, cfg, Options{Threads: 1, Resume: loaded})
	if err == nil || !strings.Contains(err.Error(), `run.snapshot"`) {
		t.Errorf("error %v does not name the file", err)
	}
}

// TestSaveIsDeterministic saves one state twice.
func TestSaveIsDeterministic(t *testing.T) {
	s := interrupted(t, Optimizer{Name: "adam"}, nil, 2)[0]
	var files [2][]byte
	for i := range files {
		path := filepath.Join(t.TempDir(), "run.snapshot")
		if err := s.Save(context.Background(), path); err != nil {
			t.Fatal(err)
		}
		var err error
		if files[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(files[0], files[1]) {
		t.Error("two files differ")
	}
}

func TestSaveErrors(t *testing.T) {
	s := interrupted(t, Optimizer{Name: "adam"}, nil, 2)[0]
	folder := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Save(ctx, filepath.Join(folder, "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v of a cancelled Save", err)
	}
	s.Sum = math.Inf(1)
	if err := s.Save(context.Background(), filepath.Join(folder, "x")); err == nil || !strings.Contains(err.Error(), "/x") {
		t.Errorf("error %v of a state that JSON cannot say", err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}

// TestLoadSnapshotErrors reads files that are no snapshots.
func TestLoadSnapshotErrors(t *testing.T) {
	folder := t.TempDir()
	write := func(name, state string) string {
		path := filepath.Join(folder, name)
		meta := map[string]string{}
		if state != "" {
			meta[snapshotKey] = state
		}
		x := tensor.FromSlice(tensor.Shape{64}, make([]float32, 64))
		entries := []checkpoint.Entry{{
			Info: checkpoint.Info{Name: "param/x", DType: x.DType(), Shape: x.Shape()},
			Load: func() (*tensor.Tensor, error) { return x, nil },
		}}
		if err := checkpoint.WriteSafetensors(context.Background(), path, entries, meta); err != nil {
			t.Fatal(err)
		}
		return path
	}
	truncated := write("truncated", `{"step":1}`)
	if info, err := os.Stat(truncated); err != nil || os.Truncate(truncated, info.Size()-5) != nil {
		t.Fatal("cannot truncate", err)
	}
	for name, tt := range map[string]struct{ path, want string }{
		"model":         {write("model", ""), "is no snapshot of a training"},
		"truncated":     {truncated, "truncated"},
		"absent":        {filepath.Join(folder, "absent"), "absent"},
		"no JSON":       {write("text", "step 3"), "invalid character"},
		"unknown field": {write("field", `{"step":3,"rng":7}`), `unknown field "rng"`},
		"NaN":           {write("nan", `{"sum":NaN}`), "invalid character 'N'"},
		"huge":          {write("huge", `{"seen":1e300}`), "cannot unmarshal number"},
		"fraction":      {write("fraction", `{"step":1.5}`), "cannot unmarshal number"},
		"two states":    {write("two", `{"step":3}{"step":4}`), "text after the end"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := LoadSnapshot(tt.path)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), filepath.Base(tt.path)) {
				t.Errorf("error %v, want %q and the file's name", err, tt.want)
			}
		})
	}
}
