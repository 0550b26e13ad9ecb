// Package eval measures a network on data: loss, accuracy, top-k, calibration; and records what its units do.
//
// A [Runner] owns an inference engine for one graph and measures any parameters of it. Data is anything with the methods of [Data]; a data set of
// this module's dataset package is one. Sums run over samples in their order in fixed batches, in float64, so that a measurement is the same
// whatever the number of threads. A mean is over all samples, not over batches.
package eval
