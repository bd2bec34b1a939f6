// Package recipe is how members of a distributed program agree on who goes first
// with nothing but keys, leases and watches: locks and elections. The servers'
// services and the client library are built on it alike, over the interface KV.
//
// Who wants something that only one may have puts a key of its own below the
// name, on its lease. Whose key was created first has it; the others wait in the
// order of creation, each for the deletion of the key before its own, so that a
// release wakes one of them. The key's creation revision rises with each owner:
// it is a fencing token, which what is guarded can refuse if it has seen a higher
// one.
package recipe
