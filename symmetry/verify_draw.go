package symmetry

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/rebasin/rebasin/graph"
	"github.com/rebasin/rebasin/tensor"
)

// moving draws an alignment that moves each group of two or more units, and each permutation of a family.
func (s *Symmetry) moving(rng *rand.Rand) *Alignment {
	a := s.Identity()
	for _, g := range s.Groups {
		for perm := range slices.Chunk(a.Perms[g.Name], g.Size) {
			for g.Size > 1 && isIdentity(perm, g.Size) {
				rng.Shuffle(g.Size, func(i, j int) { perm[i], perm[j] = perm[j], perm[i] })
			}
		}
	}
	return a
}

// randomSource draws new values for all tensors of floats but the constants, which come as they are: each from a seed of its own. Matrices are uniform
// with mean 0 and variance 2/fan-in, which carries signals through ReLU networks of any depth: He, Zhang, Ren, Sun, "Delving Deep
// into Rectifiers", ICCV 2015, arXiv:1502.01852. Vectors lie in [1/2, 3/2), which suits biases, scales and variances.
func (s *Symmetry) randomSource(seed uint64, params map[string]*tensor.Tensor) source {
	names := sortedKeys(params)
	return func(name string) (*tensor.Tensor, error) {
		at, ok := slices.BinarySearch(names, name)
		if !ok {
			return nil, fmt.Errorf("tensor %q is missing", name)
		}
		t := params[name]
		if s.Constant[name] || !t.DType().IsFloat() {
			return t, nil
		}
		drawn := tensor.New(tensor.F32, t.Shape())
		fillRandom(rand.New(rand.NewPCG(seed, uint64(at))), tensor.Of[float32](drawn), t.Shape())
		return drawn, nil
	}
}

func fillRandom(rng *rand.Rand, data []float32, shape tensor.Shape) {
	if len(shape) < 2 {
		for i := range data {
			data[i] = 0.5 + rng.Float32()
		}
		return
	}
	// 23 bits of each half of a draw are the bits behind the point of a number in [1, 2).
	limit := math.Sqrt(3 * 2 * float64(shape[0]) / float64(max(1, len(data))))
	scale, shift := float32(2*limit), float32(3*limit)
	for i := 0; i < len(data); i += 2 {
		bits := rng.Uint64()
		data[i] = scale*math.Float32frombits(0x3f800000|uint32(bits)>>9) - shift
		if i+1 < len(data) {
			data[i+1] = scale*math.Float32frombits(0x3f800000|uint32(bits>>41)) - shift
		}
	}
}

// inputPart is one input of an example.
type inputPart struct {
	n     int // elements
	limit int // for integers: they are drawn below it; 0 for floats
}

// randomInputs draws examples: floats are normal, integers uniform.
func (r *verifyRun) randomInputs(rng *rand.Rand, examples int) []float64 {
	var x []float64
	for range examples {
		for _, p := range r.parts {
			for range p.n {
				if p.limit > 0 {
					x = append(x, float64(rng.IntN(p.limit)))
				} else {
					x = append(x, rng.NormFloat64())
				}
			}
		}
	}
	return x
}

// indexLimits finds, for each value that chooses rows of a table by number, how many there are: for the inputs of a network, its vocabulary. It sees
// through nodes that only rearrange. Other integers, as those of masks, are 0 or 1.
func indexLimits(g *graph.Graph) map[string]int {
	limits, shapes := map[string]int{}, map[string]graph.Value{}
	if s, err := g.PartialShapes(); err == nil {
		shapes = s
	}
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		switch n := &g.Nodes[i]; n.Op {
		case "Gather":
			s := shapes[n.Input(0)].Shape
			if axis, err := graph.Axis(n.Attrs.Int("axis", 0), s.Rank()); err == nil && s[axis].IsFixed() {
				lower(limits, n.Input(1), s[axis].Size)
			}
		case "Identity", "Cast", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Expand":
			if limit, ok := limits[n.Outputs[0]]; ok {
				lower(limits, n.Input(0), limit)
			}
		}
	}
	for _, in := range g.Inputs {
		if _, ok := limits[in.Name]; !ok {
			limits[in.Name] = 2
		}
	}
	return limits
}

func lower(limits map[string]int, name string, limit int) {
	if old, ok := limits[name]; !ok || limit < old {
		limits[name] = limit
	}
}

func widen(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// axisRefs lists the axes on which groups of two or more units stand: by group in their order, then by tensor and axis.
func (s *Symmetry) axisRefs() []AxisRef {
	var refs []AxisRef
	keys := sortedKeys(s.Layouts)
	for _, g := range s.Groups {
		if g.Size < 2 {
			continue
		}
		for _, key := range keys {
			layout := s.Layouts[key]
			if s.numbers(key, g.Name) {
				refs = append(refs, AxisRef{Group: g.Name, Tensor: key, Axis: -1})
			}
			for i, axis := range layout {
				if axis.carries(g.Name) {
					refs = append(refs, AxisRef{Group: g.Name, Tensor: key, Axis: i})
				}
			}
		}
	}
	return refs
}

// numbers says whether a group numbers the tensors of a virtual stack.
func (s *Symmetry) numbers(key, group string) bool {
	if _, literal := s.Shapes[key]; literal {
		return false
	}
	t, _, err := parseTemplate(key)
	return err == nil && slices.Contains(t.holes, group)
}

// permuteAlone moves the units of a group on one axis of one tensor, or virtual stack, and nowhere else. All that stands
// there otherwise is made fixed, but for the group's parents, which find its permutations and stay where they are. A group
// that numbers a stack moves in the stack's name with each of its axes: there is no telling them apart.
func (s *Symmetry) permuteAlone(ref AxisRef, t trial) (map[string]*tensor.Tensor, error) {
	g, _ := s.Group(ref.Group)
	layout := make(Layout, len(s.Layouts[ref.Tensor]))
	for i, axis := range s.Layouts[ref.Tensor] {
		for _, segment := range axis {
			segment = slices.Clone(segment)
			for k, f := range segment {
				if !slices.Contains(g.Parents, f.Name) && (f.Name != g.Name || i != ref.Axis) {
					segment[k].Name = ""
				}
			}
			layout[i] = append(layout[i], segment)
		}
	}
	alone := &Symmetry{
		Groups: s.Groups, Fixed: s.Fixed, Shapes: s.Shapes,
		Layouts: map[string]Layout{ref.Tensor: layout},
	}
	a := s.Identity()
	a.Perms[g.Name] = t.alignment.Perms[g.Name]
	tensors := map[string]*tensor.Tensor{}
	for _, name := range s.Members(ref.Tensor) {
		var err error
		if tensors[name], err = t.source(name); err != nil {
			return nil, err
		}
	}
	return alone.Apply(a, tensors)
}
