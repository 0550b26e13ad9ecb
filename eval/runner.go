package eval

import (
	"context"
	"fmt"

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
	if k <= 0 {
		k = defaultTopK
	}
	classes := d.Classes()
	rep := Report{K: min(k, classes)}
	var bins calibration
	hits := 0
	err := r.each(ctx, d, func(logits []float32, labels []int32) error {
		rep.add(logits, labels, classes)
		for i, label := range labels {
			row := logits[i*classes : (i+1)*classes]
			if rank(row, int(label)) < rep.K {
				hits++
			}
			bins.add(row, int(label))
		}
		return nil
	})
	if err != nil {
		return Report{}, err
	}
	rep.divide()
	rep.TopK, rep.CalibrationError = float64(hits)/float64(rep.Count), bins.err()
	return rep, nil
}

// Logits runs the network on the data in batches, in order, and hands each to visit, row-major [batch, classes]; the slice is valid during the
// call only.
func (r *Runner) Logits(ctx context.Context, d Data, visit func(logits []float32, batch int) error) error {
	return r.each(ctx, d, func(logits []float32, labels []int32) error { return visit(logits, len(labels)) })
}

// each runs the data in batches, in order.
func (r *Runner) each(ctx context.Context, d Data, visit func(logits []float32, labels []int32) error) error {
	if d.Len() == 0 {
		return errEmpty
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
