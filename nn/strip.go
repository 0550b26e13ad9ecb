package nn

import (
	"maps"
	"slices"

	"github.com/rebasin/rebasin/graph"
)

// StripSoftmax returns the graph without a final Softmax over the last axis, so that its first output is the logits that [CrossEntropy]
// takes, and says whether there was one. Otherwise it returns g itself. Other readers of the Softmax keep it.
func StripSoftmax(g *graph.Graph) (*graph.Graph, bool) {
	if len(g.Outputs) == 0 {
		return g, false
	}
	at := slices.IndexFunc(g.Nodes, func(n graph.Node) bool {
		return n.Op == "Softmax" && len(n.Inputs) == 1 && slices.Equal(n.Outputs, g.Outputs[:1])
	})
	if at < 0 || !overLastAxis(g, &g.Nodes[at]) || slices.Contains(g.Outputs, g.Nodes[at].Inputs[0]) {
		return g, false
	}
	stripped := *g
	stripped.Outputs = slices.Clone(g.Outputs)
	stripped.Outputs[0] = g.Nodes[at].Inputs[0]
	read := slices.ContainsFunc(g.Nodes, func(n graph.Node) bool { return slices.Contains(n.Inputs, g.Outputs[0]) })
	if !read {
		stripped.Nodes = slices.Delete(slices.Clone(g.Nodes), at, at+1)
		stripped.Declared = maps.Clone(g.Declared)
		delete(stripped.Declared, g.Outputs[0])
	}
	return &stripped, true
}

func overLastAxis(g *graph.Graph, n *graph.Node) bool {
	axis := n.Attrs.Int("axis", -1)
	if axis == -1 {
		return true
	}
	values, err := g.PartialShapes()
	if err != nil {
		return false
	}
	v, ok := values[n.Inputs[0]]
	return ok && axis == int64(len(v.Shape)-1)
}
