package landscape

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/rebasin/rebasin/eval"
)

const (
	// defaultSide is the number of grid points along each side of a plane: the default of the code that Garipov et al. released.
	defaultSide = 21
	// defaultMargin shows as much around the models as tells a basin from a slope.
	defaultMargin = 0.2
	// collinear is the ratio of the third model's distance from the line to its distance from the first model below which
	// float32 parameters, with 24 bits each, leave the direction off the line to rounding.
	collinear = 1e-6
	// maxSide keeps the number of grid points, and with it memory, in bounds.
	maxSide = 4096
)

// ErrCollinear says that three models do not span a plane: two are equal, or the third lies on the line of the others.
var ErrCollinear = errors.New("the three models lie on one line")

// PlaneOptions says which part of a plane is measured, and how finely. The zero value is the default.
type PlaneOptions struct {
	Width, Height int     // grid points along x and y; 0 means 21, else 2 to 4096
	Margin        float64 // part of the models' extent that is added on each side; 0 means .2, below 0 none
}

// PlanePoint is the worth of one point of a plane.
type PlanePoint struct {
	Train eval.Metrics `json:"train"`
	Test  eval.Metrics `json:"test"`
}

// PlaneResult is a plane through three models, measured on a grid. Coordinates are Euclidean lengths in weight space.
type PlaneResult struct {
	X       []float64      `json:"x"`       // ascending, one for each column
	Y       []float64      `json:"y"`       // ascending, one for each row
	Grid    [][]PlanePoint `json:"grid"`    // Grid[row][column] is the point (X[column], Y[row])
	Corners [3][2]float64  `json:"corners"` // the models: w1 at the origin, w2 on the positive x axis, w3 above it
}

// Plane evaluates the models of a grid on the plane through w1, w2 and w3, row by row.
//
// The plane has the orthonormal basis of Garipov, Izmailov, Podoprikhin, Vetrov, Wilson (2018), Loss Surfaces, Mode
// Connectivity, and Fast Ensembling of DNNs, arXiv 1802.10026, appendix:
//
//	u = w2 − w1,  v = (w3 − w1) − ⟨w3 − w1, û⟩û,  û = u/‖u‖,  v̂ = v/‖v‖,  P(x, y) = w1 + x·û + y·v̂
//
// Inner products are summed in float64, in the order of the parameters. Memory: one arena beside the three; the basis is
// never stored, for P(x, y) is w1 + α(w2 − w1) + β(w3 − w1) with α and β linear in x and y.
//
// progress and the context are used as by [Interpolate]. Models that span no plane are [ErrCollinear]; models of different
// lengths, parameters that are not finite and options out of range are errors too.
func Plane(ctx context.Context, w1, w2, w3 []float32, opt PlaneOptions, e Evaluator, progress func(done, total int),
) (PlaneResult, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return PlaneResult{}, fmt.Errorf("landscape: plane: %w", err)
	}
	basis, err := newBasis(w1, w2, w3)
	if err != nil {
		return PlaneResult{}, fmt.Errorf("landscape: plane: %w", err)
	}
	out := PlaneResult{Corners: basis.corners()}
	out.X = span(opt.Width, opt.Margin, 0, out.Corners[1][0], out.Corners[2][0])
	out.Y = span(opt.Height, opt.Margin, 0, 0, out.Corners[2][1])

	count := newCounter(progress, opt.Width*opt.Height)
	theta := make([]float32, len(w1))
	for _, y := range out.Y {
		row := make([]PlanePoint, 0, opt.Width)
		for _, x := range out.X {
			if err := ctx.Err(); err != nil {
				return PlaneResult{}, fmt.Errorf("landscape: plane: %w", err)
			}
			basis.at(theta, x, y)
			train, test, err := e.Evaluate(ctx, theta)
			if err != nil {
				return PlaneResult{}, fmt.Errorf("landscape: plane: evaluating at (%.4g, %.4g): %w", x, y, err)
			}
			row = append(row, PlanePoint{Train: train, Test: test})
			count.step()
		}
		out.Grid = append(out.Grid, row)
	}
	return out, nil
}

func (o PlaneOptions) withDefaults() (PlaneOptions, error) {
	for _, side := range []*int{&o.Width, &o.Height} {
		if *side == 0 {
			*side = defaultSide
		}
		if *side < 2 || *side > maxSide {
			return o, fmt.Errorf("a grid of %d by %d points; a side has 2 to %d", o.Width, o.Height, maxSide)
		}
	}
	switch {
	case o.Margin == 0:
		o.Margin = defaultMargin
	case o.Margin < 0:
		o.Margin = 0
	case math.IsNaN(o.Margin) || math.IsInf(o.Margin, 1):
		return o, fmt.Errorf("a margin of %v", o.Margin)
	}
	return o, nil
}

// span returns points values spaced evenly over the extent of values, widened on both sides by margin times it.
func span(points int, margin float64, values ...float64) []float64 {
	low, high := values[0], values[0]
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	wide := margin * (high - low)
	low, high = low-wide, high+wide
	out := make([]float64, points)
	for i := range out {
		t := float64(i) / float64(points-1)
		out[i] = (1-t)*low + t*high
	}
	return out
}

// basis is the plane through three models, as the lengths that turn its orthonormal coordinates into mixtures of the models.
type basis struct {
	w1, w2, w3 []float32
	u          float64 // ‖w2 − w1‖
	along      float64 // ⟨w3 − w1, û⟩
	off        float64 // ‖v‖, the distance of w3 from the line
}

func newBasis(w1, w2, w3 []float32) (basis, error) {
	if len(w1) == 0 || len(w2) != len(w1) || len(w3) != len(w1) {
		return basis{}, fmt.Errorf("models of %d, %d and %d parameters", len(w1), len(w2), len(w3))
	}
	var uu, uw, ww float64
	for i := range w1 {
		u, w := float64(w2[i])-float64(w1[i]), float64(w3[i])-float64(w1[i])
		uu, uw, ww = uu+u*u, uw+u*w, ww+w*w
	}
	if sum := uu + uw + ww; math.IsNaN(sum) || math.IsInf(sum, 0) {
		return basis{}, errors.New("parameters that are not finite")
	}
	if uu == 0 {
		return basis{}, fmt.Errorf("the first two are equal: %w", ErrCollinear)
	}
	// ww − uw²/uu loses all digits to cancellation when w3 is near the line, so v is summed as it is.
	ratio, vv := uw/uu, 0.0
	for i := range w1 {
		u, w := float64(w2[i])-float64(w1[i]), float64(w3[i])-float64(w1[i])
		v := w - ratio*u
		vv += v * v
	}
	if math.Sqrt(vv) <= collinear*math.Sqrt(ww) {
		return basis{}, ErrCollinear
	}
	return basis{w1: w1, w2: w2, w3: w3, u: math.Sqrt(uu), along: uw / math.Sqrt(uu), off: math.Sqrt(vv)}, nil
}

// corners returns the coordinates of the three models.
func (p basis) corners() [3][2]float64 {
	return [3][2]float64{{0, 0}, {p.u, 0}, {p.along, p.off}}
}

// at writes w1 + x·û + y·v̂ into dst.
func (p basis) at(dst []float32, x, y float64) {
	beta := y / p.off
	alpha := (x - beta*p.along) / p.u
	for i := range dst {
		w := float64(p.w1[i])
		dst[i] = float32(w + alpha*(float64(p.w2[i])-w) + beta*(float64(p.w3[i])-w))
	}
}
