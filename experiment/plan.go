package experiment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rebasin/rebasin/dataset"
	"github.com/rebasin/rebasin/experiment/task"
	"github.com/rebasin/rebasin/internal/kernel"
)

// Plan is an experiment expanded to tasks.
type Plan struct {
	Spec  Spec
	Tasks *task.Plan
	// NotRun are the cases of the spec that are left out, because their data is not there.
	NotRun []NotRun

	entries []entry
}

// Wanted are the tasks whose results are recorded.
func (p *Plan) Wanted() []*task.Task {
	out := make([]*task.Task, len(p.entries))
	for i, e := range p.entries {
		out[i] = e.task
	}
	return out
}

// planner builds a plan.
type planner struct {
	*Plan
	cases []Case // those whose data is there
	lab   *Lab
	ctx   context.Context
}

// Plan expands an experiment. Data is looked for; cases whose data is not there are in Plan.NotRun.
func (l *Lab) Plan(ctx context.Context, s Spec) (*Plan, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	p := &planner{Plan: &Plan{Spec: s.withDefaults(), Tasks: task.NewPlan(kernel.Features())}, lab: l, ctx: ctx}
	p.Spec.Cases = slices.Clone(s.Cases)
	for i, c := range p.Spec.Cases {
		var err error
		if c.Data, err = l.identify(ctx, c.Data); err == nil {
			err = l.look(ctx, c.Data)
		}
		if missing := (*dataset.NotFoundError)(nil); errors.As(err, &missing) {
			p.NotRun = append(p.NotRun, NotRun{c.Name, fmt.Sprintf("the data set %s is not here", c.Data.Name)})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("case %q: %w", c.Name, err)
		}
		if _, _, err := l.network(ctx, c.Network, c.Data); err != nil {
			return nil, fmt.Errorf("case %q: %w", c.Name, err)
		}
		p.Spec.Cases[i] = c
		p.cases = append(p.cases, c)
	}
	if err := find(s.Experiment).plan(p); err != nil {
		return nil, err
	}
	return p.Plan, nil
}

// maxTasks bounds a plan, far above the paper's and below what fills memories.
const maxTasks = 100000

// add adds a task of a kind.
func (p *planner) add(kind, label string, options any, needs ...*task.Task) (*task.Task, error) {
	t, err := p.Tasks.Add(p.lab.kind(kind), strings.TrimSpace(label), options, needs...)
	if err == nil && p.Tasks.Len() > maxTasks {
		err = fmt.Errorf("experiment: this is more than %d tasks", maxTasks)
	}
	return t, err
}

// want records the result of a task.
func (p *planner) want(t *task.Task, row Row) { p.entries = append(p.entries, entry{t, row}) }

// kind is the lab's kind of a name.
func (l *Lab) kind(name string) *task.Kind {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kinds == nil {
		l.kinds = map[string]*task.Kind{}
		for _, k := range []*task.Kind{
			l.trainKind(), l.matchKind(), l.curveKind(), l.evaluateKind(), l.mergeKind(), l.counterexampleKind(), l.singlePassKind(), l.plantedKind(), l.matchTimeKind(),
		} {
			l.kinds[k.Name] = k
		}
	}
	k := l.kinds[name]
	if k == nil {
		panic(fmt.Sprintf("experiment: no kind %q", name))
	}
	return k
}

// train plans a training.
func (p *planner) train(c *Case, seed uint64, part Part, checkpoints []int) (*task.Task, error) {
	cfg, err := c.Training.WithDefaults()
	if err != nil {
		return nil, err
	}
	cfg.Seed = seed
	label := fmt.Sprintf("train %s, seed %d", c.Name, seed)
	if part != (Part{}) {
		label += fmt.Sprintf(", part %d", part.Index)
	}
	return p.add("train", label, trainOptions{
		Network: c.Network, Data: c.Data, Part: part, Training: cfg, Checkpoints: checkpoints,
	})
}

// seeds of a pair.
func (p *planner) seeds(pair int) []uint64 {
	first := p.Spec.FirstSeed + 2*uint64(pair)
	return []uint64{first, first + 1}
}

// pairOf trains the two networks of a pair.
func (p *planner) pairOf(c *Case, pair int, checkpoints []int) ([]*task.Task, error) {
	var out []*task.Task
	for _, seed := range p.seeds(pair) {
		t, err := p.train(c, seed, Part{}, checkpoints)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// needsData says which methods look at data, and so depend on the options about it.
var needsData = map[string]bool{ByActivation: true, ByFirst: true, ByBlend: true, ByStraight: true, ByAuto: true}

// stepping methods run the straight-through estimator.
var stepping = map[string]bool{ByStraight: true, ByAuto: true}

// straightBatch is the number of samples in a step of the straight-through estimator.
const straightBatch = 500

// match plans an alignment of two networks; nil where there is nothing to align.
func (p *planner) match(c *Case, method string, pair, epoch int, models []*task.Task) (*task.Task, error) {
	if method == Naive {
		return nil, nil
	}
	o := matchOptions{Network: c.Network, Data: c.Data, Method: method, Seed: uint64(pair), Epoch: epoch}
	if needsData[method] {
		o.Samples = p.Spec.Samples
	}
	if stepping[method] {
		o.Steps, o.Batch = p.Spec.Steps, straightBatch
	}
	label := fmt.Sprintf("match %s, pair %d, %s", c.Name, pair, method)
	if epoch > 0 {
		label += fmt.Sprintf(", epoch %d", epoch)
	}
	return p.add("match", label, o, models...)
}

// curve plans the measurement of the way between two networks.
func (p *planner) curve(c *Case, method, repair string, pair, epoch int, models []*task.Task, matched *task.Task) (*task.Task, error) {
	o := curveOptions{Network: c.Network, Data: c.Data, Epoch: epoch, Points: p.Spec.Points, Samples: p.Spec.Samples, Repair: repair}
	if repair != "" {
		o.RepairSamples, o.Augment = p.Spec.RepairSamples, c.Training.Augment
	}
	needs := models
	if matched != nil {
		needs = append(needs[:len(needs):len(needs)], matched)
	}
	label := fmt.Sprintf("measure %s, pair %d, %s", c.Name, pair, method)
	if repair != "" {
		label += ", " + repair
	}
	if epoch > 0 {
		label += fmt.Sprintf(", epoch %d", epoch)
	}
	return p.add("curve", label, o, needs...)
}

// ways plans alignments by all methods, and curves with all repairs, of one pair at one epoch (0 is the end).
func (p *planner) ways(c *Case, pair, epoch int, models []*task.Task) error {
	for _, method := range p.Spec.Methods {
		matched, err := p.match(c, method, pair, epoch, models)
		if err != nil {
			return err
		}
		row := Row{Case: c.Name, Series: c.Series, Pair: pair, Seeds: p.seeds(pair), Method: method, Epoch: epoch}
		if c.Series != "" {
			row.X = &c.X
		}
		if matched != nil {
			p.want(matched, row)
		}
		for _, repair := range append([]string{""}, c.Repairs...) {
			t, err := p.curve(c, method, repair, pair, epoch, models, matched)
			if err != nil {
				return err
			}
			row.Repair = repair
			p.want(t, row)
		}
	}
	return nil
}
