//go:build race

package kernel

// raceDetector is set where the race detector makes sync.Pool forget at random, and counting allocations says nothing.
const raceDetector = true
