//go:build !plant_forward

package replica

// plantForward is a bug that is planted to see whether the simulator finds it:
// with the build tag plant_forward, what a leader has decided is sent on to the
// next one.
const plantForward = false
