package graph

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Validate checks that names are unique and defined before use, that extents are positive and bounded, and that nodes of known operators
// have inputs, outputs and attributes in the numbers and types that the operator defines. Unknown operators pass.
func (g *Graph) Validate() error {
	v := validator{graph: g, defined: map[string]string{}}
	for _, step := range []func() error{v.values, v.nodes, v.outputs, v.declared} {
		if err := step(); err != nil {
			return fmt.Errorf("graph %q: %w", g.Name, err)
		}
	}
	return nil
}

// validator knows who defined each value so far.
type validator struct {
	graph   *Graph
	defined map[string]string
}

func (v *validator) define(name, by string) error {
	if name == "" {
		return fmt.Errorf("%s has no name", by)
	}
	if first, ok := v.defined[name]; ok {
		return fmt.Errorf("value %q is defined twice: by %s and by %s", name, first, by)
	}
	v.defined[name] = by
	return nil
}

func (v *validator) values() error {
	for _, in := range v.graph.Inputs {
		if err := v.define(in.Name, "an input"); err != nil {
			return err
		}
		if err := in.Shape.validate(1); err != nil {
			return fmt.Errorf("input %q: %w", in.Name, err)
		}
	}
	for _, p := range v.graph.Params {
		if err := v.define(p.Name, "a parameter"); err != nil {
			return err
		}
		if err := p.Shape.validate(1); err != nil {
			return fmt.Errorf("parameter %q: %w", p.Name, err)
		}
		if _, ok := p.Shape.Fixed(); !ok {
			return fmt.Errorf("parameter %q: shape %s has symbols", p.Name, p.Shape)
		}
	}
	return nil
}

func (v *validator) nodes() error {
	for i := range v.graph.Nodes {
		n := &v.graph.Nodes[i]
		if err := v.node(n); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	return nil
}

func (v *validator) node(n *Node) error {
	for _, in := range n.Inputs {
		if in != "" && v.defined[in] == "" {
			return fmt.Errorf("input %q is not defined before", in)
		}
	}
	if err := checkAttrTypes(n); err != nil {
		return err
	}
	if op, ok := operators[n.Op]; ok {
		if err := op.check(n); err != nil {
			return err
		}
	}
	wanted := 0
	for _, out := range n.Outputs {
		if out == "" {
			continue
		}
		wanted++
		if err := v.define(out, n.String()); err != nil {
			return err
		}
	}
	if wanted == 0 {
		return errors.New("no output has a name")
	}
	return nil
}

func checkAttrTypes(n *Node) error {
	for _, name := range sortedKeys(n.Attrs) {
		if got, ok := attrType(n.Attrs[name]); !ok {
			return fmt.Errorf("attribute %s cannot be a %s", name, got)
		}
	}
	return nil
}

// check compares a node with the definition of its operator.
func (op operator) check(n *Node) error {
	if len(n.Inputs) < op.inputs.min || len(n.Inputs) > op.inputs.max {
		return fmt.Errorf("%d inputs, not %s", len(n.Inputs), op.inputs)
	}
	if i := slices.Index(n.Inputs[:op.inputs.min], ""); i >= 0 {
		return fmt.Errorf("input %d is absent", i)
	}
	if len(n.Outputs) < op.outputs.min || len(n.Outputs) > op.outputs.max {
		return fmt.Errorf("%d outputs, not %s", len(n.Outputs), op.outputs)
	}
	if n.Outputs[0] == "" && !op.optional {
		return errors.New("the first output has no name")
	}
	for _, name := range sortedKeys(n.Attrs) {
		want, ok := op.attrs[name]
		if !ok {
			return fmt.Errorf("unknown attribute %s", name)
		}
		if got, _ := attrType(n.Attrs[name]); got != want {
			return fmt.Errorf("attribute %s is %s, not %s", name, got, want)
		}
	}
	return nil
}

func (v *validator) outputs() error {
	if len(v.graph.Outputs) == 0 {
		return errors.New("no outputs")
	}
	for i, out := range v.graph.Outputs {
		if v.defined[out] == "" {
			return fmt.Errorf("output %q is not defined", out)
		}
		if slices.Contains(v.graph.Outputs[:i], out) {
			return fmt.Errorf("output %q is listed twice", out)
		}
	}
	return nil
}

func (v *validator) declared() error {
	for _, name := range sortedKeys(v.graph.Declared) {
		d := v.graph.Declared[name]
		if v.defined[name] == "" {
			return fmt.Errorf("declared value %q is not defined", name)
		}
		if d.Name != name {
			return fmt.Errorf("declared value %q bears the name %q", name, d.Name)
		}
		if err := d.Shape.validate(1); err != nil {
			return fmt.Errorf("declared value %q: %w", name, err)
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, strings.Compare)
	return keys
}
