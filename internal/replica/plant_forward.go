//go:build plant_forward

package replica

const plantForward = true
