// Package fault runs three members as processes, has clients work with them,
// does to the members and to the network between them what happens to real ones,
// and judges what the clients were told.
//
// A run is a row of epochs. In each, ten clients put, read, delete, and compare
// and swap a handful of keys at any member, while faults come and go, drawn from
// a seed that is printed. Then all is healed, every member must serve again, and
// the epoch is judged (package history): no acknowledged write is lost, the
// history is linearizable, and all members have the same hash and content.
//
// Locks and elections, leases, and users with their rights have clusters of their
// own, which the same faults disturb, and judges of their own (packages fencing,
// lifetime, rights).
//
// What is drawn comes from the seed; how the processes run beside each other does
// not, and who leads decides what is drawn next: a seed repeats the kind of a run,
// not the run.
package fault
