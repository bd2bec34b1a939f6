// Package state is a member's replicated state as a whole: the data directory,
// and the machine over the store in it. It is what the replica applies entries
// to, copies for members that have fallen behind, and replaces by what such a copy
// brings.
//
// A snapshot's way, from the leader to a follower (raft sends the message when it
// has been told of the copy):
//
//	Checkpoint   a copy of the store on the leader's disk
//	Open         the copy as a stream of bytes
//	Receive      the stream as a store on the follower's disk, checked and durable
//	Install      that store in the place of the old one
//	Discard      the leader's copy goes
package state
