//go:build !plant_nosync

package wal

// plantNoSync is a bug that is planted to see whether the tests find it: with
// the build tag plant_nosync, Sync does nothing and says it did.
const plantNoSync = false
