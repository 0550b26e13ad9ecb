package bench

import (
	"context"
	"math"
	"time"

	"github.com/rebasin/rebasin/match"
	"github.com/rebasin/rebasin/symmetry"
)

// Match is the timing of weight matching.
type Match struct {
	Objective float64 `json:"objective"`
	Sweeps    int     `json:"sweeps"`
	Seconds   float64 `json:"seconds"`
	// FLOPs are the operations done for similarities, FullFLOPs those of computing every similarity in full each time it was used.
	FLOPs     float64 `json:"flops"`
	FullFLOPs float64 `json:"full_flops"`
	// Parts are the seconds of each part.
	Parts   map[string]float64 `json:"parts"`
	Threads int                `json:"threads"`
}

// MatchWeights times weight matching from the identity, the best of runs; the parts are those of the best one.
func MatchWeights(ctx context.Context, sym *symmetry.Symmetry, a, b match.Params, seed uint64, threads, runs int) (Match, error) {
	best := Match{Seconds: math.Inf(1), Threads: threads}
	for range runs {
		start := time.Now()
		r, err := match.Weights(ctx, sym, a, b, match.WeightsOptions{Seed: seed, Threads: threads})
		if err != nil {
			return Match{}, err
		}
		seconds := time.Since(start).Seconds()
		if seconds >= best.Seconds {
			continue
		}
		w := r.Work
		best.Seconds, best.Objective, best.Sweeps = seconds, r.Objective, r.Sweeps
		best.FLOPs, best.FullFLOPs = w.FLOPs, w.FullFLOPs
		best.Parts = map[string]float64{
			"similarity": w.Similarity, "assignment": w.Assignment, "moves": w.Moves, "other": seconds - w.Similarity - w.Assignment - w.Moves,
		}
	}
	return best, nil
}
