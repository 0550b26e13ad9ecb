package symmetry

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/rebasin/rebasin/tensor"
)

// template is the name of a virtual stack: literal parts around holes, as "experts.", {e}, ".w1.weight".
type template struct {
	parts   []string // one more than holes
	holes   []string // the names in the holes
	parents map[string][]string
}

// parseTemplate reads a tensor name with holes. ok is false where the name has none.
//
// A hole holds a group, a family or a fixed name, which stands on a virtual leading axis and numbers the tensors from 0
// in plain decimals. No digit may touch a hole, and text stands between two, so that no two numberings give one name.
func parseTemplate(name string) (t template, ok bool, err error) {
	rest := name
	t.parents = map[string][]string{}
	for {
		before, tail, found := strings.Cut(rest, "{")
		t.parts = append(t.parts, before)
		if !found {
			return t, len(t.holes) > 0, t.check(name)
		}
		hole, after, closed := strings.Cut(tail, "}")
		if !closed {
			return t, false, fmt.Errorf(`name %s: "{" is not closed`, quoteShort(name))
		}
		layout, parents, err := ParseLayout(hole)
		if err != nil {
			return t, false, fmt.Errorf("name %s: %w", quoteShort(name), err)
		}
		if len(layout) != 1 || len(layout[0]) != 1 || len(layout[0][0]) != 1 || layout[0][0][0].Name == "" {
			return t, false, fmt.Errorf("name %s: a hole holds one name, not %s", quoteShort(name), quoteShort(hole))
		}
		t.holes = append(t.holes, layout[0][0][0].Name)
		for k, v := range parents {
			t.parents[k] = v
		}
		rest = after
	}
}

func (t template) check(name string) error {
	last := len(t.holes)
	for i, part := range t.parts {
		if i > 0 && i < last && part == "" {
			return fmt.Errorf("name %s: no text between two holes", quoteShort(name))
		}
		if part == "" {
			continue
		}
		if (i > 0 && isDigit(part[0])) || (i < last && isDigit(part[len(part)-1])) {
			return fmt.Errorf("name %s: a digit touches a hole", quoteShort(name))
		}
	}
	return nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// match returns the numbers in the holes of a tensor's name.
func (t template) match(name string) (numbers []int, ok bool) {
	rest, ok := strings.CutPrefix(name, t.parts[0])
	if !ok {
		return nil, false
	}
	for _, part := range t.parts[1:] {
		n := 0
		for n < len(rest) && isDigit(rest[n]) {
			n++
		}
		if n == 0 || (n > 1 && rest[0] == '0') {
			return nil, false
		}
		number, err := strconv.ParseUint(rest[:n], 10, 31)
		if err != nil {
			return nil, false
		}
		numbers = append(numbers, int(number))
		if rest, ok = strings.CutPrefix(rest[n:], part); !ok {
			return nil, false
		}
	}
	return numbers, rest == ""
}

// member is the name of the tensor with those numbers.
func (t template) member(numbers []int) string {
	var b strings.Builder
	b.WriteString(t.parts[0])
	for i, n := range numbers {
		b.WriteString(strconv.Itoa(n))
		b.WriteString(t.parts[i+1])
	}
	return b.String()
}

// extents counts the tensors of the stack along every hole. All of the grid's tensors must exist, of one shape.
func (t template) extents(shapes map[string]tensor.Shape) (extents []int, shape tensor.Shape, err error) {
	extents = make([]int, len(t.holes))
	found := 0
	for name := range shapes {
		numbers, ok := t.match(name)
		if !ok {
			continue
		}
		found++
		for i, n := range numbers {
			extents[i] = max(extents[i], n+1)
		}
	}
	if found == 0 {
		return nil, nil, fmt.Errorf("no tensor of the checkpoint has such a name")
	}
	// Stops at the first gap, so that a name with a huge number costs no more than the tensors there are.
	first := t.member(make([]int, len(t.holes)))
	for numbers := range grid(extents) {
		name := t.member(numbers)
		s, ok := shapes[name]
		if !ok {
			return nil, nil, fmt.Errorf("tensor %q is missing from the checkpoint", name)
		}
		if shape == nil {
			shape = s
		}
		if !s.Equal(shape) {
			return nil, nil, fmt.Errorf("tensor %q has shape %v, %q has %v", name, s, first, shape)
		}
	}
	return extents, shape, nil
}

// grid yields all multi-indices below the extents, the last fastest. The slice is reused.
func grid(extents []int) func(yield func([]int) bool) {
	return func(yield func([]int) bool) {
		for _, n := range extents {
			if n == 0 {
				return
			}
		}
		at := make([]int, len(extents))
		for {
			if !yield(at) {
				return
			}
			k := len(at) - 1
			for ; k >= 0; k-- {
				if at[k]++; at[k] < extents[k] {
					break
				}
				at[k] = 0
			}
			if k < 0 {
				return
			}
		}
	}
}

// stack is an entry of Layouts with everything that its name stands for: a plain tensor has one member and no virtual
// axes.
type stack struct {
	key     string
	virtual Layout // one axis for each hole
	layout  Layout // the virtual axes, then those of each member
	members []string
}

// stackOf resolves an entry of Layouts. A key that is itself the name of a tensor is that tensor, whatever it contains.
func (s *Symmetry) stackOf(key string, names nameTable) (stack, error) {
	layout := s.Layouts[key]
	if _, literal := s.Shapes[key]; literal {
		return stack{key: key, layout: layout, members: []string{key}}, nil
	}
	t, ok, err := parseTemplate(key)
	if err != nil {
		return stack{}, err
	}
	if !ok {
		return stack{}, fmt.Errorf("tensor %q: has a layout but no shape", key)
	}
	extents := make([]int, len(t.holes))
	st := stack{key: key}
	for i, name := range t.holes {
		extents[i] = names.extent(name)
		st.virtual = append(st.virtual, GroupAxis(name, extents[i]))
	}
	st.layout = append(append(Layout{}, st.virtual...), layout...)
	for numbers := range grid(extents) {
		name := t.member(numbers)
		if _, ok := s.Shapes[name]; !ok {
			return stack{}, fmt.Errorf("virtual stack %q: tensor %q is missing", key, name)
		}
		st.members = append(st.members, name)
	}
	return st, nil
}

// LayoutOf returns the entry of Layouts that governs a tensor: its own name or the name of the virtual stack it belongs
// to. ok is false for a tensor without a layout, which stays as it is.
func (s *Symmetry) LayoutOf(name string) (key string, layout Layout, ok bool) {
	if layout, ok := s.Layouts[name]; ok {
		if _, literal := s.Shapes[name]; literal {
			return name, layout, true
		}
	}
	for _, key := range s.stackKeys() {
		t, _, err := parseTemplate(key)
		if err != nil {
			continue
		}
		if _, ok := t.match(name); ok {
			return key, s.Layouts[key], true
		}
	}
	return "", nil, false
}

// stackKeys are the keys of Layouts that name virtual stacks, sorted.
func (s *Symmetry) stackKeys() []string {
	var keys []string
	for key := range s.Layouts {
		if _, literal := s.Shapes[key]; !literal && strings.Contains(key, "{") {
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	return keys
}

// Members are the tensors that an entry of Layouts stands for: the tensor itself or, for a virtual stack, its tensors
// row-major over the holes. It is nil for a key that is no entry or does not fit the shapes.
func (s *Symmetry) Members(key string) []string {
	if _, ok := s.Layouts[key]; !ok {
		return nil
	}
	st, err := s.stackOf(key, s.names())
	if err != nil {
		return nil
	}
	return st.members
}
