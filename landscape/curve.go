package landscape

import (
	"context"
	"fmt"

	"github.com/rebasin/rebasin/eval"
)

// DefaultPoints is the number of points of a curve: the 25 of the paper's figures.
const DefaultPoints = 25

// Point is the worth of one mixture of two models.
type Point struct {
	Lambda float64      `json:"lambda"` // 0 is the first model, 1 the second
	Train  eval.Metrics `json:"train"`
	Test   eval.Metrics `json:"test"`
}

// Curve is the worth of the mixtures of two models, lambdas ascending.
type Curve struct {
	Name   string  `json:"name"`
	Points []Point `json:"points"`
}

// Barriers returns the barriers of the loss on train and test data. It panics as [LossBarrier] does when the curve's
// lambdas do not ascend from 0 to 1; the curves of [Interpolate] do.
func (c Curve) Barriers() (train, test Barrier) {
	lambdas := make([]float64, len(c.Points))
	trainLoss := make([]float64, len(c.Points))
	testLoss := make([]float64, len(c.Points))
	for i, p := range c.Points {
		lambdas[i], trainLoss[i], testLoss[i] = p.Lambda, p.Train.Loss, p.Test.Loss
	}
	return LossBarrier(lambdas, trainLoss), LossBarrier(lambdas, testLoss)
}

// Lambdas returns points values spaced evenly from exactly 0 to exactly 1; with an odd number of points the middle is
// exactly ½. 0 points means [DefaultPoints]; below 2 it returns the two ends.
func Lambdas(points int) []float64 {
	if points == 0 {
		points = DefaultPoints
	}
	points = max(points, 2)
	out := make([]float64, points)
	for i := range out {
		out[i] = float64(i) / float64(points-1)
	}
	return out
}

// Evaluator measures a model given by its flat arena of parameters. theta belongs to the caller, who overwrites it after
// the call returns.
type Evaluator interface {
	Evaluate(ctx context.Context, theta []float32) (train, test eval.Metrics, err error)
}

// Mix writes the mixture of a and b at lambda into dst. The three have one length, and dst overlaps neither a nor b.
type Mix func(dst, a, b []float32, lambda float64) error

// Lerp is the straight line (1-λ)a + λb, computed in float64 and rounded once. At 0 and 1 it is exactly a and b.
func Lerp(dst, a, b []float32, lambda float64) error {
	switch lambda {
	case 0:
		copy(dst, a)
	case 1:
		copy(dst, b)
	default:
		for i := range dst {
			dst[i] = float32((1-lambda)*float64(a[i]) + lambda*float64(b[i]))
		}
	}
	return nil
}

// Interpolate evaluates the mixtures of a and b at lambdas, one after the other, and returns the curve under name.
//
// nil lambdas means Lambdas(0), nil mix means [Lerp]. progress, when not nil, is called before the first point with
// done = 0 and after each one. The context is checked before every point. Memory: one arena beside a and b.
//
// It is an error when a and b differ in length or are empty, and when lambdas do not ascend strictly from 0 to 1.
func Interpolate(ctx context.Context, name string, a, b []float32, lambdas []float64, mix Mix, e Evaluator,
	progress func(done, total int),
) (Curve, error) {
	if lambdas == nil {
		lambdas = Lambdas(0)
	}
	if mix == nil {
		mix = Lerp
	}
	if err := checkLambdas(lambdas); err != nil {
		return Curve{}, fmt.Errorf("landscape: curve %q: %w", name, err)
	}
	if len(a) != len(b) || len(a) == 0 {
		return Curve{}, fmt.Errorf("landscape: curve %q: models of %d and %d parameters", name, len(a), len(b))
	}
	count := newCounter(progress, len(lambdas))
	theta := make([]float32, len(a))
	curve := Curve{Name: name, Points: make([]Point, 0, len(lambdas))}
	for _, l := range lambdas {
		if err := ctx.Err(); err != nil {
			return Curve{}, fmt.Errorf("landscape: curve %q: %w", name, err)
		}
		if err := mix(theta, a, b, l); err != nil {
			return Curve{}, fmt.Errorf("landscape: curve %q: mixing at λ = %.4g: %w", name, l, err)
		}
		train, test, err := e.Evaluate(ctx, theta)
		if err != nil {
			return Curve{}, fmt.Errorf("landscape: curve %q: evaluating at λ = %.4g: %w", name, l, err)
		}
		curve.Points = append(curve.Points, Point{Lambda: l, Train: train, Test: test})
		count.step()
	}
	return curve, nil
}

// counter reports how many of total points are done.
type counter struct {
	report      func(done, total int)
	done, total int
}

func newCounter(report func(done, total int), total int) *counter {
	if report == nil {
		report = func(int, int) {}
	}
	report(0, total)
	return &counter{report: report, total: total}
}

func (c *counter) step() {
	c.done++
	c.report(c.done, c.total)
}
