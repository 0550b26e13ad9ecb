package match

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/assign"
	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// ActivationSource runs both networks on the same inputs. Batches come in a fixed order, so that sums are the same every time.
type ActivationSource interface {
	// Batches is their number, 0 when it is not known.
	Batches() int
	// Each calls visit once per batch with the values of A and of B at the named sites, row-major, and their shapes, all in the order of sites.
	// The values are valid during the call only. It stops at the first error of visit and returns it.
	Each(ctx context.Context, sites []string, visit func(shapes []tensor.Shape, a, b [][]float32) error) error
}

// ActivationsOptions are the options of [Activations]; the zero value matches by correlation.
type ActivationsOptions struct {
	// Raw maximises uncentred inner products of activations, as the paper's text has it (section 3.1), instead of correlations.
	Raw bool
	// Weights are the options for groups without a site, which are matched by their weights.
	Weights WeightsOptions
	// Threads bounds the threads of the matrix products; 0 means all.
	Threads  int
	Observer Observer
}

// Activations aligns B with A by what the units do on data (Ainsworth et al. 2022, section 3.1; with correlations as in Li, Yosinski, Clune,
// Lipson, Hopcroft 2015, arXiv:1511.07543). For every group one assignment problem maximises Σ_i S[i, p(i)] with
//
//	S[i,j] = E[(z_A,i - μ_A,i)(z_B,j - μ_B,j)] / (σ_A,i σ_B,j)
//
// over all samples, spatial positions counting as samples, summed over the group's sites with equal weight. Units that never vary ("dead") have
// similarity zero to everything. Sums are float64 across batches; values are shifted by the first batch's means, which keeps the variance of
// units with a large mean. Groups without a site are matched by weights, with the others held in place, and a note says so.
func Activations(ctx context.Context, sym *symmetry.Symmetry, a, b Params, src ActivationSource, opt ActivationsOptions) (*Result, error) {
	if err := check(sym, a, b); err != nil {
		return nil, err
	}
	pool := kernel.NewPool(opt.Threads)
	defer pool.Close()
	clusters, missing := clustersOf(sym)
	if err := measure(ctx, clusters, src, pool, opt); err != nil {
		return nil, err
	}
	r := &Result{Alignment: sym.Identity(), Status: Solved, Method: "activation"}
	var solver assign.Solver[float32]
	for _, c := range clusters {
		value, err := c.solve(ctx, &solver, opt.Raw, r.Alignment)
		if err != nil {
			return nil, err
		}
		r.Objective += value
	}
	r.Trace = []float64{r.Objective}
	if len(missing) == 0 {
		return r, nil
	}
	r.Notes = append(r.Notes, fmt.Sprintf("no activations can be observed for %v: matched by weights", missing))
	w := opt.Weights
	w.Only, w.Start, w.Init, w.Threads = missing, StartGiven, r.Alignment, opt.Threads
	rest, err := Weights(ctx, sym, a, b, w)
	if err != nil {
		return nil, err
	}
	r.Alignment, r.Sweeps, r.Status, r.Notes = rest.Alignment, rest.Sweeps, rest.Status, append(r.Notes, rest.Notes...)
	return r, nil
}

// ActivationSimilarity returns, for every group without parents that can be observed, the matrix of correlations (or raw products) between its
// units in A and in B as they are, row-major Size x Size: the input of [Blend].
func ActivationSimilarity(ctx context.Context, sym *symmetry.Symmetry, src ActivationSource, opt ActivationsOptions) (map[string][]float32, error) {
	pool := kernel.NewPool(opt.Threads)
	defer pool.Close()
	clusters, _ := clustersOf(sym)
	if err := measure(ctx, clusters, src, pool, opt); err != nil {
		return nil, err
	}
	out := map[string][]float32{}
	for _, c := range clusters {
		if len(c.families) == 0 {
			out[c.group.Name] = sumSimilarity(c.plain, c.group.Size, opt.Raw)
		}
	}
	return out, nil
}

// A cluster is a group with the families directly inside it, which are solved together.
type cluster struct {
	group    symmetry.Group
	families []symmetry.Group
	plain    []*moments   // sites where the group stands alone
	joint    [][]*moments // per family, the sites where it stands inside the group
}

// clustersOf gathers the sites. Groups and families that cannot be solved from activations are returned by name.
func clustersOf(sym *symmetry.Symmetry) (clusters []*cluster, missing []string) {
	isGroup := map[string]bool{}
	for _, g := range sym.Groups {
		isGroup[g.Name] = true
	}
	solved := map[string]bool{}
	for _, g := range sym.Groups {
		if len(g.Parents) > 0 || g.Size < 2 {
			continue
		}
		c := &cluster{group: g, plain: observers(sym.Sites[g.Name], isGroup, g)}
		for _, f := range sym.Groups {
			if len(f.Parents) != 1 || f.Parents[0] != g.Name {
				continue
			}
			if joint := observers(sym.Sites[f.Name], isGroup, g, f); len(joint) > 0 {
				c.families, c.joint = append(c.families, f), append(c.joint, joint)
			}
		}
		if len(c.plain) == 0 && len(c.families) == 0 {
			continue
		}
		clusters = append(clusters, c)
		solved[g.Name] = true
		for _, f := range c.families {
			solved[f.Name] = true
		}
	}
	for _, g := range sym.Groups {
		if g.Size > 1 && !solved[g.Name] {
			missing = append(missing, g.Name)
		}
	}
	return clusters, missing
}

// observers makes an accumulator for every site at which the units of the groups, one inside the other, can be compared.
func observers(sites []symmetry.Site, isGroup map[string]bool, groups ...symmetry.Group) []*moments {
	var out []*moments
	for _, s := range sites {
		m := &moments{site: s, n: 1}
		for _, g := range groups {
			m.lead = append(m.lead, g.Name)
			m.n *= g.Size
		}
		m.movable = isGroup
		if m.observable() {
			out = append(out, m)
		}
	}
	return out
}

var errNoData = errors.New("match: no data to observe activations on")

// measure runs the data once and fills the accumulators of all clusters.
func measure(ctx context.Context, clusters []*cluster, src ActivationSource, pool *kernel.Pool, opt ActivationsOptions) error {
	var all []*moments
	for _, c := range clusters {
		all = append(all, c.plain...)
		for _, j := range c.joint {
			all = append(all, j...)
		}
	}
	var sites []string
	for _, m := range all {
		if !slices.Contains(sites, m.site.Value) {
			sites = append(sites, m.site.Value)
		}
	}
	if len(sites) == 0 {
		return nil
	}
	if src == nil {
		return errNoData
	}
	done := 0
	err := src.Each(ctx, sites, func(shapes []tensor.Shape, a, b [][]float32) error {
		for _, m := range all {
			i := slices.Index(sites, m.site.Value)
			if err := m.add(siteValue{shapes[i], a[i]}, siteValue{shapes[i], b[i]}, pool); err != nil {
				return err
			}
		}
		done++
		opt.Observer.report(Event{Stage: StageActivations, Done: done, Total: src.Batches()})
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(m *moments) bool { return m.samples == 0 }) {
		return errNoData
	}
	return nil
}

func sumSimilarity(ms []*moments, n int, raw bool) []float32 {
	total := make([]float32, n*n)
	for _, m := range ms {
		kernel.Add(total, total, m.similarity(raw))
	}
	return total
}

// solve writes the permutations of the group and its families and returns the value of the assignment.
func (c *cluster) solve(ctx context.Context, solver *assign.Solver[float32], raw bool, into *symmetry.Alignment) (float64, error) {
	plain := sumSimilarity(c.plain, c.group.Size, raw)
	sizes := make([]int, len(c.families))
	joint := make([][]float32, len(c.families))
	for i, f := range c.families {
		sizes[i] = f.Size
		joint[i] = sumSimilarity(c.joint[i], c.group.Size*f.Size, raw)
	}
	outer, inner, err := solveNested(ctx, solver, c.group.Size, plain, sizes, joint)
	if err != nil {
		return 0, fmt.Errorf("match: group %q: %w", c.group.Name, err)
	}
	into.Perms[c.group.Name] = outer
	value := 0.0
	n := c.group.Size
	for i, j := range outer {
		value += float64(plain[i*n+int(j)])
	}
	for f, k := range sizes {
		into.Perms[c.families[f].Name] = inner[f]
		for i, j := range outer {
			for r, col := range inner[f][i*k : (i+1)*k] {
				value += float64(joint[f][((i*k+r)*n+int(j))*k+int(col)])
			}
		}
	}
	return value, nil
}

// solveNested maximises Σ_i plain[i,σ(i)] + Σ_f Σ_i Σ_k joint_f[(i,k),(σ(i),τ_i(k))] over the order σ of n units and, for every family f of sizes[f]
// elements inside each unit, the orders τ. The inner problems of a pair do not depend on the other pairs, so the two levels are exact, in
// O(n²k³ + n³).
func solveNested(ctx context.Context, solver *assign.Solver[float32], n int, plain []float32, sizes []int, joint [][]float32) ([]int32, [][]int32, error) {
	value := slices.Clone(plain)
	best := make([][]int32, len(sizes)) // per family, per pair, the inner order
	for f, k := range sizes {
		best[f] = make([]int32, n*n*k)
		cost := make([]float32, k*k)
		for pair := range n * n {
			i, j := pair/n, pair%n
			for r := range k {
				copy(cost[r*k:(r+1)*k], joint[f][((i*k+r)*n+j)*k:])
			}
			res, err := solver.Solve(ctx, k, k, cost, assign.Options{Maximize: true})
			if err != nil {
				return nil, nil, err
			}
			value[pair] += float32(res.Value)
			for r, c := range res.RowToCol {
				best[f][pair*k+r] = int32(c)
			}
		}
	}
	res, err := solver.Solve(ctx, n, n, value, assign.Options{Maximize: true})
	if err != nil {
		return nil, nil, err
	}
	outer := make([]int32, n)
	inner := make([][]int32, len(sizes))
	for i, j := range res.RowToCol {
		outer[i] = int32(j)
		for f, k := range sizes {
			inner[f] = append(inner[f], best[f][(i*n+j)*k:(i*n+j+1)*k]...)
		}
	}
	return outer, inner, nil
}
