package train

import (
	"math"

	"github.com/rebasin/rebasin/internal/kernel"
)

// updater applies the optimiser to the flat arena in fixed pieces, on its own threads.
type updater struct {
	opt  Optimizer
	m, v []float32 // the moments, nil where the rule has none
	pool *kernel.Pool

	// What Do works on: set by step before the threads are asked.
	w, g []float32
	adam kernel.AdamParams
	sgd  kernel.SGDParams
}

// updatePiece is the part of the arena one task updates; elementwise, so the result does not depend on it.
const updatePiece = 1 << 16

func newUpdater(opt Optimizer, n, threads int) *updater {
	u := &updater{opt: opt, pool: kernel.NewPool(threads)}
	if opt.Name == "adam" || opt.Momentum > 0 {
		u.m = make([]float32, n)
	}
	if opt.Name == "adam" {
		u.v = make([]float32, n)
	}
	return u
}

func (u *updater) close() { u.pool.Close() }

// step updates the parameters w with their gradients g; steps count from 0.
func (u *updater) step(w, g []float32, rate float64, step int) {
	t := float64(step + 1)
	o := u.opt
	u.w, u.g = w, g
	u.adam = kernel.AdamParams{
		LR: rate, Beta1: o.Beta1, Beta2: o.Beta2, Epsilon: o.Epsilon, WeightDecay: o.WeightDecay,
		Correction1: 1 - math.Pow(o.Beta1, t), Correction2: 1 - math.Pow(o.Beta2, t),
	}
	u.sgd = kernel.SGDParams{LR: rate, Momentum: o.Momentum, WeightDecay: o.WeightDecay, Nesterov: o.Nesterov}
	u.pool.Run((len(w)+updatePiece-1)/updatePiece, u)
}

// Do updates one piece.
func (u *updater) Do(part int) {
	lo, hi := part*updatePiece, min((part+1)*updatePiece, len(u.w))
	if u.opt.Name == "adam" {
		kernel.AdamStep(u.w[lo:hi], u.g[lo:hi], u.m[lo:hi], u.v[lo:hi], u.adam)
		return
	}
	var m []float32
	if u.m != nil {
		m = u.m[lo:hi]
	}
	kernel.SGDStep(u.w[lo:hi], u.g[lo:hi], m, u.sgd)
}
