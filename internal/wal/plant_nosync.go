//go:build plant_nosync

package wal

const plantNoSync = true
