// Package landscape measures the loss between models: along the line from one to another, and on the plane through three.
//
// A curve is the loss and the accuracy of mixtures of two models A and B at values λ from 0 (A) to 1 (B). A barrier says in
// one number how far the losses rise above the ends, in two forms: the chord form, on which verdicts of "zero barrier" rest, and
// the form of the paper. A plane is the loss on a grid of the plane through three models, in coordinates where lengths are
// those of weight space.
//
// The package knows nothing of networks. Models are flat arenas of parameters, all of one layout, and an [Evaluator] says what a
// point of weight space is worth:
//
//	curve, err := landscape.Interpolate(ctx, "weight", a, b, landscape.Lambdas(25), landscape.Lerp, evaluator, nil)
//	_, test := curve.Barriers()
//	fmt.Printf("test barrier %.3f nats\n", test.Chord)
//
// Everything here is deterministic: points are evaluated one after the other in a fixed order, and sums have a fixed order.
package landscape
