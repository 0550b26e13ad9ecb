package match

import (
	"fmt"
	"math"
	"slices"

	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// siteValue is one value of the graph on one batch, row-major.
type siteValue struct {
	shape tensor.Shape
	data  []float32
}

// moments accumulates first and second moments of the units of A and B at one site, and their cross products.
type moments struct {
	site    symmetry.Site
	lead    []string        // the group, and a family in it
	movable map[string]bool // the groups of the symmetry
	n       int             // units: rows of the matrices

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
	if _, err := m.units(&m.zb, b); err != nil || rest == 0 {
		return err
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
	if err := m.finite(m.sqA, "A"); err != nil {
		return err
	}
	return m.finite(m.sqB, "B")
}

func (m *moments) finite(squares []float64, who string) error {
	for i, x := range squares {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Errorf("match: site %q: the values of unit %d of %s are not finite", m.site.Value, i, who)
		}
	}
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
	views := m.views(layout)
	rest := 0
	for i := range views {
		rest += views[i].cols
	}
	*dst = grow(*dst, m.n*rest)
	col := 0
	for i := range views {
		views[i].copyTo(nil, (*dst)[col:], rest, v.data)
		col += views[i].cols
	}
	return rest, nil
}

// views are the blocks of a site where the units stand, as matrices of one row per unit. The other axes have to be fixed: their positions are the
// samples, which must be the same in both networks, and the units of another group are not.
func (m *moments) views(layout symmetry.Layout) []view {
	var out []view
	for _, b := range blocksOf(layout) {
		var lead []int
		for _, name := range m.lead {
			lead = append(lead, b.positions(name)...)
		}
		movable := 0
		for _, name := range b.names {
			if m.movable[name] {
				movable++
			}
		}
		if len(lead) == len(m.lead) && movable == len(lead) {
			out = append(out, b.view(lead...))
		}
	}
	return out
}

// observable says whether the site shows the units at all, whatever the size of the batch.
func (m *moments) observable() bool {
	layout := slices.Clone(m.site.Layout)
	for k, axis := range layout {
		if axis.Len() == 0 {
			layout[k] = symmetry.FixedAxis(1)
		}
	}
	return len(m.views(layout)) > 0
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
	scaleA, scaleB := deviations(m.shiftA, m.sumA, m.sqA, m.samples), deviations(m.shiftB, m.sumB, m.sqB, m.samples)
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

// deviations are the units' standard deviations, zero where the variance is no more than the rounding of the values or of the sums.
func deviations(shift, sum, sq []float64, samples float64) []float64 {
	out := make([]float64, len(sum))
	for i := range out {
		mean, square := sum[i]/samples, sq[i]/samples
		ulp := 0x1p-23 * (shift[i] + mean)
		if v := square - mean*mean; v > 1e-12*square && v > ulp*ulp {
			out[i] = math.Sqrt(v)
		}
	}
	return out
}
