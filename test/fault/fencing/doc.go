// Package fencing judges what owners of a lock, or leaders by election, have
// written, from all that became of the keys. Who wants the lock has a key under its
// prefix; the oldest owns it, and its creation is the fencing token. A guarded
// write carries the token of who made it: he must have been the owner then, and
// tokens never go back.
package fencing
