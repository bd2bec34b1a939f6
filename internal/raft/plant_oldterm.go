//go:build plant_oldterm

package raft

const plantOldTerm = true
