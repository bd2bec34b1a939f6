package wal

import "flag"

var (
	oneSeed   = flag.Uint64("seed", 0, "replay the random walk of this seed alone")
	walks     = flag.Int("walks", 150, "random walks to take")
	walkSteps = flag.Int("steps", 300, "steps of a random walk")
)
