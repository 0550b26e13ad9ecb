package experiment

import (
	"fmt"
	"strings"

	"github.com/rebasin/rebasin/report"
)

const counterexampleRule = "The claim holds if both ends have no error at all, the least barrier of the error over all alignments is above zero, no single pass finds the planted alignment and every coordinate descent does; " +
	"it does not hold else. Errors are exact areas, so there is no chance in it."

func summariseCounterexample(f *Finished) (*Summary, error) {
	var c CounterexampleResult
	var s SinglePassResult
	for i := range f.Records {
		r := &f.Records[i]
		var into any = &c
		if r.Kind == "singlepass" {
			into = &s
		}
		if err := r.decode(into); err != nil {
			return nil, fmt.Errorf("experiment: record %s: %w", r.Key, err)
		}
	}
	for _, p := range c.Paths {
		if len(p.Error) == 0 || len(p.Error) != len(c.Lambda) {
			return nil, fmt.Errorf("experiment: a path of %d errors at %d mixtures", len(p.Error), len(c.Lambda))
		}
	}
	paths := Table{Title: "From A to every alignment of B", Header: []string{"units exchanged in B", "error at the ends", "barrier", "at λ"}}
	for _, p := range c.Paths {
		name := "none"
		if len(p.Swapped) > 0 {
			name = strings.Join(p.Swapped, " and ")
		}
		paths.Rows = append(paths.Rows, []string{name, fmt.Sprintf("%g, %g", p.Error[0], p.Error[len(p.Error)-1]), fmt.Sprintf("%g", p.Barrier), fmt.Sprintf("%g", p.BarrierLambda)})
	}
	passes := Table{Title: "Single passes and coordinate descent on a pair of one function", Header: []string{"method", "<A, P·B>", "units in place %", "deviation of the midpoint", "sweeps"}}
	single := true
	for _, m := range s.Methods {
		passes.Rows = append(passes.Rows, []string{m.Name, fmt.Sprintf("%g", m.Objective), fmt.Sprintf("%.0f", 100*m.Units), fmt.Sprintf("%.3g", m.Deviation), fmt.Sprint(m.Sweeps)})
		single = single && (m.Name == MethodDescent || !m.Exact)
	}
	v := Verdict{Word: DoesNotHold, Rule: counterexampleRule}
	if len(c.Paths) > 0 && c.EndpointErrors == [2]float64{} && c.MinBarrier > 0 && single && s.Descents > 0 && s.Recovered == s.Descents {
		v.Word = Holds
	}
	verdictOnPasses := "single passes do not"
	if !single {
		verdictOnPasses = "and so does a single pass"
	}
	v.Why = fmt.Sprintf("errors of %g and %g at the ends, a barrier of at least %g for every alignment; %d of %d coordinate descents find what was planted, %s",
		c.EndpointErrors[0], c.EndpointErrors[1], c.MinBarrier, s.Recovered, s.Descents, verdictOnPasses)
	return &Summary{Verdict: v, Tables: []Table{paths, passes}, Comparisons: []report.Comparison{{
		Quantity: "barrier of the error that no alignment removes", Paper: "above zero for all four (appendix A.6)", Ours: fmt.Sprintf("%g for every one", c.MinBarrier),
		Note: "exact areas",
	}, {
		Quantity: "alignments found where a single pass fails", Paper: "all, whatever the order of layers (appendix A.7.2)", Ours: fmt.Sprintf("%d of %d descents", s.Recovered, s.Descents),
		Note: "two units a layer there, four here",
	}}}, nil
}

const plantedRule = "For each network without noise, the way of starting weight matching that finds the whole permutation in most draws is looked at. The claim holds if that is in all draws for every network, does not hold if it is in " +
	"less than half of the draws for one, and is undecided else."

func summarisePlanted(f *Finished) (*Summary, error) {
	found := Table{Title: "Planted permutations", Header: []string{"network", "noise", "start", "restarts", "found whole", "units in place %", "objective of planted", "sweeps"}}
	times := Table{Title: "Weight matching of two networks with random weights", Header: []string{"network", "parameters", "sweeps", "seconds", "threads", "paper, V100"}}
	var cases []CaseVerdict
	var comparisons []report.Comparison
	for i := range f.Records {
		r := &f.Records[i]
		switch r.Kind {
		case "planted":
			var p PlantedResult
			if err := r.decode(&p); err != nil {
				return nil, err
			}
			best, of := 0, 0
			for _, w := range p.Ways {
				start := string(w.Start)
				if start == "" {
					start = "identity"
				}
				found.Rows = append(found.Rows, []string{
					r.Case, fmt.Sprintf("%g", p.Noise), start, fmt.Sprint(w.Restarts), fmt.Sprintf("%d of %d", w.Exact, len(w.Draws)), fmt.Sprintf("%.1f", 100*w.MeanUnits),
					fmt.Sprintf("%.4f", w.MeanRatio), fmt.Sprintf("%.1f", w.MeanSweeps),
				})
				best, of = max(best, w.Exact), len(w.Draws)
				if p.Noise == 0 && start == "identity" && w.Restarts <= 1 {
					comparisons = append(comparisons, report.Comparison{
						Quantity: "passes over the layers until the permutation is found, " + r.Case, Paper: "3 to 4 (appendix A.5)", Ours: fmt.Sprintf("%.1f", w.MeanSweeps),
					})
				}
			}
			if p.Noise != 0 {
				continue
			}
			j := CaseVerdict{Subject: r.Case, Word: Undecided, Why: fmt.Sprintf("%d of %d found", best, of)}
			switch {
			case of > 0 && best == of:
				j.Word = Holds
			case 2*best < of:
				j.Word = DoesNotHold
			}
			cases = append(cases, j)
		case "matchtime":
			var m MatchTime
			if err := r.decode(&m); err != nil {
				return nil, err
			}
			seconds, threads, paper := "", "", ""
			if t, ok := f.Seconds[r.Key]; ok {
				seconds, threads = fmt.Sprintf("%.3g", t.Seconds), fmt.Sprint(t.Threads)
			}
			if m.PaperSeconds > 0 {
				paper = fmt.Sprintf("%g", m.PaperSeconds)
				if seconds != "" {
					comparisons = append(comparisons, report.Comparison{
						Quantity: "weight matching, " + r.Case, Paper: paper + " s", Ours: fmt.Sprintf("%s s on %s", seconds, counted(f.Seconds[r.Key].Threads, "thread")),
						Note: "the paper: trained networks, a V100 (appendix A.5); here: random weights, a processor",
					})
				}
			}
			times.Rows = append(times.Rows, []string{r.Case, fmt.Sprint(m.Parameters), fmt.Sprint(m.Sweeps), seconds, threads, paper})
		}
	}
	return &Summary{Verdict: combine(plantedRule, cases), Tables: []Table{found, times}, Comparisons: comparisons}, nil
}
