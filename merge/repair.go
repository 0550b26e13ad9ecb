package merge

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/tensor"
)

// RepairMethod says what is done about the statistics of a merged network.
type RepairMethod string

// The methods of repair.
const (
	// RepairNone leaves them as they are.
	RepairNone RepairMethod = "none"
	// RepairReset computes the running statistics of BatchNormalization anew.
	RepairReset RepairMethod = "reset"
	// RepairRescale resets, and gives each channel the deviation interpolated between the endpoints, about the mean that it has.
	RepairRescale RepairMethod = "rescale"
	// RepairFull resets, and gives each channel mean and deviation interpolated between the endpoints.
	RepairFull RepairMethod = "repair"
)

// RepairMethods lists them.
func RepairMethods() []RepairMethod {
	return []RepairMethod{RepairNone, RepairReset, RepairRescale, RepairFull}
}

// Forward runs networks on a fixed set of samples.
type Forward interface {
	// Each runs the graph as far as the values ask for, batch after batch in order, and hands the values to visit, row-major; they are valid during
	// the call only.
	Each(ctx context.Context, g *graph.Graph, params map[string]*tensor.Tensor, values []string,
		visit func(shapes []tensor.Shape, values [][]float32) error) error
	// Through runs the graph once, on all samples together, and hands each of the values to visit when it has been computed and before anything reads
	// it. Visit may change the value, and replace params of what has not run yet. It returns false, and has done nothing, where the samples do not fit
	// into memory together. No value comes before one that it depends on.
	Through(ctx context.Context, g *graph.Graph, params map[string]*tensor.Tensor, values []string,
		visit func(value string, shape tensor.Shape, x []float32) error) (bool, error)
}

// Repairer corrects the statistics of channels in mixtures of some models of one graph, which keeps its form: corrections are folded into parameters.
//
// Jordan, Sedghi, Saukh, Entezari, Neyshabur, "REPAIR: REnormalizing Permuted Activations for Interpolation Repair", 2022, arXiv:2211.08403: between
// networks the deviations of channels collapse. A site is the last affine map of each channel: scale and bias of a normalisation, or a Conv or Gemm
// itself behind which no normalisation stands and which is not the output, whatever rearranges, averages or softens its logits. A normalisation of groups
// that is written out as Reshape, InstanceNormalization, Reshape, Mul and Add is one, too. There a channel y with mean m and deviation s becomes
// t·(y-m)/s + μ, μ and t being the means and deviations (not variances) of the models, summed with their weights.
//
// Sites are repaired in topological order, each measured with all earlier ones repaired. Where all samples fit into memory together one pass does it:
// a value is corrected before anything reads it. Else sites go in levels: those of one level do not depend on each other, and are measured in one pass
// that runs the network only as far as that level. Statistics are exact over the samples, which the paper estimates by averages over
// batches of networks that normalise by the batch. BatchNormalization is reset at its level: its running mean becomes the samples' and its running
// variance their unbiased variance, so that where the scales of the models have one sign reset does nearly all that repair does. The cost is one
// pass for each model, once, and for each mixture one pass or, in levels, one pass for each, on average through half of the network.
//
// A channel without deviation, in the mixture or in all models, is left alone. A site without a bias keeps the ratio of mean to deviation: no bias is
// added. Parameters that more than one node reads are left alone, while running statistics beside them are reset. What is not finite is an error. All
// three are in the notes. Sums are in float64 and in a fixed order.
type Repairer struct {
	method RepairMethod
	graph  *graph.Graph
	run    Forward
	levels [][]site
	notes  []string
	ends   [][]moments // of each model, of all sites in order
}

// Repaired is a network whose statistics are repaired.
type Repaired struct {
	Params   map[string]*tensor.Tensor
	Sites    int      // places that were corrected
	Passes   int      // runs of the data
	Channels int      // at all sites
	Alone    int      // of them, how many were left alone because they have no deviation
	Notes    []string // what could not be done
}

// RepairCost is the number of sites of a graph that a method corrects, and the passes over the samples that one mixture takes where they do not fit into
// memory together (else it takes one), besides one pass for each model that rescale and repair need.
func RepairCost(g *graph.Graph, method RepairMethod) (sites, passes int, err error) {
	levels, _, err := findSites(g, method)
	for _, l := range levels {
		sites += len(l)
	}
	return sites, len(levels), err
}

// NewRepairer measures the models. Models are aligned parameters of the graph, and stay unchanged; reset does not look at them.
func NewRepairer(ctx context.Context, method RepairMethod, g *graph.Graph, models []map[string]*tensor.Tensor, run Forward) (*Repairer, error) {
	if !slices.Contains(RepairMethods(), method) {
		return nil, fmt.Errorf("merge: unknown repair %q; there are %v", method, RepairMethods())
	}
	r := &Repairer{method: method, graph: g, run: run}
	var err error
	if r.levels, r.notes, err = findSites(g, method); err != nil {
		return nil, fmt.Errorf("merge: repair: %w", err)
	}
	if method != RepairRescale && method != RepairFull || len(r.levels) == 0 {
		return r, nil
	}
	sites := slices.Concat(r.levels...)
	for i, params := range models {
		m, err := r.measure(ctx, params, sites)
		if err != nil {
			return nil, fmt.Errorf("merge: repair: model %d: %w", i, err)
		}
		for k := range sites {
			if m[k], err = sites[k].outputs(params, m[k]); err != nil {
				return nil, fmt.Errorf("merge: repair: model %d: %w", i, err)
			}
		}
		r.ends = append(r.ends, m)
	}
	return r, nil
}

// Apply repairs a mixture of the models with these weights, which are finite, not negative and not all zero. The mixture stays unchanged. Progress, which may be nil, hears of sites in one
// pass, or of passes.
func (r *Repairer) Apply(ctx context.Context, mixture map[string]*tensor.Tensor, weights []float64, progress func(done, total int)) (*Repaired, error) {
	out := &Repaired{Params: make(map[string]*tensor.Tensor, len(mixture)), Notes: slices.Clone(r.notes)}
	for name, t := range mixture {
		out.Params[name] = t
	}
	if r.ends != nil && len(weights) != len(r.ends) {
		return nil, fmt.Errorf("merge: repair: %d weights for %d models", len(weights), len(r.ends))
	}
	if err := checkWeights(weights); err != nil && r.ends != nil {
		return nil, fmt.Errorf("merge: repair: %w", err)
	}
	once, err := r.applyOnce(ctx, out, weights, progress)
	if err == nil && !once {
		err = r.applyLevels(ctx, out, weights, progress)
	}
	if err != nil {
		return nil, fmt.Errorf("merge: repair: %w", err)
	}
	if out.Alone > 0 {
		out.Notes = append(out.Notes, fmt.Sprintf("%d of %d channels have no deviation and were left alone", out.Alone, out.Channels))
	}
	return r.inOwnTypes(out, mixture)
}

// checkWeights demands weights between which statistics can be interpolated: beyond the models a deviation could become negative.
func checkWeights(weights []float64) error {
	sum := 0.0
	for i, w := range weights {
		if !(w >= 0) || math.IsInf(w, 0) {
			return fmt.Errorf("weight %d is %g: it must be finite and not negative", i, w)
		}
		sum += w
	}
	if sum == 0 || math.IsInf(sum, 0) {
		return fmt.Errorf("the sum of the weights is %g", sum)
	}
	return nil
}

// applyOnce repairs the sites as one run of all samples comes by. It is false where that cannot be.
func (r *Repairer) applyOnce(ctx context.Context, out *Repaired, weights []float64, progress func(done, total int)) (bool, error) {
	sites := slices.Concat(r.levels...)
	if len(sites) == 0 {
		return true, nil
	}
	of := map[string][]int{} // sites by value
	var values []string
	for i := range sites {
		value := sites[i].value
		if of[value] == nil {
			values = append(values, value)
		}
		of[value] = append(of[value], i)
	}
	once, err := r.run.Through(ctx, r.graph, out.Params, values, func(value string, shape tensor.Shape, x []float32) error {
		for _, i := range of[value] {
			if err := r.repairValue(out, &sites[i], shape, x, r.target(i, weights)); err != nil {
				return fmt.Errorf("%s: %w", &sites[i].node, err)
			}
			out.Sites++
		}
		if progress != nil {
			progress(out.Sites, len(sites))
		}
		return nil
	})
	if once {
		out.Passes = 1
	}
	return once, err
}

// repairValue repairs a site whose value on all samples is x, and x with it.
func (r *Repairer) repairValue(out *Repaired, s *site, shape tensor.Shape, x []float32, target moments) error {
	var sum summer
	sum.add(s, shape, x)
	scale, shift, err := r.repair(out, s, sum.moments(), target)
	if err == nil && scale != nil && !s.running() {
		s.correct(shape, x, scale, shift)
	}
	return err
}

// applyLevels repairs level after level.
func (r *Repairer) applyLevels(ctx context.Context, out *Repaired, weights []float64, progress func(done, total int)) error {
	for done, level := range r.levels {
		m, err := r.measure(ctx, out.Params, level)
		if err != nil {
			return err
		}
		for k := range level {
			if _, _, err := r.repair(out, &level[k], m[k], r.target(out.Sites, weights)); err != nil {
				return fmt.Errorf("%s: %w", &level[k].node, err)
			}
			out.Sites++
		}
		out.Passes++
		if progress != nil {
			progress(done+1, len(r.levels))
		}
	}
	return nil
}

// inOwnTypes rounds what was changed to the type that it had.
func (r *Repairer) inOwnTypes(out *Repaired, mixture map[string]*tensor.Tensor) (*Repaired, error) {
	for _, p := range r.graph.Params {
		was, is := mixture[p.Name], out.Params[p.Name]
		if was == nil || was == is || was.DType() == is.DType() {
			continue
		}
		t, err := is.Convert(was.DType())
		if err != nil {
			return nil, fmt.Errorf("merge: repair: tensor %q: %w", p.Name, err)
		}
		if i, found := t.NonFinite(); found {
			return nil, fmt.Errorf("merge: repair: tensor %q: element %d is too large for %v", p.Name, i, t.DType())
		}
		out.Params[p.Name] = t
	}
	return out, nil
}

// target is the mean and deviation that a site should have; empty where only statistics are reset.
func (r *Repairer) target(site int, weights []float64) moments {
	if r.ends == nil {
		return moments{}
	}
	n := len(r.ends[0][site].mean)
	t, sum := newMoments(n), 0.0
	for _, w := range weights {
		sum += w
	}
	for i, end := range r.ends {
		if weights[i] == 0 {
			continue // an end that diverged has no part in the other
		}
		for c := range n {
			t.mean[c] += weights[i] / sum * end[site].mean[c]
			t.deviation[c] += weights[i] / sum * end[site].deviation[c]
		}
	}
	return t
}

// repair resets the statistics of a site, and folds the correction into its parameters: each channel of the output becomes scale times what it was, plus
// shift. Both are nil where statistics alone are reset.
func (r *Repairer) repair(out *Repaired, s *site, measured, target moments) (scale, shift []float64, err error) {
	if s.running() {
		if err := s.reset(out.Params, measured); err != nil {
			return nil, nil, err
		}
	}
	out.Channels += len(measured.mean)
	if r.ends == nil || s.resets {
		return nil, nil, nil
	}
	is, err := s.outputs(out.Params, measured)
	if err != nil {
		return nil, nil, err
	}
	scale, shift = make([]float64, len(is.mean)), make([]float64, len(is.mean))
	for c := range scale {
		scale[c] = 1
		if is.deviation[c] == 0 || target.deviation[c] == 0 {
			out.Alone++
			continue
		}
		scale[c] = target.deviation[c] / is.deviation[c]
		mean := is.mean[c]
		if r.method == RepairFull {
			mean = target.mean[c]
		}
		shift[c] = mean - scale[c]*is.mean[c]
		if math.IsNaN(shift[c]) || math.IsInf(scale[c], 0) {
			return nil, nil, fmt.Errorf("channel %d: its statistics are not finite", c)
		}
	}
	return scale, shift, s.fold(out.Params, scale, shift)
}

// moments are mean and deviation of each channel. Count is the number of values behind them.
type moments struct {
	mean, deviation []float64
	count           float64
}

func newMoments(channels int) moments {
	return moments{mean: make([]float64, channels), deviation: make([]float64, channels)}
}

// measure runs the samples once and returns the moments of the sites' values.
func (r *Repairer) measure(ctx context.Context, params map[string]*tensor.Tensor, sites []site) ([]moments, error) {
	values := make([]string, len(sites))
	for i := range sites {
		values[i] = sites[i].value
	}
	sums := make([]summer, len(sites))
	err := r.run.Each(ctx, r.graph, params, values, func(shapes []tensor.Shape, x [][]float32) error {
		for i := range sites {
			sums[i].add(&sites[i], shapes[i], x[i])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]moments, len(sites))
	for i := range sums {
		out[i] = sums[i].moments()
	}
	return out, nil
}

// summer adds up the values of the channels of a site. Differences from a channel's first value are summed, so that a mean that is large against the
// deviation costs no precision, and a constant has deviation 0.
type summer struct {
	first         []float32
	sums, squares []float64
	count         float64
}

func (m *summer) add(s *site, shape tensor.Shape, x []float32) {
	outer, channels, inner := s.split(shape)
	if m.first == nil {
		m.first, m.sums, m.squares = make([]float32, channels), make([]float64, channels), make([]float64, channels)
		for c := range channels {
			m.first[c] = x[c*inner]
		}
	}
	for c := range channels {
		sum, squares := kernel.Moments(x[c*inner:], inner, channels*inner, outer, m.first[c])
		m.sums[c] += sum
		m.squares[c] += squares
	}
	m.count += float64(outer * inner)
}

func (m *summer) moments() moments {
	out := newMoments(len(m.first))
	out.count = m.count
	for c, sum := range m.sums {
		mean := sum / m.count
		out.deviation[c] = math.Sqrt(max(m.squares[c]/m.count-mean*mean, 0))
		out.mean[c] = mean + float64(m.first[c])
	}
	return out
}
