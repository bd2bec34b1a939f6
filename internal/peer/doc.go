// Package peer carries bytes between members, in the form in which etcd 3.7
// does: streams of raft messages, the pipeline, snapshots and probes over
// HTTP/1.1, and the few pages that members ask each other for. It carries
// messages, it does not interpret them; it only refuses those that would make
// the raft library panic (admit.go).
//
// # Nouns
//
//   - Transport: all of it for one member. Send hands messages over and never
//     blocks; Config.Deliver gets what arrives.
//   - link: what a Transport has for one other member. For every member there
//     are four streams, two each way. The reader of a stream dials it.
//   - outgoing: a stream that the other side dialed. It has a bounded queue and
//     one goroutine, the handler's, which writes what waits and flushes when
//     nothing does. A newer one replaces it.
//   - A stream of the other's messages is dialed by this side, again and again
//     until the link is removed (incoming.go).
//   - pipeline: one POST per message, for when there is no stream, and for
//     senders that are no members yet (remotes).
//   - Client and Management: the pages about members, versions and hashes.
//
// # Invariants
//
//   - A slow or dead peer costs its own queue and nothing else: Send only
//     appends to queues, and no queue grows beyond its bounds.
//   - Of every MsgSnap Config.SnapshotSent hears exactly once. When other
//     messages for a member are dropped, Config.Unreachable hears of it, though
//     not of each; what the network loses nobody hears of.
//   - No length from the network is trusted: memory grows with what arrived.
//   - A message that is delivered owns all of its bytes.
//
// # Snapshots
//
// Members of this program tell each other so with a header (Ours). A snapshot
// goes to them as whatever Config.OpenSnapshot reads. What upstream's members
// send and expect instead, a file of their engine, is not written or read yet:
// such a snapshot is refused on both sides, and the log says why.
package peer
