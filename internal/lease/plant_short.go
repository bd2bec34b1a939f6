//go:build plant_short

package lease

const plantShort = true
