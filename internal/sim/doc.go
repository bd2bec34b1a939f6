// Package sim runs members in one goroutine, from one seed: the production code
// of raft, the log, the replica, the machine and the store, over disks in memory
// and in virtual time. What fails names the seed, and the seed replays it to the
// letter.
//
// # A member alone
//
// A Run draws its steps from the seed: requests, turns of the loop, stages that
// finish late, ticks, flushes, failing syncs, power cuts. It holds what the
// member does against
//
//   - a Model: the requests of the log applied, in order, to a plain map of
//     versions. After every start the member's whole content, old versions
//     included, must be the model's;
//   - the log: what was ever applied stands at its index for ever;
//   - its callers: what was acknowledged is there, and a read that came back
//     sees all that was acknowledged before it was asked.
//
// # A cluster
//
// A Cluster has hosts, on which members run or do not, the network between them,
// clients and faults. Everything is an event of its clock; what happens to a
// member is an event of that member's present life, so that a member which is
// paused stands still, and one which has died hears of nothing.
//
//	cluster.go   the story of a seed, from the first start to the verdict
//	clock.go     virtual time
//	host.go      the life of a member; stages.go: its disk's pace and its state
//	network.go   messages
//	snapshot.go  what is sent to a member that has fallen behind
//	members.go   who comes and goes
//	faults.go    what goes wrong
//	client.go    who asks; question.go: what, and what is answered
//	listener.go  who watches; line.go: the stream; told.go: what must hold of it
//	hub.go       when a member's hub does what it has to do
//	users.go     who acts in whose name; stands.go: who watches
//	check.go     what must hold at every moment; verdict.go: of rights
//	history.go   what must hold of the whole history
//
// Nothing is decided by the order of a map, by a clock or by a goroutine. The
// storage engine has goroutines, and they are waited for; its compactions are
// called. Whoever watches draws from a stream of his own, and changes nothing of
// what he watches: a cluster goes the same way whether it is watched or not. The
// raft library draws from crypto/rand.Reader, which is set to the
// seed's stream while a cluster runs, so one runs at a time.
package sim
