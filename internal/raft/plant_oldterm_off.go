//go:build !plant_oldterm

package raft

// plantOldTerm is a bug that is planted to see whether the simulator finds it:
// with the build tag plant_oldterm, messages of terms that are over are taken for
// ones of the present term.
const plantOldTerm = false
