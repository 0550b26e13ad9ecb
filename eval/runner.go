package eval

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/tensor"
)

// DefaultBatch is the number of samples that run at once.
const DefaultBatch = 500

// defaultTopK is the K of Report when none is given.
const defaultTopK = 5

// Runner measures parameters of one graph. It is not safe for concurrent use; Close it.
type Runner struct {
	engine  *nn.Engine[float32]
	batches batches
}

// NewRunner compiles the graph for inference on the given number of threads, 0 meaning all.
func NewRunner(g *graph.Graph, threads int) (*Runner, error) {
	return newRunner(g, nn.Options{Threads: threads})
}

// NewBatchRunner is NewRunner, but normalises each batch by its own statistics where the network has BatchNormalization: what it will compute
// once its running statistics have been reset.
func NewBatchRunner(g *graph.Graph, threads int) (*Runner, error) {
	return newRunner(g, nn.Options{Threads: threads, BatchStatistics: len(graph.Statistics(g)) > 0})
}

func newRunner(g *graph.Graph, opt nn.Options) (*Runner, error) {
	e, err := nn.New[float32](g, opt)
	if err != nil {
		return nil, err
	}
	return &Runner{engine: e, batches: batches{size: DefaultBatch}}, nil
}

// Close joins the engine's threads.
func (r *Runner) Close() { r.engine.Close() }

// SetParams gives the network its parameters.
func (r *Runner) SetParams(p map[string]*tensor.Tensor) error { return r.engine.SetParams(p) }

// ParamTensors copies the parameters.
func (r *Runner) ParamTensors() map[string]*tensor.Tensor { return r.engine.ParamTensors() }

// Theta is the flat arena of parameters, to be written in place; its layout is that of nn.Engine.Specs.
func (r *Runner) Theta() []float32 { return r.engine.Params() }

// Evaluate returns the mean loss and the accuracy. A network that diverged has a loss that is not finite, which is no error.
func (r *Runner) Evaluate(ctx context.Context, d Data) (Metrics, error) {
	var m Metrics
	err := r.each(ctx, d, func(logits []float32, labels []int32) error {
		m.add(logits, labels, d.Classes())
		return nil
	})
	if err != nil {
		return Metrics{}, err
	}
	m.divide()
	return m, nil
}

// add adds a batch to the sums.
func (m *Metrics) add(logits []float32, labels []int32, classes int) {
	sum, correct := nn.CrossEntropy(logits, labels, classes, nil)
	m.Loss += sum
	m.Accuracy += float64(correct)
	m.Count += len(labels)
}

// divide makes means of the sums.
func (m *Metrics) divide() {
	m.Loss /= float64(m.Count)
	m.Accuracy /= float64(m.Count)
}

// Report returns the full measurement, with the top k classes counted (k is cut to the number of classes; 0 means 5).
func (r *Runner) Report(ctx context.Context, d Data, k int) (Report, error) {
	rep := newReporter(d.Classes(), k)
	if err := r.each(ctx, d, rep.add); err != nil {
		return Report{}, err
	}
	return rep.report(), nil
}

// Ensemble is the full measurement of several networks that predict together: the mean of their probabilities (Lakshminarayanan, Pritzel, Blundell
// 2017, arXiv:1612.01474). use gives the runner the parameters of each network in turn. Memory: one float64 for each sample and class.
func (r *Runner) Ensemble(ctx context.Context, d Data, k, networks int, use func(i int) error) (Report, error) {
	if networks < 1 {
		return Report{}, errors.New("eval: an ensemble of no networks")
	}
	classes := d.Classes()
	sums := make([]float64, d.Len()*classes)
	rep := newReporter(classes, k)
	var mean []float32
	for i := range networks {
		if err := use(i); err != nil {
			return Report{}, err
		}
		at := 0
		err := r.each(ctx, d, func(logits []float32, labels []int32) error {
			addProbabilities(sums[at:at+len(logits)], logits, classes)
			if i == networks-1 {
				// The logarithm of a mean of probabilities is a logit of it.
				mean = slices.Grow(mean[:0], len(logits))[:len(logits)]
				for j := range mean {
					mean[j] = float32(math.Log(sums[at+j] / float64(networks)))
				}
				if err := rep.add(mean, labels); err != nil {
					return err
				}
			}
			at += len(logits)
			return nil
		})
		if err != nil {
			return Report{}, err
		}
	}
	return rep.report(), nil
}

// addProbabilities adds the softmax of each row.
func addProbabilities(sums []float64, logits []float32, classes int) {
	for at := 0; at < len(logits); at += classes {
		row := logits[at : at+classes]
		top, total := float64(slices.Max(row)), 0.0
		for _, z := range row {
			total += math.Exp(float64(z) - top)
		}
		for c, z := range row {
			sums[at+c] += math.Exp(float64(z)-top) / total
		}
	}
}

// reporter gathers a Report.
type reporter struct {
	rep     Report
	classes int
	bins    calibration
	hits    int
}

func newReporter(classes, k int) *reporter {
	if k <= 0 {
		k = defaultTopK
	}
	return &reporter{rep: Report{K: min(k, classes)}, classes: classes}
}

func (r *reporter) add(logits []float32, labels []int32) error {
	r.rep.add(logits, labels, r.classes)
	for i, label := range labels {
		row := logits[i*r.classes : (i+1)*r.classes]
		if rank(row, int(label)) < r.rep.K {
			r.hits++
		}
		r.bins.add(row, int(label))
	}
	return nil
}

func (r *reporter) report() Report {
	r.rep.divide()
	r.rep.TopK, r.rep.CalibrationError, r.rep.Bins = float64(r.hits)/float64(r.rep.Count), r.bins.err(), r.bins.bins()
	return r.rep
}

// Logits runs the network on the data in batches, in order, and hands each to visit, row-major [batch, classes]; the slice is valid during the
// call only.
func (r *Runner) Logits(ctx context.Context, d Data, visit func(logits []float32, batch int) error) error {
	return r.each(ctx, d, func(logits []float32, labels []int32) error { return visit(logits, len(labels)) })
}

// each runs the data in batches, in order.
func (r *Runner) each(ctx context.Context, d Data, visit func(logits []float32, labels []int32) error) error {
	if err := CheckLabels(d); err != nil {
		return fmt.Errorf("eval: %w", err)
	}
	for batch := range r.batches.number(d) {
		if err := ctx.Err(); err != nil {
			return err
		}
		x, labels := r.batches.fill(d, batch)
		logits, err := r.engine.Forward(x, len(labels))
		if err != nil {
			return err
		}
		if len(logits) != len(labels)*d.Classes() {
			return fmt.Errorf("eval: the network gives %d outputs per sample, the data has %d classes", len(logits)/len(labels), d.Classes())
		}
		if err := visit(logits, labels); err != nil {
			return err
		}
	}
	return nil
}
