//go:build plant_readid

package replica

const plantReadID = true
