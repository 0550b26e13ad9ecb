package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	part        partFlags
	output      string
	resume      bool
	checkpoints []int
}

func (a *app) train() *cobra.Command {
	var f trainFlags
	c := &cobra.Command{
		Use:   "train --arch NAME --data NAME -o FILE",
		Short: "Train a network",
		Long: `Trains a network and writes it as safetensors; the file names its own
architecture. While it runs, its state is kept beside the output as FILE.snapshot,
at the end of each epoch and on Ctrl-C; --resume goes on from there, with the same
flags, and ends in the same bytes.`,
		Example: `  rebasin train --arch mlp --data mnist --epochs 10 --batch 500 --seed 1 -o a.safetensors
  rebasin train --arch mlp --hidden 32,32,32 --data fashion-mnist --optimizer sgd --lr 0.1 --momentum 0.9 --schedule cosine --warmup 1 -o b.safetensors
  rebasin train --arch resnet20 --data cifar10 --augment standard --optimizer sgd --momentum 0.9 --schedule cosine --batch 128 -o c.safetensors
  rebasin train --arch resnet8 --data photos.zip --resize 32 --augment paper --skip-corrupt -o d.safetensors
  rebasin train --arch mlp --data mnist --epochs 10 --seed 1 -o a.safetensors --resume`,
		Args: arguments(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error { return a.runTrain(c.Context(), &f) },
	}
	s := c.Flags()
	s.StringVar(&f.net.Arch, "arch", "mlp", "architecture: "+strings.Join(architectures, ", ")+"; also resnets for CIFAR of other depths 6n+2")
	s.Float64Var(&f.net.Width, "width", 0, "multiplies the architecture's own widths, any number above 0 (mlp: three hidden layers of 512, vgg: 64, resnet: 16, of the forms for ImageNet 64); 0 is 1")
	s.IntSliceVar(&f.net.Hidden, "hidden", nil, "widths of the hidden layers of an mlp, instead of --width")
	s.StringVar(&f.net.Norm, "norm", "", "normalisation: none (default of mlp), layer; vgg, resnet: also batch (default), group")
	s.IntVar(&f.net.Groups, "groups", 0, "groups of --norm group; 0 is up to 32")
	s.StringVar(&f.net.Shortcut, "shortcut", "", "projections of a resnet for CIFAR: conv3 (default), conv1, pad")
	s.IntVar(&f.net.Classifier, "classifier", 0, "width of the hidden layers of a vgg's classifier; 0 is that of the last convolution")
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
	s.StringVarP(&f.output, "output", "o", "", "`FILE` to write")
	s.BoolVar(&f.resume, "resume", false, "go on from FILE.snapshot")
	s.StringVar((*string)(&f.cfg.Augment), "augment", "none",
		"random changes of the images: standard (pad 4, crop, mirror), paper (resize .8 to 1.2, crop, mirror, rotate up to 30 degrees), none")
	choices(c, "augment", dataset.Augmentations()...)
	f.part.register(c)
	f.data.register(c, "to train on")
	f.data.registerSamples(c, "limit", 0, "train on this many samples of the data only, a fixed random part, and test on at most as many; 0 is all")
	choices(c, "arch", architectures...)
	choices(c, "norm", norms...)
	choices(c, "shortcut", "conv3", "conv1", "pad")
	choices(c, "activation", "relu", "leaky_relu", "prelu", "tanh", "sigmoid", "gelu")
	choices(c, "optimizer", "adam", "sgd")
	choices(c, "schedule", "constant", "cosine")
	return c
}

func (a *app) runTrain(ctx context.Context, f *trainFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	resume, err := f.resumption()
	if err != nil {
		return err
	}
	if err := f.data.chooseNormalization(); err != nil {
		return err
	}
	data, test, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	f.net.Input, f.net.Classes = data.Shape(), data.Classes()
	g, err := zoo.Build(f.net)
	if err != nil {
		return usageError{err}
	}
	begin := time.Now()
	r, err := a.fit(ctx, f, g, data, resume)
	if err != nil {
		return err
	}
	seconds := time.Since(begin).Seconds()
	m, err := a.measure(ctx, g, r.Params, test)
	if err != nil {
		return err
	}
	if err := model.Save(ctx, f.output, r.Params, &f.net, f.metadata(r.Steps)); err != nil {
		return err
	}
	if err := os.Remove(f.snapshot()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.warn("%v", err)
	}
	a.finish()
	return a.reportTraining(f, r, m, seconds)
}

// open loads what to train on, and what to test on: of each part at most as many samples as --limit says.
func (f *trainFlags) open(ctx context.Context, a *app) (data, test *dataset.Set, err error) {
	if data, err = f.data.load(ctx, a, dataset.Train); err != nil {
		return nil, nil, err
	}
	if test, err = f.data.load(ctx, a, dataset.Test); err != nil {
		return nil, nil, err
	}
	if !slices.Equal(data.Shape(), test.Shape()) || data.Classes() != test.Classes() {
		return nil, nil, fmt.Errorf("%s has samples of shape %v in %d classes to train on, and of shape %v in %d classes to test with",
			data.Name(), data.Shape(), data.Classes(), test.Shape(), test.Classes())
	}
	for _, set := range []*dataset.Set{data, test} {
		if err := labelled(set); err != nil {
			return nil, nil, err
		}
	}
	if err := f.data.checkKind(a, data, nil); err != nil {
		return nil, nil, err
	}
	if f.cfg.Augment.Active() && !data.Images() {
		return nil, nil, usagef("--augment %s: %s has arrays that are no images", f.cfg.Augment, data.Name())
	}
	if data, err = f.part.of(data); err != nil {
		return nil, nil, err
	}
	return data.Sample(f.data.samples), test.Sample(f.data.samples), nil
}

// check finds mistakes in the flags before anything is opened.
func (f *trainFlags) check() error {
	if err := checkOutput(f.output); err != nil {
		return err
	}
	if err := f.data.require(); err != nil {
		return err
	}
	if err := f.part.check(); err != nil {
		return err
	}
	if f.cfg.Epochs < 1 || f.cfg.Batch < 1 {
		return usagef("--epochs and --batch must be at least 1")
	}
	slices.Sort(f.checkpoints)
	f.checkpoints = slices.Compact(f.checkpoints)
	for _, epoch := range f.checkpoints {
		if epoch < 0 || epoch > f.cfg.Epochs {
			return usagef("--checkpoints: there is no epoch %d in a training of %d", epoch, f.cfg.Epochs)
		}
	}
	if _, err := f.cfg.WithDefaults(); err != nil {
		return usageError{err}
	}
	return nil
}

// snapshot is the file that holds the state of the training while it runs.
func (f *trainFlags) snapshot() string { return f.output + ".snapshot" }

// resumption reads the snapshot when asked to, and refuses to start over one that is there: it is somebody's work.
func (f *trainFlags) resumption() (*train.Snapshot, error) {
	_, err := os.Stat(f.snapshot())
	switch {
	case err == nil && f.resume:
		return train.LoadSnapshot(f.snapshot())
	case err == nil:
		return nil, fmt.Errorf("%q is the state of a training that was not finished: go on with --resume, or remove it", f.snapshot())
	case f.resume:
		return nil, fmt.Errorf("nothing to resume: %w", err)
	}
	return nil, nil
}

// fit trains from the initialisation, or from the snapshot.
func (a *app) fit(ctx context.Context, f *trainFlags, g *graph.Graph, data *dataset.Set, resume *train.Snapshot) (*train.Result, error) {
	params, err := zoo.Init(g, f.net, f.cfg.Seed)
	if err != nil {
		return nil, err
	}
	subject, err := f.net.Encode()
	if err != nil {
		return nil, err
	}
	if resume != nil {
		a.afterInterrupt = f.howToGoOn()
	}
	return train.Run(ctx, g, params, data, f.cfg, train.Options{
		Threads: a.threads, Subject: subject, Resume: resume, CheckpointEpochs: f.checkpoints,
		Progress: func(e train.Event) {
			a.report("training", e.Step, e.Steps, fmt.Sprintf("epoch %d, loss %.4f, accuracy %.2f %%", e.Epoch, e.Loss, 100*e.Accuracy))
		},
		Checkpoint: func(epoch int, p map[string]*tensor.Tensor) error {
			meta := f.metadata(0)
			meta["rebasin.epoch"] = fmt.Sprint(epoch)
			return model.Save(ctx, f.checkpoint(epoch), p, &f.net, meta)
		},
		Snapshot: func(s *train.Snapshot) error { return a.keepSnapshot(ctx, f, s) },
	})
}

// keepSnapshot saves the state, after Ctrl-C too: it must not stop at the cancelled context.
func (a *app) keepSnapshot(ctx context.Context, f *trainFlags, s *train.Snapshot) error {
	if err := s.Save(context.WithoutCancel(ctx), f.snapshot()); err != nil {
		a.afterInterrupt = fmt.Sprintf("; the state of the last steps could not be saved: %s", oneLine(err))
		return err
	}
	a.afterInterrupt = f.howToGoOn()
	return nil
}

func (f *trainFlags) howToGoOn() string {
	return fmt.Sprintf("; the state is in %s: go on with --resume", f.snapshot())
}

// checkpoint is FILE-epochN with FILE's extension.
func (f *trainFlags) checkpoint(epoch int) string {
	ext := filepath.Ext(f.output)
	return fmt.Sprintf("%s-epoch%d%s", strings.TrimSuffix(f.output, ext), epoch, ext)
}

func (f *trainFlags) metadata(steps int) map[string]string {
	meta := map[string]string{
		"rebasin.version": version(), "rebasin.method": "train", "rebasin.seed": fmt.Sprint(f.cfg.Seed), "rebasin.data": f.data.name,
	}
	f.data.describe(meta)
	f.part.describe(meta)
	if f.cfg.Augment.Active() {
		meta[augmentKey] = string(f.cfg.Augment)
	}
	if steps > 0 {
		meta["rebasin.steps"] = fmt.Sprint(steps)
	}
	return meta
}

func (a *app) measure(ctx context.Context, g *graph.Graph, params map[string]*tensor.Tensor, data *dataset.Set) (eval.Metrics, error) {
	runner, err := a.newRunner(g, params)
	if err != nil {
		return eval.Metrics{}, err
	}
	defer runner.Close()
	return runner.Evaluate(ctx, data)
}

func (a *app) reportTraining(f *trainFlags, r *train.Result, test eval.Metrics, seconds float64) error {
	if a.json {
		return writeJSON(a.stdout, struct {
			Output  string        `json:"output"`
			History []train.Epoch `json:"history"`
			Test    eval.Metrics  `json:"test"`
			Seconds float64       `json:"seconds"`
		}{f.output, r.History, test, seconds})
	}
	on := ""
	if f.data.samples > 0 {
		on = " on " + counted(test.Count, "sample")
	}
	a.printf("%s: test accuracy %.2f %%, test loss %.4f%s after %s in %.1f s\n", f.output, 100*test.Accuracy, test.Loss, on, counted(r.Steps, "step"), seconds)
	for _, epoch := range f.checkpoints {
		a.printf("%s\n", f.checkpoint(epoch))
	}
	return nil
}
