package experiment

import (
	"cmp"
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/nn"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// CounterexampleOptions are the options of [Counterexample]; the zero value is what the report shows.
type CounterexampleOptions struct {
	// Steps is the number of equal steps of λ from 0 to 1. 0 means 64. An odd number leaves out the midpoint.
	Steps int
	// Cells is the number of cells along each side of the square in which regions are drawn; even, so that no centre of a cell lies on an axis.
	// 0 means 64.
	Cells int
}

// CounterexampleResult says that no alignment removes the barrier between two networks.
type CounterexampleResult struct {
	// Lambda are the places on the path from A (0) to the aligned B (1).
	Lambda []float64 `json:"lambda"`
	// EndpointErrors are those of A and B, as fractions of the inputs.
	EndpointErrors [2]float64 `json:"endpoint_errors"`
	// Paths are those to every alignment of B, in the order kept, last swapped, first swapped, both swapped.
	Paths []CounterexamplePath `json:"paths"`
	// MinBarrier is the smallest barrier over all alignments.
	MinBarrier float64 `json:"min_barrier"`
	// A and B are the regions in which the ends predict 1; Cells is their side.
	A     DecisionRegion `json:"a"`
	B     DecisionRegion `json:"b"`
	Cells int            `json:"cells"`
}

// CounterexamplePath is the straight path from A to one alignment of B.
type CounterexamplePath struct {
	// Swapped names the layers whose two units change places in B.
	Swapped []string `json:"swapped"`
	// Error is the fraction of inputs that are classified wrongly at each λ, and Exact the same as a fraction in lowest terms.
	Error []float64 `json:"error"`
	Exact []string  `json:"exact"`
	// Barrier is the largest error above the chord between the ends' (which have none), at the first λ that has it.
	Barrier       float64 `json:"barrier"`
	BarrierLambda float64 `json:"barrier_lambda"`
	// Midpoint is the region in which the network at λ = 1/2 predicts 1.
	Midpoint DecisionRegion `json:"midpoint"`
}

// DecisionRegion draws where a network predicts 1: a row of cells for every string, the top (x₂ = 1) first, x₁ from -1 to 1 along it; '1' where the
// network predicts 1 at the centre of the cell, else '0'.
type DecisionRegion []string

// at is the prediction at a point of the square.
func (r DecisionRegion) at(x1, x2 float64) bool {
	n := len(r)
	if n == 0 {
		return false
	}
	cell := func(x float64) int { return min(max(int((x+1)/2*float64(n)), 0), n-1) }
	row, i := r[n-1-cell(x2)], cell(x1)
	return i < len(row) && row[i] == '1'
}

// counterexampleLayers are the names of the layers, and of the groups of the two hidden ones.
var counterexampleLayers = []string{"fc1", "fc2", "fc3"}

// Counterexample follows the straight paths between two networks of no error at all and finds that each of them, for every alignment of the second
// network, meets an error of 1/4: Ainsworth, Hayase, Srinivasa, "Git Re-Basin", ICLR 2023 (arXiv:2209.04836), appendix A.6. Linear mode
// connectivity is therefore no property of architectures, but of what training finds.
//
// Inputs are uniform on [-1, 1]². The label is 1 where x₁ < 0 and x₂ > 0, and a network predicts 1 where f >= 0. Both networks are
// f(x) = W₃ relu(W₂ relu(W₁x + b₁) + b₂) with W₃ = (-1, -1), x a column and W of shape [out, in]:
//
//	A: W₁ = diag(-1, -1), b₁ = (1, 0), W₂ = diag(-1, 1), b₂ = (1, 0)
//	B: W₁ = diag(1, 1),   b₁ = (0, 1), W₂ = diag(1, -1), b₂ = (0, 1)
//
// On the square A has hidden units 1 - x₁ and relu(-x₂), then relu(1 - (1 - x₁)) = relu(x₁) and relu(-x₂); B has relu(x₁) and x₂ + 1, then
// relu(x₁) and relu(1 - (x₂ + 1)) = relu(-x₂). So both compute f = -relu(x₁) - relu(-x₂), which is 0, and predicts 1, just where x₁ <= 0 and x₂ >= 0:
// their error is the measure of the two half-lines on which the label is 0, which is none.
//
// Between them, with μ = 1-λ and 0 < λ < 1: f >= 0 where both units of the second layer are off, since W₃ is the same for all.
//
//   - Nothing swapped: W₁ = (λ-μ)I. For λ <= 1/2 the second unit is (μ-λ) relu(λ - (μ-λ)x₂) + λ > 0, for λ >= 1/2 the first is positive alike. The
//     network predicts 0 everywhere, an error of 1/4 for every λ.
//   - The second layer swapped: b₂ = (1, 0), and the second unit is λh₁ + μh₂, off only where h₁ = h₂ = 0; there the first is 1. Again 1/4.
//   - Both swapped: the units are -u and v with u = λx₂ - μx₁ and v = λx₁ - μx₂. With r = μ/λ >= 1 the network predicts 1 where x₂ >= r·x₁ and
//     x₂ >= x₁/r: an error of 1/(4r), which is 1/4 at λ = 1/2.
//   - The first layer swapped: the same region and, for r > 1, that between x₂ = x₁/r and x₂ = 2r/(1+r²)·x₁ where x₁ < 0: an error of
//     (1/(2r) + r/(1+r²))/4, again 1/4 at λ = 1/2 and less elsewhere.
//
// So the paper's "about 1/4" is exact: the largest error on each of the paths is 1/4. [CounterexampleResult] has it by areas in rational
// arithmetic, where nothing is rounded and boundaries have no measure. A loss would say less: f is never positive, so that both ends have
// confidence in nothing, and a convex loss on f measures how far it falls where the label is 0.
func Counterexample(ctx context.Context, opt CounterexampleOptions) (*CounterexampleResult, error) {
	if opt.Steps == 0 {
		opt.Steps = 64
	}
	if opt.Cells == 0 {
		opt.Cells = 64
	}
	if opt.Steps < 1 || opt.Steps > 1<<16 || opt.Cells < 2 || opt.Cells%2 != 0 || opt.Cells > 1<<12 {
		return nil, fmt.Errorf("experiment: counterexample: %d steps and %d cells; steps are 1 to %d, cells even and 2 to %d", opt.Steps, opt.Cells, 1<<16, 1<<12)
	}
	net, a, b, err := counterexampleNetworks()
	if err != nil {
		return nil, err
	}
	sym, err := symmetry.Infer(net)
	if err != nil {
		return nil, err
	}
	r := &CounterexampleResult{Cells: opt.Cells}
	for i := range opt.Steps + 1 {
		r.Lambda = append(r.Lambda, float64(i)/float64(opt.Steps))
	}
	draw, err := newRegionPainter(net, opt.Cells)
	if err != nil {
		return nil, err
	}
	defer draw.engine.Close()
	if r.A, err = draw.region(a); err != nil {
		return nil, err
	}
	if r.B, err = draw.region(b); err != nil {
		return nil, err
	}
	for _, swapped := range [][]string{nil, {"fc2"}, {"fc1"}, {"fc1", "fc2"}} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		at := sym.Identity()
		for _, name := range swapped {
			slices.Reverse(at.Perms[name])
		}
		aligned, err := sym.Apply(at, b)
		if err != nil {
			return nil, fmt.Errorf("experiment: counterexample: %w", err)
		}
		path, err := followCounterexample(a, aligned, opt.Steps)
		if err != nil {
			return nil, err
		}
		path.Swapped = append([]string{}, swapped...)
		if path.Midpoint, err = draw.region(mean(a, aligned)); err != nil {
			return nil, err
		}
		r.Paths = append(r.Paths, path)
	}
	r.EndpointErrors = [2]float64{r.Paths[0].Error[0], r.Paths[0].Error[opt.Steps]}
	r.MinBarrier = slices.MinFunc(r.Paths, func(p, q CounterexamplePath) int { return cmp.Compare(p.Barrier, q.Barrier) }).Barrier
	return r, nil
}

// counterexampleNetworks are the graph of both networks and the parameters of A and B.
func counterexampleNetworks() (net *graph.Graph, a, b map[string]*tensor.Tensor, err error) {
	build := graph.NewBuilder("counterexample")
	h := build.Input("x", tensor.F32, graph.Sym("N"), graph.Fixed(2))
	h = build.Relu("h1", build.Linear("z1", h, "fc1", 2, 2, true))
	h = build.Relu("h2", build.Linear("z2", h, "fc2", 2, 2, true))
	build.Output(build.Linear("f", h, "fc3", 1, 2, false))
	params := func(w1, w2 [2]float32, bias [2]float32) map[string]*tensor.Tensor {
		diagonal := func(d [2]float32) *tensor.Tensor {
			return tensor.FromSlice(tensor.Shape{2, 2}, []float32{d[0], 0, 0, d[1]})
		}
		vector := func() *tensor.Tensor { return tensor.FromSlice(tensor.Shape{2}, bias[:]) }
		return map[string]*tensor.Tensor{
			"fc1.weight": diagonal(w1), "fc1.bias": vector(), "fc2.weight": diagonal(w2), "fc2.bias": vector(),
			"fc3.weight": tensor.FromSlice(tensor.Shape{1, 2}, []float32{-1, -1}),
		}
	}
	net, err = build.Graph()
	a = params([2]float32{-1, -1}, [2]float32{-1, 1}, [2]float32{1, 0})
	b = params([2]float32{1, 1}, [2]float32{1, -1}, [2]float32{0, 1})
	return net, a, b, err
}

// followCounterexample measures the error along the path from A to the aligned B.
func followCounterexample(a, aligned map[string]*tensor.Tensor, steps int) (CounterexamplePath, error) {
	var path CounterexamplePath
	from, err := newExactNetwork(a, counterexampleLayers...)
	if err != nil {
		return path, err
	}
	to, err := newExactNetwork(aligned, counterexampleLayers...)
	if err != nil {
		return path, err
	}
	errs := make([]*big.Rat, steps+1)
	for i := range errs {
		errs[i] = counterexampleError(from.between(to, big.NewRat(int64(i), int64(steps))))
		value, _ := errs[i].Float64()
		path.Error, path.Exact = append(path.Error, value), append(path.Exact, errs[i].RatString())
	}
	highest := new(big.Rat)
	for i, e := range errs {
		lambda := big.NewRat(int64(i), int64(steps))
		chord := new(big.Rat).Sub(errs[steps], errs[0])
		chord.Add(chord.Mul(chord, lambda), errs[0])
		if above := new(big.Rat).Sub(e, chord); above.Cmp(highest) > 0 {
			highest = above
			path.BarrierLambda, _ = lambda.Float64()
		}
	}
	path.Barrier, _ = highest.Float64()
	return path, nil
}

// counterexampleError is the share of the square where prediction and label differ.
func counterexampleError(n exactNetwork) *big.Rat {
	square, labelled := rectangle(-1, -1, 1, 1), rectangle(-1, 0, 0, 1)
	inside := func(within []point) *big.Rat {
		sum := new(big.Rat)
		for _, polygon := range n.positive(within) {
			sum.Add(sum, area(polygon))
		}
		return sum
	}
	hits := inside(labelled)
	wrong := new(big.Rat).Sub(inside(square), hits)        // predicted 1, is 0
	wrong.Add(wrong, hits.Sub(area(labelled), hits))       // predicted 0, is 1
	return wrong.Quo(wrong, area(rectangle(-1, -1, 1, 1))) // inputs are uniform
}

// mean is the network half-way between two.
func mean(a, b map[string]*tensor.Tensor) map[string]*tensor.Tensor {
	out := make(map[string]*tensor.Tensor, len(a))
	for name, t := range a {
		x, y := tensor.Of[float32](t), tensor.Of[float32](b[name])
		m := make([]float32, len(x))
		for i := range m {
			m[i] = (x[i] + y[i]) / 2
		}
		out[name] = tensor.FromSlice(t.Shape(), m)
	}
	return out
}

// regionPainter runs networks of two inputs and one output on the centres of cells.
type regionPainter struct {
	engine  *nn.Engine[float64]
	cells   int
	centres []float64
}

func newRegionPainter(net *graph.Graph, cells int) (*regionPainter, error) {
	engine, err := nn.New[float64](net, nn.Options{Threads: 1})
	if err != nil {
		return nil, err
	}
	p := &regionPainter{engine: engine, cells: cells}
	centre := func(i int) float64 { return float64(2*i+1)/float64(cells) - 1 }
	for row := range cells {
		for column := range cells {
			p.centres = append(p.centres, centre(column), -centre(row))
		}
	}
	return p, nil
}

func (p *regionPainter) region(params map[string]*tensor.Tensor) (DecisionRegion, error) {
	if err := p.engine.SetParams(params); err != nil {
		return nil, err
	}
	f, err := p.engine.Forward(p.centres, p.cells*p.cells)
	if err != nil {
		return nil, err
	}
	region := make(DecisionRegion, p.cells)
	for row := range region {
		var line strings.Builder
		for _, v := range f[row*p.cells : (row+1)*p.cells] {
			if v >= 0 {
				line.WriteByte('1')
			} else {
				line.WriteByte('0')
			}
		}
		region[row] = line.String()
	}
	return region, nil
}
