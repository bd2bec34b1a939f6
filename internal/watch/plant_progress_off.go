//go:build !plant_progress

package watch

// plantProgress is a bug that is planted to see whether the simulator finds it: with
// the build tag plant_progress, progress speaks of what is published, and not of what
// was handed out.
const plantProgress = false
