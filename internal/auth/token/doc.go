// Package token makes the tokens that stand for a login, and reads them. Which
// kind of token runs is known in here alone.
//
// # Nouns
//
//   - Provider: makes and reads one kind of token. Two exist: simple ones, random
//     words that every member remembers because logins travel in the log, and JWTs,
//     which carry what they say and a signature under it.
//   - Token: a good token as it is remembered. It answers on every call, by Good
//     and Vouches, whether it is still good and still that user's.
//   - Fingerprint: ties a token to a cluster, a user and the password that the user
//     had at the login.
//   - key set: the keys that are in force, what was verified with them, and what was
//     refused by them. When the files change the whole set is replaced.
//
// # Invariants
//
//   - Only what cannot change is remembered of a token: that its signature is right
//     under this key set, and what it says. Time, key set and password are looked
//     at on every call.
//   - A key verifies by one algorithm, the configured one or that of its own entry
//     in a key set; what a token's header says only selects among them.
//   - Neither Read nor Good touches a file or waits for one: a goroutine of the
//     provider looks at the key files every second.
//   - What a stranger can make this room keep or do is bounded: a token has at most
//     8 KiB and is tried against at most 16 keys, and what is remembered has limits.
//   - No token, secret or key reaches a log or an error.
package token
