package task

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// Kind says how tasks of one kind are done.
type Kind struct {
	// Name is that of the kind: lower-case letters.
	Name string
	// Recipe is raised when tasks of the kind make something else than before from the same options.
	Recipe int
	// Work estimates how much work a task is, in a unit of the kind's own. Nil is one unit for each task.
	Work func(options json.RawMessage) float64
	// Rate is how much of that work one thread does in a second, roughly: what estimates use until tasks of the kind have been timed.
	Rate float64
	// Run does a task. It must be a function of the job's options and inputs, whatever the number of threads.
	Run func(ctx context.Context, job *Job) error
}

// Task is one piece of work in a [Plan].
type Task struct {
	Kind *Kind
	// Label says to people what the task is. It is not part of the key.
	Label string
	// Options are all that determines the result, beside the kind and the artifacts in Needs: canonical JSON.
	Options json.RawMessage
	// Needs are the tasks whose artifacts this one reads.
	Needs []*Task
	// Key names the artifact.
	Key string
}

// Plan is a graph of tasks without cycles, each standing behind those that it needs.
type Plan struct {
	environment string // part of every key
	tasks       []*Task
	byKey       map[string]*Task
}

// NewPlan begins a plan for an environment: what results depend on though no option says so, as the instruction set.
func NewPlan(environment string) *Plan {
	return &Plan{environment: environment, byKey: map[string]*Task{}}
}

// Add adds a task and returns it; if an equal one is in the plan, that one, whatever its label. Options are anything that JSON can hold; they are
// compared as JSON, whatever the order of fields. It panics on needs that are not of this plan.
func (p *Plan) Add(kind *Kind, label string, options any, needs ...*Task) (*Task, error) {
	text, err := canonical(options)
	if err != nil {
		return nil, fmt.Errorf("task: options of %s %q: %w", kind.Name, label, err)
	}
	t := &Task{Kind: kind, Label: label, Options: text, Needs: slices.Clone(needs)}
	if t.Key, err = p.identity(t).key(); err != nil {
		return nil, fmt.Errorf("task: %s %q: %w", kind.Name, label, err)
	}
	if same := p.byKey[t.Key]; same != nil {
		return same, nil
	}
	p.byKey[t.Key] = t
	p.tasks = append(p.tasks, t)
	return t, nil
}

// Environment is what [NewPlan] was given.
func (p *Plan) Environment() string { return p.environment }

// Len is the number of tasks.
func (p *Plan) Len() int { return len(p.tasks) }

// Tasks are the tasks in an order in which they can be done.
func (p *Plan) Tasks() []*Task { return slices.Clone(p.tasks) }

// identity is what a key is the hash of.
type identity struct {
	Kind        string          `json:"kind"`
	Recipe      int             `json:"recipe"`
	Environment string          `json:"environment"`
	Options     json.RawMessage `json:"options"`
	Needs       []string        `json:"needs,omitempty"`
}

func (p *Plan) identity(t *Task) identity {
	id := identity{Kind: t.Kind.Name, Recipe: t.Kind.Recipe, Environment: p.environment, Options: t.Options}
	for _, n := range t.Needs {
		if p.byKey[n.Key] != n {
			panic(fmt.Sprintf("task: %s %q needs %q, which is not in its plan", t.Kind.Name, t.Label, n.Label))
		}
		id.Needs = append(id.Needs, n.Key)
	}
	return id
}

// keyBytes of the hash are kept: 128 bits, in 32 letters.
const keyBytes = 16

func (id identity) key() (string, error) {
	text, err := json.Marshal(id)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:keyBytes]), nil
}

// work is the kind's estimate, where that is a number.
func (t *Task) work() float64 {
	if t.Kind.Work == nil {
		return 1
	}
	if w := t.Kind.Work(t.Options); w > 0 && !math.IsInf(w, 0) {
		return w
	}
	return 0
}

// canonical writes a value as JSON with the fields of objects in the order of their names.
func canonical(v any) (json.RawMessage, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // integers keep all digits
	var plain any
	if err := d.Decode(&plain); err != nil {
		return nil, err
	}
	return json.Marshal(plain)
}

// decodeStrict reads JSON and refuses fields that are not known, and anything behind it.
func decodeStrict(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is something behind its end")
	}
	return nil
}
