// Package history holds what clients of a cluster were told, and judges it.
//
// A member stamps every answer with the revision of the view that it was made
// from, and every write that changes something makes the next revision. So what
// happened is known revision by revision: the Ledger has what each of them
// changed, from the answers, and for writes whose end nobody saw from the
// cluster itself, which still has its past. A write of which the cluster knows
// nothing had no effect, or will have one in a later epoch, on keys that nobody
// reads any more; it is remembered, so that it can be told from one that nobody
// sent.
//
// An epoch is judged when it is over and its keys are not used again:
//
//   - no revision has two writes, no write two revisions, and none that was
//     refused has any;
//   - each answer is what the keyspace, told the plain way, gives at its
//     revision: a write that was lost would leave a gap in the versions of its
//     key, and one that came from nowhere a step too many;
//   - whoever asked after an answer had been given to anybody is answered at its
//     revision or a later one;
//   - serializable reads may be old, but do not go back within the life of one
//     member;
//   - Porcupine finds an order in which every operation stands between its call
//     and its return, and gives its answer.
package history
