//go:build race

package symmetry_test

// raceDetector says that everything takes ten times as long.
const raceDetector = true
