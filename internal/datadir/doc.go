// Package datadir is a member's data directory: the lock, the store in force,
// the raft log, and whether they belong together.
//
//	lock            held while a member runs on the directory
//	bootstrapping   there while the first files are made
//	current         the name of the store in force
//	store-1/        the keyspace, and all other replicated state
//	store-T-I-n/    a store that came from another member, at entry I of term T
//	copy-n/         a copy of the store in force, to be sent to another member
//	log/            the raft log (or wherever the member was told)
//
// current exists from the moment the member's first files are complete on disk.
// Before that, nobody was told anything by this member, and what is there can
// be made anew; after it, a store without its log or a log without its store is
// refused, because the member's votes would be gone.
//
// It works over vfs.FS, so that a simulator can cut its power at any point.
package datadir
