package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/rebasin/rebasin/checkpoint"
	"github.com/rebasin/rebasin/match"
	"github.com/rebasin/rebasin/model"
	"github.com/rebasin/rebasin/symmetry"
)

// alignFlags are the flags of align.
type alignFlags struct {
	matchFlags
	alignmentOut string
}

func (a *app) align() *cobra.Command {
	var f alignFlags
	c := &cobra.Command{
		Use:   "align A B -o OUT",
		Short: "Write B with its units in A's order",
		Long: `Finds the order of B's hidden units that fits A best and writes B in that order:
the same function, but now it can be averaged with A. That it is the same
function is proven by running both in float64.`,
		Example: `  rebasin align a.safetensors b.safetensors -o b-aligned.safetensors
  rebasin align a.safetensors b.safetensors -o b-aligned.safetensors --method activation --data mnist
  rebasin align a.safetensors b.safetensors -o b-aligned.safetensors --method activation --activations act-a.safetensors,act-b.safetensors
  rebasin align a.safetensors b.safetensors -o b-aligned.safetensors --symmetry net.yaml --restarts 10 --seed 3`,
		Args: arguments(2, 2, "two models, A and B, are"),
		RunE: func(c *cobra.Command, args []string) error { return a.runAlign(c.Context(), &f, args[0], args[1]) },
	}
	f.register(c)
	c.Flags().StringVar(&f.method, "method", "weight", "weight, activation, ste, frank-wolfe, or auto: the best by loss on held-out training data, by outputs where it has no labels, or by --eval-command")
	c.Flags().StringVarP(&f.output, "output", "o", "", "`FILE` to write")
	c.Flags().StringVar(&f.alignmentOut, "alignment-out", "", "also write the alignment to this `FILE`, to be read by --init")
	choices(c, "method", matchMethods...)
	return c
}

func (a *app) runAlign(ctx context.Context, f *alignFlags, pathA, pathB string) error {
	inputs := []string{pathA, pathB, f.models.symmetry, f.models.graph, f.init}
	if err := f.check(); err != nil {
		return err
	}
	if f.own.active() && f.method != "auto" {
		return usagef("--eval-command is for --method auto")
	}
	if err := checkOutput(f.output, inputs...); err != nil {
		return err
	}
	if err := checkOutputs([]string{f.output, f.alignmentOut}, inputs); err != nil {
		return err
	}
	r, err := f.matchFlags.align(ctx, a, pathA, pathB)
	if err != nil {
		return err
	}
	defer r.close()
	if err := f.write(ctx, r); err != nil {
		return err
	}
	a.finish()
	a.warnLeftOut(r.b, f.output)
	if a.json {
		return writeJSON(a.stdout, f.json(r))
	}
	a.printAlign(f, r)
	return nil
}

// write writes the aligned model, and then the alignment if it is wanted.
func (f *alignFlags) write(ctx context.Context, r *matching) error {
	inputs, err := newHashing(ctx, r.a, r.b).wait()
	if err != nil {
		return err
	}
	meta := outputMetadata(r.b, "align "+r.result.Method, f.seed, inputs...)
	if err := model.SaveAs(ctx, f.output, r.aligned, r.b.Config, meta, r.b.Form().Sparing(r.a.Form())); err != nil {
		return err
	}
	if f.alignmentOut == "" {
		return nil
	}
	return checkpoint.WriteFile(f.alignmentOut, func(w io.Writer) error { return symmetry.WriteAlignment(w, r.sym, r.result.Alignment) })
}

// alignJSON is what align prints with --json.
type alignJSON struct {
	Output     string          `json:"output"`
	Method     string          `json:"method"`
	Objective  objective       `json:"objective"`
	Sweeps     int             `json:"sweeps"`
	Status     match.Status    `json:"status"`
	Seconds    float64         `json:"seconds"`
	Verified   *verification   `json:"verified"`
	Why        string          `json:"why,omitempty"`
	Notes      []string        `json:"notes,omitempty"`
	Candidates []candidateJSON `json:"candidates,omitempty"`
	// Criterion is what the candidates were judged by, and what Loss is: loss, outputs (without labels) or command.
	Criterion string `json:"criterion,omitempty"`
}

type candidateJSON struct {
	Method string  `json:"method"`
	Loss   float64 `json:"loss"`
}

func (f *alignFlags) json(r *matching) alignJSON {
	out := alignJSON{
		Output: f.output, Method: r.result.Method, Objective: objective{r.before, r.after}, Sweeps: r.result.Sweeps, Status: r.result.Status,
		Seconds: r.seconds, Verified: r.verified, Why: r.why, Notes: r.result.Notes,
	}
	out.Candidates, out.Criterion = newCandidatesJSON(r.candidates), r.criterion
	return out
}

func newCandidatesJSON(candidates []match.Candidate) (out []candidateJSON) {
	for _, c := range candidates {
		out = append(out, candidateJSON(c))
	}
	return out
}

// printCandidates prints what auto has chosen from.
func (a *app) printCandidates(r *matching) {
	what := map[string]string{byLoss: "loss at the midpoint", byOutputs: "deviation of outputs at the midpoint", byCommand: "loss of the command at the midpoint"}[r.criterion]
	for _, c := range r.candidates {
		a.printf("candidate %-24s %s %.4f\n", c.Method, what, c.Loss)
	}
}

func (a *app) printAlign(f *alignFlags, r *matching) {
	a.printf("%s: <A, B> %.6g -> %.6g by %s", f.output, r.before, r.after, r.result.Method)
	if n := r.result.Sweeps; n > 0 {
		round := "sweep"
		if r.result.Method == "ste" || r.result.Method == alignFrankWolfe {
			round = "step"
		}
		a.printf(" in %s", counted(n, round))
	}
	a.printf(" (%s), %.2f s\n", r.result.Status, r.seconds)
	a.printCandidates(r)
	for _, n := range r.result.Notes {
		a.printf("note: %s\n", n)
	}
	a.printVerified(r)
}
