// Package machine is the deterministic step: committed entries in, the next
// state out. It is the only writer of the store.
//
// Apply takes a batch of entries. Each is decoded and judged by replicated state
// alone: rights, then quota, then the change itself, so that every member comes
// to the same verdict. (There are no users and no quota yet; their place is in
// Machine.apply, before the dispatch.) The effects of the whole batch, with the
// applied index, go to the store in one batch of its own; then one pointer to an
// immutable View is swapped, and only then does anybody hear of it.
//
// Nothing in here reads a clock, draws a random number, ranges over a map or
// looks at a setting of this member.
package machine
