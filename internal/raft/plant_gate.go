//go:build plant_gate

package raft

const plantGate = true
