//go:build !race

package server

// raceDetector says that the tests run under the race detector.
const raceDetector = false
