package experiment

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/rebasin/rebasin/match"
	"github.com/rebasin/rebasin/symmetry"
	"github.com/rebasin/rebasin/zoo"
)

// MatchTimesOptions are the options of [MatchTimes].
type MatchTimesOptions struct {
	// Networks are what is timed. Nil means [PaperMatchNetworks] of width multipliers up to 4.
	Networks []MatchNetwork
	// Runs of each network, of which the best counts. 0 means 1.
	Runs int
	// Seed of the first network of each pair; the second has the next.
	Seed    uint64
	Threads int
	// Progress hears of every network.
	Progress Progress
}

// MatchNetwork is a network of which two are matched.
type MatchNetwork struct {
	Name   string     `json:"name"`
	Config zoo.Config `json:"config"`
	// PaperSeconds are those the paper gives for it on a V100, 0 where it gives none.
	PaperSeconds float64 `json:"paper_seconds,omitempty"`
}

// MatchTimesResult is a row for every network, in their order.
type MatchTimesResult struct {
	Rows []MatchTime `json:"rows"`
	Seed uint64      `json:"seed"`
	Runs int         `json:"runs"`
}

// MatchTime is the timing of weight matching for one pair.
type MatchTime struct {
	MatchNetwork
	Parameters int     `json:"parameters"`
	Groups     int     `json:"groups"`
	Before     float64 `json:"objective_before"` // <A, B>
	Objective  float64 `json:"objective"`
	Sweeps     int     `json:"sweeps"`
	Status     string  `json:"status"`
	// FLOPs are the operations done for similarities, FullFLOPs those of computing each in full every time.
	FLOPs     float64 `json:"flops"`
	FullFLOPs float64 `json:"full_flops"`
	// Seconds of the matching, without making the networks, and of its parts.
	Seconds    float64 `json:"seconds"`
	Similarity float64 `json:"similarity_seconds"`
	Assignment float64 `json:"assignment_seconds"`
	Moves      float64 `json:"moves_seconds"`
	// MemoryBytes is an estimate of the most that is in use: A, B, the permuted copy of B, and the similarities.
	MemoryBytes int64 `json:"memory_bytes"`
}

// PaperMatchNetworks are the networks for which Ainsworth, Hayase, Srinivasa ("Git Re-Basin", ICLR 2023, arXiv:2209.04836, appendix A.5) give times on a
// V100: the MLP (3 s), ResNet20 with LayerNorm at width multipliers 1, 2, 4, ... up to maxWidth (194 s at 32), and ResNet50 (33 s). ResNet50 is left
// out below a maxWidth of 4.
func PaperMatchNetworks(maxWidth int) []MatchNetwork {
	out := []MatchNetwork{{"MLP 3x512", zoo.Config{Arch: "mlp", Input: []int{1, 28, 28}, Classes: 10}, 3}}
	for w := 1; w <= min(maxWidth, 1<<10); w *= 2 {
		n := MatchNetwork{Name: fmt.Sprintf("ResNet20 x%d", w), Config: zoo.Config{Arch: "resnet20", Norm: "layer", Width: float64(w), Classes: 10}}
		if w == 32 {
			n.PaperSeconds = 194
		}
		out = append(out, n)
	}
	if maxWidth >= 4 {
		out = append(out, MatchNetwork{"ResNet50", zoo.Config{Arch: "resnet50", Classes: 1000}, 33})
	}
	return out
}

// MatchTimes times weight matching, one descent from the identity, of two networks of independent random weights: nothing is there to find, which
// takes more sweeps than trained networks do. Everything but seconds is the same in every run.
func MatchTimes(ctx context.Context, opt MatchTimesOptions) (*MatchTimesResult, error) {
	if opt.Networks == nil {
		opt.Networks = PaperMatchNetworks(4)
	}
	if opt.Runs == 0 {
		opt.Runs = 1
	}
	if opt.Runs < 0 {
		return nil, errors.New("experiment: match times: a negative number of runs")
	}
	r := &MatchTimesResult{Seed: opt.Seed, Runs: opt.Runs}
	for i, n := range opt.Networks {
		row, err := n.time(ctx, opt)
		if err != nil {
			return nil, fmt.Errorf("experiment: match times: %s: %w", n.Name, err)
		}
		r.Rows = append(r.Rows, row)
		opt.Progress.report("match times", i+1, len(opt.Networks), n.Name)
	}
	return r, nil
}

func (n MatchNetwork) time(ctx context.Context, opt MatchTimesOptions) (MatchTime, error) {
	row := MatchTime{MatchNetwork: n, Seconds: math.Inf(1)}
	g, err := zoo.Build(n.Config)
	if err != nil {
		return row, err
	}
	a, err := zoo.Init(g, n.Config, opt.Seed)
	if err != nil {
		return row, err
	}
	b, err := zoo.Init(g, n.Config, opt.Seed+1)
	if err != nil {
		return row, err
	}
	sym, err := symmetry.Infer(g, a, b)
	if err != nil {
		return row, err
	}
	for _, t := range a {
		elements, _ := t.Shape().Elements() // it has as many
		row.Parameters += elements
	}
	row.Groups, row.MemoryBytes = len(sym.Groups), 3*4*int64(row.Parameters)+similarityBytes(sym)
	for range opt.Runs {
		start := time.Now()
		r, err := match.Weights(ctx, sym, a, b, match.WeightsOptions{Seed: opt.Seed, Threads: opt.Threads})
		if err != nil {
			return row, err
		}
		if seconds := time.Since(start).Seconds(); seconds < row.Seconds {
			row.Seconds, row.Similarity, row.Assignment, row.Moves = seconds, r.Work.Similarity, r.Work.Assignment, r.Work.Moves
		}
		row.Before, row.Objective, row.Sweeps, row.Status = r.Trace[0], r.Objective, r.Sweeps, string(r.Status)
		row.FLOPs, row.FullFLOPs = r.Work.FLOPs, r.Work.FullFLOPs
	}
	return row, nil
}

// similarityBytes is the memory of the similarities that weight matching keeps: for each group, one matrix of its units for every set of groups with
// which it shares tensors.
func similarityBytes(sym *symmetry.Symmetry) int64 {
	sets := map[string]bool{}
	var bytes int64
	for _, layout := range sym.Layouts {
		var names []string
		for _, axis := range layout {
			for _, f := range slices.Concat(axis...) {
				if _, ok := sym.Group(f.Name); ok {
					names = append(names, f.Name)
				}
			}
		}
		slices.Sort(names)
		names = slices.Compact(names)
		for _, name := range names {
			g, _ := sym.Group(name)
			if key := fmt.Sprint(name, names); !sets[key] {
				sets[key] = true
				bytes += 4 * int64(g.Size) * int64(g.Size)
			}
		}
	}
	return bytes
}
