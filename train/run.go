package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/tensor"
)

// Epoch is the record of one finished epoch: means over the samples as they were trained on, parameters changing under them.
type Epoch struct {
	Epoch    int     `json:"epoch"` // from 1
	Loss     float64 `json:"loss"`
	Accuracy float64 `json:"accuracy"`
}

// Event is one report of progress, after a step.
type Event struct {
	Step, Steps int
	Epoch       int // from 1
	// Loss and Accuracy are the means of the epoch so far.
	Loss, Accuracy float64
}

// Options say how to run a [Config]; they do not change its result.
type Options struct {
	Threads int
	// Subject describes the network, as far as the names and shapes of its tensors do not. A snapshot remembers it and continues no other.
	Subject string
	// Resume continues a snapshot of the same run instead of starting from the initial parameters.
	Resume *Snapshot
	// Progress is called after every step.
	Progress func(Event)
	// Checkpoint is called with a copy of the parameters after each epoch in CheckpointEpochs; 0 is before the first.
	Checkpoint       func(epoch int, params map[string]*tensor.Tensor) error
	CheckpointEpochs []int
	// Snapshot is called at the end of each epoch and when the run is cancelled, with the state to resume from.
	Snapshot func(*Snapshot) error
}

// Result is a finished training.
type Result struct {
	Params  map[string]*tensor.Tensor
	History []Epoch
	Steps   int
}

// ErrDiverged is wrapped by the error of a run whose loss is no longer finite.
var ErrDiverged = errors.New("training diverged")

// Run trains the graph from the given parameters on the data with the cross-entropy loss. An epoch visits every sample once, in an order drawn
// from the seed; the last batch of an epoch may be smaller. Cancelling hands the state after the last whole step to Options.Snapshot, unless the
// end of an epoch has just done so, and returns ctx.Err().
//
// A step allocates nothing. The result depends on graph, parameters, data and configuration, not on the number of threads.
func Run(ctx context.Context, g *graph.Graph, params map[string]*tensor.Tensor, data eval.Data, cfg Config, opt Options) (*Result, error) {
	cfg, err := cfg.WithDefaults()
	if err != nil {
		return nil, err
	}
	if data.Len() == 0 {
		return nil, errors.New("train: the data set is empty")
	}
	if _, ok := data.(Augmenter); cfg.Augment.Active() && !ok {
		return nil, errors.New("train: only images can be augmented")
	}
	t, err := newTrainer(g, data, cfg, opt)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if opt.Resume != nil {
		err = t.restore(opt.Resume)
	} else {
		err = t.begin(params)
	}
	if err != nil {
		return nil, err
	}
	return t.run(ctx)
}

// trainer is the state of a run.
type trainer struct {
	cfg    Config
	opt    Options
	data   eval.Data
	feed   *feeder
	engine *nn.Engine[float32]
	update *updater

	perEpoch, total, step int
	history               []Epoch
	sum                   float64 // of the losses of the epoch so far
	correct, seen         int
	saved                 int // the step of the last snapshot, -1 before the first

	dlogits []float32
}

func newTrainer(g *graph.Graph, data eval.Data, cfg Config, opt Options) (*trainer, error) {
	perEpoch := (data.Len()-1)/cfg.Batch + 1
	if cfg.Epochs > math.MaxInt32/perEpoch {
		return nil, fmt.Errorf("train: %d epochs of %d steps are more steps than %d", cfg.Epochs, perEpoch, math.MaxInt32)
	}
	e, err := nn.New[float32](g, nn.Options{Threads: opt.Threads, Training: true, BatchStatistics: true, Seed: cfg.Seed})
	if err != nil {
		return nil, err
	}
	if err := checkBatches(e, data.Len(), cfg); err != nil {
		e.Close()
		return nil, err
	}
	return &trainer{
		cfg: cfg, opt: opt, data: data, engine: e,
		update:   newUpdater(cfg.Optimizer, e.Trained(), opt.Threads),
		perEpoch: perEpoch, total: perEpoch * cfg.Epochs, saved: -1,
		dlogits: make([]float32, min(cfg.Batch, data.Len())*data.Classes()),
	}, nil
}

// checkBatches plans the two sizes of batches that an epoch has, so that what cannot be trained on shows before the first step and not at the end of the
// first epoch: BatchNormalization needs two values of each channel, and a graph may have a fixed batch size.
func checkBatches(e *nn.Engine[float32], samples int, cfg Config) error {
	if cfg.Epochs == 0 {
		return nil
	}
	size := min(cfg.Batch, samples)
	if _, err := e.PlanElements(size); err != nil {
		return fmt.Errorf("train: batches of %d: %w", size, err)
	}
	if last := samples % size; last > 0 {
		if _, err := e.PlanElements(last); err != nil {
			return fmt.Errorf("train: %d samples in batches of %d leave %d for the last batch of an epoch: %w", samples, size, last, err)
		}
	}
	return nil
}

func (t *trainer) close() {
	if t.feed != nil {
		t.feed.close()
	}
	t.engine.Close()
	t.update.close()
}

// begin starts from the initial parameters.
func (t *trainer) begin(params map[string]*tensor.Tensor) error {
	if err := t.engine.SetParams(params); err != nil {
		return err
	}
	return t.checkpoint(0)
}

func (t *trainer) checkpoint(epoch int) error {
	if t.opt.Checkpoint == nil || !slices.Contains(t.opt.CheckpointEpochs, epoch) {
		return nil
	}
	return t.opt.Checkpoint(epoch, t.engine.ParamTensors())
}

func (t *trainer) run(ctx context.Context) (*Result, error) {
	t.feed = newFeeder(t.data, t.cfg, t.step, t.total)
	for t.step < t.total {
		if err := t.epoch(ctx); err != nil {
			return nil, err
		}
	}
	params := t.engine.ParamTensors()
	// Losses are looked at before each step, so nobody has seen yet what the last one made.
	for _, spec := range t.engine.Specs() {
		if i, found := params[spec.Name].NonFinite(); found {
			return nil, fmt.Errorf("train: after the last step: %w: element %d of tensor %q is not finite", ErrDiverged, i, spec.Name)
		}
	}
	return &Result{Params: params, History: t.history, Steps: t.step}, nil
}

// epoch runs the rest of the current epoch.
func (t *trainer) epoch(ctx context.Context) error {
	epoch := t.step / t.perEpoch
	for at := t.step % t.perEpoch; at < t.perEpoch; at++ {
		if err := ctx.Err(); err != nil {
			if failed := t.snapshot(); failed != nil {
				return errors.Join(err, failed)
			}
			return err
		}
		b := t.feed.take()
		err := t.trainOn(b)
		t.feed.giveBack(b)
		if err != nil {
			return fmt.Errorf("train: epoch %d, step %d: %w", epoch+1, t.step+1, err)
		}
		if t.opt.Progress != nil {
			n := float64(t.seen)
			t.opt.Progress(Event{Step: t.step, Steps: t.total, Epoch: epoch + 1, Loss: t.sum / n, Accuracy: float64(t.correct) / n})
		}
	}
	n := float64(t.seen)
	t.history = append(t.history, Epoch{Epoch: epoch + 1, Loss: t.sum / n, Accuracy: float64(t.correct) / n})
	t.sum, t.correct, t.seen = 0, 0, 0
	if err := t.checkpoint(epoch + 1); err != nil {
		return err
	}
	return t.snapshot()
}

// statisticsMomentum is what a batch counts in the running statistics of normalisations: PyTorch's default.
const statisticsMomentum = .1

// trainOn takes one step of the optimiser.
func (t *trainer) trainOn(b *batch) error {
	n, classes, labels := len(b.labels), t.data.Classes(), b.labels
	t.engine.SetStep(uint64(t.step))
	logits, err := t.engine.Forward(b.x, n)
	if err != nil {
		return err
	}
	if len(logits) != n*classes {
		return fmt.Errorf("the network gives %d outputs per sample, the data has %d classes", len(logits)/n, classes)
	}
	sum, correct := nn.CrossEntropy(logits, labels, classes, t.dlogits[:n*classes])
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return fmt.Errorf("%w: the loss is %v; a smaller learning rate may help", ErrDiverged, sum)
	}
	if err := t.engine.Backward(t.dlogits[:n*classes]); err != nil {
		return err
	}
	trained := t.engine.Trained()
	t.update.step(t.engine.Params()[:trained], t.engine.Grads()[:trained], t.cfg.Rate(t.step, t.total, t.perEpoch), t.step)
	t.engine.UpdateStatistics(statisticsMomentum)
	t.step++
	t.sum += sum
	t.correct += correct
	t.seen += n
	return nil
}
