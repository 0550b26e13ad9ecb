// Package train fits the parameters of a network to data: optimisers, schedules, the training loop and its snapshots.
//
// A run is a pure function of its [Config], its data and its initial parameters: the order of the samples is drawn from the seed and the epoch,
// the mask of a dropout from the seed and the step. A [Snapshot] holds everything the rest of the run depends on, so that an interrupted training
// that is resumed ends in the same bytes as one that was not.
package train
