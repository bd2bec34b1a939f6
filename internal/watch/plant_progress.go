//go:build plant_progress

package watch

const plantProgress = true
