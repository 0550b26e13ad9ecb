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
}

// Repairer corrects the statistics of channels in mixtures of some models of one graph, which keeps its form: corrections are folded into parameters.
//
// Jordan, Sedghi, Saukh, Entezari, Neyshabur, "REPAIR: REnormalizing Permuted Activations for Interpolation Repair", 2022, arXiv:2211.08403: between
// networks the deviations of channels collapse. A site is the last affine map of each channel: scale and bias of a normalisation, or a Conv or Gemm
// itself behind which no normalisation stands and which is not the output. There a channel y with mean m and deviation s becomes
// t·(y-m)/s + μ, μ and t being the means and deviations (not variances) of the models, summed with their weights.
//
// Sites are repaired in topological order, in levels: those of one level do not depend on each other, and are measured in one pass that runs the
// network only as far as that level, with all earlier ones repaired. Statistics are exact over the samples, which the paper estimates by averages over
// batches of networks that normalise by the batch. BatchNormalization is reset at its level: its running mean becomes the samples' and its running
// variance their unbiased variance, so that where the scales of the models have one sign reset does nearly all that repair does. The cost is one
// pass for each model, once, and for each mixture one pass for each level, on average through half of the network.
//
// A channel without deviation, in the mixture or in all models, is left alone. A site without a bias keeps the ratio of mean to deviation: no bias is
// added. Parameters that more than one node reads are left alone. All three are in the notes. Sums are in float64 and in a fixed order.
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

// RepairCost is the number of sites of a graph that a method corrects, and of passes over the samples for one mixture, besides one pass for each model
// that rescale and repair need.
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

// Apply repairs a mixture of the models with these weights. The mixture stays unchanged. Progress, which may be nil, hears of each pass.
func (r *Repairer) Apply(ctx context.Context, mixture map[string]*tensor.Tensor, weights []float64, progress func(done, total int)) (*Repaired, error) {
	out := &Repaired{Params: make(map[string]*tensor.Tensor, len(mixture)), Notes: slices.Clone(r.notes)}
	for name, t := range mixture {
		out.Params[name] = t
	}
	if r.ends != nil && len(weights) != len(r.ends) {
		return nil, fmt.Errorf("merge: repair: %d weights for %d models", len(weights), len(r.ends))
	}
	for done, level := range r.levels {
		m, err := r.measure(ctx, out.Params, level)
		if err != nil {
			return nil, fmt.Errorf("merge: repair: %w", err)
		}
		for k := range level {
			if err := r.repair(out, &level[k], m[k], r.target(out.Sites, weights)); err != nil {
				return nil, fmt.Errorf("merge: repair: %s: %w", &level[k].node, err)
			}
			out.Sites++
		}
		out.Passes++
		if progress != nil {
			progress(done+1, len(r.levels))
		}
	}
	if out.Alone > 0 {
		out.Notes = append(out.Notes, fmt.Sprintf("%d of %d channels have no deviation and were left alone", out.Alone, out.Channels))
	}
	return r.inOwnTypes(out, mixture)
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

// repair resets the statistics of a site, and folds the correction into its parameters.
func (r *Repairer) repair(out *Repaired, s *site, measured, target moments) error {
	if s.running() {
		if err := s.reset(out.Params, measured); err != nil {
			return err
		}
	}
	out.Channels += len(measured.mean)
	if r.ends == nil {
		return nil
	}
	is, err := s.outputs(out.Params, measured)
	if err != nil {
		return err
	}
	scale, shift := make([]float64, len(is.mean)), make([]float64, len(is.mean))
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
			return fmt.Errorf("channel %d: its statistics are not finite", c)
		}
	}
	return s.fold(out.Params, scale, shift)
}

// moments are mean and deviation of each channel. Count is the number of values behind them.
type moments struct {
	mean, deviation []float64
	count           float64
}

func newMoments(channels int) moments {
	return moments{mean: make([]float64, channels), deviation: make([]float64, channels)}
}

// measure runs the samples once and returns the moments of the sites' values. Differences from a channel's first value are summed, so that a mean that
// is large against the deviation costs no precision, and a constant has deviation 0.
func (r *Repairer) measure(ctx context.Context, params map[string]*tensor.Tensor, sites []site) ([]moments, error) {
	values := make([]string, len(sites))
	for i := range sites {
		values[i] = sites[i].value
	}
	sums := make([]moments, len(sites))
	first := make([][]float32, len(sites))
	err := r.run.Each(ctx, r.graph, params, values, func(shapes []tensor.Shape, x [][]float32) error {
		for i := range sites {
			outer, channels, inner := sites[i].split(shapes[i])
			if first[i] == nil {
				sums[i], first[i] = newMoments(channels), make([]float32, channels)
				for c := range channels {
					first[i][c] = x[i][c*inner]
				}
			}
			for c := range channels {
				sum, squares := kernel.Moments(x[i][c*inner:], inner, channels*inner, outer, first[i][c])
				sums[i].mean[c] += sum
				sums[i].deviation[c] += squares
			}
			sums[i].count += float64(outer * inner)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, m := range sums {
		for c := range m.mean {
			mean := m.mean[c] / m.count
			m.deviation[c] = math.Sqrt(max(m.deviation[c]/m.count-mean*mean, 0))
			m.mean[c] = mean + float64(first[i][c])
		}
	}
	return sums, nil
}
