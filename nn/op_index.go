package nn

import (
	"math"

	"github.com/rebasin/rebasin/graph"
)

// indexOperators choose and repeat elements by their place. An index that is outside its axis gives NaN: it is known only when the network runs.
func indexOperators[T Float]() map[string]operator[T] {
	return map[string]operator[T]{
		"Gather":         {compile: compileGather[T], passive: []int{1}},
		"GatherElements": {compile: compileGatherElements[T], passive: []int{1}},
		"Split":          {compile: compileSplit[T], data: 1},
		"Expand":         {compile: compileExpand[T], data: 1},
		"Tile":           {compile: compileTile[T], data: 1},
		"Trilu":          {compile: compileTrilu[T], data: 1},
	}
}

// indexAt is an index of an axis of some extent, negative ones counting from the end; -1 is one outside.
func indexAt[T Float](index T, extent int) int {
	i := float64(index)
	if i < 0 {
		i += float64(extent)
	}
	if !(i >= 0 && i < float64(extent)) {
		return -1
	}
	return int(i)
}

// compileGather copies, for each index, the block behind it on the axis, and adds the gradients of those that were copied more than once, in the
// order of the indices.
func compileGather[T Float](c *call[T]) (step, error) {
	shape := c.shape(0)
	axis, err := c.axis(0, len(shape))
	if err != nil {
		return step{}, err
	}
	outer, extent, block := elements(shape[:axis]), shape[axis], elements(shape[axis+1:])
	x, index, y := c.x(0), c.x(1), c.y()
	count := c.in[1].n
	s := step{forward: c.parallel(outer*count, block, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			to := y.data[i*block:][:block]
			if k := indexAt(index.data[i%count], extent); k >= 0 {
				copy(to, x.data[(i/count*extent+k)*block:][:block])
			} else {
				fill(to, T(math.NaN()))
			}
		}
	})}
	dx, dy := c.dx(0), c.dy()
	if dx == nil {
		return s, nil
	}
	c.keepX(1)
	// Parts are of different rows of the outer axes and columns of the block: none writes where another one does.
	add := c.parallel(outer*block, count, func(lo, hi int) {
		d := dx.begin()
		for k := range count {
			at := indexAt(index.data[k], extent)
			for i := lo; i < hi && at >= 0; i++ {
				d[(i/block*extent+at)*block+i%block] += dy.data[(i/block*count+k)*block+i%block]
			}
		}
	})
	s.backward = func() {
		clear(dx.begin())
		add()
		dx.end()
	}
	return s, nil
}

// compileGatherElements takes, for each index, the element at its own place but along the axis.
func compileGatherElements[T Float](c *call[T]) (step, error) {
	shape := c.shape(0)
	axis, err := c.axis(0, len(shape))
	if err != nil {
		return step{}, err
	}
	stride := elements(shape[axis+1:])
	x, index, y := c.x(0), c.x(1), c.y()
	bases := make([]int, y.n) // of each element, where its line begins
	at := make([]int, len(shape))
	for i := range bases {
		base := 0
		for k, n := range shape {
			base *= n
			if k != axis {
				base += at[k]
			}
		}
		bases[i] = base
		advance(at, c.out.shape)
	}
	s := step{forward: func() {
		for i, base := range bases {
			y.data[i] = T(math.NaN())
			if k := indexAt(index.data[i], shape[axis]); k >= 0 {
				y.data[i] = x.data[base+k*stride]
			}
		}
	}}
	dx, dy := c.dx(0), c.dy()
	if dx == nil {
		return s, nil
	}
	c.keepX(1)
	s.backward = func() {
		d := dx.begin()
		clear(d)
		for i, base := range bases {
			if k := indexAt(index.data[i], shape[axis]); k >= 0 {
				d[base+k*stride] += dy.data[i]
			}
		}
		dx.end()
	}
	return s, nil
}

// advance moves an index on, row-major.
func advance(index, shape []int) {
	for i := len(index) - 1; i >= 0; i-- {
		if index[i]++; index[i] < shape[i] {
			return
		}
		index[i] = 0
	}
}

// compileSplit takes one of the parts.
func compileSplit[T Float](c *call[T]) (step, error) {
	// The node has one output here: how many it had only matters where no sizes are given.
	node := c.node.Node
	node.Outputs = make([]string, c.node.outputs)
	shape := c.shape(0)
	axis, sizes, err := graph.SplitSizes(&node, graph.ShapeOf(shape...), c.constants())
	if err != nil {
		return step{}, err
	}
	first := make([]int, len(shape))
	for _, n := range sizes[:c.node.slot] {
		first[axis] += n
	}
	forward, backward := c.transferInput(0, newTransfer(c.out.shape, shape, first, nil, c.out.shape, make([]int, len(shape))))
	return c.sequence([]func(){forward}, []func(){backward}), nil
}

func compileExpand[T Float](c *call[T]) (step, error) {
	rep := repeat(c.shape(0), c.out.shape)
	x, y, dy, dx := c.x(0), c.y(), c.dy(), c.dx(0)
	s := step{forward: func() { expand(y.data, x.data, rep) }}
	if dx != nil {
		s.backward = func() {
			reduce(dx.begin(), dy.data, rep)
			dx.end()
		}
	}
	return s, nil
}

// compileTile repeats whole axes: an axis of n elements is, in the result, one of repetitions and one of n.
func compileTile[T Float](c *call[T]) (step, error) {
	var from, to []int
	for i, n := range c.shape(0) {
		from = append(from, 1, n)
		to = append(to, c.out.shape[i]/n, n)
	}
	rep := repeat(from, to)
	x, y, dy, dx := c.x(0), c.y(), c.dy(), c.dx(0)
	s := step{forward: func() { expand(y.data, x.data, rep) }}
	if dx != nil {
		s.backward = func() {
			reduce(dx.begin(), dy.data, rep)
			dx.end()
		}
	}
	return s, nil
}

// compileTrilu keeps the elements of one side of a diagonal, and their gradients.
func compileTrilu[T Float](c *call[T]) (step, error) {
	diagonal, err := graph.Diagonal(&c.node.Node, c.constants())
	if err != nil {
		return step{}, err
	}
	rank := len(c.out.shape)
	rows, cols := c.out.shape[rank-2], c.out.shape[rank-1]
	keep := func(dst, src []T) {
		for i, v := range src {
			if !graph.KeepsElement(&c.node.Node, diagonal, i/cols%rows, i%cols) {
				v = 0
			}
			dst[i] = v
		}
	}
	x, y, dy, dx := c.x(0), c.y(), c.dy(), c.dx(0)
	s := step{forward: func() { keep(y.data, x.data) }}
	if dx != nil {
		s.backward = func() {
			keep(dx.begin(), dy.data)
			dx.end()
		}
	}
	return s, nil
}
