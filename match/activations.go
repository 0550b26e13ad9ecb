package match

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/rebasin/rebasin/assign"
	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// siteValue is one value of the graph on one batch, row-major.
type siteValue struct {
	shape tensor.Shape
	data  []float32
}

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
	if _, _, err := check(sym, a, b); err != nil {
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
	solved := map[string]bool{}
	for _, g := range sym.Groups {
		if len(g.Parents) > 0 || g.Size < 2 {
			continue
		}
		c := &cluster{group: g}
		for _, f := range sym.Groups {
			if len(f.Parents) == 1 && f.Parents[0] == g.Name && len(sym.Sites[f.Name]) > 0 {
				c.families = append(c.families, f)
			}
		}
		c.addSites(sym)
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

// addSites makes an accumulator for every site of the group and of its families.
func (c *cluster) addSites(sym *symmetry.Symmetry) {
	c.joint = make([][]*moments, len(c.families))
	inside := func(l symmetry.Layout) bool {
		return slices.ContainsFunc(c.families, func(f symmetry.Group) bool { return standsIn(l, f.Name) })
	}
	for _, s := range sym.Sites[c.group.Name] {
		if !inside(s.Layout) {
			c.plain = append(c.plain, &moments{site: s, lead: []string{c.group.Name}, n: c.group.Size})
		}
	}
	for i, f := range c.families {
		for _, s := range sym.Sites[f.Name] {
			c.joint[i] = append(c.joint[i], &moments{site: s, lead: []string{c.group.Name, f.Name}, n: c.group.Size * f.Size})
		}
	}
}

func standsIn(l symmetry.Layout, name string) bool {
	for _, axis := range l {
		for _, seg := range axis {
			for _, f := range seg {
				if f.Name == name {
					return true
				}
			}
		}
	}
	return false
}

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
	done := 0
	err := src.Each(ctx, sites, func(shapes []tensor.Shape, a, b [][]float32) error {
		for _, m := range all {
			i := slices.Index(sites, m.site.Value)
			if err := m.add(siteValue{shapes[i], a[i]}, siteValue{shapes[i], b[i]}, pool); err != nil {
				return err
			}
		}
		done++
		opt.Observer.report(Event{Stage: "activation matching", Done: done, Total: src.Batches()})
		return ctx.Err()
	})
	if err == nil && done == 0 {
		err = errors.New("match: no data to observe activations on")
	}
	return err
}

// moments accumulates first and second moments of the units of A and B at one site, and their cross products.
type moments struct {
	site symmetry.Site
	lead []string // the group, and a family in it
	n    int      // units: rows of the matrices

	samples        float64
	shiftA, shiftB []float64 // the first batch's means
	sumA, sumB     []float64 // of shifted values
	sqA, sqB       []float64
	cross          []float64 // n x n, of shifted values

	za, zb, product []float32
}

// add takes in one batch.
func (m *moments) add(a, b siteValue, pool *kernel.Pool) error {
	if m.cross == nil {
		m.shiftA, m.shiftB = make([]float64, m.n), make([]float64, m.n)
		m.sumA, m.sumB = make([]float64, m.n), make([]float64, m.n)
		m.sqA, m.sqB = make([]float64, m.n), make([]float64, m.n)
		m.cross, m.product = make([]float64, m.n*m.n), make([]float32, m.n*m.n)
	}
	rest, err := m.units(&m.za, a)
	if err != nil {
		return err
	}
	if restB, err := m.units(&m.zb, b); err != nil {
		return err
	} else if rest != restB {
		return fmt.Errorf("match: site %q has shape %v in A and %v in B", m.site.Value, a.shape, b.shape)
	}
	if m.samples == 0 {
		means(m.shiftA, m.za)
		means(m.shiftB, m.zb)
	}
	accumulate(m.sumA, m.sqA, m.shiftA, m.za)
	accumulate(m.sumB, m.sqB, m.shiftB, m.zb)
	kernel.Gemm(pool, false, true, m.n, m.n, rest, m.za, rest, m.zb, rest, 0, m.product, m.n)
	for i, x := range m.product {
		m.cross[i] += float64(x)
	}
	m.samples += float64(rest)
	return nil
}

// units writes the value as a matrix of one row per unit and returns the samples in this batch.
func (m *moments) units(dst *[]float32, v siteValue) (int, error) {
	layout, err := concrete(m.site, v.shape)
	if err != nil {
		return 0, err
	}
	if want, err := layout.Shape().Elements(); err != nil || len(v.data) != want {
		return 0, fmt.Errorf("match: site %q: %d values, shape %v", m.site.Value, len(v.data), v.shape)
	}
	// In a concatenation the same units may stand in several blocks: each adds samples.
	rest := 0
	var views []view
	blocks := blocksOf(0, layout)
	for i := range blocks {
		lead := make([]int, len(m.lead))
		for k, name := range m.lead {
			at := blocks[i].positions(name)
			if len(at) != 1 {
				lead = nil
				break
			}
			lead[k] = at[0]
		}
		if lead != nil {
			views = append(views, blocks[i].view(lead...))
			rest += views[len(views)-1].cols
		}
	}
	*dst = grow(*dst, m.n*rest)
	col := 0
	for i := range views {
		row := 0
		views[i].each(func(offset int) {
			gather(*dst, row*rest+col, v.data, offset, views[i].restDims, views[i].restStrides)
			row++
		})
		col += views[i].cols
	}
	return rest, nil
}

// concrete is the site's layout with the extents of this batch on its fixed axes.
func concrete(site symmetry.Site, shape tensor.Shape) (symmetry.Layout, error) {
	if len(site.Layout) != len(shape) {
		return nil, fmt.Errorf("match: site %q has rank %d, its layout %d axes", site.Value, len(shape), len(site.Layout))
	}
	out := slices.Clone(site.Layout)
	for k, axis := range out {
		if !named(axis) {
			out[k] = symmetry.FixedAxis(shape[k])
		} else if axis.Len() != shape[k] {
			return nil, fmt.Errorf("match: axis %d of site %q has extent %d, its layout %d", k, site.Value, shape[k], axis.Len())
		}
	}
	return out, nil
}

func named(axis symmetry.Axis) bool {
	return slices.ContainsFunc(axis, func(s symmetry.Segment) bool {
		return slices.ContainsFunc(s, func(f symmetry.Factor) bool { return f.Name != "" })
	})
}

func means(dst []float64, z []float32) {
	rest := len(z) / len(dst)
	for i := range dst {
		dst[i] = kernel.Sum(z[i*rest:(i+1)*rest]) / float64(rest)
	}
}

// accumulate subtracts the shift in place and adds the sums of the shifted values and of their squares.
func accumulate(sum, sq, shift []float64, z []float32) {
	rest := len(z) / len(sum)
	for i := range sum {
		row := z[i*rest : (i+1)*rest]
		// The shift is rounded to float32 so that subtracting it is one float32 operation for every sample alike.
		s := float32(shift[i])
		for k := range row {
			row[k] -= s
		}
		shift[i] = float64(s)
		sum[i] += kernel.Sum(row)
		sq[i] += kernel.Dot(row, row)
	}
}

// similarity is the matrix of correlations, or of raw mean products.
func (m *moments) similarity(raw bool) []float32 {
	n, inv := m.n, 1/m.samples
	out := make([]float32, n*n)
	scaleA, scaleB := deviations(m.sumA, m.sqA, m.samples), deviations(m.sumB, m.sqB, m.samples)
	for i := range n {
		for j := range n {
			mean := m.cross[i*n+j] * inv
			if raw {
				// E[z z'] of unshifted values from the shifted ones.
				ma, mb := m.sumA[i]*inv, m.sumB[j]*inv
				out[i*n+j] = float32(mean + m.shiftA[i]*mb + m.shiftB[j]*ma + m.shiftA[i]*m.shiftB[j])
				continue
			}
			if scaleA[i] == 0 || scaleB[j] == 0 {
				continue
			}
			out[i*n+j] = float32((mean - m.sumA[i]*inv*m.sumB[j]*inv) / (scaleA[i] * scaleB[j]))
		}
	}
	return out
}

// deviations are the units' standard deviations, zero where the variance is no more than rounding.
func deviations(sum, sq []float64, samples float64) []float64 {
	out := make([]float64, len(sum))
	for i := range out {
		mean := sum[i] / samples
		square := sq[i] / samples
		if v := square - mean*mean; v > 1e-12*square {
			out[i] = math.Sqrt(v)
		}
	}
	return out
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
