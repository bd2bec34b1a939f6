// Package watch tells streams of watchers what has changed in the keyspace.
//
// Its nouns:
//
//   - The Hub takes in what the state machine has changed and hands each change out
//     to the watchers that it concerns. Its position is the revision up to which it
//     has done so.
//   - A Stream is a row of watchers whose responses go to one Sink: a client's
//     stream, with a bound on what may wait in it.
//   - A watcher is live if it has been handed everything up to the position; else it
//     lags, and has a cursor: the revision that it is to be told next.
//
// # Two ways to be told
//
// Live: Take, on the goroutine that applies, appends a batch's changes to the inbox.
// Step, on another, finds the watchers of each change, encodes each event once and
// offers each stream its watchers' responses. It waits for nobody. A stream that has
// no room has all of its watchers lag, from the first revision that they were not
// told. So has every stream when the inbox overflows, or when a snapshot has replaced
// the state.
//
// From the store: CatchUp reads the history from the lowest cursor of a stream's
// lagging watchers, a slice at a time, and offers what it finds; where there is no
// room it goes away and comes back when there is. A watcher whose cursor has passed
// the position is live again, decided under the same lock that Step hands out under.
// One whose cursor lies below the compacted revision is cancelled.
//
// # What holds
//
//   - A watcher is told each of its events once, in the order of revisions, without
//     a gap, or that it was cancelled. The events of a revision are in one response,
//     or in fragments that follow one another where it has asked for them.
//   - A watcher's "created" comes before its events, and nothing after "canceled".
//   - A progress response says revision R when everything up to R has been handed to
//     the sink for all whom it speaks of.
//   - A stream that does not take what it is sent costs what its sink may hold.
//
// There is no clock and no goroutine in a Hub. Run has both: it is what a member
// uses. A simulator calls Step, CatchUp and Tick itself.
package watch
