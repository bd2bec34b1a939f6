// Package mvcc is the versioned keyspace: which versions of which keys there
// are, and how they are read at a revision.
//
// Its nouns:
//
//   - A version is one state of one key: the revision that made it, the revision
//     that created its generation, how many puts since. A tombstone is a version
//     whose count is 0. A published version never changes.
//   - An item is a key's chain of versions, newest first. A reader at revision R
//     walks from the head to the first version at or below R, so an overwrite
//     adds to the chain and disturbs nobody.
//   - The tree is a B+tree of items whose nodes know how many live keys stand
//     below them. It is copied on write along one path, and only when a key is
//     created, deleted or forgotten; an overwrite leaves it alone.
//   - A View is the keyspace at one revision: immutable, shared by any number of
//     readers, good for as long as somebody holds it.
//   - An Update is the keyspace in the making: private to the state machine,
//     which ends each batch by taking its changes into the store and publishing
//     its View.
//
// Values stand in the store as encoded KeyValue messages and are spliced into
// replies as they are. A cache with a byte budget holds hot ones; it hangs on
// the versions themselves, so that a hit costs no look-up.
package mvcc
