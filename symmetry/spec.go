package symmetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/rebasin/rebasin/tensor"
)

// notInSpec is the reason of a pin for a tensor that a specification file leaves out.
const notInSpec = "not in the specification file"

// ParseSpec reads a specification file for a checkpoint whose tensors have the given shapes. Two forms are told apart by
// their content.
//
// The YAML form has the text form of layouts (see the package comment):
//
//	layouts:
//	  fc1.weight: h1 _
//	  fc1.bias: h1
//	  attn.qkv.weight: ((heads dk[heads]) + (heads dk[heads]) + (heads dv[heads])) d
//	sizes: {heads: 12}        # only for what the shapes leave open
//	fixed: {direction: 2}     # named extents that do not move but may be parents
//	statistics: {bn.mean: true}  # running statistics of normalisations, where the names of tensors do not say so
//
// In a flow mapping ({w: "f[e] d"}) YAML wants quotes around text with brackets.
//
// The JSON form is that of the authors' Python code: tensor name -> one entry per axis, a group's name or null.
//
//	{"fc1.weight": ["h1", null], "fc1.bias": ["h1"]}
//
// Sizes follow from the shapes: an axis with one unknown name determines it, until nothing changes any more. A tensor
// that the file leaves out is pinned, with that reason. Which tensors are running statistics, without a part in objectives, their names say: those that
// end in running_mean, running_var, num_batches_tracked, moving_mean or moving_variance are, unless the section statistics says false. The JSON form has
// no such section. Groups come in the order in which the file mentions them,
// parents before families. The result has passed [Symmetry.Validate]; it has no sites, which belong to a graph.
//
// Errors name the line of a YAML file and the tensor.
func ParseSpec(data []byte, shapes map[string]tensor.Shape) (*Symmetry, error) {
	if len(data) > maxSpecBytes {
		return nil, fmt.Errorf("a specification of %d bytes, at most %d are read", len(data), maxSpecBytes)
	}
	read := readYAML
	if isPythonForm(data) {
		read = readPython
	}
	f, err := read(data)
	if err != nil {
		return nil, err
	}
	return f.resolve(shapes)
}

// specFile is what either form says, before shapes are looked at.
type specFile struct {
	entries []*specEntry
	sizes   []specSize
	fixed   []specSize
	// statistics is what the file says of running statistics.
	statistics []specStatistic
}

type specEntry struct {
	key     string
	line    int // 0 where unknown
	layout  Layout
	parents map[string][]string

	members []string // the tensors meant
	shape   tensor.Shape
	virtual Layout // of a virtual stack, sizes filled in
	full    Layout // virtual axes, then layout
}

type specSize struct {
	name string
	size int
	line int
}

func (e *specEntry) errorf(format string, args ...any) error {
	return atLine(e.line, fmt.Errorf("tensor %q: %w", e.key, fmt.Errorf(format, args...)))
}

func atLine(line int, err error) error {
	if line == 0 {
		return err
	}
	return fmt.Errorf("line %d: %w", line, err)
}

// resolve turns the file into a symmetry of the checkpoint.
func (f *specFile) resolve(shapes map[string]tensor.Shape) (*Symmetry, error) {
	if len(f.entries) == 0 {
		return nil, fmt.Errorf("the specification has no layouts")
	}
	r := &specResolver{file: f, shapes: shapes, declared: map[string]declaration{}, fixed: map[string]int{}}
	for _, step := range []func() error{r.findTensors, r.declareFixed, r.declareNames, r.checkSizes, r.checkFamilies} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	values, err := r.solve()
	if err != nil {
		return nil, err
	}
	s := r.symmetry(values)
	if s.Statistics, err = r.statistics(); err != nil {
		return nil, err
	}
	return s, s.Validate()
}

type declaration struct {
	parents []string
	entry   *specEntry
}

type specResolver struct {
	file     *specFile
	shapes   map[string]tensor.Shape
	declared map[string]declaration // groups and families
	order    []string               // their names, parents first
	fixed    map[string]int
}

// findTensors looks up the tensors that every entry means.
func (r *specResolver) findTensors() error {
	owner := map[string]*specEntry{}
	for _, e := range r.file.entries {
		if err := r.findTensor(e); err != nil {
			return err
		}
		for _, m := range e.members {
			if other, ok := owner[m]; ok {
				return e.errorf("%q has a layout already, that of %q", m, other.key)
			}
			owner[m] = e
		}
		if len(e.layout) != len(e.shape) {
			return e.errorf("layout has %s, shape %v has %d", countNoun(len(e.layout), "axis", "axes"), e.shape, len(e.shape))
		}
	}
	return nil
}

func (r *specResolver) findTensor(e *specEntry) error {
	if shape, ok := r.shapes[e.key]; ok {
		e.members, e.shape, e.full = []string{e.key}, shape, e.layout
		return nil
	}
	t, isStack, err := parseTemplate(e.key)
	if err != nil {
		return e.errorf("%w", err)
	}
	if !isStack {
		return e.errorf("not in the checkpoint")
	}
	extents, shape, err := t.extents(r.shapes)
	if err != nil {
		return e.errorf("%w", err)
	}
	e.shape = shape
	for i, name := range t.holes {
		e.virtual = append(e.virtual, GroupAxis(name, extents[i]))
	}
	for numbers := range grid(extents) {
		e.members = append(e.members, t.member(numbers))
	}
	e.full = append(append(Layout{}, e.virtual...), e.layout...)
	return e.mergeParents(t.parents)
}

// mergeParents adds the families in the holes of the name to those of the layout.
func (e *specEntry) mergeParents(holes map[string][]string) error {
	merged := map[string][]string{}
	for name, parents := range e.parents {
		merged[name] = parents
	}
	for _, name := range sortedKeys(holes) {
		if known, ok := merged[name]; ok && !slices.Equal(known, holes[name]) {
			return e.errorf("%q stands with other parents in the name than in the layout", name)
		}
		merged[name] = holes[name]
	}
	e.parents = merged
	return nil
}

func (r *specResolver) declareFixed() error {
	for _, f := range r.file.fixed {
		if err := checkName(f.name); err != nil {
			return atLine(f.line, fmt.Errorf("fixed: %w", err))
		}
		r.fixed[f.name] = f.size
	}
	return nil
}

// declareNames collects groups and families, and holds every mention of a name to the parents of its first.
func (r *specResolver) declareNames() error {
	used := map[string]bool{}
	for _, e := range r.file.entries {
		var err error
		e.full.each(func(f Factor) {
			if f.Name != "" && err == nil {
				used[f.Name] = true
				err = r.declare(e, f.Name)
			}
		})
		if err != nil {
			return err
		}
	}
	for _, f := range r.file.fixed {
		if !used[f.name] {
			return atLine(f.line, fmt.Errorf("fixed: %q stands in no layout", f.name))
		}
	}
	return nil
}

func (r *specResolver) declare(e *specEntry, name string) error {
	parents := e.parents[name]
	if _, ok := r.fixed[name]; ok {
		if len(parents) > 0 {
			return e.errorf("%q is fixed and has no parents", name)
		}
		return nil
	}
	known, ok := r.declared[name]
	if !ok {
		r.declared[name] = declaration{parents: parents, entry: e}
		r.order = append(r.order, name)
		return nil
	}
	if !slices.Equal(known.parents, parents) {
		return e.errorf("%q stands with other parents than in tensor %q: %s there", name, known.entry.key,
			formatName(name, known.parents))
	}
	return nil
}

// checkSizes holds the section `sizes` to names that need one.
func (r *specResolver) checkSizes() error {
	for _, z := range r.file.sizes {
		if _, ok := r.fixed[z.name]; ok {
			return atLine(z.line, fmt.Errorf("sizes: %q is a fixed extent already", z.name))
		}
		if _, ok := r.declared[z.name]; !ok {
			return atLine(z.line, fmt.Errorf("sizes: %q stands in no layout", z.name))
		}
	}
	return nil
}

// checkFamilies checks the rules for parents, which need no sizes, and orders the groups parents first.
func (r *specResolver) checkFamilies() error {
	names := nameTable{groups: map[string]Group{}, fixed: r.fixed}
	for name, d := range r.declared {
		names.groups[name] = Group{Name: name, Parents: d.parents}
	}
	for _, e := range r.file.entries {
		if err := e.full.checkParents(names); err != nil {
			return e.errorf("%w", err)
		}
	}
	for _, name := range r.order {
		d := r.declared[name]
		if err := names.checkParentList(name, d.parents); err != nil {
			return d.entry.errorf("family %q: %w", formatName(name, d.parents), err)
		}
	}
	r.order = names.parentsFirst(r.order)
	return nil
}

// parentsFirst is the order with each name's parents moved before it. Parents are closed, so one level is enough.
func (t nameTable) parentsFirst(order []string) []string {
	var out []string
	done := map[string]bool{}
	for _, name := range order {
		for _, n := range append(slices.Clone(t.parents(name)), name) {
			if _, isGroup := t.groups[n]; isGroup && !done[n] {
				done[n] = true
				out = append(out, n)
			}
		}
	}
	return out
}

// symmetry puts the solved sizes in.
func (r *specResolver) symmetry(v *solution) *Symmetry {
	s := &Symmetry{Fixed: r.fixed, Layouts: map[string]Layout{}, Shapes: map[string]tensor.Shape{}}
	for name, shape := range r.shapes {
		s.Shapes[name] = shape
	}
	for _, name := range r.order {
		s.Groups = append(s.Groups, Group{Name: name, Size: v.size(name), Parents: r.declared[name].parents})
	}
	covered := map[string]bool{}
	for _, e := range r.file.entries {
		s.Layouts[e.key] = v.fill(e)
		for _, m := range e.members {
			covered[m] = true
		}
	}
	for _, name := range sortedKeys(r.shapes) {
		if !covered[name] {
			s.Pinned = append(s.Pinned, Pin{Tensor: name, Axis: -1, Why: notInSpec})
		}
	}
	return s
}

// MarshalSpec writes the YAML form that [ParseSpec] reads, sorted by name, so that equal symmetries give equal bytes. It
// names sizes only where the shapes leave them open, and running statistics where the names of tensors say otherwise. Sites, pins and constants are not part of it.
func (s *Symmetry) MarshalSpec() ([]byte, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	sizes, err := s.openSizes()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("layouts:\n")
	names := s.names()
	fixed := map[string]int{}
	for _, key := range sortedKeys(s.Layouts) {
		layout := s.Layouts[key]
		fmt.Fprintf(&b, "  %s: %s\n", yamlKey(key), yamlScalar(formatLayout(layout, names.parents)))
		st, err := s.stackOf(key, names)
		if err != nil {
			return nil, err
		}
		st.layout.each(func(f Factor) {
			if n, ok := s.Fixed[f.Name]; ok {
				fixed[f.Name] = n
			}
		})
	}
	writeSizes(&b, "fixed", fixed)
	writeSizes(&b, "sizes", sizes)
	s.writeStatistics(&b)
	return b.Bytes(), nil
}

func writeSizes(b *bytes.Buffer, section string, sizes map[string]int) {
	if len(sizes) == 0 {
		return
	}
	fmt.Fprintf(b, "%s:\n", section)
	for _, name := range sortedKeys(sizes) {
		fmt.Fprintf(b, "  %s: %d\n", yamlKey(name), sizes[name])
	}
}

// openSizes finds names whose sizes do not follow from the shapes: the first in order is given until all are known.
func (s *Symmetry) openSizes() (map[string]int, error) {
	sizes := map[string]int{}
	names := s.names()
	f := &specFile{}
	for _, key := range sortedKeys(s.Layouts) {
		layout, parents, err := ParseLayout(formatLayout(s.Layouts[key], names.parents))
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", key, err)
		}
		f.entries = append(f.entries, &specEntry{key: key, layout: layout, parents: parents})
	}
	r := &specResolver{file: f, shapes: s.Shapes, fixed: s.Fixed}
	if len(f.entries) == 0 {
		return nil, fmt.Errorf("the symmetry has no layouts")
	}
	if err := r.findTensors(); err != nil {
		return nil, err
	}
	for {
		open, err := r.openNames()
		if err != nil || len(open) == 0 {
			return sizes, err
		}
		name := open[0]
		sizes[name] = names.extent(name)
		f.sizes = append(f.sizes, specSize{name: name, size: sizes[name]})
	}
}

// yamlKey keeps a key a string for readers that tell numbers from strings.
func yamlKey(text string) string {
	if text != "" && isDigit(text[0]) {
		return yamlQuoted(text)
	}
	return yamlScalar(text)
}

// yamlScalar writes text plain where every YAML reader takes it for the text that it is, else in double quotes.
func yamlScalar(text string) string {
	if plainScalar(text) {
		return text
	}
	return yamlQuoted(text)
}

// yamlQuoted is a JSON string, which YAML reads, with brackets escaped where the screen for nesting would mind them.
func yamlQuoted(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a string always encodes
	quoted := strings.TrimSuffix(b.String(), "\n")
	if _, err := screenLine(quoted); err != nil {
		quoted = strings.NewReplacer("[", `\u005b`, "{", `\u007b`).Replace(quoted)
	}
	return quoted
}

// plainScalar knows only what layouts and names of tensors are usually made of; all else is quoted.
func plainScalar(text string) bool {
	const (
		letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
		digits  = "0123456789"
	)
	if text == "" || strings.TrimSpace(text) != text || !strings.Contains(letters+digits+"(", text[:1]) {
		return false
	}
	switch strings.ToLower(text) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return false
	}
	_, err := screenLine(text)
	return err == nil && !strings.ContainsFunc(text, func(r rune) bool {
		return !strings.ContainsRune(letters+digits+" .-+()[]{}/", r)
	})
}
