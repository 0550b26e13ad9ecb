package match

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// Recorded are activations that were recorded elsewhere: for each site one array of A and one of B, of the same shape, on the same inputs in the same
// order. It is an [ActivationSource] of one batch. Arrays have the name of a site (see [symmetry.Symmetry.Sites]), or of a group with [Observed].
type Recorded struct{ A, B map[string]*tensor.Tensor }

// Batches is 1.
func (r *Recorded) Batches() int { return 1 }

// Each calls visit once, with all samples. Arrays of other types are converted to float32.
func (r *Recorded) Each(ctx context.Context, sites []string, visit func(shapes []tensor.Shape, a, b [][]float32) error) error {
	var shapes []tensor.Shape
	var va, vb [][]float32
	for _, site := range sites {
		if err := ctx.Err(); err != nil {
			return err
		}
		a, b := r.A[site], r.B[site]
		switch {
		case a == nil:
			return fmt.Errorf("match: no activations of A at %q", site)
		case b == nil:
			return fmt.Errorf("match: no activations of B at %q", site)
		case !slices.Equal(a.Shape(), b.Shape()):
			return fmt.Errorf("match: the activations at %q have shape %v in A and %v in B", site, a.Shape(), b.Shape())
		}
		fa, err := asFloat32(a)
		if err != nil {
			return fmt.Errorf("match: the activations of A at %q: %w", site, err)
		}
		fb, err := asFloat32(b)
		if err != nil {
			return fmt.Errorf("match: the activations of B at %q: %w", site, err)
		}
		shapes = append(shapes, a.Shape())
		va, vb = append(va, tensor.Of[float32](fa)), append(vb, tensor.Of[float32](fb))
	}
	return visit(shapes, va, vb)
}

// Observed is sym with the sites at which arrays of these shapes were recorded, and no others. An array with the name of a group, as a
// symmetry without a graph needs it, is one more site of that group: its units stand on the only axis behind the first, that of the samples, that has as
// many elements. An array that is neither is an error.
func Observed(sym *symmetry.Symmetry, shapes map[string]tensor.Shape) (*symmetry.Symmetry, error) {
	out := *sym
	out.Sites = map[string][]symmetry.Site{}
	used := map[string]bool{}
	for group, sites := range sym.Sites {
		for _, site := range sites {
			if _, ok := shapes[site.Value]; ok {
				out.Sites[group] = append(out.Sites[group], site)
				used[site.Value] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		if used[name] {
			continue
		}
		g, ok := sym.Group(name)
		if !ok || len(g.Parents) > 0 {
			return nil, fmt.Errorf("match: %q is neither a site nor a group of the symmetry; there are the sites %v and the groups %v", name,
				siteNames(sym), groupNames(sym))
		}
		layout, err := layoutOfUnits(g, shapes[name])
		if err != nil {
			return nil, err
		}
		out.Sites[name] = append(out.Sites[name], symmetry.Site{Value: name, Layout: layout})
	}
	return &out, nil
}

// layoutOfUnits puts the units of a group on the axis of an array that has as many elements.
func layoutOfUnits(g symmetry.Group, shape tensor.Shape) (symmetry.Layout, error) {
	axis := -1
	for i, n := range shape {
		switch {
		case i == 0 || n != g.Size:
		case axis >= 0:
			return nil, fmt.Errorf("match: the activations of group %q have shape %v: its %d units could stand on axis %d or %d", g.Name, shape, g.Size, axis, i)
		default:
			axis = i
		}
	}
	if axis < 0 {
		return nil, fmt.Errorf("match: the activations of group %q have shape %v: no axis behind the first has its %d units", g.Name, shape, g.Size)
	}
	layout := make(symmetry.Layout, len(shape))
	for i, n := range shape {
		f := symmetry.Factor{Size: n}
		if i == axis {
			f.Name = g.Name
		}
		layout[i] = symmetry.Axis{symmetry.Segment{f}}
	}
	return layout, nil
}

func siteNames(sym *symmetry.Symmetry) []string {
	var names []string
	for _, sites := range sym.Sites {
		for _, s := range sites {
			names = append(names, s.Value)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func groupNames(sym *symmetry.Symmetry) []string {
	var names []string
	for _, g := range sym.Groups {
		if len(g.Parents) == 0 {
			names = append(names, g.Name)
		}
	}
	return names
}
