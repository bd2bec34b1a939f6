// Package password hashes passwords and compares them with hashes, by bcrypt, so
// that however many ask, other work goes on and everybody's turn comes.
//
// bcrypt is slow on purpose: a login at cost 10 takes as long as thousands of puts.
// Whoever wants to log in, with a right password or a wrong one, therefore waits
// for a turn.
//
// # Nouns
//
//   - Keeper: gives turns. Who has one computes on its own goroutine.
//   - budget: the CPU time that may be spent, a share of the machine's, saved up to
//     a second of it.
//   - line: who waits, by address and within one by user. Turns go round the
//     addresses, and at each round the users of one.
//
// # Invariants
//
//   - At most Parallel compute at once, and the CPU time spent in any stretch of
//     time is at most Share of it, and a second.
//   - A run is cut into slices well below a millisecond. Others come in between, and
//     where no time is saved up it waits after each until that is earned: a flood of
//     logins takes a core's time by crumbs, not for fifty milliseconds on end.
//   - At most Queue wait. When the line is full, a newcomer from an address that
//     has fewer in it takes the place of the last one of the address that has most;
//     so does a newcomer of a user that has fewer, among those of one address. All
//     others are refused with ErrBusy.
//   - A flood from one address delays another address's turn by one run.
//   - An unknown user, and a password too long to be anybody's, cost the same turn
//     and the same time as a wrong password of a user whose hash has the configured
//     cost. (A hash of another cost, from before the setting was changed, tells
//     itself by its time until the password is set anew.)
//   - No password, hash or user's name reaches an error, and nothing is logged.
package password
