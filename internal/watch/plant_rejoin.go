//go:build plant_rejoin

package watch

const plantRejoin = true
