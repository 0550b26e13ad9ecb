package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rebasin/rebasin/match"
	"github.com/rebasin/rebasin/merge"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/tensor"
)

// planMerge prints the plan of a merge without doing it.
func (a *app) planMerge(ctx context.Context, f *mergeFlags, paths []string) error {
	models, err := f.models.openAll(ctx, paths...)
	if err != nil {
		return err
	}
	defer models.close()
	if err := checkApart(f.output, models...); err != nil {
		return err
	}
	a.noteModels(models...)
	r := newMatching(models)
	if f.method != notAligned {
		if r.sym, err = f.models.symmetryOf(ctx, models...); err != nil {
			return err
		}
	}
	if err := f.repair.choose(a, f.data.name, models...); err != nil {
		return err
	}
	plan, err := f.newPlan(r, a.threads)
	if err != nil {
		return err
	}
	hash, err := f.writing.hash(ctx, models...).wait()
	if err != nil {
		return err
	}
	for i, h := range hash {
		plan.Sources[i].Hash = h
	}
	cost, err := foreseeMerge(plan, f.output, r.sym, f.method)
	if err != nil {
		return err
	}
	if cost.repairs, err = f.repair.foresee(r.a, len(models)); err != nil {
		return err
	}
	held := int64(0)
	switch {
	case cost.repairs > 0: // all models and their mixture are in memory, before and after
		held = int64(2*len(models)+1) * plan.Bytes
	case f.losses:
		held = int64(len(models)+1) * plan.Bytes
	}
	cost.memory = max(cost.memory, ownMemory+grown(held))
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
	usualRounds    = 8   // of MergeMany, each of which aligns every model again
	usualSteps     = 100 // of Frank–Wolfe, each of about twice the products of a sweep
)

// straightCopies is how many networks of float32 the straight-through estimator holds beside those of weight matching: the surrogate, its gradient, Adam's
// two moments, the midpoint and the best.
const straightCopies = 6

const (
	// ownMemory is that of the program itself, without any tensor.
	ownMemory = 24 << 20
	// turnover is how much more than the tensors of one step merging holds: those of the step before are garbage for a while.
	turnover = 2
)

// grown is how far the heap grows when so many bytes are in use, before garbage is collected: by a quarter, see [Main].
func grown(bytes int64) int64 { return bytes + bytes/4 }

// foreseeMerge foresees memory and time. A merge alone holds the largest few tensors, or parts of them. Matching holds A and B as they are, A in
// float32 where it is not, the permuted copy of B in float32, and for every axis that a group stands on a similarity between its units; a sweep
// computes each of these once. Of more models, all are in memory with their copies, and Frank–Wolfe's mixtures.
func foreseeMerge(p *merge.Plan, output string, sym *symmetry.Symmetry, method string) (mergeCost, error) {
	held, err := p.Memory(output)
	if err != nil {
		return mergeCost{}, err
	}
	cost := mergeCost{memory: ownMemory + turnover*held, merge: p.Seconds()}
	if sym == nil {
		return cost, nil
	}
	var floats, converted int64 // in float32: all, and those that are not stored so
	for _, t := range p.Tensors {
		if n, err := t.Shape.Elements(); err == nil && t.DType.IsFloat() {
			floats += 4 * int64(n)
			if t.DType != tensor.F32 {
				converted += 4 * int64(n)
			}
		}
	}
	similarities, flops := matchingWork(sym)
	models := int64(len(p.Sources))
	matching := models*p.Bytes + converted + floats + min(similarities, match.SimilarityBytes)
	if models > 2 || method == "ste" || method == "auto" {
		matching += (models - 1) * converted
	}
	if models == 2 && (method == "ste" || method == "auto") {
		matching += straightCopies * floats
	}
	products := usualSweeps * float64(models-1)
	switch {
	case method == alignCycle || method == alignFrankWolfe, method == "auto" && models > 2:
		matching += models * (2*floats + 3*similarities)
		products = 2 * usualSteps * float64(models)
	case method == alignMany:
		matching += models * floats
		products = usualSweeps / 2 * usualRounds * float64(models)
	}
	cost.memory = ownMemory + grown(max(matching, (2*models-1)*p.Bytes+turnover*held))
	cost.align = products * flops / flopsPerSecond
	return cost, nil
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
		DryRun: true, Output: f.output, Align: f.method, Method: f.combine,
		Weights: p.Weights, Bytes: p.Bytes, Memory: cost.memory, Seconds: cost.merge, AlignSeconds: cost.align,
		Hashes: []string{}, Repair: f.repair.method, Augment: f.repair.augment, RepairPasses: cost.repairs,
	}
	for _, s := range p.Sources {
		out.Inputs = append(out.Inputs, s.Name)
		if s.Hash != "" {
			out.Hashes = append(out.Hashes, s.Hash)
		}
	}
	for _, t := range p.Tensors {
		out.Tensors = append(out.Tensors, stepJSON{t.Name, t.DType.String(), t.Shape, t.Action})
	}
	return out
}

func (a *app) printPlan(f *mergeFlags, p *merge.Plan, cost mergeCost) error {
	for i, s := range p.Sources {
		hash := ""
		if s.Hash != "" {
			hash = "  sha256 " + s.Hash
		}
		a.printf("%-7s %s%s\n", letter(i), s.Name, hash)
	}
	a.printf("align   %s\nmethod  %s, ", f.method, f.combine)
	if f.search {
		a.printf("weights by the loss on the training part of %s\n", f.data.name)
	} else {
		texts := make([]string, len(p.Weights))
		for i, w := range p.Weights {
			texts[i] = fmt.Sprintf("%.4g", w)
		}
		last := len(texts) - 1
		a.printf("weights %s and %s\n", strings.Join(texts[:last], ", "), texts[last])
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

// letter names a model: A, B, ..., and after Z by its number.
func letter(i int) string {
	if i < 26 {
		return string(rune('A' + i))
	}
	return strconv.Itoa(i + 1)
}
