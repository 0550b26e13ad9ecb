package symmetry

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// Identity is the alignment that moves nothing.
func (s *Symmetry) Identity() *Alignment {
	names := s.names()
	a := &Alignment{Perms: make(map[string][]int32, len(s.Groups))}
	for _, g := range s.Groups {
		perm := make([]int32, names.joint(g)*g.Size)
		for i := range perm {
			perm[i] = int32(i % g.Size)
		}
		a.Perms[g.Name] = perm
	}
	return a
}

// Random draws an alignment uniformly. It depends only on the source and the order of s.Groups.
func (s *Symmetry) Random(r *rand.Rand) *Alignment {
	a := s.Identity()
	for _, g := range s.Groups {
		for perm := range slices.Chunk(a.Perms[g.Name], g.Size) {
			r.Shuffle(len(perm), func(i, j int) { perm[i], perm[j] = perm[j], perm[i] })
		}
	}
	return a
}

// CheckAlignment says why an alignment does not belong to the symmetry: a group that is missing or unknown, a wrong
// number of entries, entries that are no permutation.
func (s *Symmetry) CheckAlignment(a *Alignment) error {
	if a == nil {
		return fmt.Errorf("no alignment")
	}
	names := s.names()
	for _, name := range sortedKeys(a.Perms) {
		if _, ok := names.groups[name]; !ok {
			return fmt.Errorf("group %q: the symmetry has no such group", name)
		}
	}
	for _, g := range s.Groups {
		if err := names.checkPerm(g, a); err != nil {
			return err
		}
	}
	return nil
}

func (t nameTable) checkPerm(g Group, a *Alignment) error {
	perm, ok := a.Perms[g.Name]
	if !ok {
		return fmt.Errorf("group %q: the alignment has no permutation", g.Name)
	}
	if n := t.joint(g) * g.Size; len(perm) != n {
		return fmt.Errorf("group %q: %d entries where %d units need %d", g.Name, len(perm), g.Size, n)
	}
	seen := make([]int, g.Size) // the joint index, from 1, that saw the unit last
	for i, p := range perm {
		joint := i/g.Size + 1
		if p < 0 || int(p) >= g.Size {
			return fmt.Errorf("group %q: entry %d is %d, units are 0 to %d", g.Name, i, p, g.Size-1)
		}
		if seen[p] == joint {
			return fmt.Errorf("group %q: entry %d is %d, which is there twice", g.Name, i, p)
		}
		seen[p] = joint
	}
	return nil
}

// mustFit is for operations on alignments that the caller vouches for.
func (s *Symmetry) mustFit(op string, a *Alignment) {
	if err := s.CheckAlignment(a); err != nil {
		panic(fmt.Sprintf("symmetry: %s: %v", op, err))
	}
}

// Equal says whether two alignments have the same permutations of the same groups.
func (a *Alignment) Equal(b *Alignment) bool {
	return maps.EqualFunc(a.Perms, b.Perms, slices.Equal[[]int32])
}

// Clone is a deep copy.
func (a *Alignment) Clone() *Alignment {
	b := &Alignment{Perms: make(map[string][]int32, len(a.Perms))}
	for name, perm := range a.Perms {
		b.Perms[name] = slices.Clone(perm)
	}
	return b
}

// IsIdentity says whether an alignment of the symmetry moves nothing.
func (s *Symmetry) IsIdentity(a *Alignment) bool {
	for _, g := range s.Groups {
		if !isIdentity(a.Perms[g.Name], g.Size) {
			return false
		}
	}
	return true
}

// isIdentity is for one or more permutations of size units after each other.
func isIdentity(perm []int32, size int) bool {
	for i, p := range perm {
		if int(p) != i%size {
			return false
		}
	}
	return true
}

// Compose is the alignment that does what first does and then what then does:
//
//	Apply(then, Apply(first, T)) = Apply(Compose(first, then), T)
//
// For a group with permutations p (first) and q (then) the result is p∘q: unit i of the result is unit p[q[i]] of the
// source. For a family τ of σ it is (σ,τ) followed by (σ′,τ′) = (σ∘σ′, τ_{σ′[i]}∘τ′_i): the permutation of first is that
// of the parents where then finds them. It panics where an alignment does not pass [Symmetry.CheckAlignment].
func (s *Symmetry) Compose(first, then *Alignment) *Alignment {
	s.mustFit("Compose", first)
	s.mustFit("Compose", then)
	names := s.names()
	out := &Alignment{Perms: make(map[string][]int32, len(s.Groups))}
	for _, g := range s.Groups {
		p, q := first.Perms[g.Name], then.Perms[g.Name]
		perm := make([]int32, len(q))
		for joint, image := range names.joints(g, then) {
			inner := p[image*g.Size:]
			for k := joint * g.Size; k < (joint+1)*g.Size; k++ {
				perm[k] = inner[q[k]]
			}
		}
		out.Perms[g.Name] = perm
	}
	return out
}

// Invert is the alignment that undoes a: Compose(a, Invert(a)) and Compose(Invert(a), a) are the identity. It panics
// where a does not pass [Symmetry.CheckAlignment].
func (s *Symmetry) Invert(a *Alignment) *Alignment {
	s.mustFit("Invert", a)
	names := s.names()
	out := &Alignment{Perms: make(map[string][]int32, len(s.Groups))}
	for _, g := range s.Groups {
		p := a.Perms[g.Name]
		perm := make([]int32, len(p))
		for joint, image := range names.joints(g, a) {
			inverse := perm[image*g.Size:]
			for k := range g.Size {
				inverse[p[joint*g.Size+k]] = int32(k)
			}
		}
		out.Perms[g.Name] = perm
	}
	return out
}

// joints yields every joint index of a group's parents with its image under a: the joint index of the source that a puts
// there. A plain group has one joint index, 0.
func (t nameTable) joints(g Group, a *Alignment) func(yield func(joint, image int) bool) {
	extents := make([]int, len(g.Parents))
	perms := make([][]int32, len(g.Parents)) // nil for a fixed parent
	above := make([][]int, len(g.Parents))   // where a parent's own parents stand in g.Parents
	for i, p := range g.Parents {
		extents[i], perms[i] = t.extent(p), a.Perms[p]
		for _, q := range t.parents(p) {
			above[i] = append(above[i], slices.Index(g.Parents, q))
		}
	}
	return func(yield func(joint, image int) bool) {
		joint := 0
		for at := range grid(extents) {
			image := 0
			for i, digit := range at {
				if perms[i] != nil {
					own := 0
					for _, k := range above[i] {
						own = own*extents[k] + at[k]
					}
					digit = int(perms[i][own*extents[i]+digit])
				}
				image = image*extents[i] + digit
			}
			if !yield(joint, image) {
				return
			}
			joint++
		}
	}
}
