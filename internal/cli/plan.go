package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/symmetry"
)

// planMerge prints the plan of a merge without doing it.
func (a *app) planMerge(ctx context.Context, f *mergeFlags, pathA, pathB string) error {
	pair, err := f.models.openAll(ctx, pathA, pathB)
	if err != nil {
		return err
	}
	defer pair.close()
	a.noteModels(pair...)
	r := &matching{a: pair[0], b: pair[1]}
	if f.method != notAligned {
		if r.sym, err = f.models.symmetryOf(ctx, r.a, r.b); err != nil {
			return err
		}
	}
	if err := f.repair.choose(a, f.data.name, r.a, r.b); err != nil {
		return err
	}
	plan, err := f.newPlan(r)
	if err != nil {
		return err
	}
	cost := foreseeMerge(plan, r.sym)
	if cost.repairs, err = f.repair.foresee(r.a); err != nil {
		return err
	}
	if cost.repairs > 0 { // both models and their mixture are in memory, before and after
		cost.memory = max(cost.memory, heapGrowth*5*plan.Bytes)
	}
	a.finish()
	if a.json {
		return writeJSON(a.stdout, newPlanJSON(f, plan, cost))
	}
	return a.printPlan(f, plan, cost)
}

// A mergeCost is what a merge is foreseen to take.
type mergeCost struct {
	memory       int64
	align, merge float64 // seconds
	repairs      int     // runs of the samples to repair on
}

// Cautious rates of one core of a desktop machine, and the sweeps that weight matching usually takes.
const (
	flopsPerSecond = 50e9
	usualSweeps    = 12
)

// heapGrowth is how far the heap grows beyond what is in use before it is collected (GOGC=100).
const heapGrowth = 2

// foreseeMerge foresees memory and time. A merge alone holds the largest few tensors. Matching holds A and B as they are, both in float32, the permuted
// copy, and for every axis that a group stands on a similarity between its units; a sweep computes each of these once.
func foreseeMerge(p *merge.Plan, sym *symmetry.Symmetry) mergeCost {
	cost := mergeCost{memory: heapGrowth * p.Memory, merge: p.Seconds()}
	if sym == nil {
		return cost
	}
	var floats int64
	for _, t := range p.Tensors {
		if n, err := t.Shape.Elements(); err == nil && t.DType.IsFloat() {
			floats += 4 * int64(n)
		}
	}
	similarities, flops := matchingWork(sym)
	cost.memory = heapGrowth * max(2*p.Bytes+3*floats+similarities, 3*p.Bytes+p.Memory)
	cost.align = usualSweeps * flops / flopsPerSecond
	return cost
}

// matchingWork is the bytes of all similarities, and the operations of computing each of them once.
func matchingWork(sym *symmetry.Symmetry) (bytes int64, flops float64) {
	for _, layout := range sym.Layouts {
		elements, err := layout.Shape().Elements()
		if err != nil {
			continue // no tensor is that large
		}
		for _, axis := range layout {
			for _, factor := range slices.Concat(axis...) {
				if _, permuted := sym.Group(factor.Name); permuted {
					bytes += 4 * int64(factor.Size) * int64(factor.Size)
					flops += 2 * float64(elements) * float64(factor.Size)
				}
			}
		}
	}
	return bytes, flops
}

// planJSON is what merge prints with --dry-run and --json.
type planJSON struct {
	DryRun       bool       `json:"dry_run"`
	Output       string     `json:"output"`
	Inputs       []string   `json:"inputs"`
	Hashes       []string   `json:"hashes"`
	Align        string     `json:"align"`
	Method       string     `json:"method"`
	Weights      []float64  `json:"weights"`
	Bytes        int64      `json:"bytes"`
	Memory       int64      `json:"memory"`
	Seconds      float64    `json:"seconds"`
	AlignSeconds float64    `json:"align_seconds"`
	Repair       string     `json:"repair"`
	Augment      string     `json:"repair_augment,omitempty"`
	RepairPasses int        `json:"repair_passes"`
	Tensors      []stepJSON `json:"tensors"`
}

type stepJSON struct {
	Name   string `json:"name"`
	DType  string `json:"dtype"`
	Shape  []int  `json:"shape"`
	Action string `json:"action"`
}

func newPlanJSON(f *mergeFlags, p *merge.Plan, cost mergeCost) planJSON {
	out := planJSON{
		DryRun: true, Output: f.output, Inputs: []string{p.A.Name, p.B.Name}, Hashes: []string{p.A.Hash, p.B.Hash}, Align: f.method, Method: f.combine,
		Weights: []float64{1 - p.Lambda, p.Lambda}, Bytes: p.Bytes, Memory: cost.memory, Seconds: cost.merge, AlignSeconds: cost.align,
		Repair: f.repair.method, Augment: f.repair.augment, RepairPasses: cost.repairs,
	}
	for _, t := range p.Tensors {
		out.Tensors = append(out.Tensors, stepJSON{t.Name, t.DType.String(), t.Shape, t.Action})
	}
	return out
}

func (a *app) printPlan(f *mergeFlags, p *merge.Plan, cost mergeCost) error {
	a.printf("A       %s  sha256 %s\nB       %s  sha256 %s\n", p.A.Name, p.A.Hash, p.B.Name, p.B.Hash)
	a.printf("align   %s\nmethod  %s, ", f.method, f.combine)
	if f.search {
		a.printf("weights by the loss on the training part of %s\n", f.data.name)
	} else {
		a.printf("weights %.4g and %.4g\n", 1-p.Lambda, p.Lambda)
	}
	if f.repair.active() {
		a.printf("repair  %s on the training part of %s%s\n", f.repair.method, f.data.name, f.repair.onImages())
	}
	a.printf("output  %s, %s in %d tensors\nmemory  about %s\ntime    ", f.output, size(p.Bytes), len(p.Tensors), size(cost.memory))
	if f.method != notAligned {
		a.printf("%s to match weights, ", foreseen(cost.align))
	}
	a.printf("%s to merge and write", foreseen(cost.merge))
	if cost.repairs > 0 {
		a.printf(", %s over the samples to repair", counted(cost.repairs, "run"))
	}
	if f.data.name != "" {
		a.printf(", besides the runs on %s", f.data.name)
	}
	a.printf("\n\n")
	var rows [][]string
	for _, t := range p.Tensors {
		rows = append(rows, []string{strconv.Quote(t.Name), t.DType.String(), fmt.Sprint(t.Shape), t.Action})
	}
	return a.table([]string{"tensor", "dtype", "shape", "action"}, rows)
}
