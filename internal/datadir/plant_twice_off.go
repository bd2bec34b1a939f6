//go:build !plant_twice

package datadir

// plantTwice is a bug that is planted to see whether the simulator finds it: with
// the build tag plant_twice, the last entry in the store is applied again at
// start.
const plantTwice = false
