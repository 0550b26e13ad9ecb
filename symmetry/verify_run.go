package symmetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/tensor"
)

// Equivalent runs a network with two sets of parameters in float64 and returns the greatest deviation of their outputs,
// max|Δ| / max(1, max|y|), y being the outputs of a: at most [Tolerance] where both compute the same. x holds n inputs one
// after the other; where it is nil, n random ones are drawn, always the same; where n is 0, 32 or, if these would take
// long, at least 2. samples is their number.
// Outputs that are not finite are an error.
func Equivalent(ctx context.Context, g *graph.Graph, a, b map[string]*tensor.Tensor, x []float32, n int,
) (maxDeviation float64, samples int, err error) {
	r, err := newVerifyRun(g, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("verify: %w", err)
	}
	defer r.close()
	if err := r.setSome(x, n); err != nil {
		return 0, 0, fmt.Errorf("verify: %w", err)
	}
	var outputs [2][]float64
	for i, params := range []map[string]*tensor.Tensor{a, b} {
		if outputs[i], err = r.outputsOf(ctx, params); err != nil {
			return 0, 0, fmt.Errorf("verify: %s network: %w", [2]string{"first", "second"}[i], err)
		}
	}
	return outputDeviation(outputs[1], outputs[0]), r.samples, nil
}

// SameFunction is [Equivalent] for two networks with graphs of their own, which may name things differently: their inputs and outputs are told by their
// order. An error says where these do not go together.
func SameFunction(ctx context.Context, ga *graph.Graph, a map[string]*tensor.Tensor, gb *graph.Graph, b map[string]*tensor.Tensor, x []float32, n int,
) (maxDeviation float64, samples int, err error) {
	ra, err := newVerifyRun(ga, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("verify: first network: %w", err)
	}
	defer ra.close()
	rb, err := newVerifyRun(gb, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("verify: second network: %w", err)
	}
	defer rb.close()
	if err := ra.meet(rb); err != nil {
		return 0, 0, fmt.Errorf("verify: %w", err)
	}
	if err := ra.setSome(x, n); err != nil {
		return 0, 0, fmt.Errorf("verify: %w", err)
	}
	if err := rb.setInputs(ra.inputs); err != nil {
		return 0, 0, fmt.Errorf("verify: %w", err)
	}
	ya, err := ra.outputsOf(ctx, a)
	if err != nil {
		return 0, 0, fmt.Errorf("verify: first network: %w", err)
	}
	yb, err := rb.outputsOf(ctx, b)
	if err != nil {
		return 0, 0, fmt.Errorf("verify: second network: %w", err)
	}
	if len(ya) != len(yb) {
		return 0, 0, fmt.Errorf("verify: the networks put out %d and %d values", len(ya), len(yb))
	}
	return outputDeviation(yb, ya), ra.samples, nil
}

// meet checks that another network reads the same inputs, and draws none that it cannot read.
func (r *verifyRun) meet(other *verifyRun) error {
	if len(r.parts) != len(other.parts) {
		return fmt.Errorf("the networks have %d and %d inputs", len(r.parts), len(other.parts))
	}
	for i, in := range r.graph.Inputs {
		to := other.graph.Inputs[i]
		switch {
		case r.parts[i].n != other.parts[i].n || in.DType.IsFloat() != to.DType.IsFloat():
			return fmt.Errorf("input %q is %v %v, input %q of the other network %v %v", in.Name, in.DType, in.Shape, to.Name, to.DType, to.Shape)
		case r.fixed != other.fixed || r.batch != other.batch:
			return fmt.Errorf("input %q has shape %v, input %q of the other network %v: their batches differ", in.Name, in.Shape, to.Name, to.Shape)
		}
		if limit := other.parts[i].limit; limit > 0 && (r.parts[i].limit == 0 || limit < r.parts[i].limit) {
			r.parts[i].limit = limit
		}
	}
	if n, m := len(r.graph.Outputs), len(other.graph.Outputs); n != m {
		return fmt.Errorf("the networks have %d and %d outputs", n, m)
	}
	return nil
}

// setSome takes n inputs, random ones where x is nil.
func (r *verifyRun) setSome(x []float32, n int) error {
	inputs := widen(x)
	switch {
	case x != nil && len(x) != n*r.row:
		return fmt.Errorf("%d inputs of %d elements do not make %d elements", n, r.row, len(x))
	case x == nil:
		if n <= 0 {
			n = affordable(r.graph, 2, defaultSamples, leastSamples)
		}
		inputs = r.randomInputs(rand.New(rand.NewPCG(0, verifyStream)), n)
	}
	return r.setInputs(inputs)
}

// outputsOf are those of the network with these parameters, on all inputs.
func (r *verifyRun) outputsOf(ctx context.Context, params map[string]*tensor.Tensor) ([]float64, error) {
	if err := r.engine.CheckParams(params); err != nil {
		return nil, err
	}
	return r.with(ctx, sourceOf(params), r.inputs)
}

// outputDeviation is max|got-want| / max(1, max|want|).
func outputDeviation(got, want []float64) float64 {
	diff, size := 0.0, 1.0
	for i, y := range want {
		diff, size = max(diff, math.Abs(got[i]-y)), max(size, math.Abs(y))
	}
	return diff / size
}

// batchRows is how many inputs run at a time, unless the graph fixes the number.
const batchRows = 128

// fewRows is how many inputs, or the least whole batch, an axis is permuted alone on: what changes outputs at all changes
// those of nearly every input.
const fewRows = 8

// verifyRun runs a network in float64, always on the same inputs.
type verifyRun struct {
	graph   *graph.Graph
	engine  *nn.Engine[float64]
	specs   map[string]nn.ParamSpec
	largest []string // the names in specs, the largest first
	threads int
	batch   int // inputs at a time
	fixed   bool
	inputs  []float64
	few     []float64 // the first of inputs
	samples int
	row     int // elements of one example, which is all inputs
	parts   []inputPart
	fewRows int // how many inputs an axis is permuted alone on
}

func newVerifyRun(g *graph.Graph, threads int) (*verifyRun, error) {
	e, err := nn.New[float64](g, nn.Options{Threads: threads})
	if err != nil {
		return nil, err
	}
	r := &verifyRun{graph: g, engine: e, specs: map[string]nn.ParamSpec{}, batch: batchRows, fewRows: fewRows}
	if r.threads = threads; threads <= 0 {
		r.threads = runtime.GOMAXPROCS(0)
	}
	specs := e.Specs()
	slices.SortStableFunc(specs, func(a, b nn.ParamSpec) int { return b.Len - a.Len })
	for _, s := range specs {
		r.specs[s.Name], r.largest = s, append(r.largest, s.Name)
	}
	// The engine has seen to it that the inputs have one batch axis, and that no other extent is a symbol.
	limits := indexLimits(g)
	for _, in := range g.Inputs {
		n := 1
		for _, d := range in.Shape[1:] {
			n *= d.Size
		}
		if d := in.Shape[0]; d.IsFixed() {
			r.batch, r.fixed = d.Size, true
		} else {
			n *= d.Size
		}
		r.row += n
		limit := 0
		if !in.DType.IsFloat() {
			limit = limits[in.Name]
		}
		r.parts = append(r.parts, inputPart{n: n, limit: limit})
	}
	return r, nil
}

func (r *verifyRun) close() { r.engine.Close() }

// setInputs takes whole inputs. Where the graph fixes how many run at a time the last one is repeated until they are full.
func (r *verifyRun) setInputs(x []float64) error {
	if len(x) == 0 || len(x)%r.row != 0 {
		return fmt.Errorf("inputs have %d elements each: %d elements are not a number of them", r.row, len(x))
	}
	r.samples = len(x) / r.row
	last := x[len(x)-r.row:]
	for r.fixed && len(x)%(r.batch*r.row) != 0 {
		x = append(x, last...)
	}
	r.inputs, r.few = x, x
	if n := max(r.fewRows/r.batch, 1) * r.batch * r.row; r.fixed && n < len(x) {
		r.few = x[:n]
	} else if !r.fixed && r.fewRows*r.row < len(x) {
		r.few = x[:r.fewRows*r.row]
	}
	return nil
}

// with sets all parameters and returns all outputs on inputs.
func (r *verifyRun) with(ctx context.Context, params source, inputs []float64) ([]float64, error) {
	if err := r.setAll(ctx, params); err != nil {
		return nil, err
	}
	return r.outputs(ctx, inputs)
}

// setAll sets the parameters, the largest first, as many at a time as there are threads.
func (r *verifyRun) setAll(ctx context.Context, params source) error {
	var (
		wait sync.WaitGroup
		next atomic.Int64
		errs = make([]error, len(r.largest))
	)
	for range min(r.threads, len(r.largest)) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(r.largest) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				t, err := params(r.largest[i])
				if err == nil {
					err = r.engine.SetParam(r.largest[i], t)
				}
				errs[i] = err
			}
		})
	}
	wait.Wait()
	return cmp.Or(ctx.Err(), errors.Join(errs...))
}

// instead returns the outputs with some tensors in place of those that are set, and sets those again.
func (r *verifyRun) instead(ctx context.Context, some map[string]*tensor.Tensor, params source, inputs []float64) ([]float64, error) {
	if err := r.set(sourceOf(some), some); err != nil {
		return nil, err
	}
	y, err := r.outputs(ctx, inputs)
	return y, errors.Join(err, r.set(params, some))
}

// set sets the parameters of some names.
func (r *verifyRun) set(params source, some map[string]*tensor.Tensor) error {
	for _, name := range sortedKeys(some) {
		if _, ok := r.specs[name]; !ok {
			continue
		}
		t, err := params(name)
		if err == nil {
			err = r.engine.SetParam(name, t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// outputs runs inputs, of which there are whole batches where the graph fixes how many.
func (r *verifyRun) outputs(ctx context.Context, inputs []float64) ([]float64, error) {
	var all []float64
	for lo := 0; lo < len(inputs); lo += r.batch * r.row {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		x := inputs[lo:min(lo+r.batch*r.row, len(inputs))]
		if _, err := r.engine.Forward(x, len(x)/r.row); err != nil {
			return nil, err
		}
		for _, name := range r.graph.Outputs {
			y, _ := r.engine.Value(name)
			for _, v := range y {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					return nil, fmt.Errorf("output %q is not finite: %v", name, v)
				}
			}
			all = append(all, y...)
		}
	}
	return all, nil
}
