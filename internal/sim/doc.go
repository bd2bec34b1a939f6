// Package sim runs a member in one goroutine, from one seed: the production
// code of raft, the log, the replica, the machine and the store, over a disk in
// memory whose power is cut again and again. Time is a count of ticks.
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
// What fails names the seed, and the seed replays it to the letter.
package sim
