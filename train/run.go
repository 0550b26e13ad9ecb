package train

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/internal/kernel"
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
	// Subject says what is trained and on what, as far as Config does not. A snapshot remembers it and continues no other.
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
// from the seed; the last batch of an epoch may be smaller. Cancelling calls Options.Snapshot with the state after the last whole step and
// returns ctx.Err().
func Run(ctx context.Context, g *graph.Graph, params map[string]*tensor.Tensor, data eval.Data, cfg Config, opt Options) (*Result, error) {
	cfg, err := cfg.WithDefaults()
	if err != nil {
		return nil, err
	}
	if data.Len() == 0 {
		return nil, errors.New("train: the data set is empty")
	}
	t, err := newTrainer(g, data, cfg, opt)
	if err != nil {
		return nil, err
	}
	defer t.engine.Close()
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
	engine *nn.Engine[float32]
	update *updater

	perEpoch, total, step int
	history               []Epoch
	sum                   float64 // of the losses of the epoch so far
	correct, seen         int

	x, dlogits []float32
	labels     []int32
}

func newTrainer(g *graph.Graph, data eval.Data, cfg Config, opt Options) (*trainer, error) {
	e, err := nn.New[float32](g, nn.Options{Threads: opt.Threads, Training: true, Seed: cfg.Seed})
	if err != nil {
		return nil, err
	}
	size := 1
	for _, n := range data.Shape() {
		size *= n
	}
	t := &trainer{
		cfg: cfg, opt: opt, data: data, engine: e,
		perEpoch: (data.Len() + cfg.Batch - 1) / cfg.Batch,
		x:        make([]float32, cfg.Batch*size),
		dlogits:  make([]float32, cfg.Batch*data.Classes()),
		labels:   make([]int32, cfg.Batch),
	}
	t.total = t.perEpoch * cfg.Epochs
	t.update = newUpdater(cfg.Optimizer, len(e.Params()), opt.Threads)
	return t, nil
}

// begin starts from the initial parameters.
func (t *trainer) begin(params map[string]*tensor.Tensor) error {
	if err := t.engine.SetParams(params); err != nil {
		return err
	}
	return t.checkpoint(0)
}

func (t *trainer) checkpoint(epoch int) error {
	if t.opt.Checkpoint == nil {
		return nil
	}
	for _, e := range t.opt.CheckpointEpochs {
		if e == epoch {
			return t.opt.Checkpoint(epoch, t.engine.ParamTensors())
		}
	}
	return nil
}

func (t *trainer) run(ctx context.Context) (*Result, error) {
	defer t.update.close()
	for t.step < t.total {
		if err := t.epoch(ctx); err != nil {
			return nil, err
		}
	}
	return &Result{Params: t.engine.ParamTensors(), History: t.history, Steps: t.step}, nil
}

// epoch runs the rest of the current epoch.
func (t *trainer) epoch(ctx context.Context) error {
	epoch := t.step / t.perEpoch
	order := dataset.Order(t.data.Len(), t.cfg.Seed, epoch)
	for at := t.step % t.perEpoch; at < t.perEpoch; at++ {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, t.snapshot())
		}
		batch := order[at*t.cfg.Batch : min((at+1)*t.cfg.Batch, len(order))]
		if err := t.trainOn(batch); err != nil {
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

// trainOn takes one step of the optimiser.
func (t *trainer) trainOn(batch []int) error {
	n, classes := len(batch), t.data.Classes()
	x, labels := t.x[:len(t.x)/t.cfg.Batch*n], t.labels[:n]
	t.data.Fill(batch, x, labels)
	t.engine.SetStep(uint64(t.step))
	logits, err := t.engine.Forward(x, n)
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
	t.update.step(t.engine.Params(), t.engine.Grads(), t.cfg.Rate(t.step, t.total, t.perEpoch), t.step)
	t.step++
	t.sum += sum
	t.correct += correct
	t.seen += n
	return nil
}

// updater applies the optimiser to the flat arena in fixed pieces, on its own threads.
type updater struct {
	opt  Optimizer
	m, v []float32
	pool *kernel.Pool

	w, g []float32
	adam kernel.AdamParams
	sgd  kernel.SGDParams
}

// updatePiece is the part of the arena one task updates; elementwise, so the result does not depend on it.
const updatePiece = 1 << 16

func newUpdater(opt Optimizer, n, threads int) *updater {
	u := &updater{opt: opt, m: make([]float32, n), pool: kernel.NewPool(threads)}
	if opt.Name == "adam" {
		u.v = make([]float32, n)
	}
	return u
}

func (u *updater) close() { u.pool.Close() }

func (u *updater) step(w, g []float32, rate float64, step int) {
	t := float64(step + 1)
	o := u.opt
	u.w, u.g = w, g
	u.adam = kernel.AdamParams{
		LR: rate, Beta1: o.Beta1, Beta2: o.Beta2, Epsilon: o.Epsilon, WeightDecay: o.WeightDecay,
		Correction1: 1 - math.Pow(o.Beta1, t), Correction2: 1 - math.Pow(o.Beta2, t),
	}
	u.sgd = kernel.SGDParams{LR: rate, Momentum: o.Momentum, WeightDecay: o.WeightDecay, Nesterov: o.Nesterov}
	u.pool.Run((len(w)+updatePiece-1)/updatePiece, u)
}

// Do updates one piece.
func (u *updater) Do(part int) {
	lo, hi := part*updatePiece, min((part+1)*updatePiece, len(u.w))
	if u.opt.Name == "adam" {
		kernel.AdamStep(u.w[lo:hi], u.g[lo:hi], u.m[lo:hi], u.v[lo:hi], u.adam)
		return
	}
	kernel.SGDStep(u.w[lo:hi], u.g[lo:hi], u.m[lo:hi], u.sgd)
}
