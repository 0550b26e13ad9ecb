package match

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// Blend mixes the similarity of activations into weight matching, after MuDSC (Xu, Yuan, Wang, Wang, Song, Song 2024, "Training-Free Pretrained
// Model Merging", arXiv:2403.01753): the assignment of a group is solved on (1-μ)·S_weights/σ + μ·S_activations/σ, each divided by its own deviation.
//
// The deviations are taken once, at B as it is, so that all groups share one objective,
//
//	<A, P·B> + Σ_g μ/(1-μ) · σ_weights,g/σ_activations,g · <P_g, S_activations,g>,
//
// which coordinate descent cannot lower.
type Blend struct {
	// Mu is the weight of the activations, 0 <= Mu < 1.
	Mu float64
	// Similarity is that of [ActivationSimilarity]. Groups without an entry are matched by weights alone.
	Similarity map[string][]float32
}

// install adds the fixed part of the similarities to a descent that stands at the identity.
func (b *Blend) install(d *descent) error {
	if b == nil {
		return nil
	}
	if !(b.Mu >= 0 && b.Mu < 1) {
		return fmt.Errorf("match: blend %v is not in [0, 1)", b.Mu)
	}
	for _, name := range slices.Sorted(maps.Keys(b.Similarity)) {
		g, s := d.byName[name], b.Similarity[name]
		if g == nil {
			return fmt.Errorf("match: the symmetry has no group %q to blend", name)
		}
		if len(s) != g.Size*g.Size {
			return fmt.Errorf("match: the activations of group %q have %d similarities, want %d", name, len(s), g.Size*g.Size)
		}
		if len(g.Parents) > 0 {
			d.note(fmt.Sprintf("group %q is a family: its activations are not blended in", name))
			continue
		}
		activations := deviation(s)
		if activations == 0 {
			continue
		}
		weights := deviation(d.similarity(g, nil))
		g.extra = s
		g.extraWeight = b.Mu / (1 - b.Mu) * weights / activations
	}
	return nil
}

// deviation is the standard deviation of the entries.
func deviation(s []float32) float64 {
	var sum, sq float64
	for _, x := range s {
		sum += float64(x)
	}
	mean := sum / float64(len(s))
	for _, x := range s {
		sq += (float64(x) - mean) * (float64(x) - mean)
	}
	return math.Sqrt(sq / float64(len(s)))
}
