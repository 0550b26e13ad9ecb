package symmetry

import (
	"errors"

	"github.com/rebasin/rebasin/graph"
)

// channelRules are those of operators on values [N, C, D1, D2, ...].
var channelRules = map[string]inferRule{
	"Conv":                  {conv, siteAddition},
	"MaxPool":               {pool, siteComputed},
	"AveragePool":           {pool, siteComputed},
	"GlobalAveragePool":     {globalPool, siteComputed},
	"BatchNormalization":    {batchNormalization, siteComputed},
	"InstanceNormalization": {instanceNormalization, siteComputed},
	"GroupNormalization":    {noRule, siteComputed},
}

// partRules are those of operators that make values longer or shorter.
var partRules = map[string]inferRule{
	"Concat":     {noRule, siteNever},
	"Pad":        {noRule, siteNever},
	"Slice":      {noRule, siteNever},
	"ReduceMean": {reduceMean, siteComputed},
}

// noRule pins what it touches.
func noRule(a *application) { a.pin(errors.New("keeps all orders")) }

// span is count indices from first on.
func span(first, count int) []int {
	list := indices(count)
	for i := range list {
		list[i] += first
	}
	return list
}

// pinSpace keeps the order along the axes behind batch and channels.
func (a *application) pinSpace(o *operand) {
	for _, axis := range o.axes[2:] {
		pinAll(axis, a.why("spatial axis"))
	}
}

// conv has the indices batch, contracted channel, channel, and those of input, kernel and output space, which keep their order.
func conv(a *application) {
	if a.node.Attrs.Int("group", 1) != 1 {
		a.pin(errors.New("groups"))
		return
	}
	const batch, contracted, channel, space = 0, 1, 2, 3
	rank := len(a.out.axes) - 2
	for _, o := range []*operand{a.in[0], a.in[1], a.out} {
		a.pinSpace(o)
	}
	s := &indexSpace{}
	a.input(s, 0, append([]int{batch, contracted}, span(space, rank)...))
	a.input(s, 1, append([]int{channel, contracted}, span(space+rank, rank)...))
	a.input(s, 2, []int{channel})
	a.meet(s, append([]int{batch, channel}, span(space+2*rank, rank)...))
}

// pool works on each channel by itself.
func pool(a *application) {
	const batch, channel, space = 0, 1, 2
	rank := len(a.out.axes) - 2
	a.pinSpace(a.in[0])
	a.pinSpace(a.out)
	s := &indexSpace{}
	a.input(s, 0, append([]int{batch, channel}, span(space, rank)...))
	a.meet(s, append([]int{batch, channel}, span(space+rank, rank)...))
}

// globalPool sums over space, whose order does not matter to it.
func globalPool(a *application) {
	index, s := indices(len(a.out.axes)), &indexSpace{}
	a.input(s, 0, index)
	a.meet(s, index)
}

// batchNormalization has four vectors over the channels, mean and variance among them.
func batchNormalization(a *application) {
	const channel = 1
	index, s := indices(len(a.out.axes)), &indexSpace{}
	a.input(s, 0, index)
	for i := 1; i < len(a.in); i++ {
		a.input(s, i, []int{channel})
	}
	a.meet(s, index)
}

// instanceNormalization has means and deviations for each example and channel.
func instanceNormalization(a *application) {
	const batch, channel = 0, 1
	index, s := indices(len(a.out.axes)), &indexSpace{}
	a.input(s, 0, index)
	a.input(s, 1, []int{channel})
	a.input(s, 2, []int{channel})
	s.facets = append(s.facets, facet{index: []int{batch, channel}})
	a.meet(s, index)
}

// reduceMean leaves the axes behind that it sums over.
func reduceMean(a *application) {
	rank := len(a.in[0].axes)
	reduced, err := graph.ReduceAxes(a.node, rank, a.inf.constants)
	if err != nil {
		a.pin(err)
		return
	}
	index := indices(rank)
	out := index
	if len(a.out.axes) < rank {
		out = nil
		for i := range rank {
			if !reduced[i] {
				out = append(out, i)
			}
		}
	}
	s := &indexSpace{}
	a.input(s, 0, index)
	a.meet(s, out)
}
