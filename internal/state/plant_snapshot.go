//go:build plant_snapshot

package state

const plantSnapshot = true
