//go:build !plant_gate

package raft

// plantGate is a bug that is planted to see whether the simulator finds it: with
// the build tag plant_gate, messages leave before their term is on disk.
const plantGate = false
