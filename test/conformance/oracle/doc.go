// Package oracle sends the same random operations, one at a time, to a member
// of ours and to Debian's etcd 3.4, and compares the answers whole: messages,
// headers, codes and texts of errors.
//
// A Generator makes operations from a seed and from what the answers so far
// tell of revisions. Each side's cluster id, member id and term are checked to
// be constants and then masked. What else may differ is a row of the table of
// allowed differences, each with the version that changed it; a row that a long
// run never needs is itself a failure. A mismatch names the seed, the command
// that replays it, and, where that succeeds in time, a short list of operations
// which shows it on fresh members.
package oracle
