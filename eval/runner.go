package eval

import (
	"context"
	"fmt"
	"math"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/tensor"
)

// Report is the full measurement of a model on data.
type Report struct {
	Metrics
	// TopK is the fraction of samples whose label is among the K largest logits; ties count against the model.
	TopK float64
	K    int
	// CalibrationError is the expected calibration error over [CalibrationBins] bins: Σ n_b/n |accuracy_b - confidence_b|.
	CalibrationError float64
}

// Runner measures parameters of one graph. It is not safe for concurrent use; Close it.
type Runner struct {
	engine  *nn.Engine[float32]
	batch   int
	x       []float32
	labels  []int32
	indices []int
}

// NewRunner compiles the graph for inference on the given number of threads, 0 meaning all.
func NewRunner(g *graph.Graph, threads int) (*Runner, error) {
	e, err := nn.New[float32](g, nn.Options{Threads: threads})
	if err != nil {
		return nil, err
	}
	return &Runner{engine: e, batch: DefaultBatch}, nil
}

// Close joins the engine's threads.
func (r *Runner) Close() { r.engine.Close() }

// SetParams gives the network its parameters.
func (r *Runner) SetParams(p map[string]*tensor.Tensor) error { return r.engine.SetParams(p) }

// Theta is the flat arena of parameters, to be written in place; its layout is that of nn.Engine.Specs.
func (r *Runner) Theta() []float32 { return r.engine.Params() }

// Evaluate returns the mean loss and the accuracy. A network that diverged has a loss that is not finite, which is no error.
func (r *Runner) Evaluate(ctx context.Context, d Data) (Metrics, error) {
	var m Metrics
	err := r.each(ctx, d, func(logits []float32, labels []int32) error {
		sum, correct := nn.CrossEntropy(logits, labels, d.Classes(), nil)
		m.Loss += sum
		m.Accuracy += float64(correct)
		m.Count += len(labels)
		return nil
	})
	m.Loss /= float64(m.Count)
	m.Accuracy /= float64(m.Count)
	return m, err
}

// Report returns the full measurement, with the top k classes counted (k is cut to the number of classes; 0 means 5).
func (r *Runner) Report(ctx context.Context, d Data, k int) (Report, error) {
	if k <= 0 {
		k = 5
	}
	rep := Report{K: min(k, d.Classes())}
	var bins calibration
	hits := 0
	err := r.each(ctx, d, func(logits []float32, labels []int32) error {
		sum, correct := nn.CrossEntropy(logits, labels, d.Classes(), nil)
		rep.Loss += sum
		rep.Accuracy += float64(correct)
		rep.Count += len(labels)
		for i, label := range labels {
			row := logits[i*d.Classes() : (i+1)*d.Classes()]
			if rank(row, int(label)) < rep.K {
				hits++
			}
			bins.add(row, int(label))
		}
		return nil
	})
	n := float64(rep.Count)
	rep.Loss, rep.Accuracy, rep.TopK, rep.CalibrationError = rep.Loss/n, rep.Accuracy/n, float64(hits)/n, bins.err()
	return rep, err
}

// Logits runs the network on samples start to end of the data and hands each batch to visit; the slice is valid during the call only.
func (r *Runner) Logits(ctx context.Context, d Data, visit func(logits []float32, batch int) error) error {
	return r.each(ctx, d, func(logits []float32, labels []int32) error { return visit(logits, len(labels)) })
}

// each runs the data in batches, in order.
func (r *Runner) each(ctx context.Context, d Data, visit func(logits []float32, labels []int32) error) error {
	n := d.Len()
	if n == 0 {
		return fmt.Errorf("eval: the data set is empty")
	}
	size := sampleSize(d)
	for start := 0; start < n; start += r.batch {
		if err := ctx.Err(); err != nil {
			return err
		}
		count := min(r.batch, n-start)
		r.fill(d, start, count, size)
		logits, err := r.engine.Forward(r.x[:count*size], count)
		if err != nil {
			return err
		}
		if len(logits) != count*d.Classes() {
			return fmt.Errorf("eval: the network gives %d outputs per sample, the data has %d classes", len(logits)/count, d.Classes())
		}
		if err := visit(logits, r.labels[:count]); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) fill(d Data, start, count, size int) {
	if len(r.x) < r.batch*size {
		r.x = make([]float32, r.batch*size)
	}
	if r.labels == nil {
		r.labels, r.indices = make([]int32, r.batch), make([]int, r.batch)
	}
	for i := range count {
		r.indices[i] = start + i
	}
	d.Fill(r.indices[:count], r.x[:count*size], r.labels[:count])
}

// sampleSize is the number of values of one sample.
func sampleSize(d Data) int {
	n := 1
	for _, e := range d.Shape() {
		n *= e
	}
	return n
}

// rank is the number of classes whose logit is at least the label's, the label itself not counted. A logit that is NaN counts against the model.
func rank(logits []float32, label int) int {
	n := 0
	for c, z := range logits {
		if c != label && !(z < logits[label]) {
			n++
		}
	}
	return n
}

// calibration gathers confidence and accuracy in equal-width bins.
type calibration struct {
	count               [CalibrationBins]int
	confidence, correct [CalibrationBins]float64
	samples             int
}

func (b *calibration) add(logits []float32, label int) {
	best := 0
	for c, z := range logits {
		if z > logits[best] {
			best = c
		}
	}
	var sum float64
	for _, z := range logits {
		sum += math.Exp(float64(z) - float64(logits[best]))
	}
	p := 1 / sum
	bin := 0 // a softmax that is not finite says nothing: confidence 0
	if p > 0 {
		// Bins are (i/B, (i+1)/B].
		bin = min(max(int(math.Ceil(p*CalibrationBins))-1, 0), CalibrationBins-1)
	} else {
		p = 0
	}
	b.samples++
	b.count[bin]++
	b.confidence[bin] += p
	if best == label {
		b.correct[bin]++
	}
}

func (b *calibration) err() float64 {
	var sum float64
	for i, n := range b.count {
		if n > 0 {
			sum += math.Abs(b.correct[i] - b.confidence[i])
		}
	}
	return sum / float64(max(b.samples, 1))
}
