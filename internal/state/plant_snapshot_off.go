//go:build !plant_snapshot

package state

// plantSnapshot is a bug that is planted to see whether the simulator finds it:
// with the build tag plant_snapshot, the last change in a snapshot is left out.
const plantSnapshot = false
