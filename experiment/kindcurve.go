package experiment

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/eval"
	"github.com/rebasin/rebasin/experiment/task"
	"github.com/rebasin/rebasin/landscape"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/tensor"
	"github.com/rebasin/rebasin/zoo"
)

// curveOptions determine the measurement of the way between two networks, the second one aligned where the task needs a third artifact.
type curveOptions struct {
	Network zoo.Config `json:"network"`
	Data    Data       `json:"data"`
	Epoch   int        `json:"epoch,omitempty"`
	Points  int        `json:"points"`
	// Samples of the training data to measure on; the test data is measured whole.
	Samples int `json:"samples"`
	// Repair of statistics at each point, on RepairSamples of the training data, changed as in training.
	Repair        string               `json:"repair,omitempty"`
	RepairSamples int                  `json:"repair_samples,omitempty"`
	Augment       dataset.Augmentation `json:"augment,omitempty"`
}

// Curve is the result: what mixtures (1-λ)A + λB are worth.
type Curve struct {
	Points []CurvePoint `json:"points"`
}

// CurvePoint is one mixture.
type CurvePoint struct {
	Lambda float64 `json:"lambda"`
	Measures
}

func (l *Lab) curveKind() *task.Kind {
	return &task.Kind{Name: "curve", Recipe: 1, Work: l.curveWork, Rate: 6e10, Run: l.runCurve}
}

// repairBatch is how many samples run at once.
const repairBatch = 250

func (l *Lab) runCurve(ctx context.Context, job *task.Job) error {
	var o curveOptions
	if err := job.Decode(&o); err != nil {
		return err
	}
	p, err := l.openPair(ctx, job.Needs, o.Network, o.Data, o.Epoch)
	if err != nil {
		return err
	}
	if len(job.Needs) > 2 {
		if p.b, err = aligned(job.Needs[2], p.sym, p.b); err != nil {
			return err
		}
	}
	data, err := l.open(ctx, o.Data, dataset.Train)
	if err != nil {
		return err
	}
	data = data.Sample(o.Data.Limit)
	test, err := l.open(ctx, o.Data, dataset.Test)
	if err != nil {
		return err
	}
	runner, err := eval.NewRunner(p.g, job.Threads)
	if err != nil {
		return err
	}
	defer runner.Close()
	mix, err := newMix(ctx, p, o, runner, data, job.Threads)
	if err != nil {
		return err
	}
	thetas := [2][]float32{}
	for i, params := range []map[string]*tensor.Tensor{p.a, p.b} {
		if err := runner.SetParams(params); err != nil {
			return err
		}
		thetas[i] = slices.Clone(runner.Theta())
	}
	split := &eval.Split{Runner: runner, Train: data.Sample(o.Samples), Test: test}
	curve, err := landscape.Interpolate(ctx, "", thetas[0], thetas[1], landscape.Lambdas(o.Points), mix, split, func(done, total int) {
		job.Progress(done, total, "")
	})
	if err != nil {
		return err
	}
	var out Curve
	for _, c := range curve.Points {
		out.Points = append(out.Points, CurvePoint{c.Lambda, Measures{newMeasure(c.Train), newMeasure(c.Test)}})
	}
	return job.WriteResult(out)
}

// newMix repairs each mixture as the options say; nil where nothing is to be repaired.
func newMix(ctx context.Context, p *pair, o curveOptions, runner *eval.Runner, data *dataset.Set, threads int) (landscape.Mix, error) {
	method := merge.RepairMethod(o.Repair)
	if o.Repair == "" || method == merge.RepairNone {
		return nil, nil
	}
	repairer, err := newRepairer(ctx, p, method, o.RepairSamples, o.Augment, data, threads)
	if err != nil {
		return nil, err
	}
	return RepairedMix(ctx, runner, repairer), nil
}

// RepairedMix is the line between two networks, which lie in arenas like the runner's, with the statistics of every mixture repaired. It uses the
// runner's arena.
func RepairedMix(ctx context.Context, runner *eval.Runner, repairer *merge.Repairer) landscape.Mix {
	return func(dst, x, y []float32, lambda float64) error {
		if err := landscape.Lerp(runner.Theta(), x, y, lambda); err != nil {
			return err
		}
		out, err := repairer.Apply(ctx, runner.ParamTensors(), []float64{1 - lambda, lambda}, nil)
		if err != nil {
			return err
		}
		if err := runner.SetParams(out.Params); err != nil {
			return err
		}
		copy(dst, runner.Theta())
		return nil
	}
}

func newRepairer(ctx context.Context, p *pair, method merge.RepairMethod, samples int, augment dataset.Augmentation, data *dataset.Set, threads int) (*merge.Repairer, error) {
	part := data.Sample(samples)
	var images eval.Data = part
	if augment.Active() {
		images = part.Augmented(augment, dataset.SampleSeed, 0)
	}
	values := &eval.Values{Data: images, Threads: threads, Batch: repairBatch}
	return merge.NewRepairer(ctx, method, p.g, []map[string]*tensor.Tensor{p.a, p.b}, values)
}

func (l *Lab) curveWork(options json.RawMessage) float64 {
	var o curveOptions
	if json.Unmarshal(options, &o) != nil {
		return 0
	}
	flops, _ := l.cost(o.Network, o.Data)
	test, err := l.open(context.Background(), o.Data, dataset.Test)
	if err != nil {
		return 0
	}
	samples := test.Len() + o.Samples
	if o.Repair != "" {
		samples += 2 * o.RepairSamples
	}
	return flops * float64(o.Points*samples)
}

// Middle is the mixture at λ = ½, if the curve has one.
func (c *Curve) Middle() (CurvePoint, bool) {
	if len(c.Points)%2 == 0 {
		return CurvePoint{}, false
	}
	return c.Points[len(c.Points)/2], true
}

// Ends are the measures of A and of B, repaired like the mixtures.
func (c *Curve) Ends() [2]CurvePoint { return [2]CurvePoint{c.Points[0], c.Points[len(c.Points)-1]} }

// Barriers are those of the loss, on both parts of the data.
func (c *Curve) Barriers() SplitBarrier {
	lambdas := make([]float64, len(c.Points))
	train, test := slices.Clone(lambdas), slices.Clone(lambdas)
	for i, p := range c.Points {
		lambdas[i], train[i], test[i] = p.Lambda, float64(p.Train.Loss), float64(p.Test.Loss)
	}
	return SplitBarrier{landscape.LossBarrier(lambdas, train), landscape.LossBarrier(lambdas, test)}
}

// check finds a curve that cannot be one.
func (c *Curve) check() error {
	for i := 1; i < len(c.Points); i++ {
		if !(c.Points[i-1].Lambda < c.Points[i].Lambda) {
			return fmt.Errorf("experiment: a curve whose λ do not ascend")
		}
	}
	if len(c.Points) < 2 || c.Points[0].Lambda != 0 || c.Points[len(c.Points)-1].Lambda != 1 {
		return fmt.Errorf("experiment: a curve of %d points that does not go from 0 to 1", len(c.Points))
	}
	return nil
}
