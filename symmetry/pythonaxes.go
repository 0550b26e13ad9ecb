package symmetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// isPythonForm says whether data is a JSON object in the form of tensor -> list: any JSON object but one with a mapping
// under "layouts", which is the YAML form written as JSON.
func isPythonForm(data []byte) bool {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil || len(top) == 0 {
		return false
	}
	layouts := bytes.TrimSpace(top["layouts"])
	return len(layouts) == 0 || layouts[0] != '{'
}

// readPython reads the JSON form in the file's order.
func readPython(data []byte) (*specFile, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil { // the opening brace: isPythonForm has seen a whole object
		return nil, err
	}
	f := &specFile{}
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		name := key.(string) // the decoder yields no other keys
		if seen[name] {
			return nil, fmt.Errorf("tensor %q is there twice", name)
		}
		seen[name] = true
		var axes []*string
		if err := d.Decode(&axes); err != nil || axes == nil {
			return nil, fmt.Errorf("tensor %q: needs a list with a group's name or null for each axis", name)
		}
		layout := Layout{}
		for i, group := range axes {
			if group == nil {
				layout = append(layout, FixedAxis(0))
				continue
			}
			if err := checkName(*group); err != nil {
				return nil, fmt.Errorf("tensor %q: axis %d: %w", name, i, err)
			}
			layout = append(layout, GroupAxis(*group, 0))
		}
		f.entries = append(f.entries, &specEntry{key: name, layout: layout})
	}
	if _, err := d.Token(); err != nil && err != io.EOF {
		return nil, err
	}
	return f, nil
}

// PythonAxes writes the symmetry in the form of the authors' Python code, as JSON: for every tensor one entry per axis,
// the name of the group that stands on it or null. Tensors are sorted by name, one a line; those without a layout have
// nulls. Which tensors are running statistics is not part of it: a reader goes by their names.
//
// The form knows whole axes only. An error names the first tensor, in order of names, that needs more: a family, a
// product, a concatenation, a virtual stack. What does not move (units of extent 1) is left out first.
func (s *Symmetry) PythonAxes() ([]byte, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	names := s.names()
	axes := map[string][]*string{}
	for name, shape := range s.Shapes {
		axes[name] = make([]*string, len(shape))
	}
	for _, key := range sortedKeys(s.Layouts) {
		st, err := s.stackOf(key, names)
		if err != nil {
			return nil, err
		}
		line, err := names.pythonLine(st)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %s: %w", key, formatLayout(s.Layouts[key], names.parents), err)
		}
		for _, m := range st.members {
			axes[m] = line
		}
	}
	return marshalLines(axes)
}

func (t nameTable) pythonLine(st stack) ([]*string, error) {
	for _, a := range st.virtual {
		if f := a[0][0]; t.moves(f) {
			return nil, fmt.Errorf("%q permutes the names of tensors, which a list of groups by axis cannot say", f.Name)
		}
	}
	line := make([]*string, 0, len(st.layout))
	for i, a := range st.layout[len(st.virtual):] {
		name, err := t.pythonAxis(a)
		if err != nil {
			return nil, fmt.Errorf("axis %d: %w, which a list of groups by axis cannot say", i, err)
		}
		line = append(line, name)
	}
	return line, nil
}

// moves says whether a factor has units that can change places.
func (t nameTable) moves(f Factor) bool {
	_, isGroup := t.groups[f.Name]
	return isGroup && f.Size > 1
}

// pythonAxis is the name of the group that is the whole axis, nil where nothing on the axis moves.
func (t nameTable) pythonAxis(a Axis) (*string, error) {
	var moving []Factor
	for _, s := range a {
		for _, f := range s {
			if t.moves(f) {
				moving = append(moving, f)
			}
		}
	}
	if len(moving) == 0 {
		return nil, nil
	}
	f := moving[0]
	switch {
	case len(t.parents(f.Name)) > 0:
		return nil, fmt.Errorf("%s is a family", formatName(f.Name, t.parents(f.Name)))
	case len(a) > 1:
		return nil, fmt.Errorf("a concatenation")
	case len(moving) > 1 || f.Size != a.Len():
		return nil, fmt.Errorf("a product")
	}
	return &f.Name, nil
}

// marshalLines writes an object sorted by key, one member a line.
func marshalLines(axes map[string][]*string) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("{")
	for i, name := range sortedKeys(axes) {
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(axes[name])
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n  %s: %s", key, value)
	}
	b.WriteString("\n}\n")
	return b.Bytes(), nil
}
