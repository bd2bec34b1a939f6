// Package lease is what the members keep of leases, and the leader's clock over
// them.
//
// Its nouns:
//
//   - A Lease has an id, the time that was granted (its TTL), and what was left of
//     that when it was last written down (Remaining). It knows no moment at which it
//     ends: that is a matter of somebody's clock.
//   - State is the leases in the making: which there are, and which keys hang on
//     each. It is the state machine's, deterministic, and in the store with every
//     batch, but for the keys: those are known from the keyspace's index at start.
//   - A View is a State at one moment: immutable, published with the keys.
//   - A Keeper is the leader's clock: when each lease ends, and which have. It is a
//     plain value without a clock of its own, a goroutine or a lock, so that it
//     can be simulated: the time comes in with each call. Renewals are known to it
//     alone. Who leads next begins anew from the View; checkpoints in the log are
//     what keeps that near the truth.
//
// A key hangs on one lease at most. A lease that is revoked takes its keys with
// it, all of them, in one revision.
package lease
