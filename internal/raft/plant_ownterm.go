//go:build plant_ownterm

package raft

const plantOwnTerm = true
