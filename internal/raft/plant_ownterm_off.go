//go:build !plant_ownterm

package raft

// plantOwnTerm is a bug that is planted to see whether the simulator finds it:
// with the build tag plant_ownterm, a leader's reads do not wait for an entry of
// its own term.
const plantOwnTerm = false
