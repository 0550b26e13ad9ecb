package nn

import (
	"errors"
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/tensor"
)

// Float is what an engine computes in.
type Float = kernel.Float

// ErrUnknownOperator is in the errors of New for graphs with an operator that the engine does not know.
var ErrUnknownOperator = errors.New("operator is not supported")

// Options say how an engine runs. The zero value is inference on all processors.
type Options struct {
	Threads  int      // 0 means GOMAXPROCS
	Training bool     // keep what Backward needs, and drop out
	Seed     uint64   // of the masks of Dropout
	Keep     []string // values, besides the outputs, that are to be readable after Forward
	Visit    []string // values that [Engine.ForwardThrough] shows on the way
	// BatchStatistics lets BatchNormalization normalise with mean and biased variance of the batch, in Backward, too, instead of the running
	// statistics, which [Engine.UpdateStatistics] then moves.
	BatchStatistics bool
}

// maxPlans is the number of batch sizes that stay prepared: training and evaluation, each with a smaller last batch.
const maxPlans = 4

// Engine runs one graph. It is not safe for concurrent use.
type Engine[T Float] struct {
	opt    Options
	net    *network[T]
	pool   *kernel.Pool
	convs  kernel.Workspace[T]
	specs  []ParamSpec
	params []T
	grads  []T
	// trained is the length of the part of the arenas without statistics.
	trained int

	plans   []*plan[T] // the one last used is last
	current *plan[T]   // of the last Forward
	ready   bool       // Backward may run: memory still holds what Forward left
	step    uint64     // number of the last Forward
	next    uint64     // number of the next one
}

// New makes a graph whose inputs have one batch axis, the first, ready to run, its parameters being zero. Errors name the node and its operator.
func New[T Float](g *graph.Graph, opt Options) (*Engine[T], error) {
	net, err := newNetwork[T](g, opt.Keep, opt.Visit)
	if err != nil {
		return nil, fmt.Errorf("nn: %w", err)
	}
	e := &Engine[T]{opt: opt, net: net}
	if err := e.layOut(); err != nil {
		return nil, fmt.Errorf("nn: graph %q: %w", g.Name, err)
	}
	e.pool = kernel.NewPool(opt.Threads)
	// What a node demands of its attributes shows when it is compiled: better now than at the first Forward.
	if _, err := newPlan(e, e.trialBatch()); err != nil {
		e.Close()
		return nil, fmt.Errorf("nn: graph %q: %w", g.Name, err)
	}
	return e, nil
}

// Close ends the engine's threads. The parameters stay readable; nothing else may be called.
func (e *Engine[T]) Close() { e.pool.Close() }

// trialBatch is a batch size for which every node that can be compiled at all can be.
func (e *Engine[T]) trialBatch() int {
	if n := e.fixedBatch(); n > 0 {
		return n
	}
	if e.opt.BatchStatistics {
		return 2
	}
	return 1
}

// fixedBatch is the batch size that the graph demands, or 0.
func (e *Engine[T]) fixedBatch() int {
	if e.net.batch == "" {
		return e.net.inputs[0].Shape[0].Size
	}
	return 0
}

// Forward runs the graph on x, whose first axis is the batch, and returns the first output, which is valid until the next call. It copies
// nothing: x must stay as it is until Backward is through, or until kept values that are views of it are no longer needed. The first call
// with a batch size plans it.
//
// Where a graph has several inputs an example in x is all of them, one after the other. Inputs of integers and truths are in x as T.
func (e *Engine[T]) Forward(x []T, batch int) ([]T, error) {
	p, err := e.prepare(x, batch)
	if err != nil {
		return nil, err
	}
	e.begin(p, x)
	for _, run := range p.forward {
		run()
	}
	e.current, e.ready = p, e.opt.Training
	return p.output.data(), nil
}

func (e *Engine[T]) begin(p *plan[T], x []T) {
	e.step = e.next
	e.next++
	p.setInput(x)
}

// ForwardThrough is [Engine.Forward] without a Backward to follow. As soon as a value of Options.Visit has been computed, and before anything reads it,
// it is handed to visit, which may change it, and the parameters of all that has not run yet. The value is valid during the call only. An error of
// visit ends the run.
func (e *Engine[T]) ForwardThrough(x []T, batch int, visit func(name string, shape tensor.Shape, value []T) error) ([]T, error) {
	p, err := e.prepare(x, batch)
	if err != nil {
		return nil, err
	}
	e.begin(p, x)
	e.current = nil
	at := 0
	for i := range len(p.forward) + 1 {
		for ; at < len(p.visits) && p.visits[at].after == i; at++ {
			v := p.visits[at].value
			if err := visit(v.name, v.shape, v.data()); err != nil {
				return nil, err
			}
		}
		if i < len(p.forward) {
			p.forward[i]()
		}
	}
	e.current = p
	return p.output.data(), nil
}

// checkBatch refuses batch sizes that the graph does not take.
func (e *Engine[T]) checkBatch(batch int) error {
	if batch < 1 {
		return fmt.Errorf("batch size %d is not positive", batch)
	}
	if want := e.fixedBatch(); want > 0 && batch != want {
		return fmt.Errorf("batch size %d, but input %q has shape %s", batch, e.net.inputs[0].Name, e.net.inputs[0].Shape)
	}
	return nil
}

// PlanElements is the number of elements of memory that Forward needs for a batch size, besides parameters and input, and Backward besides gradients and
// what convolutions work in. It allocates none of it. The errors are those that Forward would have for the batch size.
func (e *Engine[T]) PlanElements(batch int) (int, error) {
	err := e.checkBatch(batch)
	var p *planner[T]
	if err == nil {
		p, err = newPlan(e, batch)
	}
	if err != nil {
		return 0, fmt.Errorf("nn: graph %q: %w", e.net.graph.Name, err)
	}
	return place(p.buffers) + p.workspace(), nil
}

// prepare finds the plan for an input.
func (e *Engine[T]) prepare(x []T, batch int) (*plan[T], error) {
	e.ready = false
	p, err := e.plan(batch)
	if err != nil {
		return nil, fmt.Errorf("nn: graph %q: %w", e.net.graph.Name, err)
	}
	if len(x) != p.inputLen {
		return nil, fmt.Errorf("nn: graph %q: input %s has %d elements, a batch of %d needs %d",
			e.net.graph.Name, e.net.inputNames(), len(x), batch, p.inputLen)
	}
	return p, nil
}

// Value returns a value of the last Forward that Options.Keep names, or an output, with its shape. It is nil before the first Forward and
// for other values, and valid until the next Forward or, for views of the input, as long as that.
func (e *Engine[T]) Value(name string) ([]T, tensor.Shape) {
	if e.current == nil {
		return nil, nil
	}
	v, ok := e.current.values[name]
	if !ok {
		return nil, nil
	}
	return v.data(), v.shape
}

// Backward takes dout, the gradient of a loss with respect to the first output of the last Forward, and overwrites the gradients of all
// parameters. Every Backward needs a Forward of its own, in training, because it reuses the memory of what it no longer needs.
func (e *Engine[T]) Backward(dout []T) error {
	if !e.opt.Training {
		return errors.New("nn: Backward: the engine is for inference: Options.Training is false")
	}
	if !e.ready {
		return errors.New("nn: Backward: no Forward came before")
	}
	p := e.current
	if len(dout) != p.output.n {
		return fmt.Errorf("nn: Backward: the gradient has %d elements, output %q has %d", len(dout), p.output.name, p.output.n)
	}
	e.ready = false
	for _, g := range p.unused {
		clear(g)
	}
	if grad := p.output.store.grad; grad != nil {
		copy(grad.data, dout)
	}
	for _, run := range p.backward {
		run()
	}
	return nil
}

// UpdateStatistics folds the statistics of the last Forward into the running ones by PyTorch's rule: a running value becomes (1-momentum) times
// itself plus momentum times the batch's, of the variance the unbiased one. (ONNX counts momentum the other way round.) It does nothing without
// Options.BatchStatistics, or before the first Forward.
func (e *Engine[T]) UpdateStatistics(momentum float64) {
	if e.current == nil {
		return
	}
	for _, fold := range e.current.statistics {
		fold(momentum)
	}
}

// SetStep numbers the next Forward call; later ones count on from it. Dropout masks depend on the number, so that a training that is
// resumed draws those it would have drawn. A new engine starts at 0.
func (e *Engine[T]) SetStep(next uint64) { e.next = next }

// plan finds or makes the plan of a batch size.
func (e *Engine[T]) plan(batch int) (*plan[T], error) {
	for i, p := range e.plans {
		if p.batch == batch {
			copy(e.plans[i:], e.plans[i+1:])
			e.plans[len(e.plans)-1] = p
			return p, nil
		}
	}
	if err := e.checkBatch(batch); err != nil {
		return nil, err
	}
	planned, err := newPlan(e, batch)
	if err != nil {
		return nil, err
	}
	if len(e.plans) == maxPlans {
		e.plans = slices.Delete(e.plans, 0, 1)
	}
	p := planned.allocate()
	e.plans = append(e.plans, p)
	return p, nil
}
