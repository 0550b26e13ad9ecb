package nn

import (
	"github.com/rebasin/rebasin/internal/kernel"
	"github.com/rebasin/rebasin/tensor"
)

// operator is what the engine knows of one ONNX operator.
type operator[T Float] struct {
	// compile makes the step for one node at concrete shapes, and tells the call what memory it needs. It runs before memory is placed: the
	// step holds buffers, whose data is there when it runs.
	compile func(*call[T]) (step, error)
	// data is the number of leading inputs that are read when the step runs; 0 means all, and none none. The others are settings, read when planning.
	data int
	// passive lists inputs that no gradient flows through, as the indices of a Gather.
	passive []int
}

// none is what operator.data is where no input is read.
const none = -1

// step is one operator bound to its memory. Backward reads the gradient of the output, which it may destroy, and writes those of the inputs
// that want one, in the order that the call names. Both are nil for views.
type step struct{ forward, backward func() }

// operators is the registry, one function per family of operators, each in a file of its own.
func operators[T Float]() map[string]operator[T] {
	all := map[string]operator[T]{}
	for _, family := range []map[string]operator[T]{
		unaryOperators[T](), binaryOperators[T](), linearOperators[T](), convOperators[T](), softmaxOperators[T](), normalisationOperators[T](),
		planeNormOperators[T](), poolOperators[T](), shapeOperators[T](), partOperators[T](), reduceOperators[T](), dropoutOperators[T](),
		compareOperators[T](), indexOperators[T](), makeOperators[T](), spatialOperators[T](), contractionOperators[T](), recurrentOperators[T](),
	} {
		for name, op := range family {
			all[name] = op
		}
	}
	return all
}

// value is a value of the graph at a concrete shape.
type value[T Float] struct {
	name  string
	shape tensor.Shape
	n     int
	store *store[T]
}

func (v *value[T]) data() []T { return v.store.data.data[:v.n] }

// store is what values that are views of one another share.
type store[T Float] struct {
	data    *buffer[T]
	grad    *buffer[T] // nil where no gradient is wanted
	written bool       // while planning backward: somebody has written grad
	param   bool       // data is a parameter's
}

// sink is where a step puts the gradient of one input.
type sink[T Float] struct {
	into    *buffer[T]
	add     bool       // an earlier step has written into
	scratch *buffer[T] // takes the gradient before it is added
}

// begin is the memory that the step writes.
func (s *sink[T]) begin() []T {
	if s.add {
		return s.scratch.data
	}
	return s.into.data
}

// end adds what was written, where that is due.
func (s *sink[T]) end() {
	if s.add {
		kernel.Add(s.into.data, s.into.data, s.scratch.data)
	}
}

// beta is the factor for what stands in the sink already, for steps that add by themselves.
func (s *sink[T]) beta() T {
	if s.add {
		return 1
	}
	return 0
}

// call is the planning of one node.
type call[T Float] struct {
	planner  *planner[T]
	node     *node
	at       int // the time of forward
	in       []*value[T]
	out      *value[T]
	sinks    []*sink[T] // per input, nil where no gradient is wanted
	backward bool       // the step will run backward, too
	order    []int      // the order in which backward writes the gradients; nil: that of the inputs
	adds     bool       // the step adds to sinks by itself
	inPlace  []int      // inputs whose memory the output may take
	reuse    []int      // inputs whose gradient may take the memory of the output's: the first of them that can does
	step     step
}

// has says that input i is present.
func (c *call[T]) has(i int) bool { return i < len(c.in) && c.in[i] != nil }

func (c *call[T]) shape(i int) tensor.Shape { return c.in[i].shape }

// dtype is the type of the output in the graph.
func (c *call[T]) dtype() tensor.DType { return c.planner.engine.net.values[c.node.Outputs[0]].DType }

// x is the memory of input i.
func (c *call[T]) x(i int) *buffer[T] { return c.in[i].store.data }

// y is the memory of the output, which is not a view.
func (c *call[T]) y() *buffer[T] {
	if c.out.store == nil {
		c.out.store = &store[T]{data: c.planner.buffer(c.out.n)}
		c.out.store.data.touch(c.at)
		if c.backward {
			c.out.store.grad = c.planner.buffer(c.out.n)
		}
	}
	return c.out.store.data
}

// dy is the gradient of the output; only backward steps have one.
func (c *call[T]) dy() *buffer[T] {
	c.y()
	return c.out.store.grad
}

// view makes the output share the memory of input 0.
func (c *call[T]) view() step {
	c.out.store = c.in[0].store
	return step{}
}

// dx is the sink for the gradient of input i, or nil where none is wanted.
func (c *call[T]) dx(i int) *sink[T] {
	if i >= len(c.sinks) {
		return nil
	}
	return c.sinks[i]
}

// wants says that a gradient of input i is wanted.
func (c *call[T]) wants(i int) bool { return c.dx(i) != nil }

// keepX keeps input i for backward.
func (c *call[T]) keepX(i int) {
	if c.backward {
		c.x(i).touch(c.planner.backwardTime(c.at))
	}
}

// keepY keeps the output for backward.
func (c *call[T]) keepY() {
	if c.backward {
		c.y().touch(c.planner.backwardTime(c.at))
	}
}

// scratch is memory during forward.
func (c *call[T]) scratch(n int) *buffer[T] {
	b := c.planner.buffer(n)
	b.touch(c.at)
	return b
}

// scratchBack is memory during backward.
func (c *call[T]) scratchBack(n int) *buffer[T] {
	b := c.planner.buffer(n)
	b.touch(c.planner.backwardTime(c.at))
	return b
}

// stash is memory from forward to backward, or during forward alone where there is no backward.
func (c *call[T]) stash(n int) *buffer[T] {
	b := c.scratch(n)
	if c.backward {
		b.touch(c.planner.backwardTime(c.at))
	}
	return b
}
