package dataset

// Order returns a permutation of 0..n-1: the order in which an epoch visits n examples. It is a pure function of its arguments, so a training
// that resumes at an epoch sees what it would have seen without the interruption. Cut it into batches with [slices.Chunk].
//
// Seed and epoch are the key of a ChaCha8 generator, which makes the orders of neighbouring seeds and epochs independent.
func Order(n int, seed uint64, epoch int) []int {
	return shuffled("dataset.Order", n, seed, uint64(epoch))
}
