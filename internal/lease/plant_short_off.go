//go:build !plant_short

package lease

// plantShort is a bug that is planted to see whether the simulator finds it: with
// the build tag plant_short, a client is told that its lease is renewed while the
// log says that less of it is left.
const plantShort = false
