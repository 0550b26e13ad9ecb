package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/train"
	"github.com/rebasin/rebasin/zoo"
)

// trainFlags are the flags of train.
type trainFlags struct {
	net         zoo.Config
	cfg         train.Config
	data        dataFlags
	output      string
	resume      bool
	checkpoints []int
	limit       int
}

func (a *app) train() *cobra.Command {
	var f trainFlags
	c := &cobra.Command{
		Use:   "train --arch NAME --data NAME -o FILE",
		Short: "Train a network",
		Long: `Trains a network and writes it as safetensors; the file names its own architecture. While it runs, its state is kept beside the output as
FILE.snapshot, at the end of each epoch and on Ctrl-C; --resume goes on from there and ends in the same bytes.`,
		Example: `  rebasin train --arch mlp --data mnist --epochs 10 --batch 500 --seed 1 -o a.safetensors
  rebasin train --arch mlp --hidden 32,32,32 --data fashion-mnist --optimizer sgd --lr 0.1 --momentum 0.9 --schedule cosine --warmup 1 -o b.safetensors
  rebasin train --arch mlp --data mnist --epochs 10 --seed 1 -o a.safetensors --resume`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.runTrain(c.Context(), &f) },
	}
	s := c.Flags()
	s.StringVar(&f.net.Arch, "arch", "mlp", "architecture: mlp")
	s.IntVar(&f.net.Width, "width", 0, "multiplies the architecture's own widths (mlp: three hidden layers of 512)")
	s.IntSliceVar(&f.net.Hidden, "hidden", nil, "widths of the hidden layers, instead of --width")
	s.StringVar(&f.net.Norm, "norm", "none", "normalisation: none, layer")
	s.StringVar(&f.net.Activation, "activation", "relu", "activation: relu, leaky_relu, prelu, tanh, sigmoid, gelu")
	s.Float64Var(&f.net.Dropout, "dropout", 0, "probability of dropping a hidden unit")
	s.StringVar(&f.net.Init, "init", "lecun", "initialisation: lecun, torch")
	s.IntVar(&f.cfg.Epochs, "epochs", 10, "epochs")
	s.IntVar(&f.cfg.Batch, "batch", 500, "samples in a batch")
	s.Uint64Var(&f.cfg.Seed, "seed", 0, "seed of the initialisation and of the order of the data")
	s.StringVar(&f.cfg.Optimizer.Name, "optimizer", "adam", "optimizer: adam, sgd")
	s.Float64Var(&f.cfg.Optimizer.LearningRate, "lr", 0, "peak learning rate; 0 is 1e-3 for adam, 0.1 for sgd")
	s.Float64Var(&f.cfg.Optimizer.Momentum, "momentum", 0, "momentum of sgd")
	s.BoolVar(&f.cfg.Optimizer.Nesterov, "nesterov", false, "Nesterov's momentum")
	s.Float64Var(&f.cfg.Optimizer.WeightDecay, "weight-decay", 0, "L2 penalty")
	s.StringVar(&f.cfg.Schedule.Name, "schedule", "constant", "learning rate after the warm-up: constant, cosine")
	s.Float64Var(&f.cfg.Schedule.WarmupEpochs, "warmup", 0, "epochs of linear warm-up")
	s.IntSliceVar(&f.checkpoints, "checkpoints", nil, "also write the network after these epochs (0 is before the first), as FILE-epochN")
	s.IntVar(&f.limit, "limit", 0, "train on this many samples of the data only, a fixed random part; 0 is all")
	s.StringVarP(&f.output, "output", "o", "", "file to write")
	s.BoolVar(&f.resume, "resume", false, "go on from FILE.snapshot")
	f.data.register(c, "to train on")
	return c
}

func (a *app) runTrain(ctx context.Context, f *trainFlags) error {
	if err := checkOutput(f.output); err != nil {
		return err
	}
	if f.data.name == "" {
		return usagef("data is needed: --data NAME, one of %s", strings.Join(dataset.Names(), ", "))
	}
	if f.cfg.Epochs < 1 {
		return usagef("--epochs %d: at least one is needed", f.cfg.Epochs)
	}
	snapshot := f.output + ".snapshot"
	resume, err := f.resumption(snapshot)
	if err != nil {
		return err
	}
	opt, err := f.data.options(a)
	if err != nil {
		return err
	}
	data, err := dataset.Open(ctx, f.data.name, dataset.Train, opt)
	if err != nil {
		return err
	}
	test, err := dataset.Open(ctx, f.data.name, dataset.Test, opt)
	if err != nil {
		return err
	}
	f.net.Input, f.net.Classes = data.Shape(), data.Classes()
	g, err := zoo.Build(f.net)
	if err != nil {
		return usageError{err}
	}
	if _, err := f.cfg.WithDefaults(); err != nil {
		return usageError{err}
	}
	begin := time.Now()
	r, err := a.trainNetwork(ctx, f, g, subset(data, f.limit), resume, snapshot)
	if err != nil {
		return err
	}
	seconds := time.Since(begin).Seconds()
	meta := f.metadata(r.Steps)
	if err := model.Save(ctx, f.output, r.Params, &f.net, meta); err != nil {
		return err
	}
	if err := os.Remove(snapshot); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.warn("%v", err)
	}
	return a.reportTraining(ctx, f, g, r, test, seconds)
}

// resumption reads the snapshot when asked to, and refuses to start over one that is there: it is somebody's work.
func (f *trainFlags) resumption(path string) (*train.Snapshot, error) {
	_, err := os.Stat(path)
	switch {
	case err == nil && f.resume:
		return train.LoadSnapshot(path)
	case err == nil:
		return nil, fmt.Errorf("%q is the state of a training that was not finished: go on with --resume, or remove it", path)
	case f.resume:
		return nil, fmt.Errorf("nothing to resume: %w", err)
	}
	return nil, nil
}

func (a *app) trainNetwork(ctx context.Context, f *trainFlags, g *graph.Graph, data *dataset.Set, resume *train.Snapshot, snapshot string) (*train.Result, error) {
	params, err := zoo.Init(g, f.net, f.cfg.Seed)
	if err != nil {
		return nil, err
	}
	return train.Run(ctx, g, params, data, f.cfg, train.Options{
		Threads: a.threads, Resume: resume,
		Progress: func(e train.Event) {
			a.report("training", e.Step, e.Steps, fmt.Sprintf("epoch %d, loss %.4f, accuracy %.2f %%", e.Epoch, e.Loss, 100*e.Accuracy))
		},
		CheckpointEpochs: f.checkpoints,
		Checkpoint: func(epoch int, p map[string]*tensor.Tensor) error {
			meta := f.metadata(0)
			meta["rebasin.epoch"] = fmt.Sprint(epoch)
			return model.Save(ctx, checkpointName(f.output, epoch), p, &f.net, meta)
		},
		Snapshot: func(s *train.Snapshot) error {
			// The state is saved after Ctrl-C too, so this must not stop at the cancelled context.
			if err := s.Save(context.WithoutCancel(ctx), snapshot); err != nil {
				return err
			}
			a.afterInterrupt = fmt.Sprintf("; the state is in %s: go on with --resume", snapshot)
			return nil
		},
	})
}

// checkpointName is FILE-epochN with FILE's extension.
func checkpointName(output string, epoch int) string {
	ext := filepath.Ext(output)
	return fmt.Sprintf("%s-epoch%d%s", strings.TrimSuffix(output, ext), epoch, ext)
}

func (f *trainFlags) metadata(steps int) map[string]string {
	meta := map[string]string{
		"rebasin.version": version(), "rebasin.method": "train", "rebasin.seed": fmt.Sprint(f.cfg.Seed), "rebasin.data": f.data.name,
	}
	if steps > 0 {
		meta["rebasin.steps"] = fmt.Sprint(steps)
	}
	return meta
}

func (a *app) reportTraining(ctx context.Context, f *trainFlags, g *graph.Graph, r *train.Result, test *dataset.Set, seconds float64) error {
	runner, err := eval.NewRunner(g, a.threads)
	if err != nil {
		return err
	}
	defer runner.Close()
	if err := runner.SetParams(r.Params); err != nil {
		return err
	}
	m, err := runner.Evaluate(ctx, test)
	if err != nil {
		return err
	}
	a.finish()
	if a.json {
		return writeJSON(a.stdout, struct {
			Output  string        `json:"output"`
			History []train.Epoch `json:"history"`
			Test    eval.Metrics  `json:"test"`
			Seconds float64       `json:"seconds"`
		}{f.output, r.History, m, seconds})
	}
	fmt.Fprintf(a.stdout, "%s: test accuracy %.2f %%, test loss %.4f after %d epochs in %.1f s\n", f.output, 100*m.Accuracy, m.Loss, f.cfg.Epochs, seconds)
	for _, e := range slices.Sorted(maps.Keys(asSet(f.checkpoints))) {
		if e <= f.cfg.Epochs {
			fmt.Fprintln(a.stdout, checkpointName(f.output, e))
		}
	}
	return nil
}

func asSet(list []int) map[int]bool {
	set := map[int]bool{}
	for _, x := range list {
		set[x] = true
	}
	return set
}
