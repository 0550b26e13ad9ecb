package nn

import (
	"fmt"
	"slices"

	"github.com/rebasin/rebasin/internal/kernel"
)

// plan is a network bound to the memory of one batch size.
type plan[T Float] struct {
	batch    int
	inputs   []*buffer[T] // the data of a single one is the caller's
	inputLen int          // elements of all inputs
	rows     []int        // elements of one example, for each input
	output   *value[T]
	values   map[string]*value[T] // that stay readable
	forward  []func()
	backward []func() // in the order in which they run
	unused   [][]T    // gradients of statistics, and of the parameters that the output does not depend on
	// statistics fold those of the last batch into the running ones.
	statistics []func(momentum float64)
	arena      []T
	visits     []visited[T] // in the order of the steps
}

// visited is a value that is shown once so many steps have run.
type visited[T Float] struct {
	value *value[T]
	after int
}

// setInput takes the examples of a batch: all inputs of the first one, then all of the second.
func (p *plan[T]) setInput(x []T) {
	if len(p.inputs) == 1 {
		p.inputs[0].data = x
		return
	}
	for i, in := range p.inputs {
		if in.data == nil {
			in.data = kernel.Make[T](p.batch * p.rows[i])
		}
	}
	for example := range p.batch {
		for i, row := range p.rows {
			copy(p.inputs[i].data[example*row:][:row], x)
			x = x[row:]
		}
	}
}

// planner makes a plan. Step i runs forward at time i; after the last comes the loss, then step i runs backward at backwardTime(i).
type planner[T Float] struct {
	engine  *Engine[T]
	plan    *plan[T]
	values  map[string]*value[T]
	buffers []*buffer[T]
	calls   []*call[T]
	convs   []*kernel.Conv[T]
}

func (p *planner[T]) backwardTime(at int) int { return 2*p.lossTime() - at }

func (p *planner[T]) lossTime() int { return len(p.engine.net.nodes) }

// buffer is new memory that the plan provides.
func (p *planner[T]) buffer(n int) *buffer[T] {
	b := newBuffer[T](n)
	p.buffers = append(p.buffers, b)
	return b
}

// newPlan prepares a batch size: shapes, steps, gradients, then memory, which is not allocated yet.
func newPlan[T Float](e *Engine[T], batch int) (*planner[T], error) {
	p := &planner[T]{engine: e, plan: &plan[T]{batch: batch, values: map[string]*value[T]{}}, values: map[string]*value[T]{}}
	if err := p.sources(); err != nil {
		return nil, err
	}
	for at, node := range e.net.nodes {
		if err := p.call(node, at); err != nil {
			return nil, err
		}
	}
	p.pin()
	if e.opt.Training {
		p.planGradients()
	}
	p.shareMemory()
	return p, nil
}

// sources makes the values that are there before anything runs.
func (p *planner[T]) sources() error {
	net := p.engine.net
	for _, in := range net.inputs {
		v, err := p.source(in.Name, nil)
		if err != nil {
			return err
		}
		p.plan.inputs, p.plan.rows = append(p.plan.inputs, v.store.data), append(p.plan.rows, v.n/p.plan.batch)
		p.plan.inputLen += v.n
	}
	for _, s := range p.engine.specs {
		v, err := p.source(s.Name, p.engine.params[s.Offset:s.Offset+s.Len])
		if err != nil {
			return err
		}
		v.store.param = true
		if p.engine.opt.Training && !s.Statistic {
			v.store.grad = ownBuffer(p.engine.grads[s.Offset : s.Offset+s.Len])
		}
	}
	for _, name := range sortedKeys(net.floats) {
		if _, err := p.source(name, net.floats[name]); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner[T]) source(name string, data []T) (*value[T], error) {
	shape, n, err := p.engine.net.bind(name, p.plan.batch)
	if err != nil {
		return nil, err
	}
	v := &value[T]{name: name, shape: shape, n: n, store: &store[T]{data: ownBuffer(data)}}
	p.values[name] = v
	if p.engine.net.visited[name] {
		p.plan.visits = append(p.plan.visits, visited[T]{v, 0})
	}
	return v, nil
}

// call compiles one node.
func (p *planner[T]) call(n *node, at int) error {
	net := p.engine.net
	shape, count, err := net.bind(n.Outputs[0], p.plan.batch)
	if err != nil {
		return err
	}
	c := &call[T]{planner: p, node: n, at: at, out: &value[T]{name: n.Outputs[0], shape: shape, n: count}}
	passive := net.operators[n.Op].passive
	for i, name := range net.dataInputs(n) {
		v := p.values[name] // nil for an absent input
		c.in = append(c.in, v)
		var s *sink[T]
		if v != nil {
			v.store.data.touch(at)
			if v.store.grad != nil && n.reaches && !slices.Contains(passive, i) {
				s = &sink[T]{into: v.store.grad}
				c.backward = true
			}
		}
		c.sinks = append(c.sinks, s)
	}
	c.step, err = net.operators[n.Op].compile(c)
	if err != nil {
		return fmt.Errorf("%s: %w", &n.Node, err)
	}
	p.values[c.out.name] = c.out
	if c.step.forward != nil {
		p.plan.forward = append(p.plan.forward, c.step.forward)
		p.calls = append(p.calls, c)
	}
	if net.visited[c.out.name] {
		p.plan.visits = append(p.plan.visits, visited[T]{c.out, len(p.plan.forward)})
	}
	return nil
}

// pin keeps outputs and kept values readable after the run.
func (p *planner[T]) pin() {
	for name := range p.engine.net.pinned {
		v := p.values[name]
		v.store.data.touch(forever)
		p.plan.values[name] = v
	}
	p.plan.output = p.values[p.engine.net.graph.Outputs[0]]
}

// planGradients goes through the steps as backward will and notes who writes a gradient first and who adds to it.
func (p *planner[T]) planGradients() {
	if s := p.plan.output.store; s.grad != nil {
		s.grad.touch(p.lossTime())
		s.written = true
	}
	for i := len(p.calls) - 1; i >= 0; i-- {
		if c := p.calls[i]; c.backward {
			p.planBackward(c)
			p.plan.backward = append(p.plan.backward, c.step.backward)
		}
	}
	for _, s := range p.engine.specs {
		if v := p.values[s.Name]; !v.store.written {
			p.plan.unused = append(p.plan.unused, p.engine.grads[s.Offset:s.Offset+s.Len])
		}
	}
}

func (p *planner[T]) planBackward(c *call[T]) {
	t := p.backwardTime(c.at)
	c.out.store.grad.touch(t)
	order := c.order
	if order == nil {
		for i := range c.in {
			order = append(order, i)
		}
	}
	for _, i := range order {
		s := c.dx(i)
		if s == nil {
			continue
		}
		s.into.touch(t)
		s.add = c.in[i].store.written
		c.in[i].store.written = true
		if s.add && !c.adds {
			s.scratch = p.buffer(s.into.n)
			s.scratch.touch(t)
		}
	}
}

// shareMemory lets steps work in place where nobody else reads what they overwrite.
func (p *planner[T]) shareMemory() {
	for _, c := range p.calls {
		for _, i := range c.inPlace {
			if c.readsOnce(i) {
				c.y().takeOver(c.x(i), c.at)
			}
		}
	}
	for i := len(p.calls) - 1; i >= 0; i-- {
		c := p.calls[i]
		for _, j := range c.reuse {
			if s := c.dx(j); c.backward && s != nil && !s.add {
				s.into.takeOver(c.dy(), p.backwardTime(c.at))
			}
		}
	}
}

// readsOnce says that input i shares its memory with no other input of the node.
func (c *call[T]) readsOnce(i int) bool {
	for j, v := range c.in {
		if j != i && v != nil && v.store == c.in[i].store {
			return false
		}
	}
	return true
}

// workspace is what the convolutions of Forward take of the engine's workspace.
func (p *planner[T]) workspace() int {
	var m kernel.WorkspaceMemory
	for _, c := range p.convs {
		m = m.Max(c.ForwardMemory())
	}
	return m.Elements(p.engine.pool.Threads())
}

// allocate gives the plan its memory.
func (p *planner[T]) allocate() *plan[T] {
	p.plan.arena = kernel.Make[T](place(p.buffers))
	bind(p.buffers, p.plan.arena)
	return p.plan
}
