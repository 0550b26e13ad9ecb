//go:build race

package train

// raceDetector says that sync.Pool drops what it is given now and then, so that allocations cannot be counted.
const raceDetector = true
