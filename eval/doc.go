// Package eval measures a network on data: loss, accuracy, top-k, calibration; and records what its units do.
//
// A [Runner] owns an inference engine for one graph and measures any parameters of it. Data is anything with the methods of [Data]; a data set of
// this module's dataset package is one. Sums run over samples in their order in fixed batches, in float64, so that a measurement is the same
// whatever the number of threads.
package eval

// The mean loss of a batch is the mean over its samples; a measurement is the mean over all samples, not over batches.
const (
	// DefaultBatch is the number of samples that run at once.
	DefaultBatch = 500
	// CalibrationBins is the number of equal-width bins of confidence, as in Guo, Pleiss, Sun, Weinberger 2017 (arXiv:1706.04599).
	CalibrationBins = 15
)

// Data is a set of labelled samples.
type Data interface {
	Len() int
	// Shape is that of one sample, without the batch.
	Shape() []int
	Classes() int
	// Fill writes the samples of these indices to x, one after the other, and their labels.
	Fill(indices []int, x []float32, labels []int32)
}
