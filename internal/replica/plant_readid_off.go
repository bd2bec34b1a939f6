//go:build !plant_readid

package replica

// plantReadID is a bug that is planted to see whether the simulator finds it:
// with the build tag plant_readid, all rounds of read barriers have one id.
const plantReadID = false
